from __future__ import annotations

import pytest
from fakes import FakeWire, exchange, head

from gateway.middleware.failure_page import failure_page

BROWSER = b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def answer(text: str, accept: bytes | None = None, method: str = "GET", **options) -> FakeWire:
    wire = FakeWire()
    headers = [] if accept is None else [(b"accept", accept)]
    failure_page(text)(exchange(head(method, headers=headers, **options), wire))
    return wire


def test_a_browser_gets_a_page():
    wire = answer("main.py:3: no\n  that is why", BROWSER)

    assert wire.status == 500
    assert wire.ended
    assert wire.header(b"content-type") == b"text/html; charset=utf-8"
    assert b"<title>main.py:3: no</title>" in wire.body
    assert b"<pre>main.py:3: no\n  that is why</pre>" in wire.body


@pytest.mark.parametrize("accept", [None, b"*/*", b"application/json", b"text/html;q=0"])
def test_others_get_plain_text(accept):
    wire = answer("no\n  why", accept)

    assert wire.status == 500
    assert wire.header(b"content-type") == b"text/plain; charset=utf-8"
    assert wire.body == b"no\n  why\n"


@pytest.mark.parametrize("accept", [b"TEXT/HTML", b"*/*, text/html;q=0.1", b"text/html ; level=1"])
def test_html_may_stand_anywhere_in_accept(accept):
    assert b"<pre>" in answer("no", accept).body


@pytest.mark.parametrize("accept", [None, BROWSER])
def test_it_is_not_stored(accept):
    assert answer("no", accept).header(b"cache-control") == b"no-store"


def test_the_text_is_escaped():
    wire = answer("""<script>alert("1")</script> & '{x}'""", BROWSER)

    assert b"<script" not in wire.body
    assert b"&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; &#x27;{x}&#x27;" in wire.body


@pytest.mark.parametrize("accept", [None, BROWSER])
def test_what_cannot_be_printed_is_shown_as_an_escape(accept):
    """A terminal's escape sequence, a NUL, half a surrogate pair, a mark that turns the line."""
    wire = answer("a\x1b[2J\0\udc80\u202e\tb\r\nc", accept)

    assert rb"a\x1b[2J\x00\udc80\u202e" + b"\tb\nc" in wire.body


def test_other_alphabets_stay_readable():
    assert "größe λ 中文".encode() in answer("größe λ 中文").body


def test_head_has_no_body():
    wire = answer("no", method="HEAD")

    assert wire.status == 500
    assert wire.body == b""
    assert wire.ended
    assert wire.header(b"content-length") == b"3"


def test_a_request_body_is_not_read():
    wire = answer("no", method="POST", content_length=1000, expect_continue=True)

    assert wire.status == 500
    assert wire.informational == []
