from __future__ import annotations

import pytest

from gateway.interfaces.growth import Growth


def sample(growth, *, seconds=0.001, busy=0.0, taken=0, waited=0.0, idle=0.0, awake=1):
    """One sample: how long, how busy the processor, jobs taken, how long the oldest waited."""
    growth.begin(10.0, 5.0, 100)
    now = 10.0 + seconds
    return growth.judge(
        now,
        5.0 + seconds * busy,
        100 + taken,
        oldest=now - waited,
        latest=now - idle,
        awake=awake,
    )


def test_nobody_waits():
    assert sample(Growth(), waited=0.0) == 0


def test_a_wait_shorter_than_a_millisecond_is_none():
    assert sample(Growth(), waited=0.0009) == 0


@pytest.mark.parametrize("awake", [1, 2, 8])
def test_threads_double_while_the_processor_is_idle(awake):
    assert sample(Growth(), waited=0.002, awake=awake) == awake


def test_blocking_threads_that_keep_moving_get_company():
    assert sample(Growth(), waited=0.002, busy=0.5, taken=3, awake=4) == 4


def test_busy_processor_needs_no_more_threads():
    assert sample(Growth(), waited=0.5, busy=0.95, taken=30) == 0


def test_one_long_calculation_gets_one_more_thread():
    growth = Growth()
    assert sample(growth, waited=0.004, busy=1.0, idle=0.004, awake=4) == 0
    assert sample(growth, waited=0.006, busy=1.0, idle=0.006, awake=4) == 1


def test_growth_makes_eager():
    growth = Growth()
    assert not growth.eager
    sample(growth, waited=0.002)
    assert growth.eager


def test_ten_busy_samples_in_a_row_make_calm():
    growth = Growth()
    sample(growth, waited=0.002)
    for _ in range(9):
        sample(growth, busy=1.0, taken=1)
    assert growth.eager
    sample(growth, busy=1.0, taken=1)
    assert not growth.eager


@pytest.mark.parametrize("interruption", [{"busy": 0.1, "taken": 1}, {"busy": 1.0, "taken": 0}])
def test_idle_or_stuck_samples_keep_eager(interruption):
    growth = Growth()
    sample(growth, waited=0.002)
    for _ in range(9):
        sample(growth, busy=1.0, taken=1)
    sample(growth, **interruption)
    for _ in range(9):
        sample(growth, busy=1.0, taken=1)
    assert growth.eager
