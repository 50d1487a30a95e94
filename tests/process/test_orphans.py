"""What process 1 buries, and what it leaves to whoever has started it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.process import orphans as orphans_module
from gateway.process.orphans import Orphans

from .fakes import on_loop, turns, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="proc(5)")


@pytest.fixture
def patience(monkeypatch):
    """How long somebody may take to wait for his child."""
    monkeypatch.setattr(orphans_module, "_PATIENCE", 0.05)


@contextmanager
def process_1(*known: int):
    orphans = Orphans(known, is_init=lambda: True)
    try:
        yield orphans
    finally:
        orphans.close()


@contextmanager
def a_zombie(code: int = 7):
    """A child that has ended, and that nobody has waited for."""
    child = subprocess.Popen(["sh", "-c", f"exit {code}"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    try:
        yield child
    finally:
        if is_there(child):
            child.wait()
        child.returncode = 0  # so that Popen does not warn of it


def is_there(child) -> bool:
    return Path(f"/proc/{child.pid}").exists()


async def several(seconds: float) -> None:
    """Let time pass in which something might wrongly happen."""
    loop = asyncio.get_running_loop()
    passed = loop.create_future()
    loop.call_later(seconds, passed.set_result, None)
    await passed


@pytest.mark.usefixtures("patience")
@on_loop
async def test_what_nobody_waits_for_is_buried():
    with process_1() as orphans, a_zombie() as orphan:
        orphans.look()
        await until(lambda: not is_there(orphan))


@on_loop
async def test_whoever_waits_for_his_child_in_time_gets_its_exit_code():
    with process_1() as orphans, a_zombie(7) as child:
        orphans.look()
        orphans.look()
        await turns()
        assert child.wait() == 7


@pytest.mark.slow
@on_loop
async def test_commands_run_from_a_thread_keep_their_exit_codes():
    """`subprocess.run` in a hook; Python takes a child that it cannot find for a success."""
    loop = asyncio.get_running_loop()
    with process_1() as orphans:
        loop.add_signal_handler(signal.SIGCHLD, orphans.look)

        def commands() -> list[int]:
            command = ["sh", "-c", "exit 7"]
            return [subprocess.run(command, check=False).returncode for _ in range(30)]

        assert await asyncio.to_thread(commands) == [7] * 30
        loop.remove_signal_handler(signal.SIGCHLD)


@pytest.mark.usefixtures("patience")
@on_loop
async def test_a_child_that_ends_later_has_its_own_time(monkeypatch):
    with process_1() as orphans, a_zombie() as first:
        orphans.look()
        with a_zombie() as second:
            await until(lambda: not is_there(first))
            assert is_there(second)  # seen for the first time
            await until(lambda: not is_there(second))


@pytest.mark.usefixtures("patience")
@on_loop
async def test_workers_are_left_to_the_fleet():
    with a_zombie() as worker, process_1(worker.pid) as orphans, a_zombie() as orphan:
        orphans.look()
        await until(lambda: not is_there(orphan))
        assert is_there(worker)


@pytest.mark.usefixtures("patience")
@on_loop
async def test_news_without_end_do_not_put_a_burial_off():
    with process_1() as orphans, a_zombie() as orphan:

        def look() -> bool:
            orphans.look()
            return not is_there(orphan)

        await until(look)


@pytest.mark.usefixtures("patience")
@on_loop
async def test_a_process_that_is_not_the_first_buries_nobody():
    with a_zombie() as child:
        Orphans((), is_init=lambda: False).look()
        await several(0.1)
        assert is_there(child)


@pytest.mark.usefixtures("patience")
@on_loop
async def test_nobody_is_buried_after_the_close():
    with process_1() as orphans, a_zombie() as child:
        orphans.look()
        orphans.close()
        await several(0.1)
        assert is_there(child)
