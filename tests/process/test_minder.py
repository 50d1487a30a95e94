"""What a minder notices, with a clock the test moves."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from gateway.process import minder as minder_module
from gateway.process.minder import Minder
from gateway.settings import Settings

from .fakes import on_loop, until

MIB = 2**20


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeWorker:
    """What a minder sees of a worker. patience: seconds that reading its stacks takes."""

    def __init__(self, clock: FakeClock, index: int = 0) -> None:
        self.index = index
        self.pid = 70 + index
        self.beat = self.born = clock.now
        self.size: int | None = None
        self.stack = 'File "app.py", line 3 in handler'
        self.patience = 0.0
        self.recycle = False
        self.measured = 0
        self._clock = clock

    async def stacks(self) -> str:
        self._clock.now += self.patience
        return self.stack

    def memory(self) -> int | None:
        self.measured += 1
        return self.size


class FakeFleet:
    """Its workers stay; replaced: (index, why, urgent), once each, as a fleet does it."""

    def __init__(self, workers: list[FakeWorker], settings: Settings) -> None:
        self.workers = workers
        self.plan = SimpleNamespace(settings=settings)
        self.replaced: list[tuple[int, str, bool]] = []
        self._asked: set[tuple[int, bool]] = set()

    def replace(self, worker: FakeWorker, why: str, *, urgent: bool = False) -> None:
        if (worker.index, urgent) not in self._asked:
            self._asked.add((worker.index, urgent))
            self.replaced.append((worker.index, why, urgent))


class Watch:
    """A minder of `count` workers."""

    def __init__(self, count: int = 1, **settings) -> None:
        self.clock = FakeClock()
        self.workers = [FakeWorker(self.clock, index) for index in range(count)]
        self.fleet = FakeFleet(self.workers, Settings(**settings))
        self.minder = Minder(self.fleet, clock=self.clock)
        self.rounds = 0

    def look(self, after: float = 0.0) -> None:
        self.clock.now += after

        async def look() -> None:
            for worker in self.workers:
                await self.minder.look(worker)

        asyncio.run(look())

    async def round(self, after: float = 0.0) -> None:
        """Wait for one more of the rounds of a minder that runs, `after` so many seconds."""
        self.clock.now += after
        before = self.rounds
        await until(lambda: self.rounds > before)

    @property
    def worker(self) -> FakeWorker:
        return self.workers[0]

    @property
    def replaced(self) -> list[tuple[int, str, bool]]:
        return self.fleet.replaced


# --- silence -------------------------------------------------------------------------------------


def test_a_worker_that_beats_is_left_alone(caplog):
    watch = Watch(timeout_worker=10)
    for _ in range(100):
        watch.worker.beat = watch.clock.now
        watch.look(after=4.9)
    assert (watch.replaced, caplog.messages) == ([], [])


def test_half_of_the_limit_is_a_warning_with_the_stacks(caplog):
    watch = Watch(timeout_worker=10)
    watch.look(after=5)
    assert watch.replaced == []
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "worker 0 (pid 70): its event loop has been blocked for 5.0 s\n"
        'File "app.py", line 3 in handler'
    )


def test_the_warning_is_given_once(caplog):
    watch = Watch(timeout_worker=10)
    for _ in range(8):
        watch.look(after=1.2)
    assert len(caplog.records) == 1


def test_stacks_that_cannot_be_read_are_told(caplog):
    watch = Watch(timeout_worker=10)
    watch.worker.stack = ""
    watch.look(after=6)
    assert caplog.messages[0].endswith("\n  (its stacks could not be read)")


def test_at_the_limit_a_worker_is_replaced_urgently():
    watch = Watch(timeout_worker=10)
    watch.look(after=6)
    watch.look(after=4)
    assert watch.replaced[0] == (0, "has been blocked for 10.0 s", True)


def test_a_worker_that_comes_back_is_told_and_may_be_warned_of_again(caplog):
    watch = Watch(timeout_worker=10)
    watch.look(after=6)
    watch.worker.beat = watch.clock.now
    watch.look()
    watch.look(after=6)
    first, second, third = caplog.messages
    assert "blocked for 6.0 s" in first
    assert second == "worker 0 (pid 70) is back"
    assert "blocked for 6.0 s" in third
    assert watch.replaced == []


def test_without_a_limit_silence_is_no_matter(caplog):
    watch = Watch(timeout_worker=None)
    watch.look(after=100_000)
    assert (watch.replaced, caplog.messages) == ([], [])


def test_each_worker_is_judged_by_itself():
    watch = Watch(2, timeout_worker=10)
    watch.clock.now += 10
    watch.workers[1].beat = watch.clock.now
    watch.look()
    assert [index for index, _, _ in watch.replaced] == [0]


# --- age and memory ------------------------------------------------------------------------------


@pytest.fixture
def _no_luck(monkeypatch):
    """Every jitter is half of what it may be."""
    monkeypatch.setattr("random.uniform", lambda low, high: (low + high) / 2)


@pytest.mark.usefixtures("_no_luck")
def test_an_old_worker_is_replaced_once():
    watch = Watch(timeout_worker=None, limit_worker_age=100.0)
    watch.look(after=104)
    assert watch.replaced == []
    watch.look(after=1)
    watch.look(after=1)
    assert watch.replaced == [(0, "is 105 s old", False)]


@pytest.mark.usefixtures("_no_luck")
def test_the_jitter_of_age_is_the_operators():
    watch = Watch(timeout_worker=None, limit_worker_age=100.0, limit_worker_age_jitter=60.0)
    watch.look(after=129)
    assert watch.replaced == []
    watch.look(after=1)
    assert watch.replaced == [(0, "is 130 s old", False)]


def test_workers_of_one_age_are_not_replaced_together():
    watch = Watch(20, timeout_worker=None, limit_worker_age=100.0)
    watch.look(after=100)
    counts = []
    for _ in range(12):
        counts.append(len(watch.replaced))
        watch.look(after=1)
    assert len(watch.replaced) == 20
    assert len(set(counts)) > 3


@pytest.mark.usefixtures("_no_luck")
def test_a_large_worker_is_replaced_when_it_stays_large():
    watch = Watch(timeout_worker=None, limit_worker_memory=100 * MIB)
    watch.worker.size = 106 * MIB
    watch.look()
    watch.look()
    assert watch.replaced == []
    watch.look()
    watch.look()
    assert watch.replaced == [(0, "takes 106 MiB", False)]


@pytest.mark.usefixtures("_no_luck")
def test_a_peak_of_memory_is_let_pass():
    watch = Watch(timeout_worker=None, limit_worker_memory=100 * MIB)
    for size in (106, 106, 104, 106, 106, None, 106, 106, 90):
        watch.worker.size = size and size * MIB
        watch.look()
    assert watch.replaced == []


@pytest.mark.usefixtures("_no_luck")
def test_the_jitter_of_memory_is_the_operators():
    watch = Watch(
        timeout_worker=None, limit_worker_memory=100 * MIB, limit_worker_memory_jitter=MIB
    )
    watch.worker.size = 101 * MIB
    for _ in range(3):
        watch.look()
    assert watch.replaced == [(0, "takes 101 MiB", False)]


def test_without_limits_nothing_is_measured():
    watch = Watch(timeout_worker=None)
    watch.look(after=100_000)
    assert watch.worker.measured == 0


def test_a_silent_worker_is_not_judged_by_its_age():
    watch = Watch(timeout_worker=10, limit_worker_age=1.0)
    watch.look(after=6)
    assert watch.replaced == []


def test_a_worker_that_is_to_be_recycled_and_hangs_is_replaced_urgently():
    watch = Watch(timeout_worker=10, limit_worker_age=100.0)
    for _ in range(120):
        watch.worker.beat = watch.clock.now = watch.clock.now + 1
        watch.look()
    assert [urgent for _, _, urgent in watch.replaced] == [False]
    watch.look(after=10)
    assert watch.replaced[1:] == [(0, "has been blocked for 10.0 s", True)]


def test_a_worker_that_still_wants_to_be_recycled_is_replaced():
    # Its replacement was given up for a roll, which has failed.
    watch = Watch(timeout_worker=10)
    watch.worker.recycle = True
    watch.look()
    assert watch.replaced == [(0, "has served its number of requests", False)]


# --- its own lateness ----------------------------------------------------------------------------


@asynccontextmanager
async def running(watch: Watch, monkeypatch):
    """The minder at work, a round a millisecond."""

    def interval(limit: float | None) -> float:
        watch.rounds += 1
        return 0.001

    monkeypatch.setattr(minder_module, "beat_interval", interval)
    run = asyncio.ensure_future(watch.minder.run())
    try:
        yield
        assert not run.done()
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


@on_loop
async def test_it_looks_again_and_again(monkeypatch):
    watch = Watch(timeout_worker=10)
    async with running(watch, monkeypatch):
        for _ in range(21):
            await watch.round(after=0.5)
    assert watch.replaced[0][2]


@on_loop
async def test_after_its_own_lateness_silence_counts_anew(monkeypatch, caplog):
    watch = Watch(timeout_worker=10)
    async with running(watch, monkeypatch):
        await watch.round()
        await watch.round(after=3600)  # the machine slept
        assert watch.worker.beat == watch.clock.now
        await watch.round()
    assert (watch.replaced, caplog.messages) == ([], [])


@on_loop
async def test_reading_many_stacks_is_no_lateness(monkeypatch):
    watch = Watch(4, timeout_worker=10)
    for worker in watch.workers:
        worker.patience = 1.0  # stopped: each is waited for
    async with running(watch, monkeypatch):
        for _ in range(60):
            await watch.round(after=0.5)
    assert {index for index, _, urgent in watch.replaced if urgent} == {0, 1, 2, 3}


@on_loop
async def test_a_new_plan_has_new_limits(monkeypatch):
    watch = Watch(timeout_worker=None)
    async with running(watch, monkeypatch):
        watch.fleet.plan = SimpleNamespace(settings=Settings(timeout_worker=1))
        watch.clock.now += 1
        await until(lambda: watch.replaced)
    assert watch.replaced[0] == (0, "has been blocked for 1.0 s", True)


class BrokenWorker(FakeWorker):
    """One whose state cannot be read: a pid that is somebody else's, a file that is closed."""

    async def stacks(self) -> str:
        raise OSError("pread")


@on_loop
async def test_a_worker_that_cannot_be_looked_at_ends_nothing(monkeypatch, caplog):
    watch = Watch(2, timeout_worker=10)
    watch.workers[0] = watch.fleet.workers[0] = BrokenWorker(watch.clock)
    async with running(watch, monkeypatch):
        for _ in range(21):
            await watch.round(after=0.5)
    assert {index for index, _, _ in watch.replaced} == {0, 1}
    assert str(caplog.records[0].exc_info[1]) == "pread"
    assert "cannot be told" in caplog.messages[0]
