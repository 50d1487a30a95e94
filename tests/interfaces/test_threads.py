"""The pool alone: no WSGI, no exchange."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from contextlib import asynccontextmanager

import pytest

from gateway.interfaces import threads
from gateway.interfaces.threads import ThreadPool

from .wsgi_fakes import until


class Job:
    def __init__(self, work):
        self.queued_at = self.queue_seconds = 0.0
        self.work = work
        self.thread = None
        self.done = threading.Event()

    def run(self):
        self.thread = threading.current_thread().name
        try:
            self.work()
        finally:
            self.done.set()


def nothing():
    pass


class StillLoop:
    """A loop that comes round, and whose timers fire, when the test says so."""

    def __init__(self):
        self.timers = []
        self.soon = []

    def call_soon(self, callback):
        self.soon.append(callback)

    def call_later(self, delay, callback):
        self.timers.append(callback)

    def turn(self):
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()

    def fire(self):
        timers, self.timers = self.timers, []
        for callback in timers:
            callback()


class Clock:
    """An idle processor, and time that passes when the test says so."""

    def __init__(self):
        self.now = 100.0

    def pass_time(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(threads, "monotonic", lambda: clock.now)
    monkeypatch.setattr(threads, "process_time", lambda: 1.0)
    return clock


@asynccontextmanager
async def pooling(limit=8, queue=1000, idle_timeout=30.0):
    loop = asyncio.get_running_loop()
    pool = ThreadPool(loop=loop, limit=limit, queue=queue, name="pool", idle_timeout=idle_timeout)
    try:
        yield pool
    finally:
        ended = asyncio.Event()
        pool.close(lambda: loop.call_soon_threadsafe(ended.set))
        await ended.wait()
        assert (pool.size, pool.busy, pool.waiting) == (0, 0, 0)


async def finished(jobs):
    await until(lambda: all(job.done.is_set() for job in jobs))


def test_no_thread_before_the_first_job():
    async def main():
        async with pooling() as pool:
            assert pool.size == 0

    asyncio.run(main())


def test_awake_thread_takes_the_next_job():
    loop, go_on = StillLoop(), threading.Event()
    pool = ThreadPool(loop=loop, limit=8, queue=100, name="pool")
    jobs = [Job(go_on.wait), *(Job(nothing) for _ in range(50))]
    for job in jobs:
        pool.submit(job)
    loop.turn()
    go_on.set()
    for job in jobs:
        job.done.wait()
    pool.close()
    assert {job.thread for job in jobs} == {"pool-1"}
    assert len(loop.timers) == 1


def test_sleeping_thread_is_woken_once_for_all_jobs_of_a_turn():
    loop = StillLoop()
    pool = ThreadPool(loop=loop, limit=8, queue=100, name="pool")
    pool.submit(Job(nothing))
    loop.turn()
    while pool._awake:
        time.sleep(0.0001)
    jobs = [Job(nothing) for _ in range(10)]
    for job in jobs:
        pool.submit(job)
    assert (pool.taken, len(loop.soon)) == (1, 1)
    loop.turn()
    for job in jobs:
        job.done.wait()
    pool.close()
    assert pool.taken == 11


def test_blocked_threads_are_joined_by_others_up_to_the_limit():
    async def main():
        go_on = threading.Event()
        async with pooling(limit=5) as pool:
            jobs = [Job(go_on.wait) for _ in range(8)]
            for job in jobs:
                assert pool.submit(job)
            await until(lambda: pool.busy == 5)
            assert (pool.size, pool.waiting) == (5, 3)
            go_on.set()
            await finished(jobs)
            assert pool.size == 5

    asyncio.run(main())


def test_number_of_blocked_threads_doubles_with_each_sample(clock):
    loop, go_on = StillLoop(), threading.Event()
    pool = ThreadPool(loop=loop, limit=20, queue=100, name="pool")
    jobs = [Job(go_on.wait) for _ in range(30)]
    for job in jobs:
        pool.submit(job)
    loop.turn()
    sizes = []
    while loop.timers:
        clock.pass_time(0.001)
        loop.fire()
        sizes.append(pool.size)
    go_on.set()
    for job in jobs:
        job.done.wait()
    pool.close()
    assert sizes == [2, 4, 8, 16, 20]


def test_eager_pool_gives_each_job_a_thread(clock):
    loop, go_on = StillLoop(), threading.Event()
    pool = ThreadPool(loop=loop, limit=8, queue=100, name="pool")
    sizes = []
    for _ in range(2):
        pool.submit(Job(go_on.wait))
        loop.turn()
        sizes.append(pool.size)
    clock.pass_time(0.002)
    loop.fire()
    for _ in range(2):
        sizes.append(pool.size)
        pool.submit(Job(go_on.wait))
        loop.turn()
    go_on.set()
    pool.close()
    assert sizes == [1, 1, 2, 3]


def test_sixty_four_blocking_jobs_run_at_once():
    async def main():
        go_on = threading.Event()
        async with pooling(limit=64) as pool:
            jobs = [Job(go_on.wait) for _ in range(64)]
            for job in jobs:
                pool.submit(job)
            await until(lambda: pool.busy == 64)
            go_on.set()
            await finished(jobs)

    asyncio.run(main())


def test_one_long_calculation_does_not_hold_up_the_rest():
    async def main():
        stop = threading.Event()

        def calculate():
            while not stop.is_set():
                sum(range(1000))

        async with pooling(limit=2) as pool:
            pool.submit(Job(calculate))
            await until(lambda: pool.busy)
            job = Job(nothing)
            pool.submit(job)
            await until(job.done.is_set)
            stop.set()
            return job.thread

    assert asyncio.run(main()) == "pool-2"


def test_full_queue_refuses():
    async def main():
        go_on = threading.Event()
        async with pooling(limit=1, queue=2) as pool:
            accepted = [pool.submit(Job(go_on.wait)) for _ in range(4)]
            go_on.set()
            await until(lambda: not pool.busy)
            again = pool.submit(Job(nothing))
            await until(lambda: not pool.busy)
            return accepted, again

    assert asyncio.run(main()) == ([True, True, True, False], True)


def test_discarded_job_is_not_run_and_frees_its_place():
    async def main():
        go_on = threading.Event()
        async with pooling(limit=1, queue=1) as pool:
            first, second, third = Job(go_on.wait), Job(nothing), Job(nothing)
            pool.submit(first)
            await until(lambda: pool.busy)
            pool.submit(second)
            assert not pool.submit(third)
            assert pool.discard(second)
            assert not pool.discard(second)
            assert not pool.discard(first)
            assert pool.submit(third)
            go_on.set()
            await finished([first, third])
            return second.done.is_set(), pool.taken

    assert asyncio.run(main()) == (False, 2)


def test_idle_threads_end_but_for_the_last():
    async def main():
        async with pooling(limit=4, idle_timeout=0.01) as pool:
            go_on = threading.Event()
            jobs = [Job(go_on.wait) for _ in range(4)]
            for job in jobs:
                pool.submit(job)
            await until(lambda: pool.busy == 4)
            go_on.set()
            await until(lambda: pool.size == 1)
            job = Job(nothing)
            pool.submit(job)
            await until(job.done.is_set)
            assert pool.size == 1

    asyncio.run(main())


def test_job_that_raises_does_not_end_its_thread(caplog):
    def fail():
        raise SystemExit(3)

    async def main():
        async with pooling(limit=1) as pool:
            jobs = [Job(fail), Job(nothing)]
            for job in jobs:
                pool.submit(job)
            await finished(jobs)
            return {job.thread for job in jobs}

    assert asyncio.run(main()) == {"pool-1"}
    assert "SystemExit" in caplog.text


def test_close_runs_what_was_accepted_and_refuses_the_rest():
    async def main():
        async with pooling(limit=1) as pool:
            go_on = threading.Event()
            jobs = [Job(go_on.wait) for _ in range(5)]
            for job in jobs:
                pool.submit(job)
            pool.close()
            late = pool.submit(Job(nothing))
            go_on.set()
            await finished(jobs)
            return late

    assert asyncio.run(main()) is False


def test_close_of_an_unused_pool_ends_at_once():
    ended = []

    async def main():
        loop = asyncio.get_running_loop()
        ThreadPool(loop=loop, limit=1, queue=0, name="pool").close(lambda: ended.append(1))

    asyncio.run(main())
    assert ended == [1]


def test_system_that_has_no_thread_to_give(monkeypatch, caplog):
    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    async def main():
        async with pooling() as pool:
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", refuse)
                assert not pool.submit(Job(nothing))
            assert (pool.size, pool.busy, pool.waiting) == (0, 0, 0)
            job = Job(nothing)
            assert pool.submit(job)
            await until(job.done.is_set)

    asyncio.run(main())
    assert "can't start new thread" in caplog.text


def test_system_that_has_no_more_threads_to_give_is_asked_once(monkeypatch, caplog):
    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    async def main():
        async with pooling() as pool:
            go_on = threading.Event()
            jobs = [Job(go_on.wait) for _ in range(5)]
            pool.submit(jobs[0])
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", refuse)
                for job in jobs[1:]:
                    assert pool.submit(job)
                await until(lambda: caplog.records)
                await asyncio.sleep(0.01)
            go_on.set()
            await finished(jobs)
            return {job.thread for job in jobs}

    assert asyncio.run(main()) == {"pool-1"}
    assert len(caplog.records) == 1


def test_times_in_the_queue_add_up():
    async def main():
        async with pooling(limit=1) as pool:
            go_on = threading.Event()
            jobs = [Job(go_on.wait), Job(nothing)]
            for job in jobs:
                pool.submit(job)
            await asyncio.sleep(0.005)
            go_on.set()
            await finished(jobs)
            assert jobs[1].queue_seconds >= 0.005
            assert pool.queue_max == pool.queue_last == jobs[1].queue_seconds
            assert pool.queue_total == pytest.approx(sum(job.queue_seconds for job in jobs))
            assert pool.taken == 2

    asyncio.run(main())


@pytest.mark.parametrize(("limit", "queue"), [(0, 1), (1, -1)])
def test_sizes_that_cannot_be(limit, queue):
    async def main():
        with pytest.raises(ValueError, match="at least 1 thread"):
            ThreadPool(loop=asyncio.get_running_loop(), limit=limit, queue=queue, name="pool")

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(4))
def test_no_job_is_lost_or_run_twice(seed):
    """Bursts of short, calculating and blocking jobs, and threads that end between them."""
    chance = random.Random(seed)
    ran = []

    def work(number):
        kind = number % 10
        if kind == 0:
            time.sleep(chance.random() / 500)
        elif kind == 1:
            sum(range(5000))
        ran.append(number)

    async def main():
        async with pooling(limit=4, queue=10_000, idle_timeout=0.001) as pool:
            number = 0
            discarded = set()
            while number < 1500:
                for _ in range(chance.choice((1, 1, 2, 30))):
                    job = Job(lambda number=number: work(number))
                    assert pool.submit(job)
                    if chance.random() < 0.05 and pool.discard(job):
                        discarded.add(number)
                    number += 1
                await asyncio.sleep(chance.choice((0, 0, 0, 0.001, 0.002)))
            await until(lambda: len(ran) + len(discarded) >= number)
            assert sorted(ran) == sorted(set(range(number)) - discarded)
            assert pool.taken == len(ran)

    asyncio.run(main())
