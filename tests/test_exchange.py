"""What is legal between a wire and an application: calls and asserts."""

from __future__ import annotations

import io
from collections.abc import Callable
from http import HTTPStatus

import pytest
from fakes import FakeListener, FakeWire, exchange, head

from gateway.exchange import ClientGone, Exchange, ResponseError
from gateway.head import Headers

TEXT = (b"content-type", b"text/plain")


class Told:
    """An exchange, its wire, its listener, and how often it finished."""

    def __init__(self, request: Exchange, wire: FakeWire) -> None:
        self.exchange = request
        self.wire = wire
        self.listener = FakeListener()
        self.ends: list[Exchange] = []
        request.listener = self.listener
        request.on_finish.append(self.ends.append)


def told(method: str = "GET", **details: object) -> Told:
    wire = FakeWire()
    return Told(exchange(head(method, **details), wire), wire)  # type: ignore[arg-type]


def length(wire: FakeWire) -> bytes | None:
    return wire.header(b"content-length")


# --- rule 1: started once, as long as declared ----------------------------------------------------


def test_whole_response_is_one_call_and_has_its_length() -> None:
    t = told()
    t.exchange.start(200, [TEXT], b"hello")
    assert t.wire.calls[0] == (
        "send_response",
        200,
        [TEXT, (b"content-length", b"5")],
        b"hello",
        False,
        5,
    )
    assert t.wire.names() == ["send_response", "exchange_finished"]
    assert (t.exchange.status, t.exchange.sent, t.exchange.finished) == (200, 5, True)


def test_stream_of_unknown_length_is_left_to_the_wire() -> None:
    t = told()
    t.exchange.start(200, [TEXT], b"hel", more=True)
    t.exchange.write(b"lo", more=True)
    assert not t.exchange.finished
    t.exchange.write(b"", more=False)
    assert t.wire.calls == [
        ("send_response", 200, [TEXT], b"hel", True, None),
        ("send_data", b"lo", True),
        ("send_data", b"", False),
        ("exchange_finished",),
    ]
    assert t.exchange.sent == 5


def test_declared_length_reaches_the_wire() -> None:
    t = told()
    t.exchange.start(200, [(b"content-length", b"5")], b"hel", more=True)
    assert t.wire.calls[0][-1] == 5
    t.exchange.write(b"lo", more=False)
    assert t.wire.body == b"hello"
    assert len(t.ends) == 1


@pytest.mark.parametrize("more", [False, True])
def test_second_start_is_refused_and_changes_nothing(more: bool) -> None:
    t = told()
    t.exchange.start(200, [], b"one", more)
    with pytest.raises(ResponseError, match="complete" if not more else "started twice"):
        t.exchange.start(404, [], b"two")
    assert t.wire.names().count("send_response") == 1
    assert t.exchange.status == 200


def test_body_before_the_start_is_refused() -> None:
    t = told()
    with pytest.raises(ResponseError, match="before the response was started"):
        t.exchange.write(b"hello", more=False)
    assert t.wire.calls == []


def test_body_behind_the_end_is_refused() -> None:
    t = told()
    t.exchange.start(200, [], b"")
    with pytest.raises(ResponseError, match="already complete"):
        t.exchange.write(b"more", more=False)
    assert t.wire.body == b""


@pytest.mark.parametrize(("data", "more"), [(b"hello!", False), (b"hello!", True), (b"h", False)])
def test_whole_body_that_is_not_as_declared_is_refused_unsent(data: bytes, more: bool) -> None:
    t = told()
    with pytest.raises(ResponseError, match="than its Content-Length"):
        t.exchange.start(200, [(b"content-length", b"5")], data, more)
    assert t.wire.calls == []
    t.exchange.fail()
    assert t.wire.status == 500


@pytest.mark.parametrize(
    ("data", "more", "word"), [(b"lo!", True, "longer"), (b"l", False, "shorter")]
)
def test_streamed_body_that_is_not_as_declared_is_cut(data: bytes, more: bool, word: str) -> None:
    t = told()
    t.exchange.start(200, [(b"content-length", b"5")], b"hel", more=True)
    with pytest.raises(ResponseError, match=word):
        t.exchange.write(data, more)
    assert t.wire.aborted
    assert t.wire.body == b"hel"
    assert t.exchange.cut
    assert len(t.ends) == 1


