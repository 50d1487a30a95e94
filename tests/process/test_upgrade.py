"""Giving way to a new binary: what each side tells the other, with real processes and pipes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.errors import StartError
from gateway.process import upgrade as upgrade_module
from gateway.process.inherit import InheritedSocket
from gateway.process.upgrade import Predecessor, Upgrade

from .fakes import LIMIT, on_loop, until

VARIABLE = "_GATEWAY_UPGRADE"

FIND = (
    "import os, sys\n"
    "from gateway.process.upgrade import Predecessor\n"
    "predecessor = Predecessor.find(os.environ)\n"
)


@pytest.fixture
def begin(monkeypatch, tmp_path):
    """Begin an upgrade to a process that runs `code`."""
    begun = []

    def begin(code: str, sockets=(), environ=None, directory=None) -> Upgrade:
        # What an operator has typed is what is run again.
        monkeypatch.setattr(sys, "orig_argv", ["python", "-c", code])
        upgrade = Upgrade.begin(
            sockets, os.environ if environ is None else environ, str(directory or tmp_path)
        )
        begun.append(upgrade)
        return upgrade

    yield begin
    for upgrade in begun:
        upgrade.close()
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(upgrade.pid, signal.SIGKILL)
            os.waitpid(upgrade.pid, 0)


def has_ended(pid: int) -> bool:
    """It is no process any more, not even one that waits to be reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def state_of(pid: int) -> str:
    """The letter of proc_pid_stat(5): R runs, S waits."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@on_loop
async def test_a_process_that_gives_the_word_serves(begin):
    upgrade = begin(f"{FIND}predecessor.give_way()\nsys.stdin.read()")
    assert await asyncio.wait_for(upgrade.is_ready(), LIMIT) is True
    assert not has_ended(upgrade.pid)


@on_loop
async def test_a_process_that_dies_does_not_serve(begin):
    upgrade = begin("raise SystemExit(3)")
    assert await asyncio.wait_for(upgrade.is_ready(), LIMIT) is False


@on_loop
async def test_a_process_that_dies_is_reaped(begin):
    upgrade = begin("raise SystemExit(3)")
    await upgrade.is_ready()
    await asyncio.wait_for(upgrade.gone(), LIMIT)
    assert has_ended(upgrade.pid)


@on_loop
async def test_a_process_is_waited_for_as_long_as_it_takes(begin, tmp_path):
    go = tmp_path / "go"
    os.mkfifo(go)
    upgrade = begin(f"{FIND}open({str(go)!r}).read()\npredecessor.give_way()")
    ready = asyncio.ensure_future(upgrade.is_ready())
    writer = await asyncio.to_thread(open, go, "w")  # returns when the process is there
    assert not ready.done()
    writer.close()
    assert await asyncio.wait_for(ready, LIMIT) is True


@on_loop
async def test_waiting_can_be_given_up_and_the_process_told(begin):
    upgrade = begin("import sys; sys.stdin.read(); import time; time.sleep(60)")
    ready = asyncio.ensure_future(upgrade.is_ready())
    await asyncio.sleep(0)
    ready.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ready
    assert upgrade.cancel()
    _, status = await asyncio.to_thread(os.waitpid, upgrade.pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM
    assert upgrade.cancel()  # gone already: nothing happens


@on_loop
async def test_one_that_is_canceled_leaves_no_zombie(begin):
    upgrade = begin("import sys; sys.stdin.read(); import time; time.sleep(60)")
    assert upgrade.cancel()
    await asyncio.wait_for(upgrade.gone(), LIMIT)
    assert has_ended(upgrade.pid)


@on_loop
async def test_one_that_does_not_listen_to_its_cancellation_is_killed(begin, monkeypatch, tmp_path):
    monkeypatch.setattr(upgrade_module, "_PATIENCE", 0.05)
    deaf = tmp_path / "deaf"
    upgrade = begin(
        "import pathlib, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"pathlib.Path({str(deaf)!r}).touch()\n"
        "time.sleep(60)"
    )
    await until(deaf.exists)
    assert upgrade.cancel()
    await asyncio.wait_for(upgrade.gone(), LIMIT)
    assert has_ended(upgrade.pid)


@on_loop
async def test_one_that_serves_cannot_be_canceled_any_more(begin, tmp_path):
    said = tmp_path / "said"
    upgrade = begin(
        f"{FIND}predecessor.give_way()\n"
        f"import pathlib; pathlib.Path({str(said)!r}).touch()\n"
        "import time; time.sleep(60)"
    )
    await until(said.exists)  # and nobody has read it yet
    assert not upgrade.cancel()
    assert upgrade.serves
    assert not upgrade.canceled
    assert not has_ended(upgrade.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="states are read from /proc")
@on_loop
async def test_a_new_process_waits_until_the_old_one_has_told_others(begin, tmp_path):
    went_on = tmp_path / "went on"
    upgrade = begin(
        f"{FIND}predecessor.give_way(patience=60)\n"
        f"import pathlib; pathlib.Path({str(went_on)!r}).touch()"
    )
    assert await asyncio.wait_for(upgrade.is_ready(), LIMIT) is True
    await until(lambda: state_of(upgrade.pid) == "S", "it waits")
    assert not went_on.exists()
    upgrade.close()
    await until(went_on.exists)


def test_a_new_process_does_not_wait_for_ever(pipe):
    _, writer = pipe
    found = Predecessor.find({VARIABLE: json.dumps({"pipe": writer, "sockets": []})})
    found.give_way(patience=0.01)
    with pytest.raises(OSError):
        os.fstat(writer)


@on_loop
async def test_the_sockets_are_the_same_in_the_new_process(begin):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        told = InheritedSocket(listener.fileno(), "127.0.0.1:0", owned=True)
        address = listener.getsockname()
        upgrade = begin(
            f"{FIND}"
            "import socket\n"
            "(told,) = predecessor.sockets\n"
            "assert (told.name, told.owned) == ('127.0.0.1:0', True)\n"
            "assert not os.get_inheritable(told.fd)\n"
            "assert '_GATEWAY_UPGRADE' not in os.environ\n"
            "listener = socket.socket(fileno=told.fd)\n"
            "predecessor.give_way()\n"
            "connection, _ = listener.accept()\n"
            "connection.sendall(b'new')",
            [told],
        )
        assert await asyncio.wait_for(upgrade.is_ready(), LIMIT) is True
    with socket.create_connection(address, timeout=LIMIT) as client:
        assert client.recv(10) == b"new"


@on_loop
async def test_the_new_process_has_the_environment_and_the_directory_it_is_given(begin, tmp_path):
    directory = tmp_path / "release"
    directory.mkdir()
    upgrade = begin(
        f"{FIND}"
        f"assert os.getcwd() == {str(directory)!r}\n"
        "assert os.environ['FLAVOR'] == 'new'\n"
        "predecessor.give_way()",
        environ={**os.environ, "FLAVOR": "new"},
        directory=directory,
    )
    assert await asyncio.wait_for(upgrade.is_ready(), LIMIT) is True


def test_a_process_that_cannot_be_started_is_a_start_error(begin, tmp_path):
    with pytest.raises(StartError, match="the new binary cannot be started: No such file"):
        begin("", directory=tmp_path / "gone")


def test_without_a_predecessor_there_is_none():
    assert Predecessor.find({"PATH": "/bin"}) is None


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        with suppress(OSError):
            os.close(fd)


def test_a_predecessor_is_taken_out_of_the_environment(pipe):
    reader, writer = pipe
    with socket.socket() as sock:
        os.set_inheritable(sock.fileno(), True)
        os.set_inheritable(writer, True)
        told = {"pipe": writer, "sockets": [(sock.fileno(), "127.0.0.1:8000", True)]}
        environ = {VARIABLE: json.dumps(told), "PATH": "/bin"}
        found = Predecessor.find(environ)
        assert environ == {"PATH": "/bin"}
        assert found is not None
        assert found.sockets == (InheritedSocket(sock.fileno(), "127.0.0.1:8000", owned=True),)
        assert not os.get_inheritable(sock.fileno())
        assert not os.get_inheritable(writer)
        found.give_way()
    assert os.read(reader, 100) == b"ready"
    assert os.read(reader, 100) == b""


def test_giving_way_to_a_predecessor_that_is_gone_does_nothing(pipe):
    reader, writer = pipe
    found = Predecessor.find({VARIABLE: json.dumps({"pipe": writer, "sockets": []})})
    os.close(reader)
    found.give_way()
    with pytest.raises(OSError):
        os.fstat(writer)
