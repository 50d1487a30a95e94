"""One process that serves: a loop, a site, listeners, and the way they stop."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Final

from gateway.chain import Chain
from gateway.clock import Clock
from gateway.errors import ConfigError
from gateway.exchange import Exchange
from gateway.listener import Listener
from gateway.log import escape
from gateway.protocols.http1 import HeadParser, Http1Connection, Http1Context
from gateway.protocols.http1_encoder import ResponseEncoder
from gateway.settings.model import Settings
from gateway.site import Site
from gateway.version import __version__

__all__ = ["Worker"]

logger = logging.getLogger("gateway.error")

_POLL: Final = 0.05
# Event streams are ended at once; whatever else is still being answered this long before the limit
# is told that nobody waits any more.
_LAST_CALL: Final = 2.0
# What a lifespan still gets when the time is up or the operator said "now".
_LAST_LIFESPAN: Final = 1.0


class Worker:
    """Serves `settings.mounts` on sockets that are already bound.

    Life: `start`, `serve_until_stopped`, `stop`; `run` is all three. `request_stop` may be called
    at any time on the loop's thread, and a second time to stop at once.

    importing: applications are being imported, on the loop's own thread: it cannot answer.
    ready: the site is started and connections are accepted.
    stopping, forced: a stop was asked for once, twice.
    """

    def __init__(self, settings: Settings, sockets: Sequence[socket.socket]) -> None:
        self.settings = settings
        self.site: Site | None = None
        self.importing = False
        self.ready = False
        self.stopping = False
        self.forced = False
        self._sockets = sockets
        self._listeners: list[Listener] = []
        self._chain: Chain | None = None
        self._stop_requested = asyncio.Event()
        self._force_requested = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> Site:
        """Import the applications, run their lifespans, begin to accept.

        Raises `StartError` (an application) or `ConfigError` (a missing library); nothing is left
        running then.
        """
        settings = self.settings
        loop = asyncio.get_running_loop()
        Chain.check(settings)
        parser = _head_parser(settings.http)
        self.importing = True
        try:
            self.site = Site.build(settings)
        finally:
            self.importing = False
        await self.site.start()
        clock = Clock()

        async def tick() -> None:
            clock.tick()

        self._repeat(1.0, tick)
        self._chain = Chain(
            settings, self.site.handler, loop=loop, on_max_requests=self._on_max_requests
        )
        encoder = ResponseEncoder(
            clock,
            server=b"gateway/" + __version__.encode() if settings.server_header else None,
            date=settings.date_header,
            extra=[
                (name.encode("latin-1"), value.encode("latin-1")) for name, value in settings.header
            ],
        )
        for sock in self._sockets:
            context = Http1Context(
                loop=loop,
                clock=clock,
                handler=self._chain.handler,
                parser=parser,
                encoder=encoder,
                connections=set(),
                keep_alive=settings.timeout_keep_alive,
                limit_head=settings.limit_head_size,
                limit_headers=settings.limit_headers,
            )
            listener = Listener(sock, context, backlog=settings.backlog)
            await listener.open()
            clock.on_tick.append(listener.sweep)
            self._listeners.append(listener)
        if settings.callback_notify is not None:
            self._repeat(settings.timeout_notify, settings.callback_notify)
        self.ready = True
        return self.site

    def _repeat(self, seconds: float, action: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(_repeat(seconds, action)))

    async def serve_until_stopped(self) -> None:
        """Return when `request_stop` was called."""
        await self._stop_requested.wait()

    def request_stop(self) -> None:
        """Ask for the drain to begin; asked again, for everything to end now."""
        if self.stopping:
            self.forced = True
            self._force_requested.set()
        self.stopping = True
        for listener in self._listeners:
            listener.announce_drain()
        self._stop_requested.set()

    def _on_max_requests(self) -> None:
        if not self.stopping:
            logger.info("%d requests served, the limit", self.settings.limit_max_requests)
            self.request_stop()

    async def stop(self) -> None:
        """Drain: finish what has begun, up to the limit; then run every lifespan's shutdown.

        Connections the kernel has already accepted for us are served; after them nothing is.
        """
        self.ready = False
        self.stopping = True
        limit = self.settings.timeout_graceful_shutdown
        deadline = monotonic() + limit
        # One turn of the loop empties the accept queue: closing it would reset those clients.
        for _ in range(3):
            await asyncio.sleep(0)
        for listener in self._listeners:
            listener.close()
            listener.announce_drain()
            listener.drain()
        left = len(self._open())
        if left and not self.forced:
            logger.info(
                "stopping: %d request%s open, up to %g s (Ctrl-C again to stop now)",
                left,
                "" if left == 1 else "s",
                limit,
            )
        await self._drain(deadline)
        self._cut_rest(limit)
        site = self.site
        if site is not None:
            site.cancel()
            remaining = 0.0 if self.forced else deadline - monotonic()
            await site.stop(timeout=max(remaining, _LAST_LIFESPAN))
        for task in self._tasks:
            task.cancel()
        if self._chain is not None:
            self._chain.close()

    async def run(self) -> None:
        """`start`, serve, `stop`."""
        try:
            await self.start()
            await self.serve_until_stopped()
        finally:
            await self.stop()

    # --- the drain ------------------------------------------------------------------------------

    async def _drain(self, deadline: float) -> None:
        """Wait until nothing is under way, the deadline, or a second request to stop."""
        last_call = deadline - min(_LAST_CALL, self.settings.timeout_graceful_shutdown / 2)
        told = False
        while not self.forced and (self._connections() or self._running()):
            now = monotonic()
            if now >= deadline:
                return
            for exchange in self._open():
                # An event stream has no end of its own; a download has, and is let finish.
                if exchange.endless:
                    exchange.end_stream()
            if now >= last_call and not told:
                told = True
                for exchange in self._open():
                    if exchange.status is not None and not exchange.disconnected:
                        exchange.peer_closed()
            try:
                pause = min(_POLL, max(deadline - now, 0.001))
                await asyncio.wait_for(self._force_requested.wait(), pause)
            except TimeoutError:
                continue

    def _cut_rest(self, limit: float) -> None:
        """End what is left, and say what it was: 503 where nothing was sent yet, else a cut."""
        rest = self._open()
        when = "when told to stop now" if self.forced else f"after {limit:g} s"
        for exchange in rest[:10]:
            head = exchange.head
            logger.warning(
                "still open %s, ended: %s %s (mount %s, %.1f s)",
                when,
                head.method,
                escape(head.path),
                head.mount or "-",
                monotonic() - exchange.started_at,
            )
        if len(rest) > 10:
            logger.warning("… and %d more", len(rest) - 10)
        for exchange in rest:
            if exchange.status is None:
                exchange.refuse(503, "The server is stopping", [(b"retry-after", b"1")])
            else:
                exchange.abort()
        for listener in self._listeners:
            listener.cut()

    def _connections(self) -> list[Http1Connection]:
        return [each for listener in self._listeners for each in listener.connections]

    def _open(self) -> list[Exchange]:
        return [each.exchange for each in self._connections() if each.exchange is not None]

    def _running(self) -> int:
        return self.site.running() if self.site is not None else 0


async def _repeat(seconds: float, action: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await action()
        except Exception:
            logger.exception("%s failed", getattr(action, "__qualname__", action))


def _head_parser(choice: str) -> type[HeadParser]:
    """The parser that `http` names; auto is httptools where it is installed."""
    if choice == "h11" or (choice == "auto" and importlib.util.find_spec("httptools") is None):
        from gateway.protocols.http1_h11 import H11HeadParser

        return H11HeadParser
    try:
        from gateway.protocols.http1_httptools import HttptoolsHeadParser
    except ImportError as error:
        raise ConfigError(
            f"http = httptools: {error}\n  pip install httptools, or use --http h11"
        ) from error
    return HttptoolsHeadParser
