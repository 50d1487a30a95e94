"""Where a call of an application is at this moment, as the lines of a traceback."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Iterator
from types import FrameType

__all__ = ["task_stack", "thread_stack"]


def task_stack(task: asyncio.Task[None] | None) -> str:
    """What `task` waits in, outermost first; "" where there is nothing to be seen.

    `asyncio.Task.get_stack` shows the outermost coroutine of a task alone. Where one waits for
    another task, that one is followed.
    """
    if task is None or task.done():
        return ""
    return _format(_frames(task))


def thread_stack(runs: object) -> str:
    """What the thread is doing that has called a method of `runs`; "" where none has.

    Found in its frames: to note the thread of each call would cost all of them.
    """
    for frame in sys._current_frames().values():  # noqa: SLF001 - documented, for this
        frames = [each for each, _ in traceback.walk_stack(frame)]
        for depth, each in enumerate(frames):
            if each.f_locals.get("self") is runs:
                return _format((inner, inner.f_lineno) for inner in reversed(frames[:depth]))
    return ""


def _format(frames: Iterator[tuple[FrameType, int]]) -> str:
    return "".join(traceback.StackSummary.extract(frames).format()).rstrip("\n")


def _frames(task: asyncio.Task[None]) -> Iterator[tuple[FrameType, int]]:
    waits: object = task
    while isinstance(waits, asyncio.Task):
        awaited: object = waits.get_coro()
        while awaited is not None:
            frame = _of(awaited, "frame")
            if isinstance(frame, FrameType):
                yield frame, frame.f_lineno
            awaited = _of(awaited, "await") or _of(awaited, "yieldfrom")
        # What a coroutine awaits in the end is an iterator that does not tell its future.
        waits = getattr(waits, "_fut_waiter", None)


def _of(awaited: object, what: str) -> object:
    """cr_await of a coroutine, gi_frame of a generator, and so on."""
    for kind in ("cr", "gi", "ag"):
        found: object = getattr(awaited, f"{kind}_{what}", None)
        if found is not None:
            return found
    return None
