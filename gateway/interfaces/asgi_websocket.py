"""One WebSocket as ASGI 3's receive and send (ASGI WebSocket spec 2.5)."""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.exchange import ClientGone, Exchange, ResponseError
from gateway.head import RequestHead
from gateway.interfaces.application_task import MESSAGE, TURN, ApplicationTask
from gateway.interfaces.asgi_call import AsgiCall
from gateway.interfaces.asgi_messages import (
    Asgi3Application,
    Message,
    Scope,
    as_bytes,
    as_headers,
    is_disconnect,
)
from gateway.interfaces.tls_facts import tls_extension
from gateway.log import log_app_error
from gateway.websocket.close_codes import ABNORMAL, INTERNAL_ERROR, NORMAL
from gateway.websocket.handshake import Handshake
from gateway.websocket.session import Session, SessionOptions

__all__ = ["WebSocketCall", "websocket_scope"]

_SCHEMES: Final = {"http": "ws", "https": "wss"}
_NO_SOCKET: Final = (ABNORMAL, "")
_START: Final = "websocket.http.response.start"
_BODY: Final = "websocket.http.response.body"
_ANSWERS: Final = frozenset(("websocket.accept", "websocket.close", _START))


def websocket_scope(head: RequestHead, handshake: Handshake, version: str) -> Scope:
    """The connection scope, without ``state``. version: of ASGI, "3.0"."""
    scope: Scope = {
        "type": "websocket",
        "asgi": {"version": version, "spec_version": "2.5"},
        "http_version": head.version,
        "server": head.server,
        "client": head.client,
        "scheme": _SCHEMES.get(head.scheme, head.scheme),
        "root_path": head.root_path,
        "path": head.path,
        "raw_path": head.raw_path,
        "query_string": head.query,
        "headers": head.headers,
        "subprotocols": handshake.subprotocols,
        "extensions": {"websocket.http.response": {}},
    }
    if head.tls is not None:
        scope["extensions"]["tls"] = tls_extension(head.tls)
    return scope


