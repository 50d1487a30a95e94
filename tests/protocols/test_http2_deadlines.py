"""How long an HTTP/2 connection waits, by a clock moved by hand; swept as a listener does."""

from __future__ import annotations

import pytest

from gateway.exchange import Exchange
from gateway.protocols.http2_errors import ErrorCode
from gateway.protocols.http2_frames import GOAWAY, PREFACE
from gateway.protocols.http2_settings import Http2Options

from .http2_harness import (
    WINDOW,
    Http2Conversation,
    Speaker,
    block,
    connect,
    continuation,
    data,
    headers,
    hold,
    ping,
    request,
    settings,
    window_update,
)

GET = {":method": "GET", ":scheme": "http", ":path": "/", ":authority": "a"}


# --- the first bytes, partial frames --------------------------------------------------------------


def test_a_silent_connection_is_closed_without_a_word() -> None:
    talk = Http2Conversation(start=False, head_timeout=30)
    talk.pass_time(29)
    assert talk.state == "open"
    talk.pass_time(2)
    assert talk.closed
    assert talk.of_kind(GOAWAY) == []


@pytest.mark.parametrize("part", [b"P", PREFACE, PREFACE + settings({0x4: 1})[:-1]])
def test_half_a_preface_is_not_waited_for(part: bytes) -> None:
    talk = Http2Conversation(start=False, head_timeout=30)
    talk.feed(part)
    talk.pass_time(29)
    assert talk.state == "open"
    talk.pass_time(3)
    assert talk.error == ErrorCode.PROTOCOL_ERROR
    assert talk.closed


def test_a_dripping_preface_does_not_move_its_deadline() -> None:
    talk = Http2Conversation(start=False, head_timeout=10)
    for byte in PREFACE:
        talk.feed(bytes([byte]))
        talk.pass_time(1)
    assert talk.closed


@pytest.mark.parametrize("cut", [1, 8, 9, 12])
def test_half_a_frame_is_not_waited_for(cut: int) -> None:
    talk = Http2Conversation(head_timeout=30)
    talk.feed(request(1)[:cut])
    talk.pass_time(29)
    assert talk.state == "open"
    talk.pass_time(3)
    assert talk.error == ErrorCode.PROTOCOL_ERROR
    assert talk.closed


def test_a_dripping_frame_does_not_move_its_deadline() -> None:
    talk = Http2Conversation(hold, head_timeout=10)
    talk.send(request(1, "POST", end=False))
    for byte in data(1, bytes(100))[:20]:
        talk.feed(bytes([byte]))
        talk.pass_time(1)
    assert talk.error == ErrorCode.PROTOCOL_ERROR
    assert talk.ended_once


def test_each_frame_has_a_deadline_of_its_own() -> None:
    talk = Http2Conversation(head_timeout=10, body_rate=100)
    talk.send(request(1, "POST", end=False))
    body = data(1, bytes(1000)) * 20
    for at in range(0, len(body), 500):
        talk.feed(body[at : at + 500])
        talk.pass_time(4)
    talk.send(data(1, end=True))
    assert talk.requests[0].body == bytes(20_000)


def test_a_section_that_is_not_continued_is_not_waited_for() -> None:
    talk = Http2Conversation(head_timeout=30)
    talk.send(headers(1, block(GET)[:3], whole=False))
    talk.pass_time(32)
    assert talk.error == ErrorCode.PROTOCOL_ERROR


def test_continuing_it_slowly_does_not_move_its_deadline() -> None:
    talk = Http2Conversation(head_timeout=10)
    talk.send(headers(1, b"", whole=False))
    for byte in block(GET) * 4:
        talk.send(continuation(1, bytes([byte]), whole=False))
        talk.pass_time(1)
    assert talk.error == ErrorCode.PROTOCOL_ERROR


def test_the_deadline_of_a_frame_ends_with_it() -> None:
    talk = Http2Conversation(hold, head_timeout=10)
    talk.feed(request(1)[:5])
    talk.pass_time(9)
    talk.feed(request(1)[5:])
    talk.pass_time(60)
    assert talk.error is None


# --- idle -----------------------------------------------------------------------------------------


def test_an_idle_connection_says_goodbye_and_closes() -> None:
    talk = Http2Conversation(keep_alive=5)
    talk.send(request(1))
    talk.pass_time(4)
    assert talk.state == "open"
    talk.pass_time(3)
    assert (talk.frames[-1].kind, talk.error) == (GOAWAY, ErrorCode.NO_ERROR)
    assert talk.frames[-1].number == 1
    assert talk.closed


def test_one_that_never_asked_is_idle_from_the_beginning() -> None:
    talk = Http2Conversation(keep_alive=5, head_timeout=30)
    talk.pass_time(7)
    assert talk.error == ErrorCode.NO_ERROR


