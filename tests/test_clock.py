"""The clock that everything that need not know better reads."""

from __future__ import annotations

from gateway.clock import Clock


class Watch:
    """A clock face moved by hand."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_clock_knows_the_time_from_the_start() -> None:
    clock = Clock(monotonic=Watch(5.0), time=Watch(784111777.0))
    assert clock.now == 5.0
    assert clock.date == b"Sun, 06 Nov 1994 08:49:37 GMT"  # the example of RFC 9110, 5.6.7


def test_time_stands_still_between_ticks() -> None:
    monotonic, time = Watch(5.0), Watch(0.0)
    clock = Clock(monotonic, time)
    monotonic.now, time.now = 6.5, 1.0
    assert (clock.now, clock.date) == (5.0, b"Thu, 01 Jan 1970 00:00:00 GMT")
    clock.tick()
    assert (clock.now, clock.date) == (6.5, b"Thu, 01 Jan 1970 00:00:01 GMT")


def test_those_who_asked_are_told_after_the_time_was_read() -> None:
    monotonic = Watch(5.0)
    clock = Clock(monotonic, Watch(0.0))
    heard: list[float] = []
    clock.on_tick += [lambda: heard.append(clock.now), lambda: heard.append(-clock.now)]
    monotonic.now = 6.0
    clock.tick()
    assert heard == [6.0, -6.0]


def test_real_clocks_are_the_default() -> None:
    clock = Clock()
    before = clock.now
    clock.tick()
    assert clock.now >= before
    assert clock.date.endswith(b" GMT")
