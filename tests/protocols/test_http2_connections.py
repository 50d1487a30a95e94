"""Frames on a connection: preface, sections, what is legal where, the end (RFC 9113)."""

from __future__ import annotations

import gc

import pytest

from gateway.exchange import Exchange
from gateway.protocols.http2_errors import ErrorCode
from gateway.protocols.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    PRIORITY_UPDATE,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from gateway.protocols.http2_settings import Http2Options
from gateway.protocols.http2_stream import Http2Stream

from .http2_harness import (
    Frame,
    Http2Conversation,
    block,
    connect,
    continuation,
    data,
    frame,
    goaway,
    headers,
    hold,
    ping,
    priority,
    read_values,
    request,
    reset,
    settings,
    window_update,
)

GET = {":method": "GET", ":scheme": "http", ":path": "/", ":authority": "a"}


def ended_with(talk: Http2Conversation, code: ErrorCode) -> bool:
    """The connection says GOAWAY with `code`, and nothing more."""
    return talk.error == code and talk.frames[-1].kind == GOAWAY and talk.state == "closed"


# --- the preface (section 3.4) --------------------------------------------------------------------


def test_the_server_speaks_first_settings_and_a_wide_window() -> None:
    talk = Http2Conversation(start=False, options=Http2Options(max_streams=3))
    first, second = talk.run(lambda: None)
    assert (first.kind, first.flags, first.stream) == (SETTINGS, 0, 0)
    assert dict(read_values(first.payload))[0x3] == 3
    assert (second.kind, second.stream) == (WINDOW_UPDATE, 0)
    assert second.number + 65535 == 0x7FFF_FFFF


def test_settings_are_acknowledged() -> None:
    talk = Http2Conversation(start=False)
    talk.settle()
    assert talk.send(PREFACE, settings({})) == [*talk.frames[:2], Frame(SETTINGS, ACK, 0, b"")][2:]


def test_the_preface_may_come_byte_by_byte() -> None:
    talk = Http2Conversation(start=False)
    talk.send_each(PREFACE, settings({0x4: 100}), request(1))
    assert talk.replies[1].body == b"hello"
    assert talk.error is None


def test_the_preface_and_the_first_requests_may_be_one_segment() -> None:
    talk = Http2Conversation(start=False)
    talk.send(PREFACE, settings({}), request(1), request(3))
    assert [talk.replies[each].body for each in (1, 3)] == [b"hello", b"hello"]


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX",
        b"P\x00",
        b"\x16\x03\x01\x00\xa5",
        settings({}),
    ],
    ids=["HTTP/1.1", "last byte", "second byte", "TLS", "settings"],
)
def test_another_preface_is_an_error(first: bytes) -> None:
    talk = Http2Conversation(start=False)
    talk.send(first)
    assert ended_with(talk, ErrorCode.PROTOCOL_ERROR)


def test_a_wrong_preface_is_an_error_at_its_first_wrong_byte() -> None:
    talk = Http2Conversation(start=False)
    talk.feed(b"PRI")
    assert talk.error is None
    talk.feed(b"X")
    assert ended_with(talk, ErrorCode.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    "first", [ping(), request(1), settings(), window_update(0, 5)], ids=["ping", "get", "ack", "wu"]
)
def test_a_preface_without_settings_is_an_error(first: bytes) -> None:
    talk = Http2Conversation(start=False)
    talk.send(PREFACE, first)
    assert ended_with(talk, ErrorCode.PROTOCOL_ERROR)


# --- frames ---------------------------------------------------------------------------------------


def test_a_frame_of_the_largest_size_is_taken() -> None:
    talk = Http2Conversation()
    talk.send(request(1, "POST", end=False), data(1, bytes(16_384), end=True))
    assert talk.requests[0].body == bytes(16_384)


@pytest.mark.parametrize("kind", [DATA, HEADERS, SETTINGS, PING, 0x77])
def test_a_larger_one_is_an_error_by_its_header_alone(kind: int) -> None:
    talk = Http2Conversation()
    talk.send(request(1, "POST", end=False), frame(kind, 0, 1, bytes(16_385))[:9])
    assert ended_with(talk, ErrorCode.FRAME_SIZE_ERROR)