class WebSocketCall(ApplicationTask):
    """One call of the application: the listener of its session, and its receive and send.

    The session knows the socket's state; what is here is how far the application is: whether it
    was given the connect and the disconnect event, and whether it accepted, or denies.

    An application that denies with a response of its own ("Websocket Denial Response") answers the
    HTTP request that its WebSocket still is. So it gets an `AsgiCall` for that, and the session has
    no part in the exchange any more.
    """

    __slots__ = (
        "_accepted",
        "_connect_given",
        "_denial",
        "_disconnect_given",
        "_exchange",
        "_session",
    )

    def __init__(
        self,
        exchange: Exchange,
        handshake: Handshake,
        options: SessionOptions,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(loop)
        self._exchange = exchange
        self._session = Session(exchange, handshake, options, self)
        self._denial: AsgiCall | None = None
        self._connect_given = False
        self._disconnect_given = False
        self._accepted = False

    async def run(self, app: Asgi3Application, scope: Scope, calls: set[ApplicationTask]) -> None:
        """Call the application and see to it that its exchange ends.

        What an application leaves open is closed for it: 1000 where it returned, 1011 where it
        raised (RFC 6455, section 7.4.1), and a 500 before the accept. uvicorn and others leave
        the peer with 1006, as after a crash.
        """
        try:
            await app(scope, self.receive, self.send)
        except BaseException as error:  # noqa: BLE001 - whatever an application raises
            cancelled = self.cancelled
            if not cancelled and not (self._closed is not None and is_disconnect(error)):
                log_app_error(self._exchange, error)
            self._end(INTERNAL_ERROR, cancelled=cancelled)
        else:
            if not self._accepted and self._closed is None:
                what = "completing its response" if self._denial else "accepting or closing"
                problem = ResponseError(f"the application returned without {what}")
                log_app_error(self._exchange, problem)
            self._end(NORMAL)
        finally:
            calls.discard(self)
            if not self._accepted:
                self._exchange.listener = None
            self.wake()  # a task left behind in receive() would wait for ever

    def _end(self, code: int, *, cancelled: bool = False) -> None:
        exchange = self._exchange
        if not self._accepted:
            if exchange.disconnected:
                exchange.abort()
            else:
                exchange.fail()
        elif self._closed is None:
            if cancelled:
                self._session.on_shutdown()
            else:
                self._session.close(code)

    @property
    def _closed(self) -> tuple[int, str] | None:
        """The code and reason of the disconnect event, when it is time for it."""
        closed = self._session.closed
        if closed is None and self._exchange.finished:
            return _NO_SOCKET  # it never became a WebSocket, or the server cut it
        return closed

    # --- the application's side -----------------------------------------------------------------

    async def receive(self) -> Message:
        """``websocket.connect``, messages as they come, ``websocket.disconnect`` once.

        Called again after that it raises `ClientGone`: an application that reads on in a loop
        would wait for ever (in uvicorn it does), or keep the loop busy with one event repeated.
        """
        if not self._connect_given:
            self._connect_given = True
            return {"type": "websocket.connect"}
        session = self._session
        while True:
            data = session.take()
            if data.__class__ is str:
                return {"type": "websocket.receive", "text": data}
            if data is not None:
                return {"type": "websocket.receive", "bytes": data}
            closed = session.closed if self._accepted else self._closed
            if closed is not None:
                if self._disconnect_given:
                    raise ClientGone("the disconnect event was received already")
                self._disconnect_given = True
                return {"type": "websocket.disconnect", "code": closed[0], "reason": closed[1]}
            await self._news()

    async def send(self, message: Message) -> None:
        """Take a message; returns when the peer has room for more.

        Raises `ClientGone` (an OSError) after a disconnect or close and `ResponseError` (a
        RuntimeError) for a message that is out of order or malformed.
        """
        session = self._session
        kind = message["type"]
        if kind == "websocket.send" and self._accepted:
            data = message.get("text")
            other = message.get("bytes")
            if data is None:
                data = other if other.__class__ is bytes else as_bytes(other)
            elif other is not None or not isinstance(data, str):
                raise ResponseError("a message has either text, a str, or bytes")
            session.send(data)
            self._unyielded += len(data) + MESSAGE
            if self._unyielded > TURN:
                await self._yield()
            if not self._exchange.writable:
                await self._room()
        elif kind == "websocket.close" and self._accepted:
            self._refuse_late()
            session.close(*_close(message))
            self.wake()  # a receive() that waits in another task has its disconnect
        else:
            await self._answer(kind, message)

    async def _room(self) -> None:
        while not self._session.writable:
            self._refuse_late()
            await self._news()

    async def _answer(self, kind: str, message: Message) -> None:
        """What may be sent before the accept, and the accept."""
        exchange, denial = self._exchange, self._denial
        if denial is not None and kind == _BODY:
            await denial.send({**message, "type": "http.response.body"})
        else:
            self._refuse_late()
            if denial is not None or self._accepted or kind not in _ANSWERS:
                raise ResponseError(f"{kind!r} is not a message to be sent {self._place}")
            if kind == "websocket.accept":
                self._accept(message)
            elif kind == "websocket.close":
                self._be_plain()
                exchange.start(403, [])
            else:
                self._be_plain()
                self._denial = AsgiCall(exchange, self._loop)
                status, headers = message["status"], message.get("headers", ())
                await self._denial.send(
                    {"type": "http.response.start", "status": status, "headers": headers}
                )
        if exchange.finished:
            self.wake()  # as above

    def _accept(self, message: Message) -> None:
        subprotocol = message.get("subprotocol")
        if subprotocol is not None and not isinstance(subprotocol, str):
            raise ResponseError(f"a subprotocol is a str, not {type(subprotocol).__name__}")
        headers = as_headers(message.get("headers") or ())
        self._session.accept(subprotocol=subprotocol, headers=headers)
        self._accepted = True

    def _be_plain(self) -> None:
        """Make the exchange the request again that it was, to be answered as such."""
        exchange = self._exchange
        exchange.set_deadline(None)
        exchange.tunnel = None
        exchange.listener = self

    def _refuse_late(self) -> None:
        if self._closed is not None:
            raise ClientGone("the WebSocket is closed")

    @property
    def _place(self) -> str:
        if self._accepted:
            return "after the accept"
        return "in a denial" if self._denial is not None else "before the accept"

    # --- gateway.websocket.session.SessionListener ----------------------------------------------

    on_news = ApplicationTask.wake

    # --- gateway.exchange.Listener, in a denial -------------------------------------------------

    def on_readable(self) -> None:
        self.wake()
        if self._denial is not None:
            self._denial.wake()

    on_writable = on_gone = on_readable

    def __repr__(self) -> str:
        return f"<WebSocketCall {self._exchange}>"


def _close(message: Message) -> tuple[int, str]:
    code, reason = message.get("code", NORMAL), message.get("reason") or ""
    if not isinstance(code, int):
        raise ResponseError(f"a close code is an int, not {type(code).__name__}")
    if not isinstance(reason, str):
        raise ResponseError(f"a reason is a str, not {type(reason).__name__}")
    return code, reason
