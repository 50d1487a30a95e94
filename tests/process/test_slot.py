"""One slot: who serves there, who is on its way, and who is leaving."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.errors import StartError
from gateway.process import slot as slot_module
from gateway.process.slot import Plan, Slot
from gateway.settings import Settings

from .fakes import FakeLauncher, a_plan, on_loop, turns, until


@asynccontextmanager
async def a_slot(index: int = 0) -> AsyncIterator[tuple[Slot, FakeLauncher]]:
    """An empty slot; who ends is buried."""
    launcher = FakeLauncher()
    processes = {}

    def launched(process) -> None:
        processes[process.pid] = process

    async def bury(pid: int, code: int) -> None:
        await processes[pid].exited(code)
        slot.bury(processes[pid])

    slot = Slot(index, on_launch=launched, on_change=lambda worker: None)
    launcher.on_exit = lambda pid, code: launcher.keep(bury(pid, code))
    try:
        yield slot, launcher
    finally:
        await launcher.end_all()


def task(work) -> asyncio.Task:
    return asyncio.ensure_future(work)


async def filled(slot, launcher, plan=None):
    """Who serves after a `fill`."""
    fill = task(slot.fill(plan or a_plan(launcher)))
    new = await launcher.next()
    new.ready()
    await fill
    return new


@on_loop
async def test_a_worker_is_asked_for_as_the_plan_says():
    asked = []

    def sockets(index: int) -> list:
        asked.append(index)
        return ["a socket"]

    async with a_slot(4) as (slot, launcher):
        settings = Settings(backlog=7)
        plan = Plan(settings=settings, launcher=launcher, sockets=sockets)
        new = await filled(slot, launcher, plan)
        assert new.order.settings is settings
        assert (new.order.index, new.order.sockets, new.order.failure) == (4, ["a socket"], "")
        assert asked == [4]


@on_loop
async def test_who_is_ready_serves_and_who_served_leaves():
    async with a_slot() as (slot, launcher):
        old = await filled(slot, launcher)
        assert slot.current is old.process
        plan = a_plan(launcher, timeout_graceful_shutdown=11)
        new = await filled(slot, launcher, plan)
        assert slot.current is new.process
        assert old.process.leaving
        assert await old.hears("stop") == {"kind": "stop", "limit": 11, "alone": False}
        old.end()


@on_loop
async def test_a_start_that_fails_leaves_who_serves_alone():
    async with a_slot() as (slot, launcher):
        old = await filled(slot, launcher)
        fill = task(slot.fill(a_plan(launcher)))
        new = await launcher.next()
        new.say("failed", text="no", code=3)
        await turns()
        assert not fill.done()  # its process has not ended: there may be more to say
        new.end(3)
        with pytest.raises(StartError, match=r"^no$"):
            await fill
        assert slot.current is old.process
        assert not old.process.leaving


@on_loop
async def test_a_start_that_is_given_up_is_ended():
    async with a_slot() as (slot, launcher):
        fill = task(slot.fill(a_plan(launcher)))
        new = await launcher.next()
        fill.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fill
        assert new.signals == [signal.SIGTERM]
        assert new.process.leaving
        assert slot.current is None


@on_loop
async def test_a_start_that_is_given_up_before_it_began_leaves_the_slot_as_it_was():
    async with a_slot() as (slot, launcher):
        fill = task(slot.fill(a_plan(launcher)))
        await asyncio.sleep(0)
        fill.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fill
        new = await filled(slot, launcher)
        assert slot.current is new.process


@on_loop
async def test_a_newer_plan_gives_up_a_replacement_under_way():
    async with a_slot() as (slot, launcher):
        refill = task(slot.refill(a_plan(launcher), None))
        hanging = await launcher.next()
        new = await filled(slot, launcher)
        assert hanging.signals == [signal.SIGTERM]
        assert slot.current is new.process
        await refill
        assert launcher.starts == 2


@on_loop
async def test_a_replacement_under_way_cannot_come_back_before_the_newer_plan():
    async with a_slot() as (slot, launcher):
        plan = a_plan(launcher)

        async def stubborn() -> None:
            while slot.current is None:
                try:
                    await slot.refill(plan, None)
                except StartError:
                    await asyncio.sleep(0)

        refill = task(stubborn())
        await launcher.next()
        new = await filled(slot, launcher)
        await refill
        assert slot.current is new.process
        assert launcher.starts == 2


@on_loop
async def test_a_replacement_waits_for_a_start_under_way_and_is_not_needed_then():
    async with a_slot() as (slot, launcher):
        fill = task(slot.fill(a_plan(launcher)))
        new = await launcher.next()
        refill = task(slot.refill(a_plan(launcher), None))
        await turns()
        new.ready()
        await fill
        await refill
        assert launcher.starts == 1


@on_loop
async def test_a_replacement_is_needed_where_the_start_under_way_failed():
    async with a_slot() as (slot, launcher):
        fill = task(slot.fill(a_plan(launcher)))
        broken = await launcher.next()
        refill = task(slot.refill(a_plan(launcher), None))
        await turns()
        broken.end(1)
        with pytest.raises(StartError):
            await fill
        new = await launcher.next()
        new.ready()
        await refill
        assert slot.current is new.process


@on_loop
async def test_who_serves_is_not_replaced_for_another_ones_sake():
    async with a_slot() as (slot, launcher):
        old = await filled(slot, launcher)
        new = await filled(slot, launcher)
        await slot.refill(a_plan(launcher), old.process)
        assert slot.current is new.process
        assert launcher.starts == 2


@on_loop
async def test_a_closed_slot_ends_who_serves_and_who_is_on_the_way():
    async with a_slot() as (slot, launcher):
        old = await filled(slot, launcher)
        refill = task(slot.refill(a_plan(launcher), old.process))
        new = await launcher.next()
        slot.close(limit=3)
        assert (await old.hears("stop"))["limit"] == 3
        await new.is_signaled(signal.SIGTERM)
        await asyncio.gather(refill, return_exceptions=True)
        assert slot.current is None
        await slot.refill(a_plan(launcher), None)
        assert launcher.starts == 2


@on_loop
async def test_dismissing_nobody_does_nothing():
    async with a_slot() as (slot, _):
        slot.dismiss(limit=1)


@on_loop
async def test_only_the_end_of_who_serves_empties_the_slot():
    async with a_slot() as (slot, launcher):
        old = await filled(slot, launcher)
        new = await filled(slot, launcher)
        assert slot.bury(old.process) is False
        assert slot.current is new.process
        assert slot.bury(new.process) is True
        assert slot.current is None


@on_loop
async def test_a_long_start_is_told_with_its_stacks_and_may_go_on(caplog, monkeypatch):
    monkeypatch.setattr(slot_module, "_LONG_START", 0.01)
    async with a_slot(2) as (slot, launcher):
        fill = task(slot.fill(a_plan(launcher)))
        slow = await launcher.next()
        slow.stack = b'File "models.py", line 7 in load\n'
        await until(lambda: caplog.records)
        slow.ready()
        await fill
        assert slot.current is slow.process
    text = caplog.records[0].getMessage()
    assert text.startswith(f"worker 2 (pid {slow.pid}) is still starting after 0 s\n")
    assert 'File "models.py", line 7 in load' in text
