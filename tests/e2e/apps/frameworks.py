"""One small application per framework, with what a prefix may break: links, redirects, mounts."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path

import fastapi
import flask
import litestar
import quart
import starlette.applications
import starlette.requests
from litestar.response import Redirect as LitestarRedirect
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, StreamingResponse
from starlette.routing import Mount, Route

from e2e.apps.board import BOARD

__all__ = [
    "asgi2_app",
    "double_callable",
    "fastapi_app",
    "flask_app",
    "litestar_app",
    "quart_app",
    "starlette_app",
]

# --- Starlette ------------------------------------------------------------------------------------


async def where(request: starlette.requests.Request) -> JSONResponse:
    return JSONResponse(
        {
            "url_for": str(request.url_for("where")),
            "url": str(request.url),
            "base_url": str(request.base_url),
            "path": request.scope["path"],
            "root_path": request.scope["root_path"],
        }
    )


async def go(request: starlette.requests.Request) -> RedirectResponse:
    return RedirectResponse(request.url_for("where"))


async def background(request: starlette.requests.Request) -> JSONResponse:
    key = request.query_params["key"]

    async def work() -> None:
        BOARD.note(key, "begun")
        await asyncio.get_running_loop().run_in_executor(None, BOARD.gate(key).wait, 20)
        BOARD.note(key, "done")

    return JSONResponse({"ok": True}, background=BackgroundTask(work))


async def events(request: starlette.requests.Request) -> StreamingResponse:
    key = request.query_params["key"]

    async def produce():
        try:
            while True:
                yield "data: tick\n\n"
                await asyncio.sleep(0.02)
        finally:
            BOARD.note(key, "ended")

    return StreamingResponse(produce(), media_type="text/event-stream")


async def file(request: starlette.requests.Request) -> FileResponse:
    return FileResponse(__file__)


async def body(request: starlette.requests.Request) -> JSONResponse:
    return JSONResponse({"size": len(await request.body())})


async def form(request: starlette.requests.Request) -> JSONResponse:
    async with request.form() as fields:
        upload = fields["file"]
        return JSONResponse({"name": upload.filename, "size": len(await upload.read())})


async def late(request: starlette.requests.Request) -> StreamingResponse:
    async def produce():
        yield "part"
        raise ValueError("late trouble in starlette")

    return StreamingResponse(produce())


async def polls(request: starlette.requests.Request) -> StreamingResponse:
    """Streams until it sees, by asking, that the client has left."""
    key = request.query_params["key"]

    async def produce():
        while not await request.is_disconnected():
            yield "tick\n"
            await asyncio.sleep(0.02)
        BOARD.note(key, "disconnected")

    return StreamingResponse(produce())


async def trouble(request: starlette.requests.Request) -> JSONResponse:
    raise ValueError("trouble in starlette")


starlette_app = starlette.applications.Starlette(
    routes=[
        Route("/where", where, name="where"),
        Route("/go", go),
        Route("/slash/", where),
        Mount("/nested", routes=[Route("/where", where)]),
        Route("/background", background),
        Route("/events", events),
        Route("/polls", polls),
        Route("/file", file),
        Route("/body", body, methods=["POST"]),
        Route("/form", form, methods=["POST"]),
        Route("/late", late),
        Route("/trouble", trouble),
    ]
)


def double_callable(app):
    """An ASGI 3 application as ASGI 2: called with the scope, then with receive and send."""

    def door(scope):
        return functools.partial(app, scope)

    return door


asgi2_app = double_callable(starlette_app)


class PassingMiddleware(BaseHTTPMiddleware):
    """Starlette's own base class, which runs the application in a task of its own."""

    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["x-passed"] = "yes"
        return response


# --- FastAPI --------------------------------------------------------------------------------------

fastapi_app = fastapi.FastAPI()


@fastapi_app.get("/where", name="where")
async def fastapi_where(request: fastapi.Request) -> dict[str, str]:
    return {"url_for": str(request.url_for("where")), "url": str(request.url)}


@fastapi_app.get("/slash/")
def fastapi_slash() -> str:
    return "slash"


@fastapi_app.post("/form")
async def fastapi_form(file: fastapi.UploadFile) -> dict[str, object]:
    return {"name": file.filename, "size": len(await file.read())}


@fastapi_app.get("/trouble")
def fastapi_trouble() -> None:
    raise ValueError("trouble in a thread")


# --- Flask ----------------------------------------------------------------------------------------

flask_app = flask.Flask(__name__, static_folder=str(Path(__file__).parent / "static"))
flask_app.secret_key = "for tests"


@flask_app.get("/where")
def flask_where():
    return {
        "url_for": flask.url_for("flask_where"),
        "static": flask.url_for("static", filename="hello.txt"),
        "url": flask.request.url,
        "script_root": flask.request.script_root,
        "path": flask.request.path,
    }


@flask_app.get("/go")
def flask_go():
    return flask.redirect(flask.url_for("flask_where"))


@flask_app.get("/slash/")
def flask_slash():
    return "slash"


@flask_app.get("/stream")
def flask_stream():
    @flask.stream_with_context
    def produce():
        for number in range(3):
            yield f"{flask.request.path} {number}\n"

    return flask.Response(produce(), mimetype="text/plain")


@flask_app.get("/file")
def flask_file():
    return flask.send_file(__file__, conditional=True)


@flask_app.get("/trouble")
def flask_trouble():
    raise ValueError("trouble in flask")


@flask_app.get("/session")
def flask_session():
    flask.session["visits"] = flask.session.get("visits", 0) + 1
    return str(flask.session["visits"])


@flask_app.post("/form")
def flask_form():
    upload = flask.request.files["file"]
    return {"name": upload.filename, "size": len(upload.read())}


# --- Quart ----------------------------------------------------------------------------------------

quart_app = quart.Quart(__name__)


@quart_app.get("/where")
async def quart_where():
    return {"url_for": quart.url_for("quart_where"), "url": quart.request.url}


@quart_app.get("/go")
async def quart_go():
    return quart.redirect(quart.url_for("quart_where"))


@quart_app.get("/stream")
async def quart_stream():
    async def produce():
        for number in range(3):
            yield f"{number}\n".encode()

    return produce(), 200, {"content-type": "text/plain"}


@quart_app.post("/body")
async def quart_body():
    return {"size": len(await quart.request.get_data())}


# --- Litestar -------------------------------------------------------------------------------------


@litestar.get("/where", name="where")
async def litestar_where(request: litestar.Request) -> dict[str, str]:
    return {"url": str(request.url), "url_for": str(request.url_for("where"))}


@litestar.get("/go")
async def litestar_go(request: litestar.Request) -> LitestarRedirect:
    return LitestarRedirect(path=str(request.url_for("where")))


@litestar.post("/body")
async def litestar_body(request: litestar.Request) -> dict[str, int]:
    return {"size": len(await request.body())}


litestar_app = litestar.Litestar([litestar_where, litestar_go, litestar_body], openapi_config=None)
