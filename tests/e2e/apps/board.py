"""How a test and an application in the same process tell each other things.

Each test makes a key of its own, sends it along (``?key=…``), and waits at `Board.wait` for what
the application notes under it.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict

__all__ = ["BOARD", "Board"]


class Board:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._notes: dict[str, list[str]] = defaultdict(list)
        self._counts: dict[str, int] = defaultdict(int)
        self._gates: dict[str, threading.Event] = defaultdict(threading.Event)

    # --- the application ------------------------------------------------------------------------

    def note(self, key: str, text: str) -> None:
        with self._changed:
            self._notes[key].append(text)
            self._changed.notify_all()

    def count(self, key: str, size: int) -> None:
        with self._changed:
            self._counts[key] += size
            self._changed.notify_all()

    def gate(self, key: str) -> threading.Event:
        """Set by the test when the application may go on."""
        with self._changed:
            return self._gates[key]

    # --- the test -------------------------------------------------------------------------------

    def wait(self, key: str, text: str, timeout: float = 10.0) -> None:
        """Return when `text` was noted; fail after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: text in self._notes[key], timeout):
                raise AssertionError(f"no {text!r} within {timeout:g} s: {self._notes[key]}")

    def wait_count(self, key: str, size: int, timeout: float = 10.0) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._counts[key] >= size, timeout):
                raise AssertionError(f"{self._counts[key]} of {size} within {timeout:g} s")

    def settled(self, key: str, *, quiet: float = 0.25, timeout: float = 10.0) -> int:
        """The count once it has not changed for `quiet` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while time.monotonic() < deadline:
                seen = self._counts[key]
                if not self._changed.wait_for(lambda: self._counts[key] != seen, quiet):  # noqa: B023
                    return seen
        raise AssertionError(f"the count of {key!r} does not settle")

    def notes(self, key: str) -> list[str]:
        with self._changed:
            return list(self._notes[key])


BOARD = Board()