def test_each_request_begins_anew() -> None:
    talk = Http2Conversation(keep_alive=5)
    for stream in (1, 3, 5):
        talk.send(request(stream))
        talk.pass_time(4)
    assert talk.state == "open"


def test_a_connection_is_not_idle_while_something_is_under_way() -> None:
    talk = Http2Conversation(hold, keep_alive=5)
    talk.send(request(1))
    talk.pass_time(1000)
    talk.run(lambda: talk.exchanges[0].start(200, [], b"late"))
    assert talk.replies[1].body == b"late"
    talk.pass_time(4)
    assert talk.state == "open"
    talk.pass_time(3)
    assert talk.closed


def test_pings_do_not_keep_it_open() -> None:
    talk = Http2Conversation(keep_alive=5)
    for _ in range(7):
        talk.send(ping())
        talk.pass_time(1)
    assert talk.closed


def test_an_idle_connection_is_not_looked_at_each_second() -> None:
    talk = Http2Conversation(keep_alive=75)
    talk.send(request(1))
    talk.pass_time(3)
    assert talk.connection.deadline > talk.clock.now + 60


# --- request bodies -------------------------------------------------------------------------------


def test_a_body_that_stops_is_told_so() -> None:
    talk = Http2Conversation(hold, body_timeout=30)
    talk.send(request(1, "POST", end=False), data(1, b"hel"))
    talk.pass_time(29)
    assert 1 not in talk.replies
    talk.pass_time(2)
    assert talk.replies[1].status == 408
    assert talk.replies[1].reset == ErrorCode.NO_ERROR
    assert talk.ended_once
    assert talk.state == "open"


def test_one_that_never_begins_is_told_so_too() -> None:
    talk = Http2Conversation(hold, body_timeout=30)
    talk.send(request(1, "POST", end=False))
    talk.pass_time(31)
    assert talk.replies[1].status == 408


def test_each_byte_moves_its_deadline() -> None:
    talk = Http2Conversation(body_timeout=30, body_rate=240)
    talk.send(request(1, "POST", end=False))
    for _ in range(50):
        talk.pass_time(20)
        talk.send(data(1, bytes(20 * 240)))
    talk.send(data(1, end=True))
    assert talk.replies[1].status == 200


def test_one_that_drips_is_told_so() -> None:
    talk = Http2Conversation(hold, body_timeout=30, body_rate=240)
    talk.send(request(1, "POST", end=False), data(1, bytes(15_000)))
    for _ in range(14):
        talk.pass_time(2)
        talk.send(data(1, b"x"))
    assert 1 not in talk.replies
    talk.pass_time(4)
    assert talk.replies[1].status == 408


@pytest.mark.parametrize("pad", [None, 200])
def test_neither_empty_frames_nor_padding_move_its_deadline(pad: int | None) -> None:
    talk = Http2Conversation(hold, body_timeout=30, body_rate=240)
    talk.send(request(1, "POST", end=False))
    for _ in range(32):
        talk.pass_time(1)
        talk.send(data(1, pad=pad))
    assert talk.replies[1].status == 408


def test_without_a_rate_each_byte_gives_it_the_whole_time() -> None:
    talk = Http2Conversation(hold, body_timeout=30, body_rate=0)
    talk.send(request(1, "POST", end=False))
    for _ in range(10):
        talk.pass_time(29)
        talk.send(data(1, b"x"))
    assert 1 not in talk.replies


def test_its_time_begins_when_it_is_asked_for() -> None:
    talk = Http2Conversation(hold, body_timeout=30)
    talk.send(request(1, "POST", "/", ("expect", "100-continue"), end=False))
    talk.pass_time(29)
    talk.run(talk.exchanges[0].read)
    talk.pass_time(29)
    assert talk.replies[1].status is None
    talk.pass_time(2)
    assert talk.replies[1].status == 408


def test_a_body_that_has_ended_is_not_waited_for() -> None:
    talk = Http2Conversation(hold, body_timeout=30)
    talk.send(request(1, "POST", end=False), data(1, b"x", end=True))
    talk.pass_time(1000)
    assert 1 not in talk.replies


@pytest.mark.parametrize("pad", [None, 100])
def test_an_application_that_does_not_read_is_not_the_clients_fault(pad: int | None) -> None:
    talk = Http2Conversation(hold, body_timeout=30)
    talk.send(request(1, "POST", end=False), *[data(1, bytes(16_000), pad=pad)] * 15)
    talk.pass_time(1000)
    assert 1 not in talk.replies


