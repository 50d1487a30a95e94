"""Applications of every interface, and workers with settings of their own."""

from __future__ import annotations

from typing import ClassVar

from gateway.workers import GatewayH11Worker, GatewayWorker


async def asgi3(scope, receive, send):
    if scope["type"] == "http":
        await _answer(send, b"asgi 3")


def asgi2(scope):
    async def instance(receive, send):
        if scope["type"] == "http":
            await _answer(send, b"asgi 2")

    return instance


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"wsgi"]


async def failing(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def _answer(send, body):
    fields = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


class ShopWorker(GatewayH11Worker):
    SETTINGS: ClassVar = {
        "threads": 3,
        "header": {"X-Shop": "1"},
        "mounts": {"/w": "workers.apps:wsgi"},
    }


class BinderWorker(GatewayWorker):
    SETTINGS: ClassVar = {"bind": "127.0.0.1:1"}


class WrongWorker(GatewayWorker):
    SETTINGS: ClassVar = {"thread": 3}
