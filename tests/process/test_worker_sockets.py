"""Which sockets each worker listens on, and what a new binary is told of them."""

from __future__ import annotations

import pytest

from gateway.process.worker_sockets import WorkerSockets

from .listening import bound, tcp

LINUX_ONLY = pytest.mark.skipif("sys.platform != 'linux'", reason="elsewhere a queue is shared")


@pytest.fixture
def sockets():
    with bound(tcp(), reuse_port=True) as given:
        sockets = WorkerSockets(lambda: given, own=True)
        yield sockets
        sockets.keep(0)


def test_without_queues_of_their_own_all_have_the_same():
    with bound(tcp()) as given:
        sockets = WorkerSockets(lambda: given, own=False)
        assert sockets.of(0) == sockets.of(3) == [given[0].socket]
        assert sockets.as_inherited() == []


def test_a_worker_in_the_place_of_another_has_its_queue(sockets):
    (first,), (second,) = sockets.of(0), sockets.of(1)
    assert first is not second
    assert sockets.of(1) == [second]


@LINUX_ONLY
def test_a_new_binary_is_told_of_every_queue_but_the_first(sockets):
    (_, (second,), (third,)) = (sockets.of(index) for index in range(3))
    told = sockets.as_inherited()
    assert [each.fd for each in told] == [second.fileno(), third.fileno()]
    assert all(each.queue and each.owned for each in told)
    assert {each.name for each in told} == {"127.0.0.1:0"}


def test_a_queue_that_no_worker_serves_is_closed(sockets):
    sockets.of(0)
    (second,) = sockets.of(1)
    sockets.keep(1)
    assert second.fileno() == -1
    assert sockets.as_inherited() == []
