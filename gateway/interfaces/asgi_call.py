"""One HTTP request as ASGI 3's receive and send (ASGI HTTP spec 2.5)."""

from __future__ import annotations

import asyncio
import os

from gateway.exchange import ClientGone, Exchange, ResponseError
from gateway.head import Headers
from gateway.interfaces.application_task import MESSAGE, TURN, ApplicationTask
from gateway.interfaces.asgi_messages import (
    Asgi3Application,
    Message,
    Scope,
    as_bytes,
    as_headers,
    is_disconnect,
    open_regular,
)
from gateway.log import log_app_error

__all__ = ["AsgiCall"]


class AsgiCall(ApplicationTask):
    """One call of the application: the listener of its exchange, and its receive and send.

    The head waits in `_start` for the first body message, so that both leave in one write: "the
    start message need not be flushed before the first body message" (ASGI HTTP spec, "Response
    Start").
    """

    __slots__ = ("_body_given", "_exchange", "_start", "_trailers")

    def __init__(self, exchange: Exchange, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._exchange = exchange
        self._start: Message | None = None
        self._trailers: Headers = []
        self._body_given = False

    async def run(self, app: Asgi3Application, scope: Scope, calls: set[ApplicationTask]) -> None:
        """Call the application and see to it that its exchange ends."""
        exchange = self._exchange
        try:
            await app(scope, self.receive, self.send)
        except ClientGone:
            # Spec 2.4: raised by send() after a disconnect; not a failure of anybody.
            exchange.abort()
        except BaseException as error:  # noqa: BLE001 - whatever an application raises
            # OSError after a disconnect is how frameworks pass ClientGone on, and a group is how
            # their task groups do.
            if not self.cancelled and not (exchange.disconnected and is_disconnect(error)):
                log_app_error(exchange, error)
            # SystemExit too: it ends its request, not a server of many applications. A real
            # Ctrl-C never comes this way, its handler is the server's.
            exchange.fail()
        else:
            if not exchange.finished and not exchange.ending:
                if exchange.disconnected:
                    exchange.abort()
                else:
                    self._complain()
        finally:
            calls.discard(self)
            # A cycle, exchange and call, would leave both to the garbage collector: 1.4 µs more.
            exchange.listener = None
            if self._waiters:
                self.wake()  # a task left behind in receive() would wait for ever

    def _complain(self) -> None:
        exchange = self._exchange
        what = "completing" if exchange.status is not None or self._start else "starting"
        log_app_error(
            exchange, ResponseError(f"the application returned without {what} its response")
        )
        exchange.fail()

    # --- the application's side -----------------------------------------------------------------

    async def receive(self) -> Message:
        """The next body bytes, or ``http.disconnect`` once there is nothing more to wait for."""
        exchange = self._exchange
        while True:
            if exchange.gone or exchange.finished:
                return {"type": "http.disconnect"}
            if not self._body_given:
                data = exchange.read()
                if data or exchange.body_complete:
                    self._body_given = exchange.body_complete
                    more = not exchange.body_complete
                    return {"type": "http.request", "body": data, "more_body": more}
            elif exchange.disconnected:
                return {"type": "http.disconnect"}
            await self._news()

    async def send(self, message: Message) -> None:
        """Take a message; returns when the wire has room for more.

        Raises `ClientGone` (an OSError) after a disconnect and `ResponseError` (a RuntimeError)
        for a message that is out of order or out of HTTP.
        """
        exchange = self._exchange
        kind = message["type"]
        if kind == "http.response.start":
            if exchange.gone:
                raise ClientGone("the client disconnected")
            if self._start is not None or exchange.status is not None:
                raise ResponseError("the response was started twice")
            self._start = message
            return
        if kind == "http.response.body":
            data = message.get("body", b"")
            if data.__class__ is not bytes:
                data = as_bytes(data)
            more = message.get("more_body", False)
            start = self._start
            if start is None or exchange.status is not None:
                exchange.write(data, more)
                self._unyielded += len(data) + MESSAGE
            else:
                headers = start.get("headers", ())
                # A pair that is no tuple may be one that can be read once, and a wire reads again.
                if headers.__class__ is not list or (headers and headers[0].__class__ is not tuple):
                    headers = as_headers(headers)
                exchange.start(start["status"], headers, data, more, start.get("trailers", False))
        elif kind == "http.response.pathsend":
            self._send_path(message["path"])
        elif kind == "http.response.trailers":
            self._trailers += as_headers(message.get("headers", ()))
            if not message.get("more_trailers", False):
                exchange.send_trailers(self._trailers)
        elif kind == "http.response.early_hint":
            # "At any time … before the final response body": once the head has left it is too late
            # for a hint to be of use, and no error either.
            if exchange.status is None:
                links: Headers = [(b"link", link) for link in message.get("links", ())]
                exchange.send_informational(103, links)
        else:
            raise ResponseError(f"{kind!r} is not a message an HTTP application may send")
        if self._waiters and exchange.finished:
            self.wake()  # a receive() that waits in another task has its disconnect
        if self._unyielded > TURN:
            await self._yield()
        while not exchange.writable and not exchange.finished:
            await self._news()
            if exchange.gone:
                raise ClientGone("the client disconnected")

    def _send_path(self, path: str) -> None:
        """ASGI extension ``http.response.pathsend``: the file is the whole body."""
        exchange, start = self._exchange, self._start
        if start is None or exchange.status is not None:
            raise ResponseError("pathsend takes the place of the whole body, after the start")
        file = open_regular(path)
        try:
            size = os.fstat(file.fileno()).st_size
            headers = as_headers(start.get("headers", ()))
            if not any(name.lower() == b"content-length" for name, _ in headers):
                headers.append((b"content-length", b"%d" % size))
            exchange.start(start["status"], headers, b"", True, start.get("trailers", False))
        except BaseException:
            file.close()
            raise
        exchange.send_file(file, 0, size)

    # gateway.exchange.Listener: whatever happened, who waits looks again.
    on_readable = on_writable = on_gone = ApplicationTask.wake

    def __repr__(self) -> str:
        return f"<AsgiCall {self._exchange}>"
