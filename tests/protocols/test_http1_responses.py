"""Framing of responses (RFC 9112, sections 6 and 7), read back by h11."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.exchange import Exchange, ResponseError
from gateway.protocols.context import HeadParser

from .harness import HIGH_WATER, PARSERS, Conversation, Response

pytestmark = pytest.mark.parametrize("parser", PARSERS)

TEXT = (b"content-type", b"text/plain")


def ask(
    parser: type[HeadParser],
    answer: Callable[[Exchange], None],
    method: str = "GET",
    version: str = "1.1",
    *fields: str,
) -> tuple[Response, Conversation]:
    """One request, the response and the conversation it was part of."""
    talk = Conversation(parser, answer)
    lines = [f"{method} / HTTP/{version}", "Host: a", *fields, "", ""]
    talk.feed("\r\n".join(lines).encode())
    return talk.responses()[0], talk


def whole(exchange: Exchange) -> None:
    exchange.start(200, [TEXT], b"hello")


def in_pieces(exchange: Exchange) -> None:
    exchange.start(200, [TEXT], b"hel", more=True)
    exchange.write(b"", more=True)
    exchange.write(b"l" * 20_000, more=True)
    exchange.write(b"o", more=False)


def declared(exchange: Exchange) -> None:
    exchange.start(200, [(b"Content-Length", b"5")], b"hel", more=True)
    exchange.write(b"lo", more=False)


def test_whole_body_has_its_length_and_is_one_write(parser: type[HeadParser]) -> None:
    response, talk = ask(parser, whole)
    assert response.header(b"content-length") == b"5"
    assert response.body == b"hello"
    assert talk.output.startswith(b"HTTP/1.1 200 OK\r\nserver: gateway\r\ndate: Thu, 01 Jan 1970")


def test_body_of_unknown_length_is_chunked(parser: type[HeadParser]) -> None:
    response, talk = ask(parser, in_pieces)
    assert response.header(b"transfer-encoding") == b"chunked"
    assert response.header(b"content-length") is None
    assert response.body == b"hel" + b"l" * 20_000 + b"o"
    assert talk.output.endswith(b"1\r\no\r\n0\r\n\r\n")
    assert talk.state == "open"


def test_body_of_unknown_length_ends_http_1_0_by_the_end_of_the_connection(
    parser: type[HeadParser],
) -> None:
    response, talk = ask(parser, in_pieces, "GET", "1.0", "Connection: keep-alive")
    assert response.header(b"transfer-encoding") is None
    assert response.header(b"connection") == b"close"
    assert response.body == b"hel" + b"l" * 20_000 + b"o"
    assert talk.state == "closed"


def test_declared_length_is_kept_as_it_is(parser: type[HeadParser]) -> None:
    response, talk = ask(parser, declared, "GET", "1.0", "Connection: keep-alive")
    assert response.header(b"content-length") == b"5"
    assert response.body == b"hello"
    assert talk.state == "open"


def test_empty_stream_is_an_empty_body(parser: type[HeadParser]) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.start(200, [TEXT], b"", more=True)
        exchange.write(b"", more=False)

    response, talk = ask(parser, answer)
    assert response.body == b""
    assert talk.output.endswith(b"\r\n\r\n0\r\n\r\n")


def test_body_longer_than_declared_is_a_cut(parser: type[HeadParser]) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.start(200, [(b"content-length", b"5")], b"hel", more=True)
        with pytest.raises(ResponseError, match="longer"):
            exchange.write(b"lo and more", more=False)

    talk = Conversation(parser, answer)
    talk.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
    assert talk.output.endswith(b"\r\n\r\nhel")
    assert talk.state == "cut"
    assert len(talk.exchanges) == 1


def test_body_shorter_than_declared_is_a_cut(parser: type[HeadParser]) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.start(200, [(b"content-length", b"5")], b"hel", more=True)
        with pytest.raises(ResponseError, match="shorter"):
            exchange.write(b"", more=False)

    talk = Conversation(parser, answer)
    talk.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
    assert talk.state == "cut"
    assert len(talk.exchanges) == 1


# --- no body (RFC 9110, section 6.4.1) ------------------------------------------------------------


@pytest.mark.parametrize("answer", [whole, in_pieces, declared])
def test_head_has_the_fields_but_not_the_body(
    parser: type[HeadParser], answer: Callable[[Exchange], None]
) -> None:
    talk = Conversation(parser, answer)
    talk.feed(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
    assert talk.output.count(b"HTTP/1.1 200 OK") == 2
    assert talk.output.endswith(b"\r\n\r\n")
    assert b"hel" not in talk.output
    assert [response.body for response in talk.responses()] == [b"", b""]


@pytest.mark.parametrize("status", [204, 304])
def test_status_without_body_never_has_one(parser: type[HeadParser], status: int) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.start(status, [TEXT], b"hello")

    response, talk = ask(parser, answer)
    assert (response.status, response.body) == (status, b"")
    assert response.header(b"transfer-encoding") is None
    assert talk.output.endswith(b"\r\n\r\n")
    assert talk.state == "open"


def test_204_has_no_content_length(parser: type[HeadParser]) -> None:
    """RFC 9110, section 8.6: MUST NOT."""
    response, _ = ask(parser, lambda exchange: exchange.start(204, [(b"content-length", b"0")]))
    assert response.header(b"content-length") is None


def test_304_keeps_the_length_of_what_it_stands_for(parser: type[HeadParser]) -> None:
    response, _ = ask(parser, lambda exchange: exchange.start(304, [(b"content-length", b"5000")]))
    assert response.header(b"content-length") == b"5000"


# --- trailers and interim responses ---------------------------------------------------------------


def with_trailers(exchange: Exchange) -> None:
    exchange.start(200, [TEXT], b"hel", more=True, trailers=True)
    exchange.write(b"lo", more=False)
    exchange.send_trailers([(b"X-Sum", b"42")])


def test_trailers_follow_a_chunked_body(parser: type[HeadParser]) -> None:
    response, talk = ask(parser, with_trailers, "GET", "1.1", "TE: trailers", "Connection: TE")
    assert (response.body, response.trailers) == (b"hello", ((b"x-sum", b"42"),))
    assert talk.output.endswith(b"0\r\nx-sum: 42\r\n\r\n")
    assert talk.state == "open"


def test_trailers_are_for_those_who_asked(parser: type[HeadParser]) -> None:
    response, talk = ask(parser, with_trailers)
    assert (response.body, response.trailers) == (b"hello", ())
    assert talk.state == "open"


def test_trailers_are_dropped_for_http_1_0(parser: type[HeadParser]) -> None:
    response, talk = ask(parser, with_trailers, "GET", "1.0", "TE: trailers")
    assert response.body == b"hello"
    assert b"x-sum" not in talk.output
    assert talk.state == "closed"


def test_trailers_are_dropped_behind_a_declared_length(parser: type[HeadParser]) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.start(200, [(b"content-length", b"5")], b"hello", True, trailers=True)
        exchange.write(b"", more=False)
        exchange.send_trailers([(b"x-sum", b"42")])

    response, talk = ask(parser, answer, "GET", "1.1", "TE: trailers", "Connection: TE")
    assert response.body == b"hello"
    assert b"x-sum" not in talk.output


def hinting(exchange: Exchange) -> None:
    exchange.send_informational(103, [(b"Link", b"</a.css>; rel=preload")])
    whole(exchange)


def test_early_hints_come_first(parser: type[HeadParser]) -> None:
    response, talk = ask(parser, hinting)
    assert response.interim == (103,)
    assert talk.output.startswith(
        b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n"
    )


def test_early_hints_are_not_for_http_1_0(parser: type[HeadParser]) -> None:
    """RFC 9110, section 15.2: MUST NOT."""
    response, _ = ask(parser, hinting, "GET", "1.0")
    assert response.interim == ()


# --- default fields and statuses ------------------------------------------------------------------


def test_applications_own_date_and_server_stand_alone(parser: type[HeadParser]) -> None:
    response, _ = ask(
        parser,
        lambda exchange: exchange.start(200, [(b"Date", b"then"), (b"Server", b"mine")], b""),
    )
    names = [name for name, _ in response.headers]
    assert (names.count(b"date"), names.count(b"server")) == (1, 1)
    assert (response.header(b"date"), response.header(b"server")) == (b"then", b"mine")


def test_date_is_of_the_second_it_was_sent_in(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, whole)
    now = 0.0
    talk.clock._time = lambda: now
    talk.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    now = 61.0
    talk.pass_time(1)
    talk.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [response.header(b"date") for response in talk.responses()] == [
        b"Thu, 01 Jan 1970 00:00:00 GMT",
        b"Thu, 01 Jan 1970 00:01:01 GMT",
    ]


def test_framing_fields_of_the_application_are_not_passed_on(parser: type[HeadParser]) -> None:
    headers = [
        (b"Transfer-Encoding", b"chunked"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Connection", b"keep-alive"),
        (b"Upgrade", b"h2c"),
    ]
    response, _ = ask(parser, lambda exchange: exchange.start(200, headers, b"hello"))
    assert {name for name, _ in response.headers} == {b"server", b"date", b"content-length"}


@pytest.mark.parametrize(
    ("status", "line"),
    [(200, b"200 OK"), (404, b"404 Not Found"), (299, b"299 "), (999, b"999 ")],
)
def test_status_line_has_its_phrase_or_none(
    parser: type[HeadParser], status: int, line: bytes
) -> None:
    _, talk = ask(parser, lambda exchange: exchange.start(status, [], b""))
    assert talk.output.startswith(b"HTTP/1.1 " + line + b"\r\n")


# --- backpressure ---------------------------------------------------------------------------------


class Waiting:
    """A listener that counts the times it may write again."""

    def __init__(self, exchange: Exchange) -> None:
        self.writable = 0
        exchange.listener = self

    def on_readable(self) -> None:
        pass

    def on_writable(self) -> None:
        self.writable += 1

    def on_gone(self) -> None:
        pass


def test_client_that_does_not_read_makes_the_exchange_unwritable(
    parser: type[HeadParser],
) -> None:
    talk = Conversation(parser, lambda exchange: None)
    talk.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    exchange = talk.exchanges[0]
    told = Waiting(exchange)
    talk.transport.peer_stops_reading()
    exchange.start(200, [TEXT], b"x" * HIGH_WATER, more=True)
    assert not exchange.writable
    talk.transport.peer_reads()
    assert (exchange.writable, told.writable) == (True, 1)
    exchange.write(b"", more=False)
    assert talk.responses()[0].body == b"x" * HIGH_WATER


def test_held_request_is_taken_when_the_client_reads_again(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, lambda exchange: exchange.start(200, [], b"x" * HIGH_WATER))
    talk.transport.peer_stops_reading()
    talk.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
    assert len(talk.exchanges) == 1
    talk.transport.peer_reads()
    assert len(talk.exchanges) == 2
    assert talk.exchanges[1].finished


# --- response splitting (CVE-2020-7695, CVE-2018-1000164) -----------------------------------------

BAD_FIELDS = [
    (b"x-a\r\nx-b", b"c"),
    (b"x-a", b"b\r\nx-c: d"),
    (b"x-a", b"b\nx-c: d"),
    (b"x-a", b"b\rx-c: d"),
    (b"x-a", b"b\x00"),
    (b"x a", b"b"),
    (b"x-a:", b"b"),
    (b"", b"b"),
    (b"location", b"/\r\n\r\n<script>"),
    (b"set-cookie", b"a=b\r\nx: y"),
    (b"Content-Length", b"5\r\nx: y"),
]


@pytest.mark.parametrize("pair", BAD_FIELDS)
def test_field_that_would_split_the_response_is_a_500(
    parser: type[HeadParser], pair: tuple[bytes, bytes]
) -> None:
    def answer(exchange: Exchange) -> None:
        with pytest.raises(ResponseError):
            exchange.start(200, [TEXT, pair], b"hello")
        exchange.fail()

    response, talk = ask(parser, answer)
    assert response.status == 500
    assert len(talk.responses()) == 1


@pytest.mark.parametrize("pair", BAD_FIELDS[:8])
def test_trailer_that_would_split_the_response_is_a_cut(
    parser: type[HeadParser], pair: tuple[bytes, bytes]
) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.start(200, [TEXT], b"hello", more=True, trailers=True)
        exchange.write(b"", more=False)
        with pytest.raises(ResponseError):
            exchange.send_trailers([pair])
        exchange.fail()

    talk = Conversation(parser, answer)
    talk.feed(b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
    assert talk.output.endswith(b"5\r\nhello\r\n")
    assert talk.state == "cut"


@pytest.mark.parametrize("pair", BAD_FIELDS[:8])
def test_hint_that_would_split_the_response_is_a_500(
    parser: type[HeadParser], pair: tuple[bytes, bytes]
) -> None:
    def answer(exchange: Exchange) -> None:
        with pytest.raises(ResponseError):
            exchange.send_informational(103, [pair])
        exchange.fail()

    response, _ = ask(parser, answer)
    assert (response.status, response.interim) == (500, ())
