"""What costs a peer nothing is counted, by a clock moved by hand."""

from __future__ import annotations

import pytest

from gateway.clock import Clock
from gateway.protocols.http2_errors import ErrorCode, Http2Error
from gateway.protocols.http2_restraint import RESET, Restraint

from .harness import FakeTime


class Patience:
    """A `Restraint` and its time."""

    def __init__(self) -> None:
        self.time = FakeTime()
        self.clock = Clock(monotonic=self.time, time=lambda: 0.0)
        self.restraint = Restraint(self.clock)

    def spend(self, times: int, cost: int = 1) -> None:
        for _ in range(times):
            self.restraint.spend(cost)

    def wait(self, seconds: float) -> None:
        self.time.now += seconds
        self.clock.tick()


def test_a_thousand_frames_at_once_are_put_up_with() -> None:
    Patience().spend(1000)


def test_one_more_is_too_many() -> None:
    patience = Patience()
    patience.spend(1000)
    with pytest.raises(Http2Error) as error:
        patience.spend(1)
    assert error.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_so_is_each_that_follows() -> None:
    patience = Patience()
    patience.spend(1000)
    for _ in range(3):
        with pytest.raises(Http2Error):
            patience.spend(1)


def test_resets_cost_more() -> None:
    patience = Patience()
    patience.spend(1000 // RESET, RESET)
    with pytest.raises(Http2Error):
        patience.spend(1, RESET)


def test_ten_seconds_later_there_are_another_thousand() -> None:
    patience = Patience()
    for _ in range(5):
        patience.spend(1000)
        patience.wait(10)


def test_nine_seconds_later_there_are_not() -> None:
    patience = Patience()
    patience.spend(1000)
    patience.wait(9)
    with pytest.raises(Http2Error):
        patience.spend(1)


def test_the_frame_that_begins_a_span_counts_in_it() -> None:
    patience = Patience()
    patience.spend(1000)
    patience.wait(10)
    patience.spend(1000)
    with pytest.raises(Http2Error):
        patience.spend(1)


def test_a_hundred_a_second_go_on_for_ever() -> None:
    patience = Patience()
    for _ in range(100):
        patience.spend(100)
        patience.wait(1)
