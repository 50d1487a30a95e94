"""WebSockets of the frameworks, at / and under a prefix, with a client that people use."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from e2e.process import Gateway

FRAMEWORKS = ["starlette", "fastapi", "quart", "litestar", "channels"]

Open = Callable[..., ClientConnection]


@pytest.fixture(scope="module", params=["auto", "wsproto"])
def server(request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[Gateway]:
    """Every framework at a host of its own, at / and at /sub, in one process."""
    mounts = []
    for name in FRAMEWORKS:
        app = f"e2e.apps.websocket_frameworks:{name}_app"
        mounts += ["--mount", f"{name}.test/={app}", "--mount", f"{name}.test/sub={app}"]
    directory = tmp_path_factory.mktemp("frameworks")
    arguments = [*mounts, "--port", "0", "--ws", request.param]
    with Gateway(arguments, directory) as process:
        yield process.ready(20)


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["", "/sub"], ids=["root", "sub"])
def prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_at(server: Gateway, framework: str, prefix: str) -> Iterator[Open]:
    """Open a path of the framework, below its prefix."""
    with ExitStack() as stack:

        def open_at(path: str, **options: object) -> ClientConnection:
            raw = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            uri = f"ws://{framework}.test{prefix}{path}"
            return stack.enter_context(connect(uri, sock=raw, **options))

        yield open_at


def test_an_echo(open_at):
    client = open_at("/echo")
    assert "permessage-deflate" in client.response.headers["sec-websocket-extensions"]
    for message in ("κόσμε", b"\x00\xff", "x" * 70_000, b"y" * 70_000):
        client.send(message)
        assert client.recv(10) == message
    client.send(["in ", "three ", "fragments"])
    assert client.recv(10) == "in three fragments"
    assert client.ping().wait(10)
    client.close(4000, "bye")
    assert client.close_code == 4000


def test_addresses_subprotocol_fields_and_a_close(open_at, framework, prefix):
    client = open_at("/where?q=a%20b", subprotocols=["other", "chat"])
    assert client.subprotocol == "chat"
    assert client.response.headers["x-from"] == "the accept"
    seen = json.loads(client.recv(10))
    if framework == "channels":
        assert seen == {"path": f"{prefix}/where", "root_path": prefix}
    else:
        base = f"ws://{framework}.test{prefix}/where"
        assert seen["url"].replace("%20", " ").replace("+", " ") == f"{base}?q=a b"
        assert (seen["link"], seen["q"]) == (base, "a b")
    with pytest.raises(ConnectionClosed) as caught:
        client.recv(10)
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4321, "enough")


def test_a_refusal(open_at):
    with pytest.raises(InvalidStatus) as caught:
        open_at("/refuse")
    assert caught.value.response.status_code == 403


def test_a_denial_with_a_response(open_at, framework):
    if framework == "channels":
        pytest.skip("Channels has no denial response")
    with pytest.raises(InvalidStatus) as caught:
        open_at("/deny")
    response = caught.value.response
    if framework == "litestar":
        assert response.status_code in (401, 403)  # closes before the accept
    else:
        assert response.status_code == 401
        assert b"not you" in response.body


def test_a_path_that_is_not_there(open_at):
    with pytest.raises(InvalidStatus) as caught:
        open_at("/missing")
    assert caught.value.response.status_code in (403, 404, 500)


def test_an_exception_closes_with_a_code(open_at, server, framework):
    client = open_at("/trouble")
    with pytest.raises(ConnectionClosed) as caught:
        client.recv(10)
    assert caught.value.rcvd is not None
    # Quart and Litestar catch it and send a close of their own.
    own = {"quart": 1000, "litestar": 4500}
    assert caught.value.rcvd.code == own.get(framework, 1011)
    if framework != "litestar":
        server.err.wait(f"trouble in {framework}|trouble in starlette")


@pytest.mark.parametrize("framework", ["starlette"], indirect=True)
def test_a_route_in_a_frameworks_own_mount(open_at):
    client = open_at("/nested/echo")
    client.send("Hello")
    assert client.recv(10) == "Hello"


@pytest.mark.parametrize("framework", ["channels"], indirect=True)
def test_a_room_of_channels(open_at):
    first, second = open_at("/room"), open_at("/room")
    assert (first.recv(10), second.recv(10)) == ("welcome", "welcome")
    first.send("Hello")
    assert (first.recv(10), second.recv(10)) == ("Hello", "Hello")
    first.close(4000)
    assert second.recv(10) == "left 4000"
