"""A FastAPI application that works wherever it is mounted.

Alone: ``gateway --app-dir examples fastapi_app.main:app``. Nothing below knows its prefix.
gateway.toml mounts it at /api, the server passes that on as ``root_path``, and the docs page, the
redirects and ``url_for`` follow it.
"""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Annotated, TypedDict

from fastapi import (
    BackgroundTasks,
    Depends,
    FastAPI,
    HTTPException,
    Query,
    Request,
    Response,
    UploadFile,
)
from fastapi.responses import FileResponse, HTMLResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, Field

from . import chat

HERE = Path(__file__).parent
PAGE = Template((HERE / "page.html").read_text(encoding="utf-8"))
MAX_UPLOAD = 10 * 1024 * 1024  # bytes
MAX_NOTES = 1000


class NoteIn(BaseModel):
    title: str = Field(min_length=1, max_length=80)
    text: str = Field(default="", max_length=2000)


class Note(NoteIn):
    id: int
    created: datetime
    words: int | None = Field(default=None, description="Counted after the response was sent.")


class Status(BaseModel):
    since: datetime
    notes: int
    watchers: int = Field(description="Clients of /events that are still there.")


class Digest(BaseModel):
    name: str
    size: int = Field(description="In bytes.")
    sha256: str


@dataclass
class Store:
    """Everything this application remembers, until it stops.

    No locks: its functions are all ``async`` and run on one event loop, taking turns at ``await``.
    """

    since: datetime
    notes: dict[int, Note] = field(default_factory=dict)
    ids: itertools.count = field(default_factory=lambda: itertools.count(1))
    watchers: int = 0

    async def count_words(self, note: Note) -> None:
        note.words = len(note.text.split())


class State(TypedDict):
    store: Store
    room: chat.Room


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
    """Runs once per process: to the ``yield`` before the first request, the rest after the last.

    The server hands what is yielded to each request as ``request.state``, to a WebSocket as well.
    """
    store = Store(since=datetime.now(UTC))
    yield {"store": store, "room": chat.Room()}
    store.notes.clear()


async def get_store(request: Request) -> Store:
    return request.state.store


StoreDep = Annotated[Store, Depends(get_store)]

# FastAPI's own docs page loads Swagger UI from a CDN; this one brings it along, so the page also
# works on a train. docs_url says where it is to whoever asks, such as gateway's list of mounts.
app = FastAPIOffline(title="Notes", version="1.0", lifespan=lifespan, redoc_url=None)
app.docs_url = "/docs"
app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
app.include_router(chat.router)


@app.get("/", response_class=HTMLResponse, include_in_schema=False)
async def page(request: Request):
    # One <base> and every link on the page is relative to the prefix.
    return PAGE.substitute(base=escape(request.url_for("page").path))


@app.get("/status")
async def get_status(store: StoreDep) -> Status:
    return Status(since=store.since, notes=len(store.notes), watchers=store.watchers)


@app.get("/notes")
async def list_notes(store: StoreDep) -> list[Note]:
    return list(store.notes.values())


@app.post("/notes", status_code=201)
async def create_note(
    new: NoteIn, store: StoreDep, tasks: BackgroundTasks, request: Request, response: Response
) -> Note:
    """The answer says ``"words": null``; a moment later the note says how many."""
    if len(store.notes) >= MAX_NOTES:
        raise HTTPException(507, "Delete a note first.")
    note = Note(**new.model_dump(), id=next(store.ids), created=datetime.now(UTC))
    store.notes[note.id] = note
    tasks.add_task(store.count_words, note)
    response.headers["Location"] = request.url_for("read_note", note_id=note.id).path
    return note


@app.get("/notes/{note_id}")
async def read_note(note_id: int, store: StoreDep) -> Note:
    if note_id not in store.notes:
        raise HTTPException(404, "No such note.")
    return store.notes[note_id]


@app.delete("/notes/{note_id}", status_code=204)
async def delete_note(note_id: int, store: StoreDep) -> None:
    if store.notes.pop(note_id, None) is None:
        raise HTTPException(404, "No such note.")


@app.get("/events")
async def events(
    request: Request,
    store: StoreDep,
    count: Annotated[int, Query(ge=1, le=3600)] = 60,
    interval: Annotated[float, Query(ge=0, le=60, description="In seconds.")] = 1,
) -> StreamingResponse:
    """Server-sent events: the time, until `count` or the client has had enough."""

    async def ticks():
        store.watchers += 1
        try:
            for number in range(count):
                # Ask: a generator that is left at its ``yield`` ends only when it is collected.
                if await request.is_disconnected():
                    break
                yield f"id: {number}\ndata: {datetime.now(UTC).isoformat(timespec='seconds')}\n\n"
                await asyncio.sleep(interval)
        finally:
            store.watchers -= 1

    return StreamingResponse(
        ticks(),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@app.post("/files")
async def digest(file: UploadFile) -> Digest:
    """Digest an upload piece by piece and keep nothing of it."""
    if file.size is not None and file.size > MAX_UPLOAD:
        raise HTTPException(413, f"At most {MAX_UPLOAD} bytes, please.")
    sha256 = hashlib.sha256()
    while piece := await file.read(64 * 1024):
        sha256.update(piece)
    return Digest(name=file.filename or "", size=file.size or 0, sha256=sha256.hexdigest())


@app.get("/source", response_class=FileResponse)
async def source():
    """This very file; gateway sends it from the disk itself (http.response.pathsend)."""
    return FileResponse(__file__, media_type="text/plain; charset=utf-8")
