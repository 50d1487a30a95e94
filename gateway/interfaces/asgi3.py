"""ASGI 3 applications: an exchange as a scope and a task (ASGI HTTP and WebSocket specs 2.5)."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Sequence
from typing import Literal

from gateway.exchange import Exchange
from gateway.interfaces.application_task import ApplicationTask
from gateway.interfaces.asgi_call import AsgiCall
from gateway.interfaces.asgi_messages import Asgi3Application, Message, Receive, Scope, Send
from gateway.interfaces.asgi_websocket import WebSocketCall, websocket_scope
from gateway.interfaces.tls_facts import tls_extension
from gateway.websocket.handshake import Handshake, HandshakeError
from gateway.websocket.session import SessionOptions

__all__ = ["Asgi3Application", "Asgi3Interface", "Message", "Receive", "Scope", "Send"]


class Asgi3Interface:
    """The last handler in front of one ASGI application: a task per exchange.

    state: the lifespan's namespace; every scope gets a shallow copy (lifespan spec, "Lifespan
        State"). None when the application has no lifespan.
    version: what ``scope["asgi"]["version"]`` says: "2.0" for a wrapped double callable.
    reset_contextvars: run every application call in an empty `contextvars.Context`, not in a copy
        of the connection's (python/cpython#140947).
    sessions: of WebSockets. None serves a request for one as the plain GET it is without its
        Upgrade field, as RFC 9110, section 7.8, allows and uvicorn does.
    origins: whose pages may open a WebSocket; empty: any.
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
        sessions: SessionOptions | None = None,
        origins: Sequence[str] = (),
    ) -> None:
        self.app = app
        self.calls: set[ApplicationTask] = set()
        self._loop = loop
        self._state = state
        self._version = version
        self._reset_contextvars = reset_contextvars
        self._sessions = sessions
        self._origins = origins or None

    def __call__(self, exchange: Exchange) -> None:
        head = exchange.head
        call: AsgiCall | WebSocketCall
        if head.upgrade == b"websocket" and self._sessions is not None:
            try:
                handshake = Handshake.check(head, origins=self._origins)
            except HandshakeError as error:
                exchange.refuse(error.status, error.reason, error.headers)
                return
            call = WebSocketCall(exchange, handshake, self._sessions, self._loop)
            scope = websocket_scope(head, handshake, self._version)
        else:
            scope = {
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
            call = exchange.listener = AsgiCall(exchange, self._loop)
        if head.tls is not None:
            scope["extensions"]["tls"] = tls_extension(head.tls)
        if head.proxied is not None:
            scope["extensions"]["gateway.proxy_protocol"] = dict(head.proxied)
        if self._state is not None:
            scope["state"] = self._state.copy()
        self.calls.add(call)
        coroutine = call.run(self.app, scope, self.calls)
        if self._reset_contextvars:
            call.task = self._loop.create_task(coroutine, context=contextvars.Context())
        else:
            call.task = self._loop.create_task(coroutine)

    def cancel(self) -> int:
        """Cancel every call still running, at the end of a drain; returns how many."""
        for call in self.calls:
            call.cancel()
        return len(self.calls)
