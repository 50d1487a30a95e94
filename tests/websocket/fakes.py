"""A client, a wire and a clock for WebSocket sessions without sockets.

client = Client(max_queue=2)
client.session.accept()
client.send(TEXT, b"hello")
assert client.session.take() == "hello"
client.session.close(1000)
assert client.frames() == [(CLOSE, close_payload(1000))]
"""

from __future__ import annotations

from fakes import FakeWire, head

from gateway.exchange import Exchange
from gateway.head import Headers, RequestHead
from gateway.websocket.frames import FrameCodec
from gateway.websocket.handshake import Handshake
from gateway.websocket.session import Session, SessionOptions

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
MASK = b"\x37\xfa\x21\x3d"


def opening(
    *,
    method: str = "GET",
    key: bytes | None = KEY,
    version: bytes | None = b"13",
    extra: Headers | None = None,
    upgrade: bytes | None = b"websocket",
    content_length: int | None = 0,
) -> RequestHead:
    """A client's opening request; None leaves a field out, `extra` follows the others."""
    fields: Headers = [(b"connection", b"keep-alive, Upgrade"), (b"upgrade", b"websocket")]
    if key is not None:
        fields.append((b"sec-websocket-key", key))
    if version is not None:
        fields.append((b"sec-websocket-version", version))
    return head(
        method,
        "/chat",
        headers=fields + (extra or []),
        upgrade=upgrade,
        content_length=content_length,
    )


def opening_on_http2(
    *,
    version: bytes | None = b"13",
    extra: Headers | None = None,
    content_length: int | None = None,
) -> RequestHead:
    """The same over HTTP/2, as the wire hands over an extended CONNECT (RFC 8441)."""
    fields: Headers = [] if version is None else [(b"sec-websocket-version", version)]
    return head(
        "GET",
        "/chat",
        headers=fields + (extra or []),
        version="2",
        upgrade=b"websocket",
        content_length=content_length,
    )


def masked(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv1: bool = False) -> bytes:
    """A client's frame."""
    first = opcode | (0x80 if fin else 0) | (0x40 if rsv1 else 0)
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    key = (MASK * (size // 4 + 1))[:size]
    covered = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return bytes([first]) + length + MASK + covered.to_bytes(size, "big")


def unmasked(data: bytes) -> list[tuple[int, bytes]]:
    """The frames of a server, (first byte without FIN, payload) each; all must be complete."""
    frames = []
    while data:
        assert data[0] & 0x80, "servers here never fragment"
        assert not data[1] & 0x80, "a server must not mask"
        size, start = data[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        assert len(data) >= start + size, "an incomplete frame"
        frames.append((data[0] & 0x7F, data[start : start + size]))
        data = data[start + size :]
    return frames


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class TunnelWire(FakeWire):
    """A `FakeWire` that becomes a tunnel.

    deadline: seconds last asked for, None for never.
    early: what the peer sent before the tunnel was open; passed on while it opens.
    half: the peer has closed its side by then; told while it opens.
    dies: the connection is found lost with the next bytes sent.
    """

    def __init__(self) -> None:
        super().__init__()
        self.deadline: float | None = None
        self.early = b""
        self.half = False
        self.dies = False
        self.exchange: Exchange | None = None

    def open_tunnel(self, status: int, headers: Headers) -> None:
        self.status, self.headers = status, headers
        if self.early and self.exchange is not None:
            self.exchange.body_received(self.early)
        if self.half and self.exchange is not None:
            self.exchange.peer_closed()

    def set_deadline(self, seconds: float | None) -> None:
        self.deadline = seconds

    def send_data(self, data: bytes, more: bool) -> None:
        if self.dies and self.exchange is not None:
            self.exchange.lost()
        else:
            super().send_data(data, more)


class CountingListener:
    """A `SessionListener`; news: how often it was told to look again."""

    def __init__(self) -> None:
        self.news = 0

    def on_news(self) -> None:
        self.news += 1


class Client:
    """A client of one session, with all that stands between them.

    Options are those of `SessionOptions`; without any, nothing is limited that a test would meet.
    """

    def __init__(
        self,
        *,
        opening_fields: Headers | None = None,
        request: RequestHead | None = None,
        **options: object,
    ) -> None:
        request = request or opening(extra=opening_fields)
        self.wire = TunnelWire()
        self.exchange = self.wire.exchange = Exchange(request, self.wire)
        self.listener = CountingListener()
        self.clock = Clock()
        chosen: dict[str, object] = {
            "codec": FrameCodec,
            "max_size": 1024 * 1024,
            "max_queue": 32,
            "ping_interval": None,
            "ping_timeout": None,
            "lifetime": None,
            "handshake_timeout": None,
            "deflate": True,
            "shutdown_code": 1012,
        }
        self.session = Session(
            self.exchange,
            Handshake.check(request),
            SessionOptions(**(chosen | options)),
            self.listener,
            now=self.clock,
        )
        self._seen = 0

    @classmethod
    def accepted(cls, **options: object) -> Client:
        """A client whose session is open."""
        client = cls(**options)
        client.session.accept()
        return client

    def send(
        self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv1: bool = False
    ) -> None:
        self.send_bytes(masked(opcode, payload, fin=fin, rsv1=rsv1))

    def send_bytes(self, data: bytes) -> None:
        self.exchange.body_received(data)

    def frames(self) -> list[tuple[int, bytes]]:
        """What the session sent since the last call: (first byte without FIN, payload)."""
        data = self.wire.body[self._seen :]
        self._seen = len(self.wire.body)
        return unmasked(data)

    def messages(self) -> list[str | bytes]:
        """Take all messages there are."""
        taken = []
        while (message := self.session.take()) is not None:
            taken.append(message)
        return taken

    def unread(self) -> int:
        """Bytes that the wire holds back the peer for."""
        return self.exchange.received - self.wire.consumed_bytes

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and the sweep find the deadline if it is over then."""
        self.clock.now += seconds
        deadline = self.wire.deadline
        if deadline is not None and deadline <= seconds and self.exchange.tunnel is not None:
            self.wire.deadline = None
            self.exchange.tunnel.on_deadline()
