"""One stream of an HTTP/2 connection: the wire of one exchange (RFC 9113, section 5)."""

from __future__ import annotations

import logging
import sys
from typing import BinaryIO, Final, Protocol

from gateway.clock import NEVER
from gateway.exchange import Exchange
from gateway.head import Headers, address_text
from gateway.protocols.context import ConnectionContext
from gateway.protocols.http2_errors import ErrorCode, StreamError
from gateway.protocols.http2_frames import (
    DATA,
    END_STREAM,
    frame,
    header_frames,
    headers_and_data,
)
from gateway.protocols.http2_outbox import Outbox
from gateway.protocols.http2_sender import LARGEST_WINDOW, FrameSender

__all__ = ["Http2Stream", "StreamOwner"]

logger = logging.getLogger("gateway.error")

# A piece shorter than this, because the peer's window has no more room, costs as much as one of
# 16 KiB. There are some at the end of each window, though fewer than KiB in it, but windows opened
# by a few bytes at a time make nothing else.
_SLIVER: Final = 64


class StreamOwner(Protocol):
    """A connection as its streams see it."""

    def stream_ended(self, stream: Http2Stream) -> None:
        """Both sides have said their last on `stream`."""

    def reset_stream(self, stream: Http2Stream, code: ErrorCode) -> None:
        """End `stream` at once and tell the peer why."""