@pytest.mark.parametrize("value", [b"", b"-1", b"+5", b"5.0", b"0x5", b"5, 5", b"\xb2", b"9" * 19])
def test_content_length_is_a_number_of_bytes(value: bytes) -> None:
    t = told()
    with pytest.raises(ResponseError, match="not a number of bytes"):
        t.exchange.start(200, [(b"content-length", value)], b"hello")
    assert t.wire.calls == []


def test_two_lengths_that_differ_are_refused() -> None:
    t = told()
    with pytest.raises(ResponseError, match="differ"):
        t.exchange.start(200, [(b"content-length", b"5"), (b"Content-Length", b"6")], b"hello")


def test_two_equal_lengths_are_sent_once() -> None:
    t = told()
    t.exchange.start(200, [(b"content-length", b"5"), (b"Content-Length", b"5")], b"hello")
    assert [name for name, _ in t.wire.headers] == [b"content-length"]


# --- rule 2: no body on HEAD, 204 and 304 ---------------------------------------------------------


def stream(request: Exchange, headers: list[tuple[bytes, bytes]], status: int = 200) -> None:
    request.start(status, headers, b"hel", more=True)
    request.write(b"l", more=True)
    request.write(b"o", more=False)


def whole(request: Exchange, headers: list[tuple[bytes, bytes]], status: int = 200) -> None:
    request.start(status, headers, b"hello")


def file(request: Exchange, headers: list[tuple[bytes, bytes]], status: int = 200) -> None:
    request.start(status, headers, b"", more=True)
    request.send_file(io.BytesIO(b"hello"), 0, 5)


ANSWERS = pytest.mark.parametrize("answer", [whole, stream, file])


@ANSWERS
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_no_body_leaves(answer: Callable[..., None], method: str, status: int) -> None:
    t = told(method)
    answer(t.exchange, [(b"content-length", b"5")], status)
    assert t.wire.body == b""
    assert t.wire.names() == ["send_response", "exchange_finished"]
    assert t.wire.calls[0][4:] == (False, 0)  # ends at once, and needs no framing
    assert t.exchange.sent == 0
    assert len(t.ends) == 1


@ANSWERS
def test_head_has_the_length_of_what_it_stands_for(answer: Callable[..., None]) -> None:
    t = told("HEAD")
    answer(t.exchange, [(b"content-length", b"5")])
    assert length(t.wire) == b"5"


def test_head_of_a_whole_body_tells_its_length() -> None:
    t = told("HEAD")
    whole(t.exchange, [])
    assert length(t.wire) == b"5"


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"5")]])
def test_204_never_has_a_length(headers: list[tuple[bytes, bytes]]) -> None:
    t = told()
    whole(t.exchange, headers, 204)
    assert length(t.wire) is None


def test_body_behind_a_discarded_one_is_refused() -> None:
    t = told("HEAD")
    stream(t.exchange, [])
    with pytest.raises(ResponseError, match="already complete"):
        t.exchange.write(b"more", more=False)


def test_discarded_file_is_closed() -> None:
    t = told("HEAD")
    content = io.BytesIO(b"hello")
    t.exchange.start(200, [], b"", more=True)
    t.exchange.send_file(content, 0, 5)
    assert content.closed


# --- rule 3: failures -----------------------------------------------------------------------------


def test_failure_before_the_start_is_a_500() -> None:
    t = told()
    t.exchange.fail()
    assert (t.wire.status, t.wire.body) == (500, b"Internal Server Error\n")
    assert not t.exchange.cut
    assert len(t.ends) == 1


def test_failure_in_the_middle_is_a_cut() -> None:
    t = told()
    t.exchange.start(200, [], b"hel", more=True)
    t.exchange.fail()
    assert t.wire.names() == ["send_response", "abort", "exchange_finished"]
    assert t.exchange.cut
    assert len(t.ends) == 1


def test_failure_behind_the_end_is_nobodys_affair() -> None:
    t = told()
    whole(t.exchange, [])
    t.exchange.fail()
    assert t.wire.names() == ["send_response", "exchange_finished"]


def test_abort_before_the_start_is_no_cut_response() -> None:
    t = told()
    t.exchange.abort()
    t.exchange.abort()
    assert t.wire.names() == ["abort", "exchange_finished"]
    assert not t.exchange.cut


def test_refusal_is_plain_text_with_its_fields() -> None:
    t = told()
    t.exchange.refuse(503, "Busy", [(b"retry-after", b"1")])
    assert (t.wire.status, t.wire.body) == (503, b"Busy\n")
    assert t.wire.header(b"content-type") == b"text/plain; charset=utf-8"
    assert t.wire.header(b"retry-after") == b"1"


