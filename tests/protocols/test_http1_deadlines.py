"""How long a connection waits, by a clock moved by hand; swept once a second, as a listener does."""

from __future__ import annotations

import pytest

from gateway.clock import NEVER
from gateway.exchange import Exchange
from gateway.protocols.context import HeadParser

from .harness import PARSERS, Conversation

pytestmark = pytest.mark.parametrize("parser", PARSERS)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def at_once(exchange: Exchange) -> None:
    exchange.start(200, [], b"hello")


def test_silent_connection_is_closed(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, head_timeout=30)
    talk.pass_time(29)
    assert talk.state == "open"
    talk.pass_time(2)
    assert talk.state == "closed"
    assert talk.output == b""


@pytest.mark.parametrize("part", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_half_a_head_is_answered_408(parser: type[HeadParser], part: bytes) -> None:
    talk = Conversation(parser, head_timeout=30)
    talk.feed(part)
    talk.pass_time(29)
    assert talk.output == b""
    talk.pass_time(2)
    response = talk.responses()[0]
    assert (response.status, response.header(b"connection")) == (408, b"close")
    assert talk.state == "closed"


def test_dripping_head_does_not_move_its_deadline(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, head_timeout=30)
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: yyyyyyyyyyyyyyy":
        talk.feed(bytes([byte]))
        talk.pass_time(1)
    assert [response.status for response in talk.responses()] == [408]


def test_blank_line_first_does_not_move_the_deadline_for_ever(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, head_timeout=30)
    talk.pass_time(20)
    talk.feed(b"\r\n")
    talk.pass_time(11)
    assert talk.state == "closed"


def test_idle_connection_is_closed_without_a_word(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, keep_alive=5)
    answer = talk.feed(GET)
    talk.pass_time(4)
    assert talk.state == "open"
    talk.pass_time(2)
    assert talk.state == "closed"
    assert talk.output == answer


def test_second_head_has_its_own_deadline(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, keep_alive=5, head_timeout=30)
    talk.feed(GET)
    talk.pass_time(4)
    talk.feed(b"GET / HTTP/1.1\r\n")
    talk.pass_time(25)
    assert talk.state == "open"
    talk.pass_time(6)
    assert [response.status for response in talk.responses()] == [200, 408]


def test_application_may_take_as_long_as_it_likes(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, lambda exchange: None)
    talk.feed(GET)
    assert talk.connection.deadline == NEVER
    talk.pass_time(1000)
    assert talk.state == "open"
    at_once(talk.exchanges[0])
    assert [response.status for response in talk.responses()] == [200]


def test_rest_of_an_unread_body_is_not_waited_for_longer_than_an_idle_client(
    parser: type[HeadParser],
) -> None:
    talk = Conversation(parser, at_once, keep_alive=5)
    talk.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
    talk.pass_time(4)
    assert talk.state == "open"
    talk.pass_time(2)
    assert talk.state == "closed"
    assert [response.status for response in talk.responses()] == [200]


def test_lingering_ends(parser: type[HeadParser]) -> None:
    talk = Conversation(parser)
    talk.feed(b"NONSENSE\r\n\r\n")
    assert talk.transport.state == "open"
    talk.pass_time(3)
    assert talk.transport.state == "lost"
    assert not talk.context.connections


def test_lingering_waits_for_an_answer_that_is_still_leaving(parser: type[HeadParser]) -> None:
    talk = Conversation(
        parser, lambda exchange: exchange.start(200, [(b"connection", b"close")], b"x" * 100_000)
    )
    talk.transport.peer_stops_reading()
    talk.feed(GET + GET)
    talk.pass_time(10)
    assert not talk.transport.aborted
    talk.transport.peer_reads()
    talk.pass_time(5)
    assert b"x" * 100_000 in talk.output
    assert talk.transport.state == "lost"


def test_closed_connection_has_no_deadline(parser: type[HeadParser]) -> None:
    talk = Conversation(parser)
    talk.lose()
    assert talk.connection.deadline == NEVER


def test_body_that_stops_arriving_is_answered_408(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, lambda exchange: None, body_timeout=30)
    talk.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc")
    talk.pass_time(29)
    assert talk.output == b""
    talk.pass_time(2)
    assert [response.status for response in talk.responses()] == [408]
    assert talk.exchanges[0].gone


def test_dripping_body_is_answered_408(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, lambda exchange: None, body_timeout=30, body_rate=240)
    talk.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(14):
        talk.pass_time(2)
        talk.feed(b"a")
    assert talk.output == b""
    talk.pass_time(4)
    assert [response.status for response in talk.responses()] == [408]


def test_chunks_of_nothing_but_framing_are_no_body(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, lambda exchange: None, body_timeout=10, body_rate=1)
    talk.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    for byte in b"00000000000001":
        talk.feed(bytes([byte]))
        talk.pass_time(1)
    assert [response.status for response in talk.responses()] == [408]


def test_body_at_the_rate_may_take_as_long_as_it_likes(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, body_timeout=30, body_rate=240)
    talk.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 240000\r\n\r\n")
    for _ in range(1000):
        talk.pass_time(1)
        talk.feed(b"x" * 240)
    assert [response.status for response in talk.responses()] == [200]


def test_body_that_was_fast_may_not_drip_for_long(parser: type[HeadParser]) -> None:
    """What came in advance counts for no longer than a pause may last."""
    talk = Conversation(parser, body_timeout=30, body_rate=240)
    talk.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n" + bytes(60_000))
    for _ in range(16):
        talk.pass_time(2)
        talk.feed(b"x")
    assert [response.status for response in talk.responses()] == [408]


def test_body_without_a_rate_may_drip(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, lambda exchange: None, body_timeout=30, body_rate=0)
    talk.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(10):
        talk.pass_time(29)
        talk.feed(b"a")
    assert talk.output == b""


def test_time_of_a_body_begins_when_it_is_asked_for(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, lambda exchange: None, body_timeout=30)
    talk.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    talk.pass_time(29)
    talk.exchanges[0].read()
    talk.pass_time(29)
    assert talk.output == b"HTTP/1.1 100 Continue\r\n\r\n"
    talk.pass_time(2)
    assert [response.status for response in talk.responses()] == [408]


def test_body_that_stops_arriving_after_the_response_began_is_cut(
    parser: type[HeadParser],
) -> None:
    talk = Conversation(
        parser, lambda exchange: exchange.start(200, [], b"x", more=True), body_timeout=30
    )
    talk.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na")
    talk.pass_time(31)
    assert talk.transport.aborted


def test_body_the_application_does_not_read_may_wait(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, lambda exchange: None, body_timeout=30)
    talk.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 70_000)
    talk.pass_time(1000)
    assert talk.state == "open"
    talk.exchanges[0].read()
    talk.pass_time(31)
    assert [response.status for response in talk.responses()] == [408]


