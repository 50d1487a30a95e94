"""Windows both ways, turns, and what an application is told of them (RFC 9113, section 5.2)."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from gateway.exchange import Exchange
from gateway.protocols.http2_errors import ErrorCode
from gateway.protocols.http2_frames import DATA, HEADERS, WINDOW_UPDATE
from gateway.protocols.http2_sender import LARGEST_WINDOW
from gateway.protocols.http2_settings import Http2Options

from .http2_harness import (
    WINDOW,
    Frame,
    Http2Conversation,
    Speaker,
    connect,
    data,
    hold,
    request,
    reset,
    settings,
    window_update,
)

INITIAL = 0x4


class Producer:
    """Writes messages of `size` bytes as long as it may, in a turn of its own, as ASGI does."""

    def __init__(self, size: int, count: int = 1 << 30) -> None:
        self.size, self.left = size, count
        self.asked = 0
        self.news: list[bool] = []
        self.talk: Http2Conversation
        self.exchange: Exchange

    def __call__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        exchange.listener = self
        exchange.start(200, [], b"", more=True)
        self.go_on()

    def go_on(self) -> None:
        while self.exchange.writable and not self.exchange.finished:
            self.asked += self.size
            self.left -= 1
            self.exchange.write(b"x" * self.size, more=self.left > 0)

    def on_readable(self) -> None:
        pass

    def on_writable(self) -> None:
        self.news.append(self.exchange.writable)
        self.talk.transport.later.append(self.go_on)

    def on_gone(self) -> None:
        pass


def producing(size: int, count: int = 1 << 30, **values: int) -> tuple[Http2Conversation, Producer]:
    producer = Producer(size, count)
    talk = Http2Conversation(producer, values={INITIAL: values.get("window", WINDOW)})
    producer.talk = talk
    talk.send(request(1))
    return talk, producer


def answer(size: int) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.start(200, [], bytes(size))


def sizes(frames: list[Frame]) -> list[tuple[int, int]]:
    return [(each.stream, len(each.payload)) for each in frames if each.kind == DATA]


# --- what we send: the windows of the peer --------------------------------------------------------


def test_no_more_is_sent_than_the_connection_takes() -> None:
    talk = Http2Conversation(answer(100_000), values={INITIAL: 1 << 20})
    talk.send(request(1), request(3))
    assert sum(size for _, size in sizes(talk.frames)) == WINDOW


def test_no_more_is_sent_than_a_stream_takes() -> None:
    talk = Http2Conversation(answer(100), values={INITIAL: 10})
    talk.send(request(1), request(3))
    assert sizes(talk.frames) == [(1, 10), (3, 10)]


def test_heads_and_empty_ends_need_no_window() -> None:
    talk = Http2Conversation(hold, values={INITIAL: 0})
    talk.send(request(1))
    talk.exchanges[0].start(200, [], b"", more=True)
    talk.run(lambda: talk.exchanges[0].write(b"", more=False))
    assert talk.replies[1].ended


def test_a_body_goes_on_as_the_window_opens() -> None:
    talk = Http2Conversation(answer(100), values={INITIAL: 0})
    talk.send(request(1))
    assert sizes(talk.frames) == []
    assert sizes(talk.send(window_update(1, 60))) == [(1, 60)]
    assert sizes(talk.send(window_update(1, 60))) == [(1, 40)]
    assert talk.replies[1].ended


def test_both_windows_must_be_open() -> None:
    talk = Http2Conversation(answer(WINDOW + 10))
    talk.send(request(1))
    assert talk.send(window_update(1, 10)) == []
    assert sizes(talk.send(window_update(0, 10))) == [(1, 10)]


def test_a_response_that_fits_exactly_leaves_whole() -> None:
    talk = Http2Conversation(answer(WINDOW))
    talk.send(request(1))
    assert talk.replies[1].ended


def test_larger_windows_are_for_open_streams_too() -> None:
    talk = Http2Conversation(answer(100), values={INITIAL: 10})
    talk.send(request(1))
    frames = talk.send(settings({INITIAL: 50}))
    assert sizes(frames) == [(1, 40)]
    assert talk.send(settings({INITIAL: 200}))
    assert talk.replies[1].ended


def test_smaller_windows_may_be_negative() -> None:
    talk = Http2Conversation(answer(100), values={INITIAL: 50})
    talk.send(request(1), settings({INITIAL: 20}))
    assert talk.send(window_update(1, 30)) == []
    assert sizes(talk.send(window_update(1, 5))) == [(1, 5)]


def test_a_window_that_shrinks_takes_a_waiting_stream_its_turn() -> None:
    talk = Http2Conversation(answer(WINDOW), values={INITIAL: 1 << 20})
    talk.send(request(1), request(3), settings({INITIAL: 0}))
    assert talk.send(window_update(0, 100)) == []
    assert sizes(talk.send(settings({INITIAL: 50}))) == [(3, 50)]


def test_new_streams_have_the_new_window() -> None:
    talk = Http2Conversation(answer(100))
    talk.send(settings({INITIAL: 7}), request(1))
    assert sizes(talk.frames) == [(1, 7)]


def test_the_connections_window_is_not_a_matter_of_settings() -> None:
    talk = Http2Conversation(answer(100_000), values={INITIAL: 1 << 20})
    talk.send(request(1), settings({INITIAL: 1 << 21}))
    assert len(talk.replies[1].body) == WINDOW


@pytest.mark.parametrize("size", [LARGEST_WINDOW, LARGEST_WINDOW - WINDOW + 1])
def test_a_connections_window_has_a_limit(size: int) -> None:
    talk = Http2Conversation()
    talk.send(window_update(0, size))
    assert talk.error == ErrorCode.FLOW_CONTROL_ERROR


def test_a_streams_window_has_one_too() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1), request(3), window_update(1, LARGEST_WINDOW))
    assert talk.replies[1].reset == ErrorCode.FLOW_CONTROL_ERROR
    assert [each.gone for each in talk.exchanges] == [True, False]
    assert talk.error is None


def test_settings_may_not_pass_it_either() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1), window_update(1, LARGEST_WINDOW - WINDOW))
    assert talk.error is None
    talk.send(settings({INITIAL: WINDOW + 1}))
    assert talk.error == ErrorCode.FLOW_CONTROL_ERROR
    assert talk.ended_once


def test_a_stream_is_not_opened_by_nothing() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1), request(3), window_update(1, 0))
    assert talk.replies[1].reset == ErrorCode.PROTOCOL_ERROR
    assert not talk.exchanges[1].gone


def test_neither_is_a_connection() -> None:
    talk = Http2Conversation()
    talk.send(window_update(0, 0))
    assert talk.error == ErrorCode.PROTOCOL_ERROR


# --- turns ----------------------------------------------------------------------------------------


def test_streams_take_turns_when_the_connections_window_opens() -> None:
    talk = Http2Conversation(answer(100_000), values={INITIAL: 1 << 20})
    talk.send(*map(request, (1, 3, 5, 7)))
    frames = talk.send(window_update(0, 1 << 20))
    assert [stream for stream, _ in sizes(frames)[:9]] == [1, 3, 5, 7, 1, 3, 5, 7, 1]
    assert all(reply.ended for reply in talk.replies.values())


def test_they_take_turns_when_the_transport_takes_more() -> None:
    talk = Http2Conversation(answer(200_000), values={INITIAL: 1 << 20})
    talk.send(window_update(0, 1 << 24))
    talk.transport.peer_stops_reading()
    talk.send(*map(request, (1, 3, 5)))
    talk.run(talk.transport.peer_reads)
    later = [stream for stream, _ in sizes(talk.frames) if stream != 1]
    assert later[:6] == [3, 5, 3, 5, 3, 5]
    assert all(reply.ended for reply in talk.replies.values())


def test_a_small_response_does_not_wait_for_a_large_one() -> None:
    talk = Http2Conversation(hold, values={INITIAL: 1 << 30})
    talk.send(request(1), request(3))
    talk.exchanges[0].start(200, [], bytes(1 << 20))
    talk.exchanges[1].start(200, [], b"small")
    talk.settle()
    talk.send(window_update(0, 2 * 16_384))
    assert talk.replies[3].body == b"small"


def test_a_stream_without_a_window_keeps_nobody_waiting() -> None:
    talk = Http2Conversation(answer(100), values={INITIAL: 50})
    talk.send(request(1), request(3), window_update(3, 50))
    assert (talk.replies[1].ended, talk.replies[3].ended) == (False, True)


def test_a_stream_that_is_reset_loses_its_turn() -> None:
    talk = Http2Conversation(answer(100_000), values={INITIAL: 1 << 20})
    talk.send(request(1), request(3), reset(1))
    frames = talk.send(window_update(0, 1 << 20))
    assert {stream for stream, _ in sizes(frames)} == {3}


# --- what an application is told ------------------------------------------------------------------


def test_what_leaves_at_once_leaves_the_application_alone() -> None:
    _, producer = producing(20_000, 3)
    assert producer.news == []
    assert producer.exchange.finished


def test_an_application_waits_while_a_byte_waits() -> None:
    talk, producer = producing(WINDOW + 1)
    assert not producer.exchange.writable
    assert producer.news == []
    producer.size, producer.left = 1, 1
    talk.send(window_update(0, 100), window_update(1, 100))
    assert producer.news == [True]


def test_it_is_told_once_and_only_when_nothing_waits() -> None:
    talk, producer = producing(WINDOW + 100)
    talk.send(window_update(0, 1 << 20))
    for _ in range(99):
        talk.send(window_update(1, 1))
    assert producer.news == []
    producer.left, producer.size = 1, 5
    talk.send(window_update(1, 1))
    assert producer.news == [True]


def test_an_application_is_asked_for_one_message_more_than_has_left() -> None:
    talk, producer = producing(16_384)
    assert producer.asked <= WINDOW + 16_384
    asked = producer.asked
    talk.send(window_update(0, 16_384), window_update(1, 16_384))
    assert producer.asked == asked + 16_384


def test_a_window_that_never_opens_costs_one_message() -> None:
    _, producer = producing(1000, window=0)
    assert producer.asked == 1000


def test_a_peer_that_does_not_read_costs_no_more_than_the_buffers() -> None:
    talk = Http2Conversation(hold, values={INITIAL: 1 << 30})
    talk.send(window_update(0, 1 << 30), request(1))
    talk.transport.peer_stops_reading()
    producer = Producer(16_384)
    producer.talk = talk
    talk.run(lambda: producer(talk.exchanges[0]))
    assert producer.asked <= 64 * 1024 + 128 * 1024


def test_a_long_body_leaves_whole_through_small_windows() -> None:
    talk, _ = producing(10_000, 100)
    while not talk.replies[1].ended:
        talk.send(window_update(0, 3000), window_update(1, 3000))
    assert talk.replies[1].body == b"x" * 1_000_000


@pytest.mark.parametrize("size", [16_384, 65_536, 1000])
def test_a_client_may_give_back_each_frame_at_once(size: int) -> None:
    talk, _ = producing(size, (4 << 20) // size)
    frames = talk.frames[:]
    while frames and not talk.replies[1].ended:
        updates = [
            window_update(stream, len(each.payload))
            for each in frames
            if each.kind == DATA and each.payload
            for stream in (0, 1)
        ]
        frames = talk.send(*updates)
    assert talk.error is None
    assert len(talk.replies[1].body) == (4 << 20) // size * size


def test_so_may_one_whose_answers_are_small() -> None:
    talk = Http2Conversation()
    for stream in range(1, 6001, 2):
        talk.send(request(stream))
        talk.send(window_update(0, 5), window_update(stream, 5))
    assert talk.error is None


def test_windows_opened_by_a_byte_at_a_time_end_the_connection() -> None:
    talk = Http2Conversation(answer(WINDOW), values={INITIAL: 0})
    talk.send(request(1))
    for _ in range(3000):
        talk.send(window_update(1, 1))
        if talk.error is not None:
            break
    assert talk.error == ErrorCode.ENHANCE_YOUR_CALM


def test_windows_opened_for_nothing_end_it_too() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1))
    for _ in range(3000):
        talk.send(window_update(1, 1), window_update(0, 1))
        if talk.error is not None:
            break
    assert talk.error == ErrorCode.ENHANCE_YOUR_CALM


# --- what we take: our windows --------------------------------------------------------------------


def upload(
    size: int, piece: int = 16_384, pad: int | None = None, *, end: bool = False
) -> list[bytes]:
    frames = [data(1, bytes(piece), pad=pad)] * (size // piece)
    rest = size % piece
    return [*frames, data(1, bytes(rest), end=end)] if rest or end else frames


def given_back(talk: Http2Conversation, stream: int = 1) -> list[int]:
    return [each.number for each in talk.of_kind(WINDOW_UPDATE) if each.stream == stream]


def test_a_body_may_fill_its_window() -> None:
    talk = Http2Conversation(hold, options=Http2Options(initial_window=100_000))
    talk.send(request(1, "POST", end=False), *upload(100_000))
    assert talk.exchanges[0].received == 100_000
    assert talk.error is None
    assert 1 not in talk.replies


def test_one_byte_more_ends_its_stream() -> None:
    talk = Http2Conversation(hold, options=Http2Options(initial_window=100_000))
    talk.send(request(1, "POST", end=False), request(3), *upload(100_000), data(1, b"x"))
    assert talk.replies[1].reset == ErrorCode.FLOW_CONTROL_ERROR
    assert [each.gone for each in talk.exchanges] == [True, False]


def test_padding_counts() -> None:
    talk = Http2Conversation(hold, options=Http2Options(initial_window=100_000))
    frame = data(1, b"", pad=199)  # 200 bytes of the window
    talk.send(request(1, "POST", end=False), *[data(1, b"x" * 800, pad=199)] * 100)
    assert 1 not in talk.replies
    talk.send(*[frame] * 1000)
    assert talk.error is not None or talk.replies[1].reset == ErrorCode.FLOW_CONTROL_ERROR


def test_until_ours_is_acknowledged_the_window_is_the_default_one() -> None:
    talk = Http2Conversation(hold, options=Http2Options(initial_window=10_000), start=False)
    talk.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", settings({}))
    talk.send(request(1, "POST", end=False), *upload(WINDOW))
    assert 1 not in talk.replies


def test_and_ours_from_then_on() -> None:
    talk = Http2Conversation(hold, options=Http2Options(initial_window=10_000))
    talk.send(request(1, "POST", end=False), *upload(10_001))
    assert talk.replies[1].reset == ErrorCode.FLOW_CONTROL_ERROR


def test_what_nobody_reads_is_not_given_back() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1, "POST", end=False), *upload(256 * 1024))
    assert given_back(talk) == []


def test_what_is_read_is_given_back_by_halves() -> None:
    talk = Http2Conversation(options=Http2Options(initial_window=100_000))
    talk.send(request(1, "POST", end=False), *upload(49_999, 1000))
    assert given_back(talk) == []
    talk.send(data(1, b"x"))
    assert given_back(talk) == [50_000]


def test_padding_is_given_back_though_nobody_reads_it() -> None:
    talk = Http2Conversation(options=Http2Options(initial_window=100_000))
    talk.send(request(1, "POST", end=False), *[data(1, b"x" * 800, pad=199)] * 50)
    assert given_back(talk) == [50_000]


def test_what_is_read_at_last_is_given_back_at_once() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1, "POST", end=False), *upload(256 * 1024))
    talk.run(talk.exchanges[0].read)
    assert given_back(talk) == [256 * 1024]


def test_any_length_may_be_uploaded() -> None:
    talk = Http2Conversation(options=Http2Options(initial_window=WINDOW))
    window = WINDOW
    talk.send(request(1, "POST", end=False))
    for _ in range(200):
        assert window >= 16_384
        frames = talk.send(data(1, bytes(16_384)))
        window += sum(each.number for each in frames if each.stream == 1) - 16_384
    talk.send(data(1, end=True))
    assert len(talk.requests[0].body) == 200 * 16_384


def test_nothing_is_given_back_behind_the_end_of_a_body() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1, "POST", end=False), *upload(200_000, end=True))
    assert talk.run(talk.exchanges[0].read) == []


def test_bodies_nobody_reads_do_not_stop_the_others() -> None:
    talk = Http2Conversation(
        lambda exchange: None if exchange.head.path == "/slow" else exchange.start(200, [], b"hi")
    )
    for stream in range(1, 21, 2):
        talk.send(request(stream, "POST", "/slow", end=False))
        talk.send(*[data(stream, bytes(16_384))] * 16)
    talk.send(request(21, "POST", end=False), data(21, bytes(16_384), end=True), request(23))
    assert [talk.replies[each].body for each in (21, 23)] == [b"hi", b"hi"]


def test_the_connections_window_is_given_back_whoever_reads() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1, "POST", end=False))
    talk.http2._received = (LARGEST_WINDOW >> 1) - 1000  # a gibibyte takes a second to send
    talk.send(data(1, bytes(1000)))
    assert given_back(talk, 0) == []
    talk.send(data(1, b"x"))
    assert given_back(talk, 0) == [(LARGEST_WINDOW >> 1) + 1]


@pytest.mark.parametrize("takes", [True, False])
def test_the_bytes_of_a_tunnel_have_the_same_window(takes: bool) -> None:
    speaker = Speaker(takes=takes)
    talk = Http2Conversation(speaker, options=Http2Options(initial_window=100_000))
    talk.send(connect(1), *upload(50_000))
    assert len(speaker.heard) == 50_000
    assert given_back(talk) == [50_000]


def test_a_body_in_tiny_frames_holds_no_more_than_one_in_large_ones() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1, "POST", end=False))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(40):
            talk.feed(data(1, b"xy") * 1000)
            if talk.error is not None or talk.replies:
                break
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held < 5 * talk.exchanges[0].received + 100_000


def test_a_head_leaves_though_the_connections_window_is_used_up() -> None:
    talk = Http2Conversation(answer(WINDOW))
    frames = talk.send(request(1), request(3))
    assert [each.stream for each in frames if each.kind == HEADERS] == [1, 3]
