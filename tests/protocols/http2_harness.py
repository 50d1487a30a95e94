"""An HTTP/2 connection without a socket, a loop or a sleep: frames in, frames out, time by hand.

talk = Http2Conversation()
talk.send(request(1, "POST", end=False), data(1, b"hello", end=True))
assert talk.replies[1].body == b"hello"
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from struct import iter_unpack, pack, unpack_from
from typing import NamedTuple, cast

from hpack import Decoder, Encoder

from gateway.exchange import Exchange, Handler
from gateway.head import Headers
from gateway.protocols.http1 import Http1Connection
from gateway.protocols.http1_httptools import HttptoolsHeadParser
from gateway.protocols.http2 import Http2Connection
from gateway.protocols.http2_errors import ErrorCode
from gateway.protocols.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PRIORITY_FLAG,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)
from gateway.protocols.http2_settings import Http2Options
from gateway.protocols.negotiation import NegotiatedConnection

from .harness import Conversation, FakeTime, FakeTransport, hello

__all__ = [
    "WINDOW",
    "Frame",
    "Http2Conversation",
    "Reply",
    "Speaker",
    "SwitchingTransport",
    "block",
    "connect",
    "continuation",
    "data",
    "frame",
    "goaway",
    "headers",
    "hold",
    "ping",
    "priority",
    "read_values",
    "request",
    "reset",
    "settings",
    "window_update",
]

WINDOW = 65535
"""Of the connection, and of a stream whose peer has set none (RFC 9113, section 6.9.2)."""


# --- frames to send -------------------------------------------------------------------------------


def block(fields: Mapping[str, str] | list[tuple[str, str]]) -> bytes:
    """A field section that neither needs nor minds what the tables hold."""
    pairs = fields.items() if isinstance(fields, Mapping) else fields
    return Encoder().encode([*pairs], huffman=False)


def _padded(payload: bytes, pad: int | None) -> tuple[int, bytes]:
    return (0, payload) if pad is None else (PADDED, bytes([pad]) + payload + bytes(pad))


def headers(
    stream: int,
    section: bytes,
    *,
    end: bool = True,
    whole: bool = True,
    pad: int | None = None,
    depends: int | None = None,
) -> bytes:
    """whole: no CONTINUATION follows. depends: the stream of its priority fields, if it has any."""
    flags = (END_STREAM if end else 0) | (END_HEADERS if whole else 0)
    if depends is not None:
        flags |= PRIORITY_FLAG
        section = pack(">LB", depends, 15) + section
    padded, section = _padded(section, pad)
    return frame(HEADERS, flags | padded, stream, section)


def request(
    stream: int,
    method: str = "GET",
    path: str = "/",
    *fields: tuple[str, str],
    end: bool = True,
    authority: str = "a",
) -> bytes:
    """The HEADERS of a good request."""
    pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", authority)]
    return headers(stream, block([*pseudo, *fields]), end=end)


def connect(stream: int, path: str = "/chat", *, end: bool = False) -> bytes:
    """An extended CONNECT, as a WebSocket begins (RFC 8441)."""
    pseudo = {":method": "CONNECT", ":protocol": "websocket", ":scheme": "http", ":path": path}
    return headers(stream, block({**pseudo, ":authority": "a"}), end=end)


def continuation(stream: int, section: bytes, *, whole: bool = True) -> bytes:
    return frame(CONTINUATION, END_HEADERS if whole else 0, stream, section)


def data(stream: int, payload: bytes = b"", *, end: bool = False, pad: int | None = None) -> bytes:
    padded, payload = _padded(payload, pad)
    return frame(DATA, padded | (END_STREAM if end else 0), stream, payload)


def settings(values: Mapping[int, int] | list[tuple[int, int]] | None = None) -> bytes:
    """None: the acknowledgement of theirs."""
    if values is None:
        return frame(SETTINGS, ACK, 0, b"")
    pairs = values.items() if isinstance(values, Mapping) else values
    return frame(SETTINGS, 0, 0, b"".join([pack(">HL", *pair) for pair in pairs]))


def window_update(stream: int, size: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, pack(">L", size))


def reset(stream: int, code: int = ErrorCode.CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, pack(">L", code))


def ping(payload: bytes = b"12345678", *, ack: bool = False) -> bytes:
    return frame(PING, ACK if ack else 0, 0, payload)


def priority(stream: int, depends: int = 0) -> bytes:
    return frame(PRIORITY, 0, stream, pack(">LB", depends, 15))


def goaway(last: int = 0, code: int = ErrorCode.NO_ERROR) -> bytes:
    return frame(GOAWAY, 0, 0, pack(">LL", last, code))


# --- what comes back ------------------------------------------------------------------------------


class Frame(NamedTuple):
    """One frame as the server has sent it."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """Of a RST_STREAM or a GOAWAY."""
        assert self.kind in (RST_STREAM, GOAWAY)
        code: int = unpack_from(">L", self.payload, 4 if self.kind == GOAWAY else 0)[0]
        return code

    @property
    def number(self) -> int:
        """The first of a GOAWAY, the only one of a WINDOW_UPDATE."""
        return int.from_bytes(self.payload[:4], "big")


@dataclass
class Reply:
    """What came on one stream; `interim` are the 1xx. reset: the code of a RST_STREAM."""

    status: int | None = None
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)


class _Reader:
    """Cuts what a server sends into frames and replies; asserts what no server may do."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.replies: dict[int, Reply] = {}
        self._decoder = Decoder(1 << 30)
        self._section: tuple[Frame, bytes] | None = None

    def read(self, output: bytes) -> int:
        """How much of `output` was whole frames."""
        at = 0
        while len(output) - at >= 9:
            high, low, kind, flags, stream = unpack_from(">HBBBL", output, at)
            end = at + 9 + (high << 8 | low)
            if end > len(output):
                break
            self._take(Frame(kind, flags, stream, output[at + 9 : end]))
            at = end
        return at

    def _take(self, got: Frame) -> None:
        self.frames.append(got)
        assert self._section is None or got.kind == CONTINUATION, "a section is not continued"
        if got.kind in (HEADERS, CONTINUATION):
            first, so_far = self._section or (got, b"")
            self._section = (first, so_far + got.payload)
            if got.flags & END_HEADERS:
                self._section = None
                self._take_section(first, so_far + got.payload)
        elif got.kind == DATA:
            reply = self.replies[got.stream]
            assert reply.status is not None, "DATA before HEADERS"
            assert not reply.ended, "DATA after the end"
            assert reply.reset is None, "DATA after RST_STREAM"
            reply.body += got.payload
            reply.ended = bool(got.flags & END_STREAM)
        elif got.kind == RST_STREAM:
            reply = self.replies.setdefault(got.stream, Reply())
            assert reply.reset is None, "a stream is reset twice"
            reply.reset = got.code

    def _take_section(self, first: Frame, section: bytes) -> None:
        reply = self.replies.setdefault(first.stream, Reply())
        assert not reply.ended, "HEADERS after the end"
        assert reply.reset is None, "HEADERS after RST_STREAM"
        fields = [
            (bytes(name), bytes(value)) for name, value in self._decoder.decode(section, raw=True)
        ]
        ended = bool(first.flags & END_STREAM)
        if fields[:1] and fields[0][0] == b":status":
            status = int(fields[0][1])
            assert reply.status is None, "a second head"
            if status < 200:
                assert not ended, "an interim response is not the end"
                reply.interim.append(status)
                return
            reply.status, reply.headers = status, fields[1:]
        else:
            assert ended, "trailers end a response"
            reply.trailers = fields
        reply.ended = ended


