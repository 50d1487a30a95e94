"""What is served in the tests of the files in deploy/: it tells what it was told.

``/`` says which process answered, as `e2e.load.ask` reads it; ``/facts`` shows the
request as the application sees it, ``/events`` sends one event at once and the second when the file
of ``?mark=`` is there.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

__all__ = ["app"]


async def who(_: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{os.getpid()} {os.environ.get('GATEWAY_WORKER_ID', '0')} 1")


async def facts(request: Request) -> JSONResponse:
    return JSONResponse(
        {
            "client": request.client and request.client.host,
            "scheme": request.url.scheme,
            "link": str(request.url_for("who")),
            "headers": dict(request.headers),
        }
    )


async def events(request: Request) -> StreamingResponse:
    mark = Path(request.query_params["mark"])

    async def stream():
        yield "data: first\n\n"
        while not mark.exists():  # noqa: ASYNC110, ASYNC240 - the other end is a process
            await asyncio.sleep(0.01)
        yield "data: second\n\n"

    fields = {"X-Accel-Buffering": "no"} if "unbuffered" in request.query_params else {}
    return StreamingResponse(stream(), media_type="text/event-stream", headers=fields)


app = Starlette(routes=[Route("/", who), Route("/facts", facts), Route("/events", events)])