def test_when_it_reads_the_client_has_its_time_again() -> None:
    talk = Http2Conversation(hold, body_timeout=30)
    talk.send(request(1, "POST", end=False), *[data(1, bytes(16_000))] * 15)
    talk.pass_time(1000)
    talk.run(talk.exchanges[0].read)
    talk.pass_time(29)
    assert 1 not in talk.replies
    talk.pass_time(2)
    assert talk.replies[1].status == 408


def test_a_client_that_waits_to_be_asked_is_not_hurried() -> None:
    talk = Http2Conversation(hold, body_timeout=30)
    talk.send(request(1, "POST", "/", ("expect", "100-continue"), end=False))
    talk.pass_time(1000)
    assert talk.replies == {}
    talk.run(talk.exchanges[0].read)
    talk.pass_time(61)
    assert talk.replies[1].status == 408


def test_in_mid_response_its_stream_is_reset() -> None:
    talk = Http2Conversation(
        lambda exchange: exchange.start(200, [], b"hel", more=True), body_timeout=30
    )
    talk.send(request(1, "POST", end=False))
    talk.pass_time(31)
    assert talk.replies[1].reset == ErrorCode.CANCEL
    assert talk.ended_once


def test_a_complete_response_leaves_however_long_that_takes() -> None:
    talk = Http2Conversation(
        lambda exchange: exchange.start(200, [], bytes(200_000)), body_timeout=30
    )
    talk.send(request(1, "POST", end=False))
    while talk.replies[1].reset is None:
        talk.pass_time(10)
        talk.send(window_update(0, 10_000), window_update(1, 10_000))
    assert len(talk.replies[1].body) == 200_000
    assert talk.replies[1].ended


# --- peers that do not read -----------------------------------------------------------------------


def large(exchange: Exchange) -> None:
    exchange.start(200, [], bytes(200_000))


def test_a_stream_whose_window_stays_closed_is_reset() -> None:
    talk = Http2Conversation(
        lambda exchange: exchange.start(200, [], b"hello"), values={0x4: 0}, write_timeout=60
    )
    talk.send(request(1))
    talk.pass_time(59)
    assert talk.replies[1].reset is None
    talk.pass_time(2)
    assert talk.replies[1].reset == ErrorCode.CANCEL
    assert talk.state == "open"
    assert talk.ended_once


def test_a_byte_gives_it_another_term() -> None:
    talk = Http2Conversation(large, values={0x4: 0}, write_timeout=60)
    talk.send(request(1))
    for _ in range(5):
        talk.pass_time(50)
        talk.send(window_update(1, 1))
    assert talk.replies[1].reset is None


def test_a_connection_whose_window_stays_closed_is_cut() -> None:
    talk = Http2Conversation(large, values={0x4: 1 << 20}, write_timeout=60)
    talk.send(request(1))
    assert len(talk.replies[1].body) == WINDOW
    talk.pass_time(59)
    assert talk.state == "open"
    talk.pass_time(3)
    assert talk.state == "cut"
    assert talk.ended_once


def test_its_streams_are_not_reset_for_that() -> None:
    talk = Http2Conversation(large, values={0x4: 1 << 20}, write_timeout=60)
    talk.send(request(1), request(3))
    for _ in range(10):
        talk.pass_time(30)
        talk.send(window_update(0, 100))
    assert [reply.reset for reply in talk.replies.values()] == [None, None]
    assert talk.state == "open"


def test_a_socket_that_takes_nothing_is_cut() -> None:
    talk = Http2Conversation(large, values={0x4: 1 << 20}, write_timeout=60)
    talk.send(window_update(0, 1 << 20))
    talk.transport.peer_stops_reading()
    talk.send(request(1))
    talk.pass_time(59)
    assert talk.state == "open"
    talk.pass_time(3)
    assert talk.state == "cut"


def test_a_socket_that_takes_little_is_not() -> None:
    talk = Http2Conversation(large, values={0x4: 1 << 20}, write_timeout=60)
    talk.send(window_update(0, 1 << 20))
    talk.transport.peer_stops_reading()
    talk.send(request(1))
    for _ in range(10):
        talk.pass_time(50)
        talk.transport.peer_takes(1)
    assert talk.state == "open"


def test_a_socket_that_never_took_anything_is_cut_too() -> None:
    def answer(exchange: Exchange) -> None:
        if exchange.head.method == "HEAD":
            exchange.start(200, [(b"set-cookie", bytes(4000).replace(b"\0", b"x"))])

    talk = Http2Conversation(answer, write_timeout=60)
    talk.transport.peer_stops_reading()
    talk.send(request(1), *[request(stream, "HEAD") for stream in range(3, 81, 2)])
    talk.pass_time(70)
    assert talk.state == "cut"


# --- tunnels --------------------------------------------------------------------------------------


