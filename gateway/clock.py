"""Time, read once a second: the Date header and the deadlines of idle connections.

A timer armed and cancelled per request costs 1.9 µs on uvloop; a sweep over every connection once
a second costs 0.1 µs per connection.
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from time import monotonic, time

__all__ = ["NEVER", "Clock"]

NEVER = float("inf")
"""The deadline of something that may take as long as it likes."""


class Clock:
    """What second it is, for everything that need not know it better.

    now: `time.monotonic` seconds at the last tick.
    date: an HTTP-date (RFC 9110, section 5.6.7), b"Sat, 21 Nov 2026 09:00:00 GMT".
    late: the last tick came more than a second after it was due.
    on_tick: called after each tick. The owner calls `tick` once a second.
    """

    __slots__ = ("_monotonic", "_time", "date", "late", "now", "on_tick")

    def __init__(
        self,
        monotonic: Callable[[], float] = monotonic,
        time: Callable[[], float] = time,
    ) -> None:
        self._monotonic = monotonic
        self._time = time
        self.on_tick: list[Callable[[], None]] = []
        self.now = monotonic()
        self.late = False
        self.date = b""
        self.tick()

    def tick(self) -> None:
        """Read the clocks, then tell who asked for it."""
        now = self._monotonic()
        self.late = now - self.now > 2.0
        self.now = now
        self.date = formatdate(self._time(), usegmt=True).encode()
        for callback in self.on_tick:
            callback()
