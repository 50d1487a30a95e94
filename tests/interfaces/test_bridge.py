"""A WSGI application as an ASGI callable."""

from __future__ import annotations

import asyncio

from gateway.interfaces.bridge import as_asgi
from gateway.interfaces.detect import detect


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode()]


async def call(asgi, path, root_path):
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": root_path, "headers": [(b"host", b"test")],
        "server": ("test", 80), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    await asgi(scope, receive, send)
    return sent


def test_it_is_an_asgi_application():
    assert detect(as_asgi(app)) == "asgi3"


def test_it_answers_with_asgi_messages():
    sent = asyncio.run(call(as_asgi(app), "/sub/x", "/sub"))
    assert sent[0]["status"] == 200
    assert b"".join(message.get("body", b"") for message in sent) == b"/sub|/x"
