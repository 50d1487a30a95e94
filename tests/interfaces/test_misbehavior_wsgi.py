"""What a WSGI application does wrong is a logged error, and a 500 or a cut: on every wire."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interfaces.misbehavior import (
    WIRES,
    Seen,
    Wire,
    anything,
    label,
    leaves,
    misbehave,
    wsgi_interface,
)

wires = pytest.mark.parametrize("wire", WIRES)
PLAIN = [("Content-Type", "text/plain")]
# A thread that fails soon after its first chunk may do so before the loop has sent that.
LATE = ("500", "cut")


def seen(app: Any, wire: Wire, **how: Any) -> Seen:
    """`app` serves ``/bad``; beside it there is somebody who behaves."""

    def site(environ, start_response):
        if environ["PATH_INFO"] == "/good":
            start_response("200 OK", [])
            return [b"good"]
        return app(environ, start_response)

    return misbehave(wsgi_interface, site, wire, **how)


def answering(status: Any = "200 OK", headers: Any = PLAIN, result: Any = (b"hi",)) -> Any:
    def app(environ, start_response):
        start_response(status, headers)
        return result

    return app


def streaming(*chunks: Any, headers: Any = PLAIN) -> Any:
    """One that yields, and raises what is an exception."""

    def app(environ, start_response):
        start_response("200 OK", headers)
        for chunk in chunks:
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk

    return app


STATUSES: list[Any] = [
    None, 200, 200.0, b"200 OK", "", "200", "200OK", "OK 200", "20 OK", "2000 OK", "-20 OK", "+20 OK",
    "2x0 OK", "000 OK", "099 OK", "100 Continue", "101 Switching Protocols", "199 x",
    "\u0662\u0660\u0660 OK", " 200 OK", "200\tOK", "200\r\nX: y", ["200 OK"], object(),
]  # fmt: skip


@wires
@pytest.mark.parametrize("status", STATUSES, ids=label)
def test_a_status_that_is_none_is_a_500(status: object, wire: Wire) -> None:
    found = seen(answering(status), wire)
    assert found.outcome == "500"
    assert len(found.errors) == 1


@wires
@pytest.mark.parametrize(
    "status", ["200 ", "200 OK\r\nX: y", "299 caf\xe9", "999 \u2603", "599 \x1b[2J"], ids=label
)
def test_a_reason_is_never_sent(status: str, wire: Wire) -> None:
    found = seen(answering(status), wire)
    assert found.outcome == status[:3]
    assert b"x" not in dict(found.headers)


HEADERS: list[Any] = [
    None, 5, "x", [None], [5], [("a",)], [("a", "b", "c")], [("a", None)], [("a", 5)],
    [(b"a", b"b")], [("a", b"b")], [(b"a", "b")], [(5, "b")], {"a": "b"}, [("", "b")],
    [("a b", "c")], [("a:", "c")], [("a\r\nb", "c")], [("caf\xe9", "b")], [("\u2603", "b")],
    [("a", "\u2603")], [("a", "\ud800")], [("a", "b\r\nc: d")], [("a", "b\nc")], [("a", "b\rc")],
    [("a", "\x00")], [("a", "\x1b[2J")], [("a", "\x7f")], [("Location", "/\r\n\r\n<script>")],
    [("Set-Cookie", "a=b\r\nSet-Cookie: c=d")], [("Content-Length", "x")],
    [("Content-Length", "-2")], [("Content-Length", "+2")], [("Content-Length", "2, 2")],
    [("Content-Length", "")], [("Content-Length", "\xb2")], [("Content-Length", "9" * 5000)],
    [("Content-Length", "2"), ("Content-Length", "3")],
]  # fmt: skip


@wires
@pytest.mark.parametrize("headers", HEADERS, ids=label)
def test_fields_that_are_none_are_a_500(headers: object, wire: Wire) -> None:
    found = seen(answering("200 OK", headers), wire)
    assert found.outcome == "500"
    assert len(found.errors) == 1


@wires
def test_fields_of_the_connection_are_the_wires(wire: Wire) -> None:
    hop = [("Connection", "x"), ("Keep-Alive", "5"), ("Transfer-Encoding", "gzip, chunked"),
           ("Upgrade", "h2c"), ("Proxy-Connection", "x"), ("Content-Length", "2")]  # fmt: skip
    found = seen(answering("200 OK", hop), wire)
    assert (found.outcome, found.body, found.errors) == ("200", b"hi", [])


@wires
@pytest.mark.parametrize(
    "result",
    [None, 5, "text", ["text"], [5], [None], (b"a", "b"), b"bytes", [bytearray(b"a")], object(),
     {"a": 1}, [[b"a"]], iter(["a"])],
    ids=label,
)  # fmt: skip
def test_a_body_of_another_type_is_a_500(result: object, wire: Wire) -> None:
    if wire != "http1" and hasattr(result, "__next__"):
        result = iter(["a"])  # the other wire has taken it
    found = seen(answering(result=result), wire)
    assert found.outcome in (LATE if isinstance(result, tuple) else ("500",))
    assert len(found.errors) == 1


@wires
@pytest.mark.parametrize("wrong", ["text", 5, None, bytearray(b"x"), [b"x"]], ids=label)
def test_a_chunk_of_another_type_in_mid_response_ends_it(wrong: object, wire: Wire) -> None:
    found = seen(streaming(b"first", wrong, b"last"), wire)
    assert found.outcome in LATE
    assert b"last" not in found.body
    assert "TypeError" in found.words


@wires
@pytest.mark.parametrize("length", ["0", "1", "7"])
def test_a_whole_body_of_another_length_is_a_500(length: str, wire: Wire) -> None:
    found = seen(answering("200 OK", [("Content-Length", length)]), wire)
    assert found.outcome == "500"
    assert len(found.errors) == 1


@wires
@pytest.mark.parametrize("length", ["3", "5", "100"])
def test_a_streamed_body_of_another_length_is_no_whole_response(length: str, wire: Wire) -> None:
    found = seen(streaming(b"ab", b"cd", headers=[("Content-Length", length)]), wire)
    assert found.outcome in LATE
    assert len(found.errors) == 1


@wires
@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_a_body_where_none_may_be_is_not_sent(status: str, wire: Wire) -> None:
    found = seen(answering(status, [], [b"a", b"b"]), wire)
    assert (found.outcome, found.body) == (status[:3], b"")


@wires
def test_head_has_no_body(wire: Wire) -> None:
    assert seen(answering(result=[b"a", b"b"]), wire, method="HEAD").body == b""


@wires
def test_a_response_that_is_never_started_is_a_500(wire: Wire) -> None:
    for result in ([], [b"hi"], [b"a", b"b"], iter([b"hi"])):
        found = seen(lambda environ, start_response, result=result: result, wire)
        assert found.outcome == "500"
        assert "start_response" in found.words


@wires
def test_a_second_start_is_a_500_or_a_cut(wire: Wire) -> None:
    def twice(environ, start_response):
        start_response("200 OK", [])
        start_response("404 Not Found", [])
        return [b"hi"]

    def late(environ, start_response):
        start_response("200 OK", [])
        yield b"first"
        start_response("404 Not Found", [])
        yield b"second"

    assert seen(twice, wire).outcome == "500"
    assert seen(late, wire).outcome in LATE


@wires
def test_fields_sent_as_exc_info_are_checked_as_well(wire: Wire) -> None:
    def app(environ, start_response):
        start_response("200 OK", [])
        try:
            raise ValueError("x")
        except ValueError:
            start_response("500 Oops", [("X", "a\r\nb: c")], sys.exc_info())
        return [b"hi"]

    assert seen(app, wire).outcome == "500"


@wires
@pytest.mark.parametrize("wrong", [5, "x", [], (None, None, None), (1, 2, 3), object()], ids=label)
def test_an_exc_info_that_is_none_harms_nobody(wrong: object, wire: Wire) -> None:
    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"first"
        start_response("500 Oops", [], wrong)
        yield b"last"

    found = seen(app, wire)
    assert found.outcome in (*LATE, "200")
    assert found.errors or wrong == (None, None, None)  # that is what there is without one


@wires
@pytest.mark.parametrize(
    "hint", [[("Link", "a\r\nb")], [("a b", "c")], None, 5, [5], [("Link", None)], [(b"a", b"b")]],
    ids=label,
)  # fmt: skip
def test_early_hints_that_are_none_are_a_500(hint: object, wire: Wire) -> None:
    def app(environ, start_response):
        environ["wsgi.early_hints"](hint)
        start_response("200 OK", [])
        return [b"hi"]

    found = seen(app, wire)
    assert (found.outcome, found.interim) == ("500", [])


class Wicked(Exception):
    """An exception that cannot be printed."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


