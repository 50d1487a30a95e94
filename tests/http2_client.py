"""A blocking HTTP/2 client that can send anything: frames by hand, cuts anywhere, every read bounded.

Builders (`headers`, `data`, `settings` …) make the bytes of one frame, right or wrong. `Http2Client`
sends them and reads frames back; it keeps what a client must keep (HPACK tables, windows, acks)
unless told not to, and it judges the server: no frame longer than allowed, no byte more than the
windows hold, no field outside HTTP/2's grammar (RFC 9113, sections 4.2, 6.9 and 8.2).

    with open_client(("127.0.0.1", 8000)) as client:
        response = client.request("POST", "/echo", body=b"Hello")
        client.send(data(9, b"on an idle stream"))
        assert client.goaway().code == ErrorCode.PROTOCOL_ERROR
"""

from __future__ import annotations

import base64
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Self, TypeAlias

import hpack
from e2e.client import Address, ConnectionCut, Fields, Response

__all__ = [
    "ACK",
    "END_HEADERS",
    "END_STREAM",
    "PADDED",
    "PREFACE",
    "PRIORITY",
    "ConnectionCut",
    "ErrorCode",
    "Frame",
    "GoAway",
    "Http2Client",
    "Pair",
    "Response",
    "Setting",
    "StreamReset",
    "Type",
    "Values",
    "connect",
    "continuation",
    "data",
    "frame",
    "goaway",
    "headers",
    "open_client",
    "ping",
    "priority",
    "push_promise",
    "request_fields",
    "rst_stream",
    "settings",
    "window_update",
]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
TIMEOUT = 5.0
WINDOW = 65535  # of the connection and, without a setting, of a stream (section 6.9.2)

Pair: TypeAlias = "tuple[str | bytes, str | bytes]"
Values: TypeAlias = "Mapping[int, int] | Mapping[Setting, int]"


class Type(IntEnum):
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


ACK = END_STREAM = 0x1
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20


class Setting(IntEnum):
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    ENABLE_CONNECT_PROTOCOL = 8  # RFC 8441
    NO_RFC7540_PRIORITIES = 9  # RFC 9218


class ErrorCode(IntEnum):
    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


@dataclass(frozen=True)
class Frame:
    """As it came; the reserved bit of `stream` is taken off."""

    type: int
    flags: int
    stream: int
    payload: bytes

    @property
    def ends_stream(self) -> bool:
        return self.type in (Type.DATA, Type.HEADERS) and bool(self.flags & END_STREAM)

    @property
    def is_ack(self) -> bool:
        return self.type in (Type.SETTINGS, Type.PING) and bool(self.flags & ACK)

    @property
    def code(self) -> int:
        """The error code of a RST_STREAM or GOAWAY."""
        assert self.type in (Type.RST_STREAM, Type.GOAWAY), self
        at = 4 if self.type == Type.GOAWAY else 0
        return int.from_bytes(self.payload[at : at + 4], "big")

    @property
    def values(self) -> dict[int, int]:
        """Of a SETTINGS frame."""
        assert self.type == Type.SETTINGS, self
        return dict(struct.iter_unpack("!HL", self.payload))


class GoAway(NamedTuple):
    last_stream: int
    code: int
    debug: bytes


class StreamReset(Exception):
    """The server sent RST_STREAM with `code` before the response was complete."""

    def __init__(self, code: int) -> None:
        super().__init__(_name(code))
        self.code = code


def _name(code: int) -> str:
    return ErrorCode(code).name if code in list(ErrorCode) else f"error 0x{code:x}"


# --- frames to send -------------------------------------------------------------------------------


def frame(
    type: int,  # noqa: A002 - the name the RFC gives the field
    flags: int = 0,
    stream: int = 0,
    payload: bytes = b"",
    *,
    length: int | None = None,
) -> bytes:
    """Any frame. length: what its head says, else the length of `payload`."""
    size = len(payload) if length is None else length
    return struct.pack("!BHBBL", size >> 16, size & 0xFFFF, type, flags, stream) + payload


