"""Tasks that run beside what started them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

__all__ = ["Tasks"]

logger = logging.getLogger("gateway.error")


class Tasks:
    """Tasks that belong together. A fault in one is told, and ends nothing else."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, work: Coroutine[object, object, object]) -> asyncio.Task[None]:
        """Begin `work`."""
        task = asyncio.get_running_loop().create_task(_told(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def wait(self) -> None:
        """Return when none is left."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def cancel(self) -> None:
        """End them all, and return when they have ended."""
        for task in self._tasks:
            task.cancel()
        await self.wait()

    def __len__(self) -> int:
        return len(self._tasks)


async def _told(work: Coroutine[object, object, object]) -> None:
    try:
        await work
    except Exception:
        logger.exception("the gateway failed at something beside its work; it goes on")
