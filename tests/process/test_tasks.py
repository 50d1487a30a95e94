"""Tasks beside what started them: kept alive, told when they fail, ended together."""

from __future__ import annotations

import asyncio
import gc

from gateway.process.tasks import Tasks

from .fakes import on_loop, turns


@on_loop
async def test_work_begins_and_is_waited_for():
    tasks, done = Tasks(), []

    async def work() -> None:
        await asyncio.sleep(0)
        done.append(1)

    tasks.add(work())
    tasks.add(work())
    assert len(tasks) == 2
    await tasks.wait()
    assert (done, len(tasks)) == ([1, 1], 0)


@on_loop
async def test_a_fault_is_told_and_ends_nothing_else(caplog):
    tasks, gate = Tasks(), asyncio.Event()

    async def broken() -> None:
        raise LookupError("of a task")

    other = tasks.add(gate.wait())
    await tasks.add(broken())
    (record,) = caplog.records
    assert record.getMessage() == "the gateway failed at something beside its work; it goes on"
    assert str(record.exc_info[1]) == "of a task"
    assert not other.done()
    gate.set()
    await tasks.wait()


@on_loop
async def test_tasks_that_nobody_else_refers_to_are_not_collected():
    tasks, alive = Tasks(), []

    class Reader:
        """Referred to by the task that waits for it, and by nothing else."""

        def __del__(self) -> None:
            alive.clear()

        async def listen(self) -> None:
            alive.append(1)
            await asyncio.get_running_loop().create_future()

    tasks.add(Reader().listen())
    await turns()
    gc.collect()
    assert alive == [1]
    await tasks.cancel()


@on_loop
async def test_cancel_returns_when_they_have_ended():
    tasks, notes = Tasks(), []

    async def slow_to_leave() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await turns(5)
            notes.append("left")

    tasks.add(slow_to_leave())
    tasks.add(slow_to_leave())
    await turns()
    await tasks.cancel()
    assert (notes, len(tasks)) == (["left", "left"], 0)


@on_loop
async def test_waiting_waits_for_what_was_begun_meanwhile_too():
    tasks, notes = Tasks(), []

    async def second() -> None:
        await turns(5)
        notes.append("second")

    async def first() -> None:
        await turns(5)
        tasks.add(second())

    tasks.add(first())
    await tasks.wait()
    assert notes == ["second"]
