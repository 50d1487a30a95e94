"""How long to wait before a worker that died is replaced."""

from __future__ import annotations

from typing import Final

__all__ = ["Backoff"]

_STABLE: Final = 10.0
_FIRST: Final = 0.5
_LONGEST: Final = 30.0


class Backoff:
    """The pause of one slot: none after a worker that has lived, then 0, 0.5, 1, 2 … 30 seconds.

    A worker that is killed is replaced at once; one that dies at every start does not keep a core
    busy with starting.
    """

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0.0

    def pause(self, lived: float) -> float:
        """Seconds to wait, after a worker that has served for `lived` seconds."""
        if lived >= _STABLE:
            self._next = 0.0
        pause, self._next = self._next, min(max(2 * self._next, _FIRST), _LONGEST)
        return pause
