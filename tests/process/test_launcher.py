"""Where workers come from: an interpreter for each, and what it inherits."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from gateway.errors import ConfigError, StartError
from gateway.process import launcher as launcher_module
from gateway.process.launcher import FreshLauncher, Order, spawn
from gateway.settings import Settings, load

from .fakes import LIMIT, on_loop, until

APP = """
import os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = f"{os.environ['GATEWAY_WORKER_ID']} {os.getpid()}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "main.py").write_text(APP)
    return tmp_path


def settings(directory: Path, **values) -> Settings:
    values = {"app": "main:app", "app_dir": str(directory)} | values
    return load(argv_values=values, environ={}, cwd=directory, search=False).settings


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def order(settings: Settings, sockets=(), index: int = 0) -> Order:
    return Order(
        settings, index, sockets, on_launch=lambda worker: None, on_change=lambda worker: None
    )


async def buried(worker) -> int:
    """Its exit code, when it has ended."""
    _, status = await asyncio.to_thread(os.waitpid, worker.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    await worker.exited(code)
    return code


async def get(address: tuple[str, int]) -> str:
    """The body of ``GET /``."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), LIMIT)
    writer.close()
    await writer.wait_closed()
    return answer.decode().splitlines()[-1]


@on_loop
async def test_a_worker_serves_on_the_sockets_it_inherits_and_stops_when_told(directory, listening):
    launcher = FreshLauncher(str(directory))
    launched = []
    asked = Order(
        settings(directory), 3, [listening], on_launch=launched.append, on_change=lambda _: None
    )
    worker = await launcher.launch(asked)
    assert launched == [worker]
    await asyncio.wait_for(worker.started(), LIMIT)
    assert [each.app_name for each in worker.mounts] == ["main:app"]
    assert await get(listening.getsockname()) == f"3 {worker.pid}"
    before = worker.beat
    await until(lambda: worker.beat > before)
    worker.stop(limit=5, alone=True)
    assert await buried(worker) == 0


@on_loop
async def test_a_worker_says_why_it_cannot_start(directory):
    (directory / "main.py").write_text("import nothing_of_that_name\n")
    worker = await FreshLauncher(str(directory)).launch(order(settings(directory)))
    started = asyncio.ensure_future(worker.started())
    assert await buried(worker) == 3
    with pytest.raises(StartError, match="nothing_of_that_name"):
        await started


@on_loop
async def test_a_worker_that_imports_for_long_can_be_stopped(directory, tmp_path):
    marker = tmp_path / "importing"
    (directory / "main.py").write_text(
        f"import pathlib, time\npathlib.Path({str(marker)!r}).touch()\ntime.sleep(60)\n"
    )
    worker = await FreshLauncher(str(directory)).launch(order(settings(directory)))
    await until(marker.exists)
    worker.stop(limit=0, alone=False)
    assert await buried(worker) == 0


@on_loop
async def test_a_worker_that_has_no_handlers_yet_is_not_ended_by_signals_to_all(
    directory, listening
):
    worker = await FreshLauncher(str(directory)).launch(order(settings(directory), [listening]))
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        worker.signal(number)
    await asyncio.wait_for(worker.started(), LIMIT)
    worker.stop(limit=1, alone=True)
    assert await buried(worker) == 0


@on_loop
async def test_a_worker_ends_when_its_parent_lets_go_of_the_channel(directory, listening):
    worker = await FreshLauncher(str(directory)).launch(order(settings(directory), [listening]))
    await asyncio.wait_for(worker.started(), LIMIT)
    await worker._channel.close()
    assert await buried(worker) == 0


@on_loop
async def test_a_failure_is_what_a_worker_serves_where_the_application_is_broken(
    directory, listening
):
    (directory / "main.py").write_text("broken(\n")
    asked = Order(
        settings(directory, hooks="main"),
        0,
        [listening],
        on_launch=lambda _: None,
        on_change=lambda _: None,
        failure="main.py, line 1: '(' was never closed",
    )
    worker = await FreshLauncher(str(directory)).launch(asked)
    await asyncio.wait_for(worker.started(), LIMIT)
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    answer = (await asyncio.wait_for(reader.read(), LIMIT)).decode()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith("HTTP/1.1 500 ")
    assert "was never closed" in answer
    worker.stop(limit=1, alone=True)
    assert await buried(worker) == 0


@on_loop
async def test_where_no_descriptor_is_left_no_worker_starts(directory, monkeypatch):
    def none_left(*_):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(launcher_module, "dump_file", none_left)
        with pytest.raises(StartError, match="no worker can be started: Too many open files"):
            await FreshLauncher(str(directory)).launch(order(settings(directory)))


@on_loop
async def test_where_the_directory_is_gone_no_worker_starts(directory):
    with pytest.raises(StartError, match="no worker can be started: No such file or directory"):
        await FreshLauncher(str(directory / "gone")).launch(order(settings(directory)))


@on_loop
async def test_settings_that_cannot_leave_the_process_start_nothing(directory):
    with pytest.raises(ConfigError, match="cannot go there"):
        await FreshLauncher(str(directory)).launch(order(Settings(app=lambda scope: None)))


def test_a_spawned_interpreter_is_not_led_astray_by_files_in_its_directory(tmp_path):
    (tmp_path / "gateway.py").write_text("raise SystemExit('not this one')")
    (tmp_path / "socket.py").write_text("raise SystemExit('not this one')")
    code = "import socket, gateway.process.channel; raise SystemExit(7)"
    pid = spawn(code, (), str(tmp_path))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_spawned_interpreter_has_only_the_descriptors_it_is_given(tmp_path):
    read, write = os.pipe()
    os.set_inheritable(read, True)
    code = (
        "import os\n"
        f"os.fstat({write})\n"
        "try:\n"
        f"    os.fstat({read})\n"
        "except OSError:\n"
        "    raise SystemExit(7)"
    )
    pid = spawn(f"exec({code!r})", (write,), str(tmp_path))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    os.close(read)
    os.close(write)


def test_a_spawned_interpreter_has_the_options_of_this_one(tmp_path):
    code = "import sys; raise SystemExit(sys.flags.optimize + sys.flags.dev_mode)"
    pid = spawn(code, (), str(tmp_path))
    expected = sys.flags.optimize + sys.flags.dev_mode
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == expected
