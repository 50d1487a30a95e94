"""All connections of one process: how many there may be, and of whom."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from heapq import nsmallest
from ipaddress import IPv6Address, ip_address
from operator import itemgetter
from typing import Final, cast

from gateway.head import Address, address_text
from gateway.protocols.connection import Connection

__all__ = ["Crowd", "Members"]

logger = logging.getLogger("gateway.error")

# Idle connections closed at a time, as a part of the limit: to find them, all are looked at.
_PART: Final = 64
# What one that was closed gets to hear of it; see `Listener` for clients of TLS that never do.
_FAREWELL: Final = 1.0


class Members(set[Connection]):
    """The connections of one listener, which its crowd counts."""

    def __init__(self, crowd: Crowd) -> None:
        super().__init__()
        self._crowd = crowd

    def add(self, element: Connection) -> None:
        """It is open."""
        super().add(element)
        self._crowd.joined(element)

    def discard(self, element: object) -> None:
        """It is lost, or another protocol has taken its transport over."""
        if element in self:
            connection = cast("Connection", element)
            super().discard(connection)
            self._crowd.left(connection)


class Crowd:
    """Decides who may come in; each listener asks before it accepts.

    limit: connections open at a time, handshakes included. Idle ones are no load: the longest idle
        are closed for who comes, as nginx does, and only where none is idle nobody is accepted any
        more. They wait in the kernel's queue, or are taken by another worker.
    per_address: of one client: an IPv4 address, or a /64 of IPv6, of which every customer has one.
    exempt: whose connections are not counted for `per_address`: a proxy's, which carry many people.

    An arrival is a connection that was accepted and has not joined yet: its handshake, or a PROXY
    header, is under way. Which of several of one client joins first is all the same, so they are
    counted, not noted.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        limit: int | None = None,
        per_address: int | None = None,
        exempt: Callable[[Address | None], bool] = lambda _: False,
    ) -> None:
        self._loop = loop
        self._limit = limit
        self._per_address = per_address
        self._exempt = exempt
        self._open: dict[Connection, None] = {}  # in the order they joined
        self._arriving = 0
        self._landed = 0  # joined, but still to be told by `settled`
        self._open_by: Counter[str] = Counter()
        self._arriving_by: Counter[str] = Counter()
        self._landed_by: Counter[str] = Counter()
        self._outside: dict[object, Callable[[], None]] = {}
        # For the log, since the last sweep.
        self._closed = 0
        self._refused = 0
        self._last_refused: Address | None = None
        self._waited = False

    def members(self) -> Members:
        """The set of another listener's connections."""
        return Members(self)

    # --- arrivals -------------------------------------------------------------------------------

    def make_room(self) -> bool:
        """Whether one more may be accepted; closes idle ones for that."""
        limit = self._limit
        if limit is None or len(self._open) + self._arriving < limit:
            return True
        # Seconds are what `idle_since` tells; within one, who has joined first is the first.
        idle = [
            (since, connection)
            for connection in self._open
            if (since := connection.idle_since) is not None and not connection.closing
        ]
        for _, connection in nsmallest(1 + limit // _PART, idle, key=itemgetter(0)):
            self._closed += 1
            connection.end_idle()
            self._loop.call_later(_FAREWELL, self._cut, connection)
        self._waited = self._waited or not idle
        return bool(idle)

    def wait(self, who: object, room: Callable[[], None]) -> None:
        """Call `room` as soon as `make_room` is worth another try."""
        self._outside[who] = room

    def forget(self, who: object) -> None:
        """`who` waits no more."""
        self._outside.pop(who, None)

    def arrived(self, client: Address | None) -> bool:
        """Count a connection that was accepted; False if its client has too many, and it is not.

        client: as the PROXY protocol has told it, where it does.
        """
        if self._per_address is not None:
            key = self._key(client)
            if key:
                if self._open_by[key] + self._arriving_by[key] >= self._per_address:
                    self._refused += 1
                    self._last_refused = client
                    return False
                self._arriving_by[key] += 1
        self._arriving += 1
        return True

    def settled(self, client: Address | None) -> None:
        """An arrival has joined, or nothing came of it."""
        if self._landed:
            self._landed -= 1
        else:
            self._arriving -= 1
        key = self._key(client)
        if key:
            _take(self._landed_by if self._landed_by[key] else self._arriving_by, key)
        self._invite()

    # --- members --------------------------------------------------------------------------------

    def joined(self, connection: Connection) -> None:
        """`Members` has one more."""
        self._open[connection] = None
        if self._arriving:
            self._arriving -= 1
            self._landed += 1
        key = self._key(connection.client)
        if key:
            self._open_by[key] += 1
            if self._arriving_by[key]:
                _take(self._arriving_by, key)
                self._landed_by[key] += 1

    def left(self, connection: Connection) -> None:
        """`Members` has one less."""
        del self._open[connection]
        key = self._key(connection.client)
        if key:
            _take(self._open_by, key)
        self._invite()

    def _invite(self) -> None:
        outside, self._outside = self._outside, {}
        for room in outside.values():
            room()

    def _cut(self, connection: Connection) -> None:
        if connection in self._open:
            connection.cut()

    def _key(self, client: Address | None) -> str:
        """Whose connection it is; "" where nobody counts."""
        if self._per_address is None or client is None or self._exempt(client):
            return ""
        try:
            address = ip_address(client[0].partition("%")[0])
        except ValueError:
            return ""
        if not isinstance(address, IPv6Address):
            return str(address)
        return str(address.ipv4_mapped or int(address) >> 64)

    # --- once a second --------------------------------------------------------------------------

    def sweep(self) -> None:
        """Try again for who waits, since one may be idle now; write what has happened."""
        if self._outside:
            self._invite()
        if self._closed or self._waited:
            text = f"{self._closed} idle closed" if self._closed else "none is idle, so they wait"
            logger.warning("limit-connections: %d are open: %s", len(self._open), text)
        if self._refused:
            client = address_text(self._last_refused)
            logger.warning(
                "limit-connections-per-address: %d closed, the last of %s", self._refused, client
            )
        self._closed = self._refused = 0
        self._waited = False


def _take(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]  # a table of all clients there ever were would grow
