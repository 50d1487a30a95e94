"""WSGI applications as ASGI callables, for ASGI middleware around them; a2wsgi does the work.

The server itself never takes this way: `gateway.interfaces.wsgi` is the direct one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from gateway.interfaces.asgi3 import Asgi3Application

__all__ = ["as_asgi"]


def as_asgi(app: WSGIApplication, *, threads: int = 10) -> Asgi3Application:
    """`app` as an ASGI 3 callable with up to `threads` threads of its own (a2wsgi's default)."""
    from a2wsgi import WSGIMiddleware

    return cast("Asgi3Application", WSGIMiddleware(app, workers=threads))  # type: ignore[arg-type]
