"""How many connections there may be, and of whom; without sockets."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import cast

import pytest

from gateway.head import Address
from gateway.protocols.connection import Connection
from gateway.protocols.crowd import Crowd, Members


class Loop:
    """Keeps what is to be called later."""

    def __init__(self) -> None:
        self.later: list[Callable[[], None]] = []

    def call_later(self, delay: float, callback: Callable[..., None], *args: object) -> None:
        self.later.append(lambda: callback(*args))


class Guest:
    """A connection. deaf: does not go when it is asked to."""

    def __init__(
        self, members: Members, idle_since: float | None, client: Address | None, *, deaf: bool
    ) -> None:
        self.members = members
        self.idle_since = idle_since
        self.client = client
        self.closing = self.was_cut = False
        self._deaf = deaf

    @property
    def open(self) -> bool:
        return self in self.members

    def end_idle(self) -> None:
        assert self.idle_since is not None
        self.closing = True
        if not self._deaf:
            self.leave()

    def cut(self) -> None:
        self.was_cut = True
        self.leave()

    def leave(self) -> None:
        self.members.discard(self)


class Scene:
    def __init__(self, **limits: int | None) -> None:
        self.loop = Loop()
        self.crowd = Crowd(
            self.loop,  # type: ignore[arg-type]
            exempt=lambda client: client is not None and client[0] == "10.0.0.1",
            **limits,  # type: ignore[arg-type]
        )
        self.members = self.crowd.members()

    def come(
        self,
        host: str | None = "203.0.113.7",
        *,
        idle_since: float | None = None,
        deaf: bool = False,
    ) -> Guest | None:
        """One that is accepted, has its handshake and joins; None if it was turned away."""
        client = None if host is None else (host, 50000)
        if not self.crowd.make_room() or not self.crowd.arrived(client):
            return None
        guest = Guest(self.members, idle_since, client, deaf=deaf)
        self.members.add(cast("Connection", guest))
        self.crowd.settled(client)
        return guest


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    caplog.clear()
    return found


# --- in all ---------------------------------------------------------------------------------------


def test_as_many_are_let_in_as_may_be_open():
    scene = Scene(limit=3)
    assert all(scene.come() for _ in range(3))
    assert scene.come() is None


def test_all_listeners_have_one_limit():
    scene = Scene(limit=2)
    scene.come()
    scene.members = scene.crowd.members()
    scene.come()
    assert scene.come() is None


def test_handshakes_count():
    scene = Scene(limit=1)
    assert scene.crowd.arrived(("203.0.113.7", 1))
    assert not scene.crowd.make_room()
    scene.crowd.settled(("203.0.113.7", 1))
    assert scene.crowd.make_room()


def test_one_that_has_joined_is_not_counted_twice():
    scene = Scene(limit=2)
    assert scene.crowd.arrived(None)
    scene.members.add(cast("Connection", Guest(scene.members, 1.0, None, deaf=False)))
    assert scene.crowd.make_room()  # it is not settled
    scene.crowd.settled(None)
    assert len(scene.members) == 1
    assert scene.come()
    assert scene.come()
    assert len(scene.members) == 2


def test_the_longest_idle_one_is_closed_for_who_comes():
    scene = Scene(limit=3)
    busy, old, young = scene.come(), scene.come(idle_since=1.0), scene.come(idle_since=2.0)
    assert scene.come()
    assert [busy.open, old.open, young.open] == [True, False, True]


def test_many_make_room_for_several():
    scene = Scene(limit=128)
    guests = [scene.come(idle_since=float(number)) for number in range(128)]
    assert scene.come()
    assert [guest.open for guest in guests] == [False] * 3 + [True] * 125


def test_one_that_does_not_go_is_cut():
    scene = Scene(limit=1)
    deaf = scene.come(idle_since=1.0, deaf=True)
    assert scene.come()
    assert deaf.open
    for callback in scene.loop.later:
        callback()
    assert deaf.was_cut


def test_one_that_went_is_not():
    scene = Scene(limit=1)
    guest = scene.come(idle_since=1.0)
    scene.come()
    for callback in scene.loop.later:
        callback()
    assert not guest.was_cut


def test_who_waits_is_asked_in_when_one_leaves():
    scene = Scene(limit=1)
    guest = scene.come()
    asked: list[str] = []
    scene.crowd.wait(scene, lambda: asked.append("in"))
    scene.crowd.sweep()  # nobody left, but one may be idle now
    assert asked == ["in"]
    scene.crowd.wait(scene, lambda: asked.append("in"))
    guest.leave()
    assert asked == ["in", "in"]


def test_who_waits_no_more_is_not():
    scene = Scene(limit=1)
    guest = scene.come()
    scene.crowd.wait(scene, lambda: pytest.fail("asked in"))
    scene.crowd.forget(scene)
    guest.leave()


def test_leaving_twice_frees_one_place():
    scene = Scene(limit=1)
    guest = scene.come()
    guest.leave()
    guest.leave()
    assert scene.come()
    assert scene.come() is None


def test_a_second_has_one_line(caplog):
    scene = Scene(limit=1)
    scene.come(idle_since=1.0)
    for _ in range(5):
        scene.come(idle_since=1.0)
    scene.crowd.sweep()
    assert lines(caplog) == ["limit-connections: 1 are open: 5 idle closed"]
    scene.crowd.sweep()
    assert lines(caplog) == []


def test_it_says_that_nobody_is_let_in(caplog):
    scene = Scene(limit=2)
    for _ in range(5):
        scene.come()
    scene.crowd.sweep()
    assert lines(caplog) == ["limit-connections: 2 are open: none is idle, so they wait"]


# --- of one client --------------------------------------------------------------------------------


def test_a_client_has_its_number_and_others_theirs():
    scene = Scene(per_address=2)
    assert [bool(scene.come()) for _ in range(3)] == [True, True, False]
    assert scene.come("203.0.113.8")


def test_one_that_leaves_makes_room_for_its_like():
    scene = Scene(per_address=1)
    for _ in range(3):
        guest = scene.come()
        assert guest
        guest.leave()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8:0:0:ffff::1", "2001:db8::2", True),
        ("2001:db8:0:1::1", "2001:db8::1", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.8", False),
        ("fe80::1%eth0", "fe80::2", True),
    ],
)
def test_a_network_of_ipv6_is_one_client(one, other, same):
    scene = Scene(per_address=1)
    assert scene.come(one)
    assert (scene.come(other) is None) is same


def test_handshakes_of_a_client_count():
    scene = Scene(per_address=1)
    client = ("203.0.113.7", 1)
    assert scene.crowd.arrived(client)
    assert not scene.crowd.arrived(client)
    scene.crowd.settled(client)  # nothing came of it
    assert scene.crowd.arrived(client)


def test_a_client_whose_connections_arrive_together_gets_all_it_may_have():
    scene = Scene(per_address=2)
    client = ("203.0.113.7", 1)
    assert scene.crowd.arrived(client)
    guest = Guest(scene.members, None, client, deaf=False)
    scene.members.add(cast("Connection", guest))
    assert scene.crowd.arrived(client)  # the first one has joined, and is not settled
    assert not scene.crowd.arrived(client)


def test_a_connection_that_changes_its_protocol_is_still_one():
    scene = Scene(per_address=1)
    first = scene.come()
    second = Guest(scene.members, None, first.client, deaf=False)
    first.leave()
    scene.members.add(cast("Connection", second))
    assert scene.come() is None
    second.leave()
    assert scene.come()


@pytest.mark.parametrize("host", [None, "10.0.0.1", "not an address"])
def test_proxies_and_sockets_without_an_address_are_not_counted(host):
    scene = Scene(per_address=1)
    assert all(scene.come(host) for _ in range(5))


def test_nothing_is_kept_of_who_has_left():
    scene = Scene(per_address=2)
    for number in range(50):
        scene.come(f"203.0.113.{number}").leave()
    crowd = scene.crowd
    assert not crowd._open_by
    assert not crowd._arriving_by
    assert not crowd._landed_by


def test_a_second_has_one_line_for_all_that_were_turned_away(caplog):
    scene = Scene(per_address=1)
    for _ in range(4):
        scene.come()
    scene.crowd.sweep()
    assert lines(caplog) == [
        "limit-connections-per-address: 3 closed, the last of 203.0.113.7:50000"
    ]
    scene.crowd.sweep()
    assert lines(caplog) == []
