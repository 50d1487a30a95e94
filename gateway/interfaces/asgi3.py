"""ASGI 3 applications: an exchange as a scope and two awaitables (ASGI HTTP spec 2.5)."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Literal, TypeAlias

from gateway.exchange import ClientGone, Exchange, ResponseError
from gateway.head import Headers
from gateway.interfaces.asgi_messages import as_bytes, as_headers, is_disconnect, open_regular
from gateway.log import log_app_error

__all__ = ["Asgi3Application", "Asgi3Interface", "Message", "Receive", "Scope", "Send"]

# The ASGI spec types values as "object or bytes or int …" per key; Any is what it means.
Scope: TypeAlias = "MutableMapping[str, Any]"
Message: TypeAlias = "MutableMapping[str, Any]"
Receive: TypeAlias = "Callable[[], Awaitable[Message]]"
Send: TypeAlias = "Callable[[Message], Awaitable[None]]"
Asgi3Application: TypeAlias = "Callable[[Scope, Receive, Send], Awaitable[None]]"


# An application may send this much in one turn of the loop, a message counting for 1 KiB: a peer
# that reads as fast as it sends would let it keep the loop for itself.
_TURN: Final = 1024 * 1024
_MESSAGE: Final = 1024


class Asgi3Interface:
    """The last handler in front of one ASGI application: a task per exchange.

    state: the lifespan's namespace; every scope gets a shallow copy (lifespan spec, "Lifespan
        State"). None when the application has no lifespan.
    version: what ``scope["asgi"]["version"]`` says: "2.0" for a wrapped double callable.
    reset_contextvars: run every application call in an empty `contextvars.Context`, not in a copy
        of the connection's (python/cpython#140947).
    calls: the calls whose application has not returned yet, background work included.
    """

    def __init__(
        self,
        app: Asgi3Application,
        *,
        loop: asyncio.AbstractEventLoop,
        state: dict[str, object] | None = None,
        version: Literal["2.0", "3.0"] = "3.0",
        reset_contextvars: bool = False,
    ) -> None:
        self.app = app
        self.calls: set[AsgiCall] = set()
        self._loop = loop
        self._state = state
        self._version = version
        self._reset_contextvars = reset_contextvars

    def __call__(self, exchange: Exchange) -> None:
        head = exchange.head
        scope: Scope = {
            "type": "http",
            "asgi": {"version": self._version, "spec_version": "2.5"},
            "http_version": head.version,
            "server": head.server,
            "client": head.client,
            "scheme": head.scheme,
            "method": head.method,
            "root_path": head.root_path,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "headers": head.headers,
            "extensions": {
                "http.response.early_hint": {},
                "http.response.pathsend": {},
                "http.response.trailers": {},
            },
        }
        if self._state is not None:
            scope["state"] = self._state.copy()
        call = AsgiCall(exchange, self._loop)
        exchange.listener = call
        self.calls.add(call)
        coroutine = call.run(self.app, scope, self.calls)
        if self._reset_contextvars:
            call.task = self._loop.create_task(coroutine, context=contextvars.Context())
        else:
            call.task = self._loop.create_task(coroutine)

    def cancel(self) -> int:
        """Cancel every call still running, at the end of a drain; returns how many."""
        for call in self.calls:
            if call.task is not None:
                call.task.cancel()
        return len(self.calls)


class AsgiCall:
    """One call of the application: the listener of its exchange, and its receive and send.

    The head waits in `_start` for the first body message, so that both leave in one write: "the
    start message need not be flushed before the first body message" (ASGI HTTP spec, "Response
    Start").
    """

    __slots__ = (
        "_body_given",
        "_exchange",
        "_loop",
        "_start",
        "_trailers",
        "_unyielded",
        "_waiters",
        "task",
    )

    def __init__(self, exchange: Exchange, loop: asyncio.AbstractEventLoop) -> None:
        self.task: asyncio.Task[None] | None = None
        self._exchange = exchange
        self._loop = loop
        self._start: Message | None = None
        self._trailers: Headers = []
        self._body_given = False
        self._unyielded = 0
        self._waiters: list[asyncio.Future[None]] = []

    async def run(self, app: Asgi3Application, scope: Scope, calls: set[AsgiCall]) -> None:
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
            cancelled = self.task is not None and self.task.cancelling() > 0
            if not cancelled and not (exchange.disconnected and is_disconnect(error)):
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
                self.on_readable()  # a task left behind in receive() would wait for ever

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
            if self._start is not None or exchange.status is not None:
                raise ResponseError("the response was started twice")
            if exchange.gone:
                raise ClientGone("the client disconnected")
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
                self._unyielded += len(data) + _MESSAGE
            else:
                headers = start.get("headers", ())
                if headers.__class__ is not list:
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
            self.on_readable()  # a receive() that waits in another task has its disconnect
        if self._unyielded > _TURN:
            self._unyielded = 0
            await asyncio.sleep(0)
        while not exchange.writable and not exchange.finished:
            self._unyielded = 0
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

    async def _news(self) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    # --- gateway.exchange.Listener --------------------------------------------------------------

    def on_readable(self) -> None:
        # Several tasks of one application may wait, each for something else: all look again.
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    on_writable = on_readable
    on_gone = on_readable

    def __repr__(self) -> str:
        return f"<AsgiCall {self._exchange}>"