def test_refusal_of_a_client_that_is_gone_is_nothing() -> None:
    t = told()
    t.exchange.lost()
    t.exchange.refuse(503, "Busy")
    assert t.wire.status is None


# --- rule 4: fields and statuses ------------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 99, 100, 103, 199, 1000, -200, True, "200", 200.0, None])
def test_status_that_is_none_is_refused(status: object) -> None:
    t = told()
    with pytest.raises(ResponseError, match="status"):
        t.exchange.start(status, [], b"")  # type: ignore[arg-type]
    assert t.wire.calls == []


@pytest.mark.parametrize("status", [200, 299, 404, 599, 999, HTTPStatus.CREATED])
def test_every_final_status_is_sent(status: int) -> None:
    t = told()
    t.exchange.start(status, [], b"")
    assert t.wire.status == status


BAD_FIELDS = [
    (b"x\r\ny", b"z"),
    (b"x\ny", b"z"),
    (b"x y", b"z"),
    (b"x:", b"z"),
    (b"\xe9", b"z"),
    (b"", b"z"),
    (b"x", b"y\r\nz: 1"),
    (b"x", b"y\nz"),
    (b"x", b"y\rz"),
    (b"x", b"y\x00z"),
    (b"x", b"\x1b[2J"),
    (b"x", b"\x7f"),
    (b"location", b"/\r\nz: 1"),
    (b"Content-Type", b"text/html\n"),
    ("x", b"y"),
    (b"x", "y"),
    (b"x", 5),
    (b"x", None),
    (b"x",),
    (b"x", b"y", b"z"),
    b"x",
    None,
    5,
]


@pytest.mark.parametrize("pair", BAD_FIELDS, ids=repr)
def test_bad_field_is_refused_unsent(pair: object) -> None:
    t = told()
    with pytest.raises(ResponseError):
        t.exchange.start(200, [TEXT, pair], b"hello")  # type: ignore[list-item]
    assert t.wire.calls == []
    t.exchange.fail()
    assert t.wire.status == 500


@pytest.mark.parametrize("pair", BAD_FIELDS[:12], ids=repr)
def test_bad_trailer_is_refused_unsent(pair: tuple[bytes, bytes]) -> None:
    t = told(headers=[(b"te", b"trailers")])
    t.exchange.start(200, [], b"hello", more=True, trailers=True)
    t.exchange.write(b"", more=False)
    with pytest.raises(ResponseError):
        t.exchange.send_trailers([pair])
    assert "send_trailers" not in t.wire.names()


@pytest.mark.parametrize("pair", BAD_FIELDS[:12], ids=repr)
def test_bad_hint_is_refused_unsent(pair: tuple[bytes, bytes]) -> None:
    t = told()
    with pytest.raises(ResponseError):
        t.exchange.send_informational(103, [pair])
    assert t.wire.calls == []


def test_names_are_sent_in_lower_case() -> None:
    t = told()
    t.exchange.start(200, [(b"X-Custom", b"A b\t\xe9"), (b"Content-Type", b"text/html")], b"")
    assert t.wire.headers[:2] == [(b"x-custom", b"A b\t\xe9"), (b"content-type", b"text/html")]


@pytest.mark.parametrize("name", [b"x-own", b"X-Own", b"x_own", b"etag", b"a!#$%&'*+-.^_`|~0"])
def test_every_token_is_a_name(name: bytes) -> None:
    t = told()
    t.exchange.start(200, [(name, b"1")], b"")
    assert t.wire.header(name.lower()) == b"1"


@pytest.mark.parametrize(
    "name",
    [b"Connection", b"keep-alive", b"Proxy-Connection", b"transfer-encoding", b"Upgrade"],
)
def test_fields_of_one_connection_are_the_wires(name: bytes) -> None:
    t = told()
    t.exchange.start(200, [(name, b"x")], b"hello")
    assert t.wire.header(name.lower()) is None
    assert not t.exchange.close_requested


def test_application_may_ask_for_the_end_of_the_connection() -> None:
    t = told()
    t.exchange.start(200, [(b"Connection", b"Close")], b"hello")
    assert t.exchange.close_requested


