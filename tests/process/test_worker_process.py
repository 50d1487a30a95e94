"""One worker as its parent sees it, played by the test; signals and stacks of real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.errors import ConfigError, StartError
from gateway.process import worker_process
from gateway.process.channel import Channel
from gateway.process.launcher import Order
from gateway.process.worker_process import (
    MountRow,
    WorkerProcess,
    beat_interval,
    dump_file,
    ended,
)
from gateway.settings import Settings

from .fakes import FakeLauncher, Played, on_loop, turns, until

ROW = {
    "key": "/",
    "app_name": "main:app",
    "framework": "FastAPI",
    "interface": "asgi3",
    "threads": 0,
    "notes": "",
}


@asynccontextmanager
async def a_worker() -> AsyncIterator[tuple[WorkerProcess, Played, list[str]]]:
    """A worker that starts, and a list of what it was when it had news."""
    launcher = FakeLauncher()
    news: list[str] = []

    def changed(worker: WorkerProcess) -> None:
        news.append(
            " ".join(each for each in ("ready", "leaving", "recycle") if getattr(worker, each))
        )

    launched = []
    order = Order(Settings(), 5, [], on_launch=launched.append, on_change=changed)
    launcher.on_exit = lambda pid, code: launcher.keep(launched[0].exited(code))
    worker = await launcher.launch(order)
    try:
        yield worker, launcher.played[0], news
    finally:
        await launcher.end_all()
        for each in launched:
            await each.gone()


def task(work) -> asyncio.Task:
    return asyncio.ensure_future(work)


# --- what it says --------------------------------------------------------------------------------


@on_loop
async def test_a_worker_that_starts_is_nothing_yet():
    async with a_worker() as (worker, _, news):
        assert (worker.ready, worker.leaving, worker.recycle) == (False, False, False)
        assert (worker.exit_code, worker.mounts, news) == (None, (), [])


@on_loop
async def test_a_ready_worker_tells_what_it_serves():
    async with a_worker() as (worker, played, news):
        before = worker.beat
        played.say("ready", mounts=[ROW])
        await worker.started()
        assert worker.mounts == (MountRow(**ROW),)
        assert worker.beat > before  # its silence counts from here
        assert news == ["ready"]


@on_loop
async def test_a_beat_is_a_sign_of_life_and_no_news():
    async with a_worker() as (worker, played, news):
        before = worker.beat
        played.say("beat")
        await until(lambda: worker.beat > before)
        assert news == []


@on_loop
async def test_recycle_and_leaving_are_news():
    async with a_worker() as (worker, played, news):
        played.ready()
        played.say("recycle")
        played.say("leaving")
        await until(lambda: worker.leaving)
        assert news == ["ready", "ready recycle", "ready leaving recycle"]


@on_loop
async def test_what_a_newer_worker_might_say_is_ignored():
    async with a_worker() as (worker, played, _):
        played.say("temperature", degrees=40)
        played.ready()
        await worker.started()
        assert worker.exit_code is None


@pytest.mark.parametrize(("code", "kind"), [(2, ConfigError), (3, StartError), (1, StartError)])
@on_loop
async def test_why_a_worker_failed_is_raised_when_it_has_ended(code, kind):
    async with a_worker() as (worker, played, _):
        started = task(worker.started())
        played.say("failed", text="main.py is not there\n  look", code=code)
        await turns()
        assert not started.done()
        played.end(code)
        with pytest.raises(kind) as caught:
            await started
        assert str(caught.value) == "main.py is not there\n  look"


@on_loop
async def test_a_worker_that_ends_without_a_word_did_not_start():
    async with a_worker() as (worker, played, _):
        played.end(7)
        with pytest.raises(StartError, match=r"^worker 5 exited with code 7 before it was ready$"):
            await worker.started()


@on_loop
async def test_what_a_worker_said_last_is_heard_before_its_end():
    async with a_worker() as (worker, played, _):
        played.say("failed", text="the last word", code=3)
        played.end(3)  # the signal of its end is often faster than its words
        with pytest.raises(StartError, match="the last word"):
            await worker.started()


@on_loop
async def test_a_worker_whose_channel_somebody_holds_open_has_ended_all_the_same():
    ours, theirs = socket.socketpair()
    with theirs:  # a process that it has forked
        worker = WorkerProcess(
            index=0,
            pid=2**22 + 1,
            channel=await Channel.open(ours),
            dump=dump_file(),
            on_change=lambda worker: None,
        )
        await worker.exited(-9)
        assert worker.exit_code == -9


@pytest.mark.parametrize(
    "nonsense",
    [
        b"{",
        b"\xff",
        b'{"kind": "ready", "mounts": [{"key": "/"}]}',
        b'{"kind": "ready", "mounts": [1]}',
        json.dumps({"kind": "ready", "mounts": [ROW | {"threads": "many"}]}).encode(),
        b"[" * 500_000,
        None,
    ],
    ids=["cut", "bytes", "row", "number", "threads", "deep", "size"],
)
@on_loop
async def test_a_worker_that_sends_nonsense_is_killed_and_its_end_is_noticed(nonsense):
    async with a_worker() as (worker, played, _):
        if nonsense is None:
            played._channel._writer.write(struct.pack("!I", 2**32 - 1))
        else:
            played._channel.send_frame(nonsense)
        await played.is_signaled(signal.SIGKILL)
        await asyncio.wait_for(worker.gone(), 5)
        assert worker.exit_code == -9


@on_loop
async def test_what_a_worker_serves_is_text_whatever_it_says():
    async with a_worker() as (worker, played, _):
        odd = {"key": 1, "app_name": None, "framework": ["a"], "threads": "4", "notes": 2.5}
        played.say("ready", mounts=[ROW | odd])
        await worker.started()
        (row,) = worker.mounts
        assert row == MountRow(
            key="1",
            app_name="None",
            framework="['a']",
            interface="asgi3",
            threads=4,
            notes="2.5",
        )


@on_loop
async def test_nothing_a_worker_says_of_itself_is_acted_on_by_a_terminal():
    async with a_worker() as (worker, played, _):
        played.say("ready", mounts=[ROW | {"notes": "\x1b]0;mine\x07 \x9b2J"}])
        await worker.started()
        assert worker.mounts[0].notes == "\\x1b]0;mine\\x07 \\x9b2J"


@on_loop
async def test_nothing_a_worker_says_of_its_failure_is_acted_on_by_a_terminal():
    async with a_worker() as (worker, played, _):
        played.say("failed", text="no\n  \x1b[2Jlook\r", code=3)
        played.end(3)
        with pytest.raises(StartError) as caught:
            await worker.started()
        assert str(caught.value) == "no\n  \\x1b[2Jlook\\x0d"


@pytest.mark.parametrize("odd", [b"[]", b"1", b'{"kind": ["ready"]}', b'{"kind": "ready"}'])
@on_loop
async def test_a_message_of_another_shape_says_nothing(odd):
    async with a_worker() as (worker, played, _):
        played._channel.send_frame(odd)
        played.say("beat")
        before = worker.beat
        await until(lambda: worker.beat > before)
        assert not worker.ready


# --- what it is told -----------------------------------------------------------------------------


@on_loop
async def test_a_ready_worker_is_told_to_stop_by_word():
    async with a_worker() as (worker, played, _):
        await played.serves()
        worker.stop(limit=4, alone=True)
        assert worker.leaving
        assert await played.hears("stop") == {"kind": "stop", "limit": 4, "alone": True}
        assert played.signals == []


@on_loop
async def test_a_worker_that_starts_is_told_to_stop_by_signal_too():
    async with a_worker() as (worker, played, _):
        worker.stop(limit=4, alone=False)
        worker.stop(limit=4, alone=False)
        assert played.signals == [signal.SIGTERM]
        await played.hears("stop")  # a signal may come before there is a handler for it


@on_loop
async def test_a_worker_that_does_not_end_within_its_limit_is_killed(monkeypatch, caplog):
    monkeypatch.setattr(worker_process, "_GRACE", 0.02)
    async with a_worker() as (worker, played, _):
        await played.serves()
        loop = asyncio.get_running_loop()
        before = loop.time()
        worker.stop(limit=0.05, alone=False)
        await played.is_signaled(signal.SIGKILL)
        assert loop.time() - before >= 0.07
        assert caplog.messages == [f"worker 5 (pid {worker.pid}) did not end within 0.07 s, killed"]


@on_loop
async def test_a_worker_that_has_ended_is_not_killed(monkeypatch, caplog):
    monkeypatch.setattr(worker_process, "_GRACE", 0.01)
    async with a_worker() as (worker, played, _), a_worker() as (other, stays, _):
        await played.serves()
        await stays.serves()
        worker.stop(limit=0, alone=False)
        other.stop(limit=0, alone=False)
        played.end()
        await worker.gone()
        await stays.is_signaled(signal.SIGKILL)  # which was due after this one's
        assert played.signals == []
        assert [str(other.pid) in each for each in caplog.messages] == [True]


@on_loop
async def test_force_is_said_at_once_and_does_not_wait_for_the_limit(monkeypatch):
    monkeypatch.setattr(worker_process, "_GRACE", 0.01)
    async with a_worker() as (worker, played, _):
        await played.serves()
        worker.stop(limit=60, alone=True)
        worker.force()
        await played.hears("force")
        await played.is_signaled(signal.SIGKILL)


@on_loop
async def test_force_interrupts_a_worker_that_starts(monkeypatch):
    async with a_worker() as (worker, played, _):
        worker.force()
        assert played.signals == [signal.SIGTERM]


@on_loop
async def test_a_worker_that_has_ended_is_told_nothing():
    async with a_worker() as (worker, played, _):
        await played.serves()
        played.end()
        await worker.gone()
        worker.stop(limit=0, alone=False)
        worker.signal(signal.SIGUSR1)
        assert (played.signals, worker.ready) == ([], False)


# --- how it is -----------------------------------------------------------------------------------


@on_loop
async def test_stacks_are_what_its_signal_handler_writes():
    async with a_worker() as (worker, played, _):
        played.stack = b'Thread 0x1 (most recent call first):\n  File "a.py", line 1 in f\n'
        assert await worker.stacks() == played.stack.decode().rstrip()


@on_loop
async def test_stacks_are_those_of_this_time():
    async with a_worker() as (worker, played, _):
        played.stack = b"first\n"
        await worker.stacks()
        played.stack = b"second\n"
        assert await worker.stacks() == "second"


@on_loop
async def test_a_worker_that_writes_no_stacks_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(worker_process, "_DUMP_PATIENCE", 0.03)
    async with a_worker() as (worker, _, _):
        assert await worker.stacks() == ""


@on_loop
async def test_a_worker_that_has_ended_has_no_stacks():
    async with a_worker() as (worker, played, _):
        played.end()
        await worker.gone()
        assert await worker.stacks() == ""


@on_loop
async def test_a_worker_that_ends_while_its_stacks_are_read_has_none():
    async with a_worker() as (worker, played, _):
        stacks = task(worker.stacks())
        await played.is_signaled(signal.SIGUSR2)
        played.end()
        assert await asyncio.wait_for(stacks, 5) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="proc(5)")
@on_loop
async def test_memory_is_that_of_the_process():
    async with a_worker() as (worker, _, _):
        assert worker.memory() is None  # no such process
        worker.pid = os.getpid()
        size = worker.memory()
        assert size is not None
        assert 2**23 < size < 2**33


def a_blocked_process(dump: int, fd: int) -> subprocess.Popen[bytes]:
    """It says so at `fd`, and writes its stacks to `dump`."""
    code = f"""
