"""Bounds on a head, exact to the byte, in whatever segments it comes."""

from __future__ import annotations

import pytest

from gateway.protocols.context import HeadParser

from .harness import PARSERS, Conversation

pytestmark = [
    pytest.mark.parametrize("parser", PARSERS),
    pytest.mark.parametrize("each", [False, True], ids=["whole", "byte-by-byte"]),
]

LIMIT = 200


def status(parser: type[HeadParser], data: bytes, each: bool, **settings: float) -> list[int]:
    talk = Conversation(parser, limit_head=LIMIT, **settings)
    if each:
        talk.feed_each(data)
    else:
        talk.feed(data)
    return [response.status for response in talk.responses()]


def head(size: int) -> bytes:
    start, end = b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"\r\n\r\n"
    return start + b"y" * (size - len(start) - len(end)) + end


def line(size: int) -> bytes:
    start, end = b"GET /", b" HTTP/1.0\r\n"
    return start + b"a" * (size - len(start) - len(end)) + end


@pytest.mark.parametrize(("size", "expected"), [(LIMIT, 200), (LIMIT + 1, 431), (LIMIT + 9, 431)])
def test_head_may_be_as_long_as_the_limit(
    parser: type[HeadParser], each: bool, size: int, expected: int
) -> None:
    assert len(head(size)) == size
    assert status(parser, head(size), each) == [expected]


@pytest.mark.parametrize(
    ("size", "expected"),
    [(LIMIT - 2, 200), (LIMIT - 1, 431), (LIMIT, 431), (LIMIT + 1, 414), (LIMIT + 2, 414)],
)
def test_request_line_beyond_the_limit_is_414(
    parser: type[HeadParser], each: bool, size: int, expected: int
) -> None:
    assert len(line(size)) == size
    assert status(parser, line(size) + b"\r\n", each) == [expected]


@pytest.mark.parametrize(("count", "expected"), [(5, 200), (6, 431)])
def test_number_of_fields_is_bounded(
    parser: type[HeadParser], each: bool, count: int, expected: int
) -> None:
    data = b"GET / HTTP/1.0\r\n" + b"X: y\r\n" * count + b"\r\n"
    assert status(parser, data, each, limit_headers=5) == [expected]


def test_body_does_not_count(parser: type[HeadParser], each: bool) -> None:
    data = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 400\r\n\r\n" + b"\n" * 400
    assert status(parser, data, each) == [200]


def test_next_head_does_not_count(parser: type[HeadParser], each: bool) -> None:
    assert status(parser, head(LIMIT) * 3, each) == [200, 200, 200]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # What is wrong within the limit is told before the limit, what is behind it never is.
        (b"GET /" + b"a" * 100 + b"\x01" + b"a" * 200, 400),
        (b"GET /" + b"a" * 200 + b"\x01" + b"a" * 200, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 100 + b"\n" + b"y" * 200, 400),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 200 + b"\n" + b"y" * 200 + b"\r\n\r\n", 431),
        (b"BREW / HTTP/1.1\r\nX: " + b"y" * 200, 501),
    ],
)
def test_first_problem_is_the_answer(
    parser: type[HeadParser], each: bool, data: bytes, expected: int
) -> None:
    assert status(parser, data, each) == [expected]


@pytest.mark.parametrize(("size", "expected"), [(LIMIT, 200), (LIMIT + 1, 431)])
def test_trailers_may_be_as_long_as_the_limit(
    parser: type[HeadParser], each: bool, size: int, expected: int
) -> None:
    trailers = b"X: " + b"y" * (size - 3) + b"\r\n\r\n"
    data = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + trailers
    assert status(parser, data, each) == [expected]