def test_applications_own_default_fields_are_noted() -> None:
    t = told()
    t.exchange.start(200, [(b"Date", b"now"), (b"server", b"mine")], b"")
    assert set(t.exchange.own_fields) == {b"date", b"server"}


def test_headers_of_the_application_are_not_changed() -> None:
    given = [(b"Content-Type", b"text/html"), (b"Connection", b"close")]
    t = told()
    t.exchange.start(200, given, b"hello")
    assert given == [(b"Content-Type", b"text/html"), (b"Connection", b"close")]


# --- interim responses and trailers ---------------------------------------------------------------


def test_hints_come_before_the_start() -> None:
    t = told()
    t.exchange.send_informational(103, [(b"Link", b"</a>")])
    t.exchange.send_informational(102, [])
    assert t.wire.informational == [(103, [(b"link", b"</a>")]), (102, [])]
    whole(t.exchange, [])
    with pytest.raises(ResponseError):
        t.exchange.send_informational(103, [])


@pytest.mark.parametrize("status", [100, 101, 200, 99])
def test_other_interim_statuses_are_not_the_applications(status: int) -> None:
    t = told()
    with pytest.raises(ResponseError, match="not an interim status"):
        t.exchange.send_informational(status, [])


def test_trailers_end_the_response() -> None:
    t = told(headers=[(b"te", b"gzip, Trailers")])
    t.exchange.start(200, [], b"hello", trailers=True)
    assert t.wire.calls[0][4:] == (True, None)
    assert not t.exchange.finished
    t.exchange.send_trailers([(b"X-Sum", b"1")])
    assert t.wire.trailers == [(b"x-sum", b"1")]
    assert len(t.ends) == 1


def test_trailers_nobody_asked_for_are_dropped() -> None:
    t = told()
    t.exchange.start(200, [], b"hello", trailers=True)
    t.exchange.send_trailers([(b"x-sum", b"1")])
    assert t.wire.calls[-2:] == [("send_trailers", []), ("exchange_finished",)]


def test_trailers_that_were_not_announced_are_refused() -> None:
    t = told()
    t.exchange.start(200, [], b"hello", more=True)
    with pytest.raises(ResponseError, match="did not announce"):
        t.exchange.send_trailers([])
    assert not t.exchange.finished


def test_trailers_behind_too_short_a_body_are_a_cut() -> None:
    t = told()
    t.exchange.start(200, [(b"content-length", b"5")], b"hel", more=True, trailers=True)
    with pytest.raises(ResponseError, match="shorter"):
        t.exchange.send_trailers([])
    assert t.wire.aborted
    assert len(t.ends) == 1


def test_trailers_of_a_discarded_body_are_discarded() -> None:
    t = told("HEAD", headers=[(b"te", b"trailers")])
    t.exchange.start(200, [], b"hello", more=True, trailers=True)
    t.exchange.write(b"", more=False)
    t.exchange.send_trailers([(b"x-sum", b"1")])
    assert t.wire.names() == ["send_response", "exchange_finished"]


def test_nothing_is_remembered_of_a_start_that_was_refused() -> None:
    t = told()
    bad = [(b"content-length", b"5"), (b"date", b"now"), (b"connection", b"close")]
    with pytest.raises(ResponseError):
        t.exchange.start(200, bad, b"hello, too long")
    t.exchange.start(200, [], b"x" * 100, more=True)
    t.exchange.write(b"y" * 100, more=False)
    assert len(t.wire.body) == 200
    assert not t.wire.aborted
    assert t.exchange.own_fields == ()
    assert not t.exchange.close_requested


# --- files ----------------------------------------------------------------------------------------


def test_file_ends_the_response_when_it_has_left() -> None:
    t = told()
    content = io.BytesIO(b"0123456789")
    t.exchange.start(200, [(b"content-length", b"5")], b"", more=True)
    t.exchange.send_file(content, 2, 5)
    assert (t.wire.body, t.exchange.finished, t.exchange.writable) == (b"23456", False, False)
    with pytest.raises(ResponseError, match="already complete"):
        t.exchange.write(b"more", more=False)
    t.exchange.file_sent()
    assert (t.exchange.finished, t.exchange.writable, t.exchange.sent) == (True, True, 5)
    assert t.listener.news == ["writable"]
    assert len(t.ends) == 1