import faulthandler, os, signal, time

def blocked():
    os.write({fd}, b"x")
    time.sleep(60)

faulthandler.register(signal.SIGUSR2, file={dump}, all_threads=True)
blocked()
"""
    return subprocess.Popen([sys.executable, "-S", "-c", code], pass_fds=(dump, fd))


@on_loop
async def test_a_real_process_is_signaled_and_its_stacks_are_read():
    ours, theirs = socket.socketpair()
    dump = dump_file()
    child = a_blocked_process(dump.fileno(), theirs.fileno())
    theirs.close()
    ours.settimeout(5)
    assert ours.recv(1) == b"x"
    worker = WorkerProcess(
        index=0,
        pid=child.pid,
        channel=await Channel.open(ours),
        dump=dump,
        on_change=lambda worker: None,
    )
    assert "in blocked" in await worker.stacks()
    worker.kill()
    code = await asyncio.to_thread(child.wait)
    worker.kill()  # gone, and reaped: nothing happens
    await worker.exited(code)
    assert worker.exit_code == -signal.SIGKILL


def a_sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"])


@on_loop
async def test_a_process_that_got_the_number_of_a_worker_is_sent_nothing():
    ours, theirs = socket.socketpair()
    with theirs, a_sleeper() as other:
        worker = WorkerProcess(
            index=0,
            pid=other.pid,
            channel=await Channel.open(ours),
            dump=dump_file(),
            on_change=lambda worker: None,
            reaped=True,
        )
        worker.stop(limit=0, alone=False)
        worker.kill()
        other.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(other.wait) == -signal.SIGINT
        await worker.exited(0)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-9, "was killed by SIGKILL"),
        (-15, "was killed by SIGTERM"),
        (-99, "was killed by signal 99"),
    ],
)
def test_an_end_in_words(code, words):
    assert ended(code) == words


@pytest.mark.parametrize(("limit", "interval"), [(None, 0.5), (10, 0.5), (5, 0.5), (1, 0.1)])
def test_signs_of_life_come_often_enough_for_their_limit(limit, interval):
    assert beat_interval(limit) == interval


def test_a_dump_file_needs_no_directory(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent")
    if sys.platform == "linux":
        dump_file().close()
