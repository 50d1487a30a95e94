"""What is attacked: answers of every size, calls that wait, and a count of the calls."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import parse_qs

__all__ = ["app"]

PIECE = b"p" * 16384


class Counts:
    """Of this process: calls ever, calls under way (deaf ones do not count), body bytes that `send` was given."""

    def __init__(self) -> None:
        self.calls = self.open = self.given = 0


COUNTS = Counts()


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("HTTP only")
    query = parse_qs(scope["query_string"].decode())
    path = scope["path"]

    async def answer(body=b"", status=200, headers=()):
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": body})

    if path == "/counts":
        await answer(json.dumps(vars(COUNTS)).encode())
        return
    COUNTS.calls += 1
    if path == "/deaf":
        await asyncio.Event().wait()
    COUNTS.open += 1
    try:
        if path == "/wait":
            while (await receive())["type"] != "http.disconnect":
                pass
        elif path == "/big":
            await answer(b"b" * int(query["size"][0]))
        elif path == "/endless":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": PIECE, "more_body": True})
                COUNTS.given += len(PIECE)
        elif path == "/heading":
            await answer(status=204, headers=[(b"x-large", b"%d~" % COUNTS.calls * 800)])
        elif path == "/sink":
            while (await receive()).get("more_body"):
                pass
            await answer(b"sunk")
        else:
            await answer(b"Hello", headers=[(b"content-length", b"5")])
    finally:
        COUNTS.open -= 1
