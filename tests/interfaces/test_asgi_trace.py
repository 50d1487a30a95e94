"""What ``--log-level trace`` shows of an ASGI application."""

from __future__ import annotations

import asyncio

import pytest

from gateway.interfaces.asgi_trace import traced
from gateway.log import TRACE


@pytest.fixture
def lines(caplog):
    caplog.set_level(TRACE, logger="gateway.error")
    return lambda: [record.getMessage() for record in caplog.records]


def call(app, *messages):
    sent = []
    waiting = list(messages)

    async def receive():
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    asyncio.run(traced(app, "/api")({"type": "http", "path": "/x\n", "state": {}}, receive, send))
    return sent


async def echo(scope, receive, send):
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": message["body"]})


def test_every_message_has_a_line_and_passes_unchanged(lines):
    sent = call(echo, {"type": "http.request", "body": b"secret", "more_body": False})

    assert sent[1] == {"type": "http.response.body", "body": b"secret"}
    assert lines() == [
        r"/api ASGI [1] started {'type': 'http', 'path': '/x\n'}",
        "/api ASGI [1] receive {'type': 'http.request', 'body': '<6 bytes>', 'more_body': False}",
        "/api ASGI [1] send {'type': 'http.response.start', 'status': 200, 'headers': '<1 headers>'}",
        "/api ASGI [1] send {'type': 'http.response.body', 'body': '<6 bytes>'}",
        "/api ASGI [1] completed",
    ]


def test_an_exception_is_named_and_passes(lines):
    async def failing(scope, receive, send):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(failing)
    assert lines()[-1] == "/api ASGI [1] raised ZeroDivisionError"
