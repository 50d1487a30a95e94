"""One request to an ASGI application without a server, in the shape a mount gives it."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["body_of", "exchange"]


async def exchange(
    app: Any,
    path: str,
    *,
    root_path: str = "",
    method: str = "GET",
    query: bytes = b"",
    body: tuple[bytes, ...] = (b"",),
    extensions: tuple[str, ...] = (),
    state: dict[str, Any] | None = None,
    complete: bool = True,
    leaves_after: int | None = None,
) -> list[dict[str, Any]]:
    """Every message `app` sends for one request.

    path: the full one, with `root_path` in front.
    complete: the request body ends; False lets the client leave instead.
    leaves_after: the client disconnects once this many messages were sent; None: it stays.
    """
    events = [{"type": "http.request", "body": piece, "more_body": True} for piece in body]
    events[-1]["more_body"] = not complete
    sent: list[dict[str, Any]] = []
    left = asyncio.Event()
    if not complete:
        left.set()

    async def receive() -> dict[str, Any]:
        if events:
            return events.pop(0)
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if len(sent) == leaves_after:
            left.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": root_path,
        "query_string": query,
        "headers": [(b"host", b"testserver")],
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
        "extensions": {name: {} for name in extensions},
        "state": state if state is not None else {},
    }
    await app(scope, receive, send)
    return sent


def body_of(messages: list[dict[str, Any]]) -> bytes:
    return b"".join(message.get("body", b"") for message in messages)
