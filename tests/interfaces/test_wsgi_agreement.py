"""The direct bridge and a2wsgi: same application, same request, same answer (design, 7.7)."""

from __future__ import annotations

import asyncio
import json

import pytest
from a2wsgi import WSGIMiddleware

from .wsgi_fakes import PEER, make_head, request

# What every WSGI application may rely on, whoever serves it.
ESSENTIALS = (
    "REQUEST_METHOD",
    "SCRIPT_NAME",
    "PATH_INFO",
    "QUERY_STRING",
    "CONTENT_TYPE",
    "CONTENT_LENGTH",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "HTTP_HOST",
    "HTTP_ACCEPT",
    "HTTP_X_NAME",
    "wsgi.url_scheme",
    "wsgi.version",
    "wsgi.run_once",
)

REQUESTS = {
    "get": {"target": b"/a/b?x=1"},
    "utf-8 path": {"target": b"/caf%C3%A9/%20"},
    "mounted": {"target": b"/api/users", "root_path": "/api"},
    "mount itself": {"target": b"/api", "root_path": "/api"},
    "mounted utf-8": {"target": b"/caf%C3%A9/x", "root_path": "/caf\xe9"},
    "fields": {"headers": [(b"accept", b"*/*"), (b"x-name", b"caf\xe9")]},
    "post": {"method": "POST", "headers": [(b"content-type", b"text/plain")], "body": b"data"},
    "put": {"method": "PUT", "body": b"x" * 100_000},
    "1.0": {"version": "1.0"},
}


def describe(environ, start_response):
    seen = {key: environ.get(key) for key in ESSENTIALS}
    seen["body"] = environ["wsgi.input"].read().decode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]


def lines(environ, start_response):
    start_response("202 Accepted", [("X-Lines", "yes"), ("Set-Cookie", "a=1")])
    for line in environ["wsgi.input"]:
        yield line.upper()
    yield b"end"


def writing(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"written ")
    return [b"and ", b"returned"]


def empty(environ, start_response):
    start_response("404 Not Found", [("Content-Length", "0")])
    return []


async def through_a2wsgi(app, fields):
    head = make_head(**fields)
    body = fields.get("body", b"")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": head.version,
        "method": head.method,
        "scheme": head.scheme,
        "path": head.path,
        "raw_path": head.raw_path,
        "query_string": head.query,
        "root_path": head.root_path,
        "headers": head.headers,
        "client": PEER.client,
        "server": PEER.server,
    }
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    middleware = WSGIMiddleware(app)
    try:
        await middleware(scope, receive, send)
    finally:
        middleware.executor.shutdown()
    start = sent[0]
    return (
        start["status"],
        sorted(start["headers"]),
        b"".join(message.get("body", b"") for message in sent[1:]),
    )


@pytest.mark.parametrize("app", [describe, lines, writing, empty])
@pytest.mark.parametrize("fields", REQUESTS.values(), ids=REQUESTS)
def test_agrees_with_a2wsgi(app, fields):
    async def main():
        return await request(app, **fields), await through_a2wsgi(app, fields)

    wire, (status, headers, body) = asyncio.run(main())
    framing = {b"content-length"}
    assert wire.status == status
    assert wire.body == body
    assert [pair for pair in sorted(wire.header_list) if pair[0] not in framing] == [
        pair for pair in headers if pair[0] not in framing
    ]
