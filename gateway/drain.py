"""How a worker stops: finish what has begun, within a limit, and say what could not be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from time import monotonic
from typing import Final

from gateway.exchange import Exchange
from gateway.listener import Listener
from gateway.log import escape
from gateway.log_format import counted
from gateway.site import Site

__all__ = ["Drain"]

logger = logging.getLogger("gateway.error")

_POLL: Final = 0.05
# Event streams are ended at once; whatever else is still being answered this long before the limit
# is told that nobody waits any more.
_LAST_CALL: Final = 2.0
# What the lifespans still get when the time is up or the operator said "now".
_LAST_LIFESPAN: Final = 1.0
_NAMED: Final = 10
# Their clients come back at once, to whoever serves then: not faster than this many in a second, as
# long as that leaves them half of the time to take leave.
_TUNNELS_PER_SECOND: Final = 100


class Drain:
    """One stop, `limit` seconds long at most; `force` ends it early, whatever it waits for.

    In order: connections the kernel has accepted for us are taken, then none; idle ones close,
    the others after their response; event streams end at once, tunnels (WebSockets) little by
    little; at the limit what is left gets a 503, or a cut if its response had begun; every
    application is told to shut down, always.

    alone: nobody else accepts on these sockets. Else what the kernel holds is left to the others.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        site: Site | None,
        *,
        limit: float,
        alone: bool = True,
    ) -> None:
        self._listeners = listeners
        self._site = site
        self._limit = limit
        self._alone = alone
        self._forced = asyncio.Event()

    def force(self) -> None:
        """End everything now."""
        self._forced.set()

    async def run(self) -> None:
        """Return when nothing is left."""
        deadline = monotonic() + self._limit
        for listener in self._listeners:
            if self._alone:
                await listener.close_empty()
            else:
                await listener.stop_accepting()
                listener.close()
        for listener in self._listeners:
            listener.drain()
        self._announce()
        await self._wait(deadline)
        self._end_rest()
        if self._site is not None:
            self._site.cancel()
            await self._stop_site(self._site, deadline)

    def _announce(self) -> None:
        requests, calls = len(self._open()), self._calls()
        if (requests or calls) and not self._forced.is_set():
            logger.info(
                "stopping: %s open%s, up to %g s%s",
                counted(requests, "request"),
                f", {counted(calls, 'call')} still working" if calls > requests else "",
                self._limit,
                " (Ctrl-C again to stop now)" if self._alone else "",
            )

    async def _wait(self, deadline: float) -> None:
        last_call = deadline - min(_LAST_CALL, self._limit / 2)
        tunnels = _Farewell(self._open(), self._limit / 2)
        while any(each.connections for each in self._listeners) or self._calls():
            now = monotonic()
            if now >= deadline or self._forced.is_set():
                return
            tunnels.tell(self._open())
            for exchange in self._open():
                # An event stream has no end of its own; a download has, and is let finish.
                if exchange.endless:
                    exchange.end_stream()
                elif (
                    now >= last_call
                    and exchange.tunnel is None
                    and exchange.status is not None
                    and not exchange.disconnected
                ):
                    exchange.peer_closed()
            await self._pause(min(_POLL, deadline - now))

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._forced.wait(), seconds)
        except TimeoutError:
            return

    def _end_rest(self) -> None:
        """503 where nothing was sent yet, else a cut; and a line for each."""
        rest = self._open()
        when = "when told to stop now" if self._forced.is_set() else f"after {self._limit:g} s"
        for exchange in rest[:_NAMED]:
            head = exchange.head
            logger.warning(
                "still open %s, ended: %s %s (mount %s, %.1f s)",
                when,
                head.method,
                escape(head.path),
                head.mount or "-",
                monotonic() - exchange.started_at,
            )
        if len(rest) > _NAMED:
            logger.warning("… and %d more", len(rest) - _NAMED)
        elif not rest and self._site is not None:
            for mount, calls in self._site.running().items():
                logger.warning(
                    "still working %s: %s in mount %s", when, counted(calls, "call"), mount
                )
        for exchange in rest:
            if exchange.status is None:
                exchange.refuse_for_now("The server is stopping")
            else:
                exchange.abort()
        for listener in self._listeners:
            listener.cut()

    async def _stop_site(self, site: Site, deadline: float) -> None:
        forced = self._forced.is_set()
        limit = _LAST_LIFESPAN if forced else max(deadline - monotonic(), _LAST_LIFESPAN)
        stop = asyncio.ensure_future(site.stop(limit))
        force = asyncio.ensure_future(self._forced.wait())
        try:
            if forced:
                # It keeps to its limit by itself; a cut at the same moment would take the lifespans
                # their turn where a thread that hangs has used the time up.
                await asyncio.wait({stop})
            else:
                await asyncio.wait({stop, force}, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait({stop}, timeout=_LAST_LIFESPAN)
        finally:
            force.cancel()
            stop.cancel()
            await asyncio.gather(stop, force, return_exceptions=True)

    def _open(self) -> list[Exchange]:
        return [exchange for listener in self._listeners for exchange in listener.exchanges]

    def _calls(self) -> int:
        return sum(self._site.running().values()) if self._site is not None else 0


class _Farewell:
    """Tells tunnels to end, spread over `seconds` at most."""

    def __init__(self, exchanges: Sequence[Exchange], seconds: float) -> None:
        self._told: set[Exchange] = set()
        self._began = monotonic()
        total = sum(each.tunnel is not None for each in exchanges)
        self._rate = max(_TUNNELS_PER_SECOND, total / seconds if seconds else total)

    def tell(self, exchanges: Sequence[Exchange]) -> None:
        """Tell as many as is their turn by now; those that came later, too."""
        turn = 1 + int((monotonic() - self._began) * self._rate)
        for exchange in exchanges:
            if len(self._told) >= turn:
                return
            if exchange.tunnel is not None and exchange not in self._told:
                self._told.add(exchange)
                exchange.tunnel.on_shutdown()
