"""A fleet: in which order workers come and go, and what happens to them in between."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.errors import ConfigError, StartError
from gateway.process import fleet as fleet_module
from gateway.process import worker_process

from .fakes import a_fleet, a_start, on_loop, turns, until


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """What is waited for "a moment" is not waited for here."""
    monkeypatch.setattr(fleet_module, "_HEARSAY", 0.0)
    monkeypatch.setattr("gateway.process.backoff._FIRST", 0.001)


def messages(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def task(work) -> asyncio.Task:
    return asyncio.ensure_future(work)


def is_free(played) -> bool:
    """Nobody has told it anything."""
    return not (played.process.leaving or played.told or played.signals)


# --- start ---------------------------------------------------------------------------------------


@on_loop
async def test_all_workers_of_a_start_are_started_at_once():
    async with a_start(3) as (fleet, start):
        starting = [await fleet.next() for _ in range(3)]
        assert sorted(each.index for each in starting) == [0, 1, 2]
        for each in starting:
            assert not start.done()
            each.ready()
        await start
        assert [each.index for each in fleet.workers] == [0, 1, 2]


@on_loop
async def test_a_start_raises_what_the_first_failing_worker_says():
    async with a_start(2) as (fleet, start):
        first, second = await fleet.next(), await fleet.next()
        second.say("failed", text="main.py is not there", code=2)
        second.end(2)
        with pytest.raises(ConfigError, match=r"main\.py is not there"):
            await start
        await first.is_signaled(signal.SIGTERM)


@on_loop
async def test_a_start_raises_how_a_silent_worker_ended():
    async with a_start(1) as (fleet, start):
        (await fleet.next()).end(-signal.SIGKILL)
        with pytest.raises(StartError, match="worker 0 was killed by SIGKILL before it was ready"):
            await start


@on_loop
async def test_a_start_that_is_given_up_tells_those_that_are_starting():
    async with a_start(2) as (fleet, start):
        starting = [await fleet.next(), await fleet.next()]
        start.cancel()
        for each in starting:
            await each.is_signaled(signal.SIGTERM)
            each.end(-signal.SIGTERM)
        await fleet.stop(limit=0)
        assert sorted(fleet.exits) == [(0, -15), (1, -15)]


# --- roll ----------------------------------------------------------------------------------------


@on_loop
async def test_a_roll_has_the_new_worker_ready_before_the_old_one_is_told():
    async with a_fleet(1, timeout_graceful_shutdown=7) as fleet:
        (old,) = fleet.played
        launcher, plan = fleet.another_plan(timeout_graceful_shutdown=7)
        roll = task(fleet.roll(plan))
        new = await launcher.next()
        await turns()
        assert is_free(old)
        assert fleet.played == [old]
        new.ready()
        await roll
        assert await old.hears("stop") == {"kind": "stop", "limit": 7, "alone": False}
        assert fleet.played == [new]
        assert fleet.plan is plan


@on_loop
async def test_a_roll_takes_one_slot_after_another():
    async with a_fleet(2) as fleet:
        first, second = fleet.played
        launcher, plan = fleet.another_plan()
        roll = task(fleet.roll(plan))
        new = await launcher.next()
        assert new.index == 0
        await turns()
        assert launcher.starts == 1
        new.ready()
        other = await launcher.next()
        assert other.index == 1
        assert first.process.leaving
        assert is_free(second)
        other.ready()
        await roll
        assert fleet.played == [new, other]


@on_loop
async def test_a_roll_whose_first_worker_fails_changes_nothing():
    async with a_fleet(2) as fleet:
        before, old_plan = fleet.played, fleet.plan
        launcher, plan = fleet.another_plan()
        roll = task(fleet.roll(plan))
        new = await launcher.next()
        new.say("failed", text="no", code=3)
        new.end(3)
        with pytest.raises(StartError, match=r"^no$"):
            await roll
        assert fleet.plan is old_plan
        assert fleet.played == before
        assert all(is_free(each) for each in before)
        assert launcher.starts == 1


@on_loop
async def test_a_roll_that_fails_later_has_taken_the_plan_and_keeps_the_rest():
    async with a_fleet(3) as fleet:
        _, second, third = fleet.played
        launcher, plan = fleet.another_plan()
        roll = task(fleet.roll(plan))
        new = await launcher.next()
        new.ready()
        (await launcher.next()).end(1)
        with pytest.raises(StartError):
            await roll
        assert fleet.plan is plan
        assert fleet.played == [new, second, third]
        assert is_free(second)
        assert is_free(third)


@on_loop
async def test_a_roll_given_up_ends_the_worker_it_was_starting(monkeypatch):
    monkeypatch.setattr(worker_process, "_GRACE", 0.0)
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        launcher, plan = fleet.another_plan()
        roll = task(fleet.roll(plan))
        new = await launcher.next()
        roll.cancel()
        await new.is_signaled(signal.SIGTERM)
        await new.is_signaled(signal.SIGKILL)
        assert fleet.played == [old]
        assert is_free(old)


@on_loop
async def test_a_worker_given_up_that_is_ready_after_all_does_not_serve():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        launcher, plan = fleet.another_plan()
        roll = task(fleet.roll(plan))
        new = await launcher.next()
        roll.cancel()
        await new.is_signaled(signal.SIGTERM)
        await new.serves()
        assert fleet.played == [old]
        assert fleet.leaving == 1


@on_loop
async def test_a_second_roll_after_one_that_was_given_up_starts_from_the_first_slot():
    async with a_fleet(2) as fleet:
        launcher, plan = fleet.another_plan()
        roll = task(fleet.roll(plan))
        (await launcher.next()).ready()
        await launcher.next()
        roll.cancel()
        again = task(fleet.roll(plan))
        third = await launcher.next()
        assert third.index == 0
        third.ready()
        fourth = await launcher.next()
        fourth.ready()
        await again
        assert fleet.played == [third, fourth]


@on_loop
async def test_an_old_worker_that_dies_during_the_roll_of_its_slot_is_replaced_once():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        launcher, plan = fleet.another_plan()
        roll = task(fleet.roll(plan))
        new = await launcher.next()
        old.end(-9)
        await until(lambda: fleet.exits)
        assert fleet.workers == []
        new.ready()
        await roll
        await turns()
        assert fleet.played == [new]
        assert fleet.launcher.starts + launcher.starts == 2


@on_loop
async def test_an_old_worker_that_leaves_during_the_roll_of_its_slot_is_replaced_once():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        launcher, plan = fleet.another_plan()
        roll = task(fleet.roll(plan))
        new = await launcher.next()
        old.say("leaving")
        await until(lambda: fleet.workers == [])
        new.ready()
        await roll
        await until(lambda: not len(fleet._replacements))
        assert fleet.played == [new]
        assert fleet.launcher.starts + launcher.starts == 2


@on_loop
async def test_an_old_worker_that_hangs_during_the_roll_of_its_slot_is_replaced_once():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        launcher, plan = fleet.another_plan()
        roll = task(fleet.roll(plan))
        new = await launcher.next()
        fleet.replace(old.process, "hangs", urgent=True)
        assert old.process.leaving
        new.ready()
        await roll
        await until(lambda: not len(fleet._replacements))
        assert fleet.played == [new]
        assert fleet.launcher.starts + launcher.starts == 2


@on_loop
async def test_an_old_worker_that_dies_in_the_roll_of_its_slot_that_fails_is_revived():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        launcher, plan = fleet.another_plan()
        roll = task(fleet.roll(plan))
        broken = await launcher.next()
        old.end(-9)
        await until(lambda: fleet.exits)
        broken.end(1)
        with pytest.raises(StartError):
            await roll
        revived = await fleet.next()  # of the old plan
        await revived.serves()
        assert fleet.played == [revived]


@on_loop
async def test_a_roll_waits_for_the_one_before():
    async with a_fleet(1) as fleet:
        launchers = [fleet.another_plan() for _ in range(2)]
        rolls = [task(fleet.roll(plan)) for _, plan in launchers]
        first = await launchers[0][0].next()
        await turns()
        assert launchers[1][0].starts == 0
        first.ready()
        second = await launchers[1][0].next()
        second.ready()
        await asyncio.gather(*rolls)
        assert fleet.played == [second]
        assert fleet.plan is launchers[1][1]


@on_loop
async def test_a_roll_given_up_before_its_turn_changes_nothing():
    async with a_fleet(1) as fleet:
        first_launcher, first_plan = fleet.another_plan()
        second_launcher, second_plan = fleet.another_plan()
        first = task(fleet.roll(first_plan))
        second = task(fleet.roll(second_plan))
        new = await first_launcher.next()
        second.cancel()
        new.ready()
        await first
        assert fleet.played == [new]
        assert second_launcher.starts == 0


@on_loop
async def test_a_resize_during_a_roll_comes_after_it():
    async with a_fleet(2) as fleet:
        launcher, plan = fleet.another_plan()
        roll = task(fleet.roll(plan))
        first = await launcher.next()
        resize = task(fleet.resize(1))
        await turns()
        assert len(fleet.slots) == 2
        first.ready()
        second = await launcher.next()
        second.ready()
        await roll
        await resize
        assert fleet.played == [first]
        assert second.process.leaving


@on_loop
async def test_a_worker_that_dies_behind_the_roll_is_revived_beside_it():
    async with a_fleet(2) as fleet:
        launcher, plan = fleet.another_plan()
        roll = task(fleet.roll(plan))
        new = await launcher.next()
        fleet.played[1].end(-9)
        revived = await fleet.next()  # of the old plan: the new one has not proven itself
        assert revived.index == 1
        await revived.serves()
        assert fleet.played[1] is revived
        new.ready()
        other = await launcher.next()
        other.ready()
        await roll
        assert fleet.played == [new, other]
        assert revived.process.leaving


@on_loop
async def test_a_roll_goes_past_a_start_that_hangs():
    async with a_fleet(1) as fleet:
        fleet.played[0].end(-9)
        hanging = await fleet.next()
        launcher, plan = fleet.another_plan()
        roll = task(fleet.roll(plan))
        new = await launcher.next()
        new.ready()
        await roll
        assert fleet.played == [new]
        assert hanging.signals


@on_loop
async def test_a_roll_is_taken_when_the_first_is_ready_and_before_a_worker_leaves():
    async with a_fleet(2) as fleet:
        old = fleet.played
        launcher, plan = fleet.another_plan()
        seen = []
        roll = task(
            fleet.roll(
                plan,
                on_taken=lambda: seen.append((fleet.plan is plan, fleet.played == old)),
                alone=True,
            )
        )
        for each in old:
            (await launcher.next()).ready()
            assert (await each.hears("stop"))["alone"] is True
        await roll
        assert seen == [(True, True)]


@on_loop
async def test_a_roll_whose_first_does_not_start_is_not_taken():
    async with a_fleet(1) as fleet:
        launcher, plan = fleet.another_plan()
        seen = []
        roll = task(fleet.roll(plan, on_taken=lambda: seen.append(plan)))
        (await launcher.next()).end(1)
        with pytest.raises(StartError):
            await roll
        assert seen == []


# --- resize --------------------------------------------------------------------------------------


@on_loop
async def test_a_fleet_grows_by_new_indices():
    async with a_fleet(1) as fleet:
        resize = task(fleet.resize(3))
        for index in (1, 2):
            new = await fleet.next()
            assert new.index == index
            new.ready()
        await resize
        assert [each.index for each in fleet.workers] == [0, 1, 2]


@on_loop
async def test_a_fleet_shrinks_from_its_end():
    async with a_fleet(3) as fleet:
        first, second, third = fleet.played
        await fleet.resize(1)
        assert fleet.played == [first]
        await second.hears("stop")
        await third.hears("stop")
        assert fleet.leaving == 2
        second.end()
        third.end()
        await until(lambda: len(fleet.exits) == 2)
        assert fleet.leaving == 0
        assert is_free(first)
        assert fleet.launcher.starts == 3


@on_loop
async def test_a_worker_that_cannot_be_added_is_told_and_the_others_stay():
    async with a_fleet(1) as fleet:
        before = fleet.played
        resize = task(fleet.resize(2))
        (await fleet.next()).end(1)
        with pytest.raises(StartError):
            await resize
        assert len(fleet.slots) == 1
        assert fleet.played == before


@on_loop
async def test_a_worker_that_could_not_be_added_is_not_counted():
    async with a_fleet(2) as fleet:
        first, second = fleet.played
        grow = task(fleet.grow(1))
        (await fleet.next()).end(1)
        with pytest.raises(StartError):
            await grow
        await fleet.grow(-1)
        assert fleet.played == [first]
        assert second.process.leaving


@on_loop
async def test_the_last_worker_is_not_taken_away():
    async with a_fleet(2) as fleet:
        first, _ = fleet.played
        await asyncio.gather(*(fleet.grow(-1) for _ in range(5)))
        assert fleet.played == [first]
        assert is_free(first)


@on_loop
async def test_wishes_for_more_and_fewer_add_up():
    async with a_fleet(1) as fleet:
        wishes = asyncio.gather(*(task(fleet.grow(change)) for change in (1, 1, -1, 1)))
        for index in (1, 2, 2):
            new = await fleet.next()
            assert new.index == index
            new.ready()
        await wishes
        assert [each.index for each in fleet.workers] == [0, 1, 2]


@on_loop
async def test_nothing_is_added_to_a_fleet_that_stops():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        stop = task(fleet.stop(limit=1))
        await old.hears("stop")
        await fleet.grow(2)
        assert fleet.launcher.starts == 1
        old.end()
        await stop


@on_loop
async def test_a_slot_taken_away_while_it_is_filled_keeps_no_worker():
    async with a_fleet(2) as fleet:
        first, second = fleet.played
        second.end(-9)
        new = await fleet.next()
        await fleet.resize(1)
        new.ready()
        await until(lambda: new.process.leaving, "the new worker serves in a slot that is gone")
        new.end()
        await until(lambda: fleet.leaving == 0)
        assert fleet.played == [first]


@on_loop
async def test_a_slot_taken_away_in_its_pause_is_not_filled(monkeypatch):
    monkeypatch.setattr(fleet_module, "_HEARSAY", 0.01)
    async with a_fleet(2) as fleet:
        fleet.played[1].say("leaving")
        await until(lambda: fleet.leaving)
        await fleet.resize(1)
        await until(lambda: not len(fleet._replacements))
        assert fleet.launcher.starts == 2


# --- a worker that is dead -----------------------------------------------------------------------


@on_loop
async def test_a_dead_worker_is_replaced_at_once_at_its_index(caplog):
    async with a_fleet(2) as fleet:
        first, second = fleet.played
        second.end(-9)
        new = await fleet.next()
        assert new.index == 1
        await new.serves()
        assert fleet.played == [first, new]
        assert f"worker 1 (pid {second.pid}) was killed by SIGKILL" in messages(caplog)
        assert fleet.exits == [(1, -9)]


@on_loop
async def test_workers_that_die_young_are_replaced_with_growing_pauses(caplog, monkeypatch):
    monkeypatch.setattr("gateway.process.backoff._FIRST", 0.001)
    async with a_fleet(1) as fleet:
        fleet.played[0].end(1)
        for _ in range(3):
            new = await fleet.next()
            await new.serves()
            new.end(1)
        await fleet.next()
        assert [each for each in messages(caplog) if "again" in each] == [
            "worker 0 is started again in 0.001 s",
            "worker 0 is started again in 0.002 s",
            "worker 0 is started again in 0.004 s",
        ]


@on_loop
async def test_a_replacement_that_fails_is_tried_again_and_told(caplog):
    async with a_fleet(1) as fleet:
        fleet.played[0].end(-9)
        broken = await fleet.next()
        broken.say("failed", text="no such table", code=3)
        broken.end(3)
        new = await fleet.next()
        await new.serves()
        assert fleet.played == [new]
        assert "worker 0 does not start: no such table" in messages(caplog)


@on_loop
async def test_a_launcher_that_fails_is_asked_again():
    async with a_fleet(1) as fleet:
        fleet.launcher.failures += [StartError("no more processes")] * 3
        fleet.played[0].end(-9)
        new = await fleet.next()
        await new.serves()
        assert fleet.played == [new]
        assert not fleet.launcher.failures


@on_loop
async def test_the_last_change_tells_of_the_worker_that_was_revived():
    async with a_fleet(2) as fleet:
        fleet.played[1].end(-9)
        await (await fleet.next()).serves()
        assert len(fleet.workers) == 2
        assert fleet.changes[-1] == 2


@on_loop
async def test_a_worker_that_dies_as_soon_as_it_is_ready_is_replaced():
    async with a_fleet(1) as fleet:
        fleet.played[0].end(-9)
        brief = await fleet.next()
        brief.ready()
        brief.end(-9)
        new = await fleet.next()
        await new.serves()
        assert fleet.played == [new]


@on_loop
async def test_a_worker_that_was_ready_and_died_while_its_stacks_were_read_is_replaced(monkeypatch):
    monkeypatch.setattr("gateway.process.slot._LONG_START", 0.01)
    async with a_fleet(1) as fleet:
        fleet.played[0].end(-9)
        slow = await fleet.next()
        await slow.is_signaled(signal.SIGUSR2)
        slow.ready()
        await until(lambda: slow.process.ready)
        slow.end(-9)
        new = await fleet.next()
        await new.serves()
        assert fleet.played == [new]


# --- a worker that leaves by itself --------------------------------------------------------------


@on_loop
async def test_a_worker_that_leaves_by_itself_is_replaced_while_it_finishes(caplog):
    caplog.set_level("INFO", "gateway.error")
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        old.say("leaving")
        new = await fleet.next()
        assert old.exit_code is None
        assert fleet.leaving == 1
        await new.serves()
        old.end()
        await until(lambda: fleet.leaving == 0)
        assert fleet.played == [new]
        assert fleet.launcher.starts == 2
        assert f"worker 0 (pid {old.pid}) leaves" in messages(caplog)


@on_loop
async def test_a_worker_that_leaves_by_itself_is_waited_for_at_the_stop():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        old.say("leaving")
        new = await fleet.next()
        await new.serves()
        stop = task(fleet.stop(limit=1))
        await new.hears("stop")
        new.end()
        await turns()
        assert not stop.done()
        old.end()
        await stop


@on_loop
async def test_a_worker_that_leaves_by_itself_and_hangs_is_killed(monkeypatch):
    monkeypatch.setattr(worker_process, "_GRACE", 0.0)
    async with a_fleet(1, timeout_graceful_shutdown=0) as fleet:
        (old,) = fleet.played
        old.say("leaving")
        await fleet.next()
        await old.is_signaled(signal.SIGKILL)


@on_loop
async def test_a_worker_that_leaves_as_soon_as_it_is_ready_is_replaced():
    async with a_fleet(1) as fleet:
        fleet.played[0].end(-9)
        brief = await fleet.next()
        brief.ready()
        brief.say("leaving")
        new = await fleet.next()
        await new.serves()
        assert fleet.played == [new]
        assert brief.exit_code is None


# --- recycling -----------------------------------------------------------------------------------


@on_loop
async def test_a_worker_that_asks_for_it_is_recycled_new_before_old():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        old.say("recycle")
        new = await fleet.next()
        await turns()
        assert is_free(old)
        await new.serves()
        await old.hears("stop")
        assert fleet.played == [new]


@on_loop
async def test_recycling_asked_for_twice_is_done_once():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        old.say("recycle")
        new = await fleet.next()
        old.say("recycle")
        await turns()
        await new.serves()
        await until(lambda: not len(fleet._replacements))
        assert fleet.played == [new]
        assert fleet.launcher.starts == 2


@on_loop
async def test_recycling_takes_one_worker_at_a_time():
    async with a_fleet(2) as fleet:
        first, second = fleet.played
        first.say("recycle")
        new = await fleet.next()
        second.say("recycle")
        await turns()
        assert fleet.launcher.starts == 3
        new.ready()
        assert (await fleet.next()).index == 1


@on_loop
async def test_recycling_asked_for_during_a_roll_is_done_by_the_roll():
    async with a_fleet(2) as fleet:
        launcher, plan = fleet.another_plan()
        roll = task(fleet.roll(plan))
        new = await launcher.next()
        fleet.played[1].say("recycle")
        await until(lambda: len(fleet._replacements))
        new.ready()
        other = await launcher.next()
        other.ready()
        await roll
        await until(lambda: not len(fleet._replacements))
        assert fleet.played == [new, other]
        assert fleet.launcher.starts + launcher.starts == 4


@on_loop
async def test_recycling_asked_for_as_soon_as_it_is_ready_is_not_forgotten():
    async with a_fleet(1) as fleet:
        fleet.played[0].end(-9)
        brief = await fleet.next()
        brief.ready()
        brief.say("recycle")
        new = await fleet.next()
        await new.serves()
        assert fleet.played == [new]
        assert brief.process.leaving


@on_loop
async def test_recycling_asked_for_by_a_worker_just_added_is_not_forgotten():
    async with a_fleet(1) as fleet:
        resize = task(fleet.resize(2))
        brief = await fleet.next()
        brief.ready()
        brief.say("recycle")
        await resize
        new = await fleet.next()
        assert new.index == 1
        await new.serves()
        assert fleet.played[1] is new


@on_loop
async def test_recycling_that_does_not_get_a_new_worker_lets_a_roll_pass(monkeypatch):
    monkeypatch.setattr("gateway.process.backoff._FIRST", 0.01)
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        fleet.launcher.failures += [StartError("no")] * 1_000_000
        old.say("recycle")
        await until(lambda: len(fleet.launcher.failures) < 1_000_000)
        launcher, plan = fleet.another_plan()
        roll = task(fleet.roll(plan))
        new = await launcher.next()
        new.ready()
        await roll
        await until(lambda: not len(fleet._replacements))
        assert fleet.played == [new]


@on_loop
async def test_a_roll_goes_past_recycling_that_hangs():
    async with a_fleet(2) as fleet:
        first, second = fleet.played
        first.say("recycle")
        hanging = await fleet.next()
        launcher, plan = fleet.another_plan()
        roll = task(fleet.roll(plan))
        await hanging.is_signaled(signal.SIGTERM)
        new = await launcher.next()
        assert new.index == 0
        assert is_free(first)
        new.ready()
        other = await launcher.next()
        other.ready()
        await roll
        assert fleet.played == [new, other]
        assert second.process.leaving


@on_loop
async def test_one_more_worker_does_not_wait_for_recycling_that_hangs():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        old.say("recycle")
        await fleet.next()
        grow = task(fleet.grow(1))
        new = await fleet.next()
        assert new.index == 1
        new.ready()
        await grow
        assert fleet.played == [old, new]


@on_loop
async def test_recycling_given_up_for_a_roll_that_fails_may_be_asked_for_again():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        old.say("recycle")
        await fleet.next()
        launcher, plan = fleet.another_plan()
        roll = task(fleet.roll(plan))
        (await launcher.next()).end(1)
        with pytest.raises(StartError):
            await roll
        assert fleet.played == [old]
        fleet.replace(old.process, "has served its number of requests")
        new = await fleet.next()
        await new.serves()
        assert fleet.played == [new]


@on_loop
async def test_a_worker_that_asks_for_it_without_end_is_one_task_and_one_line(caplog):
    caplog.set_level(logging.INFO, "gateway.error")
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        for _ in range(200):
            old.say("recycle")
        await fleet.next()
        old.say("beat")
        before = old.process.beat
        await until(lambda: old.process.beat > before)  # all of it was heard
        assert len(fleet._replacements) == 1
        assert messages(caplog) == [
            f"worker 0 (pid {old.pid}) has served its number of requests; replacing it"
        ]


@on_loop
async def test_a_worker_whose_replacement_is_on_its_way_is_revived_when_it_dies():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        old.say("recycle")
        new = await fleet.next()
        old.end(-9)
        await until(lambda: fleet.exits)
        await new.serves()
        await until(lambda: not len(fleet._replacements))
        assert fleet.played == [new]
        assert fleet.launcher.starts == 2


# --- urgent --------------------------------------------------------------------------------------


@on_loop
async def test_a_hung_worker_is_told_to_stop_before_another_is_there():
    async with a_fleet(1, timeout_graceful_shutdown=4) as fleet:
        (old,) = fleet.played
        fleet.replace(old.process, "hangs", urgent=True)
        assert await old.hears("stop") == {"kind": "stop", "limit": 4, "alone": False}
        new = await fleet.next()
        assert fleet.workers == []
        await new.serves()
        assert fleet.played == [new]


@on_loop
async def test_a_hung_worker_that_does_not_come_back_is_killed(caplog, monkeypatch):
    monkeypatch.setattr(worker_process, "_GRACE", 0.01)
    async with a_fleet(1, timeout_graceful_shutdown=0.01) as fleet:
        (old,) = fleet.played
        fleet.replace(old.process, "hangs", urgent=True)
        await old.is_signaled(signal.SIGKILL)
        await until(lambda: fleet.exits)
        assert f"worker 0 (pid {old.pid}) did not end within 0.02 s, killed" in messages(caplog)
        await (await fleet.next()).serves()


@on_loop
async def test_a_hung_worker_does_not_wait_for_a_roll():
    async with a_fleet(2) as fleet:
        second = fleet.played[1]
        launcher, plan = fleet.another_plan()
        roll = task(fleet.roll(plan))
        await launcher.next()
        fleet.replace(second.process, "hangs", urgent=True)
        assert (await fleet.next()).index == 1
        assert not roll.done()


@on_loop
async def test_a_worker_that_leaves_already_is_not_replaced_again():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        fleet.replace(old.process, "hangs", urgent=True)
        fleet.replace(old.process, "hangs", urgent=True)
        fleet.replace(old.process, "is old")
        new = await fleet.next()
        await new.serves()
        await until(lambda: not len(fleet._replacements))
        assert fleet.launcher.starts == 2


# --- restart, explain ----------------------------------------------------------------------------


@on_loop
async def test_a_restart_ends_the_old_workers_before_it_starts_the_new():
    async with a_fleet(2) as fleet:
        old = fleet.played
        launcher, plan = fleet.another_plan()
        restart = task(fleet.restart(plan, limit=1))
        for each in old:
            assert (await each.hears("stop"))["limit"] == 1
        old[0].end()
        await turns()
        assert launcher.starts == 0
        old[1].end()
        for index in (0, 1):
            new = await launcher.next()
            assert new.index == index
            new.ready()
        await restart
        assert fleet.plan is plan
        assert len(fleet.workers) == 2


@on_loop
async def test_after_a_restart_that_fails_workers_can_explain():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        launcher, plan = fleet.another_plan()
        restart = task(fleet.restart(plan, limit=1))
        await old.hears("stop")
        old.end()
        (await launcher.next()).end(3)
        with pytest.raises(StartError):
            await restart
        explain = task(fleet.explain("line 3: invalid syntax"))
        new = await launcher.next()
        assert new.order.failure == "line 3: invalid syntax"
        new.ready()
        await explain
        assert fleet.played == [new]


@on_loop
async def test_a_restart_goes_past_a_start_that_hangs(monkeypatch):
    monkeypatch.setattr(worker_process, "_GRACE", 0.01)
    async with a_fleet(1) as fleet:
        fleet.played[0].end(-9)
        await fleet.next()
        launcher, plan = fleet.another_plan()
        restart = task(fleet.restart(plan, limit=0))
        new = await launcher.next()
        new.ready()
        await restart
        assert fleet.played == [new]


@on_loop
async def test_a_restart_goes_past_a_recycling_that_hangs():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        old.say("recycle")
        hanging = await fleet.next()
        launcher, plan = fleet.another_plan()
        restart = task(fleet.restart(plan, limit=0))
        for each in (old, hanging):
            await each.hears("stop")
            each.end()
        new = await launcher.next()
        new.ready()
        await restart
        assert fleet.played == [new]


# --- stop ----------------------------------------------------------------------------------------


@on_loop
async def test_a_stop_tells_every_worker_and_returns_with_the_last():
    async with a_fleet(2) as fleet:
        workers = fleet.played
        stop = task(fleet.stop(limit=9))
        for each in workers:
            assert await each.hears("stop") == {"kind": "stop", "limit": 9, "alone": True}
        workers[0].end()
        await until(lambda: fleet.exits)
        await turns()
        assert not stop.done()
        workers[1].end()
        await stop
        assert sorted(fleet.exits) == [(0, 0), (1, 0)]
        assert fleet.launcher.starts == 2


@on_loop
async def test_a_stop_for_a_successor_says_that_others_accept():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        stop = task(fleet.stop(limit=9, alone=False))
        assert (await old.hears("stop"))["alone"] is False
        old.end()
        await stop


@on_loop
async def test_a_stop_in_the_pause_before_a_revival_starts_nothing(monkeypatch):
    monkeypatch.setattr("gateway.process.backoff._FIRST", 30.0)
    async with a_fleet(2) as fleet:
        first, second = fleet.played
        second.end(1)
        second = await fleet.next()
        await second.serves()
        second.end(1)
        await until(lambda: len(fleet.exits) == 2)
        stop = task(fleet.stop(limit=1))
        await first.hears("stop")
        first.end()
        await stop
        assert fleet.launcher.starts == 3


@on_loop
async def test_a_worker_that_dies_during_the_stop_is_not_replaced():
    async with a_fleet(2) as fleet:
        workers = fleet.played
        stop = task(fleet.stop(limit=1))
        for each in workers:
            await each.hears("stop")
            each.end(-9)
        await stop
        assert fleet.launcher.starts == 2


@on_loop
async def test_a_stop_ends_a_worker_that_is_being_revived():
    async with a_fleet(1) as fleet:
        fleet.played[0].end(-9)
        new = await fleet.next()
        stop = task(fleet.stop(limit=1))
        await new.is_signaled(signal.SIGTERM)
        new.end(-signal.SIGTERM)
        await stop


@on_loop
async def test_a_stop_ends_a_worker_that_is_being_added():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        resize = task(fleet.resize(2))
        new = await fleet.next()
        stop = task(fleet.stop(limit=1))
        await old.hears("stop")
        old.end()
        new.ready()
        await until(lambda: new.process.leaving, "a worker that was being added was not stopped")
        new.end()
        await stop
        await asyncio.gather(resize, return_exceptions=True)


@on_loop
async def test_a_stop_during_a_roll_starts_nothing_more():
    async with a_fleet(2) as fleet:
        workers = fleet.played
        launcher, plan = fleet.another_plan()
        roll = task(fleet.roll(plan))
        new = await launcher.next()
        stop = task(fleet.stop(limit=1))
        for each in workers:
            await each.hears("stop")
            each.end()
        new.ready()
        await until(
            lambda: new.process.leaving, "a worker that was being rolled in was not stopped"
        )
        new.end()
        await stop
        await asyncio.gather(roll, return_exceptions=True)
        assert launcher.starts == 1


@on_loop
async def test_a_stop_waits_for_workers_that_are_leaving():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        fleet.launcher.willing = True
        await fleet.roll(fleet.plan)
        new = await fleet.next()
        stop = task(fleet.stop(limit=1))
        await new.hears("stop")
        new.end()
        await until(lambda: fleet.exits)
        await turns()
        assert not stop.done()
        old.end()
        await stop


@on_loop
async def test_a_worker_that_ignores_the_stop_is_killed(monkeypatch):
    monkeypatch.setattr(worker_process, "_GRACE", 0.01)
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        await fleet.stop(limit=0.01)
        assert old.signals == [signal.SIGKILL]
        assert fleet.exits == [(0, -9)]


@on_loop
async def test_a_stop_asked_for_twice_waits_for_the_same_workers():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        stops = [task(fleet.stop(limit=1)), task(fleet.stop(limit=1))]
        await old.hears("stop")
        old.end()
        await asyncio.gather(*stops)
        assert fleet.exits == [(0, 0)]


@on_loop
async def test_force_tells_every_worker_also_those_that_leave(monkeypatch):
    async with a_fleet(2) as fleet:
        workers = fleet.played
        stop = task(fleet.stop(limit=60))
        for each in workers:
            await each.hears("stop")
        fleet.force()
        for each in workers:
            await each.hears("force")
            each.end()
        await stop


@on_loop
async def test_force_before_the_stop_is_remembered(monkeypatch):
    monkeypatch.setattr(worker_process, "_GRACE", 0.01)
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        fleet.force()
        await fleet.stop(limit=60)
        assert {"kind": "force"} in old.told
        assert old.signals == [signal.SIGKILL]


def a_child(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-S", "-c", code])


def a_zombie() -> subprocess.Popen[bytes]:
    """A child that has ended, and that nobody has waited for."""
    child = a_child("")
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    return child


def was_reaped(child: subprocess.Popen[bytes]) -> bool:
    """Somebody has waited for this child that has ended; it is done here otherwise."""
    try:
        os.waitpid(child.pid, 0)
    except ChildProcessError:
        return True
    finally:
        child.returncode = 0  # so that Popen does not warn of it
    return False


# --- signals and ends ----------------------------------------------------------------------------


@on_loop
async def test_logs_are_reopened_by_those_that_serve_and_those_that_leave():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        fleet.launcher.willing = True
        await fleet.roll(fleet.plan)
        new = await fleet.next()
        fleet.reopen_logs()
        assert old.signals == [signal.SIGUSR1]
        assert new.signals == [signal.SIGUSR1]


@on_loop
async def test_the_end_of_a_process_nobody_knows_is_no_news():
    async with a_fleet(1) as fleet:
        before = fleet.played
        fleet.ended(1, 0)
        fleet.reap()
        await turns()
        assert fleet.played == before
        assert fleet.exits == []


@on_loop
async def test_a_process_whose_end_is_known_is_sent_no_signal_from_that_moment():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        old.end(-9)
        assert old.process.exit_code is None  # what it said last is still to be heard
        assert old.process.reaped
        await until(lambda: fleet.exits)


@on_loop
async def test_reap_takes_note_of_how_a_process_ended():
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        old.exit_code = 7
        await old.hang_up()
        child = a_child("raise SystemExit(7)")
        fleet._living[child.pid] = fleet._living.pop(old.pid)
        async with asyncio.timeout(5):
            while not fleet.exits:
                fleet.reap()
                await asyncio.sleep(0.005)
        assert fleet.exits == [(0, 7)]
        assert was_reaped(child)


@on_loop
async def test_reap_leaves_the_children_of_others_alone():
    async with a_fleet(1) as fleet:
        child = a_zombie()
        fleet.reap()
        assert not was_reaped(child)


@on_loop
async def test_as_process_1_orphans_are_reaped(monkeypatch):
    monkeypatch.setattr("gateway.process.orphans._PATIENCE", 0.01)
    async with a_fleet(1) as fleet:
        child = a_zombie()
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: 1)
            fleet.reap()
        await until(lambda: not Path(f"/proc/{child.pid}").exists())
        child.returncode = 0  # so that Popen does not warn of it


@on_loop
async def test_a_child_that_somebody_waits_for_keeps_its_exit_code(monkeypatch):
    async with a_fleet(1) as fleet:
        child = a_zombie()
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: 1)
            fleet.reap()
        assert child.wait() == 0


@on_loop
async def test_an_unclean_end_of_a_worker_that_was_told_to_stop_is_warned_of(caplog):
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        stop = task(fleet.stop(limit=1))
        await old.hears("stop")
        old.end(1)
        await stop
        assert messages(caplog) == [f"worker 0 (pid {old.pid}) exited with code 1"]


@on_loop
async def test_a_clean_end_of_a_worker_that_was_told_to_stop_is_no_news(caplog):
    async with a_fleet(1) as fleet:
        (old,) = fleet.played
        stop = task(fleet.stop(limit=1))
        await old.hears("stop")
        old.end()
        await stop
        assert messages(caplog) == []
