"""A WebSocket from its request to its end, on one exchange (RFC 6455).

Rules:
1. The codec knows frames, `Inbox` messages, `Keepalive` times; what is sent when is known here.
2. After our close frame nothing is sent. What comes after it is read only to find the peer's.
3. The application may take and answer what came before a close frame or a violation: the answer
   to that waits until it asks for more, for a second at most. `closed` is set once, then.
4. Messages that the application does not take stop the reading. Of what has been read, pings are
   answered, and data frames wait as they are: nothing is inflated into a queue that is full. So a
   session holds `max_queue` messages (fewer where they are long, see `Inbox`), one that is
   incomplete, and one read.
5. Pongs never pile up: while the peer does not read, only its last ping is remembered.

It knows neither a loop nor an HTTP version nor ASGI. One state machine, which is why the file is
long. All methods are called on the event loop's thread; none blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final, Literal, Protocol, TypeAlias

from gateway.exchange import ClientGone, Exchange, ResponseError
from gateway.head import Headers
from gateway.websocket.assembly import Assembly
from gateway.websocket.close_codes import (
    ABNORMAL,
    GOING_AWAY,
    INTERNAL_ERROR,
    NO_STATUS,
    NORMAL,
    close_payload,
    is_close_code,
    parse_close,
)
from gateway.websocket.codec import BINARY, CLOSE, PING, PONG, TEXT, Violation
from gateway.websocket.deflate import Deflate
from gateway.websocket.handshake import Handshake
from gateway.websocket.inbox import Inbox
from gateway.websocket.keepalive import PING_PAYLOAD, Keepalive
from gateway.websocket.options import SessionOptions

__all__ = ["Session", "SessionListener", "SessionOptions", "State"]

State: TypeAlias = Literal["connecting", "open", "closing", "closed"]

# How long a peer may take for its close frame; websockets' and uvicorn's close_timeout.
_CLOSING: Final = 10.0
# How long the end waits for an application with messages left to take; see rule 3. Clients send a
# message and a close frame in one packet, and conformance suites ask for the answer to both.
_FAREWELL: Final = 1.0
# Shorter messages leave as they are, which RFC 7692 (section 6) lets the sender choose: with 64
# bytes zlib takes 2 µs, as long as session and codec do, to save less than a packet's headers.
_COMPRESS: Final = 128


class SessionListener(Protocol):
    """Who uses a session."""

    def on_news(self) -> None:
        """Look again: a message to take, room to write, or the end."""


class Session:
    """One WebSocket: listener and tunnel of its exchange.

    closed: close code and reason once the connection is over for the application: the peer's
        (1005 without a code), ours, or 1006 without a close frame.
    state: "connecting" until `accept` or the end; "closing" after our close frame.
    messages_received, messages_sent: so far, for the log; also those that were not taken.

    Who denies the WebSocket with a response of its own takes the exchange back: it sets `listener`
    and `tunnel` of it, and lets the session go.
    """

    __slots__ = (
        "_codec",
        "_deflate",
        "_exchange",
        "_farewell",
        "_handshake",
        "_inbox",
        "_keepalive",
        "_listener",
        "_now",
        "_options",
        "_pong",
        "closed",
        "messages_received",
        "messages_sent",
        "state",
    )

    _keepalive: Keepalive

    def __init__(
        self,
        exchange: Exchange,
        handshake: Handshake,
        options: SessionOptions,
        listener: SessionListener,
        *,
        now: Callable[[], float] = monotonic,
    ) -> None:
        deflate = Deflate.negotiate(handshake.extensions) if options.deflate else None
        self.closed: tuple[int, str] | None = None
        self.state: State = "connecting"
        self.messages_received = 0
        self.messages_sent = 0
        self._exchange = exchange
        self._handshake = handshake
        self._options = options
        self._listener = listener
        self._now = now
        self._deflate = deflate
        self._codec = options.codec(limit=options.max_size, rsv1=deflate is not None)
        assembly = Assembly(options.max_size, deflate)
        self._inbox = Inbox(assembly, options.max_queue, options.max_size)
        self._pong: bytes | None = None
        self._farewell: tuple[bytes, int, str] | None = None  # what `_end` gets, later
        exchange.listener = self
        exchange.tunnel = self
        exchange.set_deadline(options.handshake_timeout)

    # --- the application's side -----------------------------------------------------------------

    @property
    def writable(self) -> bool:
        """False while the peer does not read; `SessionListener.on_news` tells of the change."""
        return self._exchange.writable or self.closed is not None

    def accept(self, *, subprotocol: str | None = None, headers: Headers | None = None) -> None:
        """Open the WebSocket, with one of the offered subprotocols.

        headers: further fields of the answer.

        Raises `ClientGone` when the client has left, and `ResponseError` as
        `Handshake.accept_headers` and when it is too late.
        """
        if self.closed is not None:
            raise ClientGone("the client disconnected")
        deflate = self._deflate
        fields = self._handshake.accept_headers(
            subprotocol=subprotocol,
            extension=None if deflate is None else deflate.response,
            extra=headers or [],
        )
        self._keepalive = Keepalive(self._options, self._now)
        # Within this call what the peer has sent ahead may arrive, which waits for the last line;
        # or its end.
        exchange = self._exchange
        exchange.open_tunnel(self._handshake.status, fields)
        if exchange.tunnel is not self:
            raise ClientGone("the client disconnected")
        self.state = "open"
        exchange.set_deadline(self._keepalive.seconds())
        self.on_readable()

    def take(self) -> str | bytes | None:
        """The next message, None if there is none now; the peer may go on when that makes room."""
        inbox = self._inbox
        if not inbox.messages:
            if self._farewell is not None:
                self._end(*self._farewell)
            return None
        message = inbox.take()
        if inbox.full:
            self._refill()
        return message

    def send(self, data: str | bytes) -> None:
        """Send one message. Who sends waits afterwards while not `writable`.

        Raises `ClientGone` (an OSError) once `closed`, `UnicodeEncodeError` for a lone surrogate,
        and `ResponseError` before `accept`.
        """
        if self.state != "open":
            if self.closed is not None:
                raise ClientGone("the WebSocket is closed")
            raise ResponseError("a message was sent before the WebSocket was accepted")
        if isinstance(data, str):
            opcode, payload = TEXT, data.encode()
        else:
            opcode, payload = BINARY, data
        self.messages_sent += 1
        if self._deflate is None or len(payload) < _COMPRESS:
            self._exchange.write(self._codec.encode(opcode, payload), True)
        else:
            payload = self._deflate.deflate(payload)
            self._exchange.write(self._codec.encode(opcode, payload, rsv1=True), True)

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Begin the closing handshake; before `accept`, refuse with 403. Nothing once `closed`.

        reason: cut to 123 bytes of UTF-8, at a character.

        Raises `ResponseError` for a code that may not be on the wire.
        """
        if self.state == "connecting":
            self._refuse(403, "Forbidden")
        elif self._farewell is not None:
            self._end(*self._farewell)
        elif self.state == "open":
            if not is_close_code(code):
                raise ResponseError(f"{code} is not a close code that may be sent")
            self._leave(code, reason)

    # --- gateway.exchange.Listener --------------------------------------------------------------

    def on_readable(self) -> None:
        """Read all there is, unless the application has to take messages first."""
        if self._is_busy():
            return
        exchange = self._exchange
        if self.state != "connecting":
            data = exchange.read()
            if data:
                self.on_bytes(data)
        if exchange.disconnected and exchange.tunnel is self:
            self._peer_left()

    def on_writable(self) -> None:
        """Answer the last ping, then let the application write."""
        if self._pong is not None and self.state == "open":
            payload, self._pong = self._pong, None
            self._exchange.write(self._codec.encode(PONG, payload), True)
        self._listener.on_news()

    def on_gone(self) -> None:
        """The connection is lost."""
        if self._farewell is not None:
            self._over(*self._farewell[1:])
        elif self.state != "closed":
            self._over(ABNORMAL)

    # --- gateway.exchange.Tunnel ----------------------------------------------------------------

    def on_bytes(self, data: bytes) -> bool:
        """Take what the peer sent, if this is the time for it; else `on_readable` reads it."""
        codec = self._codec
        if self.state == "closing":
            if any(frame[0] == CLOSE for frame in codec.receive(data)) or codec.violation:
                self._end()
            return True
        if self.state != "open" or self._is_busy():
            return False
        try:
            for frame in codec.receive(data):
                opcode = frame[0]
                if opcode < CLOSE:
                    if self._inbox.add(frame):
                        self.messages_received += 1
                elif opcode == CLOSE:
                    code, reason = parse_close(frame[1])
                    echo = b"" if code == NO_STATUS else close_payload(code)
                    self._end_in_order(echo, code, reason)
                    break
                else:
                    self._obey(opcode, frame[1])
                    if self.closed is not None:
                        return True
            else:
                if codec.violation is not None:
                    self._fail(codec.violation)
        except Violation as violation:
            self._fail(violation)
        if self.closed is None:
            self._listener.on_news()
        return True

    def on_deadline(self) -> None:
        """No accept, time for a ping, no pong, the end of the lifetime, no close frame."""
        exchange = self._exchange
        if self.state == "connecting":
            self._refuse(503, "the application did not answer in time")
        elif self.state == "closing":
            self._end()
        elif self._farewell is not None:
            self._end(*self._farewell)
        elif self.state == "open":
            verdict = self._keepalive.judge(exchange.received, held=self._inbox.full)
            if verdict == "silent":
                self._leave(INTERNAL_ERROR, "keepalive ping timeout")
            elif verdict == "old":
                self._leave(GOING_AWAY, "maximum lifetime reached")
            else:
                if verdict == "ping":
                    exchange.write(self._codec.encode(PING, PING_PAYLOAD), True)
                exchange.set_deadline(self._keepalive.seconds())

    def on_shutdown(self) -> None:
        """The server stops; who is not accepted yet is asked to come again."""
        if self.state == "connecting":
            self._refuse(503, "Service Unavailable")
        elif self._farewell is not None:
            self._end(*self._farewell)
        elif self.state == "open":
            self._leave(self._options.shutdown_code)

    # --- from the peer --------------------------------------------------------------------------

    def _is_busy(self) -> bool:
        """The application has to take messages before anything more is read."""
        return self.state == "open" and (self._inbox.full or self._farewell is not None)

    def _refill(self) -> None:
        """There is room for a message: from what was read already, then from the peer."""
        inbox = self._inbox
        try:
            self.messages_received += inbox.refill()
        except Violation as violation:
            self._fail(violation)
        if self.state == "open" and not self._is_busy():
            if self._keepalive.grant():
                self._exchange.set_deadline(self._keepalive.seconds())
            self.on_readable()

    def _obey(self, opcode: int, payload: bytes) -> None:
        if opcode == PONG:
            if self._keepalive.pong(payload):
                self._exchange.set_deadline(self._keepalive.seconds())
        elif self._exchange.writable:
            self._exchange.write(self._codec.encode(PONG, payload), True)
        else:
            self._pong = payload

    def _peer_left(self) -> None:
        """The peer closed its side without a close frame, or after it was sent ours."""
        if self.state == "connecting":
            self._exchange.abort()
            self._over(ABNORMAL)
        else:
            self._end()

    # --- the end --------------------------------------------------------------------------------

    def _leave(self, code: int, reason: str = "") -> None:
        """Send a close frame and wait for the peer's."""
        frame = self._codec.encode(CLOSE, close_payload(code, reason))
        self.state = "closing"
        self.closed = code, reason
        self._exchange.set_deadline(_CLOSING)
        self._exchange.write(frame, True)
        self._listener.on_news()
        if self._inbox.full:
            self.on_readable()

    def _fail(self, violation: Violation) -> None:
        """Tell the peer what it broke, and end without its answer (RFC 6455, section 7.1.7)."""
        code, reason = violation.code, violation.reason
        self._end_in_order(close_payload(code, reason), code, reason)

    def _end_in_order(self, payload: bytes, code: int, reason: str) -> None:
        """End with a close frame, but not before the messages in front of it were taken."""
        if self.state == "open":
            frame = self._codec.encode(CLOSE, payload)
            if self._inbox.messages:
                self._farewell = frame, code, reason
                self._exchange.set_deadline(_FAREWELL)
            else:
                self._end(frame, code, reason)

    def _end(self, last: bytes = b"", code: int = ABNORMAL, reason: str = "") -> None:
        """Let the exchange end after `last`."""
        self.state = "closed"
        if not self._exchange.finished:
            # For the wire, which closes when the peer has read all: how long it may take to.
            self._exchange.set_deadline(_CLOSING)
            self._exchange.write(last, False)
        self._over(code, reason)

    def _refuse(self, status: int, text: str) -> None:
        self.state = "closed"
        self._exchange.refuse(status, text)
        self._over(ABNORMAL)

    def _over(self, code: int, reason: str = "") -> None:
        self.state = "closed"
        self._farewell = None
        if self.closed is None:
            self.closed = code, reason
        # The cycle would leave all three, and the request, to the garbage collector.
        self._exchange.listener = self._exchange.tunnel = None
        self._listener.on_news()
