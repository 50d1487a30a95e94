"""What a drain does, whoever asks for it: a stop, a roll, recycling, changed code."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack

import pytest
from http2_client import ErrorCode, Type, open_client

from e2e.websocket_client import CLOSE, close_payload, open_peer

APP = """
import asyncio
import os


def say(*words):
    print(*words, os.getpid(), flush=True)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            event = (await receive())["type"].removeprefix("lifespan.")
            say("lifespan", event)
            await send({"type": f"lifespan.{event}.complete"})
            if event == "shutdown":
                return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        say("websocket closed", (await receive())["code"])
        return
    fields = []
    if scope["path"] == "/slow":
        say("slow")
        await asyncio.sleep(SLOW)
    elif scope["path"] == "/hang":
        try:
            await asyncio.Event().wait()
        finally:
            say("cancelled")
    elif scope["path"] == "/events":
        fields = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"data: 1\\n\\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        say("events ended")
        return
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""

LIMIT = 3.0
# How it is started, how the drain is asked for, how long requests take, its limit, and what
# WebSockets are told.
MODES = {
    "one process": ((), signal.SIGTERM, 1.0, LIMIT, 1012),
    "workers": (("--supervise",), signal.SIGTERM, 1.0, LIMIT, 1012),
    "roll": (("--supervise",), signal.SIGHUP, 1.5, LIMIT, 1012),
    "recycling": (("--supervise", "--limit-max-requests", "8"), None, 1.5, LIMIT, 1012),
    "changed code": (("--reload",), "code", 0.8, 1.0, 1001),
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_drain_does_the_same_whoever_asks_for_it(mode, gateway, tmp_path):
    flags, how, slow, limit, code = MODES[mode]
    main = tmp_path / "main.py"
    main.write_text(f"SLOW = {slow}\n{APP}")
    # Python takes a file of the same size and second for the same.
    os.utime(main, (1, 1))
    process = gateway(
        *("main:app", "--port", "0", *flags),
        *("--timeout-graceful-shutdown", f"{LIMIT}s", "--limit-max-requests-jitter", "0"),
    ).ready()
    process.out.wait("lifespan startup")
    with ExitStack() as stack:
        one = [stack.enter_context(process.connect()) for _ in range(4)]
        two = stack.enter_context(open_client(process.address))
        idle, finishing, stream, hanging = one
        socket = stack.enter_context(open_peer(process.address, "/"))
        stream.send_request("GET", "/events")
        assert stream.response_head().status == 200
        hanging.send_request("GET", "/hang")
        finishing.send_request("GET", "/slow")
        streams = {path: two.open("GET", path) for path in ("/events", "/hang", "/slow")}
        assert two.head(streams["/events"]).status == 200
        process.out.wait("slow", count=2)

        began = time.monotonic()
        if how is None:
            idle.send_request("GET", "/")  # the eighth request
            assert idle.response().status == 200
        elif how == "code":
            main.write_text(main.read_text() + "\n")
        else:
            process.signal(how)

        # HTTP/1.1: what has begun is finished and says that it was the last.
        response = finishing.response()
        assert (response.status, response.header("connection")) == (200, "close")
        assert idle.is_closed()
        body = stream.until_closed()
        assert body.endswith(b"data: 1\n\n\r\n0\r\n\r\n"), body
        # HTTP/2: the same in streams, between two GOAWAYs.
        assert two.response(streams["/slow"]).status == 200
        assert two.response(streams["/events"]).body == b"data: 1\n\n"
        # WebSocket: a leave-taking that its client understands.
        assert socket.frame() == (CLOSE, close_payload(code), True, 0)
        socket.send_close(code)
        process.out.wait(f"websocket closed {code}")
        # The rest ends at the limit.
        assert hanging.response().status == 503
        assert two.response(streams["/hang"]).status == 503
        assert limit - 0.1 <= time.monotonic() - began <= limit + 4
        two.rest()
        said = [got for got in two.log if got.type == Type.GOAWAY]
        assert [got.code for got in said] == [ErrorCode.NO_ERROR] * 2
        last = [int.from_bytes(got.payload[:4], "big") for got in said]
        assert last == [2**31 - 1, max(streams.values())]
        process.out.wait("cancelled", count=2)
    process.out.wait("events ended", count=2)
    process.out.wait("lifespan shutdown")
    process.err.wait("ended: GET /hang")
    if how is signal.SIGTERM:
        assert process.wait() == 0
    else:
        with process.connect() as connection:
            connection.send_request("GET", "/")
            assert connection.response().status == 200
        assert process.stop() == 0
    assert "Traceback" not in process.err.text
