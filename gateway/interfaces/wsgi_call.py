"""One request to a WSGI application, on the loop's side: body in, response out.

Everything here is called on the loop's thread, and nothing outside touches the exchange. The
other half, which the application meets, is `wsgi_task`.
"""

from __future__ import annotations

import io
from typing import Final

from gateway.exchange import ClientGone, Exchange, ResponseError
from gateway.interfaces.wsgi_body import BodyStream
from gateway.interfaces.wsgi_mount import WsgiMount
from gateway.interfaces.wsgi_task import WsgiTask
from gateway.log import log_app_error

__all__ = ["WsgiCall"]

# A body up to 64 KiB is received before a thread is taken: a slow client then holds a few KiB and
# no thread. Longer ones are streamed, so that no upload grows the process.
_COLLECTED: Final = 64 * 1024
# Seconds a body of unknown length may take to end below that size. One that goes on longer may be
# half of a conversation, whose other half is the response: the application is called then.
_LINGER: Final = 0.25


class WsgiCall(WsgiTask):
    """Listener of one exchange.

    One object with its `WsgiTask`: two would cost 0.3 µs more per request and a reference cycle.
    """

    __slots__ = ("_collected", "_exchange", "_hungry", "_sent")

    def __init__(self, exchange: Exchange, mount: WsgiMount) -> None:
        super().__init__(exchange.head, mount)
        self._exchange = exchange
        self._collected: bytearray | None = None
        self._hungry = False  # the application waits for body bytes
        self._sent = 0

    def begin(self) -> None:
        """Receive the body if it is short, then queue for a thread."""
        exchange = self._exchange
        length = self.head.content_length
        if length == 0:
            self._submit()
        elif exchange.expecting or (length is not None and length > _COLLECTED):
            self._stream(b"")
        else:
            self._collected = bytearray()
            if length is None:
                self._mount.loop.call_later(_LINGER, self._stop_collecting)
            if exchange.readable:
                self._collect()

    # --- news from the exchange -----------------------------------------------------------------

    def on_readable(self) -> None:
        """Listener: body bytes, the end of the body, or the client closed its side."""
        self._disconnected = self._exchange.disconnected
        if self._hungry:
            self._feed()
        elif self._collected is not None:
            self._collect()

    def on_writable(self) -> None:
        """Listener: the client reads again, or a file has left."""
        if self._exchange.finished:
            self._leave()
        else:
            self._credit()

    def on_gone(self) -> None:
        """Listener: nobody is there any more."""
        self._gone = self._disconnected = True
        self._collected = None
        self._mount.pool.discard(self)
        if self._hungry:
            self._feed()
        self._leave()

    # --- the request's body ---------------------------------------------------------------------

    def _collect(self) -> None:
        exchange, collected = self._exchange, self._collected
        assert collected is not None  # noqa: S101 - what the callers have checked
        self._collected = None  # a wire may bring more while it hears of a reading: not twice
        while data := exchange.read():
            collected += data
        if self._gone:
            return
        if exchange.body_complete:
            self._body = io.BytesIO(collected)
            if self.head.content_length is None:
                self._body_length = len(collected)
            self._submit()
        elif exchange.disconnected:
            # The rest can never come: an incomplete message (RFC 9112, section 8).
            exchange.abort()
        else:
            self._collected = collected
            if len(collected) > _COLLECTED:
                self._stop_collecting()

    def _stop_collecting(self) -> None:
        if self._collected is not None:
            start = bytes(self._collected)
            self._collected = None
            self._stream(start)

    def _stream(self, start: bytes) -> None:
        self._body = BodyStream(start, self._ask)
        self._submit()

    def _submit(self) -> None:
        exchange = self._exchange
        if not exchange.finished and not self._mount.pool.submit(self):
            exchange.refuse_for_now()
            self._leave()

    def _feed(self) -> None:
        """Answer the thread that asked for body bytes, now or when there are some."""
        exchange, body = self._exchange, self._body
        assert isinstance(body, BodyStream)  # noqa: S101 - nothing else asks
        self._hungry = False
        if exchange.finished:
            body.answer(ClientGone("the request can no longer be read: its exchange is over"))
            return
        # Empty-handed too: the first reading sends 100 (Continue).
        data = exchange.read()
        if data or exchange.body_complete:
            body.answer(data)
        elif exchange.disconnected:
            body.answer(ClientGone("the client left before its request was complete"))
        else:
            self._hungry = True

    # --- the response ---------------------------------------------------------------------------

    def _flush(self) -> None:
        self._posted = False
        # Before the chunks: once it is True, they are all there.
        ended, failed = self._ended, self._failed
        exchange = self._exchange
        if not exchange.finished:
            try:
                self._send(exchange, ended, failed)
            except ClientGone:
                pass
            except ResponseError as error:
                # Its traceback is the gateway's own. Logged first: the thread does not log what it
                # finds in `_problem`.
                log_app_error(self, error.with_traceback(None))
                self._problem = error
                exchange.fail()
        if ended or failed:
            if exchange.finished:  # else a file is on its way
                self._leave()
        elif exchange.finished:
            self._stop()
        elif exchange.writable:
            self._credit()

    def _send(self, exchange: Exchange, ended: bool, failed: bool) -> None:
        if failed:
            if self._left:
                exchange.abort()
            else:
                exchange.fail()
            return
        while self._hints:
            exchange.send_informational(103, self._hints.pop(0))
        out = self._out
        if len(out) == 1:
            data = out.pop()
        else:
            count = len(out)
            data = b"".join(out[:count])
            del out[:count]
        self._sent += len(data)
        file = self._file if ended else None
        more = not ended or file is not None
        if exchange.status is not None:
            if data or not more:
                exchange.write(data, more)
        elif self._status is not None and (data or ended):
            exchange.start(self._status, self._fields, data, more)
        if file is not None:
            self._file = None
            exchange.send_file(*file)

    def _credit(self) -> None:
        self._credited = self._sent
        if self._waiting and self._gate is not None:
            self._gate.put(None)

    def _stop(self) -> None:
        """Tell the thread that nothing it may still produce is wanted."""
        self._stopped = True
        if self._waiting and self._gate is not None:
            self._gate.put(None)

    def _leave(self) -> None:
        self._stop()
        if self._hungry:
            self._feed()  # another thread of the application waits for bytes that nobody brings
        # exchange → listener → exchange would wait for the garbage collector otherwise.
        self._exchange.listener = None
        if self._file is not None:
            self._file[0].close()
            self._file = None
