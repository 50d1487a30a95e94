from __future__ import annotations

import pytest
from fakes import FakeWire, exchange, head

from gateway.exchange import Exchange
from gateway.middleware.limits import limit_body, limit_max_requests


def send(handler) -> tuple[Exchange, FakeWire]:
    wire = FakeWire()
    request = exchange(head(), wire)
    handler(request)
    return request, wire


def test_on_reached_is_called_once_with_the_last_request_and_all_are_served():
    events: list[str] = []
    handler = limit_max_requests(
        lambda _: events.append("served"), 2, lambda: events.append("reached")
    )

    for _ in range(4):
        send(handler)

    assert events == ["served", "reached", "served", "served", "served"]


# --- bodies --------------------------------------------------------------------------------------


def post(handler, length: int | None, *, expect_continue: bool = False) -> FakeWire:
    wire = FakeWire()
    handler(exchange(head("POST", content_length=length, expect_continue=expect_continue), wire))
    return wire


@pytest.mark.parametrize("length", [0, 1, 10])
def test_a_body_within_the_limit_is_nobodys_business(length):
    taken: list[Exchange] = []

    wire = post(limit_body(taken.append, 10), length)

    assert len(taken) == 1
    assert wire.calls == []


@pytest.mark.parametrize("expects", [False, True])
def test_a_longer_one_is_refused_before_anybody_asks_for_it(expects):
    taken: list[Exchange] = []

    wire = post(limit_body(taken.append, 10), 11, expect_continue=expects)

    assert taken == []
    assert wire.status == 413
    assert wire.informational == []


def test_one_of_unknown_length_is_left_to_the_wire_to_count():
    taken: list[Exchange] = []

    wire = post(limit_body(taken.append, 10), None)

    assert len(taken) == 1
    assert wire.calls == [("limit_body", 10)]


def test_one_that_was_too_long_already_reaches_nobody():
    class Wire(FakeWire):
        def limit_body(self, size: int) -> None:
            request.refuse(413, "the request body is too large")

    taken: list[Exchange] = []
    request = Exchange(head("POST", content_length=None), Wire())

    limit_body(taken.append, 10)(request)

    assert taken == []
