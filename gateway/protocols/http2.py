"""HTTP/2 on one connection (RFC 9113): frames in, streams, the end.

Rules:
1. A stream is the wire of its exchange. What it may send, `FrameSender` and its window decide;
   nothing here queues on its behalf.
2. The connection's window is opened wide and given back whatever the applications do: only a
   stream's own window holds a peer back, so a body nobody reads never stops its siblings.
3. What costs a peer nothing is counted (`Restraint`); over the count the connection ends.
4. Every field section is decoded, also of streams that are refused: the table is the connection's.
5. A stop is said twice (section 6.8): GOAWAY without a limit and a PING; when that is answered,
   GOAWAY with the last stream taken. No request on its way is lost between them.

It knows the transport and the `Exchange`, and no application interface. One state machine, which
is why the file is long: splitting the states would only spread them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Final, cast

from gateway.clock import NEVER
from gateway.exchange import Exchange
from gateway.head import Address, Headers, Peer, RequestHead, address_text
from gateway.protocols.closing import close_once
from gateway.protocols.context import ConnectionContext
from gateway.protocols.http2_decoder import CompressionError, HeaderDecoder, HeaderListTooLarge
from gateway.protocols.http2_errors import ErrorCode, Http2Error, StreamError
from gateway.protocols.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_HEADER,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PRIORITY_FLAG,
    PRIORITY_UPDATE,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    goaway,
    rst_stream,
    uint31,
    unpadded,
)
from gateway.protocols.http2_restraint import RESET, Restraint
from gateway.protocols.http2_rules import Malformed, check_trailers, request_head
from gateway.protocols.http2_sender import LARGEST_WINDOW, FrameSender
from gateway.protocols.http2_settings import (
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    Http2Options,
    read_settings,
)
from gateway.protocols.http2_stream import Http2Stream
from gateway.protocols.peer import peer_of
from gateway.protocols.proxy_protocol import ProxyHeader
from gateway.protocols.request_rules import BadRequest

__all__ = ["Http2Connection"]

logger = logging.getLogger("gateway.error")

# How long a connection that has said GOAWAY still reads, so that a reset does not destroy what is
# on its way.
_LINGER: Final = 2.0
# A peer that does not answer the PING of a drain for so long gets the last GOAWAY all the same: one
# second at least, of a clock that is read once a second. It may have just connected.
_LAST_STREAMS: Final = 2.0
# What a new connection gets for its first request when room is needed.
_FIRST: Final = 1.0
# What a connection that is cut still gets to take what waits for it.
_LAST_BYTES: Final = 1.0
_LEAVING: Final = b"leaving!"
# Streams that were reset here, for whose frames on their way the peer is not to blame.
_REMEMBERED: Final = 256
_DEFAULT_WINDOW: Final = 0xFFFF
# What is sent as one frame, whatever the peer takes: others wait for its end.
_LARGEST_FRAME: Final = 64 * 1024
# As many settings as there are, in bytes; a longer frame costs as much as several.
_SETTINGS_SIZE: Final = 10 * 6
# Some clients open their windows on the connection and the stream for each DATA frame.
_UPDATES_PER_FRAME: Final = 2
_UPDATES: Final = 1000
# DATA on its way for a stream that was reset costs nothing, unless it is little.
_FEW_BYTES: Final = 64
# A field section may be so many times the limit, to be answered with 431 and not with the end of
# the connection, where it is not over.
_TOO_MUCH: Final = 2
# Heads of responses, and answers to control frames, wait for no window: a peer that asks for more
# without reading them is not read any more.
_UNREAD: Final = 256 * 1024
# Windows opened by a few bytes at a time make us send a frame for each.
_SLIVERS: Final = 1000


class Http2Connection(asyncio.Protocol):
    """One connection and its streams.

    deadline: `Clock.now` seconds after which whoever sweeps calls `timed_out`; each second while
        there are streams, which have deadlines of their own.
    """

    __slots__ = (
        "_context",
        "_data_frames",
        "_decode",
        "_idle_since",
        "_last",
        "_leave_at",
        "_left_at",
        "_lingering",
        "_options",
        "_partial_since",
        "_paused",
        "_peer",
        "_peer_left",
        "_proxied",
        "_received",
        "_reset",
        "_rest",
        "_restraint",
        "_room",
        "_section",
        "_sender",
        "_settings",
        "_skipped",
        "_stalled_at",
        "_started",
        "_streams",
        "_transport",
        "_unsent",
        "_updates",
        "_upgraded",
        "_warned",
        "deadline",
    )

    _transport: asyncio.Transport
    _peer: Peer
    _sender: FrameSender

    def __init__(
        self,
        context: ConnectionContext,
        options: Http2Options,
        *,
        proxied: ProxyHeader | None = None,
        upgraded: RequestHead | None = None,
        settings: bytes = b"",
    ) -> None:
        """proxied: see `peer_of`.

        upgraded: the request with which HTTP/1.1 was left, which has no body; it is stream 1.

        settings: the payload of its HTTP2-Settings (RFC 7540, section 3.2.1).
        """
        self._context = context
        self._options = options
        self._proxied = proxied
        self._restraint = Restraint(context.clock)
        self._decode = HeaderDecoder(options.max_header_list).decode
        self._upgraded = upgraded
        self._settings = settings
        self._streams: dict[int, Http2Stream] = {}
        self._reset: deque[int] = deque(maxlen=_REMEMBERED)
        self._last = 0  # the highest stream the peer has opened
        self._skipped: deque[range] = deque(maxlen=_REMEMBERED)  # streams below it, never opened
        self._rest = b""  # of a frame that is not complete
        self._partial_since = context.clock.now
        self._idle_since = context.clock.now
        self._section: tuple[int, int, bytearray] | None = None  # stream, flags, fragments
        self._received = 0  # bytes of DATA since the connection's window was opened
        self._room = max(options.initial_window, _DEFAULT_WINDOW)  # until the peer knows ours
        self._updates = 0
        # How far the peer had let us send when last looked at, and until when it may stall.
        self._data_frames = self._unsent = 0
        self._stalled_at = NEVER
        self._started = False  # the preface has come
        self._leave_at = NEVER  # a drain has begun; the last GOAWAY leaves then at the latest
        self._left_at: int | None = None  # the last stream taken, as the last GOAWAY has said
        self._peer_left = False
        self._lingering = False
        self._paused = False
        self._warned = False
        self.deadline = NEVER

    # --- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        context, options = self._context, self._options
        self._transport = cast("asyncio.Transport", transport)
        self._peer = peer_of(transport, self._proxied)
        self._sender = sender = FrameSender(
            context.loop,
            self._transport,
            context.defaults,
            portion=options.initial_window // 2,
        )
        self.deadline = context.clock.now + context.head_timeout
        context.connections.add(self)
        sender.send(frame(SETTINGS, 0, 0, options.payload()))
        sender.give_back(0, LARGEST_WINDOW - _DEFAULT_WINDOW)
        if self._upgraded is not None:
            self._apply_settings(self._settings)
            self._last = 1
            self._open_stream(1, self._upgraded, ended=True)
            self._upgraded = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._context.connections.discard(self)
        self.deadline = NEVER
        self._lingering = True
        streams = list(self._streams.values())
        self._streams.clear()
        for stream in streams:
            stream.lost()

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            return
        if self._rest:
            data = self._rest + data
        sender = self._sender
        sender.reading = True
        try:
            rest = self._read(data)
        except Http2Error as error:
            rest = b""
            self._fail(error)
        # Once for a read: windows that were opened together are one, and make larger frames.
        sender.pump()
        sender.reading = False
        sender.flush()
        if not sender.writable and not self._paused and self._is_unread():
            self._paused = True
            self._transport.pause_reading()
        self._rest = rest
        if not rest and self._section is None:
            self._partial_since = NEVER
        elif self._partial_since == NEVER or (self._section is None and len(rest) < len(data)):
            self._partial_since = self._context.clock.now
            self.deadline = 0.0

    def eof_received(self) -> bool:
        """The peer left: no client of HTTP/2 closes one side only, which opens its windows."""
        self._sender.flush()
        return False

    def pause_writing(self) -> None:
        self._sender.writable = False
        self.deadline = 0.0

    def resume_writing(self) -> None:
        self._sender.writable = True
        self._sender.pump()
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()
            if self._rest:
                self._context.loop.call_soon(self.data_received, b"")

    def _is_unread(self) -> bool:
        return self._sender.unsent() > _UNREAD

    # --- frames ---------------------------------------------------------------------------------

    def _read(self, data: bytes) -> bytes:
        """Act on every complete frame; returns the bytes behind them."""
        at, end = 0, len(data)
        if not self._started:
            at = self._read_preface(data)
        largest = self._options.max_frame
        header = FRAME_HEADER.unpack_from
        sender = self._sender
        while end - at >= 9 and self._started and not self._lingering:
            if not sender.writable and self._is_unread():
                break
            high, low, kind, flags, stream = header(data, at)
            size = high << 8 | low
            if size > largest:
                raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a frame is too large")
            stop = at + 9 + size
            if stop > end:
                break
            payload = data[at + 9 : stop]
            at = stop
            stream &= 0x7FFF_FFFF
            if self._section is not None and kind != CONTINUATION:
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a field section is not continued")
            try:
                if kind == HEADERS:
                    self._read_headers(stream, flags, payload)
                elif kind == DATA:
                    self._read_data(stream, flags, payload)
                elif kind == WINDOW_UPDATE:
                    self._read_window_update(stream, payload)
                else:
                    self._read_other(kind, flags, stream, payload)
            except StreamError as error:
                self._fail_stream(stream, error)
        return data[at:]

    def _read_preface(self, data: bytes) -> int:
        """Where the frames begin; the first one must be SETTINGS (section 3.4)."""
        if data[:24] != PREFACE[: len(data)]:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "the connection preface is not HTTP/2's")
        if len(data) < 33:
            return 0
        if data[27] != SETTINGS or data[28] & ACK:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "SETTINGS is missing behind the preface")
        self._started = True
        self.deadline = 0.0
        return 24

    def _read_headers(self, stream: int, flags: int, payload: bytes) -> None:
        if flags & (PADDED | PRIORITY_FLAG):
            if flags & PRIORITY_FLAG and uint31(payload[bool(flags & PADDED) :]) == stream:
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a stream depends on itself")
            payload = unpadded(payload, flags)
        if flags & END_HEADERS:
            self._take_section(stream, payload, ended=bool(flags & END_STREAM))
        elif stream == 0:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0")
        else:
            self._section = (stream, flags, bytearray(payload))

    def _read_continuation(self, stream: int, flags: int, payload: bytes) -> None:
        if self._section is None or self._section[0] != stream:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._restraint.spend()
        _, first_flags, fragments = self._section
        fragments += payload
        if len(fragments) > _TOO_MUCH * self._options.max_header_list:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "a field section is too large")
        if flags & END_HEADERS:
            self._section = None
            self._take_section(stream, bytes(fragments), ended=bool(first_flags & END_STREAM))

    def _take_section(self, number: int, block: bytes, *, ended: bool) -> None:
        """Fields of a request, or its trailers."""
        try:
            fields = self._decode(block)
        except HeaderListTooLarge as error:
            # One that is a little over is an honest client's; a bomb is over a hundred times.
            self._restraint.spend(error.size // self._options.max_header_list)
            fields = None
        except CompressionError as error:
            raise Http2Error(ErrorCode.COMPRESSION_ERROR, str(error)) from None
        if number <= self._last or not number & 1:
            self._take_trailers(number, fields, ended=ended)
            return
        if number > self._last + 2:
            self._skipped.append(range(self._last + 1 | 1, number, 2))
        self._last = number
        if self._left_at is not None:
            raise StreamError(ErrorCode.REFUSED_STREAM, "it came after the last GOAWAY")
        if len(self._streams) >= self._options.max_streams:
            raise StreamError(ErrorCode.REFUSED_STREAM, "too many streams at a time")
        try:
            if fields is None:
                raise BadRequest(431, "the header section is too large")
            head = request_head(
                fields, self._peer, ended=ended, limit_headers=self._context.limit_headers
            )
        except Malformed as error:
            raise StreamError(ErrorCode.PROTOCOL_ERROR, str(error)) from None
        except BadRequest as refusal:
            silent = fields is None or (b":method", b"HEAD") in fields
            self._refuse(number, refusal, ended=ended, silent=silent)
            return
        self._open_stream(number, head, ended=ended)

    def _open_stream(self, number: int, head: RequestHead, *, ended: bool) -> None:
        context = self._context
        stream = Http2Stream(number, self, self._sender, context, head.content_length, ended)
        self._streams[number] = stream
        self.deadline = 0.0
        if head.upgrade is not None:
            stream.set_deadline(None)
        exchange = stream.exchange = Exchange(head, stream)
        try:
            context.handler(exchange)
        except Exception:
            logger.exception("the gateway failed on %s", exchange)
            exchange.fail()
        if context.draining:
            self.drain()

    def _take_trailers(self, number: int, fields: Headers | None, *, ended: bool) -> None:
        stream = self._streams.get(number)
        if stream is None:
            if number in self._reset:
                return
            if not number & 1:
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a client's stream has an odd number")
            if any(number in skipped for skipped in self._skipped):
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a stream is opened after a later one")
            raise Http2Error(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")
        if stream.received_all:
            raise StreamError(ErrorCode.STREAM_CLOSED, "HEADERS after the end of the request")
        if not ended:
            raise StreamError(ErrorCode.PROTOCOL_ERROR, "trailers do not end the request")
        if fields is None:
            raise StreamError(ErrorCode.ENHANCE_YOUR_CALM, "the trailer section is too large")
        try:
            check_trailers(fields)
        except Malformed as error:
            raise StreamError(ErrorCode.PROTOCOL_ERROR, str(error)) from None
        stream.end()

    def _read_data(self, number: int, flags: int, payload: bytes) -> None:
        size = len(payload)
        self._received += size
        if self._received > LARGEST_WINDOW // 2:
            self._sender.give_back(0, self._received)
            self._received = 0
        stream = self._streams.get(number)
        if stream is None:
            self._check_not_idle(number, "DATA")
            if number not in self._reset:
                raise Http2Error(ErrorCode.STREAM_CLOSED, "DATA on a closed stream")
            if size < _FEW_BYTES:
                self._restraint.spend()
            return
        ended = bool(flags & END_STREAM)
        if flags & PADDED:
            payload = unpadded(payload, flags & PADDED)
        if not payload and not ended:
            self._restraint.spend()
        stream.receive(payload, size, self._room, ended)

    def _read_window_update(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE is not 4 bytes")
        size = uint31(payload)
        sender = self._sender
        self._updates += 1
        if (
            self._updates > _UPDATES + _UPDATES_PER_FRAME * sender.data_frames
            or sender.slivers > _SLIVERS
        ):
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "windows are opened by too little")
        if number == 0:
            if not size:
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a window is opened by 0 bytes")
            sender.open_window(size)
            return
        stream = self._streams.get(number)
        if stream is None:
            self._check_not_idle(number, "WINDOW_UPDATE")
            return
        if not size:
            raise StreamError(ErrorCode.PROTOCOL_ERROR, "a window is opened by 0 bytes")
        stream.open_window(size)

    def _read_other(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Frames that are rare, and those this server does not know (section 5.5)."""
        if kind == CONTINUATION:
            self._read_continuation(stream, flags, payload)
        elif kind == RST_STREAM:
            self._read_reset(stream, payload)
        else:
            self._restraint.spend()
            if kind in (SETTINGS, PING, GOAWAY, PRIORITY_UPDATE) and stream:
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a connection's frame on a stream")
            if kind == SETTINGS:
                self._read_settings(flags, payload)
            elif kind == PING:
                self._read_ping(flags, payload)
            elif kind == GOAWAY:
                if len(payload) < 8:
                    raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY is shorter than 8 bytes")
                self._peer_left = True
                self._end_if_done()
            elif kind == PUSH_PROMISE:
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a client cannot push")
            elif kind == PRIORITY:
                self._check_priority(stream, payload)
            elif kind == PRIORITY_UPDATE:
                if len(payload) < 4:
                    raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY_UPDATE is too short")
                if uint31(payload) == 0:
                    raise Http2Error(ErrorCode.PROTOCOL_ERROR, "PRIORITY_UPDATE of stream 0")

    def _read_reset(self, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM is not 4 bytes")
        self._check_not_idle(stream, "RST_STREAM")
        open_stream = self._streams.get(stream)
        if open_stream is None:
            self._restraint.spend()
            return
        exchange = open_stream.exchange
        unanswered = exchange is not None and exchange.status is None
        self._restraint.spend(RESET if unanswered else 1)
        open_stream.lost()
        self._forget(open_stream)

    def _read_settings(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            if payload:
                raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement has a payload")
            self._room = self._options.initial_window
            return
        self._apply_settings(payload)
        self._sender.send(frame(SETTINGS, ACK, 0, b""))

    def _apply_settings(self, payload: bytes) -> None:
        """Take the peer's settings. Raises `Http2Error`."""
        sender = self._sender
        # Thousands in one frame, again and again: CVE-2020-11080.
        self._restraint.spend(len(payload) // _SETTINGS_SIZE)
        # Said twice, the last one counts: changing the windows for each took 68 ms a frame.
        window = sender.initial_window
        for name, value in read_settings(payload):
            if name == INITIAL_WINDOW_SIZE:
                window = value
            elif name == MAX_FRAME_SIZE:
                sender.largest = min(value, _LARGEST_FRAME)
            elif name == HEADER_TABLE_SIZE:
                sender.encoder.set_max_table_size(value)
        change = window - sender.initial_window
        sender.initial_window = window
        for stream in list(self._streams.values()) if change else ():
            try:
                stream.open_window(change)
            except StreamError as error:
                raise Http2Error(error.code, error.reason) from None

    def _read_ping(self, flags: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "PING is not 8 bytes")
        if not flags & ACK:
            self._sender.send(frame(PING, ACK, 0, payload))
        elif payload == _LEAVING and self._leave_at != NEVER:
            self._leave()

    def _check_priority(self, stream: int, payload: bytes) -> None:
        """Weights are not used (section 5.3.2), but their frames have rules."""
        if stream == 0:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        # An idle stream cannot be reset (section 5.1).
        kind = StreamError if stream <= self._last else Http2Error
        if len(payload) != 5:
            raise kind(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY is not 5 bytes")
        if uint31(payload) == stream:
            raise kind(ErrorCode.PROTOCOL_ERROR, "a stream depends on itself")

    def _check_not_idle(self, stream: int, name: str) -> None:
        if stream == 0 or stream > self._last or not stream & 1:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, f"{name} on an idle stream")

    # --- gateway.protocols.http2_stream.StreamOwner ---------------------------------------------

    def stream_ended(self, stream: Http2Stream) -> None:
        if not stream.received_all:
            # The answer is complete, so nobody wants the rest of the request (section 8.1).
            self._sender.send(rst_stream(stream.id, ErrorCode.NO_ERROR))
            self._reset.append(stream.id)
        self._forget(stream)

    def reset_stream(self, stream: Http2Stream, code: ErrorCode) -> None:
        self._sender.send(rst_stream(stream.id, code))
        self._reset.append(stream.id)
        self._forget(stream)

    def _forget(self, stream: Http2Stream) -> None:
        streams = self._streams
        streams.pop(stream.id, None)
        stream.close()
        if not streams:
            self._idle_since = self._context.clock.now
            self._end_if_done()

    # --- what is refused ------------------------------------------------------------------------

    def _refuse(self, number: int, refusal: BadRequest, *, ended: bool, silent: bool) -> None:
        """Answer a request that gets no exchange. silent: it may take no body."""
        self._warn(f"refused with {refusal.status}", refusal.reason)
        self._restraint.spend()
        sender = self._sender
        text = refusal.reason.encode() + b"\n"
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(text)),
        ]
        whole = not silent and len(text) <= min(sender.window, sender.initial_window)
        fields = sender.defaults.beside(()) + headers if whole else sender.defaults.beside(())
        sender.send_headers(number, refusal.status, fields, ends=not whole)
        if whole:
            sender.window -= len(text)
            sender.send(frame(DATA, END_STREAM, number, text))
        if not ended:
            sender.send(rst_stream(number, ErrorCode.NO_ERROR))
            self._reset.append(number)

    def _fail_stream(self, number: int, error: StreamError) -> None:
        if error.code is not ErrorCode.REFUSED_STREAM:
            self._warn(f"stream ended with {error.code.name}", error.reason)
            # A peer may make us reset instead of resetting itself (CVE-2025-8671).
            self._restraint.spend(RESET)
        else:
            self._restraint.spend()
        stream = self._streams.get(number)
        if stream is not None:
            stream.cancel(error.code)
        elif number & 1 and number not in self._reset:
            self._sender.send(rst_stream(number, error.code))
            self._reset.append(number)

    def _fail(self, error: Http2Error) -> None:
        self._warn(f"HTTP/2 ended with {error.code.name}", error.reason, last=True)
        self._say_goodbye(error.code, error.reason)
        self._close_gently()

    def _warn(self, what: str, why: str, *, last: bool = False) -> None:
        """One line for a connection, and one for its end: a peer must not fill the log."""
        level = logging.DEBUG if self._warned and not last else logging.WARNING
        self._warned = True
        logger.log(level, "%s: %s: %s", address_text(self._peer.client), what, why)

    # --- the end --------------------------------------------------------------------------------

    def drain(self) -> None:
        """Finish what has begun and close; see rule 5."""
        if self._leave_at == NEVER and not self._lingering:
            self._leave_at = self._context.clock.now + _LAST_STREAMS
            self.deadline = 0.0
            self._sender.send(goaway(LARGEST_WINDOW, ErrorCode.NO_ERROR))
            self._sender.send(frame(PING, 0, 0, _LEAVING))

    def _leave(self) -> None:
        """Take no stream any more."""
        if self._left_at is None:
            self._left_at = self._last
            self._say_goodbye(ErrorCode.NO_ERROR)
            self._end_if_done()

    def _say_goodbye(self, code: ErrorCode, reason: str = "") -> None:
        last = self._last if self._left_at is None else self._left_at
        self._sender.send(goaway(last, code, reason))

    def _end_if_done(self) -> None:
        leaving = self._left_at is not None or self._peer_left
        if leaving and not self._streams and not self._lingering:
            self._close_gently()

    def _close_gently(self) -> None:
        """Send what was gathered, close the sending side and read on for a while."""
        self._lingering = True
        streams = list(self._streams.values())
        self._streams.clear()
        for stream in streams:
            stream.lost()
        self._sender.flush()
        transport, now = self._transport, self._context.clock.now
        if transport.is_closing():
            return
        if transport.can_write_eof():
            transport.write_eof()
        elif not self._sender.unsent() and self._idle_since + _LINGER <= now:
            transport.close()
            return
        # TLS knows no half-closed connection, and asyncio drops what waits in one that is closed
        # while the peer still sends, such as windows: the peer, which was told, closes it.
        self.deadline = now + _LINGER

    def timed_out(self) -> None:
        """The deadline passed, or a second in which something was under way."""
        context, now = self._context, self._context.clock.now
        if self._lingering:
            if self._is_stalled(now):
                self._transport.abort()
            elif not self._sender.unsent():
                self.deadline = NEVER
                if self._transport.can_write_eof():
                    self._transport.abort()
                else:
                    close_once(self._transport)
            else:
                self.deadline = now + _LINGER
        elif self._partial_since + context.head_timeout <= now and not self._paused:
            if self._started or self._rest:
                self._fail(Http2Error(ErrorCode.PROTOCOL_ERROR, "a frame took too long"))
            else:
                self._close_gently()
        elif self._is_stalled(now):
            logger.info("%s: stopped reading, cut", address_text(self._peer.client))
            self._transport.abort()
        elif self._leave_at <= now and self._left_at is None:
            self._leave()
        elif self._streams:
            for stream in list(self._streams.values()):
                stream.sweep(now)
        elif self._partial_since == NEVER and self._idle_since + context.keep_alive <= now:
            self.end_idle()
        elif self._partial_since == NEVER and self._leave_at == NEVER and self._sender.writable:
            self.deadline = self._idle_since + context.keep_alive

    def _is_stalled(self, now: float) -> bool:
        """The peer has let nothing leave for too long, though something waits for it."""
        sender, context = self._sender, self._context
        unsent, frames = sender.unsent(), sender.data_frames
        moved = unsent < self._unsent or frames != self._data_frames
        self._unsent, self._data_frames = unsent, frames
        waits = sender.blocked or (self._lingering and unsent)
        if moved or not waits or self._stalled_at == NEVER:
            self._stalled_at = now + context.write_timeout
        return self._stalled_at <= now

    @property
    def exchanges(self) -> Sequence[Exchange]:
        """Those under way."""
        exchanges = [stream.exchange for stream in self._streams.values()]
        return [each for each in exchanges if each is not None and not each.finished]

    @property
    def client(self) -> Address | None:
        """See `Connection`."""
        return self._peer.client

    @property
    def idle_since(self) -> float | None:
        """See `Connection`."""
        since = self._idle_since
        partial = self._section is not None or self._rest
        if self._streams or partial or self._lingering or self._sender.unsent():
            return None
        new = not self._last and self._context.clock.now - since <= _FIRST
        return None if new else since

    def end_idle(self) -> None:
        """Close it, while `idle_since` is not None."""
        self._say_goodbye(ErrorCode.NO_ERROR)
        self._close_gently()

    @property
    def closing(self) -> bool:
        """The last bytes are on their way; nothing more is read."""
        return self._transport.is_closing()

    def cut(self) -> None:
        """Close now; what is under way is reset, and what was complete still leaves."""
        for stream in list(self._streams.values()):
            stream.cancel(ErrorCode.CANCEL)
        if not self._lingering:
            self._say_goodbye(ErrorCode.NO_ERROR)
            self._lingering = True
        self._sender.flush()
        close_once(self._transport)
        self._context.loop.call_later(_LAST_BYTES, self._transport.abort)

    def __repr__(self) -> str:
        state = "lingering" if self._lingering else f"{len(self._streams)} streams"
        return f"<Http2Connection {self._peer.client} {state}>"
