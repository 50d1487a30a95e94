"""How an HTTP/2 connection ends when its server stops (RFC 9113, section 6.8)."""

from __future__ import annotations

import pytest

from gateway.exchange import Exchange
from gateway.protocols.http2_errors import ErrorCode
from gateway.protocols.http2_frames import GOAWAY, PING, PREFACE, RST_STREAM
from gateway.protocols.http2_sender import LARGEST_WINDOW

from .http2_harness import (
    Frame,
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
    reset,
    settings,
    window_update,
)

LEAVING = ping(b"leaving!", ack=True)


def drained(talk: Http2Conversation) -> list[Frame]:
    return talk.run(talk.http2.drain)


def farewells(talk: Http2Conversation) -> list[tuple[int, int]]:
    """(last stream, code) of each GOAWAY."""
    return [(each.number, each.code) for each in talk.of_kind(GOAWAY)]


def test_a_stop_is_said_without_a_limit_first() -> None:
    talk = Http2Conversation()
    goaway, probe = drained(talk)
    assert (goaway.kind, goaway.number, goaway.code) == (GOAWAY, LARGEST_WINDOW, ErrorCode.NO_ERROR)
    assert (probe.kind, probe.flags) == (PING, 0)
    assert talk.state == "open"


def test_when_that_is_heard_the_last_stream_is_named() -> None:
    talk = Http2Conversation()
    talk.send(request(1), request(3))
    drained(talk)
    talk.send(LEAVING)
    assert farewells(talk)[1:] == [(3, ErrorCode.NO_ERROR)]
    assert talk.state == "closed"


def test_it_is_not_waited_for_longer_than_a_second() -> None:
    talk = Http2Conversation()
    drained(talk)
    talk.pass_time(2)
    assert len(farewells(talk)) == 2
    assert talk.closed


def test_a_cut_over_tls_ends_what_was_closed_and_did_not_go() -> None:
    """Closed a second time, asyncio's TLS transport could not be aborted any more."""
    talk = Http2Conversation(alpn="h2")
    talk.transport.peer_stops_reading()
    drained(talk)
    talk.send(LEAVING)
    assert not talk.transport.aborted
    talk.run(talk.http2.cut)
    talk.pass_time(2)
    assert talk.transport.aborted


def test_a_second_stop_says_nothing_more() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1))
    drained(talk)
    assert drained(talk) == []


def test_other_answers_to_pings_do_not_count() -> None:
    talk = Http2Conversation()
    drained(talk)
    assert talk.send(ping(b"12345678", ack=True)) == []
    assert talk.state == "open"


def test_requests_on_their_way_are_taken() -> None:
    talk = Http2Conversation(hold)
    drained(talk)
    talk.send(request(1), LEAVING)
    assert farewells(talk)[-1] == (1, ErrorCode.NO_ERROR)
    talk.run(lambda: talk.exchanges[0].start(200, [], b"hello"))
    assert talk.replies[1].body == b"hello"
    assert talk.state == "closed"


def test_what_has_begun_is_completed() -> None:
    talk = Http2Conversation(lambda exchange: exchange.start(200, [], bytes(100_000)))
    talk.send(request(1))
    drained(talk)
    talk.send(LEAVING)
    assert talk.state == "open"
    talk.send(window_update(0, 100_000), window_update(1, 100_000))
    assert len(talk.replies[1].body) == 100_000
    assert talk.state == "closed"


def test_so_is_an_upload() -> None:
    talk = Http2Conversation()
    talk.send(request(1, "POST", end=False))
    drained(talk)
    talk.send(LEAVING, data(1, b"hel"))
    talk.send(data(1, b"lo", end=True))
    assert talk.requests[0].body == b"hello"
    assert talk.state == "closed"


@pytest.mark.parametrize(
    "late",
    [
        (request(3),),
        (request(3, "POST", end=False), data(3, b"x"), data(3, b"y", end=True)),
        (request(3, "POST", end=False), data(3, b"x"), headers(3, block({"x": "y"}))),
        (request(3), window_update(3, 100)),
        (request(3), reset(3)),
        (headers(3, b"", whole=False), continuation(3, block({":method": "GET"}))),
        (request(3), request(5), request(7), data(5), reset(7)),
    ],
    ids=["GET", "POST", "trailers", "window", "reset", "continued", "several"],
)
def test_requests_behind_that_are_refused_and_harm_nobody(late: tuple[bytes, ...]) -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1))
    drained(talk)
    talk.send(LEAVING)
    talk.send(*late)
    assert {each.code for each in talk.of_kind(RST_STREAM)} <= {ErrorCode.REFUSED_STREAM}
    assert len(talk.exchanges) == 1
    assert farewells(talk)[-1] == (1, ErrorCode.NO_ERROR)
    talk.run(lambda: talk.exchanges[0].start(200, [], b"hello"))
    assert talk.replies[1].body == b"hello"


