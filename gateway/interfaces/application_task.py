"""What calls of ASGI applications have in common: a task, news to wait for, turns on the loop."""

from __future__ import annotations

import asyncio
from typing import Final

__all__ = ["MESSAGE", "TURN", "ApplicationTask"]

TURN: Final = 1024 * 1024
"""An application may send this much in one turn of the loop: a peer that reads as fast as it sends
would let it keep the loop for itself."""

MESSAGE: Final = 1024
"""What a message counts in a turn besides its bytes."""


class ApplicationTask:
    """One call of an application, and whoever in it waits for news of its exchange.

    Several tasks of one application may wait, each for something else: all look again when anything
    happens, so that no news are lost to one that was cancelled meanwhile.

    task: runs the application; None before it was made.
    """

    __slots__ = ("_loop", "_unyielded", "_waiters", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.task: asyncio.Task[None] | None = None
        self._loop = loop
        self._unyielded = 0  # sent since the loop had its last turn
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def cancelled(self) -> bool:
        """The server ends the call: see `cancel`."""
        return self.task is not None and self.task.cancelling() > 0

    def cancel(self) -> None:
        """End the call, at the end of a drain or of its time.

        In the loop's next turn: a task that is cancelled before its first step never runs, and a
        call that never runs does not end its exchange.
        """
        if self.task is not None:
            self._loop.call_soon(self.task.cancel)

    def wake(self) -> None:
        """Let everybody who waits look again."""
        waiters = self._waiters
        if waiters:
            self._waiters = []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _news(self) -> asyncio.Future[None]:
        """What to wait for until `wake`. No coroutine: one more around each wait costs 0.2 µs."""
        self._unyielded = 0
        waiters = self._waiters
        if waiters:
            # Those that were cancelled would stay for as long as there are no news.
            waiters[:] = [waiter for waiter in waiters if not waiter.done()]
        waiter: asyncio.Future[None] = self._loop.create_future()
        waiters.append(waiter)
        return waiter

    async def _yield(self) -> None:
        """Let others have a turn; for who has sent `TURN` without waiting."""
        self._unyielded = 0
        await asyncio.sleep(0)
