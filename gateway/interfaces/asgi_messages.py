"""ASGI's types, and what applications put into messages, and raise, made plain."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, BinaryIO, TypeAlias, cast

from gateway.exchange import ClientGone, ResponseError
from gateway.head import Headers

__all__ = [
    "Asgi3Application",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "as_bytes",
    "as_headers",
    "is_disconnect",
    "open_regular",
]

# The ASGI spec types values as "object or bytes or int …" per key; Any is what it means.
Scope: TypeAlias = "MutableMapping[str, Any]"
Message: TypeAlias = "MutableMapping[str, Any]"
Receive: TypeAlias = "Callable[[], Awaitable[Message]]"
Send: TypeAlias = "Callable[[Message], Awaitable[None]]"
Asgi3Application: TypeAlias = "Callable[[Scope, Receive, Send], Awaitable[None]]"


def open_regular(path: object) -> BinaryIO:
    """Open a file for pathsend; the exchange closes it.

    Anything but a regular file is refused: the mere opening of a FIFO waits for its writer, on the
    loop, and a device has no length. So is a number, which `open` takes for a descriptor: it could
    be the server's own, and would be closed here.
    """
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise ResponseError(f"a path is a str, not {type(path).__name__}")

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    file = open(path, "rb", opener=opener)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ResponseError(f"pathsend sends regular files, not {path!r}")
    return file


def as_bytes(data: object) -> bytes:
    if isinstance(data, (bytearray, memoryview, bytes)):
        return bytes(data)
    raise ResponseError(f"a body is bytes, not {type(data).__name__}")


def as_headers(headers: Iterable[Iterable[bytes]]) -> Headers:
    """Any iterable of two-item iterables, as the spec allows, as a list of tuples."""
    try:
        pairs = [tuple(pair) for pair in headers]
    except TypeError:
        raise ResponseError("headers are not an iterable of (name, value) pairs") from None
    return cast("Headers", pairs)


def is_disconnect(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_disconnect, error.exceptions))
    if isinstance(error, (OSError, asyncio.CancelledError)):
        return True
    cause = error.__cause__ or error.__context__
    return cause is not None and isinstance(cause, ClientGone)
