"""The PROXY header of each new connection, taken off the socket before anything else reads it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from gateway.clock import Clock
from gateway.head import Address, address_text
from gateway.protocols.proxy_protocol import ProxyHeader, ProxyProtocolError

__all__ = ["ProxyMode", "ProxyReader"]

logger = logging.getLogger("gateway.error")

ProxyMode: TypeAlias = Literal["v1", "v2", "auto"]

_VERSIONS: Final = {"v1": (1,), "v2": (2,), "auto": (1, 2)}
# Looked at in one go: the largest header there is. What lies behind a header stays in the socket.
_GLANCE: Final = 16 + 4096
# The first thing a balancer sends, in one segment. The specification asks for 3 s at least, for
# one that is lost (section 2); nginx waits 30 s, HAProxy as long as for a client.
_PATIENCE: Final = 5.0
# Between two lines of one kind in the log: scanners find every port.
_SILENCE: Final = 60.0


class ProxyReader:
    """Reads the headers of one listener's connections; no timer and no protocol object for one.

    mode: "v1" and "v2" take a header of that version from everybody, and refuse who is not
        trusted. "auto" takes either version from trusted peers, and none from the others, which
        are plain clients then. So the address alone decides whether there has to be a header,
        never its bytes: the specification's section 5 warns of guessing.
    trusts: whether the peer at an address is a balancer of ours.

    Call `sweep` once a second: it ends whose header is late.
    """

    def __init__(
        self, mode: ProxyMode, *, trusts: Callable[[Address | None], bool], clock: Clock
    ) -> None:
        self._optional = mode == "auto"
        self._versions = _VERSIONS[mode]
        self._trusts = trusts
        self._clock = clock
        self._waiting: dict[asyncio.Future[None], float] = {}
        self._complaints = {True: _Complaint(), False: _Complaint()}

    async def read(self, sock: socket.socket, address: object) -> ProxyHeader | None:
        """The header of an accepted connection, whose next byte is then its client's.

        sock: non-blocking. address: as `socket.accept` gives it. None where no header is to come.
        Raises `ConnectionAbortedError`, with the socket closed, where nothing comes of it.
        """
        peer = _peer(address)
        trusted = self._trusts(peer)
        if not trusted and self._optional:
            return None
        try:
            if not trusted:
                raise ProxyProtocolError("it is not in proxy-protocol-allow-ips")
            return await self._read(sock)
        except (ProxyProtocolError, OSError) as error:
            sock.close()
            if isinstance(error, ConnectionError):
                # Most are probes of a balancer that ask whether the port is open.
                logger.debug("PROXY protocol: %s went: %s", address_text(peer), error)
            else:
                self._complain(peer, str(error), trusted=trusted)
            raise ConnectionAbortedError("no PROXY header") from None
        except BaseException:
            sock.close()
            raise

    async def _read(self, sock: socket.socket) -> ProxyHeader:
        deadline = self._clock.now + _PATIENCE
        held = b""
        while True:
            try:
                data = sock.recv(_GLANCE, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                await self._readable(sock, deadline)
                continue
            if not data and held:
                raise ProxyProtocolError("it closed within its header")
            if not data:
                raise ConnectionResetError("it said nothing")
            found = ProxyHeader.parse(held + data, self._versions)
            held += sock.recv(found[1] - len(held) if found else len(data))
            if found is not None and len(held) == found[1]:
                return found[0]

    async def _readable(self, sock: socket.socket, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        self._waiting[ready] = deadline
        fd = sock.fileno()
        loop.add_reader(fd, _wake, ready)
        try:
            await ready
        finally:
            loop.remove_reader(fd)
            del self._waiting[ready]

    def sweep(self) -> None:
        """End the wait for every header that is late."""
        now = self._clock.now
        for ready, deadline in self._waiting.items():
            if deadline <= now and not ready.done():
                ready.set_exception(ProxyProtocolError(f"no header within {_PATIENCE:g} s"))

    def _complain(self, peer: Address | None, reason: str, *, trusted: bool) -> None:
        complaint = self._complaints[trusted]
        now = self._clock.now
        if now < complaint.next_at:
            complaint.untold += 1
            return
        more = f" ({complaint.untold} more since the last such line)" if complaint.untold else ""
        complaint.next_at, complaint.untold = now + _SILENCE, 0
        logger.warning(
            "PROXY protocol: a connection from %s is closed: %s%s", address_text(peer), reason, more
        )


class _Complaint:
    """When the next line may be written, and how many were not since the last one."""

    __slots__ = ("next_at", "untold")

    def __init__(self) -> None:
        self.next_at = 0.0
        self.untold = 0


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _peer(address: object) -> Address | None:
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else None
