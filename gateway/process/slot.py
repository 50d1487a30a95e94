"""One worker's place, and how the process that serves there is changed."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Final

from gateway.errors import StartError
from gateway.process.backoff import Backoff
from gateway.process.launcher import Launcher, Order
from gateway.process.worker_process import WorkerProcess, ended
from gateway.settings import Settings

__all__ = ["Plan", "Slot"]

logger = logging.getLogger("gateway.error")

# An import or a lifespan that takes longer is told, with where it is; it may take as long as it
# likes: models load for minutes.
_LONG_START: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the workers of one configuration are made of.

    sockets: what worker `index` listens on.
    """

    settings: Settings
    launcher: Launcher
    sockets: Callable[[int], Sequence[socket.socket]]


class _GivenUp(StartError):  # noqa: N818 - it is no error
    """A start that was ended on purpose."""


class Slot:
    """Index `index` of a fleet; the index stays when the process changes.

    current: the one that serves; None between a death and the next.
    backoff: for the next one, where the last one has died.
    closed: nothing is started here any more.
    on_launch, on_change: called with a process when it was started, and with any that has news.

    There is at most one start under way. A new plan gives it up; a replacement waits for it.
    """

    def __init__(
        self,
        index: int,
        *,
        on_launch: Callable[[WorkerProcess], None],
        on_change: Callable[[WorkerProcess], None],
    ) -> None:
        self.index = index
        self.current: WorkerProcess | None = None
        self.backoff = Backoff()
        self.closed = False
        self._lock = asyncio.Lock()
        self._filling: asyncio.Task[None] | None = None  # while the lock is held
        self._newest = object()  # of the calls of `fill`
        self._on_launch = on_launch
        self._on_change = on_change

    async def fill(
        self,
        plan: Plan,
        *,
        failure: str = "",
        ready: Callable[[], None] = lambda: None,
        alone: bool = False,
    ) -> None:
        """Start a worker and have it serve here; the one before leaves when it is ready.

        ready: called in between. alone: of the one before, see `WorkerProcess.stop`.

        Raises `GatewayError` when it does not start, or is given up for a newer plan; the one
        before stays then.
        """
        mine = self._newest = object()
        self.give_up()
        async with self._lock:
            if self._newest is not mine:
                raise self._given_up()
            await self._only(self._fill(plan, failure=failure, ready=ready, alone=alone))

    async def refill(self, plan: Plan, worker: WorkerProcess | None) -> None:
        """The same, unless something else than `worker` serves here by then.

        Returns with nothing done when it is given up.
        """
        async with self._lock:
            if self.current is worker and not self.closed:
                with suppress(_GivenUp):
                    await self._only(self._fill(plan))

    async def _only(self, filling: Coroutine[object, object, None]) -> None:
        self._filling = asyncio.ensure_future(filling)
        try:
            await self._filling
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                raise
            raise self._given_up() from None
        finally:
            self._filling = None

    def _given_up(self) -> StartError:
        return _GivenUp(f"worker {self.index}: given up for a newer one")

    async def _fill(
        self,
        plan: Plan,
        *,
        failure: str = "",
        ready: Callable[[], None] = lambda: None,
        alone: bool = False,
    ) -> None:
        new = await self._start(plan, failure)
        ready()
        self.dismiss(limit=plan.settings.timeout_graceful_shutdown, alone=alone)
        self.current = new
        # What it has said since it was ready was said by somebody who did not serve here yet.
        self._on_change(new)

    async def _start(self, plan: Plan, failure: str) -> WorkerProcess:
        order = Order(
            plan.settings,
            self.index,
            plan.sockets(self.index),
            on_launch=self._on_launch,
            on_change=self._on_change,
            failure=failure,
        )
        worker = await plan.launcher.launch(order)
        try:
            await self._wait(worker)
        except BaseException:
            if worker.exit_code is None:  # given up: something newer is to be started
                worker.stop(limit=0, alone=False)
            raise
        if worker.exit_code is not None:
            raise StartError(f"worker {self.index} {ended(worker.exit_code)} as soon as it served")
        return worker

    async def _wait(self, worker: WorkerProcess) -> None:
        started = asyncio.ensure_future(worker.started())
        try:
            while not (await asyncio.wait({started}, timeout=_LONG_START))[0]:
                logger.warning(
                    "worker %d (pid %d) is still starting after %.0f s\n%s",
                    self.index,
                    worker.pid,
                    monotonic() - worker.born,
                    await worker.stacks(),
                )
            started.result()
        finally:
            started.cancel()

    def dismiss(self, *, limit: float, alone: bool = False) -> None:
        """Have the current one leave, within `limit` seconds."""
        if self.current is not None:
            self.current.stop(limit=limit, alone=alone)
            self.current = None

    def give_up(self) -> None:
        """End the start that is under way."""
        if self._filling is not None:
            self._filling.cancel()

    def close(self, *, limit: float, alone: bool = False) -> None:
        """Have the current one leave, and no other come."""
        self.closed = True
        self.give_up()
        # What waits in a queue of its own is nobody else's.
        self.dismiss(limit=limit, alone=alone)

    def bury(self, worker: WorkerProcess) -> bool:
        """Forget a process that has ended; True if it was the one that served."""
        if self.current is worker:
            self.current = None
            return True
        return False
