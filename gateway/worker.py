"""One process that serves: a loop, a site, listeners, and the way they stop."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence

from gateway.chain import Chain
from gateway.clock import Clock
from gateway.drain import Drain
from gateway.errors import ConfigError
from gateway.listener import Listener
from gateway.protocols.http1 import HeadParser, Http1Context
from gateway.protocols.http1_encoder import ResponseEncoder
from gateway.settings.model import Settings
from gateway.site import Site

__all__ = ["Worker"]

logger = logging.getLogger("gateway.error")


class Worker:
    """Serves `settings.mounts` on sockets that are already bound.

    Life: `start`, `serve_until_stopped`, `stop`. `request_stop` and `interrupt` may be called at
    any time on the loop's thread.

    importing: applications are being imported, on the loop's own thread: it cannot answer.
    ready: the site is started and connections are accepted.
    stopping: a stop was asked for; forced: and is to be over at once.
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
        self._drain: Drain | None = None
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
            server=b"gateway" if settings.server_header else None,
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
        self._tasks.append(asyncio.get_running_loop().create_task(_for_ever(seconds, action)))

    async def serve_until_stopped(self) -> None:
        """Return when `request_stop` was called."""
        await self._stop_requested.wait()

    def request_stop(self) -> None:
        """Begin to stop: every response from now on says that its connection closes. Idempotent."""
        self.stopping = True
        for listener in self._listeners:
            listener.announce_drain()
        self._stop_requested.set()

    def interrupt(self) -> None:
        """Begin to stop; asked again, end everything now."""
        if self.stopping:
            self.forced = True
            if self._drain is not None:
                self._drain.force()
        self.request_stop()

    def _on_max_requests(self) -> None:
        if not self.stopping:
            logger.info("%d requests served, the limit", self.settings.limit_max_requests)
            self.request_stop()

    async def stop(self) -> None:
        """Drain, within ``timeout_graceful_shutdown``, and run every lifespan's shutdown."""
        self.ready = False
        self.request_stop()
        limit = self.settings.timeout_graceful_shutdown
        self._drain = Drain(self._listeners, self.site, limit=limit)
        if self.forced:
            self._drain.force()
        await self._drain.run()
        for task in self._tasks:
            task.cancel()
        if self._chain is not None:
            self._chain.close()


async def _for_ever(seconds: float, action: Callable[[], Awaitable[None]]) -> None:
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
