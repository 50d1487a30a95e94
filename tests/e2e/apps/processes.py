"""Applications that say which process they are in, and do what makes a process worth replacing.

Every answer is ``PID INDEX VERSION``; ``?mark=FILE`` writes FILE when the request has arrived, and
``/hold`` then waits for FILE.go.
"""

from __future__ import annotations

import asyncio
import builtins
import os
import re
import signal
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs

__all__ = ["Witness", "app", "crashing", "note_pid", "wait_for_file", "wsgi"]

# What the first /grow of this process asked for.
KEPT: list[bytes] = []


def wait_for_file(path, timeout=20.0):
    """At import: block until `path` is there; the test's way to make a start slow."""
    deadline = time.monotonic() + timeout
    while not Path(path).exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def note_pid(path):
    """At import: add a line ``PID PARENT`` to the file `path`."""
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()} {os.getppid()}\n")


class Witness:
    """The ASGI application; `version` is its last word in every answer."""

    def __init__(self, version="-"):
        self.version = version

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        query = _query(scope["query_string"].decode())
        path = scope["path"].removeprefix(scope["root_path"])
        if path == "/events":
            await _events(send)
        elif path != "/":
            await PATHS[path](query)
        text = f"{os.getpid()} {os.environ.get('GATEWAY_WORKER_ID', '-1')} {self.version}"
        if path == "/ids":
            text = f"{os.getuid()} {os.getgid()} {sorted(os.getgroups())} {_umask():o}"
        if path == "/builtins":
            text = " ".join(vars(builtins))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text.encode()})


def _query(text):
    query = {name: values[0] for name, values in parse_qs(text).items()}
    if "mark" in query:
        Path(query["mark"]).touch()
    return query


async def _lifespan(receive, send):
    while True:
        event = (await receive())["type"].removeprefix("lifespan.")
        sys.stdout.write(f"lifespan {event} {os.getpid()}\n")
        sys.stdout.flush()
        await send({"type": f"lifespan.{event}.complete"})
        if event == "shutdown":
            return


async def _events(send):
    """An event stream that never looks whether somebody listens."""
    fields = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": b"data: hello\n\n", "more_body": True})
    await asyncio.Event().wait()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


async def _slow(query):
    await asyncio.sleep(float(query["seconds"]))


async def _hold(query):
    gone = Path(query["mark"]).with_suffix(".go")
    while not gone.exists():  # noqa: ASYNC110 - the other end is a process
        await asyncio.sleep(0.01)


async def blocking_handler(query):
    time.sleep(float(query["seconds"]))  # noqa: ASYNC251 - what a beginner writes


async def catastrophic_handler(_query):
    # Holds the GIL for hours: no other thread of this process runs meanwhile.
    re.fullmatch("(a|a)*b", "a" * 60)


async def _grow(query):
    if not KEPT:
        KEPT.append(b"x" * (int(query["mib"]) << 20))


async def _nothing(_query):
    pass


async def _trouble(_query):
    raise ValueError("trouble of a worker")


async def _exit(_query):
    os._exit(1)


PATHS = {
    "/slow": _slow,
    "/hold": _hold,
    "/block": blocking_handler,
    "/regex": catastrophic_handler,
    "/grow": _grow,
    "/trouble": _trouble,
    "/exit": _exit,
    "/ids": _nothing,
    "/builtins": _nothing,
}

app = Witness()


def wsgi(environ, start_response):
    """``/spin?seconds=N`` computes in its thread for so long."""
    seconds = float(parse_qs(environ["QUERY_STRING"]).get("seconds", ["0"])[0])
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {os.environ.get('GATEWAY_WORKER_ID', '-1')} -".encode()]


async def crashing(scope, receive, send):
    """Starts well, but is killed soon after, the first three times; ``starts`` has their times."""
    if scope["type"] != "lifespan":
        await app(scope, receive, send)
        return
    await receive()
    await send({"type": "lifespan.startup.complete"})
    if _note_start() <= 3:
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGKILL)
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def _note_start():
    with Path("starts").open("a") as file:
        file.write(f"{time.monotonic()}\n")
    return len(Path("starts").read_text().split())
