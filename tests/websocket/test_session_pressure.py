"""Who is slower makes the other one wait: applications that do not take, peers that do not read."""

from __future__ import annotations

import os

import pytest

from gateway.exchange import ClientGone
from gateway.websocket.close_codes import close_payload
from gateway.websocket.codec import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from gateway.websocket.deflate import Deflate

from .fakes import Client, masked

OFFER = [(b"sec-websocket-extensions", b"permessage-deflate")]

# --- an application that does not take ------------------------------------------------------------


def test_a_full_queue_stops_the_reading():
    client = Client.accepted(max_queue=2)
    for text in (b"1", b"2", b"3", b"4"):
        client.send(TEXT, text)
    assert client.unread() == len(masked(TEXT, b"3") + masked(TEXT, b"4"))


def test_taking_a_message_makes_room_for_one():
    client = Client.accepted(max_queue=2)
    for text in (b"1", b"2", b"3", b"4"):
        client.send(TEXT, text)
    assert client.session.take() == "1"
    assert client.unread() == 0
    assert client.session.messages_received == 3
    assert client.messages() == ["2", "3", "4"]


def test_messages_beyond_the_queue_in_one_read_wait_as_they_are():
    client = Client.accepted(max_queue=2)
    client.send_bytes(b"".join(masked(TEXT, b"%d" % number) for number in range(100)))
    assert client.session.messages_received == 2
    client.send(TEXT, b"100")
    assert client.unread() > 0
    assert client.messages() == [str(number) for number in range(101)]
    assert client.unread() == 0


def test_nothing_is_inflated_that_has_no_room():
    zeros = bytes(1024 * 1024)
    bomb = masked(BINARY, Deflate().deflate(zeros), rsv1=True)
    client = Client.accepted(max_queue=2, max_size=len(zeros), opening_fields=OFFER)
    client.send_bytes(bomb)
    assert client.session.messages_received == 1
    client.send_bytes(bomb * 20)
    assert client.session.messages_received == 1, "as long as a message may be: no more of them"
    assert client.session.take() == zeros


def test_long_messages_fill_the_queue_before_their_number_does():
    client = Client.accepted(max_queue=32, max_size=1000)
    client.send(BINARY, bytes(600))
    client.send(BINARY, bytes(600))
    client.send(BINARY, bytes(600))
    assert client.session.messages_received == 2
    assert len(client.messages()) == 3


def test_a_ping_behind_waiting_messages_is_answered_as_soon_as_it_was_read():
    client = Client.accepted(max_queue=1)
    client.send_bytes(masked(TEXT, b"1") + masked(TEXT, b"2") + masked(PING, b"now"))
    assert client.frames() == [(PONG, b"now")]


def test_a_close_behind_more_messages_than_fit_is_answered_behind_them():
    client = Client.accepted(max_queue=1)
    client.send_bytes(masked(TEXT, b"1") + masked(TEXT, b"2") + masked(CLOSE, close_payload(1000)))
    assert client.session.take() == "1"
    client.session.send("answer")
    assert client.messages() == ["2"]
    assert client.session.closed == (1000, "")
    assert client.frames() == [(TEXT, b"answer"), (CLOSE, close_payload(1000))]


def test_messages_that_did_not_fit_can_be_taken_after_the_end():
    client = Client.accepted(max_queue=1)
    client.send_bytes(masked(TEXT, b"1") + masked(TEXT, b"2") + masked(CLOSE))
    client.pass_time(1)
    assert client.session.state == "closed"
    assert client.messages() == ["1", "2"]


def test_a_close_that_waits_unread_is_found_when_there_is_room():
    client = Client.accepted(max_queue=1)
    client.send(TEXT, b"1")
    client.send(CLOSE, close_payload(1000))
    assert client.session.closed is None
    assert client.messages() == ["1"]
    assert client.session.closed == (1000, "")


def test_an_end_of_file_that_waits_is_found_when_there_is_room():
    client = Client.accepted(max_queue=1)
    client.send(TEXT, b"1")
    client.send(TEXT, b"2")
    client.exchange.peer_closed()
    assert client.messages() == ["1", "2"]
    assert client.session.closed == (1006, "")


def test_a_violation_in_a_waiting_frame_is_found_when_there_is_room():
    client = Client.accepted(max_queue=1)
    client.send_bytes(masked(TEXT, b"1") + masked(TEXT, b"\xff") + masked(TEXT, b"3"))
    assert client.session.closed is None
    assert client.messages() == ["1"]
    assert client.session.closed is not None
    assert client.session.closed[0] == 1007


def test_our_close_is_answered_although_the_queue_is_full():
    client = Client.accepted(max_queue=1)
    client.send(TEXT, b"1")
    client.send(TEXT, b"2")
    client.send(CLOSE, close_payload(1000))
    client.session.close()
    assert client.wire.ended
    assert client.unread() == 0
    assert client.messages() == ["1"]


