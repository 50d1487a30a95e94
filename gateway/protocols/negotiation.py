"""Which protocol a TLS connection speaks: what its handshake has agreed on (ALPN, RFC 7301)."""

from __future__ import annotations

import asyncio
from typing import cast

from gateway.protocols.context import ConnectionContext
from gateway.protocols.http1 import Http1Connection
from gateway.protocols.http2 import Http2Connection
from gateway.protocols.proxy_protocol import ProxyHeader

__all__ = ["NegotiatedConnection"]


class NegotiatedConnection(asyncio.Protocol):
    """Stands where a protocol must be named before the handshake; steps aside after it."""

    def __init__(self, context: ConnectionContext, proxied: ProxyHeader | None = None) -> None:
        self._context = context
        self._proxied = proxied

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        context = self._context
        tls = transport.get_extra_info("ssl_object")
        speaks_http2 = tls is not None and tls.selected_alpn_protocol() == "h2"
        protocol: Http1Connection | Http2Connection
        if context.http2 is not None and speaks_http2:
            protocol = Http2Connection(context, context.http2, proxied=self._proxied)
        else:
            protocol = Http1Connection(context, self._proxied)
        cast("asyncio.Transport", transport).set_protocol(protocol)
        protocol.connection_made(transport)
