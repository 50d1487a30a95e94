"""A conversation with python-hyper's h2 as the client, which raises at whatever no server may send.

    problem = Script(bytes_of_any_kind).play()

The bytes are a script: each few of them are one thing that the client, the application, the
network or time does. What they mean depends on what has happened before, so that every script is a
legal conversation. At its end everything is completed, and everything must have arrived.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    InformationalResponseReceived,
    ResponseReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes, Settings

from gateway.exchange import Exchange
from gateway.protocols.http2_settings import Http2Options

from .http2_harness import Http2Conversation

__all__ = ["Script"]

# Of a request's or response's pieces, in bytes; a byte of the script chooses one.
SIZES = (0, 1, 5, 100, 1000, 1024, 16_383, 16_384, 16_385, 30_000, 65_535, 65_536, 90_000)
WINDOWS = (0, 1, 10, 1000, 16_384, 65_535, 65_536, 1 << 20)
FRAMES = (16_384, 16_385, 30_000, 1 << 20)
TABLES = (0, 100, 4096, 65_536)
STREAMS = 12


@dataclass
class Side:
    """What was said in one direction of a stream, as its sender knows it and its receiver."""

    sent: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)
    complete: bool = False
    ended: bool = False


@dataclass
class Talk:
    """One stream: a request and its response. credit: bytes the client has not given back."""

    method: str
    with_trailers: bool
    request: Side = field(default_factory=Side)
    response: Side = field(default_factory=Side)
    exchange: Exchange | None = None
    status: int | None = None
    heads: list[list[tuple[bytes, bytes]]] = field(default_factory=list)
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    credit: int = 0
    broken: bool = False  # one side has given it up
    hint: bool = False  # a 103 is on its way
    heard_out: bool = False  # the answer was ended behind the end of the request

    # Of `gateway.exchange.Listener`: the script says when the application reads and writes.
    def on_readable(self) -> None:
        pass

    def on_writable(self) -> None:
        pass

    def on_gone(self) -> None:
        self.broken = True


class Script:
    """Plays `data` and asserts; anything a server or h2 raises passes through."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._talks: dict[int, Talk] = {}
        self._arriving: list[Talk] = []
        self._wire = bytearray()  # sent by the client, on its way
        self._seen = 0  # of what the server has written
        self._rest = b""  # of a frame of it
        self.server = Http2Conversation(
            self._handle, start=False, options=Http2Options(max_streams=STREAMS)
        )
        self.client = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._window = WINDOWS[self._next() % len(WINDOWS)]
        self.client.local_settings = Settings(
            client=True, initial_values={SettingCodes.INITIAL_WINDOW_SIZE: self._window}
        )
        self.client.initiate_connection()
        self._acknowledged = False

    def _next(self) -> int:
        if self._at >= len(self._data):
            return 0
        self._at += 1
        return self._data[self._at - 1]

    def _pick(self) -> Talk | None:
        talks = list(self._talks.values())
        return talks[self._next() % len(talks)] if talks else None

    def play(self) -> None:
        actions: tuple[Callable[[], None], ...] = (
            self._open,
            self._send,
            self._send,
            self._read,
            self._write,
            self._write,
            self._give_credit,
            self._configure,
            self._small_things,
            self._deliver,
            self._deliver,
            self._stop_or_read,
            self._break,
        )
        while self._at < len(self._data):
            actions[self._next() % len(actions)]()
        self._complete()
        self._judge()

    # --- the client -----------------------------------------------------------------------------

    def _number(self, talk: Talk) -> int:
        return next(number for number, each in self._talks.items() if each is talk)

    def _open(self) -> None:
        if len(self._talks) >= STREAMS:
            return
        choice = self._next()
        talk = Talk(("GET", "POST", "PUT", "HEAD")[choice % 4], with_trailers=bool(choice & 4))
        number = self.client.get_next_available_stream_id()
        fields = [
            (b":method", talk.method.encode()),
            (b":scheme", b"http"),
            (b":path", b"/%d" % number),
            (b":authority", b"a"),
            (b"x-%d" % (choice >> 4), b"y" * SIZES[choice % 7]),
        ]
        if talk.with_trailers:
            fields.append((b"te", b"trailers"))
        empty = talk.method in ("GET", "HEAD")
        priority = {"priority_weight": 1 + choice} if choice & 8 else {}
        self.client.send_headers(number, fields, end_stream=empty, **priority)
        talk.request.complete = empty
        self._talks[number] = talk

    def _send(self) -> None:
        talk = self._pick()
        choice = self._next()
        if talk is None or talk.request.complete or talk.broken:
            return
        number = self._number(talk)
        size = min(
            SIZES[choice % len(SIZES)],
            self.client.local_flow_control_window(number),
            self.client.max_outbound_frame_size - 256,
        )
        pad = choice if choice & 16 and size + choice < 16_000 else None
        if pad is not None:
            size = max(0, min(size, self.client.local_flow_control_window(number) - pad - 1))
            if size + pad + 1 > self.client.local_flow_control_window(number):
                return
        end = choice & 3 == 3
        piece = bytes([choice]) * size
        talk.request.sent += piece
        if end and choice & 32:
            self.client.send_data(number, piece, pad_length=pad)
            self.client.send_headers(number, [(b"x-sum", b"1")], end_stream=True)
        else:
            self.client.send_data(number, piece, end_stream=end, pad_length=pad)
        talk.request.complete = end

    def _give_credit(self) -> None:
        talk = self._pick()
        if talk is not None and talk.credit:
            self.client.acknowledge_received_data(talk.credit, self._number(talk))
            talk.credit = 0

    def _configure(self) -> None:
        choice = self._next()
        # h2 takes any acknowledgement for that of all it has sent, and an empty frame in a window
        # that has become negative for a fault.
        if not self._acknowledged:
            return
        self._acknowledged = False
        self._window = max(self._window, WINDOWS[choice % len(WINDOWS)])
        self.client.update_settings(
            {
                SettingCodes.INITIAL_WINDOW_SIZE: self._window,
                SettingCodes.MAX_FRAME_SIZE: FRAMES[choice // 8 % len(FRAMES)],
                SettingCodes.HEADER_TABLE_SIZE: TABLES[choice // 32 % len(TABLES)],
            }
        )

    def _small_things(self) -> None:
        choice = self._next()
        if choice & 1:
            self.client.ping(b"%08d" % choice)
        elif self._talks:
            self.client.prioritize(1 + 2 * (choice % 9), weight=choice + 1, depends_on=0)

    # --- the application ------------------------------------------------------------------------

    def _handle(self, exchange: Exchange) -> None:
        talk = self._talks[int(exchange.head.path[1:])]
        talk.exchange = exchange
        exchange.listener = talk

    def _read(self) -> None:
        talk = self._pick()
        if talk is not None and talk.exchange is not None and not talk.broken:
            talk.request.received += talk.exchange.read()

    def _write(self) -> None:
        talk = self._pick()
        choice = self._next()
        if talk is not None:
            self._answer(talk, SIZES[choice % len(SIZES)], choice & 3 == 3, choice)

    def _answer(self, talk: Talk, size: int, end: bool, choice: int) -> None:
        exchange, side = talk.exchange, talk.response
        if exchange is None or talk.broken or side.complete or not exchange.writable:
            return
        piece = bytes([choice]) * size
        trailers = talk.with_trailers
        heard_out = exchange.body_complete
        if exchange.status is None:
            if choice & 64:
                talk.hint = True
                exchange.send_informational(103, [(b"link", b"</a>")])
            talk.status = (200, 404, 500)[choice % 3]
            fields = [(b"x-%d" % each, b"y" * min(size, 10_000)) for each in range(choice % 5)]
            exchange.start(talk.status, fields, piece, more=not end, trailers=trailers)
        elif choice & 128:
            file = tempfile.TemporaryFile()  # noqa: SIM115 - the exchange closes it
            file.write(piece)
            file.flush()
            exchange.send_file(file, 0, size, more=not end)
        else:
            exchange.write(piece, more=not end)
        if end and trailers:
            exchange.send_trailers([(b"x-end", b"y")])
        if talk.method != "HEAD":
            side.sent += piece
        side.complete = end
        talk.heard_out = end and heard_out

    # --- the network ----------------------------------------------------------------------------

    def _deliver(self) -> None:
        self._pass(SIZES[self._next() % len(SIZES)])

    def _pass(self, size: int) -> None:
        self._wire += self.client.data_to_send()
        piece = bytes(self._wire[:size])
        del self._wire[:size]
        self.server.feed(piece) if piece else self.server.settle()
        news = self.server.output[self._seen :]
        self._seen += len(news)
        # A frame at a time: h2 looks at the largest size it has allowed once a call.
        for part in self._frames(news):
            for event in self.client.receive_data(part):
                self._hear(event)

    def _frames(self, data: bytes) -> Iterator[bytes]:
        data = bytes(self._rest) + data
        while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
            end = 9 + int.from_bytes(data[:3], "big")
            yield data[:end]
            data = data[end:]
        self._rest = data

    def _stop_or_read(self) -> None:
        if self._next() & 1:
            self.server.transport.peer_stops_reading()
        else:
            self.server.transport.peer_reads()

    def _break(self) -> None:
        talk = self._pick()
        choice = self._next()
        if talk is None or talk.broken or choice & 7:
            return
        if talk.exchange is None or choice & 8:
            # h2 does not put up with a 103 on its way to a stream that it has reset.
            if (talk.response.ended and talk.request.complete) or (talk.hint and not talk.heads):
                return
            talk.broken = True
            self.client.reset_stream(self._number(talk), 8)
        elif not talk.exchange.finished:
            talk.broken = True
            talk.exchange.abort()

    def _hear(self, event: object) -> None:
        if isinstance(event, ConnectionTerminated):
            raise AssertionError(f"the server ended the connection: {event}")
        if isinstance(event, SettingsAcknowledged):
            self._acknowledged = True
        elif isinstance(event, InformationalResponseReceived | ResponseReceived):
            self._talks[event.stream_id].heads.append(list(event.headers))
        elif isinstance(event, DataReceived):
            talk = self._talks[event.stream_id]
            talk.response.received += event.data
            talk.credit += event.flow_controlled_length
        elif isinstance(event, TrailersReceived):
            self._talks[event.stream_id].trailers = list(event.headers)
        elif isinstance(event, StreamEnded):
            self._talks[event.stream_id].response.ended = True
        elif isinstance(event, StreamReset) and event.remote_reset:
            talk = self._talks[event.stream_id]
            # NO_ERROR: the response is whole, and nobody wants the rest of the request.
            assert talk.broken or (event.error_code == 0 and talk.response.ended), event
            talk.broken = talk.request.complete = True

    # --- the end --------------------------------------------------------------------------------

    def _complete(self) -> None:
        """Let everybody come to an end: send, read, answer and give back all there is."""
        self.server.transport.peer_reads()
        for _ in range(100):
            self._pass(1 << 30)
            if self._window < 1 << 20:
                self._window = 1 << 20
                self.client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
                self._pass(1 << 30)
            for number, talk in self._talks.items():
                if talk.credit:
                    self.client.acknowledge_received_data(talk.credit, number)
                    talk.credit = 0
                if talk.broken or talk.exchange is None:
                    continue
                if not talk.request.complete:
                    self.client.end_stream(number)
                    talk.request.complete = True
                talk.request.received += talk.exchange.read()
                if talk.exchange.body_complete:
                    self._answer(talk, 10, True, 3)
            if all(talk.broken or talk.response.ended for talk in self._talks.values()):
                break
        self._pass(1 << 30)

    def _judge(self) -> None:
        assert not self.server.failures
        assert self.server.error is None
        for number, talk in self._talks.items():
            if talk.broken and not talk.response.ended:
                continue
            assert talk.response.ended, f"stream {number} has no end: {talk}"
            (status, *_) = talk.heads[-1]
            assert status == (b":status", b"%d" % (talk.status or 0))
            assert talk.response.received == talk.response.sent, f"another body on {number}"
            ends = [(b"x-end", b"y")] if talk.with_trailers and talk.method != "HEAD" else []
            assert talk.trailers == ends, f"other trailers on {number}: {talk.trailers}"
            if talk.heard_out and talk.exchange is not None:
                talk.request.received += talk.exchange.read()
                assert talk.request.received == talk.request.sent, f"another request on {number}"
        self.server.lose()
        assert self.server.ended_once
