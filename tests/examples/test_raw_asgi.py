"""The raw callables, driven by hand."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from types import ModuleType

import pytest

from .asgi_exchange import body_of, exchange


@pytest.fixture
def asgi3(examples, monkeypatch) -> ModuleType:
    from raw_asgi import asgi3

    monkeypatch.setattr(asgi3, "PAUSE", 0)
    return asgi3


@pytest.fixture
def asgi2(examples) -> ModuleType:
    from raw_asgi import asgi2

    return asgi2


def call(app, path, **options):
    return asyncio.run(exchange(app, path, **options))


@pytest.mark.parametrize("path", ["/raw", "/raw/"])
def test_links_on_the_page_carry_the_prefix(asgi3, path):
    messages = call(asgi3.app, path, root_path="/raw")
    assert messages[0]["status"] == 200
    assert b'href="/raw/scope"' in body_of(messages)
    assert b'href="/raw/style.css"' in body_of(messages)


def test_no_early_hint_where_none_is_offered(asgi3):
    assert call(asgi3.app, "/")[0]["type"] == "http.response.start"


def test_early_hint_where_it_is_offered(asgi3):
    messages = call(asgi3.app, "/raw/", root_path="/raw", extensions=("http.response.early_hint",))
    assert messages[0] == {
        "type": "http.response.early_hint",
        "links": [b"</raw/style.css>; rel=preload; as=style"],
    }
    assert messages[1]["type"] == "http.response.start"


def test_lifespan_state_reaches_the_page(asgi3):
    assert b"Up for: no lifespan ran" in body_of(call(asgi3.app, "/"))
    assert b"no lifespan ran" not in body_of(call(asgi3.app, "/", state={"started": 0.0}))


def test_lifespan_starts_and_stops(asgi3):
    async def run():
        events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        sent = []

        async def receive():
            return events.pop(0)

        async def send(message):
            sent.append(message["type"])

        state = {}
        await asgi3.app({"type": "lifespan", "state": state}, receive, send)
        return sent, state

    sent, state = asyncio.run(run())
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert state["started"] > 0


def test_scope_is_shown_as_json(asgi3):
    assert b'"root_path": "/raw"' in body_of(call(asgi3.app, "/raw/scope", root_path="/raw"))


def test_stream_ends_with_its_last_line(asgi3):
    messages = call(asgi3.app, "/stream")
    assert body_of(messages).splitlines()[-1] == b"line 5 of 5"
    assert [message["more_body"] for message in messages[1:]] == [True] * 4 + [False]


def test_stream_stops_when_the_client_leaves(asgi3, monkeypatch):
    monkeypatch.setattr(asgi3, "PAUSE", 20)
    messages = call(asgi3.app, "/stream", leaves_after=2)
    assert body_of(messages) == b"line 1 of 5\n"


def test_echo_sends_each_piece_back(asgi3):
    messages = call(asgi3.app, "/echo", method="POST", body=(b"one", b"two", b""))
    assert [message["body"] for message in messages[1:]] == [b"one", b"two", b""]
    assert messages[-1]["more_body"] is False
    assert "trailers" not in messages[0]


def test_echo_ends_with_a_digest_where_trailers_are_offered(asgi3):
    messages = call(
        asgi3.app,
        "/echo",
        method="POST",
        body=(b"one", b"two"),
        extensions=("http.response.trailers",),
    )
    digest = base64.b64encode(hashlib.sha256(b"onetwo").digest())
    assert messages[0]["trailers"] is True
    assert messages[-1] == {
        "type": "http.response.trailers",
        "headers": [(b"repr-digest", b"sha-256=:%s:" % digest)],
    }


def test_echo_stops_when_the_client_leaves_in_the_middle(asgi3):
    messages = call(asgi3.app, "/echo", method="POST", body=(b"one",), complete=False)
    assert messages[-1] == {"type": "http.response.body", "body": b"one", "more_body": True}


def test_echo_takes_only_post(asgi3):
    start = call(asgi3.app, "/echo")[0]
    assert start["status"] == 405
    assert (b"allow", b"POST") in start["headers"]


def test_unknown_page_is_404(asgi3):
    assert call(asgi3.app, "/nope")[0]["status"] == 404


def test_websocket_is_refused(asgi3):
    with pytest.raises(ValueError, match="websocket"):
        asyncio.run(asgi3.app({"type": "websocket"}, None, None))


def double(app):
    """A double callable as a single one."""

    async def single(scope, receive, send):
        await app(scope)(receive, send)

    return single


def test_asgi2_weighs_the_body(asgi2):
    messages = call(
        double(asgi2.app), "/legacy/x", root_path="/legacy", method="POST", body=(b"ab", b"c")
    )
    assert b"<code>/legacy/x</code>, mounted at <code>/legacy</code>: 3 bytes" in body_of(messages)


def test_asgi2_says_nothing_to_a_client_that_left(asgi2):
    assert call(double(asgi2.app), "/", method="POST", body=(b"ab",), complete=False) == []


def test_asgi2_has_no_lifespan(asgi2):
    with pytest.raises(ValueError, match="lifespan"):
        asgi2.app({"type": "lifespan"})
