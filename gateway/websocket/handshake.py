"""The opening handshake (RFC 6455, section 4.2; RFC 8441): what a client asks, and the answer.

Every field is bytes until it was checked. What is not printable ASCII is refused before anything
looks at it: one such byte in Sec-WebSocket-Protocol has ended whole workers elsewhere
(CVE-2026-42544).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha1
from typing import Final

from gateway.exchange import ResponseError
from gateway.fields import TOKEN, normalized
from gateway.head import Headers, RequestHead
from gateway.websocket.extensions import Offer, parse_offers

__all__ = ["Handshake", "HandshakeError"]

# RFC 6455, section 1.3.
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# 16 bytes in base64. The four bits that the last digit has too many may be anything: no decoder
# of a peer looks at them either.
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")
_PRINTABLE: Final = bytes(range(0x20, 0x7F)) + b"\t"
_UPGRADING: Final = (b"connection", b"upgrade", b"origin")
# Negotiated here; and what no such answer may have (RFC 9110, sections 6.4.1 and 8.6).
_OWN: Final = (b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-protocol")
_BODY: Final = (b"content-length", b"transfer-encoding")


class HandshakeError(Exception):
    """The request cannot become a WebSocket: answer `status` with `reason` and `headers`.

    status: 400 malformed; 403 its origin is not allowed; 405 not a GET; 426 another version.
    reason: plain text, with nothing of the request in it.
    """

    def __init__(self, status: int, reason: str, headers: Headers | None = None) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers: Headers = headers or []

    def __str__(self) -> str:
        return f"{self.status} {self.reason}"


class Handshake:
    """A client's opening request, found legal.

    subprotocols: offered by the client, its favorite first, as sent.
    extensions: offered by the client, its favorite first.
    status: of the answer that opens the WebSocket: 101, or 200 over HTTP/2.
    """

    __slots__ = ("_key", "extensions", "status", "subprotocols")

    def __init__(self, key: bytes | None, subprotocols: list[str], extensions: list[Offer]) -> None:
        """key: of a client on HTTP/1.1, to be answered with its hash; None over HTTP/2."""
        self._key = key
        self.subprotocols = subprotocols
        self.extensions = extensions
        self.status = 200 if key is None else 101

    @classmethod
    def check(cls, head: RequestHead, *, origins: Sequence[str] | None = None) -> Handshake:
        """Check a request whose `head.upgrade` is b"websocket". Raises `HandshakeError`.

        Over HTTP/2 that is what ``:protocol`` says, and the method is "GET" there too. A key proves
        that the server is no HTTP/1.1 cache; the stream does without (RFC 8441, section 5).

        origins: the allowed values of Origin, such as "https://example.com", with the port where
            it is not the scheme's own; compared whole, case ignored. "null" (a sandboxed page, a
            file) passes only if listed. So does a request without Origin, which no browser
            sends: "" in the list lets it pass. websockets and Channels refuse it as well. None
            or empty: anybody.
        """
        if head.method != "GET":
            raise HandshakeError(405, "a WebSocket is opened with GET", [(b"allow", b"GET")])
        if head.upgrade != b"websocket" or head.version == "1.0":
            raise HandshakeError(400, "not a WebSocket request of HTTP/1.1 or HTTP/2")
        old = head.version == "1.1"
        # A stream that can carry frames has not ended, and does not know its length.
        if head.content_length != (0 if old else None):
            raise HandshakeError(400, "a WebSocket request has no body")
        found: dict[bytes, list[bytes]] = {}
        for name, value in head.headers:
            if name.startswith(b"sec-websocket-") or name in _UPGRADING:
                if value.translate(None, _PRINTABLE):
                    raise HandshakeError(400, "a WebSocket field is not printable ASCII")
                found.setdefault(name, []).append(value)
        version = _only(found, b"sec-websocket-version")
        if version != b"13":
            if version is None:
                raise HandshakeError(400, "Sec-WebSocket-Version is missing")
            # RFC 6455, section 4.4, and RFC 9110, section 15.5.22, for Upgrade, which is none of
            # HTTP/2's fields.
            wanted = [(b"sec-websocket-version", b"13")]
            if old:
                wanted.append((b"upgrade", b"websocket"))
            raise HandshakeError(426, "the WebSocket version is 13", wanted)
        key = _only(found, b"sec-websocket-key") if old else None
        if old and (key is None or not _KEY.fullmatch(key)):
            raise HandshakeError(400, "Sec-WebSocket-Key is not 16 bytes in base64")
        origin = _only(found, b"origin")
        if origins:
            said = (origin or b"").decode().lower()
            if not any(said == allowed.lower() for allowed in origins):
                raise HandshakeError(403, "the origin is not allowed")
        subprotocols = _tokens(found.get(b"sec-websocket-protocol", []))
        try:
            extensions = parse_offers(found.get(b"sec-websocket-extensions", []))
        except ValueError as error:
            raise HandshakeError(400, f"Sec-WebSocket-Extensions: {error}") from None
        return cls(key, subprotocols, extensions)

    def accept_headers(
        self, *, subprotocol: str | None, extension: bytes | None, extra: Headers
    ) -> Headers:
        """The fields of the answer with `status`; Connection and Upgrade are the wire's.

        extension: the value of Sec-WebSocket-Extensions.
        extra: the application's own fields. What describes a connection or a body is left out.

        Raises `ResponseError` for a subprotocol that was not offered, which every client must
        take for a failure (RFC 6455, section 4.1), and for fields that are negotiated here.
        """
        headers: Headers = []
        if self._key is not None:
            accept = b64encode(sha1(self._key + _GUID, usedforsecurity=False).digest())
            headers.append((b"sec-websocket-accept", accept))
        if subprotocol is not None:
            if subprotocol not in self.subprotocols:
                offer = ", ".join(self.subprotocols) or "none"
                raise ResponseError(
                    f"the client did not offer the subprotocol {subprotocol!r}, but {offer}"
                )
            headers.append((b"sec-websocket-protocol", subprotocol.encode()))
        if extension is not None:
            headers.append((b"sec-websocket-extensions", extension))
        for name, value in normalized(extra).kept:
            if name in _OWN:
                raise ResponseError(f"{name.decode()} is negotiated, not set as a header")
            if name not in _BODY:
                headers.append((name, value))
        return headers


def _only(found: dict[bytes, list[bytes]], name: bytes) -> bytes | None:
    values = found.get(name)
    if values is None:
        return None
    if len(values) > 1:
        raise HandshakeError(400, f"more than one {name.decode()}")
    return values[0]


def _tokens(lines: list[bytes]) -> list[str]:
    """The elements of a list field; empty ones do not count (RFC 9110, section 5.6.1)."""
    tokens = [part.strip(b" \t") for line in lines for part in line.split(b",")]
    for token in tokens:
        if token and not TOKEN.fullmatch(token):
            raise HandshakeError(400, "Sec-WebSocket-Protocol is not a list of tokens")
    return [token.decode() for token in tokens if token]
