"""HTTP/1.1 on one connection (RFC 9112): requests in, keep-alive, pipelining, the end.

Rules:
1. One exchange at a time. The next head is not even parsed before the current response is
   complete, so answers keep their order (CVE-2023-46137), a good request is answered before the
   bad one behind it is refused, and a flood of pipelined requests is a few unread bytes.
2. A parser reads heads only. Bodies are framed in http1_body, the same for every parser.
3. Nothing is sent after a response that says ``Connection: close``.
4. Bytes the application has not taken stop the reading; bytes the peer has not taken make the
   exchange unwritable. There is no queue in between.

It knows the transport and the `Exchange`, and no application interface. One state machine, which
is why the file is long: splitting the states would only spread them.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from typing import BinaryIO, Final, cast

from gateway.clock import NEVER
from gateway.exchange import Exchange
from gateway.head import Address, Headers, Peer, RequestHead, address_text
from gateway.protocols.closing import close_once
from gateway.protocols.context import ConnectionContext
from gateway.protocols.http1_body import BodyDecoder, ChunkedDecoder, LengthDecoder
from gateway.protocols.http1_rules import check_visible, parse_request_line, request_head
from gateway.protocols.http1_writer import ResponseWriter
from gateway.protocols.http2 import Http2Connection
from gateway.protocols.http2_upgrade import asks_for_http2
from gateway.protocols.peer import peer_of
from gateway.protocols.proxy_protocol import ProxyHeader
from gateway.protocols.request_rules import BadRequest

__all__ = ["Http1Connection"]

logger = logging.getLogger("gateway.error")

# Bytes of body, or of further requests, that may wait here unread; one read adds 256 KiB at most.
_UNREAD: Final = 64 * 1024
# An unread rest of a request body is thrown away up to here to keep the connection; Go's limit.
_DISCARD: Final = 256 * 1024
# How long a closed connection still reads, so that a reset does not destroy the answer on its way
# (RFC 9112, section 9.6). As many bytes as come: most clients send all before they read. nginx:
# lingering_timeout 5 s.
_LINGER: Final = 2.0
# Prior knowledge of HTTP/2 (RFC 9113, section 3.3): no request line of any other version.
_PREFACE_LINE: Final = b"PRI * HTTP/2.0\r\n"
# What a new connection still gets for its first request when a drain begins, or room is needed. One
# second at least, of a clock that is read once a second: at 1.0 some had 0.1 s.
_FIRST: Final = 2.0


class Http1Connection(asyncio.Protocol):
    """One connection, and the wire of its current exchange.

    proxied: see `peer_of`.
    deadline: `Clock.now` seconds after which whoever sweeps calls `timed_out`.
    exchange: the one under way; None while the connection waits for a request.
    """

    __slots__ = (
        "_body",
        "_context",
        "_discarded",
        "_eof",
        "_head_begun",
        "_idle_since",
        "_in_process",
        "_input",
        "_keep_alive",
        "_lingering",
        "_parser",
        "_peer",
        "_proxied",
        "_reading",
        "_scanned",
        "_served",
        "_skipped_blank",
        "_transport",
        "_tunnel",
        "_unread",
        "_unsent",
        "_writable",
        "_writer",
        "deadline",
        "exchange",
    )

    _transport: asyncio.Transport
    _peer: Peer
    _writer: ResponseWriter

    def __init__(self, context: ConnectionContext, proxied: ProxyHeader | None = None) -> None:
        self._context = context
        self._proxied = proxied
        self._parser = context.parser()
        self.exchange: Exchange | None = None
        self.deadline = NEVER
        self._body: BodyDecoder | None = None  # of the request, until its last byte was seen
        self._input = b""  # received, but not its turn yet
        self._in_process = False
        self._head_begun = False
        self._idle_since = 0.0  # by the clock, while there is no exchange
        self._scanned = 0  # bytes of an incomplete head that need no second look
        self._skipped_blank = False
        self._keep_alive = True
        self._served = False
        self._eof = False
        self._lingering = False
        self._tunnel = False  # the peer speaks another protocol from here on
        self._reading = True
        self._writable = True
        self._unread = 0
        self._unsent = 0  # what waited for the peer when its deadline was set
        self._discarded = 0

    # --- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        context = self._context
        self._transport = cast("asyncio.Transport", transport)
        self._peer = peer_of(transport, self._proxied)
        self._writer = ResponseWriter(context.loop, self._transport, context.encoder)
        self._idle_since = context.clock.now
        self.deadline = self._idle_since + context.head_timeout
        context.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._context.connections.discard(self)
        self._close_input()
        self._writer.close()
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.lost()

    def eof_received(self) -> bool:
        """The peer closed its side. It may still read: ``printf … | nc`` expects its answer."""
        self._eof = True
        # TLS cannot be half-closed; asyncio warns of a protocol that believes so.
        return self._half_open() and self._transport.can_write_eof()

    def data_received(self, data: bytes) -> None:
        if self._tunnel and self.exchange is not None:
            self._pass_on(data)
            if len(data) > _UNREAD and self._reading:
                # uvloop reads 32 times in a row from a peer that sends faster than we read: a flood
                # of pongs, six bytes each, kept all others waiting for more than 5 s.
                self._pause_reading()
                self._context.loop.call_soon(self._read_on)
            return
        if self._input:
            data = self._input + data
            self._input = b""
        self._process(data)

    def pause_writing(self) -> None:
        self._writable = False
        if self.deadline == NEVER:
            self._await_peer()
        if self.exchange is not None and self._writer.transfer is None:
            self.exchange.set_writable(False)

    def resume_writing(self) -> None:
        self._writable = True
        if self._writer.transfer is not None:
            self._writer.transfer.advance()
            if self._writer.transfer is not None and self._body is None:
                self._await_peer()
        elif self._lingering:
            self.deadline = self._context.clock.now + _LINGER
        elif self.exchange is not None:
            if self._body is None and (self.exchange.tunnel is None or self._is_awaited()):
                self.deadline = NEVER
            self.exchange.set_writable(True)
        else:
            self._resume_reading()
            self._go_on()

    # --- requests -------------------------------------------------------------------------------

    def _process(self, data: bytes) -> None:
        """Take as much of `data` as the state allows; the rest waits in `_input`."""
        self._in_process = True
        while data:
            if self._lingering:
                break
            if self._body is not None:
                data = self._read_body(self._body, data)
            elif self.exchange is None and self._writable:
                data = self._read_head(data)
            elif self._tunnel:
                self._pass_on(data)
                break
            else:
                # Not its turn; or the peer asks for more without reading the answers.
                self._input = data
                if len(data) > _UNREAD:
                    self._pause_reading()
                break
        self._in_process = False

    def _go_on(self) -> None:
        """Nothing is under way: take what waits, and close if no more can come."""
        if self._input:
            data, self._input = self._input, b""
            self._process(data)
        if self._eof and not self._half_open():
            close_once(self._transport)

    def _half_open(self) -> bool:
        """The peer sends no more: whether there is a request to answer all the same."""
        exchange = self.exchange
        if exchange is None:
            return bool(self._input) and not self._writable
        if self._body is not None:
            return False  # a request that can never be complete is as good as gone
        exchange.peer_closed()
        return True

    def _read_head(self, data: bytes) -> bytes:
        """Start the next exchange; returns the bytes behind its head."""
        line_end = data.find(b"\r\n")
        if line_end == 0 and not self._skipped_blank:
            # One empty line may precede a request line (RFC 9112, section 2.2); no more.
            self._skipped_blank = True
            return data[2:]
        context = self._context
        end = data.find(b"\r\n\r\n", self._scanned) + 4
        try:
            if end == 3 or end > context.limit_head:
                self._check_partial(data, line_end)
                self._input = data
                return b""
            line = parse_request_line(data[:line_end])
            headers = self._parser.parse(data if end == len(data) else data[:end])
            head, keep_alive = request_head(line, headers, self._peer)
            if len(headers) > context.limit_headers:
                raise BadRequest(431, "too many header fields")
        except BadRequest as refusal:
            if not self._served and data.startswith(_PREFACE_LINE) and self._leave(None, b"", data):
                return b""
            self._refuse(refusal)
            return b""
        self.deadline = NEVER
        self._head_begun = self._skipped_blank = False
        self._scanned = 0
        self._served = True
        self._keep_alive = keep_alive = keep_alive and not context.draining
        if head.content_length != 0:
            self._open_body(head)
        elif not keep_alive or head.upgrade is not None:
            self._parser.reset()
            if head.upgrade == b"h2c" and self._upgrade(head, data[end:]):
                return b""
        exchange = self.exchange = Exchange(head, self)
        try:
            context.handler(exchange)
        except Exception:
            logger.exception("the gateway failed on %s", exchange)
            exchange.fail()
        return data[end:]

    def _upgrade(self, head: RequestHead, data: bytes) -> bool:
        """Go on in HTTP/2 if the request can ask for that (RFC 7540, section 3.2).

        Not one that came through a proxy: whoever makes a proxy pass an Upgrade on that it does not
        understand has a tunnel past its rules.
        """
        if self._context.http2 is None or self._peer.scheme != "http":
            return False
        found = asks_for_http2(head)
        if found is None:
            return False
        plain, settings = found
        self._writer.informational(101, [(b"connection", b"upgrade"), (b"upgrade", b"h2c")])
        return self._leave(plain, settings, data)

    def _leave(self, upgraded: RequestHead | None, settings: bytes, data: bytes) -> bool:
        """Let HTTP/2 have the connection, and the bytes that are its own already."""
        context = self._context
        encrypted = self._transport.get_extra_info("sslcontext") is not None
        if context.http2 is None or encrypted:
            return False
        self.deadline = NEVER
        context.connections.discard(self)
        successor = Http2Connection(
            context, context.http2, proxied=self._proxied, upgraded=upgraded, settings=settings
        )
        self._transport.set_protocol(successor)
        successor.connection_made(self._transport)
        if data:
            successor.data_received(data)
        return True

    def _check_partial(self, data: bytes, line_end: int) -> None:
        """Bound an incomplete head, and refuse at once what no further byte can mend.

        Nothing behind the limit is looked at, so that the answer does not depend on how the bytes
        were cut into segments.
        """
        context = self._context
        limit = context.limit_head
        news = data[self._scanned : limit]
        if line_end < 0 or line_end + 2 > limit:
            # Such as a TLS ClientHello, which would otherwise wait for its timeout.
            check_visible(news.removesuffix(b"\r"))
            if len(data) > limit:
                raise BadRequest(414, "the request line is too long")
        else:
            if line_end >= self._scanned:
                parse_request_line(data[:line_end])
            if news.count(b"\n") != news.count(b"\r\n"):
                raise BadRequest(400, "a bare LF in the header section")
            if len(data) > limit:
                raise BadRequest(431, "the header section is too large")
        # The last three bytes may be the beginning of the end; a CRLF is not cut in two.
        scanned = max(0, len(data) - 3)
        self._scanned = scanned - data.startswith(b"\n", scanned)
        if not self._head_begun:
            self._head_begun = True
            self.deadline = context.clock.now + context.head_timeout

    def _open_body(self, head: RequestHead) -> None:
        self._parser.reset()
        self._unread = self._discarded = 0
        self._await_body()
        if head.content_length is None:
            context = self._context
            self._body = ChunkedDecoder(context.limit_head, context.limit_headers)
        else:
            self._body = LengthDecoder(head.content_length)

    def _await_body(self) -> None:
        self.deadline = self._context.clock.now + self._context.body_timeout

    def _await_more(self, size: int) -> None:
        """`size` bytes of the body have come: see `ConnectionContext.body_rate`."""
        context = self._context
        deadline = self.deadline + size * context.byte_time
        latest = context.clock.now + context.body_timeout
        self.deadline = min(latest, deadline)

    def _await_peer(self) -> None:
        self._unsent = self._writer.unsent()
        self.deadline = self._context.clock.now + self._context.write_timeout

    def _is_awaited(self) -> bool:
        """The deadline is that of `_await_peer`, not one that a tunnel has asked for."""
        return self._unsent != sys.maxsize

    def _peer_reads(self) -> bool:
        """Give a peer that has taken something since its deadline was set another one."""
        if self._writer.unsent() >= self._unsent:
            return False
        self._await_peer()
        return True

    def _read_body(self, body: BodyDecoder, data: bytes) -> bytes:
        """Hand body bytes to the exchange; returns the bytes behind the body."""
        try:
            content, surplus = body.feed(data)
        except BadRequest as refusal:
            self._refuse_body(refusal)
            return b""
        if body.done:
            self._body = None
        exchange = cast("Exchange", self.exchange)
        if exchange.finished:
            if body.done:
                self._take_next()
            else:
                self._discard(len(content))
            return surplus
        if not body.done:
            if content:
                self._await_more(len(content))
        elif self._writable:
            self.deadline = NEVER
        else:
            self._await_peer()
        if content:
            self._unread += len(content)
            exchange.body_received(content)
        if self.exchange is exchange:
            # Still its turn: the listener may have answered at once.
            if self._unread > _UNREAD and not exchange.finished:
                self._pause_reading()
                self.deadline = NEVER  # the application is the slow one
            if body.done:
                exchange.body_ended()
        return surplus

    def _pass_on(self, data: bytes) -> None:
        """Bytes of the protocol in the tunnel."""
        exchange = cast("Exchange", self.exchange)
        if not exchange.tunnel_received(data):
            self._unread += len(data)
            if self._unread > _UNREAD and self.exchange is exchange:
                self._pause_reading()

    def _read_on(self) -> None:
        if self._unread <= _UNREAD:
            self._resume_reading()

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > _DISCARD:
            self._close_gently()

    def _refuse(self, refusal: BadRequest) -> None:
        """Answer a request that gets no exchange, and close."""
        client = address_text(self._peer.client)
        logger.warning("%s: refused with %d: %s", client, refusal.status, refusal.reason)
        text = refusal.reason.encode() + b"\n"
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(text)),
        ]
        self._writer.start(
            refusal.status, headers, (), b"connection: close\r\n", False, text, False
        )
        self._close_gently()

    def _refuse_body(self, refusal: BadRequest) -> None:
        """A body whose framing is broken: 400 if nothing was sent yet, a cut in mid-response."""
        exchange = cast("Exchange", self.exchange)
        if exchange.finished:
            self._close_gently()
        elif exchange.status is None:
            self.exchange = None
            self._refuse(refusal)
            exchange.lost()
        else:
            client = address_text(self._peer.client)
            logger.info("%s: %s, cut: %s", client, refusal.reason, exchange)
            self.cut()

    def _pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        # uvloop raises RuntimeError for a transport that is closed.
        if not self._reading and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    # --- gateway.exchange.Wire ------------------------------------------------------------------

    def limit_body(self, size: int) -> None:
        if isinstance(self._body, ChunkedDecoder):
            self._body.most = size
            if self._body.announced > size:
                self._refuse_body(BadRequest(413, "the request body is too large"))

    def consumed(self, size: int) -> None:
        self._unread -= size
        if self._unread <= _UNREAD and not self._reading:
            self._resume_reading()
            if self._body is not None:
                self._await_body()

    def send_response(
        self, status: int, headers: Headers, data: bytes, more: bool, length: int | None
    ) -> None:
        exchange = cast("Exchange", self.exchange)
        old = exchange.head.version == "1.0"
        # Only the end of the connection can tell HTTP/1.0 where a body of unknown length ends.
        # A client that still waits for 100 (Continue) may send its body or not: nobody can say
        # where the next request would begin.
        if (
            (old and length is None)
            or exchange.close_requested
            or self._context.draining
            or (exchange.expecting and self._body is not None)
        ):
            self._keep_alive = False
        if not self._keep_alive:
            framing = b"connection: close\r\n"
        elif status == 426:
            framing = b"connection: upgrade\r\n"
        else:
            framing = b"connection: keep-alive\r\n" if old else b""
        self._writer.start(
            status,
            headers,
            exchange.own_fields,
            framing,
            length is None and not old,
            data,
            more,
        )

    def open_tunnel(self, status: int, headers: Headers) -> None:
        exchange = cast("Exchange", self.exchange)
        name = exchange.head.upgrade or b""
        self._keep_alive = False
        self._tunnel = True
        self._unread = 0
        if self.deadline == NEVER:
            self._unsent = sys.maxsize
        framing = b"connection: upgrade\r\nupgrade: %b\r\n" % name
        self._writer.tunnel(status, headers, exchange.own_fields, framing)
        if self._input and not self._in_process:
            data, self._input = self._input, b""
            self._process(data)
        self._resume_reading()

    def set_deadline(self, seconds: float | None) -> None:
        self._unsent = sys.maxsize
        if seconds is None:
            self.deadline = NEVER
        else:
            self.deadline = self._context.clock.now + seconds

    def send_data(self, data: bytes, more: bool) -> None:
        if self._transport.is_closing():
            # A dead transport takes everything and never asks to pause: an application that sends
            # in a loop would keep the loop from ever saying that the connection is lost.
            cast("Exchange", self.exchange).lost()
            return
        if not self._tunnel:
            self._writer.data(data, more)
        elif data:
            self._transport.write(data)

    def send_file(self, file: BinaryIO, offset: int, count: int, more: bool) -> None:
        exchange = cast("Exchange", self.exchange)

        def sent(complete: bool) -> None:
            if self._body is None:
                self.deadline = NEVER
            if complete:
                exchange.file_sent()
            else:
                logger.error("a file ended before its announced length: %s", exchange)
                exchange.abort()

        self._writer.file(file, offset, count, more, sent)
        if self._writer.transfer is not None and self.deadline == NEVER:
            self._await_peer()

    def send_trailers(self, headers: Headers) -> None:
        self._writer.trailers(headers)

    def send_informational(self, status: int, headers: Headers) -> None:
        # "A server MUST NOT send a 1xx response to an HTTP/1.0 client", RFC 9110, section 15.2.
        if self.exchange is not None and self.exchange.head.version != "1.0":
            self._writer.informational(status, headers)
            if status == 100 and self._body is not None:
                self._await_body()  # its time begins now

    def abort(self) -> None:
        self.cut()

    def exchange_finished(self) -> None:
        exchange = self.exchange
        if exchange is None or self._transport.is_closing():
            return
        if self._body is None:
            self._take_next()
        elif exchange.expecting or not self._keep_alive or self._body.left > _DISCARD:
            self._close_gently()
        else:
            self.deadline = self._context.clock.now + self._context.keep_alive
            self._resume_reading()

    def _take_next(self) -> None:
        """Request and response are over: go on, or close."""
        self.exchange = None
        if not self._keep_alive:
            # Bytes may have come behind the request, in `_input` or in the hands of `_process`, or
            # be coming: who speaks in a tunnel does not wait for answers.
            if self._input or self._in_process or self._tunnel:
                self._close_gently()
            else:
                close_once(self._transport)
            return
        context = self._context
        now = self._idle_since = context.clock.now
        self.deadline = now + (context.linger if context.draining else context.keep_alive)
        self._unsent = sys.maxsize
        if not self._reading:
            self._resume_reading()
        if (self._input or self._eof) and not self._in_process:
            self._go_on()

    # --- the end --------------------------------------------------------------------------------

    def _close_input(self) -> None:
        self._keep_alive = False
        self._body = None
        self._input = b""
        self.deadline = NEVER

    def _close_gently(self) -> None:
        """Close the sending side and read on for a while: see `_LINGER`."""
        self._close_input()
        self.exchange = None
        self._lingering = True
        if self._eof or not self._transport.can_write_eof():
            close_once(self._transport)
            return
        self.deadline = self._context.clock.now + _LINGER
        self._unsent = sys.maxsize
        self._transport.write_eof()
        self._resume_reading()

    def timed_out(self) -> None:
        """The deadline passed: idle, half a head or body, an unread body or answer, lingering."""
        self.deadline = NEVER
        exchange = self.exchange
        if self._lingering or (exchange is None and not self._head_begun):
            # What was sent last may still be leaving, to a slow peer or to none.
            if not self._writer.unsent():
                self.cut() if self._lingering else close_once(self._transport)
            elif not self._peer_reads():
                self.cut()
        elif exchange is None:
            self._refuse(BadRequest(408, "the request head took too long"))
        elif exchange.tunnel is not None and not exchange.finished:
            if not self._is_awaited():
                exchange.tunnel.on_deadline()
            elif not self._peer_reads():
                self.cut()
        elif exchange.finished:
            self._close_gently()
        elif exchange.expecting:
            self._await_body()  # the client was not told to send it yet
        elif self._body is not None:
            self._refuse_body(BadRequest(408, "the request body arrives too slowly"))
        elif not self._peer_reads():
            logger.info("%s: stopped reading, cut: %s", address_text(self._peer.client), exchange)
            self.cut()

    def drain(self) -> None:
        """Finish what has begun and close; so does a connection that has been idle for `linger`.

        A response whose head has left without ``Connection: close`` has promised to take another
        request; that one will say it. (Not an event stream: its client waits before it asks again.)
        A connection that has not had its first request yet gets `_FIRST` seconds for it: its bytes
        may be on their way, and no client repeats a request on a connection it has just opened.
        """
        context = self._context
        now = context.clock.now
        if self.exchange is not None:
            if self.exchange.finished:
                self._close_gently()  # answered; only the rest of its body is missing
            elif self.exchange.status is None or self.exchange.endless:
                self._keep_alive = False
        elif not self._lingering:
            patience = _FIRST
            if self._served and not self._input:
                # After a loop that was blocked nobody has been idle: what they have sent is unread.
                idle = 0.0 if context.clock.late else now - self._idle_since
                patience = context.linger - idle
            if patience <= 0:
                close_once(self._transport)
            else:
                self.deadline = now + patience

    @property
    def exchanges(self) -> Sequence[Exchange]:
        """The one under way, if any."""
        return () if self.exchange is None or self.exchange.finished else (self.exchange,)

    @property
    def client(self) -> Address | None:
        """See `Connection`."""
        return self._peer.client

    @property
    def idle_since(self) -> float | None:
        """See `Connection`."""
        since = self._idle_since
        if self.exchange is not None or self._input or self._lingering or self._writer.unsent():
            return None
        new = not self._served and self._context.clock.now - since <= _FIRST
        return None if new else since

    def end_idle(self) -> None:
        """Close it, while `idle_since` is not None."""
        close_once(self._transport)

    @property
    def closing(self) -> bool:
        """The last bytes are on their way; nothing more is read."""
        return self._transport.is_closing()

    def cut(self) -> None:
        """Close now, whatever is under way; the peer sees a reset."""
        self._keep_alive = False
        self._transport.abort()

    def __repr__(self) -> str:
        state = "lingering" if self._lingering else self.exchange or "idle"
        return f"<Http1Connection {self._peer.client} {state}>"
