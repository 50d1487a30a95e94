"""What an application does wrong on a WebSocket: a 500 before the accept, 1011 or 1000 after it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.websocket.codec import CLOSE
from interfaces.misbehavior import (
    Seen,
    Wire,
    anything,
    asgi_interface,
    label,
    leaves,
    misbehave,
)
from interfaces.test_misbehavior_asgi import EXCEPTIONS, HEADERS, body, refused, sending, start

WIRES: tuple[Wire, ...] = ("http1", "http2")
wires = pytest.mark.parametrize("wire", WIRES)
ACCEPT = {"type": "websocket.accept"}
DENIAL = {"type": "websocket.http.response.start", "status": 403, "headers": [(b"x-a", b"1")]}
DENIAL_BODY = {"type": "websocket.http.response.body", "body": b"no"}


def send_text(data: Any) -> dict[str, Any]:
    return {"type": "websocket.send", "text": data}


def close(**more: Any) -> dict[str, Any]:
    return {"type": "websocket.close", **more}


def seen(app: Any, wire: Wire) -> Seen:
    async def site(scope, receive, send):
        if scope["path"] == "/good":
            await send(start())
            await send(body(b"good"))
        else:
            await app(scope, receive, send)

    return misbehave(asgi_interface, site, wire, websocket=True)


def close_codes(found: Seen) -> list[int]:
    return [int.from_bytes(data[:2], "big") for kind, data in found.frames if kind == CLOSE]


# An Upgrade field that is not one is the server's own business, in a plain response as here.
BAD = [
    headers for headers in HEADERS if headers is not None and "content-length" not in str(headers)
]


@wires
@pytest.mark.parametrize("headers", BAD, ids=label)
def test_an_accept_with_fields_that_are_none_is_a_500(headers: Any, wire: Wire) -> None:
    refused(seen(sending({**ACCEPT, "headers": headers}), wire), "500")


@wires
@pytest.mark.parametrize("headers", BAD, ids=label)
def test_a_denial_with_fields_that_are_none_is_a_500(headers: Any, wire: Wire) -> None:
    refused(seen(sending({**DENIAL, "headers": headers}, DENIAL_BODY), wire), "500")


@wires
@pytest.mark.parametrize("name", [5, b"chat", "chat\r\nx: y", "not-offered", "", ["chat"], True])
def test_a_subprotocol_that_was_not_offered_is_a_500(name: Any, wire: Wire) -> None:
    refused(seen(sending({**ACCEPT, "subprotocol": name}), wire), "500")


@wires
@pytest.mark.parametrize(
    "name", [b"Sec-WebSocket-Accept", b"sec-websocket-protocol", b"sec-websocket-extensions"]
)
def test_fields_of_the_handshake_are_not_the_applications(name: bytes, wire: Wire) -> None:
    refused(seen(sending({**ACCEPT, "headers": [(name, b"x")]}), wire), "500")


@wires
@pytest.mark.parametrize("data", [5, b"bytes", None, ["a"], "\ud800", object()], ids=label)
def test_a_text_that_is_none_closes_with_1011(data: Any, wire: Wire) -> None:
    found = seen(sending(ACCEPT, send_text(data)), wire)
    refused(found, "101")
    assert close_codes(found) == [1011]
    assert len(found.frames) == 1


@wires
@pytest.mark.parametrize(
    "message",
    [
        close(code="1000"), close(code=0), close(code=1005), close(code=1006), close(code=2**40),
        close(code=-1), close(code=None), close(code=1000, reason=5), close(reason="\ud800"),
        close(code=3000.0), {"type": "websocket.send"}, {"type": "websocket.accept"}, {"type": "x"},
        {}, None, "close", start(), DENIAL, {"type": "websocket.send", "bytes": "text"},
        {"type": "websocket.send", "bytes": 5}, {"type": "websocket.send", "text": "a", "bytes": b""},
    ],
    ids=label,
)  # fmt: skip
def test_a_message_that_is_none_closes_with_1011(message: Any, wire: Wire) -> None:
    found = seen(sending(ACCEPT, message), wire)
    refused(found, "101")
    assert close_codes(found) == [1011]


@wires
@pytest.mark.parametrize("error", EXCEPTIONS, ids=lambda error: type(error).__name__)
def test_any_exception_is_a_500_or_a_1011_and_one_record(error: BaseException, wire: Wire) -> None:
    refused(seen(sending(error), wire), "500")
    found = seen(sending(ACCEPT, error), wire)
    refused(found, "101")
    assert close_codes(found) == [1011]


@wires
def test_a_reason_is_cut_to_what_a_frame_holds(wire: Wire) -> None:
    found = seen(sending(ACCEPT, close(code=4000, reason="\u00e9\r\n" * 100)), wire)
    ((kind, payload),) = found.frames
    assert (kind, payload[:2]) == (CLOSE, (4000).to_bytes(2, "big"))
    assert len(payload) <= 125
    assert payload[2:].decode().startswith("\u00e9\r\n")


@wires
def test_an_application_that_does_nothing_is_a_500(wire: Wire) -> None:
    refused(seen(sending(), wire), "500")
    refused(seen(sending(send_text("early")), wire), "500")


@wires
def test_a_denial_that_is_not_finished_is_no_whole_response(wire: Wire) -> None:
    refused(seen(sending(DENIAL), wire), "500")
    refused(seen(sending(DENIAL, {**DENIAL_BODY, "more_body": True}), wire), "cut")
    refused(seen(sending(DENIAL, {**DENIAL_BODY, "body": "text"}), wire), "500")
    refused(seen(sending({**DENIAL, "status": 99}, DENIAL_BODY), wire), "500")


CONVERSATIONS: list[list[dict[str, Any]]] = [
    [{**ACCEPT, "headers": [(b"x-a", b"1")]}, send_text("a"), close(code=1000, reason="x")],
    [{**ACCEPT, "subprotocol": None}, {"type": "websocket.send", "bytes": b"a"}],
    [DENIAL, {**DENIAL_BODY, "more_body": True}, DENIAL_BODY],
    [close(code=1000)],
]


@st.composite
def conversations(draw: st.DrawFn) -> list[Any]:
    """A sound conversation in which something else stands in one or two places."""
    messages: list[Any] = list(draw(st.sampled_from(CONVERSATIONS)))
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(messages) - 1))
        message = messages[at]
        if not isinstance(message, dict) or not message or draw(st.integers(0, 7)) == 0:
            messages[at] = draw(anything)
        elif isinstance(message.get("headers"), list) and draw(st.booleans()):
            pair = draw(st.one_of(st.tuples(leaves, leaves), st.tuples(st.just(b"x"), leaves)))
            messages[at] = {**message, "headers": [*message["headers"], pair]}
        else:
            key = draw(st.sampled_from(sorted(message)))
            messages[at] = {**message, key: draw(anything)}
    return messages


@settings(
    max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(conversations(), st.booleans(), st.sampled_from(WIRES))
def test_any_object_anywhere_is_a_close_or_an_error(
    messages: list[Any], deaf: bool, wire: Wire
) -> None:
    found = seen(sending(*messages, deaf=deaf), wire)
    assert len(close_codes(found)) <= 1
    if found.outcome in ("500", "cut") and not deaf:
        assert len(found.errors) == 1
