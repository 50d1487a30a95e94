"""What an operator serves in the tests of start and stop. The board is files: processes share no memory.

Each request of ``/hold?mark=FILE`` writes FILE and waits until FILE.go is there.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs

__all__ = ["app", "failing", "raising", "slow_start", "slow_stop", "wsgi"]


def _mark(query: bytes | str) -> Path:
    text = query.decode() if isinstance(query, bytes) else query
    return Path(parse_qs(text)["mark"][0])


async def _lifespan(receive, send):
    while True:
        message = await receive()
        event = message["type"].removeprefix("lifespan.")
        sys.stdout.write(f"lifespan {event}\n")
        sys.stdout.flush()
        await send({"type": f"lifespan.{event}.complete"})
        if event == "shutdown":
            return


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    path = scope["path"].removeprefix(scope["root_path"])
    if path == "/hold":
        mark = _mark(scope["query_string"])
        mark.touch()
        while not mark.with_suffix(".go").exists():  # noqa: ASYNC110 - the other end is a process
            await asyncio.sleep(0.01)
    if path == "/events":
        await _events(receive, send)
        return
    if path == "/begun":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await asyncio.Event().wait()
    if path == "/thread":
        _mark(scope["query_string"]).touch()
        await asyncio.to_thread(time.sleep, 8)
    if path == "/block":
        _mark(scope["query_string"]).touch()
        time.sleep(8)  # noqa: ASYNC251 - what a beginner writes
    if path == "/env":
        await _answer(send, os.environ.get("FROM_FILE", "-").encode())
        return
    if path == "/client":
        await _answer(send, f"{scope['client'] and scope['client'][0]} {scope['scheme']}".encode())
        return
    if path == "/trouble":
        raise ValueError("trouble of an operator")
    await _answer(send, b"hello")


async def _answer(send, data):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": data})


async def _events(receive, send):
    """An event stream that notices when it is told that it is over."""
    fields = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": b"data: hello\n\n", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass
    sys.stdout.write("events told\n")
    sys.stdout.flush()


def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/hold":
        mark = _mark(environ["QUERY_STRING"])
        mark.touch()
        while not mark.with_suffix(".go").exists():
            time.sleep(0.01)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['REMOTE_ADDR'] or None} {environ['wsgi.url_scheme']}".encode()]


async def failing(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the database is away"})


async def raising(scope, receive, send):
    await receive()
    raise OSError("no database here")


async def slow_start(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        sys.stdout.write("starting\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


async def slow_stop(scope, receive, send):
    if scope["type"] != "lifespan":
        await _answer(send, b"hello")
        return
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await asyncio.Event().wait()