EXCEPTIONS: list[BaseException] = [
    ValueError("x"), ValueError("a\r\nINFO:     forged \x1b[2J\x00"), Wicked(), SystemExit(3),
    KeyboardInterrupt(), GeneratorExit(), StopIteration(5), MemoryError(), RecursionError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), OSError(32, "Broken pipe"),
    ExceptionGroup("x\x1b", [ValueError("\x9b")]), BaseException("\ud800"),
]  # fmt: skip


@wires
@pytest.mark.parametrize("error", EXCEPTIONS, ids=lambda error: type(error).__name__)
def test_any_exception_is_a_500_or_a_cut_and_one_record(error: BaseException, wire: Wire) -> None:
    def raises(environ, start_response):
        raise error

    def raises_between(environ, start_response):
        start_response("200 OK", [])
        raise error

    class Later:
        def __init__(self) -> None:
            self.chunks = [b"first"]

        def __iter__(self):
            return self

        def __next__(self) -> bytes:
            if self.chunks:
                return self.chunks.pop()
            raise error

    def raises_late(environ, start_response):
        start_response("200 OK", [])
        return Later()

    for app in (raises, raises_between):
        found = seen(app, wire)
        assert found.outcome == "500"
        assert len(found.errors) == 1
    found = seen(raises_late, wire)
    if isinstance(error, StopIteration):
        assert found.outcome == "200"  # the end of an iteration, PEP 234
    else:
        assert found.outcome in LATE
        assert len(found.errors) == 1