def _padded(payload: bytes, pad: int | None) -> tuple[int, bytes]:
    """The flag and the payload with `pad` bytes of padding; None for none."""
    return (0, payload) if pad is None else (PADDED, bytes([pad]) + payload + bytes(pad))


def data(
    stream: int, payload: bytes = b"", *, end: bool = False, pad: int | None = None, flags: int = 0
) -> bytes:
    padded, payload = _padded(payload, pad)
    return frame(Type.DATA, flags | padded | (END_STREAM if end else 0), stream, payload)


def headers(
    stream: int,
    block: bytes,
    *,
    end: bool = False,
    end_headers: bool = True,
    depends: int | None = None,
    weight: int = 15,
    pad: int | None = None,
    flags: int = 0,
) -> bytes:
    """depends: the stream in its priority fields, None for no such fields. weight: as on the wire."""
    if depends is not None:
        block = struct.pack("!LB", depends, weight) + block
        flags |= PRIORITY
    padded, block = _padded(block, pad)
    flags |= padded | (END_STREAM if end else 0) | (END_HEADERS if end_headers else 0)
    return frame(Type.HEADERS, flags, stream, block)


def continuation(stream: int, block: bytes, *, end_headers: bool = True, flags: int = 0) -> bytes:
    return frame(Type.CONTINUATION, flags | (END_HEADERS if end_headers else 0), stream, block)


def priority(stream: int, depends: int = 0, weight: int = 15) -> bytes:
    return frame(Type.PRIORITY, 0, stream, struct.pack("!LB", depends, weight))


def rst_stream(stream: int, code: int = ErrorCode.CANCEL) -> bytes:
    return frame(Type.RST_STREAM, 0, stream, struct.pack("!L", code))


def settings(values: Values | Iterable[tuple[int, int]] = (), *, ack: bool = False) -> bytes:
    pairs = values.items() if isinstance(values, Mapping) else values
    payload = b"".join(struct.pack("!HL", *pair) for pair in pairs)
    return frame(Type.SETTINGS, ACK if ack else 0, 0, payload)


def push_promise(stream: int, promised: int, block: bytes) -> bytes:
    return frame(Type.PUSH_PROMISE, END_HEADERS, stream, struct.pack("!L", promised) + block)


def ping(payload: bytes = b"12345678", *, ack: bool = False) -> bytes:
    return frame(Type.PING, ACK if ack else 0, 0, payload)


def goaway(last: int = 0, code: int = ErrorCode.NO_ERROR, debug: bytes = b"") -> bytes:
    return frame(Type.GOAWAY, 0, 0, struct.pack("!LL", last, code) + debug)


def window_update(stream: int, size: int) -> bytes:
    return frame(Type.WINDOW_UPDATE, 0, stream, struct.pack("!L", size))


def request_fields(
    method: str = "GET",
    path: str = "/",
    *extra: Pair,
    authority: str = "localhost",
    scheme: str = "http",
) -> list[Pair]:
    """Pseudo-header fields of a good request, then `extra`."""
    return [
        (":method", method),
        (":scheme", scheme),
        (":path", path),
        (":authority", authority),
        *extra,
    ]


# --- the connection -------------------------------------------------------------------------------


@dataclass
class Stream:
    """What came on one stream so far.

    window: what this client may still send, in bytes. credit: what the server may.
    reset: the code of the server's RST_STREAM.
    """

    window: int
    credit: int
    response: Response | None = None
    interim: list[tuple[int, Fields]] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None


