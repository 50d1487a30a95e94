from __future__ import annotations

from fakes import FakeWire, exchange, head

from gateway.exchange import Exchange
from gateway.middleware.limits import limit_concurrency, limit_max_requests


def send(handler) -> tuple[Exchange, FakeWire]:
    wire = FakeWire()
    request = exchange(head(), wire)
    handler(request)
    return request, wire


def test_exactly_the_limit_is_admitted():
    """Not one less, as where the request being judged counts itself."""
    taken: list[Exchange] = []
    handler = limit_concurrency(taken.append, 2)

    wires = [send(handler)[1] for _ in range(3)]

    assert len(taken) == 2
    assert [wire.status for wire in wires] == [None, None, 503]


def test_a_limit_of_one_serves_one():
    taken: list[Exchange] = []
    send(limit_concurrency(taken.append, 1))

    assert len(taken) == 1


def test_refusal_says_when_to_come_back():
    handler = limit_concurrency(lambda _: None, 0, retry_after=7)

    _, wire = send(handler)

    assert wire.status == 503
    assert wire.header(b"retry-after") == b"7"
    assert wire.ended


def test_every_end_of_an_exchange_frees_its_place_once():
    taken: list[Exchange] = []
    handler = limit_concurrency(taken.append, 1)
    ends = [
        lambda request: request.start(200, [], b"done"),
        lambda request: request.lost(),
        lambda request: request.fail(),
        lambda request: request.abort(),
        lambda request: request.refuse(400, "no"),
    ]
    for end in ends:
        request, _ = send(handler)
        assert send(handler)[1].status == 503
        end(request)
        request.lost()

    request, wire = send(handler)

    assert wire.status is None
    assert len(taken) == len(ends) + 1
    assert send(handler)[1].status == 503


def test_a_refused_exchange_frees_nothing():
    handler = limit_concurrency(lambda _: None, 1)
    send(handler)
    refused, _ = send(handler)
    refused.lost()

    assert send(handler)[1].status == 503


def test_on_reached_is_called_once_with_the_last_request_and_all_are_served():
    events: list[str] = []
    handler = limit_max_requests(
        lambda _: events.append("served"), 2, lambda: events.append("reached")
    )

    for _ in range(4):
        send(handler)

    assert events == ["served", "reached", "served", "served", "served"]
