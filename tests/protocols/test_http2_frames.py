"""Frames in bytes; python-hyper's hyperframe reads what is written here."""

from __future__ import annotations

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    WindowUpdateFrame,
)

from gateway.protocols.http2_errors import ErrorCode, Http2Error
from gateway.protocols.http2_frames import (
    DATA,
    END_STREAM,
    PADDED,
    PRIORITY_FLAG,
    frame,
    goaway,
    header_frames,
    headers_and_data,
    rst_stream,
    uint31,
    unpadded,
    window_update,
)


def parsed(data: bytes) -> list[Frame]:
    frames: list[Frame] = []
    while data:
        got, length = Frame.parse_frame_header(memoryview(data[:9]))
        got.parse_body(memoryview(data[9 : 9 + length]))
        frames.append(got)
        data = data[9 + length :]
    return frames


@pytest.mark.parametrize("size", [0, 1, 255, 256, 16384, 65536, (1 << 24) - 1])
def test_a_frame_is_read_as_it_was_written(size: int) -> None:
    (got,) = parsed(frame(DATA, END_STREAM, 0x7FFF_FFFF, bytes(size)))
    assert isinstance(got, DataFrame)
    assert (got.stream_id, set(got.flags), len(got.data)) == (0x7FFF_FFFF, {"END_STREAM"}, size)


def test_a_section_of_the_largest_size_is_one_frame() -> None:
    (got,) = parsed(header_frames(1, b"x" * 100, 100, ends=False))
    assert isinstance(got, HeadersFrame)
    assert (got.data, set(got.flags)) == (b"x" * 100, {"END_HEADERS"})


def test_a_section_that_ends_its_stream_says_so() -> None:
    (got,) = parsed(header_frames(3, b"x", 100, ends=True))
    assert set(got.flags) == {"END_HEADERS", "END_STREAM"}


def test_an_empty_section_is_a_frame() -> None:
    (got,) = parsed(header_frames(3, b"", 100, ends=True))
    assert isinstance(got, HeadersFrame)
    assert got.data == b""


@pytest.mark.parametrize("size", [101, 200, 201, 1000])
def test_a_longer_section_is_continued(size: int) -> None:
    block = bytes(each % 251 for each in range(size))
    first, *others = parsed(header_frames(5, block, 100, ends=True))
    assert isinstance(first, HeadersFrame)
    assert set(first.flags) == {"END_STREAM"}
    assert all(isinstance(each, ContinuationFrame) for each in others)
    assert all(each.stream_id == 5 and len(each.data) <= 100 for each in [first, *others])
    assert b"".join(each.data for each in [first, *others]) == block
    assert [set(each.flags) for each in others] == [set()] * (len(others) - 1) + [{"END_HEADERS"}]


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("size", [1, 300, 16_384])
def test_a_section_and_data_may_be_made_at_once(ends: bool, size: int) -> None:
    head, body = parsed(headers_and_data(5, b"x" * 300, b"y" * size, ends=ends))
    assert isinstance(head, HeadersFrame)
    assert isinstance(body, DataFrame)
    assert (head.stream_id, head.data, set(head.flags)) == (5, b"x" * 300, {"END_HEADERS"})
    assert (body.stream_id, body.data) == (5, b"y" * size)
    assert set(body.flags) == ({"END_STREAM"} if ends else set())


def test_rst_stream_has_its_code() -> None:
    (got,) = parsed(rst_stream(7, ErrorCode.CANCEL))
    assert isinstance(got, RstStreamFrame)
    assert (got.stream_id, got.error_code) == (7, 8)


def test_goaway_has_the_last_stream_its_code_and_a_reason() -> None:
    (got,) = parsed(goaway(9, ErrorCode.ENHANCE_YOUR_CALM, "too much"))
    assert isinstance(got, GoAwayFrame)
    assert (got.last_stream_id, got.error_code, got.additional_data) == (9, 11, b"too much")


def test_window_update_has_its_size() -> None:
    (got,) = parsed(window_update(0, 0x7FFF_0000))
    assert isinstance(got, WindowUpdateFrame)
    assert (got.stream_id, got.window_increment) == (0, 0x7FFF_0000)


def test_the_reserved_bit_is_no_part_of_a_number() -> None:
    assert uint31(b"\xff\xff\xff\xfe rest") == 0x7FFF_FFFE


@pytest.mark.parametrize(
    ("payload", "flags", "content"),
    [
        (b"hello", 0, b"hello"),
        (b"\x00hello", PADDED, b"hello"),
        (b"\x02hello\x00\x00", PADDED, b"hello"),
        (b"\x05\x00\x00\x00\x00\x00", PADDED, b""),
        (b"\x00", PADDED, b""),
        (b"\x00\x00\x00\x01\x0fhello", PRIORITY_FLAG, b"hello"),
        (b"\x00\x00\x00\x01\x0f", PRIORITY_FLAG, b""),
        (b"\x01\x00\x00\x00\x01\x0fhello\x00", PADDED | PRIORITY_FLAG, b"hello"),
    ],
)
def test_padding_and_priority_are_taken_off(payload: bytes, flags: int, content: bytes) -> None:
    assert unpadded(payload, flags) == content


@pytest.mark.parametrize(
    ("payload", "flags", "code"),
    [
        (b"", PADDED, ErrorCode.FRAME_SIZE_ERROR),
        (b"\x00\x00\x00\x01", PRIORITY_FLAG, ErrorCode.FRAME_SIZE_ERROR),
        (b"\x00\x00\x00\x00\x01", PADDED | PRIORITY_FLAG, ErrorCode.FRAME_SIZE_ERROR),
        (b"\x01", PADDED, ErrorCode.PROTOCOL_ERROR),
        (b"\x05hell", PADDED, ErrorCode.PROTOCOL_ERROR),
        (b"\x01\x00\x00\x00\x01\x0f", PADDED | PRIORITY_FLAG, ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_a_frame_too_short_for_its_flags_is_an_error(
    payload: bytes, flags: int, code: ErrorCode
) -> None:
    with pytest.raises(Http2Error) as error:
        unpadded(payload, flags)
    assert error.value.code is code