def test_body_the_client_was_not_asked_for_may_wait(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, lambda exchange: None, body_timeout=30)
    talk.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    talk.pass_time(100)
    assert talk.state == "open"
    talk.exchanges[0].read()
    talk.pass_time(31)
    assert [response.status for response in talk.responses()][-1] == 408


def streaming(exchange: Exchange) -> None:
    exchange.start(200, [], b"x" * 200_000, more=True)


def test_peer_that_stops_reading_is_cut(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, streaming, write_timeout=60)
    talk.transport.peer_stops_reading()
    talk.feed(GET)
    talk.pass_time(59)
    assert talk.state == "open"
    talk.pass_time(2)
    assert talk.transport.aborted
    assert talk.exchanges[0].gone


def test_peer_that_reads_in_time_is_not_cut(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, streaming, write_timeout=60)
    talk.transport.peer_stops_reading()
    talk.feed(GET)
    talk.pass_time(59)
    talk.transport.peer_reads()
    talk.pass_time(1000)
    assert talk.state == "open"
    assert talk.connection.deadline == NEVER


def test_idle_connection_with_an_unread_answer_does_not_stay_for_ever(
    parser: type[HeadParser],
) -> None:
    talk = Conversation(
        parser,
        lambda exchange: exchange.start(200, [], b"x" * 200_000),
        keep_alive=5,
        write_timeout=60,
    )
    talk.transport.peer_stops_reading()
    talk.feed(GET)
    talk.pass_time(6)
    assert not talk.transport.aborted
    talk.pass_time(61)
    assert talk.transport.aborted


def test_body_that_ends_while_the_peer_does_not_read_leaves_a_deadline(
    parser: type[HeadParser],
) -> None:
    talk = Conversation(parser, streaming, write_timeout=60, body_timeout=30)
    talk.transport.peer_stops_reading()
    talk.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
    talk.feed(b"b")
    talk.pass_time(61)
    assert talk.transport.aborted
