"""A connection that becomes a pair of byte pipes: head, first bytes, pressure, deadlines, end."""

from __future__ import annotations

import pytest

from gateway.exchange import ClientGone, Exchange
from gateway.protocols.context import HeadParser

from .harness import PARSERS, Conversation

pytestmark = pytest.mark.parametrize("parser", PARSERS)

UPGRADE = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n"
ACCEPT = [(b"sec-websocket-accept", b"x")]


class Speaker:
    """Who speaks in the tunnel: it notes what happens, and reads at once unless it is told not to.

    opens: with the request; else when the test calls `open`.
    """

    messages_received = messages_sent = 0

    def __init__(self, *, opens: bool = True, reads: bool = True) -> None:
        self.opens, self.reads = opens, reads
        self.heard = b""
        self.news: list[str] = []
        self.exchange: Exchange

    def __call__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        exchange.listener = exchange.tunnel = self
        if self.opens:
            self.open()

    def open(self) -> None:
        self.exchange.open_tunnel(101, ACCEPT)

    def on_readable(self) -> None:
        self.news.append("disconnected" if self.exchange.disconnected else "readable")
        if self.reads:
            self.heard += self.exchange.read()

    def on_writable(self) -> None:
        self.news.append("writable")

    def on_gone(self) -> None:
        self.news.append("gone")

    def on_bytes(self, data: bytes) -> bool:
        return False

    def on_deadline(self) -> None:
        self.news.append("deadline")

    def on_shutdown(self) -> None:
        self.news.append("shutdown")


def opened(parser: type[HeadParser], **settings: float) -> tuple[Conversation, Speaker]:
    """A tunnel that stands; what was written until then is the head."""
    speaker = Speaker()
    talk = Conversation(parser, speaker, **settings)
    talk.feed(UPGRADE)
    assert talk.output.endswith(b"\r\n\r\n")
    return talk, speaker


def test_the_head_is_a_101_with_the_protocol_and_no_framing(parser: type[HeadParser]) -> None:
    talk, _ = opened(parser)
    lines = talk.output.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 101 Switching Protocols"
    assert lines[-2:] == [b"", b""]
    fields = {line.split(b": ")[0]: line.split(b": ")[1] for line in lines[1:-2]}
    assert fields.pop(b"date")
    assert fields == {
        b"server": b"gateway",
        b"connection": b"upgrade",
        b"upgrade": b"websocket",
        b"sec-websocket-accept": b"x",
    }


def test_bytes_go_both_ways_as_they_are(parser: type[HeadParser]) -> None:
    talk, speaker = opened(parser)
    for data in (b"\x81\x00", GARBAGE, UPGRADE, b"\r\n\r\n"):
        speaker.heard = b""
        talk.feed(data)
        assert speaker.heard == data
        before = len(talk.output)
        speaker.exchange.write(data, more=True)
        assert talk.output[before:] == data
    assert len(talk.exchanges) == 1


GARBAGE = bytes(range(256))


@pytest.mark.parametrize("cut", [len(UPGRADE), len(UPGRADE) - 1, 20])
def test_bytes_in_the_segment_of_the_head_reach_the_exchange(
    parser: type[HeadParser], cut: int
) -> None:
    speaker = Speaker()
    talk = Conversation(parser, speaker)
    data = UPGRADE + GARBAGE
    talk.feed(data[:cut], data[cut:])
    assert speaker.heard == GARBAGE


def test_bytes_sent_before_the_answer_reach_the_exchange_in_order(
    parser: type[HeadParser],
) -> None:
    speaker = Speaker(opens=False)
    talk = Conversation(parser, speaker)
    talk.feed(UPGRADE + b"one ", b"two ")
    assert speaker.heard == b""
    speaker.open()
    talk.feed(b"three")
    assert speaker.heard == b"one two three"


def test_bytes_nobody_reads_stop_the_reading(parser: type[HeadParser]) -> None:
    talk, speaker = opened(parser)
    speaker.reads = False
    block = b"x" * 32_768
    talk.feed(*[block] * 10)
    assert not talk.transport.reading
    assert talk.unread >= 6 * len(block)
    speaker.reads = True
    speaker.on_readable()
    talk.settle()
    assert talk.unread == 0
    assert speaker.heard == block * 10


def test_bytes_that_waited_for_the_answer_in_a_paused_socket_are_read_then(
    parser: type[HeadParser],
) -> None:
    speaker = Speaker(opens=False)
    talk = Conversation(parser, speaker)
    block = b"x" * 70_000
    talk.feed(UPGRADE, block, block)
    assert not talk.transport.reading
    speaker.open()
    talk.settle()
    assert speaker.heard == block * 2


def test_a_flood_is_not_read_on_in_the_same_turn(parser: type[HeadParser]) -> None:
    talk, speaker = opened(parser)
    talk.connection.data_received(b"x" * 70_000)
    assert speaker.heard == b"x" * 70_000
    assert not talk.transport.reading
    talk.settle()
    assert talk.transport.reading