@wires
def test_a_close_that_fails_spoils_nothing_that_was_sent(wire: Wire) -> None:
    class Body(list):
        close = "not callable"

    found = seen(answering(result=Body([b"a", b"b"])), wire)
    assert found.outcome == "200"
    assert len(found.errors) == 1


@wires
@pytest.mark.parametrize("length", ["9" * 5000, "x", "-1", "\u0664"])
def test_a_file_with_a_length_that_is_none_is_a_500_and_closed(length: str, wire: Wire) -> None:
    """`int` refuses more than 4,300 digits: by then there is a duplicate of the descriptor."""

    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", length)])
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))

    before = len(os.listdir("/proc/self/fd"))
    found = seen(app, wire, encrypted=wire != "http2")
    assert (found.outcome, len(found.errors)) == ("500", 1)
    assert len(os.listdir("/proc/self/fd")) == before


@wires
def test_threads_left_behind_write_to_nobody(wire: Wire) -> None:
    kept: list[Any] = []

    def app(environ, start_response):
        kept.append(start_response("200 OK", []))
        return [b"hi"]

    found = seen(app, wire)
    kept[0](b"late")
    assert (found.outcome, found.body) == ("200", b"hi")


# --- any object anywhere --------------------------------------------------------------------------

pairs = st.one_of(
    st.tuples(leaves, leaves),
    st.tuples(st.sampled_from(["X-A", "Content-Length", "Set-Cookie", "Date", "Server"]), leaves),
    st.tuples(st.just("X-A"), st.text(max_size=4)),
    anything,
)
statuses = st.one_of(st.just("200 OK"), st.text(max_size=5).map("200 ".__add__), anything)
bodies = st.one_of(
    st.lists(st.one_of(st.binary(max_size=4), anything), max_size=3),
    st.lists(st.binary(max_size=4), max_size=3).map(iter),
    anything,
)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(
    statuses,
    st.one_of(st.lists(pairs, max_size=3), anything),
    bodies,
    st.one_of(st.none(), anything),
    st.one_of(st.none(), st.lists(pairs, max_size=2), anything),
    st.booleans(),
    st.sampled_from(WIRES),
    st.sampled_from(["GET", "HEAD"]),
)
def test_any_object_anywhere_is_a_response_or_an_error(
    status: Any, headers: Any, result: Any, written: Any, hint: Any, deaf: bool, wire: Wire,
    method: str,
) -> None:  # fmt: skip
    """deaf: the application catches what it is told, and goes on."""

    def attempt(what: Any, *arguments: Any) -> Any:
        try:
            return what(*arguments)
        except Exception:
            if not deaf:
                raise

    def app(environ, start_response):
        if hint is not None:
            attempt(environ["wsgi.early_hints"], hint)
        write = attempt(start_response, status, headers)
        if written is not None and write is not None:
            attempt(write, written)
        return result

    found = seen(app, wire, method=method)
    if found.outcome in LATE:
        assert found.errors
