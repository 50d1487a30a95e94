"""Pings, lifetimes and shutdown: what happens when time passes, without a timer."""

from __future__ import annotations

import pytest

from gateway.websocket.close_codes import close_payload
from gateway.websocket.codec import CLOSE, PING, PONG, TEXT

from .fakes import Client, masked

SILENT = (CLOSE, close_payload(1011, "keepalive ping timeout"))


def ping_of(client: Client) -> bytes:
    ((opcode, payload),) = client.frames()
    assert opcode == PING
    return payload


def test_a_ping_is_sent_after_the_interval():
    client = Client.accepted(ping_interval=20.0, ping_timeout=20.0)
    client.pass_time(19)
    assert client.frames() == []
    client.pass_time(20)
    assert ping_of(client) != b""


def test_a_pong_begins_the_next_interval():
    client = Client.accepted(ping_interval=20.0, ping_timeout=5.0)
    client.pass_time(20)
    client.send(PONG, ping_of(client))
    assert client.wire.deadline == 20
    client.pass_time(20)
    ping_of(client)


def test_a_peer_that_sends_nothing_after_a_ping_ends_in_1011():
    client = Client.accepted(ping_interval=20.0, ping_timeout=5.0)
    client.send(TEXT, b"before the ping")
    client.pass_time(20)
    ping_of(client)
    client.pass_time(5)
    assert client.frames() == [SILENT]
    assert client.session.closed == (1011, "keepalive ping timeout")
    client.pass_time(10)
    assert client.wire.ended


def test_bytes_after_a_ping_are_life_too():
    client = Client.accepted(ping_interval=20.0, ping_timeout=5.0)
    client.pass_time(20)
    ping_of(client)
    client.send_bytes(masked(TEXT, bytes(1000))[:500])
    client.pass_time(5)
    ping_of(client)
    client.pass_time(5)
    assert client.frames() == [SILENT]


def test_a_pong_that_answers_nothing_begins_no_interval():
    client = Client.accepted(ping_interval=20.0, ping_timeout=5.0)
    client.send(PONG, b"unasked")
    client.pass_time(20)
    ping_of(client)
    client.send(PONG, b"heartbeat")
    assert client.wire.deadline == 5


def test_a_peer_that_cannot_be_heard_because_the_application_is_slow_stays():
    client = Client.accepted(ping_interval=20.0, ping_timeout=5.0, max_queue=1)
    client.send(TEXT, b"1")
    client.send(TEXT, b"2")
    client.pass_time(20)
    answer = ping_of(client)
    client.pass_time(5)
    client.pass_time(5)
    assert client.session.state == "open"
    client.clock.now += 4
    client.messages()
    assert client.wire.deadline == 5
    client.send(PONG, answer)
    assert client.wire.deadline == 20


def test_a_peer_that_stays_silent_when_it_can_be_heard_again_ends_in_1011():
    client = Client.accepted(ping_interval=20.0, ping_timeout=5.0, max_queue=1)
    client.send(TEXT, b"1")
    client.pass_time(20)
    ping_of(client)
    client.messages()
    client.pass_time(5)
    assert client.frames() == [SILENT]


def test_without_a_timeout_pings_go_on():
    client = Client.accepted(ping_interval=20.0, ping_timeout=None)
    for _ in range(3):
        client.pass_time(20)
        ping_of(client)


def test_without_an_interval_nothing_is_due():
    client = Client.accepted(ping_interval=None, ping_timeout=20.0)
    assert client.wire.deadline is None


def test_a_deadline_of_somebody_else_changes_nothing():
    client = Client.accepted(ping_interval=20.0, ping_timeout=20.0)
    client.clock.now += 8
    client.session.on_deadline()
    assert client.frames() == []
    assert client.wire.deadline == 12


def test_a_sweep_may_come_a_second_early():
    client = Client.accepted(ping_interval=20.0, ping_timeout=20.0)
    client.clock.now += 19.1
    client.session.on_deadline()
    ping_of(client)


# --- lifetime -------------------------------------------------------------------------------------


def test_a_session_ends_in_1001_at_the_end_of_its_lifetime():
    client = Client.accepted(lifetime=3600.0)
    client.pass_time(3599)
    assert client.session.state == "open"
    client.pass_time(3600)
    assert client.session.closed == (1001, "maximum lifetime reached")


def test_pings_do_not_prolong_a_lifetime():
    client = Client.accepted(lifetime=50.0, ping_interval=20.0, ping_timeout=20.0)
    for _ in range(2):
        client.pass_time(20)
        client.send(PONG, ping_of(client))
    assert client.wire.deadline == 10
    client.pass_time(10)
    assert client.session.closed == (1001, "maximum lifetime reached")


def test_a_lifetime_begins_with_the_accept():
    client = Client(lifetime=100.0)
    client.clock.now += 50
    client.session.accept()
    assert client.wire.deadline == 100


# --- shutdown -------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1012, 1001])
def test_a_shutdown_says_so_and_waits_for_the_peer(code):
    client = Client.accepted(shutdown_code=code)
    client.send(TEXT, b"before")
    client.session.on_shutdown()
    assert client.frames() == [(CLOSE, close_payload(code))]
    assert client.session.closed == (code, "")
    assert client.messages() == ["before"]
    client.send(CLOSE, close_payload(code))
    assert client.wire.ended


def test_a_shutdown_before_the_accept_refuses():
    client = Client()
    client.session.on_shutdown()
    assert client.wire.status == 503
    assert client.session.closed == (1006, "")


def test_a_shutdown_after_the_end_changes_nothing():
    client = Client.accepted()
    client.send(CLOSE, close_payload(1000))
    client.frames()
    client.session.on_shutdown()
    client.session.on_deadline()
    assert client.frames() == []
    assert client.session.closed == (1000, "")


def test_a_shutdown_during_our_close_changes_nothing():
    client = Client.accepted()
    client.session.close(4000)
    client.frames()
    client.session.on_shutdown()
    assert client.frames() == []
    assert client.session.closed == (4000, "")