class Http2Client:
    """A connection that is open; `start` begins to speak HTTP/2 on it.

    sock: connected, and through its TLS handshake. received: bytes already read from it (after an
    Upgrade). timeout: seconds any one call may take.

    Three switches, on at first: acknowledge (SETTINGS and PING are answered), replenish (DATA is
    answered with WINDOW_UPDATE of the same size), judge (the server must keep to the windows; for
    raw WINDOW_UPDATE and SETTINGS that `grant` and `configure` do not know of).

    log: every frame that came. streams: what came, by stream. window: what may still be sent on
    the connection. peer: the server's settings. next_stream: the id `open` takes.
    """

    def __init__(
        self, sock: socket.socket, *, received: bytes = b"", timeout: float = TIMEOUT
    ) -> None:
        self.socket = sock
        self.timeout = timeout
        self.acknowledge = self.replenish = self.judge = True
        self.log: list[Frame] = []
        self.streams: dict[int, Stream] = {}
        self.window = self.credit = WINDOW
        self.peer: dict[int, int] = {}
        self.next_stream = 1
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.max_frame_size = 16384
        self._stream_credit = WINDOW
        self._unacked: list[Values] = []  # settings sent, not acknowledged yet
        self._block: tuple[int, int, bytes] | None = None  # stream, flags, so far
        self._buffer = bytearray(received)

    @property
    def scheme(self) -> str:
        return "https" if isinstance(self.socket, ssl.SSLSocket) else "http"

    # --- out ------------------------------------------------------------------------------------

    def send(self, *parts: bytes) -> None:
        """Raw bytes, in one write. A server that has hung up shows in the next read, not here."""
        self.socket.settimeout(self.timeout)
        with suppress(ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            self.socket.sendall(b"".join(parts))

    def start(self, values: Values | None = None) -> None:
        """Send the preface with these settings, without waiting for an answer."""
        self.send(PREFACE)
        self.configure(values or {})

    def upgrade(self, path: str = "/", *lines: str, values: Values | None = None) -> bytes:
        """Ask for HTTP/2 in HTTP/1.1, with the preface if it was granted; the status line.

        RFC 7540, section 3.2: the response is on stream 1; another status than 101 is all that is
        kept of its answer. lines: of the head, instead of those that say Upgrade and its settings,
        which are `values`.
        """
        pairs = settings(values or {})[9:]
        coded = base64.urlsafe_b64encode(pairs).rstrip(b"=").decode()
        asking = (
            "connection: Upgrade, HTTP2-Settings",
            "upgrade: h2c",
            f"http2-settings: {coded}",
        )
        head = (f"GET {path} HTTP/1.1", "host: localhost", *(lines or asking), "", "")
        self.send("\r\n".join(head).encode())
        deadline = time.monotonic() + self.timeout
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._fill(len(self._buffer) + 1, deadline)
        status = bytes(self._buffer).partition(b"\r\n")[0]
        switched = status.startswith(b"HTTP/1.1 101 ")
        del self._buffer[: end + 4 if switched else None]
        if switched:
            self._apply(values or {})
            self._stream(1)
            self.next_stream = 3
            self.start()
        return status

    def settle(self) -> Self:
        """Read until the server has sent its settings and has acknowledged all of ours."""
        self._read_while(lambda: not self.peer and not self._got_settings())
        self._read_while(lambda: bool(self._unacked))
        return self

    def configure(self, values: Values) -> None:
        """Send settings; they hold from the server's acknowledgment on."""
        self._unacked.append(values)
        self.send(settings(values))

    def grant(self, stream: int, size: int) -> None:
        """Send WINDOW_UPDATE; stream 0 is the connection."""
        if stream:
            self._stream(stream).credit += size
        else:
            self.credit += size
        self.send(window_update(stream, size))

    def block(self, fields: Iterable[Pair]) -> bytes:
        """A header block by the connection's encoder: what is encoded must be sent, in order."""
        encoded: bytes = self.encoder.encode(list(fields))
        return encoded

    def request_block(self, method: str = "GET", path: str = "/", *extra: Pair) -> bytes:
        return self.block(request_fields(method, path, *extra, scheme=self.scheme))

    def open(self, method: str = "GET", path: str = "/", *extra: Pair, end: bool = True) -> int:
        """Send the head of a request; its stream. end: there is no body."""
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        self.send(headers(stream, self.request_block(method, path, *extra), end=end))
        self._stream(stream)
        return stream

    def send_body(
        self, stream: int, body: bytes, *, end: bool = True, trailers: Iterable[Pair] = ()
    ) -> None:
        """Body bytes, as the windows allow: waits for more window, reading what comes.

        Returns early when the server resets or has ended the stream: it wants no more.
        """
        trailers = list(trailers)
        state = self._stream(stream)
        at = 0
        while at < len(body):
            self._read_while(lambda: min(self.window, state.window) <= 0 and not self._done(state))
            if self._done(state):
                return
            size = min(len(body) - at, self.window, state.window, self._frame_limit())
            last = end and not trailers and at + size == len(body)
            self.send(data(stream, body[at : at + size], end=last))
            self.window -= size
            state.window -= size
            at += size
        if end and trailers:
            self.send(headers(stream, self.block(trailers), end=True))
        elif end and not body:
            self.send(data(stream, end=True))

    def request(
        self,
        method: str = "GET",
        path: str = "/",
        *extra: Pair,
        body: bytes | None = None,
        trailers: Iterable[Pair] = (),
    ) -> Response:
        """A whole exchange. extra: further fields. Raises `StreamReset`, `ConnectionCut`."""
        trailers = list(trailers)
        stream = self.open(method, path, *extra, end=body is None and not trailers)
        if body is not None or trailers:
            self.send_body(stream, body or b"", trailers=trailers)
        return self.response(stream)

    # --- in -------------------------------------------------------------------------------------

    def read_frame(self, timeout: float | None = None) -> Frame:
        """The next frame. Raises `ConnectionCut` at the end, TimeoutError after `timeout` seconds."""
        return self._next(time.monotonic() + (self.timeout if timeout is None else timeout))

    def until(self, wanted: Callable[[Frame], bool] | int, *, stream: int | None = None) -> Frame:
        """The next frame that is `wanted`, a type or a test of it; others are passed over."""
        deadline = time.monotonic() + self.timeout
        while True:
            got = self._next(deadline)
            fits = got.type == wanted if isinstance(wanted, int) else wanted(got)
            if fits and stream in (None, got.stream):
                return got

    def response(self, stream: int) -> Response:
        """The response to its end. Raises `StreamReset`, `ConnectionCut`."""
        state = self._stream(stream)
        self._read_while(lambda: not self._done(state))
        if state.reset is not None and not state.ended:
            raise StreamReset(state.reset)
        assert state.response is not None, "the stream ended without a response"
        return state.response

    def head(self, stream: int) -> Response:
        """The response once its head is there; its body grows as frames are read."""
        state = self._stream(stream)
        self._read_while(lambda: state.response is None and state.reset is None)
        if state.response is None:
            assert state.reset is not None
            raise StreamReset(state.reset)
        return state.response

    def body(self, stream: int, size: int) -> bytes:
        """The body once at least `size` bytes of it are there, or all."""
        state = self._stream(stream)
        self._read_while(
            lambda: (
                not self._done(state)
                and (state.response is None or len(state.response.body) < size)
            )
        )
        if state.reset is not None and not state.ended:
            raise StreamReset(state.reset)
        assert state.response is not None
        return state.response.body

    def reset_code(self, stream: int) -> int:
        """The code of the server's RST_STREAM, which comes now."""
        return self.until(Type.RST_STREAM, stream=stream).code

    def goaway(self) -> GoAway:
        """The server's GOAWAY, which comes now. Raises `ConnectionCut`."""
        payload = self.until(Type.GOAWAY).payload
        last, code = struct.unpack_from("!LL", payload)
        return GoAway(last, code, payload[8:])

    def rest(self) -> list[Frame]:
        """Every frame until the server closes the connection."""
        deadline = time.monotonic() + self.timeout
        found: list[Frame] = []
        with suppress(ConnectionCut):
            while True:
                found.append(self._next(deadline))
        return found

    def sync(self) -> list[Frame]:
        """Every frame until a PING is answered: the server has read all that was sent before."""
        token = struct.pack("!Q", time.monotonic_ns())
        self.send(ping(token))
        before = len(self.log)
        self.until(lambda got: got.type == Type.PING and got.is_ack and got.payload == token)
        return self.log[before:-1]

    # --- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        self.socket.close()

    def abort(self) -> None:
        """Go away as a killed client does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- inside ---------------------------------------------------------------------------------

    def _stream(self, stream: int) -> Stream:
        if stream not in self.streams:
            window = self.peer.get(Setting.INITIAL_WINDOW_SIZE, WINDOW)
            self.streams[stream] = Stream(window, self._stream_credit)
        return self.streams[stream]

    def _done(self, state: Stream) -> bool:
        return state.ended or state.reset is not None

    def _frame_limit(self) -> int:
        return self.peer.get(Setting.MAX_FRAME_SIZE, 16384)

    def _got_settings(self) -> bool:
        return any(got.type == Type.SETTINGS and not got.is_ack for got in self.log)

    def _read_while(self, waiting: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self.timeout
        while waiting():
            self._next(deadline)

    def _next(self, deadline: float) -> Frame:
        self._fill(9, deadline)
        high, low, type_, flags, stream = struct.unpack_from("!BHBBL", self._buffer)
        size = high << 16 | low
        assert size <= self.max_frame_size, f"a frame of {size} bytes"
        self._fill(9 + size, deadline)
        got = Frame(type_, flags, stream & 0x7FFFFFFF, bytes(self._buffer[9 : 9 + size]))
        del self._buffer[: 9 + size]
        self.log.append(got)
        self._note(got)
        return got

    def _fill(self, size: int, deadline: float) -> None:
        while len(self._buffer) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"the server sent nothing more after {self.log[-5:]}")
            self.socket.settimeout(left)
            try:
                received = self.socket.recv(262144)
            except TimeoutError:
                continue
            except (ConnectionError, ssl.SSLError) as error:
                raise ConnectionCut(str(error)) from error
            if not received:
                raise ConnectionCut(f"closed after {self.log[-5:]}")
            self._buffer += received

    def _note(self, got: Frame) -> None:
        if self._block is not None:
            assert got.type == Type.CONTINUATION, f"{got} within a header block"
        match got.type:
            case Type.DATA:
                self._note_data(got)
            case Type.HEADERS | Type.CONTINUATION:
                self._note_block(got)
            case Type.RST_STREAM:
                assert got.stream, got
                self._stream(got.stream).reset = got.code
            case Type.SETTINGS:
                self._note_settings(got)
            case Type.PING:
                assert len(got.payload) == 8, got
                if self.acknowledge and not got.is_ack:
                    self.send(ping(got.payload, ack=True))
            case Type.WINDOW_UPDATE:
                size = int.from_bytes(got.payload, "big")
                assert 0 < size < 1 << 31, got
                if got.stream:
                    self._stream(got.stream).window += size
                else:
                    self.window += size
            case Type.PUSH_PROMISE:
                raise AssertionError("this server was not asked to push")

    def _note_data(self, got: Frame) -> None:
        state = self._stream(got.stream)
        assert state.response is not None, "DATA before HEADERS"
        assert not state.ended, f"{got} after the end of its stream"
        size = len(got.payload)
        self.credit -= size
        state.credit -= size
        if self.judge:
            assert self.credit >= 0, f"{-self.credit} bytes more than the connection's window"
            assert state.credit >= 0, f"{-state.credit} bytes more than the stream's window"
        state.response.body += _unpadded(got)
        state.ended = got.ends_stream
        if self.replenish and size:
            self.grant(0, size)
            if not state.ended:
                self.grant(got.stream, size)

    def _note_block(self, got: Frame) -> None:
        if got.type == Type.HEADERS:
            start = 5 if got.flags & PRIORITY else 0
            self._block = got.stream, got.flags, _unpadded(got)[start:]
        else:
            assert self._block is not None, f"{got} without HEADERS"
            stream, flags, block = self._block
            assert got.stream == stream, got
            self._block = stream, flags, block + got.payload
        if not got.flags & END_HEADERS:
            return
        (stream, flags, block), self._block = self._block, None
        fields = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in self.decoder.decode(block, raw=True)
        ]
        state = self._stream(stream)
        assert not state.ended, f"{got} after the end of its stream"
        for name, value in fields:
            assert name == name.lower(), name
            assert name not in _CONNECTION, f"{name} in HTTP/2"
            assert value == value.strip(" \t"), (name, value)
            assert not set(value) & set("\0\r\n"), (name, value)
        state.ended = bool(flags & END_STREAM)
        if state.response is not None:
            assert state.ended, "trailers that do not end the stream"
            assert not any(name.startswith(":") for name, _ in fields), fields
            state.response.trailers = fields
            return
        (name, status), *fields = fields
        assert name == ":status", name
        assert not any(name.startswith(":") for name, _ in fields), fields
        if status.startswith("1"):
            assert not state.ended, "an interim response that ends the stream"
            state.interim.append((int(status), fields))
        else:
            state.response = Response(int(status), fields, interim=state.interim)

    def _note_settings(self, got: Frame) -> None:
        if got.is_ack:
            assert not got.payload, got
            if self._unacked:
                self._apply(self._unacked.pop(0))
            return
        for name, value in got.values.items():
            if name == Setting.INITIAL_WINDOW_SIZE:
                grown = value - self.peer.get(name, WINDOW)
                for state in self.streams.values():
                    state.window += grown
            elif name == Setting.HEADER_TABLE_SIZE:
                self.encoder.header_table_size = min(value, 4096)
            self.peer[name] = value
        if self.acknowledge:
            self.send(settings(ack=True))

    def _apply(self, values: Values) -> None:
        """Our own settings, which the server has acknowledged."""
        if (window := values.get(Setting.INITIAL_WINDOW_SIZE)) is not None:
            for state in self.streams.values():
                state.credit += window - self._stream_credit
            self._stream_credit = window
        self.max_frame_size = values.get(Setting.MAX_FRAME_SIZE, self.max_frame_size)
        if (table := values.get(Setting.HEADER_TABLE_SIZE)) is not None:
            self.decoder.max_allowed_table_size = table


# Section 8.2.2: what concerns one connection has no meaning here.
_CONNECTION = frozenset(
    ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade")
)


def _unpadded(got: Frame) -> bytes:
    if not got.flags & PADDED:
        return got.payload
    pad = got.payload[0]
    assert pad < len(got.payload), got
    return got.payload[1 : len(got.payload) - pad]


def connect(
    address: Address,
    *,
    tls: ssl.SSLContext | None = None,
    server_name: str = "localhost",
    receive_buffer: int | None = None,
    timeout: float = TIMEOUT,
) -> Http2Client:
    """A connection on which nothing was sent yet.

    tls: of a client that offers h2 by ALPN; the server must choose it. receive_buffer: bytes the
    kernel takes for a client that does not read.
    """
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    sock = socket.socket(family)
    try:
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(timeout)
        sock.connect(address)
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            sock = tls.wrap_socket(sock, server_hostname=server_name)
            assert sock.selected_alpn_protocol() == "h2", sock.selected_alpn_protocol()
        return Http2Client(sock, timeout=timeout)
    except BaseException:
        sock.close()
        raise


def open_client(
    address: Address,
    *,
    tls: ssl.SSLContext | None = None,
    values: Values | None = None,
    server_name: str = "localhost",
    receive_buffer: int | None = None,
    timeout: float = TIMEOUT,
) -> Http2Client:
    """A connection on which both sides' settings are acknowledged. values: of this client's."""
    client = connect(
        address,
        tls=tls,
        server_name=server_name,
        receive_buffer=receive_buffer,
        timeout=timeout,
    )
    try:
        client.start(values)
        return client.settle()
    except BaseException:
        client.close()
        raise
