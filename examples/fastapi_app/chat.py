"""A chat room over a WebSocket: what one member says, all of them hear.

The room is in the memory of one process. With several workers each has a room of its own, unless
what is said goes through something they share; the Django example does that with Redis.
"""

import asyncio
from contextlib import suppress
from html import escape
from pathlib import Path
from string import Template
from typing import Annotated

from fastapi import (
    APIRouter,
    Query,
    Request,
    WebSocket,
    WebSocketDisconnect,
    WebSocketException,
    status,
)
from fastapi.responses import HTMLResponse

PAGE = Template((Path(__file__).parent / "chat.html").read_text(encoding="utf-8"))
LONGEST_NAME = 20
LONGEST_TEXT = 500
MOST_MEMBERS = 100
MOST_WAITING = 50  # messages on their way to one member
PAUSE = 0.1  # seconds between two messages of one member

router = APIRouter(prefix="/chat")


class Room:
    """Who is there: for each member a queue of messages and a name."""

    def __init__(self) -> None:
        self.members: dict[asyncio.Queue[dict], str] = {}

    def tell(self, kind: str, name: str, **more: str) -> None:
        message = {"kind": kind, "name": name, "members": len(self.members), **more}
        for inbox in self.members:
            # Nobody waits for a member with a slow connection: it misses messages instead.
            with suppress(asyncio.QueueFull):
                inbox.put_nowait(message)


@router.get("", response_class=HTMLResponse, include_in_schema=False)
async def chat_page(request: Request):
    limits = {"longest_name": LONGEST_NAME, "longest_text": LONGEST_TEXT}
    return PAGE.substitute(limits, base=escape(request.url_for("page").path))


@router.websocket("/ws")
async def chat(
    socket: WebSocket,
    # Without a name that fits FastAPI refuses the handshake, and the client sees a 403.
    name: Annotated[str, Query(min_length=1, max_length=LONGEST_NAME)],
) -> None:
    room: Room = socket.state.room
    if len(room.members) >= MOST_MEMBERS:
        raise WebSocketException(status.WS_1013_TRY_AGAIN_LATER, "The room is full.")
    await socket.accept()
    inbox: asyncio.Queue[dict] = asyncio.Queue(MOST_WAITING)
    room.members[inbox] = name
    room.tell("joined", name)
    try:
        async with asyncio.TaskGroup() as tasks:
            sender = tasks.create_task(deliver(inbox, socket))
            understood = await listen(socket, room, name)
            sender.cancel()
    finally:
        del room.members[inbox]
        room.tell("left", name)
    if not understood:
        reason = f"Please send text, at most {LONGEST_TEXT} characters."
        await socket.close(status.WS_1008_POLICY_VIOLATION, reason)


async def listen(socket: WebSocket, room: Room, name: str) -> bool:
    """Tell the room what a member says: until the member leaves (True) or sends what is no talk."""
    while (message := await socket.receive())["type"] == "websocket.receive":
        text = message.get("text")
        if text is None or len(text) > LONGEST_TEXT:
            return False
        room.tell("said", name, text=text)
        # What a member sends sooner waits in the server, then in the network, then at the member.
        await asyncio.sleep(PAUSE)
    return True


async def deliver(inbox: asyncio.Queue[dict], socket: WebSocket) -> None:
    with suppress(WebSocketDisconnect):  # `listen` is told of the end as well
        while True:
            await socket.send_json(await inbox.get())
