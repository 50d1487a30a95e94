"""HTTP/2's frames in bytes (RFC 9113, sections 4.1 and 6)."""

from __future__ import annotations

from struct import Struct
from typing import Final

from gateway.protocols.http2_errors import ErrorCode, Http2Error

__all__ = [
    "ACK",
    "CONTINUATION",
    "DATA",
    "END_HEADERS",
    "END_STREAM",
    "FRAME_HEADER",
    "GOAWAY",
    "HEADERS",
    "PADDED",
    "PING",
    "PREFACE",
    "PRIORITY",
    "PRIORITY_FLAG",
    "PRIORITY_UPDATE",
    "PUSH_PROMISE",
    "RST_STREAM",
    "SETTINGS",
    "WINDOW_UPDATE",
    "frame",
    "goaway",
    "header_frames",
    "headers_and_data",
    "rst_stream",
    "uint31",
    "unpadded",
    "window_update",
]

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first (RFC 9113, section 3.4)."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0x0, 0x1, 0x2, 0x3, 0x4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0x5, 0x6, 0x7, 0x8, 0x9
PRIORITY_UPDATE: Final = 0x10  # RFC 9218, section 7.1

END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY_FLAG = 0x1, 0x1, 0x4, 0x8, 0x20

FRAME_HEADER: Final = Struct(">HBBBL")
"""Length in two parts (its upper 16 bits, its lower 8), type, flags, stream."""

_header = FRAME_HEADER.pack


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame; `payload` is not longer than the peer's largest frame."""
    size = len(payload)
    return _header(size >> 8, size & 0xFF, kind, flags, stream) + payload


def header_frames(stream: int, block: bytes, largest: int, *, ends: bool) -> bytes:
    """A field section: HEADERS, with CONTINUATION where it is longer than `largest` bytes."""
    flag = END_STREAM if ends else 0
    size = len(block)
    if size <= largest:
        return _header(size >> 8, size & 0xFF, HEADERS, END_HEADERS | flag, stream) + block
    pieces = [block[at : at + largest] for at in range(0, size, largest)]
    frames = [frame(HEADERS, flag, stream, pieces[0])]
    frames += [frame(CONTINUATION, 0, stream, piece) for piece in pieces[1:-1]]
    frames.append(frame(CONTINUATION, END_HEADERS, stream, pieces[-1]))
    return b"".join(frames)


def headers_and_data(stream: int, block: bytes, data: bytes, *, ends: bool) -> bytes:
    """A field section and the first data behind it; neither is longer than the largest frame."""
    size, length = len(block), len(data)
    return (
        _header(size >> 8, size & 0xFF, HEADERS, END_HEADERS, stream)
        + block
        + _header(length >> 8, length & 0xFF, DATA, END_STREAM if ends else 0, stream)
        + data
    )


def rst_stream(stream: int, code: ErrorCode) -> bytes:
    """End a stream at once."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def goaway(last: int, code: ErrorCode, reason: str = "") -> bytes:
    """Take no stream after `last`."""
    numbers = last.to_bytes(4, "big") + code.to_bytes(4, "big")
    return frame(GOAWAY, 0, 0, numbers + reason.encode())


def window_update(stream: int, size: int) -> bytes:
    """Let the peer send `size` bytes more."""
    return frame(WINDOW_UPDATE, 0, stream, size.to_bytes(4, "big"))


def uint31(payload: bytes) -> int:
    """31 bits, behind one that is reserved."""
    return int.from_bytes(payload[:4], "big") & 0x7FFF_FFFF


def unpadded(payload: bytes, flags: int) -> bytes:
    """The payload of DATA or HEADERS without padding and priority (sections 6.1 and 6.2)."""
    start, padding = 0, 0
    if flags & PADDED:
        if not payload:
            raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a padded frame without its pad length")
        start, padding = 1, payload[0]
    if flags & PRIORITY_FLAG:
        start += 5
    if start > len(payload):
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a frame is too short for its flags")
    end = len(payload) - padding
    if start > end:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "the padding is longer than its frame")
    return payload[start:end]
