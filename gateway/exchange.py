"""One request and its response: what is legal between a wire and an application.

Rules, each held here and nowhere else:

1. A response is started once. Its body is as long as it declared, or the wire is cut.
2. No body leaves on HEAD, 204 and 304 (RFC 9110, section 6.4.1).
3. A failure before the start is a 500; a failure after it is a cut, so that the client can tell.
4. A field with a control character never reaches a wire (response splitting, CVE-2020-7695).
5. `on_finish` callbacks run exactly once: done, refused, failed or gone.

This module imports neither asyncio nor a protocol library: it is tested by calls and asserts. It is
long because the rules read the same dozen attributes: two files would share all of them.
All methods are called on the event loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import BinaryIO, Final, Protocol, TypeAlias

from gateway.fields import (
    FIELD_MARKS,
    KINDS,
    LENGTH,
    TOKEN,
    ResponseError,
    checked,
    explain_fields,
    length_problem,
    normalized,
    parse_length,
)
from gateway.head import Headers, RequestHead

__all__ = ["ClientGone", "Exchange", "Handler", "Listener", "ResponseError", "Tunnel", "Wire"]


class ClientGone(OSError):  # noqa: N818 - named by what happened, as EOFError's kin are
    """The client went away before its response was complete.

    An OSError, as the ASGI HTTP spec 2.4 asks of ``send()`` after a disconnect.
    """


class Wire(Protocol):
    """What an exchange may ask of its connection: HTTP/1.1 itself, or one HTTP/2 stream.

    The exchange has checked legality; a wire encodes and never refuses.
    """

    def send_response(
        self, status: int, headers: Headers, data: bytes, more: bool, length: int | None
    ) -> None:
        """Send the head and the first body bytes in one write.

        length: the length of the whole body in bytes where it is known (declared, or complete in
        `data`), else None: the wire frames it itself. ``more`` False ends the response.
        """

    def send_data(self, data: bytes, more: bool) -> None:
        """Send body bytes after `send_response`; ``more`` False ends the response."""

    def send_file(self, file: BinaryIO, offset: int, count: int, more: bool) -> None:
        """Send `count` bytes of a regular file from `offset`; the wire closes `file` in any case.

        The wire calls `Exchange.file_sent` when they have left; nothing is sent before that.
        """

    def send_trailers(self, headers: Headers) -> None:
        """End the response with trailer fields (dropped where the framing cannot carry them)."""

    def send_informational(self, status: int, headers: Headers) -> None:
        """Send an interim response: 100, 103 (dropped where the client's version has none)."""

    def open_tunnel(self, status: int, headers: Headers) -> None:
        """Answer with this head; what follows, both ways, are bytes of another protocol."""

    def set_deadline(self, seconds: float | None) -> None:
        """Call `Tunnel.on_deadline` of the exchange in so many seconds; None: never."""

    def limit_body(self, size: int) -> None:
        """Refuse the request with 413 once its body of unknown length is longer, or cut it."""

    def consumed(self, size: int) -> None:
        """Hear that the application took `size` body bytes: read on, or give window back."""

    def abort(self) -> None:
        """Cut the response short so that the client can tell it is incomplete."""

    def exchange_finished(self) -> None:
        """Hear, after the `on_finish` callbacks, that this exchange sends no more.

        The wire takes the next request, or closes.
        """


class Listener(Protocol):
    """What an exchange tells its interface; called on the loop, never concurrently."""

    def on_readable(self) -> None:
        """Body bytes arrived or the body ended: `Exchange.read` has news."""

    def on_writable(self) -> None:
        """The wire takes data again after `Exchange.writable` was False."""

    def on_gone(self) -> None:
        """The client went away; nothing more will be read and, soon, nothing can be sent."""


class Tunnel(Protocol):
    """A protocol inside an exchange: from the request that asks for it until its end.

    messages_received, messages_sent: so far, for the log.
    """

    messages_received: int
    messages_sent: int

    def on_bytes(self, data: bytes) -> bool:
        """Take bytes of the peer at once, or say False: then they wait until `Exchange.read`."""

    def on_deadline(self) -> None:
        """The time of `Exchange.set_deadline` is over."""

    def on_shutdown(self) -> None:
        """The server stops: take leave of the peer, soon."""


Handler: TypeAlias = "Callable[[Exchange], None]"
"""Mounts, limits, log and interfaces alike; an interface is the last one."""


_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")
_FEW_BYTES: Final = 64
_NO_BODY: Final = frozenset((204, 304))


class Exchange:
    """A request being answered; stands between one `Wire` and one `Listener`.

    head: the request; handlers on the way may replace its client, scheme, host and root path.
    wire, listener: its two neighbors; an interface sets `listener` when it takes the exchange.
    status: of the response, None until it was started.
    finished: nothing more will be sent (done, refused, cut or gone).
    disconnected: the client has closed its side; a response may still reach it.
    cut: `abort` ended a response that had begun.
    gone: the connection is lost; sending raises `ClientGone`.
    writable: False while the peer does not read; wait for `Listener.on_writable`.
    close_requested: the application sent ``Connection: close``.
    own_fields: default fields the application sent itself (``date``, ``server``).
    received, sent: body bytes so far.
    tunnel: who speaks another protocol here, or is about to; None for a plain request.
    started_at: `time.monotonic` seconds when the head was complete.
    on_finish: callbacks run exactly once with the exchange, when `finished` becomes True.
    """

    __slots__ = (
        "_chunks",
        "_discarding",
        "_ended",
        "_expect",
        "_file_ends",
        "_remaining",
        "_trailers",
        "body_complete",
        "close_requested",
        "cut",
        "disconnected",
        "finished",
        "gone",
        "head",
        "listener",
        "on_finish",
        "own_fields",
        "received",
        "response_headers",
        "sent",
        "started_at",
        "status",
        "tunnel",
        "wire",
        "writable",
    )

    def __init__(self, head: RequestHead, wire: Wire) -> None:
        self.head = head
        self.wire = wire
        self.listener: Listener | None = None
        self.tunnel: Tunnel | None = None
        self.status: int | None = None
        self.response_headers: Headers = []
        self.finished = False
        self.disconnected = False
        self.gone = False
        self.cut = False
        self.writable = True
        self.close_requested = False
        self.own_fields: tuple[bytes, ...] = ()
        self.received = 0
        self.sent = 0
        self.started_at = monotonic()
        self.on_finish: list[Callable[[Exchange], None]] = []
        self.body_complete = head.content_length == 0
        self._chunks: list[bytes | bytearray] = []
        self._expect = head.expect_continue
        self._remaining: int | None = None
        self._trailers = False
        self._discarding = False
        self._file_ends = False
        self._ended = False

    # --- request body: the wire pushes, the interface pulls -------------------------------------

    def body_received(self, data: bytes) -> None:
        """Wire: body bytes arrived. They count against the wire's window until `read`."""
        self.received += len(data)
        self._expect = False
        self._keep(data)
        if self.listener is not None:
            self.listener.on_readable()

    def tunnel_received(self, data: bytes) -> bool:
        """Wire: bytes of the tunnel's protocol arrived. True: taken at once, so they never count.

        (Through `body_received` and `read` each message of a WebSocket costs 8 % more.)
        """
        self.received += len(data)
        if self.tunnel is not None and self.tunnel.on_bytes(data):
            return True
        self._keep(data)
        if self.listener is not None:
            self.listener.on_readable()
        return False

    def _keep(self, data: bytes) -> None:
        chunks = self._chunks
        if chunks and len(data) < _FEW_BYTES:
            # Two bytes at a time, in frames or chunks of their own, would take 20 times as much.
            if not isinstance(chunks[-1], bytearray):
                chunks[-1] = bytearray(chunks[-1])
            chunks[-1] += data
        else:
            chunks.append(data)

    def body_ended(self) -> None:
        """Wire: the request is complete."""
        self.body_complete = True
        if self.listener is not None:
            self.listener.on_readable()

    @property
    def readable(self) -> bool:
        """`read` would give data, or the end of the body is reached."""
        return bool(self._chunks) or self.body_complete

    def read(self) -> bytes:
        """Take all body bytes that have arrived; b"" if there are none right now.

        The body ends when `body_complete` is True and `read` gave everything. The first call asks
        a client that waits for it to go on: 100 (Continue), RFC 9110, section 10.1.1.
        """
        chunks = self._chunks
        if not chunks:
            if self._expect and self.status is None and not self.gone:
                self._expect = False
                self.wire.send_informational(100, [])
            return b""
        data = chunks[0] if len(chunks) == 1 else b""
        if not data or not isinstance(data, bytes):
            data = b"".join(chunks)
        chunks.clear()
        self.wire.consumed(len(data))
        return data

    @property
    def expecting(self) -> bool:
        """The client still waits for 100 (Continue): it may never send its body."""
        return self._expect

    # --- response: the interface pushes ---------------------------------------------------------

    def start(
        self,
        status: int,
        headers: Headers,
        data: bytes = b"",
        more: bool = False,
        trailers: bool = False,
    ) -> None:
        """Send the response's head with its first body bytes.

        headers: (name, value) pairs of bytes; names in any case.
        more: further `write` calls follow; False makes `data` the whole body.
        trailers: `send_trailers` ends the response, not the last body bytes.

        Raises `ClientGone` after a disconnect and `ResponseError` for what HTTP does not allow;
        nothing has been sent then.
        """
        if self.finished or self.status is not None:
            self._refuse_late("the response was started twice")
        if not isinstance(status, int) or not 200 <= status <= 999:
            raise ResponseError(f"{status!r} is not a final status code (200 to 999)")
        length: int | None = None
        special = False
        try:
            for name, value in headers:
                if 0 in value.translate(FIELD_MARKS):
                    raise ResponseError(explain_fields(headers))
                kind = KINDS.get(name)
                if kind:
                    if kind == LENGTH and length is None:
                        length = parse_length(value)
                    else:
                        special = True
                elif kind is None:
                    special = special or not name.islower() or TOKEN.fullmatch(name) is None
        except (TypeError, ValueError, AttributeError) as error:
            raise ResponseError(explain_fields(headers) or str(error)) from None
        close = False
        own: tuple[bytes, ...] = ()
        if special:
            headers, length, close, own = normalized(headers, upgrade=status == 426)

        ends = not more and not trailers
        if status in _NO_BODY or self.head.method == "HEAD":
            if status == 204 and length is not None:
                headers = [pair for pair in headers if pair[0] != b"content-length"]
            elif ends and data and length is None and status not in _NO_BODY:
                headers = [*headers, (b"content-length", b"%d" % len(data))]
            self._discarding = not ends
            data, ends, length = b"", True, 0
        elif length is None:
            if ends:
                length = len(data)
                headers = [*headers, (b"content-length", b"%d" % length)]
        else:
            remaining = length - len(data)
            if remaining < 0 or (not more and remaining):
                raise ResponseError(length_problem(length, len(data)))
            self._remaining = remaining
        # From here on nothing refuses: a start that did leaves no trace in the one that follows it.
        if special:
            self.close_requested, self.own_fields = close, own
        self.status = status
        self.response_headers = headers
        self.sent = len(data)
        self._trailers = trailers
        try:
            self.wire.send_response(status, headers, data, not ends, length)
        except BaseException:
            # Such as a pair that can be read once only: half a response cannot be gone on with.
            self.abort()
            raise
        if ends:
            self._finish()

    def write(self, data: bytes, more: bool) -> None:
        """Send body bytes after `start`; ``more`` False ends the body.

        Raises `ClientGone` after a disconnect, `ResponseError` when the declared length is
        exceeded or not reached: the connection has been cut then.
        """
        if self.finished or self.status is None or self._file_ends:
            if self._discarding:
                self._discarding = more or self._trailers
                return
            self._refuse_late("the body was sent before the response was started")
        if self._remaining is None:
            self.sent += len(data)
        else:
            self._count(len(data), more)
        more = more or self._trailers
        self.wire.send_data(data, more)
        if not more:
            self._finish()

    def send_file(self, file: BinaryIO, offset: int, count: int, more: bool = False) -> None:
        """Send `count` bytes of an open regular file from `offset` after `start`.

        The file belongs to the exchange from here on and is closed in every case. Until it has
        left, `writable` is False. Errors as `write`.
        """
        if self.finished or self.status is None or self._file_ends:
            file.close()
            if self._discarding:
                self._discarding = more or self._trailers
                return
            self._refuse_late("a file was sent before the response was started")
        try:
            self._count(count, more)
        except ResponseError:
            file.close()
            raise
        self.writable = False
        self._file_ends = not more and not self._trailers
        self.wire.send_file(file, offset, count, not self._file_ends)

    def send_trailers(self, headers: Headers) -> None:
        """End a response that was started with ``trailers=True``.

        The fields leave only for a client that said ``TE: trailers`` (ASGI extension, "HTTP
        Trailers"); others could merge or drop them as they like (RFC 9110, section 6.5.1).
        """
        if self.finished or self.status is None or not self._trailers:
            if self._discarding:
                self._discarding = False
                return
            self._refuse_late("trailers were sent but the start did not announce them")
        headers = checked(headers)
        if self._remaining:
            self.abort()
            raise ResponseError(length_problem(self.sent + self._remaining, self.sent))
        self.wire.send_trailers(headers if self.head.accepts_trailers else [])
        self._finish()

    def open_tunnel(self, status: int, headers: Headers) -> None:
        """Answer so that the exchange becomes a pair of byte pipes, instead of `start`.

        `read` gives what the peer sends, `write` sends as it is, and ends the connection with
        ``more`` False. There is no body any more: it is complete when the peer closes its side,
        which `disconnected` tells. status: 101, or 200 where a stream carries it (RFC 8441).

        Raises like `start`.
        """
        if self.finished or self.status is not None:
            self._refuse_late("the response was started already")
        fields = normalized(headers)
        self.own_fields = fields.own
        self.status = status
        self.response_headers = headers = fields.kept
        self.body_complete = False
        self.wire.open_tunnel(status, headers)

    def set_deadline(self, seconds: float | None) -> None:
        """Have `tunnel` told in so many seconds, to the second; None takes that back.

        Deadlines are swept with all others once a second: there is no timer for each.
        """
        if not self.finished:
            self.wire.set_deadline(seconds)

    def send_informational(self, status: int, headers: Headers) -> None:
        """Send an interim response, such as 103 (Early Hints, RFC 8297), before `start`."""
        if self.finished or self.status is not None:
            self._refuse_late("an interim response was sent after the response was started")
        if not 102 <= status <= 199:
            raise ResponseError(f"{status} is not an interim status an application may send")
        self.wire.send_informational(status, checked(headers))

    def refuse(self, status: int, text: str, headers: Headers | None = None) -> None:
        """Answer in place of an application: `text` as plain text, echoing nothing of the request.

        Does nothing when the client is already gone.
        """
        if not self.finished:
            self.start(status, [_TEXT, *(headers or [])], text.encode() + b"\n")

    def refuse_for_now(self, text: str = "Service Unavailable", retry_after: int = 1) -> None:
        """`refuse` with 503 and Retry-After (RFC 9110, section 10.2.3), for what passes by itself.

        retry_after: seconds; 1, because by then a slot is free or a balancer has found another
            server, and clients add their own jitter.
        """
        self.refuse(503, text, [(b"retry-after", b"%d" % retry_after)])

    def fail(self) -> None:
        """The application failed: 500 if nothing was promised yet, else a cut (rule 3)."""
        if self.finished:
            return
        if self.status is None:
            self.refuse(500, "Internal Server Error")
        else:
            self.abort()

    def abort(self) -> None:
        """Cut the connection; for what cannot be completed any more."""
        if not self.finished:
            self.cut = self.status is not None
            self.wire.abort()
            self._finish()

    @property
    def ending(self) -> bool:
        """A file that ends the response is on its way; nobody needs to send more."""
        return self._file_ends and not self.finished

    @property
    def endless(self) -> bool:
        """The response under way is an event stream: only the client or a shutdown ends it."""
        return not self.finished and any(
            name == b"content-type" and value.startswith(b"text/event-stream")
            for name, value in self.response_headers
        )

    def end_stream(self) -> None:
        """Complete an `endless` response because the server stops.

        The client sees a whole response and connects again; the application sees a disconnect, in
        whichever way it looks for one. Starlette, for one, only notices that ``send()`` raises.
        """
        self.disconnected = self._ended = True
        if self._trailers:
            self.wire.send_trailers([])
        else:
            self.wire.send_data(b"", False)
        self._finish()
        if self.listener is not None:
            self.listener.on_gone()

    # --- news from the wire ---------------------------------------------------------------------

    def set_writable(self, writable: bool) -> None:
        """Wire: its buffer is full, or has room again."""
        self.writable = writable
        if writable and self.listener is not None:
            self.listener.on_writable()

    def file_sent(self) -> None:
        """Wire: the file of `send_file` has left."""
        if self._file_ends and not self.finished:
            self._finish()
        self.set_writable(True)

    def peer_closed(self) -> None:
        """Wire: the client closed its side; it may still read (a half-closed connection)."""
        self.disconnected = True
        if self.listener is not None:
            self.listener.on_readable()

    def lost(self) -> None:
        """Wire: the connection is lost. Safe to call at any time."""
        self.disconnected = self.gone = True
        self._chunks.clear()
        self._finish()
        if self.listener is not None:
            self.listener.on_gone()

    # --- inside ---------------------------------------------------------------------------------

    def _finish(self) -> None:
        if self.finished:
            return
        self.finished = True
        for callback in self.on_finish:
            callback(self)
        self.wire.exchange_finished()

    def _refuse_late(self, problem: str) -> None:
        if self.gone or self._ended:
            raise ClientGone("the client disconnected")
        if self.finished or self._file_ends:
            raise ResponseError("the response is already complete")
        raise ResponseError(problem)

    def _count(self, size: int, more: bool) -> None:
        remaining = self._remaining
        if remaining is not None:
            remaining -= size
            if remaining < 0 or (not more and remaining):
                declared = self.sent + self._remaining  # type: ignore[operator]
                self.abort()
                raise ResponseError(length_problem(declared, self.sent + size))
            self._remaining = remaining
        self.sent += size

    def __repr__(self) -> str:
        state = "gone" if self.gone else "finished" if self.finished else "open"
        return f"<Exchange {self.head.method} {self.head.path!r} {self.status or '-'} {state}>"