class Http2Stream:
    """Carries one request and its response; flow control in both directions.

    What the peer's windows or the transport do not take waits in an `Outbox`, and the exchange is
    not writable until it is empty: an application is asked for one message more than has left.
    The peer's window is opened again by what the application has taken, and by nothing else.

    exchange: None once the stream is over.
    window: bytes the peer takes on this stream; negative after it has made its windows smaller.
    received_all: the peer has ended its side.
    """

    __slots__ = (
        "_context",
        "_deadline",
        "_declared",
        "_most",
        "_outbox",
        "_owed",
        "_owner",
        "_sender",
        "_tunnel",
        "_used",
        "_write_deadline",
        "exchange",
        "id",
        "received_all",
        "window",
    )

    def __init__(
        self,
        number: int,
        owner: StreamOwner,
        sender: FrameSender,
        context: ConnectionContext,
        declared: int | None,
        received_all: bool,
    ) -> None:
        """declared: bytes of the request's body, None if that is not known."""
        self.id = number
        self.exchange: Exchange | None = None
        self.window = sender.initial_window
        self.received_all = received_all
        self._owner = owner
        self._sender = sender
        self._context = context
        self._declared = declared
        self._used = 0  # of the window we gave: received, and not given back
        self._owed = 0  # taken by the application, and not given back yet
        self._outbox: Outbox | None = None
        self._tunnel = False
        if received_all:
            self._deadline = NEVER
        else:
            self._deadline = context.clock.now + context.body_timeout
            self._most = sys.maxsize  # bytes of a body that has declared no length
        self._write_deadline = NEVER

    # --- what the peer sends --------------------------------------------------------------------

    def receive(self, data: bytes, size: int, room: int, ended: bool) -> None:
        """Take a DATA frame's content. Raises `StreamError`.

        size: bytes it takes of the window, padding included. room: of the whole window.
        """
        exchange = self.exchange
        if self.received_all:
            raise StreamError(ErrorCode.STREAM_CLOSED, "DATA after the end of the request")
        self._used += size
        if self._used > room:
            raise StreamError(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the stream's window")
        if self._declared is not None:
            self._declared -= len(data)
            if self._declared < 0 or (ended and self._declared):
                raise StreamError(
                    ErrorCode.PROTOCOL_ERROR, "the body is not as long as its Content-Length"
                )
        if exchange is None or exchange.finished:
            if ended:
                self.end()
            return
        if ended:
            self.received_all = True
            self._deadline = NEVER
        if size != len(data):
            self.consumed(size - len(data))
        if not ended and exchange.tunnel is None:
            self._await_body(room, len(data))
        if not data:
            pass
        elif not self._tunnel:
            if self._declared is None and exchange.received + len(data) > self._most:
                self._refuse_body(413, "the request body is too large")
                return
            exchange.body_received(data)
        elif exchange.tunnel_received(data):
            self.consumed(len(data))
        if ended and self.exchange is exchange:
            self._tell_end(exchange)

    def end(self) -> None:
        """The peer has ended its side without more data (trailers, which are not passed on)."""
        if self._declared:
            raise StreamError(
                ErrorCode.PROTOCOL_ERROR, "the body is not as long as its Content-Length"
            )
        self.received_all = True
        self._deadline = NEVER
        if self.exchange is not None and not self.exchange.finished:
            self._tell_end(self.exchange)

    def _tell_end(self, exchange: Exchange) -> None:
        if self._tunnel:
            exchange.peer_closed()
        else:
            exchange.body_ended()

    def _await_body(self, room: int, size: int) -> None:
        """`size` bytes of it have come: see `ConnectionContext.body_rate`."""
        context = self._context
        if self._used - self._owed >= room // 2:
            self._deadline = NEVER  # the application is the slow one
        elif size:
            deadline = self._deadline + size * context.byte_time
            latest = context.clock.now + context.body_timeout
            self._deadline = min(latest, deadline)

    def open_window(self, size: int) -> None:
        """The peer takes `size` bytes more, or fewer. Raises `StreamError`."""
        self.window += size
        if self.window > LARGEST_WINDOW:
            raise StreamError(ErrorCode.FLOW_CONTROL_ERROR, "the stream's window is too large")
        if self._outbox is not None:
            if self.window > 0:
                self._sender.wait(self)
            else:
                self._sender.forget(self)

    def cancel(self, code: ErrorCode) -> None:
        """End the stream from this side."""
        exchange = self.exchange
        self._owner.reset_stream(self, code)
        if exchange is not None:
            exchange.lost()

    def lost(self) -> None:
        """The connection, or the peer's interest in the stream, is gone."""
        exchange = self.exchange
        self.close()
        if exchange is not None:
            exchange.lost()

    def close(self) -> None:
        """Let go of everything; nothing is sent any more."""
        self.exchange = None
        self._deadline = self._write_deadline = NEVER
        if self._outbox is not None:
            self._sender.forget(self)
            self._outbox.close()
            self._outbox = None

    # --- deadlines ------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Act on the deadlines that have passed."""
        exchange = self.exchange
        if exchange is None:
            return
        if self._write_deadline <= now and self.window > 0:
            # Its turn has not come; whether the connection stalls is not a stream's matter.
            self._write_deadline = now + self._context.write_timeout
        elif self._write_deadline <= now:
            logger.info("stopped reading, cut: %s", exchange)
            self.cancel(ErrorCode.CANCEL)
        elif self._deadline <= now:
            self._deadline = NEVER
            if exchange.finished:
                return  # what is left of the answer has a deadline of its own
            if exchange.tunnel is not None:
                exchange.tunnel.on_deadline()
            elif exchange.expecting:
                self._deadline = now + self._context.body_timeout  # not told to send it yet
            else:
                self._refuse_body(408, "the request body arrives too slowly")

    def _refuse_body(self, status: int, reason: str) -> None:
        """Answer if nothing was sent yet, else reset the stream."""
        exchange = self.exchange
        if exchange is None:
            return
        client = address_text(exchange.head.client)
        if exchange.status is None:
            logger.warning("%s: refused with %d: %s", client, status, reason)
            exchange.refuse(status, reason)
            exchange.lost()
        else:
            logger.info("%s: %s, cut: %s", client, reason, exchange)
            self.cancel(ErrorCode.CANCEL)

    # --- gateway.exchange.Wire ------------------------------------------------------------------

    def limit_body(self, size: int) -> None:
        if self.received_all:
            return
        self._most = size
        if self.exchange is not None and self.exchange.received > size:
            self._refuse_body(413, "the request body is too large")

    def send_response(
        self, status: int, headers: Headers, data: bytes, more: bool, length: int | None
    ) -> None:
        exchange = self.exchange
        sender = self._sender
        if exchange is None:
            return
        if 200 <= status <= 299 and exchange.head.upgrade is not None:
            # The client would take it for an open tunnel (RFC 8441, section 5).
            exchange.status = status = 501
            headers, data, more = [], b"", False
            self._context.loop.call_soon(exchange.lost)
        if status == 426:
            # It asks for an Upgrade, of which HTTP/2 has none (RFC 9113, section 8.2.2).
            headers = [field for field in headers if field[0] != b"upgrade"]
        fields = sender.defaults.beside(exchange.own_fields) + headers
        block = sender.encode(status, fields)
        if not data:
            sender.send(header_frames(self.id, block, sender.largest, ends=not more))
            if not more:
                self._owner.stream_ended(self)
        elif self._fits(len(data)) and len(block) <= sender.largest:
            # Most responses: both frames at once, 8 % of the whole request less.
            self._took(len(data))
            sender.send(headers_and_data(self.id, block, data, ends=not more))
            if not more:
                self._owner.stream_ended(self)
        else:
            sender.send(header_frames(self.id, block, sender.largest, ends=False))
            self._send(data, more)

    def send_data(self, data: bytes, more: bool) -> None:
        if self.exchange is not None:
            self._send(data, more)

    def _send(self, data: bytes, more: bool) -> None:
        if self._outbox is None:
            if not data:
                if not more:
                    self._send_end([])
                return
            if self._fits(len(data)):
                self._took(len(data))
                self._sender.send(frame(DATA, 0 if more else END_STREAM, self.id, data))
                if not more:
                    self._owner.stream_ended(self)
                return
        outbox = self._box()
        outbox.add(data)
        outbox.ends = not more
        self._start_waiting()

    def _fits(self, size: int) -> bool:
        """A frame of `size` bytes may leave now."""
        sender = self._sender
        return (
            size <= self.window
            and size <= sender.window
            and size <= sender.largest
            and sender.writable
            and not sender.full
        )

    def _took(self, size: int) -> None:
        sender = self._sender
        self.window -= size
        sender.window -= size
        sender.data_frames += 1

    def send_file(self, file: BinaryIO, offset: int, count: int, more: bool) -> None:
        exchange = self.exchange
        if exchange is None:
            file.close()
            return
        if not count and self._outbox is None:
            file.close()
            self._send(b"", more)
            exchange.file_sent()
            return
        outbox = self._box()
        outbox.add_file(file, offset, count)
        outbox.ends = not more
        self._start_waiting()

    def send_trailers(self, headers: Headers) -> None:
        if self.exchange is None:
            return
        if self._outbox is not None:
            self._outbox.trailers = headers
            self._outbox.ends = True
        else:
            self._send_end(headers)

    def send_informational(self, status: int, headers: Headers) -> None:
        if self.exchange is not None:
            self._sender.send_headers(self.id, status, headers, ends=False)
            if status == 100 and self._deadline != NEVER:
                self._deadline = self._context.clock.now + self._context.body_timeout

    def open_tunnel(self, status: int, headers: Headers) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        self._tunnel = True
        fields = self._sender.defaults.beside(exchange.own_fields) + headers
        self._sender.send_headers(self.id, status, fields, ends=False)
        if self.received_all:
            exchange.peer_closed()

    def set_deadline(self, seconds: float | None) -> None:
        self._deadline = NEVER if seconds is None else self._context.clock.now + seconds

    def consumed(self, size: int) -> None:
        self._owed += size
        if self.received_all or self.exchange is None:
            return
        if self._owed >= self._sender.portion:
            self._sender.give_back(self.id, self._owed)
            self._used -= self._owed
            self._owed = 0
        if self._deadline == NEVER and self.exchange.tunnel is None:
            self._deadline = self._context.clock.now + self._context.body_timeout

    def abort(self) -> None:
        exchange = self.exchange
        if exchange is not None:
            self._owner.reset_stream(self, ErrorCode.INTERNAL_ERROR)
            # As a lost connection would be told: not from within what the exchange is doing.
            self._context.loop.call_soon(exchange.lost)

    def exchange_finished(self) -> None:
        """What has not left yet leaves by itself."""

    # --- what waits for the peer ----------------------------------------------------------------

    def _box(self) -> Outbox:
        if self._outbox is None:
            self._outbox = Outbox()
            self._write_deadline = self._context.clock.now + self._context.write_timeout
        return self._outbox

    def _start_waiting(self) -> None:
        sender = self._sender
        if self.window > 0:
            sender.wait(self)
            if not sender.full:
                sender.pump()
        if self._outbox is not None and self.exchange is not None:
            self.exchange.set_writable(False)

    def send_piece(self) -> bool:
        """Send one DATA frame of what waits; whether more of it may leave."""
        outbox, sender = self._outbox, self._sender
        if outbox is None:
            return False
        room = min(self.window, sender.window)
        try:
            piece = outbox.take(min(room, sender.largest))
        except OSError:
            logger.error("a file ended before its announced length: %s", self.exchange)
            if self.exchange is not None:
                self.exchange.abort()
            return False
        size = len(piece)
        self._took(size)
        self._write_deadline = self._context.clock.now + self._context.write_timeout
        if not outbox.empty:
            sender.slivers += 1 if size < _SLIVER else -min(sender.slivers, 1 + (size >> 10))
            sender.send(frame(DATA, 0, self.id, piece))
            return self.window > 0
        trailers, ends = outbox.trailers, outbox.ends
        whole_file = outbox.file_sent
        self._outbox = None
        self._write_deadline = NEVER
        last = ends and not trailers
        if size or last:
            sender.send(frame(DATA, END_STREAM if last else 0, self.id, piece))
        exchange = self.exchange
        if last:
            self._owner.stream_ended(self)
        elif trailers:
            self._send_end(trailers)
        if exchange is not None:
            if whole_file:
                exchange.file_sent()
            elif not exchange.writable:
                exchange.set_writable(True)
        return False

    def _send_end(self, trailers: Headers) -> None:
        if trailers:
            self._sender.send_headers(self.id, None, trailers, ends=True)
        else:
            self._sender.send(frame(DATA, END_STREAM, self.id, b""))
        self._owner.stream_ended(self)