def test_file_may_be_a_part_of_the_body() -> None:
    t = told()
    t.exchange.start(200, [], b"<", more=True)
    t.exchange.send_file(io.BytesIO(b"hello"), 0, 5, more=True)
    t.exchange.file_sent()
    assert not t.exchange.finished
    t.exchange.write(b">", more=False)
    assert t.wire.body == b"<hello>"
    assert len(t.ends) == 1


@pytest.mark.parametrize("count", [4, 6])
def test_file_that_is_not_as_long_as_declared_is_closed_and_cut(count: int) -> None:
    t = told()
    content = io.BytesIO(b"0123456789")
    t.exchange.start(200, [(b"content-length", b"5")], b"", more=True)
    with pytest.raises(ResponseError):
        t.exchange.send_file(content, 0, count)
    assert content.closed
    assert t.wire.aborted
    assert t.wire.body == b""


def test_file_before_the_start_is_closed_and_refused() -> None:
    t = told()
    content = io.BytesIO(b"hello")
    with pytest.raises(ResponseError, match="before the response was started"):
        t.exchange.send_file(content, 0, 5)
    assert content.closed


def test_file_for_a_client_that_is_gone_is_closed() -> None:
    t = told()
    content = io.BytesIO(b"hello")
    t.exchange.start(200, [], b"", more=True)
    t.exchange.lost()
    with pytest.raises(ClientGone):
        t.exchange.send_file(content, 0, 5)
    assert content.closed


# --- the client goes away -------------------------------------------------------------------------


def test_client_that_is_gone_is_an_os_error_for_the_application() -> None:
    """ASGI HTTP spec 2.4: send() raises OSError after a disconnect."""
    t = told()
    t.exchange.lost()
    calls: list[Callable[[], None]] = [
        lambda: t.exchange.start(200, [], b""),
        lambda: t.exchange.write(b"", more=False),
        lambda: t.exchange.send_informational(103, []),
        lambda: t.exchange.send_trailers([]),
    ]
    for call in calls:
        with pytest.raises(ClientGone):
            call()
    assert issubclass(ClientGone, OSError)
    assert t.listener.news == ["gone"]


def test_client_that_is_gone_leaves_no_body() -> None:
    t = told(content_length=5)
    t.exchange.body_received(b"hel")
    t.exchange.lost()
    assert t.exchange.read() == b""
    assert t.wire.consumed_bytes == 0


def test_half_closed_client_can_still_be_answered() -> None:
    t = told()
    t.exchange.peer_closed()
    assert (t.exchange.disconnected, t.exchange.gone) == (True, False)
    assert t.listener.news == ["readable"]
    whole(t.exchange, [])
    assert t.wire.body == b"hello"


# --- rule 5: on_finish exactly once ---------------------------------------------------------------


def gone_in_the_middle(request: Exchange) -> None:
    request.start(200, [], b"hel", more=True)
    request.lost()


def gone_with_a_file(request: Exchange) -> None:
    file(request, [])
    request.lost()


def sent_file(request: Exchange) -> None:
    file(request, [])
    request.file_sent()


def too_long(request: Exchange) -> None:
    request.start(200, [(b"content-length", b"1")], b"", more=True)
    with pytest.raises(ResponseError):
        request.write(b"hello", more=False)


def with_trailers(request: Exchange) -> None:
    request.start(200, [], b"hello", trailers=True)
    request.send_trailers([])


def ended_stream(request: Exchange) -> None:
    request.start(200, [(b"content-type", b"text/event-stream")], b"data: 1\n\n", more=True)
    request.end_stream()


ENDS: list[Callable[[Exchange], None]] = [
    lambda request: whole(request, []),
    lambda request: stream(request, []),
    lambda request: whole(request, [], 204),
    lambda request: request.refuse(404, "Not Found"),
    lambda request: request.fail(),
    lambda request: request.abort(),
    lambda request: request.lost(),
    gone_in_the_middle,
    gone_with_a_file,
    sent_file,
    too_long,
    with_trailers,
    ended_stream,
]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    "after", [Exchange.fail, Exchange.abort, Exchange.lost, Exchange.peer_closed]
)
def test_on_finish_is_called_exactly_once(
    end: Callable[[Exchange], None], after: Callable[[Exchange], None]
) -> None:
    t = told()
    end(t.exchange)
    assert (t.ends, t.exchange.finished) == ([t.exchange], True)
    assert t.wire.finished == 1
    after(t.exchange)
    assert t.ends == [t.exchange]
    assert t.wire.finished == 1


