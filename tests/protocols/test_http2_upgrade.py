"""From HTTP/1.1 to HTTP/2 on a plain listener: Upgrade (RFC 7540, 3.2) and prior knowledge."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from struct import pack

import pytest

from gateway.exchange import Exchange
from gateway.protocols.http1 import Http1Connection
from gateway.protocols.http2 import Http2Connection
from gateway.protocols.http2_errors import ErrorCode
from gateway.protocols.http2_frames import GOAWAY, HEADERS, PREFACE, SETTINGS

from .http2_harness import Http2Conversation, data, hold, request, settings, window_update


def payload(*pairs: tuple[int, int]) -> str:
    """The value of HTTP2-Settings."""
    return urlsafe_b64encode(b"".join(pack(">HL", *pair) for pair in pairs)).rstrip(b"=").decode()


CURL = payload((0x3, 100), (0x4, 33_554_432), (0x2, 0))


def asking(
    *fields: str,
    method: str = "GET",
    target: str = "/",
    connection: str = "Upgrade, HTTP2-Settings",
    values: str | None = CURL,
    body: str = "",
) -> bytes:
    """A request that asks for HTTP/2, as curl does, and more `fields`."""
    lines = [f"{method} {target} HTTP/1.1", "Host: a", f"Connection: {connection}", "Upgrade: h2c"]
    if values is not None:
        lines.append(f"HTTP2-Settings: {values}")
    return "\r\n".join([*lines, *fields, "", body]).encode()


def upgraded(first: bytes, **arguments) -> Http2Conversation:
    talk = Http2Conversation(plain=True, **arguments)
    talk.feed(first)
    assert isinstance(talk.connection, Http2Connection)
    return talk


# --- Upgrade --------------------------------------------------------------------------------------


def test_the_answer_is_a_101_and_then_frames() -> None:
    talk = upgraded(asking())
    assert talk.skip_http1().split(b"\r\n") == [
        b"HTTP/1.1 101 Switching Protocols",
        b"connection: upgrade",
        b"upgrade: h2c",
        b"",
        b"",
    ]
    assert talk.frames[0].kind == SETTINGS


def test_the_request_is_stream_1() -> None:
    talk = upgraded(asking())
    talk.skip_http1()
    talk.send(PREFACE, settings({}), settings())
    assert (talk.replies[1].status, talk.replies[1].body) == (200, b"hello")
    assert talk.replies[1].ended
    assert talk.replies[1].reset is None


def test_it_is_answered_before_the_preface_has_come() -> None:
    talk = upgraded(asking())
    talk.skip_http1()
    assert talk.replies[1].body == b"hello"


def test_the_application_sees_a_request_of_http2_without_what_was_the_connections() -> None:
    talk = upgraded(asking("X: y", "Keep-Alive: 5", method="OPTIONS", target="/a?b"))
    (got,) = talk.requests
    assert (got.method, got.path, got.query, got.version) == ("OPTIONS", "/a", b"b", "2")
    assert got.headers == ((b"host", b"a"), (b"x", b"y"))
    assert got.upgrade is None


def test_the_next_request_is_stream_3() -> None:
    talk = upgraded(asking())
    talk.skip_http1()
    talk.send(PREFACE, settings({}), request(3))
    assert talk.replies[3].body == b"hello"


def test_stream_1_is_taken() -> None:
    talk = upgraded(asking(), handler=hold)
    talk.skip_http1()
    talk.send(PREFACE, settings({}), data(1, b"x"))
    assert talk.replies[1].reset == ErrorCode.STREAM_CLOSED


def test_the_settings_of_the_request_hold() -> None:
    talk = upgraded(asking(values=payload((0x4, 3))))
    talk.skip_http1()
    assert talk.replies[1].body == b"hel"
    talk.send(PREFACE, settings({0x4: 3}), window_update(1, 10))
    assert talk.replies[1].body == b"hello"


def test_no_settings_are_settings() -> None:
    talk = upgraded(asking(values=""))
    talk.skip_http1()
    assert talk.replies[1].body == b"hello"


def test_everything_may_come_byte_by_byte() -> None:
    talk = Http2Conversation(plain=True)
    talk.feed_each(asking() + PREFACE + settings({}) + request(3))
    talk.skip_http1()
    assert [talk.replies[each].body for each in (1, 3)] == [b"hello", b"hello"]


def test_the_frames_of_a_hasty_client_may_follow_at_once() -> None:
    talk = upgraded(asking() + PREFACE + settings({}) + request(3))
    talk.skip_http1()
    assert [talk.replies[each].body for each in (1, 3)] == [b"hello", b"hello"]


def test_something_else_behind_it_is_an_error() -> None:
    talk = upgraded(asking(), handler=hold)
    talk.skip_http1()
    talk.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert talk.error == ErrorCode.PROTOCOL_ERROR
    assert talk.ended_once


def test_a_client_that_stays_silent_is_closed() -> None:
    talk = upgraded(asking(), head_timeout=5)
    talk.pass_time(8)
    assert talk.closed


def test_a_later_request_may_ask_too() -> None:
    talk = Http2Conversation(plain=True)
    first = talk.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    talk.feed(asking())
    assert isinstance(talk.connection, Http2Connection)
    assert talk.output[len(first) :].startswith(b"HTTP/1.1 101 ")


def test_the_connection_is_counted_once() -> None:
    talk = upgraded(asking())
    assert talk.context.connections == {talk.connection}
    talk.lose()
    assert not talk.context.connections


def test_while_the_listener_drains_the_new_connection_does_too() -> None:
    talk = Http2Conversation(plain=True)
    talk.context.draining = True
    talk.feed(asking())
    if isinstance(talk.connection, Http2Connection):
        talk.skip_http1()
        assert [each.kind for each in talk.of_kind(GOAWAY, HEADERS)] == [HEADERS, GOAWAY]
    else:
        assert talk.responses()[0].header(b"connection") == b"close"


# --- requests that stay in HTTP/1.1 ---------------------------------------------------------------


def stays(first: bytes, **arguments) -> Http2Conversation:
    """A request that is answered over HTTP/1.1."""
    talk = Http2Conversation(plain=True, **arguments)
    talk.feed(first)
    assert isinstance(talk.connection, Http1Connection)
    (response,) = talk.responses()
    assert (response.status, response.body) == (200, b"hello")
    return talk


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (["Content-Length: 5"], "hello"),
        (["Transfer-Encoding: chunked"], "5\r\nhello\r\n0\r\n\r\n"),
    ],
    ids=["length", "chunked"],
)
def test_one_with_a_body_stays(fields: list[str], body: str) -> None:
    talk = stays(asking(*fields, method="POST", body=body))
    assert talk.requests[0].body == b"hello"


@pytest.mark.parametrize(
    "field", ["Via: 1.1 x", "Forwarded: for=x", "X-Forwarded-For: x", "X-Forwarded-Proto: https"]
)
def test_one_that_came_through_a_proxy_stays(field: str) -> None:
    stays(asking(field))


@pytest.mark.parametrize(
    "values",
    [None, "A", "AAMAAABkA", "AAMA", "AA+AAABk", "AAM=", "AAMAAABk, AAMAAABk", "AAMAAABk=="],
)
def test_one_with_malformed_settings_stays(values: str | None) -> None:
    stays(asking(values=values))


@pytest.mark.parametrize(
    "pair", [(0x2, 2), (0x4, 1 << 31), (0x5, 1), (0x5, 1 << 24), (0x8, 2)],
    ids=["push", "window", "small frames", "large frames", "connect"],
)  # fmt: skip
def test_so_does_one_with_settings_that_are_not_legal(pair: tuple[int, int]) -> None:
    stays(asking(values=payload(pair)))


def test_so_does_one_with_more_settings_than_there_are() -> None:
    stays(asking(values=payload(*[(0x99, 1)] * 20_000)), limit_head=1 << 20)


def test_so_does_one_that_has_them_twice() -> None:
    stays(asking(f"HTTP2-Settings: {CURL}"))


@pytest.mark.parametrize("connection", ["Upgrade", "HTTP2-Settings", "keep-alive"])
def test_so_does_one_whose_connection_does_not_name_both(connection: str) -> None:
    stays(asking(connection=connection))


def test_names_in_connection_have_no_case() -> None:
    upgraded(asking(connection="keep-alive ,\thttp2-SETTINGS, UPGRADE"))


def test_where_http2_is_off_it_stays() -> None:
    stays(asking(), options=None)


def test_so_it_does_where_it_is_encrypted() -> None:
    talk = Http2Conversation(alpn="")
    talk.feed(asking())
    assert isinstance(talk.connection, Http1Connection)


def test_a_websocket_is_no_matter_of_http2() -> None:
    talk = Http2Conversation(hold, plain=True)
    talk.feed(asking().replace(b"Upgrade: h2c", b"Upgrade: websocket"))
    assert talk.exchanges[0].head.upgrade == b"websocket"
    assert isinstance(talk.connection, Http1Connection)


# --- prior knowledge (RFC 9113, section 3.3) ------------------------------------------------------


def test_the_preface_is_enough() -> None:
    talk = Http2Conversation(plain=True)
    talk.send(PREFACE, settings({}), request(1))
    assert isinstance(talk.connection, Http2Connection)
    assert talk.replies[1].body == b"hello"


def test_it_may_come_byte_by_byte() -> None:
    talk = Http2Conversation(plain=True)
    talk.send_each(PREFACE, settings({}), request(1))
    assert talk.replies[1].body == b"hello"


@pytest.mark.parametrize("cut", [15, 16, 17, 18, 19, 23, 24, 30])
def test_it_may_be_cut_anywhere(cut: int) -> None:
    whole = PREFACE + settings({}) + request(1)
    talk = Http2Conversation(plain=True)
    talk.feed(whole[:cut], whole[cut:])
    assert talk.replies[1].body == b"hello"


def test_half_of_it_is_not_waited_for() -> None:
    talk = Http2Conversation(plain=True, head_timeout=5)
    talk.feed(PREFACE[:20])
    talk.pass_time(9)
    assert talk.closed


def test_something_else_behind_its_first_line_is_an_error() -> None:
    talk = Http2Conversation(plain=True)
    talk.feed(b"PRI * HTTP/2.0\r\nHost: a\r\n\r\n")
    assert talk.error == ErrorCode.PROTOCOL_ERROR
    assert talk.closed


def test_it_comes_first_or_not_at_all() -> None:
    talk = Http2Conversation(plain=True)
    talk.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    talk.feed(PREFACE + settings({}))
    assert [each.status for each in talk.responses()] == [200, 505]


def test_where_http2_is_off_it_is_a_version_that_is_not_spoken() -> None:
    talk = Http2Conversation(plain=True, options=None)
    talk.feed(PREFACE + settings({}))
    assert [each.status for each in talk.responses()] == [505]
    assert talk.closed


def test_a_handler_that_fails_on_stream_1_is_a_500() -> None:
    def broken(exchange: Exchange) -> None:
        raise RuntimeError("no")

    talk = upgraded(asking(), handler=broken)
    talk.skip_http1()
    assert talk.replies[1].status == 500
