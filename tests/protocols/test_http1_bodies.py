"""Request bodies: delivery, backpressure, 100 (Continue), and what nobody reads."""

from __future__ import annotations

import pytest

from gateway.exchange import Exchange
from gateway.protocols.context import HeadParser

from .harness import PARSERS, Conversation

pytestmark = pytest.mark.parametrize("parser", PARSERS)

GET = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
UNREAD = 64 * 1024
DISCARD = 256 * 1024


def post(length: int | None, *fields: str) -> bytes:
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return "\r\n".join(["POST / HTTP/1.1", "Host: a", framing, *fields, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def nothing(exchange: Exchange) -> None:
    """A handler that answers later."""


def at_once(exchange: Exchange) -> None:
    """A handler that answers without reading the body."""
    exchange.start(200, [], b"hello")


def statuses(talk: Conversation) -> list[int]:
    return [response.status for response in talk.responses()]


class Telling:
    """A listener that counts what it is told."""

    def __init__(self, exchange: Exchange) -> None:
        self.readable = 0
        exchange.listener = self

    def on_readable(self) -> None:
        self.readable += 1

    def on_writable(self) -> None:
        pass

    def on_gone(self) -> None:
        pass


def test_body_arrives_as_it_comes(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, nothing)
    talk.feed(post(6), b"hel")
    exchange = talk.exchanges[0]
    told = Telling(exchange)
    assert (exchange.read(), exchange.body_complete) == (b"hel", False)
    talk.feed(b"lo!")
    assert told.readable == 2  # bytes, and the end
    assert (exchange.read(), exchange.body_complete) == (b"lo!", True)
    assert exchange.received == 6


@pytest.mark.parametrize("length", [10 * 1024 * 1024, None])
def test_unread_body_stops_the_reading(parser: type[HeadParser], length: int | None) -> None:
    talk = Conversation(parser, nothing)
    piece = b"x" * 16384
    talk.feed(post(length), *([chunk(piece) if length is None else piece] * 100))
    exchange = talk.exchanges[0]
    assert not talk.transport.reading
    assert exchange.received <= UNREAD + len(piece)
    before = exchange.received
    exchange.read()
    talk.settle()
    assert before < exchange.received <= before + UNREAD + len(piece)


def test_body_read_as_it_comes_is_never_paused(parser: type[HeadParser]) -> None:
    talk = Conversation(parser)
    talk.feed(post(100 * 16384), *([b"x" * 16384] * 100))
    assert talk.transport.pauses == 0
    assert len(talk.requests[0].body) == 100 * 16384


def test_shorter_body_never_takes_from_the_next_request(parser: type[HeadParser]) -> None:
    """The bytes are the body's, whatever they look like (CVE-2022-29361)."""
    talk = Conversation(parser)
    talk.feed(post(len(GET) + 1), GET)
    assert talk.requests == []
    talk.feed(b"!" + GET)
    assert [request.target for request in talk.requests] == [b"/", b"/next"]
    assert talk.requests[0].body == GET + b"!"


def test_unread_body_is_thrown_away_and_the_connection_kept(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, at_once)
    talk.feed(post(len(GET) * 100), GET * 50, GET * 50, GET)
    assert [exchange.head.path for exchange in talk.exchanges] == ["/", "/next"]
    assert statuses(talk) == [200, 200]


def test_unread_chunked_body_is_thrown_away(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, at_once)
    talk.feed(post(None), chunk(GET), b"0\r\n\r\n", GET)
    assert [exchange.head.path for exchange in talk.exchanges] == ["/", "/next"]


@pytest.mark.parametrize("answered", ["before", "in the middle"])
def test_response_before_the_end_of_the_body_ends_the_reading_of_it(
    parser: type[HeadParser], answered: str
) -> None:
    talk = Conversation(parser, at_once if answered == "before" else nothing)
    talk.feed(post(200_000), b"x" * 100_000)
    if answered == "in the middle":
        assert not talk.transport.reading
        at_once(talk.exchanges[0])
    talk.feed(b"x" * 100_000 + GET)
    assert talk.exchanges[-1].head.path == "/next"
    assert talk.state == "open"


@pytest.mark.parametrize("length", [DISCARD + 1, None])
def test_long_unread_body_closes_gently(parser: type[HeadParser], length: int | None) -> None:
    talk = Conversation(parser, at_once)
    piece = b"x" * 1024
    talk.feed(post(length), *([chunk(piece) if length is None else piece] * 300))
    assert statuses(talk) == [200]
    assert talk.transport.eof_written
    assert not talk.transport.aborted
    assert talk.unread == 0


def test_body_of_the_discarded_size_is_thrown_away(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, at_once)
    talk.feed(post(DISCARD), *([b"x" * 1024] * 256), GET)
    assert statuses(talk) == [200, 200]


def test_unread_body_behind_the_last_response_closes_gently(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, at_once)
    talk.feed(post(10, "Connection: close"))
    assert talk.transport.eof_written
    talk.feed(b"0123456789" + GET)
    assert statuses(talk) == [200]
    assert len(talk.exchanges) == 1


@pytest.mark.parametrize("rest", [0, 50_000])
def test_listener_may_answer_in_the_middle_of_a_large_segment(
    parser: type[HeadParser], rest: int
) -> None:
    """The rest of the segment must not leave the connection paused for ever."""

    class Refusing(Telling):
        def on_readable(self) -> None:
            exchange.refuse(413, "Content Too Large")

    talk = Conversation(parser, nothing)
    talk.feed(post(100_000 + rest))
    exchange = talk.exchanges[0]
    Refusing(exchange)
    talk.feed(b"x" * 100_000, b"x" * rest + GET)
    assert talk.transport.reading
    assert talk.exchanges[-1].head.path == "/next"


def test_malformed_body_is_refused_before_a_response(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, nothing)
    finished: list[Exchange] = []
    talk.feed(post(None))
    talk.exchanges[0].on_finish.append(finished.append)
    talk.feed(b"5\r\nhelloXX" + GET)
    assert statuses(talk) == [400]
    assert talk.state == "closed"
    assert talk.exchanges[0].gone
    assert finished == talk.exchanges


def test_malformed_body_in_the_middle_of_a_response_is_a_cut(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, nothing)
    talk.feed(post(None))
    talk.exchanges[0].start(200, [], b"hel", more=True)
    talk.feed(b"zz\r\n")
    assert talk.state == "cut"
    assert talk.exchanges[0].gone


def test_malformed_body_behind_a_complete_response_leaves_the_response_alone(
    parser: type[HeadParser],
) -> None:
    talk = Conversation(parser, at_once)
    talk.feed(post(None), b"zz\r\n", GET)
    assert statuses(talk) == [200]
    assert talk.state == "closed"
    assert len(talk.exchanges) == 1


# --- Expect: 100-continue (RFC 9110, section 10.1.1) ----------------------------------------------


def test_continue_is_sent_when_the_application_reads(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, nothing)
    assert talk.feed(post(5, "Expect: 100-continue")) == b""
    exchange = talk.exchanges[0]
    assert exchange.read() == b""
    assert exchange.read() == b""
    assert talk.output == b"HTTP/1.1 100 Continue\r\n\r\n"
    talk.feed(b"hello")
    assert exchange.read() == b"hello"
    at_once(exchange)
    assert talk.responses()[0].interim == (100,)
    assert talk.state == "open"


def test_continue_is_not_sent_to_a_client_that_did_not_wait(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, nothing)
    talk.feed(post(5, "Expect: 100-continue") + b"hello")
    assert talk.exchanges[0].read() == b"hello"
    assert talk.output == b""


def test_continue_is_not_sent_to_http_1_0(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, nothing)
    talk.feed(b"POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    talk.exchanges[0].read()
    assert talk.output == b""


def test_answer_in_place_of_continue_closes(parser: type[HeadParser]) -> None:
    """Whether the body still comes is the client's choice: the next byte could be anything."""
    talk = Conversation(parser, lambda exchange: exchange.refuse(401, "Unauthorized"))
    talk.feed(post(len(GET), "Expect: 100-continue"))
    response = talk.responses()[0]
    assert (response.status, response.header(b"connection"), response.interim) == (
        401,
        b"close",
        (),
    )
    talk.feed(GET)
    assert len(talk.exchanges) == 1
    assert talk.state == "closed"


def test_answer_behind_continue_keeps_the_connection(parser: type[HeadParser]) -> None:
    talk = Conversation(parser)
    talk.feed(post(2, "Expect: 100-continue"), b"hi", GET)
    assert [(each.status, each.interim) for each in talk.responses()] == [
        (200, (100,)),
        (200, ()),
    ]


def test_body_of_a_refused_expectation_is_not_waited_for(parser: type[HeadParser]) -> None:
    talk = Conversation(parser)
    talk.feed(post(2, "Expect: something"))
    assert statuses(talk) == [417]
    assert talk.exchanges == []
    assert talk.state == "closed"