def test_empty_fragments_cost_no_memory():
    client = Client.accepted()
    client.send(BINARY, b"", fin=False)
    for _ in range(50):
        client.send_bytes(masked(CONTINUATION, b"", fin=False) * 100)
    client.send(CONTINUATION, b"end")
    assert client.messages() == [b"end"]


# --- a peer that does not read --------------------------------------------------------------------


def test_writable_is_what_the_wire_says():
    client = Client.accepted()
    assert client.session.writable
    client.exchange.set_writable(False)
    assert not client.session.writable
    before = client.listener.news
    client.exchange.set_writable(True)
    assert client.session.writable
    assert client.listener.news == before + 1


def test_nobody_has_to_wait_for_a_peer_that_is_gone():
    client = Client.accepted()
    client.exchange.set_writable(False)
    client.exchange.lost()
    assert client.session.writable
    with pytest.raises(ClientGone):
        client.session.send("late")


def test_only_the_last_ping_of_a_peer_that_does_not_read_is_answered():
    client = Client.accepted()
    client.exchange.set_writable(False)
    for number in range(1000):
        client.send(PING, b"%d" % number)
    assert client.frames() == []
    assert client.unread() == 0
    client.exchange.set_writable(True)
    assert client.frames() == [(PONG, b"999")]


def test_a_ping_that_waits_is_not_answered_after_our_close():
    client = Client.accepted()
    client.exchange.set_writable(False)
    client.send(PING, b"x")
    client.session.close()
    client.exchange.set_writable(True)
    assert client.frames() == [(CLOSE, close_payload(1000))]


# --- compression ----------------------------------------------------------------------------------


def test_compression_is_agreed_to_when_it_is_offered():
    client = Client.accepted(opening_fields=OFFER)
    agreed = client.wire.header(b"sec-websocket-extensions")
    assert agreed is not None
    assert agreed.startswith(b"permessage-deflate")


@pytest.mark.parametrize("options", [{"deflate": False, "opening_fields": OFFER}, {}])
def test_compression_is_not_agreed_to_when_either_side_does_not_want_it(options):
    client = Client.accepted(**options)
    assert client.wire.header(b"sec-websocket-extensions") is None
    client.session.send("a" * 1000)
    assert client.frames() == [(TEXT, b"a" * 1000)]
    client.send(TEXT, b"\x00", rsv1=True)
    assert client.session.closed is not None
    assert client.session.closed[0] == 1002


def test_long_messages_are_compressed_and_short_ones_are_not():
    client = Client.accepted(opening_fields=OFFER)
    client.session.send("a" * 1000)
    client.session.send(b"b" * 1000)
    client.session.send("short")
    (first, one), (second, two), third = client.frames()
    assert (first, second) == (0x40 | TEXT, 0x40 | BINARY)
    assert third == (TEXT, b"short")
    reader = Deflate(client_bits=12)
    assert reader.inflate(one, fin=True, limit=1000) == b"a" * 1000
    assert reader.inflate(two, fin=True, limit=1000) == b"b" * 1000


def test_compressed_fragments_are_inflated_and_checked_as_text():
    client = Client.accepted(opening_fields=OFFER)
    data = Deflate().deflate("grüße".encode() * 20)
    client.send(TEXT, data[:5], fin=False, rsv1=True)
    client.send(PING)
    client.send(CONTINUATION, data[5:])
    client.send(TEXT, b"plain")
    assert client.messages() == ["grüße" * 20, "plain"]


def test_compressed_text_that_is_not_utf8_ends_in_1007():
    client = Client.accepted(opening_fields=OFFER)
    client.send(TEXT, Deflate().deflate(b"\xff"), rsv1=True)
    assert client.session.closed is not None
    assert client.session.closed[0] == 1007


@pytest.mark.parametrize("cut", [None, 200])
def test_a_message_that_inflates_over_the_limit_ends_in_1009(cut):
    client = Client.accepted(opening_fields=OFFER, max_size=10_000)
    data = Deflate().deflate(os.urandom(100) + bytes(20_000))
    client.send(BINARY, data[:cut], fin=cut is None, rsv1=True)
    if cut is not None:
        client.send(CONTINUATION, data[cut:])
    assert client.session.closed is not None
    assert client.session.closed[0] == 1009
    assert client.messages() == []


def test_data_that_is_not_compressed_as_it_says_ends_the_session():
    client = Client.accepted(opening_fields=OFFER)
    client.send(BINARY, b"\xff\xff\xff\xff", rsv1=True)
    assert client.session.closed is not None
    assert client.session.closed[0] == 1002