def test_but_not_at_all_while_the_listener_takes_nothing(parser: type[HeadParser]) -> None:
    talk, speaker = opened(parser)
    speaker.reads = False
    talk.connection.data_received(b"x" * 70_000)
    talk.settle()
    assert not talk.transport.reading


def test_a_peer_that_does_not_read_makes_the_exchange_unwritable(
    parser: type[HeadParser],
) -> None:
    talk, speaker = opened(parser)
    talk.transport.peer_stops_reading()
    speaker.exchange.write(b"x" * 100_000, more=True)
    assert not speaker.exchange.writable
    talk.transport.peer_reads()
    talk.settle()
    assert speaker.exchange.writable
    assert speaker.news == ["writable"]


def test_a_peer_that_stops_reading_for_good_is_cut(parser: type[HeadParser]) -> None:
    talk, speaker = opened(parser)
    talk.transport.peer_stops_reading()
    speaker.exchange.write(b"x" * 100_000, more=True)
    talk.pass_time(talk.context.write_timeout - 1)
    assert talk.state == "open"
    talk.pass_time(2)
    assert talk.state == "cut"
    assert speaker.news[-1] == "gone"
    assert "deadline" not in speaker.news


def test_the_end_of_the_peer_is_a_disconnect_and_may_be_answered(
    parser: type[HeadParser],
) -> None:
    talk, speaker = opened(parser)
    talk.eof()
    assert speaker.news == ["disconnected"]
    assert (speaker.exchange.disconnected, speaker.exchange.gone) == (True, False)
    assert not speaker.exchange.body_complete
    before = len(talk.output)
    speaker.exchange.write(b"bye", more=False)
    talk.settle()
    assert talk.output[before:] == b"bye"
    assert talk.state == "closed"


def test_a_lost_connection_is_gone(parser: type[HeadParser]) -> None:
    talk, speaker = opened(parser)
    talk.lose()
    assert speaker.news == ["gone"]
    with pytest.raises(ClientGone):
        speaker.exchange.write(b"hello", more=True)


def test_the_tunnel_ends_with_a_close_that_loses_nothing_it_has_sent(
    parser: type[HeadParser],
) -> None:
    talk, speaker = opened(parser)
    before = len(talk.output)
    speaker.exchange.write(b"bye", more=False)
    assert talk.output[before:] == b"bye"
    # Closed in its own direction, and read on: what the peer sends meanwhile must be no reset.
    assert (talk.state, talk.transport.state) == ("closed", "open")
    talk.feed(b"more of the peer's")
    assert talk.transport.state == "open"
    assert speaker.heard == b""
    talk.eof()
    assert not talk.transport.aborted
    assert talk.transport.state == "lost"


def test_no_request_is_taken_behind_a_tunnel(parser: type[HeadParser]) -> None:
    talk, speaker = opened(parser)
    speaker.exchange.write(b"", more=False)
    talk.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert len(talk.exchanges) == 1


def test_an_open_tunnel_has_no_deadline_of_its_own(parser: type[HeadParser]) -> None:
    talk, speaker = opened(parser)
    talk.pass_time(3600)
    assert talk.state == "open"
    assert speaker.news == []


def test_a_deadline_is_told_once_and_to_the_second(parser: type[HeadParser]) -> None:
    talk, speaker = opened(parser)
    speaker.exchange.set_deadline(20)
    talk.pass_time(19)
    assert speaker.news == []
    talk.pass_time(1)
    assert speaker.news == ["deadline"]
    talk.pass_time(100)
    assert speaker.news == ["deadline"]
    assert talk.state == "open"


def test_a_deadline_may_be_taken_back(parser: type[HeadParser]) -> None:
    talk, speaker = opened(parser)
    speaker.exchange.set_deadline(20)
    speaker.exchange.set_deadline(None)
    talk.pass_time(100)
    assert speaker.news == []


def test_a_deadline_may_be_asked_for_before_the_answer(parser: type[HeadParser]) -> None:
    speaker = Speaker(opens=False)
    talk = Conversation(parser, speaker)
    talk.feed(UPGRADE)
    speaker.exchange.set_deadline(5)
    talk.pass_time(5)
    assert speaker.news == ["deadline"]


def test_a_tunnel_may_be_refused_and_the_connection_goes_on(parser: type[HeadParser]) -> None:
    speaker = Speaker(opens=False)
    talk = Conversation(parser, speaker)
    talk.feed(UPGRADE)
    speaker.exchange.refuse(403, "no")
    talk.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert talk.output.startswith(b"HTTP/1.1 403 ")
    assert len(talk.exchanges) == 2


def test_a_drain_leaves_the_tunnel_to_whoever_speaks_in_it(parser: type[HeadParser]) -> None:
    talk, speaker = opened(parser)
    talk.context.draining = True
    talk.connection.drain()
    talk.pass_time(10)
    assert talk.state == "open"
    talk.feed(b"still heard")
    assert speaker.heard == b"still heard"