def test_wire_hears_of_the_end_after_the_callbacks() -> None:
    t = told()
    t.exchange.on_finish.append(lambda _: t.wire.calls.append(("callback",)))
    whole(t.exchange, [])
    assert t.wire.names() == ["send_response", "callback", "exchange_finished"]


# --- the request body -----------------------------------------------------------------------------


def test_body_is_read_as_it_arrives_and_given_back_to_the_wire() -> None:
    t = told("POST", content_length=5)
    assert (t.exchange.readable, t.exchange.read()) == (False, b"")
    t.exchange.body_received(b"he")
    t.exchange.body_received(b"l")
    assert t.exchange.readable
    assert t.wire.consumed_bytes == 0
    assert t.exchange.read() == b"hel"
    assert t.wire.consumed_bytes == 3
    t.exchange.body_received(b"lo")
    t.exchange.body_ended()
    assert (t.exchange.read(), t.exchange.body_complete) == (b"lo", True)
    assert t.exchange.received == 5
    assert t.listener.news == ["readable"] * 4


def test_request_without_body_is_complete() -> None:
    t = told()
    assert (t.exchange.body_complete, t.exchange.readable, t.exchange.read()) == (True, True, b"")


def test_first_read_asks_a_waiting_client_to_go_on() -> None:
    t = told("POST", content_length=5, expect_continue=True)
    assert t.exchange.expecting
    t.exchange.read()
    t.exchange.read()
    assert t.wire.informational == [(100, [])]
    assert not t.exchange.expecting


def test_client_that_did_not_wait_is_not_asked() -> None:
    t = told("POST", content_length=5, expect_continue=True)
    t.exchange.body_received(b"hello")
    t.exchange.read()
    t.exchange.read()
    assert t.wire.informational == []


def test_client_is_not_asked_behind_the_start_of_its_response() -> None:
    t = told("POST", content_length=5, expect_continue=True)
    t.exchange.start(200, [], b"", more=True)
    t.exchange.read()
    assert t.wire.informational == []
    assert t.exchange.expecting


# --- backpressure and streams ---------------------------------------------------------------------


def test_listener_hears_when_it_may_write_again() -> None:
    t = told()
    t.exchange.set_writable(False)
    assert (t.exchange.writable, t.listener.news) == (False, [])
    t.exchange.set_writable(True)
    assert (t.exchange.writable, t.listener.news) == (True, ["writable"])


def test_exchange_works_without_a_listener() -> None:
    request = exchange(head("POST", content_length=5))
    request.set_writable(True)
    request.body_received(b"hello")
    request.body_ended()
    request.peer_closed()
    request.lost()
    assert request.gone


@pytest.mark.parametrize(
    ("content_type", "endless"),
    [
        (b"text/event-stream", True),
        (b"text/event-stream; charset=utf-8", True),
        (b"text/plain", False),
    ],
)
def test_only_an_open_event_stream_is_endless(content_type: bytes, endless: bool) -> None:
    t = told()
    assert not t.exchange.endless
    t.exchange.start(200, [(b"content-type", content_type)], b"", more=True)
    assert t.exchange.endless is endless
    t.exchange.write(b"", more=False)
    assert not t.exchange.endless


def test_ended_stream_is_whole_for_the_client_and_gone_for_the_application() -> None:
    t = told()
    t.exchange.start(200, [(b"content-type", b"text/event-stream")], b"data: 1\n\n", more=True)
    t.exchange.end_stream()
    assert (t.wire.ended, t.wire.aborted) == (True, False)
    assert t.listener.news == ["gone"]
    with pytest.raises(ClientGone):
        t.exchange.write(b"data: 2\n\n", more=True)


def test_repr_shows_the_state() -> None:
    t = told()
    assert repr(t.exchange) == "<Exchange GET '/' - open>"
    whole(t.exchange, [], 404)
    assert repr(t.exchange) == "<Exchange GET '/' 404 finished>"
    t.exchange.lost()
    assert repr(t.exchange) == "<Exchange GET '/' 404 gone>"


# --- tunnels --------------------------------------------------------------------------------------