def test_a_tunnel_is_not_waited_for() -> None:
    speaker = Speaker()
    talk = Http2Conversation(speaker, keep_alive=5, body_timeout=5)
    talk.send(connect(1))
    talk.pass_time(1000)
    assert talk.state == "open"
    assert speaker.news == []


def test_a_tunnel_that_is_not_open_yet_has_no_body_to_wait_for() -> None:
    talk = Http2Conversation(Speaker(opens=False), body_timeout=5)
    talk.send(connect(1))
    talk.pass_time(100)
    assert 1 not in talk.replies


def test_a_tunnel_hears_of_the_deadline_it_has_asked_for_once() -> None:
    speaker = Speaker()
    talk = Http2Conversation(speaker)
    talk.send(connect(1))
    speaker.exchange.set_deadline(10)
    talk.pass_time(9)
    assert speaker.news == []
    talk.pass_time(100)
    assert speaker.news == ["deadline"]


def test_the_last_deadline_holds() -> None:
    speaker = Speaker()
    talk = Http2Conversation(speaker)
    talk.send(connect(1))
    speaker.exchange.set_deadline(10)
    speaker.exchange.set_deadline(50)
    talk.pass_time(40)
    assert speaker.news == []
    speaker.exchange.set_deadline(None)
    talk.pass_time(100)
    assert speaker.news == []


def test_data_does_not_move_the_deadline_of_a_tunnel() -> None:
    speaker = Speaker()
    talk = Http2Conversation(speaker, options=Http2Options(initial_window=WINDOW))
    talk.send(connect(1))
    speaker.exchange.set_deadline(10)
    for _ in range(12):
        talk.send(data(1, bytes(16_384)))
        talk.pass_time(1)
    assert speaker.news.count("deadline") == 1


def test_a_tunnel_whose_window_stays_closed_is_reset() -> None:
    speaker = Speaker()
    talk = Http2Conversation(speaker, values={0x4: 0}, write_timeout=60)
    talk.send(connect(1))
    talk.run(lambda: speaker.exchange.write(b"x", more=True))
    talk.pass_time(62)
    assert talk.replies[1].reset == ErrorCode.CANCEL
    assert speaker.news == ["gone"]


# --- the end --------------------------------------------------------------------------------------


def test_lingering_ends() -> None:
    talk = Http2Conversation()
    talk.send(data(0))
    assert talk.transport.state == "open"
    talk.pass_time(4)
    assert talk.transport.state == "lost"
    assert not talk.context.connections


@pytest.mark.parametrize("alpn", [None, "h2"], ids=["plain", "TLS"])
@pytest.mark.parametrize("idle", [0, 5, 70])
def test_lingering_waits_for_what_is_still_leaving(alpn: str | None, idle: int) -> None:
    talk = Http2Conversation(lambda exchange: exchange.start(200, [], bytes(60_000)), alpn=alpn)
    talk.pass_time(idle)
    talk.transport.peer_stops_reading()
    talk.run(talk.http2.drain)
    talk.send(request(1), ping(b"leaving!", ack=True))
    while talk.transport.get_write_buffer_size() and talk.transport.state != "lost":
        talk.pass_time(10)
        talk.transport.peer_takes(5000)
    talk.settle()
    assert len(talk.replies[1].body) == 60_000


def test_but_not_for_a_peer_that_takes_nothing() -> None:
    talk = Http2Conversation(lambda exchange: exchange.start(200, [], bytes(60_000)))
    talk.transport.peer_stops_reading()
    talk.send(request(1), data(0))
    talk.pass_time(70)
    assert talk.transport.state == "lost"


def test_a_lost_connection_is_not_swept() -> None:
    talk = Http2Conversation(hold, body_timeout=5)
    talk.send(request(1, "POST", end=False))
    talk.lose()
    assert talk.connection.deadline == float("inf")


# --- idle, for who needs its place ----------------------------------------------------------------


def test_a_new_connection_is_idle_after_a_second() -> None:
    talk = Http2Conversation()
    assert talk.connection.idle_since is None
    talk.pass_time(2)
    assert talk.connection.idle_since == talk.time.now - 2


def test_it_is_idle_without_streams() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1))
    talk.pass_time(5)
    assert talk.connection.idle_since is None
    talk.run(lambda: talk.exchanges[0].start(200, [], b"hello"))
    assert talk.connection.idle_since == talk.time.now
    talk.feed(request(3)[:5])
    assert talk.connection.idle_since is None


def test_an_idle_one_that_makes_room_says_goodbye() -> None:
    talk = Http2Conversation()
    talk.send(request(1))
    talk.run(talk.connection.end_idle)
    assert talk.of_kind(GOAWAY)[0].number == 1
    assert talk.closed
