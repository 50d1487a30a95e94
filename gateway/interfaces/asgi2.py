"""ASGI 2 applications, double callables, as ASGI 3 (ASGI spec, "Legacy Applications")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from gateway.interfaces.asgi3 import Asgi3Application, Receive, Scope, Send

__all__ = ["Asgi2Application", "as_asgi3"]

Asgi2Application: TypeAlias = "Callable[[Scope], Callable[[Receive, Send], Awaitable[None]]]"


def as_asgi3(app: Asgi2Application) -> Asgi3Application:
    """``app(scope)(receive, send)`` as ``app(scope, receive, send)``."""

    async def asgi3(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope)(receive, send)

    return asgi3
