"""The request head, as every protocol version hands it over and every interface reads it.

Nothing here knows a parser, a loop or an application.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from gateway.tls.facts import TlsFacts  # OpenSSL takes 10 ms

__all__ = ["Address", "Headers", "Peer", "RequestHead", "address_text"]

Headers: TypeAlias = "list[tuple[bytes, bytes]]"
"""Field lines in wire order; names lower-case, values without surrounding white space."""

Address: TypeAlias = "tuple[str, int | None]"
"""(host, port); a UNIX socket is (path, None), as the ASGI spec asks for ``server``."""


def address_text(address: Address | None) -> str:
    """``127.0.0.1:51234``, ``[::1]:51234``, the host alone if the port is unknown, ``unix``."""
    if address is None:
        return "unix"
    host, port = address
    if not port:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Peer:
    """The two ends of one connection; shared by all its requests.

    client: (host, port) of the peer, None where there is none (a UNIX socket).
    server: (host, port) this side is reached at, or (path, None) for a UNIX socket.
    scheme: "http" or "https".
    tls: what the connection's handshake has settled; None on a plain one.
    proxied: what a balancer has said of the connection by the PROXY protocol; docs/proxy.md has its
        names. client, server and scheme are those it has told. None where nobody has.
    checked_host: the last Host value that was found well-formed. It is the same for all requests
        of most connections, and the check costs 0.3 µs.
    checked_fields: the last list of fields whose values were; HTTP/2 hands over the same list for
        a request that is repeated.
    """

    __slots__ = (
        "checked_fields",
        "checked_host",
        "client",
        "proxied",
        "scheme",
        "server",
        "tls",
    )

    def __init__(
        self,
        client: Address | None,
        server: Address | None,
        scheme: str = "http",
        tls: TlsFacts | None = None,
    ) -> None:
        self.client = client
        self.server = server
        self.scheme = scheme
        self.tls = tls
        self.proxied: Mapping[str, object] | None = None
        self.checked_host = b""
        self.checked_fields: Headers | None = None

    def __repr__(self) -> str:
        return f"Peer(client={self.client}, server={self.server}, scheme={self.scheme!r})"


class RequestHead:
    """One request's control data and header section (RFC 9110, section 6).

    method: "GET"; always upper-case letters, from the registry of known methods.
    target: the request target as received (origin-form; an absolute-form target is reduced to it).
    path: the percent-decoded full path, "/api/users"; the outer root path is part of it.
    raw_path: the same before decoding, without the query.
    query: the bytes after the first "?"; b"" if there is none.
    version: "1.0", "1.1" or "2".
    headers: see `Headers`. Frozen once the head is complete: trailers never join it.
    content_length: the declared body length in bytes, 0 when there is no body, None when it is
        unknown until it ends (chunked, or an HTTP/2 body without a declared length).
    expect_continue: the client waits for 100 (Continue) before it sends the body.
    upgrade: lower-case protocol a client asks to switch to (b"websocket"), or None.
    scheme, client, server: from the `Peer`; proxy headers from a trusted peer may replace them.
    tls: from the `Peer`, and nothing replaces it: it is about the connection, which a proxy may
        hold, while scheme and client are about the way behind it. What a field says of a
        certificate nobody here has verified.
    proxied: from the `Peer`, and nothing replaces it.
    root_path: the part of `path` the application is mounted at, without a trailing slash.
        WSGI's SCRIPT_NAME and ASGI's root_path are this.
    mount: the key of the mount that took the request, for the log ("" before it is chosen).
    """

    __slots__ = (
        "client",
        "content_length",
        "expect_continue",
        "headers",
        "method",
        "mount",
        "path",
        "proxied",
        "query",
        "raw_path",
        "root_path",
        "scheme",
        "server",
        "target",
        "tls",
        "upgrade",
        "version",
    )

    def __init__(
        self,
        method: str,
        target: bytes,
        path: str,
        raw_path: bytes,
        query: bytes,
        version: str,
        headers: Headers,
        peer: Peer,
        content_length: int | None = 0,
        expect_continue: bool = False,
        upgrade: bytes | None = None,
    ) -> None:
        self.method = method
        self.target = target
        self.path = path
        self.raw_path = raw_path
        self.query = query
        self.version = version
        self.headers = headers
        self.content_length = content_length
        self.expect_continue = expect_continue
        self.upgrade = upgrade
        self.scheme = peer.scheme
        self.client = peer.client
        self.server = peer.server
        self.tls = peer.tls
        self.proxied = peer.proxied
        self.root_path = ""
        self.mount = ""

    def header(self, name: bytes) -> bytes | None:
        """The first value of the field ``name`` (lower-case), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    @property
    def accepts_trailers(self) -> bool:
        """The client said ``TE: trailers`` (RFC 9110, section 10.1.4)."""
        te = b",".join([value for name, value in self.headers if name == b"te"])
        return b"trailers" in [part.strip() for part in te.lower().split(b",")]

    def __repr__(self) -> str:
        return f"<RequestHead {self.method} {self.target!r} HTTP/{self.version}>"