@pytest.mark.parametrize(
    "behind", [request(1), ping(), settings({}), data(0), window_update(0, 5), b"\0\0\0\0"],
    ids=["GET", "PING", "SETTINGS", "error", "window", "part"],
)  # fmt: skip
def test_frames_in_the_segment_that_ends_it_do_no_harm(behind: bytes) -> None:
    talk = Http2Conversation()
    drained(talk)
    talk.send(LEAVING, behind)
    assert talk.state == "closed"
    assert talk.error == ErrorCode.NO_ERROR
    assert talk.exchanges == []


def test_frames_behind_the_reset_of_the_last_stream_do_no_harm() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1))
    drained(talk)
    talk.send(LEAVING)
    talk.send(reset(1), ping(), window_update(0, 5))
    assert talk.state == "closed"


def test_a_flood_of_late_requests_ends_the_connection() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1))
    drained(talk)
    talk.send(LEAVING)
    for stream in range(3, 6003, 2):
        talk.send(request(stream))
    assert talk.error == ErrorCode.ENHANCE_YOUR_CALM
    assert talk.ended_once


def test_an_error_names_the_same_last_stream() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1))
    drained(talk)
    talk.send(LEAVING)
    talk.send(request(3), data(0))
    assert farewells(talk)[1:] == [(1, ErrorCode.NO_ERROR), (1, ErrorCode.PROTOCOL_ERROR)]


def test_while_a_listener_drains_each_connection_says_so_with_its_next_stream() -> None:
    talk = Http2Conversation()
    talk.context.draining = True
    talk.send(request(1))
    assert talk.replies[1].body == b"hello"
    assert farewells(talk) == [(LARGEST_WINDOW, ErrorCode.NO_ERROR)]
    talk.send(LEAVING)
    assert talk.state == "closed"


def test_a_connection_that_has_said_nothing_yet_may_still_ask() -> None:
    talk = Http2Conversation(start=False)
    drained(talk)
    talk.send(PREFACE, settings({}), request(1), LEAVING)
    assert talk.replies[1].body == b"hello"
    assert talk.closed


def test_and_is_closed_when_it_does_not() -> None:
    talk = Http2Conversation(start=False)
    drained(talk)
    talk.pass_time(3)
    assert talk.closed


def test_a_tunnel_is_left_to_its_own_farewell() -> None:
    speaker = Speaker()
    talk = Http2Conversation(speaker)
    talk.send(connect(1))
    drained(talk)
    talk.send(LEAVING)
    assert talk.state == "open"
    talk.run(lambda: speaker.exchange.write(b"bye", more=False))
    assert talk.replies[1].body == b"bye"
    assert talk.state == "closed"


def test_deadlines_hold_meanwhile() -> None:
    talk = Http2Conversation(hold, body_timeout=5)
    talk.send(request(1, "POST", end=False))
    drained(talk)
    talk.pass_time(8)
    assert talk.replies[1].status == 408
    assert talk.closed


def test_a_connection_that_has_ended_says_nothing() -> None:
    talk = Http2Conversation()
    talk.send(data(0))
    assert drained(talk) == []


def test_encrypted_connections_close_without_half_a_close() -> None:
    talk = Http2Conversation(alpn="h2")
    talk.pass_time(5)
    drained(talk)
    talk.send(LEAVING)
    assert talk.transport.state == "lost"
    assert talk.http2.closing


def test_but_leave_it_to_the_peer_for_a_while_after_an_answer() -> None:
    talk = Http2Conversation(alpn="h2")
    talk.pass_time(5)
    talk.send(request(1))
    drained(talk)
    talk.send(LEAVING)
    assert talk.transport.state == "open"
    talk.pass_time(4)
    assert talk.transport.state == "lost"


def test_an_event_stream_is_ended() -> None:
    def events(exchange: Exchange) -> None:
        exchange.start(200, [(b"content-type", b"text/event-stream")], b"data: x\n\n", more=True)

    talk = Http2Conversation(events)
    talk.send(request(1))
    drained(talk)
    talk.send(LEAVING)
    talk.run(talk.exchanges[0].end_stream)
    assert talk.replies[1].ended
    assert talk.state == "closed"


def test_a_cut_ends_every_exchange_once() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1), request(3, "POST", end=False), connect(5))
    talk.run(talk.http2.cut)
    talk.pass_time(3)
    assert talk.transport.state == "lost"
    assert all(each.gone for each in talk.exchanges)
    assert talk.ended_once


def test_a_cut_does_not_wait_for_who_does_not_read() -> None:
    talk = Http2Conversation(lambda exchange: exchange.start(200, [], bytes(60_000)))
    talk.transport.peer_stops_reading()
    talk.send(request(1))
    talk.run(talk.http2.cut)
    talk.pass_time(3)
    assert talk.transport.state == "lost"


def test_a_second_cut_is_nothing() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1))
    talk.run(talk.http2.cut)
    talk.run(talk.http2.cut)
    talk.pass_time(3)
    assert talk.ended_once
