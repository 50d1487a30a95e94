"""ASGI messages in the log, at level trace; not in the way at any other."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from typing import Any, Final

from gateway.interfaces.asgi3 import Asgi3Application, Message, Receive, Scope, Send
from gateway.log import TRACE

__all__ = ["traced"]

_logger: Final = logging.getLogger("gateway.error")

# Bodies and headers are the client's and may be large or secret; their sizes say what happens.
_SIZES: Final = {"body": "bytes", "bytes": "bytes", "text": "characters", "headers": "headers"}


def traced(app: Asgi3Application, name: str) -> Asgi3Application:
    """`app`, with a line for every call, every message it receives or sends, and its end.

    Compiled in at start, when the level is trace; as uvicorn's ``--log-level trace``.
    """
    numbers = itertools.count(1)

    async def traced_app(scope: Scope, receive: Receive, send: Send) -> None:
        prefix = f"{name} ASGI [{next(numbers)}]"
        _logger.log(TRACE, "%s started %s", prefix, _shown(scope))

        async def traced_receive() -> Message:
            message = await receive()
            _logger.log(TRACE, "%s receive %s", prefix, _shown(message))
            return message

        async def traced_send(message: Message) -> None:
            _logger.log(TRACE, "%s send %s", prefix, _shown(message))
            await send(message)

        try:
            await app(scope, traced_receive, traced_send)
        except BaseException as error:
            _logger.log(TRACE, "%s raised %s", prefix, type(error).__name__)
            raise
        _logger.log(TRACE, "%s completed", prefix)

    return traced_app


def _shown(message: Mapping[str, Any]) -> str:
    """A message or scope on one line."""
    shown = {
        key: f"<{len(value)} {_SIZES[key]}>"
        if key in _SIZES and hasattr(value, "__len__")
        else value
        for key, value in message.items()
        if key not in ("extensions", "state", "app", "router")
    }
    return repr(shown)  # which escapes whatever is not printable
