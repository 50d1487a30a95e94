"""A connection without a socket, a loop or a sleep: bytes in, bytes out, time by hand.

talk = Conversation(H11HeadParser)
assert talk.feed(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n").startswith(b"HTTP/1.1 200")
assert talk.requests[0].path == "/"
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import cast

import h11

from gateway.clock import Clock
from gateway.exchange import Exchange, Handler
from gateway.protocols.context import ConnectionContext, HeadParser
from gateway.protocols.default_fields import DefaultFields
from gateway.protocols.http1 import Http1Connection
from gateway.protocols.http1_h11 import H11HeadParser
from gateway.protocols.http1_httptools import HttptoolsHeadParser

__all__ = [
    "PARSERS",
    "Answering",
    "Conversation",
    "FakeTime",
    "FakeTransport",
    "Outcome",
    "Request",
    "Response",
    "read_responses",
]

PARSERS: tuple[type[HeadParser], ...] = (HttptoolsHeadParser, H11HeadParser)

HIGH_WATER = 64 * 1024


class FakeTime:
    """`time.monotonic` moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeTransport(asyncio.Transport):
    """What asyncio promises of a socket's transport, with a peer that can stop reading.

    written: what the peer has got. state: "open", "closing", "lost".
    `later` holds what asyncio would call on a later turn: run it with `turn`.
    """

    def __init__(self, protocol: Http1Connection, *, tls: bool = False) -> None:
        super().__init__()
        self.written = bytearray()
        self.state = "open"
        self.aborted = False
        self.eof_written = False
        self.reading = True
        self.pauses = 0
        self.later: list[Callable[[], None]] = []
        self._protocol = protocol
        self._buffer = bytearray()
        self._peer_reads = True
        self._high = self._low = HIGH_WATER
        self._paused_protocol = False
        self._tls = tls

    # --- the peer's side ------------------------------------------------------------------------

    def peer_stops_reading(self) -> None:
        self._peer_reads = False

    def peer_reads(self) -> None:
        self._peer_reads = True
        self.written += self._buffer
        self._buffer.clear()
        if self._paused_protocol:
            self._paused_protocol = False
            self._protocol.resume_writing()
        if self.state == "closing":
            self._lose()

    def turn(self) -> None:
        while self.later:
            self.later.pop(0)()

    # --- asyncio.Transport ----------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.eof_written, "written after EOF"
        if self.state != "open":
            return
        if self._peer_reads:
            self.written += data
        else:
            self._buffer += data
            self._maybe_pause()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        assert not self._tls
        self.eof_written = True

    def can_write_eof(self) -> bool:
        return not self._tls

    def pause_reading(self) -> None:
        assert self.state == "open", "uvloop raises for this"
        self.pauses += 1
        self.reading = False

    def resume_reading(self) -> None:
        assert self.state == "open", "uvloop raises for this"
        self.reading = True

    def is_reading(self) -> bool:
        return self.reading and self.state == "open"

    def is_closing(self) -> bool:
        return self.state != "open"

    def close(self) -> None:
        assert not self._tls or self.state == "open", "asyncio's forgets its connection"
        if self.state == "open":
            self.state = "closing"
            if not self._buffer:
                self._lose()

    def abort(self) -> None:
        if self.state != "lost":
            self.aborted = True
            self._buffer.clear()
            self._lose()

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = HIGH_WATER if high is None else high
        self._low = self._high // 4 if low is None else low
        self._maybe_pause()

    def get_extra_info(self, name: str, default: object = None) -> object:
        values: dict[str, object] = {
            "peername": ("203.0.113.7", 50000),
            "sockname": ("127.0.0.1", 8000),
        }
        if self._tls:
            values["sslcontext"] = object()
        return values.get(name, default)

    def _maybe_pause(self) -> None:
        if len(self._buffer) > self._high and not self._paused_protocol:
            self._paused_protocol = True
            self._protocol.pause_writing()

    def _lose(self) -> None:
        self.state = "lost"
        self.later.append(lambda: self._protocol.connection_lost(None))


