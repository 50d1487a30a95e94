"""Giving way to a new binary: what each side tells the other, with real processes and pipes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import suppress

import pytest

from gateway.errors import StartError
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
    await until(lambda: has_ended(upgrade.pid), "what is left is a zombie")


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
    upgrade.cancel()
    _, status = await asyncio.to_thread(os.waitpid, upgrade.pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM
    upgrade.cancel()  # gone already: nothing happens


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
