"""Properties of any input: both parsers agree, nothing raises, nothing follows a refusal."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.protocols.context import HeadParser

from .corpus import load
from .fuzz import TOKENS, disagreement, mutated
from .harness import PARSERS, Conversation, Outcome

SEEDS = [message.data for message in load() if len(message.data) < 2000]

names = st.sampled_from(
    ["Host", "host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Expect",
     "Proxy-Connection", "TE", "X-A", "X_A", "a!#$%&'*+-.^_`|~0"]
)  # fmt: skip
values = st.one_of(
    st.sampled_from(
        [
            "a",
            "a:80",
            "[::1]",
            "",
            "0",
            "2",
            "chunked",
            "Chunked",
            "gzip, chunked",
            "close",
            "keep-alive, Upgrade",
            "upgrade",
            "websocket",
            "h2c",
            "100-continue",
            "trailers",
            "\t a \t",
        ]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=8),
)
targets = st.one_of(
    st.sampled_from(["/", "/a?b", "*", "http://a/b", "HTTP://a:80", "//a", "a", "/%41%zz", "/a#b"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=8).map("/".__add__),
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Requests of known parts, right and wrong, one to three on a connection."""
    data = ""
    for _ in range(draw(st.integers(1, 3))):
        method = draw(st.sampled_from(["GET", "POST", "OPTIONS", "HEAD", "BREW", "get"]))
        version = draw(st.sampled_from(["1.1", "1.1", "1.1", "1.0", "2.0"]))
        data += f"{method} {draw(targets)} HTTP/{version}\r\n"
        if draw(st.integers(0, 9)):
            data += "Host: a\r\n"
        for name, value in draw(st.lists(st.tuples(names, values), max_size=4)):
            data += f"{name}: {value}\r\n"
        data += "\r\n" + draw(st.sampled_from(["", "", "hi", "2\r\nhi\r\n0\r\n\r\n", "0\r\n\r\n"]))
    return data.encode("latin-1")


def outcome(parser: type[HeadParser], *segments: bytes) -> Outcome:
    talk = Conversation(parser)
    talk.feed(*segments)
    return talk.outcome()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(requests())
def test_parsers_agree_about_requests_of_known_parts(data: bytes) -> None:
    assert outcome(PARSERS[0], data) == outcome(PARSERS[1], data)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(SEEDS), st.sampled_from(SEEDS), st.integers(0, 1 << 32))
def test_parsers_and_segmentations_agree_about_mutated_messages(
    data: bytes, other: bytes, seed: int
) -> None:
    random = Random(seed)
    assert disagreement(random, mutated(random, data, other)) == ""


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(TOKENS)), max_size=12))
def test_any_bytes_are_answered_or_waited_for(parts: list[bytes]) -> None:
    for parser in PARSERS:
        talk = Conversation(parser)
        talk.feed(*parts)
        statuses = talk.outcome().statuses
        talk.eof()
        talk.pass_time(40)
        assert talk.transport.state == "lost"
        assert not talk.context.connections
        assert all(status < 400 for status in statuses[:-1])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(requests(), st.data())
def test_answers_stand_in_the_order_of_the_requests(data: bytes, draw: st.DataObject) -> None:
    """The application answers one by one, later; what is accepted does not depend on it."""
    parser = draw.draw(st.sampled_from(PARSERS))
    at_once = outcome(parser, data)
    waiting: list[int] = []
    talk = Conversation(parser, answer=lambda exchange: waiting.append(len(talk.exchanges) - 1))
    talk.feed(data)
    while waiting:
        exchange = talk.exchanges[waiting.pop()]
        exchange.start(200, [(b"content-type", b"text/plain")], b"hello")
        talk.settle()
    assert talk.outcome() == at_once


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_is_judged_alike_in_every_place(byte: int) -> None:
    """CVE-2024-23829: small differences of character sets."""
    each = bytes([byte])
    heads = [
        b"G" + each + b"T / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET" + each + b"/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /" + each + b"x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /" + each + b"X: HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /?" + each + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://a" + each + b"b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://a/" + each + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1." + each + b"\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1" + each + b"\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + each + b"Host: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost" + each + b": a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost:" + each + b"a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a" + each + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + each + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a" + each + b"b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a" + each + b"b: c\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:" + each + b"2\r\n\r\nhi",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2" + each + b"\r\n\r\nhi",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:" + each + b"chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked" + each + b"\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer" + each + b"Encoding: chunked\r\n\r\n",
    ]
    for head in heads:
        assert outcome(PARSERS[0], head) == outcome(PARSERS[1], head), head


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("byte", sorted({*range(0x21), 0x7F, 0x85, 0xA0, 0xFF} - {0x20}))
def test_no_control_byte_reaches_an_application(parser: type[HeadParser], byte: int) -> None:
    each = bytes([byte])
    talk = Conversation(parser)
    talk.feed(b"GET /a" + each + b"X: HTTP/1.1\r\nHost: a\r\n\r\n")
    assert talk.exchanges == []
    assert [response.status for response in talk.responses()] == [400]
