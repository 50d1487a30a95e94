"""Applications with one purpose each."""

from __future__ import annotations

import json

__all__ = ["LIFESPANS", "AsgiTag", "WsgiTag", "counted", "named_admin", "named_api", "named_wild"]


def _named(name):
    async def app(scope, receive, send):
        if scope["type"] != "http":
            raise RuntimeError("no lifespan here")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        text = f"{name} {scope['root_path']}".encode()
        await send({"type": "http.response.body", "body": text})

    return app


named_admin, named_wild, named_api = map(_named, ("admin", "wild", "api"))


LIFESPANS: list[str] = []


async def counted(scope, receive, send):
    """Counts its lifespans and tells in its answers."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            event = message["type"].removeprefix("lifespan.")
            LIFESPANS.append(event)
            await send({"type": f"lifespan.{event}.complete"})
            if event == "shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    text = json.dumps({"started": LIFESPANS.count("startup")}).encode()
    await send({"type": "http.response.body", "body": text})


class AsgiTag:
    """ASGI middleware: one more ``x-tag`` field."""

    def __init__(self, app, tag):
        self.app, self.tag = app, tag

    async def __call__(self, scope, receive, send):
        async def tagged(message):
            if message["type"] == "http.response.start":
                fields = [*message["headers"], (b"x-tag", self.tag.encode())]
                message = {**message, "headers": fields}
            await send(message)

        await self.app(scope, receive, tagged)


class WsgiTag:
    """WSGI middleware: one more ``X-Tag`` field."""

    def __init__(self, app, tag):
        self.app, self.tag = app, tag

    def __call__(self, environ, start_response):
        def tagged(status, headers, *exc_info):
            return start_response(status, [*headers, ("X-Tag", self.tag)], *exc_info)

        return self.app(environ, tagged)
