"""The two ends of a connection, as a transport tells them."""

from __future__ import annotations

import asyncio
import ssl

from gateway.head import Peer
from gateway.protocols.proxy_protocol import ProxyHeader
from gateway.tls.facts import TlsFacts

__all__ = ["peer_of"]


def peer_of(transport: asyncio.BaseTransport, proxied: ProxyHeader | None = None) -> Peer:
    """The addresses of a connection as the ASGI spec wants them, and what its handshake settled.

    proxied: what a balancer has said of it, which is believed: see `ProxyReader`.
    """
    scheme = "http" if transport.get_extra_info("sslcontext") is None else "https"
    encrypted = transport.get_extra_info("ssl_object")
    tls = TlsFacts.read(encrypted) if isinstance(encrypted, ssl.SSLObject) else None
    remote = transport.get_extra_info("peername")
    local = transport.get_extra_info("sockname")
    client = (str(remote[0]), int(remote[1])) if isinstance(remote, tuple) else None
    if isinstance(local, tuple):
        peer = Peer(client, (str(local[0]), int(local[1])), scheme, tls)
    else:
        if isinstance(local, bytes):
            local = local.decode(errors="surrogateescape")
        peer = Peer(client, (local, None) if local else None, scheme, tls)
    if proxied is not None:
        _retell(peer, proxied)
    return peer


def _retell(peer: Peer, proxied: ProxyHeader) -> None:
    peer.proxied = {**proxied.facts, "peer": peer.client}
    if proxied.known:
        peer.client, peer.server = proxied.client, proxied.server
    if proxied.encrypted:
        peer.scheme = "https"
