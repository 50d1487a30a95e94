"""Limits that an operator sets, on real sockets: time, bodies, requests under way."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from e2e.client import ConnectionCut, Http1Socket
from e2e.process import wait_for, wait_until

LATE = 2.5  # deadlines are looked at once a second


# --- time of an application ----------------------------------------------------------------------


class Hanging:
    """Applications that never answer /hang, nor the rest of /half.

    go_on: ends those in threads. told: the application knows that nobody waits any more.
    """

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.told = threading.Event()

    async def asgi(self, scope, receive, send):
        path = scope["path"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if path == "/half":
            await send({"type": "http.response.body", "body": b"so", "more_body": True})
        try:
            if path != "/":
                await self.asgi_hangs_here()
        except asyncio.CancelledError:
            self.told.set()
            raise
        await send({"type": "http.response.body", "body": b"done"})

    async def asgi_hangs_here(self):
        await asyncio.Event().wait()

    def wsgi(self, environ, start_response):
        path = environ["PATH_INFO"]
        write = start_response("200 OK", [])
        if path == "/half":
            write(b"so")
        if path != "/":
            self.wsgi_hangs_here()
        try:
            write(b"done")
        except OSError:
            self.told.set()
            raise
        return []

    def wsgi_hangs_here(self):
        self.go_on.wait(10)


@pytest.mark.slow
@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
def test_an_application_that_hangs_is_given_up_and_the_worker_lives(wire, interface, serve, log):
    hanging = Hanging()
    server = serve(
        getattr(hanging, interface), lifespan="off", timeout_request=1, **dict(wire.settings)
    )
    with wire.client(("127.0.0.1", server.port)) as client:
        began = time.monotonic()
        assert client.request("GET", "/hang").status == 504
        assert 1 <= time.monotonic() - began <= 1 + LATE
        line = log.wait("no answer for 1 s (timeout-request), ended: GET /hang (mount /)")
        assert f"in {interface}_hangs_here" in line.getMessage()
        with client.open("GET", "/half") as call:
            assert call.head().status == 200
            with pytest.raises(ConnectionCut):
                call.rest()
        hanging.go_on.set()
        assert hanging.told.wait(5)
        assert client.request("GET", "/").body == b"done"
    assert log.errors == []


@pytest.mark.slow
def test_each_mount_has_its_own_time(serve):
    hanging = Hanging()
    mounts = {"/a": {"app": hanging.asgi, "timeout_request": 1}, "/b": {"app": Hanging().asgi}}

    async def slow(scope, receive, send):
        await asyncio.sleep(3)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    mounts["/b"]["app"] = slow
    server = serve(mounts=mounts, lifespan="off")
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(Http1Socket(("127.0.0.1", server.port))) for _ in range(2)
        )
        one.send_request("GET", "/a/hang")
        other.send_request("GET", "/b")
        assert one.response().status == 504
        assert other.response().status == 200


# --- bodies --------------------------------------------------------------------------------------


class Uploads:
    """Applications that read everything, and say how their reading ended."""

    def __init__(self) -> None:
        self.ends: list[object] = []
        self.begun = threading.Event()
        self.ended = threading.Event()

    def _end(self, how: object) -> None:
        self.ends.append(how)
        self.ended.set()

    async def asgi(self, scope, receive, send):
        self.begun.set()
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self._end("http.disconnect")
                return
            size += len(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % size})

    def wsgi(self, environ, start_response):
        self.begun.set()
        try:
            size = len(environ["wsgi.input"].read())
        except OSError as error:
            self._end(error)
            raise
        start_response("200 OK", [])
        return [b"%d" % size]


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
def test_a_body_that_is_too_long_is_a_413(wire, interface, serve, log):
    uploads = Uploads()
    app = getattr(uploads, interface)
    size = 200_000  # more than a WSGI mount collects before it calls
    mounts = {"/": app, "/small": {"app": app, "limit_body": 1}}
    server = serve(mounts=mounts, lifespan="off", limit_body=size, **dict(wire.settings))
    with wire.client(("127.0.0.1", server.port)) as client:
        assert client.request("POST", "/", body=bytes(size)).body == b"200000"
        assert client.request("POST", "/small", body=b"ab").status == 413
        with client.open("POST", "/", [("content-length", str(size + 1))], body=True) as call:
            assert call.head().status == 413
        assert uploads.ends == []
        uploads.begun.clear()
        with client.open("POST", "/", body=True) as call:
            call.send(bytes(100_000))
            assert uploads.begun.wait(5)
            call.send(bytes(100_001))
            assert call.head().status == 413
        assert uploads.ended.wait(5)
        assert client.request("GET", "/").body == b"0"
    (end,) = uploads.ends
    assert end == "http.disconnect" or isinstance(end, OSError)
    assert log.errors == []


def test_who_asks_before_it_sends_is_told_at_once(serve):
    server = serve(Uploads().asgi, lifespan="off", limit_body="1k")
    with Http1Socket(("127.0.0.1", server.port)) as connection:
        connection.send_request("POST", "/", "content-length: 1025", "expect: 100-continue")
        response = connection.response()
        assert (response.status, response.interim) == (413, [])
        assert connection.is_closed()


# --- requests under way --------------------------------------------------------------------------


class Gate:
    """An application that lets one request after the other through. calls: those it has."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._gates: dict[str, threading.Event] = {}

    def open(self, path: str) -> None:
        self._gates.setdefault(path, threading.Event()).set()

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        self.calls.append(path)
        self._gates.setdefault(path, threading.Event()).wait(10)
        start_response("200 OK", [])
        return [path.encode()]