def test_the_largest_frame_is_ours_to_choose() -> None:
    talk = Http2Conversation(options=Http2Options(max_frame=20_000))
    talk.send(request(1, "POST", end=False), data(1, bytes(20_000), end=True))
    assert talk.replies[1].status == 200


def test_unknown_frames_are_passed_over() -> None:
    talk = Http2Conversation()
    assert talk.send(frame(0x77, 0xFF, 0, b"x"), frame(0xFF, 0, 9, b""), ping()) == [
        Frame(PING, ACK, 0, b"12345678")
    ]


def test_the_reserved_bit_of_a_stream_is_passed_over() -> None:
    talk = Http2Conversation()
    talk.send(request(0x8000_0001))
    assert talk.replies[1].status == 200


def test_unknown_flags_are_passed_over() -> None:
    talk = Http2Conversation()
    talk.send(frame(HEADERS, 0xFF & ~0x28, 1, block(GET)), frame(PING, 0xFE, 0, bytes(8)))
    assert talk.replies[1].status == 200
    assert talk.frames[-1] == Frame(PING, ACK, 0, bytes(8))


@pytest.mark.parametrize(
    "got", [settings({}), ping(), goaway(), frame(PRIORITY_UPDATE, 0, 0, bytes(5))],
    ids=["settings", "ping", "goaway", "priority update"],
)  # fmt: skip
def test_frames_of_the_connection_have_no_stream(got: bytes) -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1), got[:5] + b"\0\0\0\1" + got[9:])
    assert ended_with(talk, ErrorCode.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    "got",
    [
        data(0, b"x"),
        request(0),
        headers(0, block(GET), whole=False),
        priority(0, 1),
        reset(0),
        continuation(0, b""),
    ],
    ids=["DATA", "HEADERS", "half of HEADERS", "PRIORITY", "RST_STREAM", "CONTINUATION"],
)
def test_frames_of_a_stream_have_one(got: bytes) -> None:
    talk = Http2Conversation()
    talk.send(got)
    assert ended_with(talk, ErrorCode.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    ("got", "code"),
    [
        (frame(RST_STREAM, 0, 1, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
        (frame(RST_STREAM, 0, 1, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
        (frame(WINDOW_UPDATE, 0, 1, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
        (frame(PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
        (frame(PING, ACK, 0, bytes(9)), ErrorCode.FRAME_SIZE_ERROR),
        (frame(GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
        (frame(SETTINGS, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
        (frame(SETTINGS, ACK, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
        (frame(PUSH_PROMISE, 0x4, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_frames_of_another_length_or_side_are_errors(got: bytes, code: ErrorCode) -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1), got)
    assert ended_with(talk, code)


# --- field sections (section 4.3) -----------------------------------------------------------------


def test_a_section_may_be_continued_in_any_pieces() -> None:
    section = block({**GET, "x": "y" * 100})
    talk = Http2Conversation()
    pieces = [section[:0], section[:1], section[1:2], b"", section[2:]]
    talk.send(
        headers(1, pieces[0], end=True, whole=False),
        *(continuation(1, piece, whole=False) for piece in pieces[1:4]),
        continuation(1, pieces[4]),
    )
    assert talk.requests[0].header(b"x") == b"y" * 100
    assert talk.replies[1].ended


def test_a_section_that_is_continued_may_end_its_stream_or_not() -> None:
    section = block({**GET, ":method": "POST"})
    talk = Http2Conversation()
    talk.send(headers(1, section[:5], end=False, whole=False), continuation(1, section[5:]))
    assert talk.requests == []
    talk.send(data(1, b"body", end=True))
    assert talk.requests[0].body == b"body"


def test_padding_and_priority_of_a_section_are_no_part_of_it() -> None:
    section = block(GET)
    talk = Http2Conversation()
    talk.send(headers(1, section[:5], whole=False, pad=20, depends=0), continuation(1, section[5:]))
    assert talk.replies[1].status == 200


@pytest.mark.parametrize(
    "between",
    [ping(), data(1, b"x"), continuation(3, b""), request(3), frame(0x77, 0, 1, b"")],
    ids=["PING", "DATA", "another stream's", "HEADERS", "unknown"],
)
def test_nothing_may_come_between(between: bytes) -> None:
    talk = Http2Conversation()
    talk.send(headers(1, block(GET), whole=False), between)
    assert ended_with(talk, ErrorCode.PROTOCOL_ERROR)


@pytest.mark.parametrize("stream", [1, 3])
def test_there_is_no_continuation_of_nothing(stream: int) -> None:
    talk = Http2Conversation()
    talk.send(request(1), continuation(stream, b""))
    assert ended_with(talk, ErrorCode.PROTOCOL_ERROR)


def test_a_section_without_an_end_is_bounded() -> None:
    talk = Http2Conversation()
    talk.send(headers(1, b"", whole=False))
    for _ in range(100):
        talk.send(continuation(1, bytes(16_000), whole=False))
        if talk.error is not None:
            break
    assert ended_with(talk, ErrorCode.ENHANCE_YOUR_CALM)
    assert talk.exchanges == []


def test_so_is_one_of_empty_pieces() -> None:
    talk = Http2Conversation()
    talk.send(headers(1, block(GET), whole=False))
    talk.send(*[continuation(1, b"", whole=False)] * 1001)
    assert ended_with(talk, ErrorCode.ENHANCE_YOUR_CALM)


def test_what_cannot_be_decoded_ends_the_connection() -> None:
    talk = Http2Conversation()
    talk.send(headers(1, b"\xff\xff\xff\xff\xff\xff"))
    assert ended_with(talk, ErrorCode.COMPRESSION_ERROR)


def test_a_refused_section_keeps_the_table_in_step() -> None:
    indexed = b"\x40\x01x\x05value"  # a literal that joins the table
    talk = Http2Conversation(hold, options=Http2Options(max_streams=1))
    talk.send(request(1), headers(3, block(GET) + indexed), reset(1))
    talk.send(headers(5, block(GET) + b"\xbf"))  # behind this one's :authority
    assert talk.replies[3].reset == ErrorCode.REFUSED_STREAM
    assert talk.exchanges[1].head.header(b"x") == b"value"


@pytest.mark.parametrize("pad", [0, 1, 255])
def test_headers_may_be_padded(pad: int) -> None:
    talk = Http2Conversation()
    talk.send(headers(1, block(GET), pad=pad))
    assert talk.replies[1].status == 200


def test_more_padding_than_frame_is_an_error() -> None:
    talk = Http2Conversation()
    talk.send(frame(HEADERS, 0x0D, 1, b"\xff" + block(GET)))
    assert ended_with(talk, ErrorCode.PROTOCOL_ERROR)


def test_headers_may_have_a_priority() -> None:
    talk = Http2Conversation()
    talk.send(headers(3, block(GET), depends=1))
    assert talk.replies[3].status == 200


@pytest.mark.parametrize("pad", [None, 3])
def test_but_not_depend_on_themselves(pad: int | None) -> None:
    talk = Http2Conversation()
    talk.send(headers(3, block(GET), depends=3, pad=pad))
    assert talk.exchanges == []
    assert talk.error == ErrorCode.PROTOCOL_ERROR or talk.replies[3].reset is not None


# --- streams (section 5.1) ------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [2, 4, 0x7FFF_FFFE])
def test_a_clients_stream_is_odd(stream: int) -> None:
    talk = Http2Conversation()
    talk.send(request(stream))
    assert ended_with(talk, ErrorCode.PROTOCOL_ERROR)


def test_streams_may_be_skipped() -> None:
    talk = Http2Conversation()
    talk.send(request(7), request(0x7FFF_FFFF))
    assert [talk.replies[each].status for each in (7, 0x7FFF_FFFF)] == [200, 200]


@pytest.mark.parametrize("skipped", [1, 3, 5, 9])
def test_a_skipped_stream_is_not_opened_any_more(skipped: int) -> None:
    talk = Http2Conversation()
    talk.send(request(7), request(11), request(skipped))
    assert ended_with(talk, ErrorCode.PROTOCOL_ERROR)


def test_a_stream_is_not_opened_twice() -> None:
    talk = Http2Conversation()
    talk.send(request(1), request(1))
    assert ended_with(talk, ErrorCode.STREAM_CLOSED)


@pytest.mark.parametrize("stream", [3, 2, 0x7FFF_FFFF])
@pytest.mark.parametrize("make", [data, reset, lambda stream: window_update(stream, 1)])
def test_an_idle_stream_takes_only_headers_and_priority(make, stream: int) -> None:
    talk = Http2Conversation()
    talk.send(request(1), make(stream))
    assert ended_with(talk, ErrorCode.PROTOCOL_ERROR)


@pytest.mark.parametrize("got", [window_update(3, 0), priority(3, 3)], ids=["window", "priority"])
def test_an_idle_stream_is_not_reset(got: bytes) -> None:
    talk = Http2Conversation()
    talk.send(request(1), got)
    assert talk.of_kind(RST_STREAM) == []
    assert ended_with(talk, ErrorCode.PROTOCOL_ERROR)


def test_a_closed_stream_takes_windows_resets_and_priorities() -> None:
    talk = Http2Conversation()
    talk.send(request(1))
    assert talk.send(window_update(1, 5), reset(1), priority(1, 0)) == []
    assert talk.state == "open"


def test_a_closed_stream_takes_no_data() -> None:
    talk = Http2Conversation()
    talk.send(request(1), data(1, b"x"))
    assert ended_with(talk, ErrorCode.STREAM_CLOSED)


def test_neither_does_one_its_client_has_reset() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1, "POST", end=False), reset(1), data(1, b"x"))
    assert ended_with(talk, ErrorCode.STREAM_CLOSED)


def test_frames_on_their_way_to_a_stream_we_have_reset_do_no_harm() -> None:
    talk = Http2Conversation(lambda exchange: exchange.start(413, [], b"no"))
    talk.send(request(1, "POST", end=False))
    assert talk.replies[1].reset == ErrorCode.NO_ERROR
    trailers = headers(1, block({"x": "y"}))
    assert talk.send(data(1, b"x"), window_update(1, 9), trailers, reset(1)) == []
    talk.send(request(3))
    assert talk.replies[3].status == 413


@pytest.mark.parametrize(
    "then", [window_update(1, 0), frame(PRIORITY, 0, 1, bytes(4))], ids=["window", "priority"]
)
def test_a_stream_is_not_reset_twice(then: bytes) -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1, "POST", end=False), window_update(1, 0), then)
    assert [each.stream for each in talk.of_kind(RST_STREAM)] == [1]


def test_uploads_that_are_refused_at_once_do_not_cost_the_connection() -> None:
    talk = Http2Conversation(lambda exchange: exchange.start(413, [], b"no"))
    for stream in range(1, 401, 2):
        talk.send(request(stream, "POST", end=False))
        talk.send(*[data(stream, bytes(16_384))] * 15)
    assert talk.error is None
    assert all(reply.status == 413 for reply in talk.replies.values())


def test_but_a_flood_of_nothing_on_them_does() -> None:
    talk = Http2Conversation(lambda exchange: exchange.start(413, [], b"no"))
    talk.send(request(1, "POST", end=False), *[data(1)] * 1001)
    assert ended_with(talk, ErrorCode.ENHANCE_YOUR_CALM)


def test_there_are_no_more_streams_at_a_time_than_we_said() -> None:
    talk = Http2Conversation(hold, options=Http2Options(max_streams=2))
    talk.send(request(1), request(3), request(5))
    assert talk.replies == {5: talk.replies[5]}
    assert talk.replies[5].reset == ErrorCode.REFUSED_STREAM
    assert len(talk.exchanges) == 2


def test_a_stream_that_ends_makes_room() -> None:
    talk = Http2Conversation(hold, options=Http2Options(max_streams=1))
    talk.send(request(1), reset(1), request(3))
    assert len(talk.exchanges) == 2
    assert talk.of_kind(RST_STREAM) == []


def test_priorities_are_taken_and_not_followed() -> None:
    talk = Http2Conversation()
    assert talk.send(priority(1, 3), priority(9, 0), priority(2, 1)) == []
    assert talk.send(frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\1u=1")) == []


@pytest.mark.parametrize("size", [0, 4, 6])
def test_a_priority_of_another_length_ends_its_stream(size: int) -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1), request(3), frame(PRIORITY, 0, 1, bytes(size)))
    assert talk.error in (None, ErrorCode.FRAME_SIZE_ERROR)
    assert talk.error is not None or talk.replies[1].reset == ErrorCode.FRAME_SIZE_ERROR


# --- settings (section 6.5.3) ---------------------------------------------------------------------


def test_each_settings_frame_is_acknowledged() -> None:
    talk = Http2Conversation()
    assert talk.send(settings({}), settings({0x99: 1})) == [Frame(SETTINGS, ACK, 0, b"")] * 2


def test_illegal_settings_end_the_connection() -> None:
    talk = Http2Conversation()
    talk.send(settings({0x5: 1}))
    assert ended_with(talk, ErrorCode.PROTOCOL_ERROR)


def test_a_frame_is_no_larger_than_the_peer_takes() -> None:
    talk = Http2Conversation(lambda exchange: exchange.start(200, [], bytes(60_000)))
    talk.send(request(1))
    assert max(len(each.payload) for each in talk.of_kind(DATA)) == 16_384


def test_a_peer_may_take_larger_frames() -> None:
    talk = Http2Conversation(
        lambda exchange: exchange.start(200, [], bytes(60_000)), values={0x5: 30_000}
    )
    talk.send(request(1))
    assert max(len(each.payload) for each in talk.of_kind(DATA)) == 30_000


def test_a_long_head_is_continued() -> None:
    talk = Http2Conversation(lambda exchange: exchange.start(200, [(b"x", b"y" * 40_000)], b"z"))
    talk.send(request(1))
    assert [each.kind for each in talk.frames] == [HEADERS, CONTINUATION, CONTINUATION, DATA]
    assert talk.replies[1].header(b"x") == b"y" * 40_000


@pytest.mark.parametrize("size", [0, 100, 4096, 100_000])
def test_the_peers_table_is_no_larger_than_it_says(size: int) -> None:
    talk = Http2Conversation(lambda exchange: exchange.start(200, [(b"x", b"y" * 50)], b"z"))
    talk.send(request(1), settings({0x1: size}))
    talk._reader._decoder.max_allowed_table_size = size  # as the peer's is from its ack on
    talk.send(request(3), settings({0x1: 4096}))
    talk._reader._decoder.max_allowed_table_size = 4096
    talk.send(request(5))
    assert [talk.replies[each].header(b"x") for each in (1, 3, 5)] == [b"y" * 50] * 3


def test_settings_repeated_in_one_frame_are_bounded() -> None:
    talk = Http2Conversation(hold)
    many = settings([(0x4, 65535 - each % 2) for each in range(2730)])
    for _ in range(100):
        talk.send(many)
    assert ended_with(talk, ErrorCode.ENHANCE_YOUR_CALM)


# --- ping, floods ---------------------------------------------------------------------------------


def test_a_ping_is_answered_with_what_it_said() -> None:
    talk = Http2Conversation()
    assert talk.send(ping(b"abcdefgh")) == [Frame(PING, ACK, 0, b"abcdefgh")]


def test_an_answer_to_a_ping_is_not() -> None:
    talk = Http2Conversation()
    assert talk.send(ping(ack=True), ping(b"leaving!", ack=True)) == []


def test_frames_caused_by_one_segment_leave_in_one_write() -> None:
    talk = Http2Conversation()
    writes: list[bytes] = []
    talk.transport.write = writes.append  # type: ignore[method-assign,assignment]
    talk.feed(request(1) + ping() + request(3) + settings({}))
    assert len(writes) == 1


@pytest.mark.parametrize(
    "flood",
    [
        ping(),
        ping(ack=True),
        settings({}),
        settings(),
        priority(1, 0),
        frame(0x77, 0, 0, b""),
        data(1),
        data(1, pad=10),
        reset(3),
    ],
    ids=[
        "PING", "PING answers", "SETTINGS", "acknowledgements", "PRIORITY", "unknown", "empty DATA",
        "padding", "resets",
    ],
)  # fmt: skip
def test_a_flood_of_what_carries_nothing_ends_the_connection(flood: bytes) -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1, "POST", end=False), request(3), reset(3))
    talk.send(*[flood] * 900)
    assert talk.error is None
    talk.send(*[flood] * 200)
    assert ended_with(talk, ErrorCode.ENHANCE_YOUR_CALM)


def test_a_flood_of_requests_that_are_refused_ends_the_connection() -> None:
    talk = Http2Conversation()
    for stream in range(1, 3001, 2):
        talk.send(request(stream, authority="a b"))
        if talk.error is not None:
            break
    assert ended_with(talk, ErrorCode.ENHANCE_YOUR_CALM)
    assert len(talk.replies) > 900


def test_rapid_resets_end_the_connection() -> None:
    talk = Http2Conversation(hold)
    for stream in range(1, 3001, 2):
        talk.send(request(stream), reset(stream))
        if talk.error is not None:
            break
    assert ended_with(talk, ErrorCode.ENHANCE_YOUR_CALM)
    assert 100 < len(talk.exchanges) <= 260


def test_a_browser_that_leaves_a_page_is_no_flood() -> None:
    talk = Http2Conversation(hold)
    streams = range(1, 201, 2)
    talk.send(*map(request, streams))
    talk.send(*map(reset, streams))
    assert talk.state == "open"
    assert talk.ended_once


def test_making_us_reset_is_no_way_around_that() -> None:
    talk = Http2Conversation(hold)
    for stream in range(1, 3001, 2):
        talk.send(request(stream), window_update(stream, 0))
        if talk.error is not None:
            break
    assert ended_with(talk, ErrorCode.ENHANCE_YOUR_CALM)
    assert len(talk.exchanges) <= 260


def test_many_good_requests_are_no_flood() -> None:
    talk = Http2Conversation()
    talk.send(*map(request, range(1, 6001, 2)))
    assert talk.error is None
    assert len(talk.requests) == 3000


def test_answers_without_a_body_do_not_pile_up_for_who_does_not_read() -> None:
    talk = Http2Conversation(lambda exchange: exchange.start(200, [(b"set-cookie", b"x" * 4000)]))
    talk.transport.peer_stops_reading()
    for stream in range(1, 8001, 2):
        talk.send(request(stream, "HEAD"))
    assert talk.transport.get_write_buffer_size() < 2 << 20


def test_nor_within_one_segment() -> None:
    talk = Http2Conversation(lambda exchange: exchange.start(308, [(b"location", b"x" * 4000)]))
    talk.transport.peer_stops_reading()
    talk.send(*[request(stream, "HEAD") for stream in range(1, 16001, 2)])
    assert talk.transport.get_write_buffer_size() < 2 << 20
    talk.run(talk.transport.peer_reads)
    talk.settle()
    assert [reply.status for reply in talk.replies.values()] == [308] * 8000


def test_and_are_sent_when_it_reads_again() -> None:
    talk = Http2Conversation(lambda exchange: exchange.start(200, [(b"set-cookie", b"x" * 4000)]))
    talk.transport.peer_stops_reading()
    for stream in range(1, 1001, 2):
        talk.send(request(stream, "HEAD"))
    talk.run(talk.transport.peer_reads)
    assert [reply.status for reply in talk.replies.values()] == [200] * 500


# --- the end --------------------------------------------------------------------------------------


def test_an_error_says_which_streams_were_taken_and_why() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(5), ping(b"short"))
    farewell = talk.frames[-1]
    assert farewell.number == 5
    assert farewell.payload[8:] == b"PING is not 8 bytes"


def test_an_error_ends_every_exchange_once() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1), request(3), request(5), data(0))
    assert talk.ended_once
    assert all(each.gone for each in talk.exchanges)


def test_nothing_is_heard_after_an_error() -> None:
    talk = Http2Conversation()
    talk.send(data(0), request(1))
    assert talk.send(request(3), ping()) == []
    assert talk.exchanges == []


def test_a_goaway_of_the_peer_ends_an_idle_connection() -> None:
    talk = Http2Conversation()
    talk.send(request(1))
    talk.send(goaway())
    assert talk.state == "closed"
    assert talk.transport.state == "open"  # its windows may be on their way: no reset for them
    talk.eof()
    assert talk.transport.state == "lost"


def test_what_it_had_begun_is_completed_first() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1), goaway())
    assert talk.state == "open"
    talk.run(lambda: talk.exchanges[0].start(200, [], b"late"))
    assert talk.replies[1].body == b"late"
    assert talk.state == "closed"


@pytest.mark.parametrize(
    "behind", [ping(), request(1), data(0), settings({})], ids=["PING", "GET", "DATA", "SETTINGS"]
)
def test_frames_behind_the_last_one_do_no_harm(behind: bytes) -> None:
    talk = Http2Conversation()
    talk.send(goaway(), behind)
    assert talk.state == "closed"
    assert talk.ended_once


@pytest.mark.parametrize("alpn", [None, "h2"], ids=["plain", "TLS"])
def test_a_peer_that_closes_its_side_is_gone(alpn: str | None) -> None:
    talk = Http2Conversation(hold, alpn=alpn)
    talk.send(request(1), request(3, "POST", end=False))
    talk.eof()
    assert talk.transport.state == "lost"
    assert all(each.gone for each in talk.exchanges)
    assert talk.ended_once


def test_a_peer_that_closes_its_side_with_nothing_open_is_gone() -> None:
    talk = Http2Conversation()
    talk.send(request(1))
    talk.eof()
    assert talk.transport.state == "lost"
    assert not talk.context.connections


def test_an_answer_of_the_same_turn_leaves_before_that() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1))
    talk.exchanges[0].start(200, [], b"hello")
    talk.eof()
    assert talk.replies[1].body == b"hello"


def test_an_answer_of_the_same_turn_leaves_before_a_cut() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1), request(3))
    talk.exchanges[0].refuse_for_now()
    talk.http2.cut()
    talk.settle()
    assert talk.replies[1].status == 503


