"""What the conformance suite asks for: answers, an echo, a request head, silence."""

from __future__ import annotations

import asyncio
import json

__all__ = ["app"]


async def app(scope, receive, send):
    """/head tells what was asked, /echo sends the body back, /early does not wait for it.

    /hold never answers, /deaf does not read either. All others say Hello.
    """
    if scope["type"] != "http":
        raise RuntimeError("no lifespan here")
    path = scope["path"]
    if path == "/deaf":
        await asyncio.sleep(10)
    if path in ("/hold", "/deaf"):
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    parts, more = [], path != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    answer = b"Hello"
    if path == "/head":
        fields = [
            [name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]
        ]
        answer = json.dumps({"method": scope["method"], "fields": fields}).encode()
    elif path == "/echo":
        answer = b"".join(parts)
    elif path == "/large":
        answer = b"x" * 100_000
    elif path == "/empty":
        answer = b""
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", b"%d" % len(answer))],
        }
    )
    await send({"type": "http.response.body", "body": answer})
