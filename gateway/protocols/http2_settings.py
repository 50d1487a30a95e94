"""SETTINGS, theirs and ours (RFC 9113, section 6.5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import iter_unpack, pack
from typing import Final

from gateway.protocols.http2_errors import ErrorCode, Http2Error

__all__ = [
    "ENABLE_PUSH",
    "HEADER_TABLE_SIZE",
    "INITIAL_WINDOW_SIZE",
    "MAX_FRAME_SIZE",
    "Http2Options",
    "read_settings",
]

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS = 0x1, 0x2, 0x3
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 0x4, 0x5, 0x6
ENABLE_CONNECT_PROTOCOL: Final = 0x8  # RFC 8441, section 3
NO_RFC7540_PRIORITIES: Final = 0x9  # RFC 9218, section 2.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Http2Options:
    """What we tell every peer.

    max_streams: requests at a time on one connection. 128, as nginx; the RFC advises 100 or more.
    initial_window: bytes of one request's body that may be on their way before the application
        takes them. 256 KiB: 20 Mbit/s at 100 ms. A connection whose bodies nobody reads can hold
        `max_streams` times as much. granian 1 MiB, h2 and Go's clients 64 KiB.
    max_frame: bytes of the largest frame; 16 KiB, the smallest the RFC allows: a stream that sends
        keeps the others waiting for no more than one.
    max_header_list: bytes of a request's fields, each with 32 more (section 6.5.2).
    """

    max_streams: int = 128
    initial_window: int = 256 * 1024
    max_frame: int = 16 * 1024
    max_header_list: int = 64 * 1024

    def payload(self) -> bytes:
        """Of our SETTINGS frame."""
        settings = (
            (MAX_CONCURRENT_STREAMS, self.max_streams),
            (INITIAL_WINDOW_SIZE, self.initial_window),
            (MAX_FRAME_SIZE, self.max_frame),
            (MAX_HEADER_LIST_SIZE, self.max_header_list),
            (ENABLE_CONNECT_PROTOCOL, 1),
            # Streams take turns here; a tree of weights would be ignored.
            (NO_RFC7540_PRIORITIES, 1),
        )
        return b"".join([pack(">HL", *setting) for setting in settings])


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """The (identifier, value) pairs of a peer's SETTINGS, in order, each found legal."""
    if len(payload) % 6:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS is not a list of settings")
    for name, value in iter_unpack(">HL", payload):
        if name == ENABLE_PUSH and value > 1:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
        if name == INITIAL_WINDOW_SIZE and value > 0x7FFF_FFFF:
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is too large")
        if name == MAX_FRAME_SIZE and not 0x4000 <= value <= 0xFF_FFFF:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of its range")
        if name == ENABLE_CONNECT_PROTOCOL and value > 1:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "ENABLE_CONNECT_PROTOCOL is neither 0 nor 1")
        if name == NO_RFC7540_PRIORITIES and value > 1:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "NO_RFC7540_PRIORITIES is neither 0 nor 1")
        yield name, value
