"""One process that serves: a loop, a site, listeners, and the way they stop."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Final

from gateway.chain import Chain, balancers
from gateway.clock import NEVER, Clock
from gateway.drain import Drain
from gateway.errors import ConfigError
from gateway.exchange import Exchange, Handler
from gateway.interfaces.overdue import Overdue
from gateway.listener import Listener
from gateway.middleware.failure_page import failure_page
from gateway.middleware.https_redirect import https_redirect
from gateway.middleware.limits import spread
from gateway.middleware.trusted_peers import TrustedPeers
from gateway.protocols.context import ConnectionContext, HeadParser
from gateway.protocols.crowd import Crowd
from gateway.protocols.default_fields import DefaultFields
from gateway.protocols.http2_settings import Http2Options
from gateway.protocols.proxy_reader import ProxyReader
from gateway.settings.bind import Bind
from gateway.settings.model import Settings
from gateway.site import Site
from gateway.tls.acceptor import Acceptor
from gateway.tls.certificates import Certificates

__all__ = ["Worker", "unless"]

logger = logging.getLogger("gateway.error")

# What an idle connection gets for one more request when the worker leaves; a developer who waits
# for a reload would rather have it gone.
_LINGER: Final = 2.0
_ALPN: Final = ("h2", "http/1.1")


class Worker:
    """Serves `settings.mounts` on sockets that are already bound.

    Life: `start`, `serve_until_stopped`, `stop`. `request_stop` and `interrupt` may be called at
    any time on the loop's thread.

    binds: the address of each socket, with what is special about it; () is nothing.
    site: imported already, by a process this one was forked from; None imports it at the start.
    failure: why the applications could not start. The worker has no site then and answers every
        request with that text.
    shared: other workers accept from the same sockets.
    delay: seconds that are served on, as if nothing had happened, after a stop was asked for.
    on_max_requests: called when ``limit_max_requests`` were served; None stops the worker.

    importing: applications are being imported, on the loop's own thread: it cannot answer.
    ready: the site is started and connections are accepted.
    stopping: a stop was asked for; forced: and is to be over at once.
    reason: why, in words, as far as somebody has said.
    """

    def __init__(
        self,
        settings: Settings,
        sockets: Sequence[socket.socket],
        *,
        binds: Sequence[Bind] = (),
        site: Site | None = None,
        failure: str = "",
        shared: bool = False,
        delay: float = 0.0,
        on_max_requests: Callable[[], None] | None = None,
    ) -> None:
        self.settings = settings
        self.site = site
        self.importing = False
        self.ready = False
        self.stopping = False
        self.reason = ""
        self._failure = failure
        self._shared = shared
        self._delay = delay
        self._on_max_requests = on_max_requests or self.request_stop
        self._sockets = sockets
        self._binds = binds or [Bind()] * len(sockets)
        self._certificates: Certificates | None = None
        self._listeners: list[Listener] = []
        self._chain: Chain | None = None
        self._stop_requested = asyncio.Event()
        self._force_requested = asyncio.Event()
        self._drain: Drain | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def forced(self) -> bool:
        return self._force_requested.is_set()

    async def start_unless_stopped(self) -> bool:
        """`start`, given up as soon as `request_stop` is called; whether it was done."""
        return await unless(self._stop_requested, self.start())

    async def start(self) -> None:
        """Import the applications, run their lifespans, begin to accept.

        Raises `StartError` (an application) or `ConfigError` (a missing library); nothing is left
        running then.
        """
        settings = self.settings
        loop = asyncio.get_running_loop()
        Chain.check(settings)
        if settings.tls is not None:
            # One of many workers speaks of what all of them see.
            reports = os.environ.get("GATEWAY_WORKER_ID", "0") == "0"
            alpn = _ALPN if settings.http2 else _ALPN[1:]
            self._certificates = Certificates(settings.tls, alpn=alpn, reports=reports)
        parser = _head_parser(settings.http)
        handler = await self._handler()
        clock = Clock()

        async def tick() -> None:
            clock.tick()

        self.repeat(1.0, tick)
        limit = settings.limit_max_requests
        self._chain = Chain(
            settings,
            handler,
            loop=loop,
            max_requests=limit and int(spread(limit, settings.limit_max_requests_jitter)),
            on_max_requests=self._max_requests_reached,
        )
        defaults = DefaultFields(
            clock,
            server=b"gateway" if settings.server_header else None,
            date=settings.date_header,
            extra=[
                (name.encode("latin-1"), value.encode("latin-1")) for name, value in settings.header
            ],
        )
        if self._certificates is not None:
            clock.on_tick.append(self._certificates.look)
        crowd = self._crowd(loop)
        if crowd is not None:
            clock.on_tick.append(crowd.sweep)
        for sock, bind in zip(self._sockets, self._binds, strict=True):
            context = ConnectionContext(
                loop=loop,
                clock=clock,
                handler=self._redirect(handler) if bind.redirect else self._chain.handler,
                parser=parser,
                defaults=defaults,
                keep_alive=settings.timeout_keep_alive,
                head_timeout=settings.timeout_head,
                body_timeout=settings.timeout_body or NEVER,
                body_rate=settings.min_body_rate or 0,
                write_timeout=settings.timeout_write or NEVER,
                linger=0.0 if settings.reload else _LINGER,
                limit_head=settings.limit_head_size,
                limit_headers=settings.limit_headers,
                http2=_http2_options(settings),
                connections=set() if crowd is None else crowd.members(),
            )
            listener = Listener(
                sock,
                context,
                backlog=settings.backlog,
                shared=self._shared,
                proxy=self._proxy(bind, clock),
                acceptor=self._acceptor(bind),
                crowd=crowd,
            )
            await listener.open()
            clock.on_tick.append(listener.sweep)
            self._listeners.append(listener)
        limits = {
            mount.key: mount.timeout_request
            for mount in settings.mounts
            if mount.timeout_request is not None
        }
        if limits:
            clock.on_tick.append(Overdue(limits, self._under_way, clock).sweep)
        if settings.callback_notify is not None:
            self.repeat(settings.timeout_notify, settings.callback_notify)
        self.ready = True

    def _under_way(self) -> Iterator[Exchange]:
        return chain.from_iterable(listener.exchanges for listener in self._listeners)

    def _crowd(self, loop: asyncio.AbstractEventLoop) -> Crowd | None:
        settings = self.settings
        limit, per_address = settings.limit_connections, settings.limit_connections_per_address
        if limit is None and per_address is None:
            return None
        proxies = settings.forwarded_allow_ips if settings.proxy_headers else ()
        exempt = TrustedPeers(proxies).trusts
        return Crowd(loop, limit=limit, per_address=per_address, exempt=exempt)

    def _acceptor(self, bind: Bind) -> Acceptor | None:
        if self._certificates is None or not self.settings.encrypts(bind):
            return None
        return Acceptor(self._certificates)

    def _proxy(self, bind: Bind, clock: Clock) -> ProxyReader | None:
        mode = self.settings.proxied(bind)
        if mode == "off":
            return None
        return ProxyReader(mode, trusts=balancers(self.settings).trusts, clock=clock)

    def _redirect(self, site: Handler) -> Handler:
        """The handler of a listener that redirects."""
        settings = self.settings
        encrypted = (
            sock.getsockname()[1]
            for sock, bind in zip(self._sockets, self._binds, strict=True)
            if settings.encrypts(bind) and sock.family in (socket.AF_INET, socket.AF_INET6)
        )
        port = settings.redirect_port or next(encrypted, 443)
        return https_redirect(port, challenges=site if settings.redirect_acme else None)

    def reload_certificates(self) -> bool:
        """Read all certificates again; whether there are any."""
        if self._certificates is not None:
            self._certificates.reload()
        return self._certificates is not None

    async def _handler(self) -> Handler:
        if self._failure:
            return failure_page(self._failure)
        if self.site is None:
            self.importing = True
            try:
                self.site = Site.build(self.settings)
            finally:
                self.importing = False
        await self.site.start()
        return self.site.handler

    def repeat(self, seconds: float, action: Callable[[], Awaitable[None]]) -> None:
        """Do `action` every `seconds`, on the loop, until the worker has stopped."""
        self._tasks.append(asyncio.get_running_loop().create_task(_for_ever(seconds, action)))

    async def serve_until_stopped(self) -> None:
        """Return when `request_stop` was called."""
        await self._stop_requested.wait()

    def request_stop(self) -> None:
        """Begin to stop: every response from now on says that its connection closes. Idempotent."""
        self.stopping = True
        if not self._delay:
            self._announce()
        self._stop_requested.set()

    def _announce(self) -> None:
        for listener in self._listeners:
            listener.announce_drain()

    def interrupt(self) -> None:
        """Begin to stop; asked again, end everything now."""
        if self.stopping:
            self.force()
        self.request_stop()

    def force(self) -> None:
        """End everything now."""
        self._force_requested.set()
        if self._drain is not None:
            self._drain.force()
        self.request_stop()

    def _max_requests_reached(self) -> None:
        if not self.stopping:
            self._on_max_requests()

    async def stop(self, *, limit: float | None = None, alone: bool = True) -> None:
        """Drain, and run every lifespan's shutdown.

        limit: seconds; None is ``timeout_graceful_shutdown``. alone: see `Drain`.
        """
        self.request_stop()
        if self._delay and self.ready:
            logger.info("serving on for %g s", self._delay)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._force_requested.wait(), self._delay)
        self.ready = False
        self._announce()
        if limit is None:
            limit = self.settings.timeout_graceful_shutdown
        self._drain = Drain(self._listeners, self.site, limit=limit, alone=alone)
        if self.forced:
            self._drain.force()
        await self._drain.run()
        for task in self._tasks:
            task.cancel()
        if self._chain is not None:
            self._chain.close()


async def unless(stop: asyncio.Event, work: Coroutine[object, object, None]) -> bool:
    """Do `work`, given up when `stop` is set; whether it was done. Raises what `work` raises."""
    doing = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
        return doing.done()
    finally:
        for task in (doing, stopping):
            task.cancel()
        await asyncio.gather(doing, stopping, return_exceptions=True)


async def _for_ever(seconds: float, action: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await action()
        except Exception:
            logger.exception("%s failed", getattr(action, "__qualname__", action))


def _http2_options(settings: Settings) -> Http2Options | None:
    """What HTTP/2's peers are told; None where it is off."""
    if not settings.http2:
        return None
    return Http2Options(
        max_streams=settings.http2_max_concurrent_streams,
        initial_window=settings.http2_initial_window_size,
        max_frame=settings.http2_max_frame_size,
        max_header_list=settings.http2_max_header_list_size,
    )


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
