"""A ceiling on requests under way, and those that wait for a place; time moved by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fakes import FakeWire, exchange, head

from gateway.exchange import Exchange
from gateway.middleware import concurrency
from gateway.middleware.concurrency import limit_concurrency


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


# --- a queue -------------------------------------------------------------------------------------


class Scene:
    """A queue in front of an application that takes its time, and the loop it has.

    taken: what the application has got. wires: of all requests.
    """

    def __init__(self, monkeypatch, *, limit: int = 1, queue: int = 3) -> None:
        self.taken: list[Exchange] = []
        self.requests: list[Exchange] = []
        self.wires: list[FakeWire] = []
        self.now = 1000.0
        self._soon: list[Callable[[], None]] = []
        self._later: list[tuple[float, Callable[[], None]]] = []
        self.timers = 0
        monkeypatch.setattr(concurrency, "monotonic", lambda: self.now)
        self.handler = limit_concurrency(
            self.taken.append, limit, queue=queue, timeout=10, loop=self
        )

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.timers += 1
        self._later.append((self.now + delay, callback))

    def come(self, count: int = 1) -> None:
        for _ in range(count):
            request, wire = send(self.handler)
            self.requests.append(request)
            self.wires.append(wire)

    def turn(self) -> None:
        while self._soon:
            self._soon.pop(0)()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        due = [callback for when, callback in self._later if when <= self.now]
        self._later = [each for each in self._later if each[0] > self.now]
        for callback in due:
            callback()
        self.turn()

    @property
    def statuses(self) -> list[int | None]:
        return [wire.status for wire in self.wires]


@pytest.fixture
def scene(monkeypatch) -> Scene:
    return Scene(monkeypatch)


def answer(request: Exchange) -> None:
    request.start(200, [], b"done")


def test_as_many_wait_as_there_are_places_and_no_more(scene):
    scene.come(5)
    assert len(scene.taken) == 1
    assert scene.statuses == [None, None, None, None, 503]
    assert scene.wires[4].header(b"retry-after") == b"1"


def test_first_come_first_served(scene):
    scene.come(4)
    for count in range(1, 5):
        assert scene.taken == scene.requests[:count]
        answer(scene.taken[-1])
        scene.turn()
    assert scene.statuses == [200] * 4


def test_nobody_who_comes_now_overtakes_those_who_wait(scene):
    scene.come(2)
    answer(scene.taken[0])
    scene.come()  # before the loop had its turn
    scene.turn()
    assert scene.taken == scene.requests[:2]


def test_places_that_are_free_at_once_are_taken_at_once(monkeypatch):
    scene = Scene(monkeypatch, limit=3)
    scene.come(6)
    for request in scene.taken[:3]:
        answer(request)
    scene.turn()
    assert scene.taken == scene.requests


def test_who_waits_too_long_is_answered_503(scene):
    scene.come(2)
    scene.pass_time(4)
    scene.come()
    scene.pass_time(6)
    assert scene.statuses == [None, 503, None]
    assert scene.wires[1].header(b"retry-after") == b"1"
    scene.pass_time(4)
    assert scene.statuses == [None, 503, 503]
    answer(scene.taken[0])
    scene.come()
    scene.turn()
    assert len(scene.taken) == 2


def test_there_is_one_timer_however_many_wait(scene):
    scene.come(4)
    assert scene.timers == 1


def test_without_anybody_who_waits_there_is_none(scene):
    scene.come()
    answer(scene.taken[0])
    scene.turn()
    scene.come()
    assert scene.timers == 0


def test_who_leaves_gives_its_place_to_the_next(scene):
    scene.come(4)
    scene.requests[1].lost()
    scene.come()
    assert scene.statuses == [None] * 5
    answer(scene.taken[0])
    scene.turn()
    assert scene.taken == [scene.requests[0], scene.requests[2]]


def test_who_closes_its_side_is_not_waited_with(scene):
    scene.come(2)
    scene.requests[1].peer_closed()
    assert scene.wires[1].status == 503
    answer(scene.taken[0])
    scene.turn()
    assert len(scene.taken) == 1


def test_a_body_that_comes_meanwhile_waits_too(scene):
    scene.come()
    request = exchange(head("POST", content_length=5), FakeWire())
    scene.handler(request)
    request.body_received(b"hello")
    request.body_ended()
    answer(scene.taken[0])
    scene.turn()
    assert scene.taken[1] is request
    assert request.listener is None
    assert request.read() == b"hello"


def test_a_long_line_of_requests_that_end_at_once_is_not_deep(monkeypatch):
    scene = Scene(monkeypatch, queue=5000)
    scene.come(5000)
    first = scene.taken.pop()
    monkeypatch.setattr(scene.handler, "_next", answer)
    answer(first)
    scene.turn()
    assert scene.statuses == [200] * 5000