# --- the connection -------------------------------------------------------------------------------


class _Tls(ssl.SSLObject):
    """A handshake that has agreed on `alpn`, or "" on nothing, with nobody known by a certificate."""

    context = None  # type: ignore[assignment]

    def __init__(self, alpn: str) -> None:
        self._alpn = alpn

    def selected_alpn_protocol(self) -> str | None:
        return self._alpn or None

    def version(self) -> str:
        return "TLSv1.3"

    def cipher(self) -> tuple[str, str, int]:
        return ("TLS_AES_128_GCM_SHA256", "TLSv1.3", 128)

    def getpeercert(self, binary_form: bool = False) -> None:  # type: ignore[override]
        return None


class SwitchingTransport(FakeTransport):
    """A transport whose protocol may be changed, as asyncio's, and whose peer can read a little.

    alpn: what its TLS handshake has agreed on; None is plain text. switched: is told of a protocol.
    """

    def __init__(
        self,
        *,
        alpn: str | None = None,
        switched: Callable[[asyncio.BaseProtocol], None] = lambda protocol: None,
    ) -> None:
        super().__init__(cast("Http1Connection", None), tls=alpn is not None)
        self._encrypted = None if alpn is None else _Tls(alpn)
        self._switched = switched

    def peer_takes(self, size: int) -> None:
        """A peer that does not read by itself takes `size` bytes."""
        self.written += self._buffer[:size]
        del self._buffer[:size]
        if self._paused_protocol and len(self._buffer) <= self._low:
            self._paused_protocol = False
            self._protocol.resume_writing()
        if self.state == "closing" and not self._buffer:
            self._lose()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast("Http1Connection", protocol)
        self._switched(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def get_extra_info(self, name: str, default: object = None) -> object:
        if name == "ssl_object":
            return self._encrypted
        return super().get_extra_info(name, default)


class _Loop:
    """The part of a loop that connections use: it has turns, and time that passes by hand."""

    def __init__(self) -> None:
        self.later: list[Callable[[], None]] = []
        self.time: FakeTime
        self._timers: list[tuple[float, Callable[[], None]]] = []

    def call_soon(self, callback: Callable[..., None], *args: object) -> None:
        self.later.append(lambda: callback(*args))

    def call_later(self, delay: float, callback: Callable[..., None], *args: object) -> None:
        self._timers.append((self.time.now + delay, lambda: callback(*args)))

    def run_due(self) -> None:
        due = [timer for timer in self._timers if timer[0] <= self.time.now]
        self._timers = [timer for timer in self._timers if timer not in due]
        for _, callback in due:
            callback()


def hold(exchange: Exchange) -> None:
    """A handler whose exchanges the test goes on with."""


class Http2Conversation(Conversation):
    """One connection and everything that was said on it.

    ends: the exchanges that are finished, each as often as it said so.

    handler, answer: as of `Conversation`. options: of HTTP/2; None does not speak it.
    plain: begins in HTTP/1.1, as a listener without TLS does. alpn: begins with a TLS handshake
    that has agreed on this; "" on nothing. start: both sides' settings are exchanged already, and
    what was said for that is not in `frames`. values: the client's settings then.
    context: further arguments of `ConnectionContext`.
    """

    def __init__(
        self,
        handler: Handler | None = None,
        *,
        answer: Callable[[Exchange], None] = hello,
        options: Http2Options | None = Http2Options(),  # noqa: B008 - it is frozen
        plain: bool = False,
        alpn: str | None = None,
        start: bool = True,
        values: Mapping[int, int] | None = None,
        **context: float,
    ) -> None:
        loop = _Loop()
        self.ends: list[Exchange] = []
        super().__init__(
            HttptoolsHeadParser,
            handler,
            answer=answer,
            loop=cast("asyncio.AbstractEventLoop", loop),
            http2=options,  # type: ignore[arg-type]
            **context,
        )
        loop.time = self.time
        self._loop = loop
        self.context.connections.clear()
        self.transport: SwitchingTransport = SwitchingTransport(alpn=alpn, switched=self._switched)
        self.transport.later = loop.later
        self._reader = _Reader()
        self._read = 0
        first: asyncio.Protocol
        if alpn is not None:
            first = NegotiatedConnection(self.context)
        elif plain or options is None:
            first = Http1Connection(self.context)
        else:
            first = Http2Connection(self.context, options)
        self.transport.set_protocol(first)
        first.connection_made(self.transport)
        if start and isinstance(self.connection, Http2Connection):
            self.send(PREFACE, settings(values or {}), settings())
            self._reader.frames.clear()

    def _handle(self, exchange: Exchange) -> None:
        exchange.on_finish.append(self.ends.append)
        super()._handle(exchange)

    # --- the client's side ----------------------------------------------------------------------

    def settle(self) -> None:
        self._loop.run_due()
        super().settle()

    def _switched(self, protocol: asyncio.BaseProtocol) -> None:
        self.connection = cast("Http1Connection", protocol)

    def send(self, *frames: bytes) -> list[Frame]:
        """Send frames in one segment; returns those that were answered meanwhile."""
        before = len(self.frames)
        self.feed(b"".join(frames))
        return self.frames[before:]

    def send_each(self, *frames: bytes) -> list[Frame]:
        """Send frames byte by byte."""
        before = len(self.frames)
        self.feed_each(b"".join(frames))
        return self.frames[before:]

    def run(self, action: Callable[[], object]) -> list[Frame]:
        """What is answered to something that happens elsewhere, in an application or in time."""
        before = len(self.frames)
        action()
        self.settle()
        return self.frames[before:]

    # --- what came of it ------------------------------------------------------------------------

    @property
    def http2(self) -> Http2Connection:
        connection: object = self.connection
        assert isinstance(connection, Http2Connection)
        return connection

    def skip_http1(self) -> bytes:
        """Take the head with which HTTP/1.1 ended: frames begin behind it."""
        end = self.output.index(b"\r\n\r\n") + 4
        head, self._read = self.output[:end], end
        return head

    @property
    def frames(self) -> list[Frame]:
        """All that came since the beginning."""
        self._read += self._reader.read(self.output[self._read :])
        return self._reader.frames

    @property
    def replies(self) -> dict[int, Reply]:
        """What came on each stream."""
        assert self.frames is self._reader.frames
        return self._reader.replies

    def of_kind(self, *kinds: int) -> list[Frame]:
        return [each for each in self.frames if each.kind in kinds]

    @property
    def closed(self) -> bool:
        """The server has closed its side, and may have gone since."""
        return self.state != "open"

    @property
    def error(self) -> int | None:
        """The code of the last GOAWAY; None if there was none."""
        farewells = self.of_kind(GOAWAY)
        return farewells[-1].code if farewells else None

    @property
    def ended_once(self) -> bool:
        """Every exchange has said exactly once that it is finished."""
        return sorted(map(id, self.ends)) == sorted(map(id, self.exchanges))


def read_values(payload: bytes) -> Iterator[tuple[int, int]]:
    """The (identifier, value) pairs of a SETTINGS frame."""
    return cast("Iterator[tuple[int, int]]", iter_unpack(">HL", payload))


class Speaker:
    """Who speaks in a tunnel: it notes what happens, and reads at once.

    opens: with the request; else when the test calls `open`. takes: bytes as they come, and not by
    `Exchange.read`.
    """

    messages_received = messages_sent = 0

    def __init__(self, *, opens: bool = True, takes: bool = False) -> None:
        self.opens, self.takes = opens, takes
        self.heard = b""
        self.news: list[str] = []
        self.exchange: Exchange

    def __call__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        exchange.listener = exchange.tunnel = self
        if self.opens:
            self.open([])

    def open(self, fields: Headers) -> None:
        self.exchange.open_tunnel(200, fields)

    def on_bytes(self, data: bytes) -> bool:
        if self.takes:
            self.heard += data
        return self.takes

    def on_readable(self) -> None:
        self.news.append("disconnected" if self.exchange.disconnected else "readable")
        self.heard += self.exchange.read()

    def on_writable(self) -> None:
        self.news.append("writable")

    def on_gone(self) -> None:
        self.news.append("gone")

    def on_deadline(self) -> None:
        self.news.append("deadline")

    def on_shutdown(self) -> None:
        self.news.append("shutdown")
