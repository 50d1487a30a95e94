"""The server as a Python object: in a thread, inside a loop, blocking; both loops."""

from __future__ import annotations

import asyncio
import signal
import socket
import statistics
import threading
import time
import urllib.request

import pytest

import gateway
from e2e.client import Http1Socket
from e2e.conftest import QUIET, make_server
from gateway import ConfigError, GatewayError, Server, StartError

APP = "e2e.apps.small:counted"


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan here")
    loop = type(asyncio.get_running_loop()).__module__
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": loop.encode()})


def get(port, path="/"):
    with Http1Socket(("127.0.0.1", port)) as connection:
        connection.send_request("GET", path, "connection: close")
        return connection.response()


# --- in a thread ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("loop", "module"), [("asyncio", b"asyncio"), ("uvloop", b"uvloop")])
def test_a_server_in_a_thread_on_either_loop(loop, module):
    with make_server(app, loop=loop) as server:
        assert server.started
        assert get(server.port).body.startswith(module)
        assert server.url == f"http://127.0.0.1:{server.port}"
    assert not server.started
    with pytest.raises(OSError, match="refused"):
        get(server.port)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_small_writes_leave_at_once_on_either_loop(loop):
    took = []
    with (
        make_server("e2e.apps.scenarios_asgi:app3", loop=loop) as server,
        Http1Socket(("127.0.0.1", server.port)) as connection,
    ):
        for _ in range(9):
            began = time.perf_counter()
            connection.send_request("GET", "/stream")
            connection.response()
            took.append(time.perf_counter() - began)
    # Nagle's algorithm and a delayed acknowledgement make it 40 ms.
    assert statistics.median(took) < 0.02


def test_settings_made_by_hand_for_a_test_suite():
    server = Server(gateway.Settings(app=app, **QUIET))
    with server, urllib.request.urlopen(server.url) as answer:
        assert answer.status == 200


def test_the_server_stops_although_a_connection_is_idle():
    with make_server(app) as server:
        connection = Http1Socket(("127.0.0.1", server.port))
        connection.send_request("GET", "/")
        assert connection.response().status == 200
    with connection:
        assert connection.is_closed()


def test_several_servers_side_by_side():
    with make_server(app) as one, make_server(APP) as two:
        assert one.port != two.port
        assert get(one.port).body != get(two.port).body


def test_an_exception_in_the_block_still_stops_the_server():
    with pytest.raises(ZeroDivisionError), make_server(app) as server:
        raise ZeroDivisionError
    assert not server.started


def test_a_failing_start_raises_in_the_caller():
    with pytest.raises(StartError, match="the database is away"):
        make_server("e2e.apps.operator:failing").start_in_thread()
    with pytest.raises(StartError, match='no module "nowhere"'):
        make_server("nowhere:app").start_in_thread()


@pytest.mark.parametrize(
    "settings",
    [
        {"app": "e2e.apps.operator:failing"},
        {"app": "nowhere:app"},
        {},
        {"app": app, "env_file": "/nowhere/at/all"},
        {"app": app, "log_config": "/nowhere/at/all.json"},
    ],
    ids=["lifespan", "import", "no-app", "env-file", "log-config"],
)
def test_a_failing_start_leaves_no_socket(settings):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(GatewayError):
        make_server(**{"port": port, **settings}).start_in_thread()
    with pytest.raises(OSError, match="refused"):
        get(port)


def test_facts_outlive_the_server():
    server = make_server(app).start_in_thread()
    url = server.url
    server.stop()
    assert server.url == url
    assert "not started" in repr(server)


def test_a_start_that_takes_too_long_raises():
    server = make_server("e2e.apps.operator:slow_start")
    with pytest.raises(StartError, match=r"did not start within 0\.2 s"):
        server.start_in_thread(timeout=0.2)
    server.stop()


def test_nothing_to_serve_is_a_configuration_error():
    with pytest.raises(ConfigError, match="nothing to serve"):
        make_server().start_in_thread()


