"""One stream: a request and its response, whole or not (RFC 9113, section 8)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pytest

from gateway.exchange import ClientGone, Exchange
from gateway.protocols.http2_errors import ErrorCode
from gateway.protocols.http2_frames import DATA, END_STREAM, HEADERS, RST_STREAM
from gateway.protocols.http2_settings import Http2Options

from .http2_harness import (
    Frame,
    Http2Conversation,
    Speaker,
    block,
    connect,
    data,
    headers,
    hold,
    request,
    reset,
    window_update,
)

TE = ("te", "trailers")


@pytest.fixture
def file() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789" * 10_000)
        file.flush()
        yield file


class Listening:
    """An interface that reads nothing by itself, and notes what it hears."""

    def __init__(self) -> None:
        self.news: list[str] = []
        self.exchange: Exchange

    def __call__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        exchange.listener = self

    def on_readable(self) -> None:
        self.news.append("readable")

    def on_writable(self) -> None:
        self.news.append("writable")

    def on_gone(self) -> None:
        self.news.append("gone")


# --- requests -------------------------------------------------------------------------------------


def test_a_request_is_what_its_fields_say() -> None:
    talk = Http2Conversation()
    talk.send(request(1, "GET", "/a%20b?c=d", ("x", "y")))
    (got,) = talk.requests
    assert (got.method, got.path, got.raw_path, got.query) == ("GET", "/a b", b"/a%20b", b"c=d")
    assert got.version == "2"
    assert got.headers == ((b"host", b"a"), (b"x", b"y"))


def test_a_body_comes_in_any_pieces() -> None:
    talk = Http2Conversation()
    talk.send(request(1, "POST", end=False))
    talk.send_each(data(1, b"hel"), data(1), data(1, b"l", pad=7), data(1, b"o", end=True))
    assert talk.requests[0].body == b"hello"


def test_an_empty_frame_may_end_a_body() -> None:
    talk = Http2Conversation()
    talk.send(request(1, "POST", end=False), data(1, b"hello"), data(1, end=True))
    assert talk.requests[0].body == b"hello"


def test_a_frame_of_padding_alone_may_end_it_too() -> None:
    talk = Http2Conversation()
    talk.send(request(1, "POST", end=False), data(1, b"hello"), data(1, end=True, pad=255))
    assert talk.requests[0].body == b"hello"


def test_trailers_end_a_body_and_are_not_passed_on() -> None:
    talk = Http2Conversation()
    talk.send(request(1, "POST", end=False), data(1, b"hello"), headers(1, block({"x": "y"})))
    assert talk.requests[0].body == b"hello"
    assert talk.requests[0].header(b"x") is None


def test_a_request_may_end_in_trailers_without_a_body() -> None:
    talk = Http2Conversation()
    talk.send(request(1, "POST", end=False), headers(1, block({"x": "y"})))
    assert talk.requests[0].body == b""


def test_trailers_must_end_it() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1, "POST", end=False), headers(1, block({"x": "y"}), end=False))
    assert talk.replies[1].reset == ErrorCode.PROTOCOL_ERROR
    assert talk.exchanges[0].gone


@pytest.mark.parametrize("name", ["X", ":path", "connection", "a b"])
def test_trailers_are_fields(name: str) -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1, "POST", end=False), headers(1, block({name: "y"})))
    assert talk.replies[1].reset == ErrorCode.PROTOCOL_ERROR


def test_trailers_that_are_too_large_end_the_stream() -> None:
    talk = Http2Conversation(hold, options=Http2Options(max_header_list=1000))
    talk.send(request(1, "POST", end=False), headers(1, block({"x": "y" * 990})))
    assert talk.replies[1].reset == ErrorCode.ENHANCE_YOUR_CALM
    assert talk.state == "open"


@pytest.mark.parametrize("then", [data(1, b"x"), headers(1, block({"x": "y"}))])
def test_nothing_follows_the_end_of_a_request(then: bytes) -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1), request(3), then)
    assert talk.replies[1].reset == ErrorCode.STREAM_CLOSED
    assert [each.gone for each in talk.exchanges] == [True, False]


@pytest.mark.parametrize(
    "body",
    [
        (data(1, b"hell", end=True),),
        (data(1, b"hello!", end=True),),
        (data(1, b"hello!"),),
        (data(1, b"hello"), data(1, b"!", end=True)),
        (data(1, end=True),),
        (data(1, b"hel"), headers(1, block({"x": "y"}))),
    ],
    ids=["short", "long", "long, no end", "long, in two", "none", "short with trailers"],
)
def test_a_body_is_as_long_as_it_said(body: tuple[bytes, ...]) -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1, "POST", "/", ("content-length", "5"), end=False), *body)
    assert talk.replies[1].reset == ErrorCode.PROTOCOL_ERROR
    assert talk.exchanges[0].gone
    assert talk.ended_once


@pytest.mark.parametrize(
    "body",
    [
        (data(1, b"hello", end=True),),
        (data(1, b"hel", pad=9), data(1, b"lo", pad=0), data(1, end=True)),
        (data(1, b"hello"), headers(1, block({"x": "y"}))),
    ],
    ids=["whole", "padded", "with trailers"],
)
def test_padding_and_trailers_do_not_count(body: tuple[bytes, ...]) -> None:
    talk = Http2Conversation()
    talk.send(request(1, "POST", "/", ("content-length", "5"), end=False), *body)
    assert talk.requests[0].body == b"hello"


def test_the_rest_of_a_body_is_not_wanted_after_the_response() -> None:
    talk = Http2Conversation(lambda exchange: exchange.start(413, [], b"no"))
    frames = talk.send(request(1, "POST", end=False))
    assert [(each.kind, each.flags) for each in frames[-2:]] == [
        (DATA, END_STREAM),
        (RST_STREAM, 0),
    ]
    assert talk.replies[1].reset == ErrorCode.NO_ERROR


def test_a_body_that_ends_while_the_response_leaves_is_not_reset() -> None:
    talk = Http2Conversation(lambda exchange: exchange.start(200, [], bytes(100_000)))
    talk.send(request(1, "POST", end=False), data(1, b"x", end=True))
    talk.send(window_update(0, 100_000), window_update(1, 100_000))
    assert talk.replies[1].ended
    assert talk.replies[1].reset is None


def test_continue_is_said_when_the_body_is_read() -> None:
    def reading(exchange: Exchange) -> None:
        exchange.read()

    talk = Http2Conversation(reading)
    talk.send(request(1, "POST", "/", ("expect", "100-continue"), end=False))
    assert talk.replies[1].interim == [100]


def test_and_not_before() -> None:
    talk = Http2Conversation(hold)
    assert talk.send(request(1, "POST", "/", ("expect", "100-continue"), end=False)) == []


# --- requests that are refused --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "got"),
    [
        (400, request(1, authority="a b")),
        (400, headers(1, block({":method": "GET", ":scheme": "x", ":path": "/", ":authority": "a"}))),
        (417, request(1, "POST", "/", ("expect", "x"))),
        (431, request(1, "GET", "/", *[(f"x{each}", "y") for each in range(100)])),
        (501, request(1, "BREW")),
        (501, headers(1, block({":method": "CONNECT", ":authority": "a"}))),
    ],
)  # fmt: skip
def test_a_refusal_says_why(status: int, got: bytes) -> None:
    talk = Http2Conversation()
    talk.send(got)
    reply = talk.replies[1]
    assert (reply.status, reply.ended, reply.reset) == (status, True, None)
    assert reply.header(b"content-length") == b"%d" % len(reply.body)
    assert reply.body.endswith(b"\n")
    assert reply.header(b"server") == b"gateway"
    assert talk.exchanges == []


@pytest.mark.parametrize("size", [10_000, 15_000])
def test_one_too_large_is_told_so_by_its_status(size: int) -> None:
    talk = Http2Conversation(options=Http2Options(max_header_list=10_000))
    talk.send(request(1, "GET", "/", ("x", "y" * size)))
    assert (talk.replies[1].status, talk.replies[1].ended) == (431, True)
    assert talk.state == "open"


def test_one_whose_body_was_to_follow_is_told_not_to_send_it() -> None:
    talk = Http2Conversation()
    talk.send(request(1, "POST", authority="a b", end=False), data(1, b"hello", end=True))
    assert talk.replies[1].status == 400
    assert talk.replies[1].reset == ErrorCode.NO_ERROR
    assert talk.state == "open"


@pytest.mark.parametrize("values", [{0x4: 0}, {0x4: 10}])
def test_a_refusal_that_has_no_room_for_its_text_has_none(values: dict[int, int]) -> None:
    talk = Http2Conversation(values=values)
    talk.send(request(1, authority="a b"))
    reply = talk.replies[1]
    assert (reply.status, reply.body, reply.ended) == (400, b"", True)
    assert reply.header(b"content-length") is None


def test_a_refusal_keeps_to_the_connections_window() -> None:
    talk = Http2Conversation(lambda exchange: exchange.start(200, [], bytes(65_535)))
    talk.send(request(1), request(3, authority="a b"))
    assert len(talk.replies[1].body) == 65_535
    assert (talk.replies[3].status, talk.replies[3].body) == (400, b"")


def test_a_refused_head_request_has_no_body() -> None:
    talk = Http2Conversation()
    talk.send(request(1, "HEAD", authority="a b"))
    assert (talk.replies[1].status, talk.replies[1].body) == (400, b"")
    assert talk.replies[1].ended


@pytest.mark.parametrize(
    "fields",
    [
        {":method": "GET", ":scheme": "http", ":path": "/", ":authority": "a", "X": "y"},
        {":method": "GET", ":scheme": "http", ":authority": "a"},
        {":method": "GET", ":scheme": "http", ":path": "/", ":authority": "a", "connection": "x"},
    ],
    ids=["upper case", "no path", "connection"],
)
def test_a_malformed_request_is_reset(fields: dict[str, str]) -> None:
    talk = Http2Conversation()
    talk.send(headers(1, block(fields)))
    assert talk.replies[1].reset == ErrorCode.PROTOCOL_ERROR
    assert talk.exchanges == []
    talk.send(request(3))
    assert talk.replies[3].status == 200


@pytest.mark.parametrize("limit", [10, 100, 300])
def test_so_many_fields_are_taken_as_the_listener_allows(limit: int) -> None:
    talk = Http2Conversation(limit_headers=limit)
    fields = [(f"x{each}", "y") for each in range(limit)]  # and the host
    talk.send(request(1, "GET", "/", *fields[1:]), request(3, "GET", "/", *fields))
    assert [talk.replies[each].status for each in (1, 3)] == [200, 431]


def test_the_crumbs_of_a_cookie_are_one_field() -> None:
    talk = Http2Conversation()
    talk.send(request(1, "GET", "/", *[("cookie", f"a={each}") for each in range(150)]))
    assert talk.replies[1].status == 200


# --- responses ------------------------------------------------------------------------------------


def answered(
    answer: Callable[[Exchange], None], method: str = "GET", *fields: tuple[str, str]
) -> tuple[list[Frame], Http2Conversation]:
    """The frames of one response, and the conversation it was part of."""
    talk = Http2Conversation(hold)
    talk.send(request(1, method, "/", *fields))
    frames = talk.run(lambda: answer(talk.exchanges[0]))
    assert talk.replies[1].ended
    assert talk.replies[1].reset is None
    assert talk.ended_once
    return frames, talk


def test_a_whole_response_is_two_frames() -> None:
    frames, talk = answered(lambda exchange: exchange.start(200, [(b"x", b"y")], b"hello"))
    assert [(each.kind, each.flags) for each in frames] == [(HEADERS, 0x4), (DATA, END_STREAM)]
    assert talk.replies[1].headers == [
        (b"server", b"gateway"),
        (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
        (b"x", b"y"),
        (b"content-length", b"5"),
    ]


@pytest.mark.parametrize("status", [204, 304, 200])
def test_a_response_without_a_body_is_one(status: int) -> None:
    frames, _ = answered(lambda exchange: exchange.start(status, []))
    assert [(each.kind, each.flags) for each in frames] == [(HEADERS, 0x5)]


def test_so_is_one_to_head() -> None:
    frames, talk = answered(lambda exchange: exchange.start(200, [], b"hello"), "HEAD")
    assert [(each.kind, each.flags) for each in frames] == [(HEADERS, 0x5)]
    assert talk.replies[1].header(b"content-length") == b"5"


def test_a_body_of_unknown_length_ends_with_its_stream() -> None:
    def answer(exchange: Exchange) -> None:
        exchange.start(200, [], b"hel", more=True)
        exchange.write(b"", more=True)
        exchange.write(b"lo", more=True)
        exchange.write(b"", more=False)

    frames, talk = answered(answer)
    assert talk.replies[1].body == b"hello"
    assert talk.replies[1].header(b"content-length") is None
    assert [(len(each.payload), each.flags) for each in frames[1:]] == [(3, 0), (2, 0), (0, 1)]


def test_what_was_written_in_one_turn_leaves_in_one_write() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1))
    writes: list[bytes] = []
    talk.transport.write = writes.append  # type: ignore[method-assign,assignment]
    talk.exchanges[0].start(200, [], b"hel", more=True)
    talk.exchanges[0].write(b"lo", more=False)
    talk.settle()
    assert len(writes) == 1


def test_interim_responses_come_before_the_final_one() -> None:
    def answer(exchange: Exchange) -> None:
        exchange.send_informational(103, [(b"link", b"</a.css>")])
        exchange.start(200, [], b"hello")

    frames, talk = answered(answer)
    assert talk.replies[1].interim == [103]
    assert frames[0].flags == 0x4


def test_trailers_end_a_response() -> None:
    def answer(exchange: Exchange) -> None:
        exchange.start(200, [], b"hello", trailers=True)
        exchange.send_trailers([(b"x", b"y")])

    frames, talk = answered(answer, "GET", TE)
    assert [(each.kind, each.flags) for each in frames] == [(HEADERS, 4), (DATA, 0), (HEADERS, 5)]
    assert talk.replies[1].trailers == [(b"x", b"y")]


def test_trailers_that_nobody_takes_are_an_empty_end() -> None:
    def answer(exchange: Exchange) -> None:
        exchange.start(200, [], b"hello", trailers=True)
        exchange.send_trailers([(b"x", b"y")])

    frames, _ = answered(answer)
    assert frames[-1] == Frame(DATA, END_STREAM, 1, b"")


def test_trailers_without_a_body_follow_the_head() -> None:
    def answer(exchange: Exchange) -> None:
        exchange.start(200, [], b"", trailers=True)
        exchange.send_trailers([(b"x", b"y")])

    frames, _ = answered(answer, "GET", TE)
    assert [each.kind for each in frames] == [HEADERS, HEADERS]


def test_trailers_wait_behind_the_body() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1, "GET", "/", TE))
    talk.exchanges[0].start(200, [], bytes(70_000), trailers=True)
    talk.exchanges[0].send_trailers([(b"x", b"y")])
    talk.settle()
    assert talk.replies[1].trailers == []
    talk.send(window_update(0, 70_000), window_update(1, 70_000))
    assert len(talk.replies[1].body) == 70_000
    assert talk.replies[1].trailers == [(b"x", b"y")]
    assert talk.ended_once


def test_an_empty_end_waits_behind_the_body() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1))
    talk.exchanges[0].start(200, [], bytes(70_000), more=True)
    talk.exchanges[0].write(b"", more=False)
    talk.settle()
    assert not talk.replies[1].ended
    talk.send(window_update(0, 70_000), window_update(1, 70_000))
    assert (len(talk.replies[1].body), talk.replies[1].ended) == (70_000, True)


def test_the_fields_of_a_connection_are_left_out() -> None:
    fields = [(b"connection", b"close"), (b"keep-alive", b"5"), (b"transfer-encoding", b"chunked"),
              (b"proxy-connection", b"x"), (b"upgrade", b"h2c")]  # fmt: skip
    _, talk = answered(lambda exchange: exchange.start(200, fields, b"hello"))
    assert [name for name, _ in talk.replies[1].headers] == [b"server", b"date", b"content-length"]


def test_an_upgrade_that_is_required_is_not_named() -> None:
    _, talk = answered(lambda exchange: exchange.start(426, [(b"upgrade", b"websocket")], b"no"))
    assert talk.replies[1].header(b"upgrade") is None


def test_a_connection_goes_on_behind_a_response_that_asked_to_close_it() -> None:
    _, talk = answered(lambda exchange: exchange.start(200, [(b"connection", b"close")], b"hello"))
    talk.send(request(3))
    assert len(talk.exchanges) == 2


def test_names_are_sent_in_lower_case_and_values_without_blanks_around() -> None:
    _, talk = answered(lambda exchange: exchange.start(200, [(b"X-A", b" a b\t")], b"hello"))
    assert talk.replies[1].header(b"x-a") == b"a b"


def test_a_default_field_of_the_application_is_sent_once() -> None:
    _, talk = answered(lambda exchange: exchange.start(200, [(b"Server", b"mine")], b"hello"))
    assert [value for name, value in talk.replies[1].headers if name == b"server"] == [b"mine"]


def test_an_aborted_response_is_reset() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1), request(3))
    talk.exchanges[0].start(200, [], b"hel", more=True)
    talk.run(talk.exchanges[0].abort)
    assert (talk.replies[1].body, talk.replies[1].ended) == (b"hel", False)
    assert talk.replies[1].reset == ErrorCode.INTERNAL_ERROR
    assert not talk.exchanges[1].gone


def test_its_application_hears_of_it_in_another_turn() -> None:
    app = Listening()
    talk = Http2Conversation(app)
    talk.send(request(1))
    app.exchange.abort()
    assert app.news == []
    talk.settle()
    assert app.news == ["gone"]
    assert talk.ended_once


def test_what_waits_is_dropped_by_an_abort() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1))
    talk.exchanges[0].start(200, [], bytes(100_000), more=True)
    talk.run(talk.exchanges[0].abort)
    assert talk.send(window_update(0, 100_000), window_update(1, 1)) == []


# --- the client takes its request back ------------------------------------------------------------


def test_a_reset_is_a_disconnect() -> None:
    app = Listening()
    talk = Http2Conversation(app)
    talk.send(request(1, "POST", end=False), reset(1))
    assert app.news == ["gone"]
    assert app.exchange.disconnected
    assert talk.ended_once
    with pytest.raises(ClientGone):
        app.exchange.start(200, [], b"late")


def test_a_reset_in_mid_response_ends_it() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1))
    talk.exchanges[0].start(200, [], b"hel", more=True)
    talk.send(reset(1))
    with pytest.raises(ClientGone):
        talk.exchanges[0].write(b"lo", more=False)
    assert talk.ended_once


def test_a_reset_does_not_touch_the_others() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1), request(3), reset(1))
    talk.run(lambda: talk.exchanges[1].start(200, [], b"hello"))
    assert talk.replies[3].body == b"hello"


def test_a_reset_drops_what_waits_and_is_not_answered() -> None:
    talk = Http2Conversation(lambda exchange: exchange.start(200, [], bytes(100_000)))
    talk.send(request(1))
    assert talk.send(reset(1), window_update(0, 100_000), window_update(1, 100_000)) == []
    assert talk.ended_once


def test_a_second_reset_is_nothing() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1), reset(1))
    assert talk.send(reset(1), reset(1)) == []
    assert talk.ended_once


# --- files ----------------------------------------------------------------------------------------


def with_file(
    file: BinaryIO, offset: int, count: int, more: bool = False
) -> Callable[[Exchange], None]:
    def answer(exchange: Exchange) -> None:
        exchange.start(200, [], b"<", more=True)
        exchange.send_file(file, offset, count, more)

    return answer


def test_a_file_is_sent_and_closed(file: BinaryIO) -> None:
    _, talk = answered(with_file(file, 5, 50_000))
    assert talk.replies[1].body == b"<" + (b"0123456789" * 10_000)[5:50_005]
    assert file.closed


def test_a_file_waits_for_the_window(file: BinaryIO) -> None:
    talk = Http2Conversation(with_file(file, 0, 100_000))
    talk.send(request(1))
    assert len(talk.replies[1].body) == 65_535
    assert not talk.exchanges[0].finished
    assert not talk.exchanges[0].writable
    talk.send(window_update(0, 100_000), window_update(1, 100_000))
    assert talk.replies[1].body == b"<" + b"0123456789" * 10_000
    assert talk.ended_once
    assert file.closed


def test_a_file_may_be_followed(file: BinaryIO) -> None:
    talk = Http2Conversation(with_file(file, 0, 10, more=True))
    talk.send(request(1))
    assert talk.exchanges[0].writable
    talk.run(lambda: talk.exchanges[0].write(b">", more=False))
    assert talk.replies[1].body == b"<0123456789>"


def test_a_file_that_waits_may_be_followed_by_trailers(file: BinaryIO) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.start(200, [], b"", more=True, trailers=True)
        exchange.send_file(file, 0, 100_000)
        exchange.send_trailers([(b"x", b"y")])

    talk = Http2Conversation(answer)
    talk.send(request(1, "GET", "/", TE))
    talk.send(window_update(0, 100_000), window_update(1, 100_000))
    assert len(talk.replies[1].body) == 100_000
    assert talk.replies[1].trailers == [(b"x", b"y")]
    assert talk.ended_once


@pytest.mark.parametrize("more", [True, False])
def test_an_empty_range_is_sent_at_once(file: BinaryIO, more: bool) -> None:
    talk = Http2Conversation(with_file(file, 0, 0, more))
    talk.send(request(1))
    assert file.closed
    assert talk.exchanges[0].writable
    assert talk.replies[1].ended is not more


@pytest.mark.parametrize("more", [True, False])
def test_an_empty_range_behind_what_waits_keeps_its_place(file: BinaryIO, more: bool) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.start(200, [], bytes(70_000), more=True)
        exchange.send_file(file, 0, 0, more)
        if more:
            exchange.write(b"", more=False)

    talk = Http2Conversation(answer)
    talk.send(request(1))
    assert not talk.replies[1].ended
    talk.send(window_update(0, 70_000), window_update(1, 70_000))
    assert (len(talk.replies[1].body), talk.replies[1].ended) == (70_000, True)
    assert talk.ended_once
    assert file.closed


def test_a_short_file_is_a_reset(file: BinaryIO) -> None:
    talk = Http2Conversation(with_file(file, 99_990, 20))
    talk.send(request(1))
    assert talk.replies[1].body == b"<0123456789"
    assert talk.replies[1].reset == ErrorCode.INTERNAL_ERROR
    assert talk.ended_once
    assert file.closed


@pytest.mark.parametrize(
    "end", [reset(1), window_update(1, 0), b""], ids=["reset", "error", "loss"]
)
def test_a_file_is_closed_whatever_ends_its_stream(file: BinaryIO, end: bytes) -> None:
    talk = Http2Conversation(with_file(file, 0, 100_000))
    talk.send(request(1))
    if end:
        talk.send(end)
    else:
        talk.lose()
    assert file.closed
    assert talk.ended_once


def test_a_file_for_a_client_that_has_gone_is_closed(file: BinaryIO) -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1))
    talk.exchanges[0].start(200, [], b"", more=True)
    talk.send(reset(1))
    with pytest.raises(ClientGone):
        talk.exchanges[0].send_file(file, 0, 10)
    assert file.closed


# --- tunnels (RFC 8441) ---------------------------------------------------------------------------


def opened() -> tuple[Http2Conversation, Speaker]:
    speaker = Speaker()
    talk = Http2Conversation(speaker)
    talk.send(connect(1))
    return talk, speaker


def test_the_request_for_a_tunnel_asks_for_its_protocol() -> None:
    talk = Http2Conversation(hold)
    talk.send(connect(1, "/chat?a"))
    head = talk.exchanges[0].head
    assert (head.method, head.path, head.upgrade) == ("GET", "/chat", b"websocket")


def test_a_tunnel_is_a_200_without_an_end() -> None:
    speaker = Speaker(opens=False)
    talk = Http2Conversation(speaker)
    talk.send(connect(1))
    (head,) = talk.run(lambda: speaker.open([(b"sec-websocket-protocol", b"x")]))
    assert (head.kind, head.flags) == (HEADERS, 0x4)
    assert talk.replies[1].status == 200
    assert talk.replies[1].headers[2:] == [(b"sec-websocket-protocol", b"x")]


@pytest.mark.parametrize("takes", [True, False])
def test_bytes_go_both_ways(takes: bool) -> None:
    talk, speaker = opened()
    speaker.takes = takes
    talk.send(data(1, b"hel"), data(1, b"lo", pad=3))
    assert speaker.heard == b"hello"
    talk.run(lambda: speaker.exchange.write(b"world", more=True))
    assert talk.replies[1].body == b"world"


def test_the_end_of_the_peers_side_is_a_disconnect() -> None:
    talk, speaker = opened()
    talk.send(data(1, b"bye", end=True))
    assert speaker.news == ["readable", "disconnected"]
    talk.run(lambda: speaker.exchange.write(b"bye", more=False))
    assert talk.replies[1].ended
    assert talk.replies[1].reset is None
    assert talk.ended_once


def test_trailers_are_an_end_too() -> None:
    talk, speaker = opened()
    talk.send(headers(1, block({"x": "y"})))
    assert speaker.news == ["disconnected"]


def test_a_tunnel_whose_peer_has_ended_its_side_already_is_told_so() -> None:
    speaker = Speaker(opens=False)
    talk = Http2Conversation(speaker)
    talk.send(connect(1), data(1, end=True))
    speaker.news.clear()
    talk.run(lambda: speaker.open([]))
    assert speaker.news == ["disconnected"]


def test_our_end_is_the_end_of_the_stream() -> None:
    talk, speaker = opened()
    talk.run(lambda: speaker.exchange.write(b"bye", more=False))
    assert talk.replies[1].ended
    assert talk.replies[1].reset == ErrorCode.NO_ERROR
    assert talk.ended_once
    assert talk.send(data(1, b"too late", end=True)) == []


def test_a_reset_tunnel_is_gone() -> None:
    talk, speaker = opened()
    talk.send(reset(1))
    assert speaker.news == ["gone"]
    assert talk.ended_once


def test_a_tunnel_is_one_stream_of_many() -> None:
    talk, _ = opened()
    talk.send(request(3), reset(1))
    talk.send(request(5))
    assert talk.state == "open"
    assert len(talk.exchanges) == 3


def test_a_tunnel_may_be_refused() -> None:
    talk = Http2Conversation(lambda exchange: exchange.refuse(403, "no"))
    talk.send(connect(1))
    assert (talk.replies[1].status, talk.replies[1].body) == (403, b"no\n")


@pytest.mark.parametrize("more", [True, False])
def test_a_plain_success_is_no_tunnel(more: bool) -> None:
    talk = Http2Conversation(lambda exchange: exchange.start(200, [], b"hello", more))
    talk.send(connect(1))
    reply = talk.replies[1]
    assert (reply.status, reply.body, reply.ended) == (501, b"", True)
    assert talk.exchanges[0].status == 501


def test_and_is_over_whatever_more_it_has_to_say() -> None:
    talk = Http2Conversation(lambda exchange: exchange.start(200, [], b"hello", more=True))
    talk.send(connect(1))
    talk.lose()
    assert talk.ended_once


def test_frames_without_content_do_not_reach_the_application() -> None:
    app = Listening()
    talk = Http2Conversation(app)
    talk.send(request(1, "POST", end=False), data(1), data(1, pad=5))
    assert app.news == []