@pytest.fixture
def gate() -> Gate:
    return Gate()


def ask(server, path: str, stack: ExitStack) -> Http1Socket:
    connection = stack.enter_context(Http1Socket(("127.0.0.1", server.port)))
    connection.send_request("GET", path)
    return connection


def waiting(server) -> int:
    return len(server._worker._chain.handler._waiting)


def test_requests_wait_for_a_place_in_their_order(serve, gate):
    server = serve(gate, limit_concurrency=1, limit_queue=2)
    with ExitStack() as stack:
        asked = []
        for number, path in enumerate(("/1", "/2", "/3")):
            asked.append(ask(server, path, stack))
            wait_until(lambda n=number: waiting(server) + len(gate.calls) == n + 1, "it is there")
        refused = ask(server, "/4", stack).response()
        assert (refused.status, refused.header("retry-after")) == (503, "1")
        for path in ("/1", "/2", "/3"):
            gate.open(path)
        assert [each.response().text for each in asked] == ["/1", "/2", "/3"]
    assert gate.calls == ["/1", "/2", "/3"]


@pytest.mark.slow
def test_who_waits_too_long_is_refused_and_who_leaves_is_forgotten(serve, gate):
    server = serve(gate, limit_concurrency=1, limit_queue=2, timeout_queue="500ms")
    with ExitStack() as stack:
        first = ask(server, "/1", stack)
        wait_until(lambda: gate.calls, "the first is served")
        began = time.monotonic()
        leaving, waits = ask(server, "/2", stack), ask(server, "/3", stack)
        wait_until(lambda: waiting(server) == 2, "both wait")
        leaving.reset()
        wait_until(lambda: waiting(server) == 1, "one has left")
        refused = waits.response()
        assert (refused.status, refused.header("retry-after")) == (503, "1")
        assert 0.4 <= time.monotonic() - began <= 2
        gate.open("/1")
        assert first.response().status == 200
    assert gate.calls == ["/1"]


def test_a_drain_serves_those_who_wait(serve, gate):
    server = serve(gate, limit_concurrency=1, limit_queue=2)
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        first = ask(server, "/1", stack)
        wait_until(lambda: gate.calls, "the first is served")
        second = ask(server, "/2", stack)
        wait_until(lambda: waiting(server) == 1, "one waits")
        stop = pool.submit(server.stop)
        wait_until(lambda: server._worker._drain is not None, "it drains")
        for path in ("/1", "/2"):
            gate.open(path)
        for connection in (first, second):
            response = connection.response()
            assert (response.status, response.header("connection")) == (200, "close")
        stop.result(5)


def test_a_drain_refuses_at_its_limit_those_who_still_wait(serve, gate):
    server = serve(gate, limit_concurrency=1, limit_queue=2, timeout_graceful_shutdown=0.5)
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        first = ask(server, "/1", stack)
        wait_until(lambda: gate.calls, "the first is served")
        second = ask(server, "/2", stack)
        wait_until(lambda: waiting(server) == 1, "one waits")
        stop = pool.submit(server.stop)
        assert [each.response().status for each in (first, second)] == [503, 503]
        gate.open("/1")
        stop.result(5)
    assert gate.calls == ["/1"]


# --- the listener of its own ---------------------------------------------------------------------


@pytest.mark.slow
def test_live_and_ready_are_answered_while_everything_is_full(gateway, tmp_path):
    process = gateway(
        "e2e.apps.processes:app",
        *("--port", "0", "--health-bind", "unix:health.sock"),
        *("--limit-concurrency", "1", "--limit-connections", "2"),
    ).ready()
    health = process.cwd / "health.sock"
    wait_for(health)
    with ExitStack() as stack:
        held = stack.enter_context(process.connect())
        held.send_request("GET", "/hold?mark=held")
        wait_for(process.cwd / "held")
        second = stack.enter_context(process.connect())
        second.send_request("GET", "/")
        assert second.response().status == 503
        second.send(b"GET / HT")  # half a request is no idle connection
        third = stack.enter_context(process.connect())
        third.send_request("GET", "/")
        third.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            third.response()
        for target in ("/live", "/ready"):
            with Http1Socket(str(health)) as probe:
                probe.send_request("GET", target)
                assert probe.response().status == 200
        (process.cwd / "held.go").touch()
        assert held.response().status == 200
        third.socket.settimeout(5)
        assert third.response().status == 200
    assert process.stop() == 0