def test_a_taken_port_raises_in_the_caller():
    with make_server(app) as server, pytest.raises(StartError, match="is taken by"):
        make_server(app, port=server.port).start_in_thread()


# --- inside a loop --------------------------------------------------------------------------------


async def until_started(server, task):
    while not server.started:
        await asyncio.sleep(0.005)
        if task.done():
            task.result()


def test_serve_inside_a_running_loop():
    async def main():
        server = make_server(app)
        task = asyncio.create_task(server.serve())
        await until_started(server, task)
        answer = await asyncio.to_thread(get, server.port)
        server.should_exit = True
        await asyncio.wait_for(task, 5)
        return answer

    before = signal.getsignal(signal.SIGINT)
    assert asyncio.run(main()).status == 200
    assert signal.getsignal(signal.SIGINT) is before


def test_cancelling_serve_stops_the_server_and_its_lifespans():
    from e2e.apps import small

    async def main():
        server = make_server(APP)
        task = asyncio.create_task(server.serve())
        await until_started(server, task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return server

    small.LIFESPANS.clear()
    server = asyncio.run(main())
    assert not server.started
    assert small.LIFESPANS == ["startup", "shutdown"]


def test_a_failing_start_raises_from_serve():
    async def main():
        await make_server("e2e.apps.operator:failing").serve()

    with pytest.raises(StartError, match="the database is away"):
        asyncio.run(main())


def test_gateway_serve_until_cancelled(tmp_path):
    path = str(tmp_path / "s.sock")

    def ask():
        with Http1Socket(path) as connection:
            connection.send_request("GET", "/")
            return connection.response()

    async def main():
        task = asyncio.create_task(gateway.serve(app, uds=path, log_config={}, access_log=False))
        while not (tmp_path / "s.sock").exists():
            await asyncio.sleep(0.005)
            if task.done():
                task.result()
        answer = await asyncio.to_thread(ask)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return answer

    assert asyncio.run(main()).status == 200
    assert not (tmp_path / "s.sock").exists()


def test_should_exit_before_the_start_ends_at_once():
    async def main():
        server = make_server(app)
        server.should_exit = True
        await asyncio.wait_for(server.serve(), 5)

    asyncio.run(main())


def test_should_exit_twice_is_not_an_order_to_stop_now():
    async def main():
        called, gate = asyncio.Event(), asyncio.Event()

        async def waits(scope, receive, send):
            if scope["type"] == "http":
                called.set()
                await gate.wait()
            await app(scope, receive, send)

        server = make_server(waits)
        task = asyncio.create_task(server.serve())
        await until_started(server, task)
        asking = asyncio.create_task(asyncio.to_thread(get, server.port))
        await called.wait()
        server.should_exit = True
        server.should_exit = True
        asyncio.get_running_loop().call_later(0.2, gate.set)
        answer = await asking
        await asyncio.wait_for(task, 5)
        return answer

    assert asyncio.run(main()).status == 200


def test_callback_notify_is_called():
    called = threading.Event()

    async def notify():
        called.set()

    with make_server(app, callback_notify=notify, timeout_notify=0.02):
        assert called.wait(5)


# --- blocking -------------------------------------------------------------------------------------


def test_gateway_run_blocks_until_a_signal(gateway, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import gateway\n"
        "from e2e.apps.operator import app\n"
        "gateway.run(app, port=0)\n"
        "print('after')\n"
    )
    process = gateway("script.py", module=None)
    with process.client() as client:
        assert client.request("GET", "/").body == b"hello"
    assert process.stop() == 0
    assert process.out.lines[0] == "lifespan startup"
    assert process.out.lines[-1] == "after"


def test_gateway_run_explains_and_exits_as_the_command_line_does(gateway, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import gateway\ngateway.run('nowhere:app', port=0)\n")
    process = gateway("script.py", module=None)
    assert process.wait() == 3
    assert process.err.lines[0].startswith('error: no module "nowhere"')
