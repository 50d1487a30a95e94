"""What an ASGI application does wrong is a logged error, and a 500 or a cut: on every wire."""

from __future__ import annotations

import asyncio
import enum
import os
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interfaces.misbehavior import (
    WIRES,
    Seen,
    Wire,
    anything,
    asgi_interface,
    label,
    leaves,
    misbehave,
)

wires = pytest.mark.parametrize("wire", WIRES)


def start(status: Any = 200, headers: Any = (), **more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers, **more}


def body(data: Any = b"hi", more: Any = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def trailers(headers: Any, **more: Any) -> dict[str, Any]:
    return {"type": "http.response.trailers", "headers": headers, **more}


def hint(*links: Any) -> dict[str, Any]:
    return {"type": "http.response.early_hint", "links": links}


def pathsend(path: Any) -> dict[str, Any]:
    return {"type": "http.response.pathsend", "path": path}


def seen(app: Any, wire: Wire, **how: Any) -> Seen:
    """`app` serves ``/bad``; beside it there is somebody who behaves."""

    async def site(scope, receive, send):
        if scope["path"] == "/good":
            await send(start())
            await send(body(b"good"))
        else:
            await app(scope, receive, send)

    return misbehave(asgi_interface, site, wire, **how)


def sending(*messages: Any, deaf: bool = False) -> Any:
    """Sends `messages`, raises exceptions among them. deaf: goes on whatever it is told."""

    async def app(scope, receive, send):
        for message in messages:
            try:
                if isinstance(message, BaseException):
                    raise message
                await send(message)
            except Exception:
                if not deaf:
                    raise

    return app


def refused(found: Seen, outcome: str) -> None:
    assert (found.outcome, len(found.errors)) == (outcome, 1)


# --- statuses and fields --------------------------------------------------------------------------

STATUSES: list[Any] = [
    None, "200", b"200", 200.0, True, 0, 1, 99, 100, 101, 103, 199, 1000, -200, 2**70, "200 OK",
    float("nan"), [200], {}, object(),
]  # fmt: skip


@wires
@pytest.mark.parametrize("status", STATUSES, ids=label)
def test_a_status_that_is_none_is_a_500(status: object, wire: Wire) -> None:
    refused(seen(sending(start(status), body()), wire), "500")


class Own(int, enum.Enum):
    """Its format is its name: "Own.FINE"."""

    FINE = 200


@wires
@pytest.mark.parametrize("status", [HTTPStatus.OK, Own.FINE, 299, 599, 999], ids=label)
def test_a_status_of_any_kind_of_number_is_sent_as_one(status: int, wire: Wire) -> None:
    found = seen(sending(start(status), body()), wire)
    assert (found.outcome, found.errors) == (str(int(status)), [])


HEADERS: list[Any] = [
    None, 5, "x", b"ab", "ab", [None], [5], [b"ab"], [(b"a",)], [(b"a", b"b", b"c")], [("a", "b")],
    [("a", b"b")], [(b"a", "b")], [(b"a", None)], [(b"a", 5)], [(5, b"a")], {"a": "b"},
    {b"a": b"b"}, [(bytearray(b"a"), b"b")], [(b"a", memoryview(b"b"))], [(b"a", [b"b"])],
    [(b"", b"b")], [(b"a b", b"c")], [(b"a:", b"c")], [(b":status", b"200")], [(b"a\r\nb", b"c")],
    [(b"\xe9", b"b")], [(b"a", b"b\r\nc: d")], [(b"a", b"b\nc")], [(b"a", b"b\rc")],
    [(b"a", b"\x00")], [(b"a", b"\x1b[2J")], [(b"a", b"\x7f")], [(b"a", b"\x0b")],
    [(b"Location", b"/\r\n\r\n<script>")], [(b"set-cookie", b"a=b\r\nset-cookie: c=d")],
    [(b"connection", b"close\r\nx: y")], [(b"date", b"now\r\nx: y")], [(b"server", b"x\ny")],
    [(b"content-length", b"x")], [(b"content-length", b"-2")], [(b"content-length", b"+2")],
    [(b"content-length", b"2, 2")], [(b"content-length", b"")], [(b"content-length", b"\xb2")],
    [(b"content-length", b"9" * 5000)], [(b"Content-Length", b"2\r\nx: y")],
    [(b"content-length", b"2"), (b"content-length", b"3")],
    [[b"a"]], [[b"a", "b"]], ((b"a", b"\n"),),
]  # fmt: skip


@wires
@pytest.mark.parametrize("headers", HEADERS, ids=label)
def test_fields_that_are_none_are_a_500(headers: object, wire: Wire) -> None:
    refused(seen(sending(start(headers=headers), body()), wire), "500")


@wires
@pytest.mark.parametrize("kind", [list, tuple, iter, lambda pairs: map(list, pairs)])
@pytest.mark.parametrize("pair", [tuple, list, iter], ids=["tuple", "list", "once"])
def test_fields_of_any_iterables_are_sent(kind: Any, pair: Any, wire: Wire) -> None:
    """The ASGI spec: "an iterable of [name, value] two-item iterables"."""
    pairs = kind([pair((b"x-a", b"1")), pair((b"X-B", b"2"))])
    found = seen(sending(start(headers=pairs), body()), wire)
    assert found.outcome == "200"
    assert [field for field in found.headers if field[0] in (b"x-a", b"x-b")] == [
        (b"x-a", b"1"),
        (b"x-b", b"2"),
    ]


@wires
def test_a_bytearray_as_a_value_is_bytes(wire: Wire) -> None:
    found = seen(sending(start(headers=[(b"x-a", bytearray(b"1"))]), body()), wire)
    assert found.outcome == "200"
    assert dict(found.headers)[b"x-a"] == b"1"


@wires
@pytest.mark.parametrize("deaf", [False, True])
def test_a_pair_that_can_be_read_once_is_at_worst_a_cut(deaf: bool, wire: Wire) -> None:
    """It stands among tuples: a wire reads it a second time, and finds it empty."""
    pairs = [(b"x-a", b"1"), iter((b"x-b", b"2"))]
    found = seen(sending(start(headers=pairs), body(b"a", True), body(b"b"), deaf=deaf), wire)
    assert found.outcome in ("cut", "closed", "200")
    assert found.body in (b"", b"ab")


@wires
def test_fields_of_the_connection_are_the_wires(wire: Wire) -> None:
    hop = [
        (b"connection", b"x"), (b"keep-alive", b"5"), (b"transfer-encoding", b"gzip, chunked"),
        (b"upgrade", b"h2c"), (b"proxy-connection", b"x"), (b"content-length", b"2"),
    ]  # fmt: skip
    found = seen(sending(start(headers=hop), body()), wire)
    assert (found.outcome, found.body, found.errors) == ("200", b"hi", [])
    sent = {name for name, _ in found.headers}
    assert not sent & {b"keep-alive", b"upgrade", b"proxy-connection", b"transfer-encoding"}


# --- bodies ---------------------------------------------------------------------------------------

DATA: list[Any] = ["text", None, 5, [b"a"], (b"a",), {}, {b"a": b"b"}, True, 1.5, object()]


@wires
@pytest.mark.parametrize("data", DATA, ids=label)
def test_a_body_of_another_type_is_a_500(data: object, wire: Wire) -> None:
    refused(seen(sending(start(), body(data)), wire), "500")


@wires
@pytest.mark.parametrize("data", DATA, ids=label)
def test_and_a_cut_in_mid_response(data: object, wire: Wire) -> None:
    found = seen(sending(start(), body(b"first", True), body(data, True), body(b"last")), wire)
    refused(found, "cut")
    assert b"last" not in found.body


@wires
@pytest.mark.parametrize("length", [b"0", b"1", b"7"])
def test_a_whole_body_of_another_length_is_a_500(length: bytes, wire: Wire) -> None:
    refused(seen(sending(start(headers=[(b"content-length", length)]), body()), wire), "500")


@wires
@pytest.mark.parametrize("length", [b"3", b"5", b"100"])
def test_a_streamed_body_of_another_length_is_a_cut(length: bytes, wire: Wire) -> None:
    app = sending(start(headers=[(b"content-length", length)]), body(b"ab", True), body(b"cd"))
    found = seen(app, wire)
    refused(found, "cut")
    assert len(found.body) <= int(length)


@wires
def test_what_comes_behind_the_declared_length_is_not_sent(wire: Wire) -> None:
    app = sending(start(headers=[(b"content-length", b"2")]), body(b"ab", True), body(b"cd"))
    found = seen(app, wire)
    assert found.outcome in ("200", "cut")
    assert (found.body, len(found.errors)) == (b"ab", 1)


@wires
@pytest.mark.parametrize("status", [204, 304])
def test_a_body_where_none_may_be_is_not_sent(status: int, wire: Wire) -> None:
    for fields in ([], [(b"content-length", b"4")]):
        app = sending(start(status, fields), body(b"ab", True), body(b"cd"))
        found = seen(app, wire)
        assert (found.outcome, found.body) == (str(status), b"")


@wires
def test_head_has_no_body(wire: Wire) -> None:
    app = sending(start(), body(b"ab", True), body(b"cd"))
    assert seen(app, wire, method="HEAD").body == b""


# --- order ----------------------------------------------------------------------------------------


@wires
@pytest.mark.parametrize(
    "messages",
    [
        (), (start(),), (body(),), (start(), start()), (trailers([]),), (pathsend(__file__),),
        ({},), ({"type": None},), ({"type": "http.response.push"},), ({"type": "websocket.accept"},),
        ({"type": "http.request"},), ({"type": b"http.response.start"},), (None,), ("start",), (5,),
        ([],), ({"type": "http.response.start"}, body()), ({"type": ["x"]},),
    ],
    ids=label,
)  # fmt: skip
def test_messages_that_are_no_response_are_a_500(messages: tuple[Any, ...], wire: Wire) -> None:
    refused(seen(sending(*messages), wire), "500")


@wires
@pytest.mark.parametrize(
    "messages",
    [
        (), (start(),), (trailers([]),), (pathsend(__file__),), ({"type": "x"},), (None,),
        (hint(b"x\r\ny"), {"type": "y"}),
    ],
    ids=label,
)  # fmt: skip
def test_messages_out_of_order_in_mid_response_are_a_cut(
    messages: tuple[Any, ...], wire: Wire
) -> None:
    refused(seen(sending(start(), body(b"first", True), *messages), wire), "cut")


@wires
@pytest.mark.parametrize(
    "message", [body(), start(), trailers([]), pathsend(__file__), {"type": "x"}, None], ids=label
)
def test_messages_behind_a_response_spoil_nothing_of_it(message: Any, wire: Wire) -> None:
    found = seen(sending(start(), body(), message), wire)
    refused(found, "200")
    assert found.body == b"hi"


@wires
def test_trailers_that_were_promised_and_do_not_come_are_a_cut(wire: Wire) -> None:
    refused(seen(sending(start(trailers=True), body()), wire), "cut")


@wires
@pytest.mark.parametrize(
    "headers",
    [None, 5, [(b"a", b"b\r\nc: d")], [(b"a b", b"c")], [("a", "b")], [(b"a",)], [(b"a", None)]],
    ids=label,
)
def test_trailers_that_are_none_are_a_cut(headers: object, wire: Wire) -> None:
    found = seen(sending(start(trailers=True), body(), trailers(headers)), wire)
    refused(found, "cut")
    assert found.trailers == []


@wires
@pytest.mark.parametrize(
    "message",
    [
        hint(b"a\r\nb: c"), hint(b"\x00"), hint("</a>"), hint(None), hint(5), hint([b"a"]),
        {"type": "http.response.early_hint", "links": None},
        {"type": "http.response.early_hint", "links": 5},
    ],
    ids=label,
)  # fmt: skip
def test_hints_that_are_none_are_a_500(message: Any, wire: Wire) -> None:
    found = seen(sending(message, start(), body()), wire)
    refused(found, "500")
    assert found.interim == []


# --- files ----------------------------------------------------------------------------------------


@wires
@pytest.mark.parametrize(
    "path",
    [None, b"\x00", "a\x00b", "", "/nowhere/at/all", "/", "/dev/null", [], {}, 1.5, object(), True],
    ids=label,
)
def test_a_path_that_is_no_file_is_a_500(path: object, wire: Wire) -> None:
    refused(seen(sending(start(), pathsend(path)), wire), "500")


@wires
def test_a_descriptor_is_no_path_and_stays_open(wire: Wire, tmp_path: Path) -> None:
    """`open` would take it, send it and close it, and it may be the server's own."""
    (tmp_path / "file").write_bytes(b"secret")
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        refused(seen(sending(start(), pathsend(descriptor)), wire), "500")
        assert os.read(descriptor, 10) == b"secret"
    finally:
        os.close(descriptor)


@wires
def test_a_file_of_another_length_than_was_declared_is_a_cut(wire: Wire, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    for length in (b"4", b"6"):
        app = sending(start(headers=[(b"content-length", length)]), pathsend(tmp_path / "file"))
        found = seen(app, wire, encrypted=wire != "http2")
        assert found.outcome == "cut"
        assert found.body in (b"", b"hell")


# --- exceptions -----------------------------------------------------------------------------------


class Wicked(Exception):
    """An exception that cannot be printed."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


EXCEPTIONS: list[BaseException] = [
    ValueError("x"), ValueError("a\r\nINFO:     forged \x1b[2J\x00"), Wicked(), SystemExit(3),
    KeyboardInterrupt(), GeneratorExit(), StopAsyncIteration(), MemoryError(), RecursionError(),
    asyncio.CancelledError(), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), OSError(32, "x"),
    ExceptionGroup("x\x1b", [ValueError("\x9b")]), BaseException("\ud800"),
]  # fmt: skip


@wires
@pytest.mark.parametrize("error", EXCEPTIONS, ids=lambda error: type(error).__name__)
def test_any_exception_is_a_500_or_a_cut_and_one_record(error: BaseException, wire: Wire) -> None:
    refused(seen(sending(error), wire), "500")
    refused(seen(sending(start(), error), wire), "500")
    refused(seen(sending(start(), body(b"a", True), error), wire), "cut")
    refused(seen(sending(start(), body(), error), wire), "200")


@wires
@pytest.mark.parametrize("result", [None, 5, "x", [], object()], ids=label)
def test_an_application_that_cannot_be_awaited_is_a_500(result: object, wire: Wire) -> None:
    refused(seen(lambda scope, receive, send: result, wire), "500")


@wires
def test_tasks_left_behind_send_to_nobody(wire: Wire) -> None:
    kept: list[Any] = []

    async def app(scope, receive, send):
        async def late():
            await asyncio.sleep(0.002)
            for message in (body(b"late"), start(), body(b"late")):
                with pytest.raises((RuntimeError, OSError)):
                    await send(message)

        kept.append(asyncio.get_running_loop().create_task(late()))
        await send(start())
        await send(body())

    found = seen(app, wire)
    assert (found.outcome, found.body, found.errors) == ("200", b"hi", [])


# --- any object anywhere --------------------------------------------------------------------------

CONVERSATIONS: list[list[dict[str, Any]]] = [
    [start(headers=[(b"x-a", b"1"), (b"content-length", b"2")]), body()],
    [start(headers=[(b"x-a", b"1")]), body(b"a", True), body(b"b", True), body(b"")],
    [start(headers=[(b"content-length", b"4")]), body(b"ab", True), body(b"cd")],
    [start(headers=[], trailers=True), body(), trailers([(b"t", b"1")], more_trailers=False)],
    [hint(b"</a>; rel=preload"), start(404, []), body()],
    [start(headers=[]), pathsend(__file__)],
]
pairs = st.one_of(
    st.tuples(leaves, leaves),
    st.tuples(st.sampled_from([b"x-b", b"content-length", b"set-cookie"]), leaves),
    st.binary(max_size=3).map(lambda value: iter((b"x-c", value))),
    anything,
)


@st.composite
def conversations(draw: st.DrawFn) -> list[Any]:
    """A sound conversation in which something else stands in one or two places."""
    messages: list[Any] = list(draw(st.sampled_from(CONVERSATIONS)))
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(messages) - 1))
        message = messages[at]
        change = draw(st.sampled_from(["field", "field", "pair", "pair", "drop", "twice", "all"]))
        if not isinstance(message, dict) or not message or change == "all":
            messages[at] = draw(anything)
        elif change == "pair" and isinstance(message.get("headers"), list):
            fields = list(message["headers"])
            fields.insert(draw(st.integers(0, len(fields))), draw(pairs))
            kind = draw(st.sampled_from([list, tuple, iter]))
            messages[at] = {**message, "headers": kind(fields)}
        elif change == "drop":
            key = draw(st.sampled_from(sorted(message)))
            messages[at] = {name: value for name, value in message.items() if name != key}
        elif change == "twice":
            messages.insert(at, message)
        else:
            key = draw(st.sampled_from(sorted(message)))
            messages[at] = {**message, key: draw(anything)}
    return messages


@settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(conversations(), st.booleans(), st.sampled_from(WIRES), st.sampled_from(["GET", "HEAD"]))
def test_any_object_anywhere_is_a_response_or_an_error(
    messages: list[Any], deaf: bool, wire: Wire, method: str
) -> None:
    found = seen(sending(*messages, deaf=deaf), wire, method=method, encrypted=wire != "http2")
    if found.outcome in ("500", "cut") and not deaf:
        assert len(found.errors) == 1
