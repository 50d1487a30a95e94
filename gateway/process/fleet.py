"""All workers of a server: started, replaced, rolled, counted, stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final

from gateway.errors import GatewayError
from gateway.process.orphans import Orphans
from gateway.process.slot import Plan, Slot
from gateway.process.tasks import Tasks
from gateway.process.worker_process import WorkerProcess, ended

__all__ = ["Fleet"]

logger = logging.getLogger("gateway.error")

# Who tells a worker to stop may have told its whole process group: time for our own signal to come.
_HEARSAY: Final = 0.1


class Fleet:
    """`count` slots, each with a worker of `plan`.

    Life: `start`; then `roll`, `resize`, `replace`, in any order; `stop`. Whoever receives SIGCHLD
    calls `reap`.

    on_change: called when a worker became ready or no longer is.
    on_exit: called with each worker that has ended, exit code and all.
    stopping: `stop` was called; nothing is started any more.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        on_change: Callable[[], None],
        on_exit: Callable[[WorkerProcess], None],
    ) -> None:
        self.plan = plan
        self.slots: list[Slot] = []
        self.stopping = False
        self._on_change = on_change
        self._on_exit = on_exit
        self._living: dict[int, WorkerProcess] = {}
        self._replacements = Tasks()
        self._burials = Tasks()
        self._sent_off: set[WorkerProcess] = set()  # a replacement is on its way
        # One recycling, roll, change of count or restart at a time.
        self._changing = asyncio.Lock()
        self._orphans = Orphans(self._living, is_init=lambda: os.getpid() == 1)
        self._forced = False

    # --- facts ----------------------------------------------------------------------------------

    @property
    def workers(self) -> list[WorkerProcess]:
        """Those that serve, in the order of their slots."""
        return [each.current for each in self.slots if each.current is not None]

    @property
    def leaving(self) -> int:
        """How many are still finishing what they had begun."""
        return sum(each.leaving for each in self._living.values())

    # --- what is done to it ---------------------------------------------------------------------

    async def start(self, count: int) -> None:
        """Start `count` workers at once. Raises the `GatewayError` of the first that does not."""
        self.slots = [self._new_slot(index) for index in range(count)]
        tasks = [asyncio.ensure_future(each.fill(self.plan)) for each in self.slots]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def roll(
        self, plan: Plan, *, on_taken: Callable[[], None] = lambda: None, alone: bool = False
    ) -> None:
        """Put a worker of `plan` in each slot, one after another, each ready before the old leaves.

        on_taken: called when the first of them is ready, and no worker has left yet.
        alone: nobody but the old ones accepts on one of their sockets.

        Raises the `GatewayError` of the first that does not start: its slot and those behind it
        keep the workers they have, and `plan` is not taken if it was the very first.
        """

        def ready() -> None:
            if self.plan is not plan:
                self.plan = plan
                on_taken()

        async with self._change():
            for slot in list(self.slots):
                if self.stopping:
                    return
                await slot.fill(plan, ready=ready, alone=alone)

    async def resize(self, count: int) -> None:
        """Start or stop workers until there are `count`. Raises like `roll`."""
        async with self._change():
            await self._resize(count)

    async def grow(self, change: int) -> None:
        """`resize` by so many, to no fewer than one."""
        async with self._change():
            await self._resize(max(len(self.slots) + change, 1))

    @asynccontextmanager
    async def _change(self) -> AsyncIterator[None]:
        """One at a time, and replacements that are under way are given up for it.

        Their start may be what hangs. Who still needs one asks again; empty slots are seen to here.
        """
        await self._replacements.cancel()
        async with self._changing:
            try:
                yield
            finally:
                for slot in self.slots:
                    if slot.current is None and not self.stopping:
                        self._revive(slot, 0)

    async def _resize(self, count: int) -> None:
        while len(self.slots) > count:
            settings = self.plan.settings
            self.slots.pop().close(
                limit=settings.timeout_graceful_shutdown, alone=settings.reuse_port
            )
        while len(self.slots) < count and not self.stopping:
            slot = self._new_slot(len(self.slots))
            self.slots.append(slot)
            try:
                await slot.fill(self.plan)
            except BaseException:
                self.slots.remove(slot)
                slot.close(limit=0)
                raise
        self._on_change()

    async def restart(self, plan: Plan, *, limit: float) -> None:
        """End every worker within `limit` seconds, then start those of `plan`. Raises like `roll`.

        For development, where nobody wants an answer of the old code.
        """
        await self._replacements.cancel()  # a recycling that hangs has the lock
        async with self._changing:
            self.plan = plan
            await self._replacements.cancel()
            for slot in self.slots:
                slot.dismiss(limit=limit)
            for worker in list(self._living.values()):
                await worker.gone()
            for slot in self.slots:
                await slot.fill(plan)

    async def explain(self, failure: str) -> None:
        """Have each slot answer with the text of why `plan` does not start."""
        for slot in self.slots:
            await slot.fill(self.plan, failure=failure)

    def replace(self, worker: WorkerProcess, why: str, *, urgent: bool = False) -> None:
        """Have another one take the place of `worker`, which leaves when that is ready.

        urgent: it is of no use any more. It is to accept nothing from now on, and no other
            replacement is waited for. Asked again while it is under way, nothing happens.
        """
        slot = self._slot(worker)
        if slot is None or self.stopping or (worker in self._sent_off and not urgent):
            return
        level = logging.ERROR if urgent else logging.INFO
        logger.log(level, "worker %d (pid %d) %s; replacing it", worker.index, worker.pid, why)
        if urgent:
            slot.dismiss(limit=self.plan.settings.timeout_graceful_shutdown)
            self._replacements.add(self._refill(slot, None))
        else:
            self._sent_off.add(worker)
            self._replacements.add(self._recycle(slot, worker))

    async def _recycle(self, slot: Slot, worker: WorkerProcess) -> None:
        try:
            async with self._changing:
                await self._refill(slot, worker)
        finally:
            self._sent_off.discard(worker)

    async def _refill(self, slot: Slot, worker: WorkerProcess | None, pause: float = 0.0) -> None:
        """Fill `slot`, again and again, as long as `worker` is what it holds."""
        await asyncio.sleep(pause)
        while slot.current is worker and not slot.closed:
            try:
                await slot.refill(self.plan, worker)
            except GatewayError as error:
                pause = slot.backoff.pause(0)
                logger.error("worker %d does not start: %s", slot.index, error)
                logger.error("worker %d is tried again in %g s", slot.index, pause)
                await asyncio.sleep(pause)

    async def stop(self, *, limit: float, alone: bool = True) -> None:
        """Drain all workers, within `limit` seconds, and return when none is left.

        alone: nobody but they accept on their sockets, and connections that wait there are theirs.
        """
        self.stopping = True
        await self._replacements.cancel()
        # All that live, not only those that serve: nothing that still starts is to stay.
        for worker in self._living.values():
            if not worker.leaving:
                worker.stop(limit=limit, alone=alone)
        if self._forced:
            self.force()
        while self._living:
            await next(iter(self._living.values())).gone()
        await self._burials.wait()
        self._orphans.close()

    def force(self) -> None:
        """End them all now, while `stop` is under way or before."""
        self._forced = True
        for worker in self._living.values():
            worker.force()

    def reopen_logs(self) -> None:
        """Have every worker open its log files anew."""
        for worker in self._living.values():
            worker.signal(signal.SIGUSR1)

    # --- what happens to it ---------------------------------------------------------------------

    def _launched(self, worker: WorkerProcess) -> None:
        self._living[worker.pid] = worker
        if self.stopping:
            worker.stop(limit=0, alone=False)

    def _changed(self, worker: WorkerProcess) -> None:
        slot = self._slot(worker)
        if slot is not None and not self.stopping:
            if worker.leaving:
                # Told by somebody else: kill(1), or an application that has signaled itself.
                logger.info("worker %d (pid %d) leaves", worker.index, worker.pid)
                slot.dismiss(limit=self.plan.settings.timeout_graceful_shutdown)
                self._revive(slot, monotonic() - worker.born, _HEARSAY)
            elif worker.recycle:
                self.replace(worker, "has served its number of requests")
        self._on_change()

    def reap(self) -> None:
        """Take note of every process that has ended; as process 1, of orphans too (init(1))."""
        for pid in list(self._living):
            code = _exit_code(pid)
            if code is not None:
                self.ended(pid, code)
        self._orphans.look()

    def ended(self, pid: int, code: int) -> None:
        """Take note of the end of one process."""
        worker = self._living.pop(pid, None)
        if worker is not None:
            worker.reaped = True
            self._burials.add(self._bury(worker, code))

    async def _bury(self, worker: WorkerProcess, code: int) -> None:
        told = worker.leaving or self.stopping
        await worker.exited(code)
        for slot in self.slots:
            if slot.bury(worker) and not self.stopping:
                logger.error("worker %d (pid %d) %s", worker.index, worker.pid, ended(code))
                self._revive(slot, monotonic() - worker.born)
        if told and code not in (0, -signal.SIGTERM):
            logger.warning("worker %d (pid %d) %s", worker.index, worker.pid, ended(code))
        self._on_exit(worker)
        self._on_change()

    def _revive(self, slot: Slot, lived: float, least: float = 0.0) -> None:
        pause = slot.backoff.pause(lived)
        if pause:
            logger.warning("worker %d is started again in %g s", slot.index, pause)
        self._replacements.add(self._refill(slot, None, max(pause, least)))

    def _slot(self, worker: WorkerProcess) -> Slot | None:
        """Where `worker` serves."""
        return next((each for each in self.slots if each.current is worker), None)

    def _new_slot(self, index: int) -> Slot:
        return Slot(index, on_launch=self._launched, on_change=self._changed)


def _exit_code(pid: int) -> int | None:
    """How child `pid` ended; None while it runs, or is not a child of this process."""
    try:
        ended_pid, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if ended_pid else None