def test_a_lost_connection_ends_every_exchange_once() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1), request(3, "POST", end=False), connect(5))
    talk.lose()
    assert all(each.gone for each in talk.exchanges)
    assert talk.ended_once
    assert not talk.context.connections


def test_an_application_that_answers_then_is_told_so() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1))
    talk.lose()
    with pytest.raises(OSError, match="disconnected"):
        talk.exchanges[0].start(200, [], b"late")


def test_a_handler_that_fails_is_a_500() -> None:
    def broken(exchange: Exchange) -> None:
        raise RuntimeError("no")

    talk = Http2Conversation(broken)
    talk.send(request(1), request(3))
    assert [talk.replies[each].status for each in (1, 3)] == [500, 500]
    assert talk.state == "open"


def test_exchanges_are_those_under_way() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1), request(3))
    assert list(talk.http2.exchanges) == talk.exchanges
    talk.run(lambda: talk.exchanges[0].start(200, [], bytes(100_000)))
    assert list(talk.http2.exchanges) == talk.exchanges[1:]


def test_it_says_what_it_is() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1))
    assert repr(talk.http2) == "<Http2Connection ('203.0.113.7', 50000) 1 streams>"
    talk.send(data(0))
    assert repr(talk.http2) == "<Http2Connection ('203.0.113.7', 50000) lingering>"


def whole(exchange: Exchange) -> None:
    exchange.start(200, [], b"hello")


def waiting(exchange: Exchange) -> None:
    exchange.start(200, [], bytes(100_000))


@pytest.mark.parametrize(
    ("handler", "then"),
    [
        (whole, b""),
        (waiting, window_update(0, 100_000) + window_update(1, 100_000)),
        (waiting, reset(1)),
        (hold, reset(1)),
        (hold, window_update(1, 0)),
        (lambda exchange: exchange.abort(), b""),
    ],
    ids=["answered", "answered later", "reset later", "reset", "broken", "aborted"],
)
def test_a_stream_that_is_over_needs_no_collector(handler, then: bytes) -> None:
    talk = Http2Conversation(handler)
    gc.collect()
    gc.disable()
    try:
        others = {id(each): each for each in _streams()}  # of other tests; held, so that ids hold
        talk.send(request(1, "POST", end=False), then)
        talk.exchanges.clear()
        talk.ends.clear()
        assert [each for each in _streams() if id(each) not in others] == []
    finally:
        gc.enable()


def _streams() -> list[object]:
    return [each for each in gc.get_objects() if isinstance(each, Http2Stream | Exchange)]
