"""Which protocol a TLS connection speaks: what its handshake has agreed on."""

from __future__ import annotations

import pytest

from gateway.protocols.http1 import Http1Connection
from gateway.protocols.http2 import Http2Connection
from gateway.protocols.http2_frames import PREFACE, SETTINGS

from .http2_harness import Http2Conversation, request, settings

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_h2_is_http2() -> None:
    talk = Http2Conversation(alpn="h2", start=False)
    assert isinstance(talk.connection, Http2Connection)
    assert [each.kind for each in talk.run(lambda: None)][:1] == [SETTINGS]
    talk.send(PREFACE, settings({}), request(1))
    assert talk.replies[1].body == b"hello"


def test_requests_are_known_to_be_encrypted() -> None:
    talk = Http2Conversation(alpn="h2")
    talk.send(request(1))
    assert talk.exchanges[0].head.scheme == "https"


@pytest.mark.parametrize("alpn", ["http/1.1", ""], ids=["http/1.1", "nothing"])
def test_anything_else_is_http1(alpn: str) -> None:
    talk = Http2Conversation(alpn=alpn)
    assert isinstance(talk.connection, Http1Connection)
    assert talk.feed(GET).startswith(b"HTTP/1.1 200 OK\r\n")


def test_http1_says_nothing_before_its_request() -> None:
    assert Http2Conversation(alpn="").output == b""


def test_where_http2_is_off_http1_is_spoken() -> None:
    talk = Http2Conversation(alpn="h2", options=None)
    assert isinstance(talk.connection, Http1Connection)


def test_the_connection_is_counted_once() -> None:
    for alpn in ("h2", ""):
        talk = Http2Conversation(alpn=alpn)
        assert talk.context.connections == {talk.connection}


def test_the_preface_is_no_way_around_alpn() -> None:
    talk = Http2Conversation(alpn="")
    assert talk.feed(PREFACE + settings({})).startswith(b"HTTP/1.1 505 ")
    assert isinstance(talk.connection, Http1Connection)
