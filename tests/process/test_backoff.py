"""The pauses between the lives of workers."""

from __future__ import annotations

from gateway.process.backoff import Backoff


def test_pauses_grow_to_half_a_minute():
    backoff = Backoff()
    assert [backoff.pause(0) for _ in range(10)] == [0, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_worker_that_has_lived_is_replaced_at_once():
    backoff = Backoff()
    for _ in range(5):
        backoff.pause(0)
    assert backoff.pause(3600) == 0
    assert backoff.pause(0) == 0.5


def test_a_short_life_counts_as_a_failed_start():
    backoff = Backoff()
    assert [backoff.pause(9), backoff.pause(9)] == [0, 0.5]
