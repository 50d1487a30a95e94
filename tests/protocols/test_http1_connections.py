"""Keep-alive, pipelining, the end of a connection: conversations with both head parsers."""

from __future__ import annotations

import pytest

from gateway.exchange import Exchange
from gateway.protocols.context import HeadParser

from .harness import PARSERS, Conversation, FakeTransport

pytestmark = pytest.mark.parametrize("parser", PARSERS)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = [(b"content-type", b"text/plain")]


def get(target: str, *fields: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: a", *fields, "", ""]
    return "\r\n".join(lines).encode()


def post(length: int, body: bytes = b"", *fields: str) -> bytes:
    lines = ["POST / HTTP/1.1", "Host: a", f"Content-Length: {length}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


def nothing(exchange: Exchange) -> None:
    """A handler that answers later."""


def at_once(exchange: Exchange) -> None:
    """A handler that answers without reading a body."""
    exchange.start(200, OK, b"hello")


# --- keep-alive (RFC 9112, section 9.3) ---------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "option", "kept"),
    [
        ("1.1", None, True),
        ("1.1", "close", False),
        ("1.1", "keep-alive", True),
        ("1.1", "keep-alive, close", False),
        ("1.0", None, False),
        ("1.0", "keep-alive", True),
        ("1.0", "close", False),
        ("1.0", "Keep-Alive, Close", False),
    ],
)
def test_connection_is_kept_as_the_version_and_its_option_say(
    parser: type[HeadParser], version: str, option: str | None, kept: bool
) -> None:
    talk = Conversation(parser)
    field = f"Connection: {option}\r\n" if option else ""
    talk.feed(f"GET / HTTP/{version}\r\nHost: a\r\n{field}\r\n".encode())
    response = talk.responses()[0]
    assert talk.state == ("open" if kept else "closed")
    expected = b"close" if not kept else b"keep-alive" if version == "1.0" else None
    assert response.header(b"connection") == expected


def test_application_can_close_the_connection(parser: type[HeadParser]) -> None:
    talk = Conversation(
        parser, lambda exchange: exchange.start(200, [(b"Connection", b"close")], b"bye")
    )
    talk.feed(GET + GET)
    assert [response.header(b"connection") for response in talk.responses()] == [b"close"]
    assert talk.state == "closed"
    assert len(talk.exchanges) == 1


def test_close_is_said_once(parser: type[HeadParser]) -> None:
    talk = Conversation(
        parser, lambda exchange: exchange.start(200, [(b"connection", b"close")], b"bye")
    )
    talk.feed(get("/", "Connection: close"))
    assert talk.output.lower().count(b"connection: close") == 1


def test_head_parser_is_ready_again_after_every_kind_of_request(parser: type[HeadParser]) -> None:
    kinds = [
        get("/"),
        post(2, b"hi"),
        get("/", "Connection: upgrade", "Upgrade: foo"),
        get("/", "Proxy-Connection: close"),
        get("/", "Connection: keep-alive"),
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
    talk = Conversation(parser)
    talk.feed(*(first + second for first in kinds for second in kinds))
    assert talk.outcome().statuses == (200,) * (2 * len(kinds) ** 2)


# --- pipelining ---------------------------------------------------------------------------------


def test_answers_keep_the_order_of_their_requests(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, nothing)
    talk.feed(get("/slow") + get("/fast"))
    assert [exchange.head.path for exchange in talk.exchanges] == ["/slow"]
    talk.exchanges[0].start(200, OK, b"slow")
    talk.exchanges[1].start(200, OK, b"fast")
    assert [response.body for response in talk.responses()] == [b"slow", b"fast"]


def test_next_head_is_not_judged_before_its_turn(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, nothing)
    talk.feed(GET + b"NONSENSE\r\n\r\n")
    assert talk.output == b""
    talk.exchanges[0].start(200, OK, b"good")
    assert [response.status for response in talk.responses()] == [200, 400]


def test_pipelined_flood_is_left_in_the_socket(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, nothing)
    talk.feed(*([GET * 100] * 1000))
    assert len(talk.exchanges) == 1
    assert not talk.transport.reading
    taken = 100_000 * len(GET) - talk.unread
    assert taken <= 64 * 1024 + len(GET) * 100


def test_hundred_thousand_pipelined_requests_are_answered(parser: type[HeadParser]) -> None:
    count = 100_000 if parser is PARSERS[0] else 10_000
    talk = Conversation(parser, at_once)
    segment = GET * 100
    answered = 0
    for _ in range(count // 100):
        answered += talk.feed(segment).count(b"hello")
        talk.transport.written.clear()
        talk.exchanges.clear()
    assert answered == count


def test_client_that_does_not_read_its_answers_is_not_read_from(
    parser: type[HeadParser],
) -> None:
    """Each answer is whole at once, so only this bounds what an idle reader can pile up."""
    talk = Conversation(parser, lambda exchange: exchange.start(200, OK, b"x" * 4000))
    talk.transport.peer_stops_reading()
    talk.feed(*([GET * 100] * 100))
    assert talk.transport.get_write_buffer_size() < 80 * 1024
    assert talk.unread > 100_000
    answered = len(talk.exchanges)
    talk.transport.peer_reads()
    talk.settle()
    assert len(talk.exchanges) == 10_000 > answered
    assert talk.output.count(b"HTTP/1.1 200 OK") == 10_000


def test_half_a_head_behind_held_requests_is_read_to_its_end(parser: type[HeadParser]) -> None:
    talk = Conversation(
        parser, lambda exchange: exchange.start(200, OK, b"x" * 70_000), limit_head=200_000
    )
    talk.transport.peer_stops_reading()
    talk.feed(GET, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70_000, b"z\r\n\r\n")
    assert len(talk.exchanges) == 1
    talk.transport.peer_reads()
    talk.settle()
    assert len(talk.exchanges) == 2


def test_held_requests_survive_the_clients_eof(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, lambda exchange: exchange.start(200, OK, b"x" * 70_000))
    talk.transport.peer_stops_reading()
    talk.feed(GET * 3)
    talk.eof()
    assert len(talk.exchanges) == 1
    for _ in range(3):
        talk.transport.peer_reads()
        talk.settle()
    assert [len(response.body) for response in talk.responses()] == [70_000] * 3
    assert talk.state == "closed"


def test_request_behind_the_last_one_is_not_handled(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, at_once)
    talk.feed(get("/1", "Connection: close") + get("/2"))
    assert [exchange.head.path for exchange in talk.exchanges] == ["/1"]
    assert talk.state == "closed"


# --- the client's end ---------------------------------------------------------------------------


def test_half_closed_client_gets_its_answer(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, nothing)
    talk.feed(GET)
    talk.eof()
    assert talk.state == "open"
    assert talk.exchanges[0].disconnected
    talk.exchanges[0].start(200, OK, b"hello")
    talk.settle()
    assert [response.body for response in talk.responses()] == [b"hello"]
    assert talk.state == "closed"


def test_half_closed_client_gets_all_its_pipelined_answers(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, nothing)
    talk.feed(GET * 2)
    talk.eof()
    talk.exchanges[0].start(200, OK, b"1")
    assert talk.exchanges[1].disconnected
    talk.exchanges[1].start(200, OK, b"2")
    talk.settle()
    assert [response.body for response in talk.responses()] == [b"1", b"2"]
    assert talk.state == "closed"


def test_pipelined_request_cut_by_the_eof_is_given_up(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, nothing)
    talk.feed(GET + post(5, b"hel"))
    talk.eof()
    talk.exchanges[0].start(200, OK, b"1")
    talk.settle()
    assert talk.exchanges[1].gone
    assert talk.state == "closed"


@pytest.mark.parametrize("part", [b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n", b"\r\n", b""])
def test_eof_without_a_whole_head_closes(parser: type[HeadParser], part: bytes) -> None:
    talk = Conversation(parser)
    talk.feed(part)
    talk.eof()
    assert talk.state == "closed"
    assert talk.output == b""
    assert not talk.context.connections


def test_eof_in_the_middle_of_a_body_is_a_disconnect(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, nothing)
    talk.feed(post(5, b"hel"))
    talk.eof()
    assert talk.exchanges[0].gone
    assert not talk.exchanges[0].body_complete
    assert talk.state == "closed"


def test_tls_connection_is_never_half_closed(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, nothing, tls=True)
    talk.feed(GET)
    talk.eof()
    assert talk.state == "closed"
    assert talk.exchanges[0].gone


def test_lost_connection_tells_the_exchange_once(parser: type[HeadParser]) -> None:
    finished: list[Exchange] = []
    talk = Conversation(parser, lambda exchange: exchange.on_finish.append(finished.append))
    talk.feed(GET)
    talk.lose()
    assert finished == talk.exchanges
    assert talk.exchanges[0].gone
    assert not talk.context.connections


def test_lost_connection_between_requests_is_no_event(parser: type[HeadParser]) -> None:
    talk = Conversation(parser)
    talk.feed(GET)
    talk.lose()
    assert not talk.exchanges[0].gone
    assert not talk.context.connections


# --- the server's end ---------------------------------------------------------------------------


def test_refused_client_can_read_its_refusal(parser: type[HeadParser]) -> None:
    """RFC 9112, section 9.6: closing with bytes unread would reset the answer on its way."""
    talk = Conversation(parser)
    talk.feed(b"NONSENSE\r\n\r\n", b"x" * 1_000_000)
    assert [response.status for response in talk.responses()] == [400]
    assert talk.transport.eof_written
    assert talk.transport.state == "open"
    assert talk.unread == 0
    talk.eof()
    assert talk.transport.state == "lost"
    assert talk.state == "closed"


def test_refused_client_over_tls_is_closed_at_once(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, tls=True)
    talk.feed(b"NONSENSE\r\n\r\n")
    assert [response.status for response in talk.responses()] == [400]
    assert talk.transport.state == "lost"


def test_refusal_says_close_and_echoes_nothing(parser: type[HeadParser]) -> None:
    talk = Conversation(parser)
    talk.feed(b"GET / HTTP/1.1\r\nHost: a\r\nevil<script>\x01: x\r\n\r\n")
    response = talk.responses()[0]
    assert response.header(b"connection") == b"close"
    assert response.header(b"content-type") == b"text/plain; charset=utf-8"
    assert b"evil" not in talk.output


def test_failing_handler_is_a_500_and_the_connection_goes_on(
    parser: type[HeadParser], caplog: pytest.LogCaptureFixture
) -> None:
    def broken(exchange: Exchange) -> None:
        raise LookupError("no such thing")

    talk = Conversation(parser, broken)
    talk.feed(GET + GET)
    assert [response.status for response in talk.responses()] == [500, 500]
    assert talk.state == "open"
    assert caplog.text.count("LookupError: no such thing") == 2


def test_drain_closes_an_idle_connection(parser: type[HeadParser]) -> None:
    talk = Conversation(parser)
    talk.feed(GET)
    talk.pass_time(talk.context.linger)
    talk.connection.drain()
    talk.settle()
    assert talk.transport.state == "lost"
    assert talk.state == "closed"


def test_drain_leaves_a_connection_just_used_open_for_one_request_more(
    parser: type[HeadParser],
) -> None:
    talk = Conversation(parser)
    talk.feed(GET)
    talk.context.draining = True
    talk.connection.drain()
    assert talk.state == "open"
    talk.feed(GET)
    assert [response.header(b"connection") for response in talk.responses()] == [None, b"close"]
    assert talk.state == "closed"


def test_drain_does_not_wait_for_that_request_for_long(parser: type[HeadParser]) -> None:
    talk = Conversation(parser)
    talk.feed(GET)
    talk.context.draining = True
    talk.connection.drain()
    talk.pass_time(talk.context.linger)
    assert talk.state == "closed"


def test_drain_counts_nobody_as_idle_after_a_loop_that_was_blocked(
    parser: type[HeadParser],
) -> None:
    talk = Conversation(parser)
    talk.feed(GET)
    talk.time.now += 4
    talk.clock.tick()  # 3 s late: what the client has sent meanwhile is still in the socket
    talk.context.draining = True
    talk.connection.drain()
    assert talk.state == "open"
    talk.feed(GET)
    assert [response.header(b"connection") for response in talk.responses()] == [None, b"close"]
    assert talk.state == "closed"


def test_drain_after_a_response_that_ended_behind_the_request_to_stop_is_patient_too(
    parser: type[HeadParser],
) -> None:
    talk = Conversation(parser, nothing, keep_alive=5)
    talk.feed(GET)
    first = talk.exchanges[0]
    first.start(200, OK, b"he", more=True)
    talk.context.draining = True
    first.write(b"llo", more=False)
    talk.pass_time(1)
    talk.connection.drain()
    assert talk.state == "open"
    talk.pass_time(talk.context.linger - 1.5)
    assert talk.state == "open"
    talk.pass_time(1)
    assert talk.state == "closed"


def test_drain_keeps_the_promise_of_a_head_that_has_left(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, nothing)
    talk.feed(GET)
    first = talk.exchanges[0]
    first.start(200, OK, b"he", more=True)
    talk.context.draining = True
    talk.connection.drain()
    first.write(b"llo", more=False)
    assert talk.state == "open"
    talk.feed(GET)
    talk.exchanges[1].start(200, OK, b"hello")
    assert [response.header(b"connection") for response in talk.responses()] == [None, b"close"]
    assert talk.state == "closed"


def test_drain_finishes_what_has_begun_and_says_close(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, nothing)
    talk.feed(GET + GET)
    talk.connection.drain()
    assert talk.state == "open"
    talk.exchanges[0].start(200, OK, b"hello")
    assert [response.header(b"connection") for response in talk.responses()] == [b"close"]
    assert talk.state == "closed"
    assert len(talk.exchanges) == 1


def test_drain_does_not_wait_for_the_body_of_an_answered_request(
    parser: type[HeadParser],
) -> None:
    talk = Conversation(parser, at_once)
    talk.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhal")
    talk.connection.drain()
    assert talk.connection.exchange is None
    assert talk.transport.eof_written


def test_drain_lets_a_new_connection_have_its_first_request(parser: type[HeadParser]) -> None:
    talk = Conversation(parser)
    talk.context.draining = True
    talk.connection.drain()
    assert talk.state == "open"
    talk.feed(GET)
    assert [response.header(b"connection") for response in talk.responses()] == [b"close"]
    assert talk.state == "closed"


def test_drain_gives_a_first_request_its_second_just_before_the_clock_is_read(
    parser: type[HeadParser],
) -> None:
    talk = Conversation(parser)
    talk.time.now += 0.9
    talk.connection.drain()
    talk.pass_time(0.1)
    assert talk.state == "open"


def test_drain_does_not_wait_for_a_first_request_that_never_comes(
    parser: type[HeadParser],
) -> None:
    talk = Conversation(parser)
    talk.connection.drain()
    talk.pass_time(2)
    assert talk.state == "closed"


def test_cut_is_a_reset(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, nothing)
    talk.feed(GET)
    talk.connection.cut()
    talk.settle()
    assert talk.state == "cut"
    assert talk.exchanges[0].gone


def test_nothing_is_resumed_on_a_closed_transport(parser: type[HeadParser]) -> None:
    """uvloop raises RuntimeError for it; the application is still reading its body."""
    talk = Conversation(parser, nothing)
    talk.feed(post(100_000, b"x" * 70_000))
    assert not talk.transport.reading
    talk.transport.abort()
    assert len(talk.exchanges[0].read()) == 70_000


def test_repr_shows_the_state(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, nothing)
    assert repr(talk.connection) == "<Http1Connection ('203.0.113.7', 50000) idle>"
    talk.feed(GET)
    assert "GET '/' - open" in repr(talk.connection)
    talk.exchanges[0].refuse(404, "Not Found")
    talk.feed(b"NONSENSE\r\n")
    assert repr(talk.connection) == "<Http1Connection ('203.0.113.7', 50000) lingering>"


@pytest.mark.parametrize(
    ("peername", "sockname", "client", "server"),
    [
        (("::1", 5, 0, 0), ("::1", 80, 0, 0), ("::1", 5), ("::1", 80)),
        ("", "/run/gateway.sock", None, ("/run/gateway.sock", None)),
        ("", b"\0abstract", None, ("\0abstract", None)),
        ("", "", None, None),
    ],
)
def test_addresses_of_every_family_are_those_of_the_asgi_spec(
    parser: type[HeadParser], peername: object, sockname: object, client: object, server: object
) -> None:
    class Transport(FakeTransport):
        def get_extra_info(self, name: str, default: object = None) -> object:
            return {"peername": peername, "sockname": sockname}.get(name, default)

    talk = Conversation(parser, nothing)
    talk.transport = Transport(talk.connection)
    talk.connection.connection_made(talk.transport)
    talk.feed(GET)
    head = talk.exchanges[0].head
    assert (head.client, head.server, head.scheme) == (client, server, "http")


def test_tls_is_the_scheme_https(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, nothing, tls=True)
    talk.feed(GET)
    assert talk.exchanges[0].head.scheme == "https"


def test_it_is_idle_between_requests(parser: type[HeadParser]) -> None:
    talk = Conversation(parser)
    assert talk.connection.idle_since is None  # it is new: its request is on its way
    talk.pass_time(3)
    assert talk.connection.idle_since == talk.time.now - 3
    talk.feed(b"GET / HT")
    assert talk.connection.idle_since is None
    talk.feed(b"TP/1.1\r\nHost: a\r\n\r\n")
    assert talk.connection.idle_since == talk.time.now
    talk.connection.end_idle()
    talk.settle()
    assert talk.state == "closed"


def test_it_is_not_idle_with_a_request_or_an_unread_answer(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, lambda exchange: None)
    talk.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    talk.pass_time(5)
    assert talk.connection.idle_since is None
    talk.transport.peer_stops_reading()
    talk.exchanges[0].start(200, [], b"hello")
    assert talk.connection.idle_since is None
    talk.transport.peer_reads()
    assert talk.connection.idle_since == talk.time.now
