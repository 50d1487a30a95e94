"""Processes whose parents have ended: process 1 gets them, and has to wait for them (init(1))."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Container
from pathlib import Path
from typing import Final

__all__ = ["Orphans"]

# A child that somebody here has started, a hook for one, is waited for by him within this time. To
# be first would give him a wrong exit code.
_PATIENCE: Final = 5.0


class Orphans:
    """Buries ended children that nobody has waited for, if this is process 1.

    known: those that somebody surely waits for.
    """

    def __init__(self, known: Container[int], *, is_init: Callable[[], bool]) -> None:
        self._known = known
        self._is_init = is_init
        self._seen: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """Call it on SIGCHLD: what has ended now is looked at again after a while."""
        if self._is_init() and self._timer is None:
            self._seen = _ended_children()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_PATIENCE, self._bury)

    def _bury(self) -> None:
        self._timer = None
        ended = _ended_children()
        for pid in ended & self._seen:
            if pid not in self._known:
                os.waitpid(pid, os.WNOHANG)
        if ended - self._seen:
            self.look()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def _ended_children() -> set[int]:
    """The children that have ended and were not waited for, from proc(5)."""
    found = set()
    for thread in Path("/proc/self/task").glob("*/children"):
        try:
            children = [int(pid) for pid in thread.read_text().split()]
        except OSError:
            continue
        for pid in children:
            try:
                if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                    found.add(pid)
            except ChildProcessError:
                continue
    return found
