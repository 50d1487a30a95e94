"""Bodies of unknown length that become longer than they may be, on each wire."""

from __future__ import annotations

import pytest

from gateway.exchange import Exchange
from gateway.middleware.limits import limit_body
from gateway.protocols.context import HeadParser
from gateway.protocols.http2_errors import ErrorCode

from .harness import PARSERS, Conversation
from .http2_harness import Http2Conversation, data, request

POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
DECLARED = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
both = pytest.mark.parametrize("parser", PARSERS)


class Reader:
    """An application that reads what comes, and answers at the end."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.body = b""
        self.gone = False
        exchange.listener = self
        self.on_readable()

    def on_readable(self) -> None:
        exchange = self.exchange
        self.body += exchange.read()
        if exchange.body_complete and exchange.status is None:
            exchange.start(200, [], self.body)

    def on_writable(self) -> None:
        pass

    def on_gone(self) -> None:
        self.gone = True


class Site:
    """`Reader` behind a limit of 10 bytes. early: begins its response before the body is there."""

    def __init__(self, *, early: bool = False) -> None:
        self.readers: list[Reader] = []
        self._early = early
        self.handler = limit_body(self._take, 10)

    def _take(self, exchange: Exchange) -> None:
        if self._early:
            exchange.start(200, [], b"so", more=True)
        self.readers.append(Reader(exchange))


# --- HTTP/1.1 -------------------------------------------------------------------------------------


@both
def test_a_chunked_body_may_be_as_long_as_the_limit(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, Site().handler)
    talk.feed(POST + b"4\r\nabcd\r\n6\r\nefghij\r\n0\r\n\r\n" + GET)
    assert [(each.status, each.body) for each in talk.responses()] == [
        (200, b"abcdefghij"),
        (200, b""),
    ]


@both
def test_a_chunk_that_would_be_too_much_is_refused_before_it_comes(
    parser: type[HeadParser],
) -> None:
    site = Site()
    talk = Conversation(parser, site.handler)
    talk.feed(POST + b"4\r\nabcd\r\n")
    assert talk.output == b""
    talk.feed(b"7\r\n")
    response = talk.responses()[0]
    assert (response.status, response.header(b"connection")) == (413, b"close")
    assert talk.state == "closed"
    assert site.readers[0].body == b"abcd"
    assert site.readers[0].gone


@both
def test_byte_by_byte_it_is_the_same(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, Site().handler)
    talk.feed_each(POST + b"4\r\nabcd\r\n7\r\nefghijk\r\n0\r\n\r\n")
    assert [each.status for each in talk.responses()] == [413]


@both
def test_in_mid_response_it_is_a_cut(parser: type[HeadParser]) -> None:
    site = Site(early=True)
    talk = Conversation(parser, site.handler)
    talk.feed(POST + b"b\r\nabcdefghijk\r\n")
    assert talk.transport.aborted
    assert site.readers[0].gone


@both
def test_a_declared_body_that_is_too_long_reaches_no_application(parser: type[HeadParser]) -> None:
    site = Site()
    talk = Conversation(parser, site.handler)
    talk.feed(DECLARED + b"abcdefghijk" + GET)
    assert [each.status for each in talk.responses()] == [413, 200]
    assert len(site.readers) == 1


@both
def test_who_asks_first_is_told_no_and_never_sends_it(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, Site().handler)
    talk.feed(DECLARED[:-2] + b"Expect: 100-continue\r\n\r\n")
    response = talk.responses()[0]
    assert (response.status, response.interim, response.header(b"connection")) == (
        413,
        (),
        b"close",
    )


@both
def test_what_came_before_the_limit_was_known_counts(parser: type[HeadParser]) -> None:
    waiting: list[Exchange] = []
    site = Site()
    talk = Conversation(parser, waiting.append)
    talk.feed(POST + b"b\r\nabcdefghijk\r\n")
    site.handler(waiting[0])
    assert [each.status for each in talk.responses()] == [413]
    assert site.readers == []


# --- HTTP/2 ---------------------------------------------------------------------------------------


def test_a_stream_may_bring_as_much_as_the_limit() -> None:
    talk = Http2Conversation(Site().handler)
    talk.send(request(1, "POST", end=False), data(1, b"abcd"), data(1, b"efghij", end=True))
    assert talk.replies[1].body == b"abcdefghij"


@pytest.mark.parametrize("end", [False, True])
def test_a_stream_that_brings_more_is_refused(end: bool) -> None:
    site = Site()
    talk = Http2Conversation(site.handler)
    talk.send(request(1, "POST", end=False), data(1, b"abcd"), data(1, b"efghijk", end=end))
    assert talk.replies[1].status == 413
    assert talk.replies[1].reset == (None if end else ErrorCode.NO_ERROR)
    assert site.readers[0].body == b"abcd"
    assert site.readers[0].gone
    assert talk.ended_once
    talk.send(b"" if end else data(1, bytes(100)), request(3))
    assert talk.replies[3].status == 200


def test_a_stream_in_mid_response_is_reset() -> None:
    site = Site(early=True)
    talk = Http2Conversation(site.handler)
    talk.send(request(1, "POST", end=False), data(1, b"abcdefghijk"))
    assert talk.replies[1].reset == ErrorCode.CANCEL
    assert site.readers[0].gone


def test_a_stream_that_declares_too_much_reaches_no_application() -> None:
    site = Site()
    talk = Http2Conversation(site.handler)
    talk.send(request(1, "POST", "/", ("content-length", "11"), end=False))
    assert talk.replies[1].status == 413
    assert site.readers == []


def test_a_stream_that_has_brought_too_much_before_is_refused() -> None:
    waiting: list[Exchange] = []
    talk = Http2Conversation(waiting.append)
    talk.send(request(1, "POST", end=False), data(1, b"abcdefghijk"))
    talk.run(lambda: Site().handler(waiting[0]))
    assert talk.replies[1].status == 413