@dataclass(frozen=True)
class Request:
    """What an application saw."""

    method: str
    target: bytes
    path: str
    raw_path: bytes
    query: bytes
    version: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    upgrade: bytes | None

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True)
class Response:
    """What a client saw; `interim` are the 1xx before it."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    interim: tuple[int, ...] = ()

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True)
class Outcome:
    """Everything that must not depend on the parser or on how bytes were cut into segments."""

    requests: tuple[Request, ...]
    statuses: tuple[int, ...]
    state: str


@dataclass
class Answering:
    """A synchronous application: takes the whole body, then answers.

    It is the listener of its exchange, as an interface is.
    """

    exchange: Exchange
    answer: Callable[[Exchange], None]
    requests: list[Request]
    body: bytes = field(default=b"")
    done: bool = False

    def on_readable(self) -> None:
        exchange, head = self.exchange, self.exchange.head
        self.body += exchange.read()
        if exchange.body_complete and not self.done:
            self.done = True
            self.requests.append(
                Request(
                    head.method,
                    head.target,
                    head.path,
                    head.raw_path,
                    head.query,
                    head.version,
                    tuple(head.headers),
                    self.body,
                    head.upgrade,
                )
            )
            self.answer(exchange)

    def on_writable(self) -> None:
        pass

    def on_gone(self) -> None:
        pass


def hello(exchange: Exchange) -> None:
    """The answer of an application that has nothing to say."""
    exchange.start(200, [(b"content-type", b"text/plain")], b"hello")


class Turns:
    """The part of a loop that a connection uses: what it puts off comes with the next turn."""

    def __init__(self) -> None:
        self.later: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[..., None], *args: object) -> None:
        self.later.append(lambda: callback(*args))


class Conversation:
    """One connection and everything that was said on it.

    handler: takes exchanges; None for `Answering` with `answer`, which fills `requests`.
    settings: further arguments of `ConnectionContext`.
    """

    def __init__(
        self,
        parser: type[HeadParser],
        handler: Handler | None = None,
        *,
        answer: Callable[[Exchange], None] = hello,
        loop: asyncio.AbstractEventLoop | None = None,
        tls: bool = False,
        **settings: float,
    ) -> None:
        self.requests: list[Request] = []
        self.exchanges: list[Exchange] = []
        self.failures: list[Exception] = []
        self.time = FakeTime()
        self.clock = Clock(monotonic=self.time, time=lambda: 0.0)
        self._handler = handler
        self._answer = answer
        self._arrived: list[bytes] = []
        turns = Turns()
        self.context = ConnectionContext(
            loop=cast("asyncio.AbstractEventLoop", loop or turns),
            clock=self.clock,
            handler=self._handle,
            parser=parser,
            defaults=DefaultFields(self.clock, server=b"gateway", date=True),
            **settings,  # type: ignore[arg-type]
        )
        self.connection = Http1Connection(self.context)
        self.transport = FakeTransport(self.connection, tls=tls)
        self.transport.later = turns.later
        self.connection.connection_made(self.transport)

    def _handle(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        try:
            if self._handler is not None:
                self._handler(exchange)
            else:
                application = Answering(exchange, self._answer, self.requests)
                exchange.listener = application
                application.on_readable()
        except Exception as error:
            self.failures.append(error)  # the connection logs it and answers 500
            raise

    # --- the client's side ----------------------------------------------------------------------

    def feed(self, *segments: bytes) -> bytes:
        """Send bytes, each argument a segment; returns what was answered meanwhile."""
        before = len(self.transport.written)
        self._arrived += segments
        self.settle()
        return bytes(self.transport.written[before:])

    def feed_each(self, data: bytes) -> bytes:
        """Send bytes one by one."""
        return self.feed(*(data[i : i + 1] for i in range(len(data))))

    def eof(self) -> None:
        """The client closes its sending side."""
        if self.transport.is_reading() and not self.connection.eof_received():
            self.transport.close()
        self.settle()

    def lose(self) -> None:
        """The network is gone."""
        self.transport.abort()
        self.settle()

    def pass_time(self, seconds: float) -> None:
        """Let time pass as a listener does: tick and sweep each second."""
        end = self.time.now + seconds
        while self.time.now < end:
            self.time.now = min(self.time.now + 1.0, end)
            self.clock.tick()
            if self.connection.deadline <= self.clock.now and self.context.connections:
                self.connection.timed_out()
            self.settle()

    def settle(self) -> None:
        """Deliver what has arrived as far as the connection reads, and run what is due."""
        self.transport.turn()
        while self._arrived and self.transport.is_reading():
            self.connection.data_received(self._arrived.pop(0))
            self.transport.turn()

    # --- what came of it ------------------------------------------------------------------------

    @property
    def output(self) -> bytes:
        return bytes(self.transport.written)

    @property
    def unread(self) -> int:
        """Bytes the client has sent that the server has not taken from the socket."""
        return sum(map(len, self._arrived))

    @property
    def state(self) -> str:
        """As the client sees it: "open", "closed" (FIN after the answer) or "cut" (RST)."""
        transport = self.transport
        if transport.aborted:
            return "cut"
        return "closed" if transport.eof_written or transport.state != "open" else "open"

    def responses(self) -> list[Response]:
        """All responses, as h11 reads them: an encoder of ours is not judged by itself."""
        methods = [exchange.head.method for exchange in self.exchanges]
        return read_responses(self.output, methods, closed=self.state == "closed")

    def outcome(self) -> Outcome:
        assert not self.failures
        statuses = tuple(response.status for response in self.responses())
        return Outcome(tuple(self.requests), statuses, self.state)


def read_responses(
    data: bytes, methods: Iterable[str] = (), *, closed: bool = False
) -> list[Response]:
    """Cut a client's input into complete responses; asserts that nothing else is in it."""
    responses: list[Response] = []
    known = iter(methods)
    while data:
        client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 30)
        client.send(h11.Request(method=next(known, "GET"), target="/", headers=[("Host", "a")]))
        client.send(h11.EndOfMessage())
        client.receive_data(data)
        if closed:
            client.receive_data(b"")
        interim: list[int] = []
        body = bytearray()
        response: h11.Response | None = None
        while True:
            event = client.next_event()
            if event is h11.NEED_DATA:
                only_interim = interim and response is None
                assert only_interim, f"an incomplete response: {data[:200]!r}"
                return responses  # the client was told to go on, no more
            if isinstance(event, h11.InformationalResponse):
                interim.append(event.status_code)
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
        assert response is not None
        responses.append(
            Response(
                response.status_code,
                tuple(response.headers),
                bytes(body),
                tuple(event.headers),
                tuple(interim),
            )
        )
        data = client.trailing_data[0]
    return responses
