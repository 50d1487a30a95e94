"""SETTINGS, theirs and ours (RFC 9113, section 6.5)."""

from __future__ import annotations

from struct import pack

import pytest

from gateway.protocols.http2_errors import ErrorCode, Http2Error
from gateway.protocols.http2_settings import Http2Options, read_settings

from .http2_harness import read_values


def test_our_settings_say_what_the_options_do() -> None:
    options = Http2Options(
        max_streams=7, initial_window=70_000, max_frame=20_000, max_header_list=9_000
    )
    assert dict(read_values(options.payload())) == {
        0x3: 7,
        0x4: 70_000,
        0x5: 20_000,
        0x6: 9_000,
        0x8: 1,  # extended CONNECT, RFC 8441
        0x9: 1,  # no priorities, RFC 9218
    }


def test_our_settings_are_legal_themselves() -> None:
    assert len(list(read_settings(Http2Options().payload()))) == 6


def test_settings_are_given_in_order_and_unknown_ones_too() -> None:
    pairs = [(0x4, 1), (0x4, 2), (0xFA, 0xFFFF_FFFF), (0x1, 0)]
    assert list(read_settings(b"".join(pack(">HL", *pair) for pair in pairs))) == pairs


def test_no_settings_are_legal() -> None:
    assert list(read_settings(b"")) == []


@pytest.mark.parametrize("size", [1, 5, 7, 11])
def test_a_payload_of_another_length_is_an_error(size: int) -> None:
    with pytest.raises(Http2Error) as error:
        list(read_settings(bytes(size)))
    assert error.value.code is ErrorCode.FRAME_SIZE_ERROR


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (0x1, 0xFFFF_FFFF),
        (0x2, 0),
        (0x2, 1),
        (0x3, 0),
        (0x4, 0),
        (0x4, 0x7FFF_FFFF),
        (0x5, 0x4000),
        (0x5, 0xFF_FFFF),
        (0x6, 0),
        (0x8, 0),
        (0x8, 1),
    ],
)
def test_values_at_the_edge_are_taken(name: int, value: int) -> None:
    assert list(read_settings(pack(">HL", name, value))) == [(name, value)]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        (0x2, 2, ErrorCode.PROTOCOL_ERROR),
        (0x4, 0x8000_0000, ErrorCode.FLOW_CONTROL_ERROR),
        (0x5, 0x3FFF, ErrorCode.PROTOCOL_ERROR),
        (0x5, 0x100_0000, ErrorCode.PROTOCOL_ERROR),
        (0x8, 2, ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_values_beyond_it_are_errors(name: int, value: int, code: ErrorCode) -> None:
    with pytest.raises(Http2Error) as error:
        list(read_settings(pack(">HL", name, value)))
    assert error.value.code is code
