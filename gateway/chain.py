"""The gateway's own handlers in front of a site, compiled once: what is off is not there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from gateway.exchange import Handler
from gateway.log import access_enabled, access_stream, wants_color
from gateway.middleware.access_format import compile_format
from gateway.middleware.access_log import access_log, access_records
from gateway.middleware.buffered_sink import BufferedSink
from gateway.middleware.concurrency import limit_concurrency
from gateway.middleware.limits import limit_max_requests
from gateway.middleware.proxy_headers import proxy_headers
from gateway.middleware.trusted_peers import TrustedPeers
from gateway.settings.model import Settings

__all__ = ["Chain", "balancers"]


class Chain:
    """Access log, limits and proxy headers, in this order, around the handler of a site.

    The log is first, so that it sees every answer and the client as the others left it; limits
    come before any work is done.
    handler: for the wires.
    max_requests: after as many, `on_max_requests` is called, once.
    """

    def __init__(
        self,
        settings: Settings,
        inner: Handler,
        *,
        loop: asyncio.AbstractEventLoop,
        max_requests: int | None,
        on_max_requests: Callable[[], None],
    ) -> None:
        self._sink: BufferedSink | None = None
        handler = inner
        if settings.proxy_headers:
            handler = proxy_headers(handler, TrustedPeers(settings.forwarded_allow_ips))
        if max_requests is not None:
            handler = limit_max_requests(handler, max_requests, on_max_requests)
        if settings.limit_concurrency is not None:
            handler = limit_concurrency(
                handler,
                settings.limit_concurrency,
                queue=settings.limit_queue,
                timeout=settings.timeout_queue,
                loop=loop,
            )
        if settings.access_log and access_enabled():
            handler = self._logged(settings, handler, loop)
        self.handler = handler

    @staticmethod
    def check(settings: Settings) -> None:
        """Raise `ConfigError` for what the handlers would not take, before anything is started."""
        compile_format(settings.access_log_format)
        TrustedPeers(settings.forwarded_allow_ips)
        balancers(settings)

    def _logged(
        self, settings: Settings, handler: Handler, loop: asyncio.AbstractEventLoop
    ) -> Handler:
        stream = access_stream()
        if stream is None:
            logger = logging.getLogger("gateway.access")
            return access_records(handler, logger, format=settings.access_log_format)
        self._sink = BufferedSink(stream, schedule=loop.call_later)
        return access_log(
            handler,
            self._sink.write,
            format=settings.access_log_format,
            color=wants_color(stream, settings.use_colors),
        )

    def close(self) -> None:
        """Write what is still buffered."""
        if self._sink is not None:
            self._sink.close()


def balancers(settings: Settings) -> TrustedPeers:
    """Whose PROXY headers are believed. Raises `ConfigError`."""
    return TrustedPeers(settings.proxy_protocol_allow_ips, setting="proxy-protocol-allow-ips")
