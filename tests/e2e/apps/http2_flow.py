"""Bodies that flow, both ways, as ASGI 3 and as WSGI; `pattern` makes every byte known."""

from __future__ import annotations

import asyncio
import hashlib
import time
from urllib.parse import parse_qs

from e2e.apps.board import BOARD
from e2e.http2_site import pattern

__all__ = ["app", "wsgi"]

PIECE = 16384


class Query:
    def __init__(self, text: str) -> None:
        self._values = {name: values[0] for name, values in parse_qs(text).items()}
        self.key = self._values.get("key", "")

    def number(self, name: str, default: int = 0) -> int:
        return int(self._values.get(name, default))

    def text(self, name: str) -> str:
        return self._values[name]


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("HTTP only")
    query = Query(scope["query_string"].decode())
    name = scope["path"].removeprefix(scope["root_path"]).strip("/")
    await globals()[f"asgi_{name}"](query, receive, send)


async def start(send, status=200, headers=(), **more):
    message = {"type": "http.response.start", "status": status, "headers": list(headers)}
    await send({**message, **more})


async def body(send, data=b"", more=False):
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def asgi_hello(query, receive, send):
    await start(send, headers=[(b"content-length", b"5")])
    await body(send, b"Hello")


async def asgi_pattern(query, receive, send):
    size, piece = query.number("size"), query.number("piece", PIECE)
    await start(send, headers=[(b"content-length", b"%d" % size)])
    for at in range(0, size, piece):
        count = min(piece, size - at)
        await body(send, pattern(at, count), more=at + count < size)


async def asgi_sum(query, receive, send):
    """The digest of the body, read with a pause after each MiB of `pause` milliseconds."""
    digest, size, pause = hashlib.sha256(), 0, query.number("pause") / 1000
    more = True
    while more:
        message = await receive()
        digest.update(message["body"])
        if pause and (size + len(message["body"])) >> 20 > size >> 20:
            await asyncio.sleep(pause)
        size += len(message["body"])
        more = message["more_body"]
    await start(send)
    await body(send, f"{size} {digest.hexdigest()}".encode())


async def asgi_file(query, receive, send):
    await start(send)
    await send({"type": "http.response.pathsend", "path": query.text("path")})


async def asgi_trailers(query, receive, send):
    await start(send, trailers=True)
    await body(send, pattern(0, query.number("size")), more=False)
    await send(
        {"type": "http.response.trailers", "headers": [(b"x-first", b"1")], "more_trailers": True}
    )
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"abc")]})


async def asgi_fields(query, receive, send):
    """A head of `size` bytes and more."""
    await start(send, headers=[(b"x-large", b"~" * query.number("size")), (b"x-after", b"1")])
    await body(send, b"Hello")


async def asgi_hints(query, receive, send):
    await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]})
    await asgi_hello(query, receive, send)


async def asgi_until_gone(query, receive, send):
    """Streams nothing, and notes the disconnect."""
    await start(send)
    await body(send, b"begun", more=True)
    while (await receive())["type"] != "http.disconnect":
        pass
    BOARD.note(query.key, "disconnected")


async def asgi_sends_on(query, receive, send):
    """Streams without asking whether anybody is there."""
    await start(send)
    try:
        while True:
            await body(send, b"tick\n", more=True)
            await asyncio.sleep(0.01)
    except OSError as error:
        BOARD.note(query.key, f"OSError {type(error).__name__}")


async def asgi_late_error(query, receive, send):
    await start(send)
    await body(send, b"part", more=True)
    raise ValueError("late trouble")


async def asgi_early_error(query, receive, send):
    raise ValueError("early trouble")


def wsgi(environ, start_response):
    query = Query(environ["QUERY_STRING"])
    name = environ["PATH_INFO"].strip("/")
    return globals()[f"wsgi_{name}"](query, environ, start_response)


def wsgi_hello(query, environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"Hello"]


def wsgi_pattern(query, environ, start_response):
    size, piece = query.number("size"), query.number("piece", PIECE)
    start_response("200 OK", [("Content-Length", str(size))])
    for at in range(0, size, piece):
        yield pattern(at, min(piece, size - at))


def wsgi_sum(query, environ, start_response):
    digest, size, pause = hashlib.sha256(), 0, query.number("pause") / 1000
    while data := environ["wsgi.input"].read(1 << 16):
        digest.update(data)
        if pause and (size + len(data)) >> 20 > size >> 20:
            time.sleep(pause)
        size += len(data)
    start_response("200 OK", [])
    return [f"{size} {digest.hexdigest()}".encode()]


def wsgi_file(query, environ, start_response):
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](open(query.text("path"), "rb"), 8192)


def wsgi_hints(query, environ, start_response):
    environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload")])
    return wsgi_hello(query, environ, start_response)


def wsgi_sends_on(query, environ, start_response):
    start_response("200 OK", [])
    try:
        while True:
            yield b"tick\n"
            time.sleep(0.01)
    finally:
        BOARD.note(query.key, "closed")


def wsgi_late_error(query, environ, start_response):
    start_response("200 OK", [])
    yield b"part"
    raise ValueError("late trouble")


def wsgi_early_error(query, environ, start_response):
    raise ValueError("early trouble")