class TunnelWire(FakeWire):
    """A `FakeWire` that becomes a tunnel. deadlines: those that were asked for, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.deadlines: list[float | None] = []

    def open_tunnel(self, status: int, headers: Headers) -> None:
        self.calls.append(("open_tunnel", status, headers))
        self.status, self.headers = status, headers

    def set_deadline(self, seconds: float | None) -> None:
        self.deadlines.append(seconds)


def upgrading() -> tuple[Told, TunnelWire]:
    """An exchange whose client asks for another protocol."""
    wire = TunnelWire()
    return Told(exchange(head(upgrade=b"websocket"), wire), wire), wire


def test_tunnel_is_a_head_and_then_bytes_both_ways() -> None:
    t, wire = upgrading()
    t.exchange.open_tunnel(101, [(b"sec-websocket-accept", b"x")])
    assert wire.calls == [("open_tunnel", 101, [(b"sec-websocket-accept", b"x")])]
    assert t.exchange.status == 101
    t.exchange.body_received(b"from ")
    t.exchange.body_received(b"the client")
    assert t.exchange.read() == b"from the client"
    assert wire.consumed_bytes == 15
    t.exchange.write(b"to the client", more=True)
    assert wire.calls[-1] == ("send_data", b"to the client", True)
    assert (t.ends, wire.finished) == ([], 0)


def test_tunnel_has_no_body_that_could_be_complete() -> None:
    t, _ = upgrading()
    assert t.exchange.body_complete  # of the request
    t.exchange.open_tunnel(101, [])
    assert not t.exchange.body_complete
    assert not t.exchange.readable
    t.exchange.peer_closed()
    assert t.exchange.disconnected
    assert not t.exchange.body_complete
    assert t.listener.news == ["readable"]


def test_tunnel_ends_with_the_last_bytes_of_this_side() -> None:
    t, wire = upgrading()
    t.exchange.open_tunnel(101, [])
    t.exchange.write(b"bye", more=False)
    assert wire.calls[-2:] == [("send_data", b"bye", False), ("exchange_finished",)]
    assert t.ends == [t.exchange]
    with pytest.raises(ResponseError):
        t.exchange.write(b"more", more=True)


def test_tunnel_may_be_cut() -> None:
    t, wire = upgrading()
    t.exchange.open_tunnel(101, [])
    t.exchange.abort()
    assert (wire.aborted, t.exchange.cut, t.ends) == (True, True, [t.exchange])


def test_tunnel_is_not_opened_behind_a_start() -> None:
    t, wire = upgrading()
    t.exchange.start(200, [], b"", more=True)
    with pytest.raises(ResponseError):
        t.exchange.open_tunnel(101, [])
    assert wire.names() == ["send_response"]
    assert t.exchange.status == 200


def test_nothing_is_started_behind_a_tunnel() -> None:
    t, wire = upgrading()
    t.exchange.open_tunnel(101, [])
    calls: list[Callable[[], None]] = [
        lambda: t.exchange.open_tunnel(101, []),
        lambda: t.exchange.start(200, [], b""),
        lambda: t.exchange.send_informational(103, []),
    ]
    for call in calls:
        with pytest.raises(ResponseError):
            call()
    assert wire.names() == ["open_tunnel"]


def test_tunnel_to_a_client_that_is_gone_is_an_os_error() -> None:
    t, wire = upgrading()
    t.exchange.lost()
    with pytest.raises(ClientGone):
        t.exchange.open_tunnel(101, [])
    assert wire.status is None


def test_tunnel_that_is_lost_says_so_to_who_writes() -> None:
    t, _ = upgrading()
    t.exchange.open_tunnel(101, [])
    t.exchange.lost()
    assert t.listener.news == ["gone"]
    with pytest.raises(ClientGone):
        t.exchange.write(b"hello", more=True)


@pytest.mark.parametrize("pair", [(b"x", b"a\r\nb: c"), (b"x y", b""), ("x", b"")])
def test_bad_field_of_a_tunnel_is_refused_unsent(pair: object) -> None:
    t, wire = upgrading()
    with pytest.raises(ResponseError):
        t.exchange.open_tunnel(101, [pair])  # type: ignore[list-item]
    assert (wire.calls, t.exchange.status) == ([], None)
    t.exchange.refuse(400, "no")
    assert wire.status == 400


def test_deadline_of_a_tunnel_is_the_wires_until_its_end() -> None:
    t, wire = upgrading()
    t.exchange.set_deadline(10)  # for the application's answer: before the tunnel is open
    t.exchange.open_tunnel(101, [])
    t.exchange.set_deadline(20)
    t.exchange.set_deadline(None)
    assert wire.deadlines == [10, 20, None]
    t.exchange.write(b"", more=False)
    t.exchange.set_deadline(30)
    assert wire.deadlines == [10, 20, None]
