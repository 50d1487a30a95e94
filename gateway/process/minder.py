"""Looks after the workers of a fleet: the silent, the old, and the large."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Final
from weakref import WeakKeyDictionary

from gateway.middleware.limits import spread
from gateway.process.fleet import Fleet
from gateway.process.worker_process import WorkerProcess, beat_interval
from gateway.settings import Settings

__all__ = ["Minder"]

logger = logging.getLogger("gateway.error")

# This process itself was stopped, or had no turn, when its own round comes so much later: what the
# workers have said meanwhile is still unread.
_LATE: Final = 2.0
# Memory peaks: a worker counts as large when it was so this often in a row.
_SAMPLES: Final = 3


class Minder:
    """Reads the workers' signs of life, twice a second at least, and what they take.

    A worker whose loop has said nothing for half of ``timeout_worker`` gets a warning with the
    stacks of all its threads; after the whole of it another one takes its place, and it has
    ``timeout_graceful_shutdown`` to come back, finish what it had begun, and leave. Only readiness
    starts the clock: an import may take as long as it likes. A worker that is merely busy says
    something in every turn of its loop.
    """

    def __init__(self, fleet: Fleet, *, clock: Callable[[], float] = monotonic) -> None:
        self._fleet = fleet
        self._clock = clock
        self._notes: WeakKeyDictionary[WorkerProcess, _Notes] = WeakKeyDictionary()

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            interval = beat_interval(self._fleet.plan.settings.timeout_worker)
            due = self._clock() + interval
            await asyncio.sleep(interval)
            if self._clock() - due > _LATE:
                self.forgive()
            for worker in self._fleet.workers:
                try:
                    await self.look(worker)
                except Exception:
                    logger.exception("the state of %r cannot be told", worker)

    def forgive(self) -> None:
        """Let the workers' silence count from now."""
        for worker in self._fleet.workers:
            worker.beat = self._clock()

    async def look(self, worker: WorkerProcess) -> None:
        """Judge one worker that serves."""
        settings = self._fleet.plan.settings
        notes = self._notes.get(worker)
        if notes is None:
            notes = self._notes[worker] = _Notes(settings)
        if not await self._is_silent(worker, notes, settings.timeout_worker):
            self._recycle(worker, notes)

    async def _is_silent(self, worker: WorkerProcess, notes: _Notes, limit: float | None) -> bool:
        silence = self._clock() - worker.beat
        if limit is None or silence < limit / 2:
            if notes.warned:
                notes.warned = False
                logger.warning("worker %d (pid %d) is back", worker.index, worker.pid)
            return False
        if not notes.warned:
            notes.warned = True
            logger.warning(
                "worker %d (pid %d): its event loop has been blocked for %.1f s\n%s",
                worker.index,
                worker.pid,
                silence,
                await worker.stacks() or "  (its stacks could not be read)",
            )
        if silence >= limit:
            self._fleet.replace(worker, f"has been blocked for {silence:.1f} s", urgent=True)
        return True

    def _recycle(self, worker: WorkerProcess, notes: _Notes) -> None:
        why = notes.verdict(self._clock() - worker.born, worker.memory)
        if why or worker.recycle:
            self._fleet.replace(worker, why or "has served its number of requests")


class _Notes:
    """What is remembered of one worker: its own limits, spread so that not all reach them at once.

    warned: its silence was told.
    """

    def __init__(self, settings: Settings) -> None:
        self.warned = False
        age, memory = settings.limit_worker_age, settings.limit_worker_memory
        self._age = age and spread(age, settings.limit_worker_age_jitter)
        self._memory = memory and spread(memory, settings.limit_worker_memory_jitter)
        self._large = 0

    def verdict(self, age: float, memory: Callable[[], int | None]) -> str:
        """Why it is to be replaced; "" if it is not."""
        if self._age and age >= self._age:
            return f"is {age:.0f} s old"
        if self._memory:
            size = memory() or 0
            self._large = self._large + 1 if size >= self._memory else 0
            if self._large >= _SAMPLES:
                return f"takes {size / 2**20:.0f} MiB"
        return ""
