"""One small application per framework: an echo, its path, a close, a refusal, an error.

They run in a process of their own: Channels configures Django, which a process does once.
"""

from __future__ import annotations

import json

import django.conf
import fastapi
import litestar
import quart
import starlette.applications
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path
from litestar.exceptions import NotAuthorizedException
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

__all__ = ["channels_app", "fastapi_app", "litestar_app", "quart_app", "starlette_app"]

# --- Starlette ------------------------------------------------------------------------------------


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") is not None:
                await socket.send_text(message["text"])
            else:
                await socket.send_bytes(message["bytes"])
    except WebSocketDisconnect:
        return


async def where(socket: WebSocket) -> None:
    await socket.accept(subprotocol="chat", headers=[(b"x-from", b"the accept")])
    await socket.send_json(
        {
            "url": str(socket.url),
            "link": str(socket.url_for("where")),
            "q": socket.query_params["q"],
        }
    )
    await socket.close(4321, "enough")


async def deny(socket: WebSocket) -> None:
    await socket.send_denial_response(PlainTextResponse("not you", 401))


async def refuse(socket: WebSocket) -> None:
    await socket.close()


async def trouble(socket: WebSocket) -> None:
    await socket.accept()
    raise ValueError("trouble in starlette")


routes = [
    WebSocketRoute("/echo", echo),
    WebSocketRoute("/where", where, name="where"),
    WebSocketRoute("/deny", deny),
    WebSocketRoute("/refuse", refuse),
    WebSocketRoute("/trouble", trouble),
]
starlette_app = starlette.applications.Starlette(
    routes=[*routes, Mount("/nested", routes=[WebSocketRoute("/echo", echo)])]
)

# --- FastAPI --------------------------------------------------------------------------------------

fastapi_app = fastapi.FastAPI()


@fastapi_app.websocket("/echo")
async def fastapi_echo(socket: fastapi.WebSocket) -> None:
    await echo(socket)


@fastapi_app.websocket("/where", name="where")
async def fastapi_where(socket: fastapi.WebSocket, q: str) -> None:
    await where(socket)


@fastapi_app.websocket("/deny")
async def fastapi_deny(socket: fastapi.WebSocket) -> None:
    raise fastapi.HTTPException(401, "not you")


@fastapi_app.websocket("/refuse")
async def fastapi_refuse(socket: fastapi.WebSocket, needed: int) -> None:
    """Refused by validation: the parameter is missing."""


@fastapi_app.websocket("/trouble")
async def fastapi_trouble(socket: fastapi.WebSocket) -> None:
    await trouble(socket)


# --- Quart ----------------------------------------------------------------------------------------

quart_app = quart.Quart(__name__)


@quart_app.websocket("/echo")
async def quart_echo() -> None:
    while True:
        await quart.websocket.send(await quart.websocket.receive())


@quart_app.websocket("/where")
async def quart_where() -> None:
    await quart.websocket.accept(subprotocol="chat", headers={"x-from": "the accept"})
    await quart.websocket.send(
        json.dumps(
            {
                "url": quart.websocket.url,
                "link": quart.url_for("quart_where", _external=True, _scheme="ws"),
                "q": quart.websocket.args["q"],
            }
        )
    )
    await quart.websocket.close(4321, "enough")


@quart_app.websocket("/deny")
async def quart_deny():
    return "not you", 401


@quart_app.websocket("/refuse")
async def quart_refuse():
    quart.abort(403)


@quart_app.websocket("/trouble")
async def quart_trouble() -> None:
    await quart.websocket.accept()
    raise ValueError("trouble in quart")


# --- Litestar -------------------------------------------------------------------------------------


@litestar.websocket("/echo")
async def litestar_echo(socket: litestar.WebSocket) -> None:
    await socket.accept()
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        if message.get("text") is not None:
            await socket.send_text(message["text"])
        else:
            await socket.send_bytes(message["bytes"])


@litestar.websocket("/where", name="where")
async def litestar_where(socket: litestar.WebSocket) -> None:
    await socket.accept(subprotocols="chat", headers={"x-from": "the accept"})
    link = str(socket.url_for("where"))
    await socket.send_json({"url": str(socket.url), "link": link, "q": socket.query_params["q"]})
    await socket.close(4321, "enough")


@litestar.websocket("/deny")
async def litestar_deny(socket: litestar.WebSocket) -> None:
    raise NotAuthorizedException("not you")


@litestar.websocket("/refuse")
async def litestar_refuse(socket: litestar.WebSocket) -> None:
    await socket.close()


@litestar.websocket("/trouble")
async def litestar_trouble(socket: litestar.WebSocket) -> None:
    await socket.accept()
    raise ValueError("trouble in litestar")


litestar_app = litestar.Litestar(
    [litestar_echo, litestar_where, litestar_deny, litestar_refuse, litestar_trouble],
    openapi_config=None,
)

# --- Channels -------------------------------------------------------------------------------------

if not django.conf.settings.configured:
    django.conf.settings.configure(
        SECRET_KEY="for tests",
        CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    )


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data, bytes_data)


class Where(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept("chat", headers=[(b"x-from", b"the accept")])
        scope = self.scope
        await self.send(
            json.dumps({"path": scope["path"], "root_path": scope.get("root_path", "")})
        )
        await self.close(4321, "enough")


class Refuse(AsyncWebsocketConsumer):
    async def connect(self):
        await self.close(4001)


class Trouble(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()
        raise ValueError("trouble in channels")


class Room(AsyncWebsocketConsumer):
    """Everybody in the room hears what one says."""

    async def connect(self):
        await self.channel_layer.group_add("room", self.channel_name)
        await self.accept()
        await self.send("welcome")

    async def disconnect(self, code):
        await self.channel_layer.group_discard("room", self.channel_name)
        await self.channel_layer.group_send("room", {"type": "said", "text": f"left {code}"})

    async def receive(self, text_data=None, bytes_data=None):
        await self.channel_layer.group_send("room", {"type": "said", "text": text_data})

    async def said(self, event):
        await self.send(event["text"])


channels_app = ProtocolTypeRouter(
    {
        "websocket": URLRouter(
            [
                path("echo", Echo.as_asgi()),
                path("where", Where.as_asgi()),
                path("refuse", Refuse.as_asgi()),
                path("trouble", Trouble.as_asgi()),
                path("room", Room.as_asgi()),
            ]
        )
    }
)
