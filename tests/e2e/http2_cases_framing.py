"""RFC 9113, sections 3 and 4: prefaces, frames, header blocks."""

from __future__ import annotations

from collections.abc import Iterator

from http2_client import (
    PREFACE,
    ErrorCode,
    Http2Client,
    Type,
    continuation,
    data,
    frame,
    goaway,
    headers,
    ping,
    priority,
    rst_stream,
    settings,
    window_update,
)

from e2e.http2_cases_model import (
    CLOSED,
    IGNORED,
    OK,
    Case,
    Requests,
    block,
    ends,
    fails,
    opening,
    reset_seen,
)

__all__ = ["frames", "starts"]

PROTOCOL = ErrorCode.PROTOCOL_ERROR
SIZE = ErrorCode.FRAME_SIZE_ERROR
GONE = ErrorCode.STREAM_CLOSED
COMPRESSION = ErrorCode.COMPRESSION_ERROR
TOO_LONG = 16385
UNKNOWN = 0x16


def starts(r: Requests) -> Iterator[Case]:
    good = opening()
    get = r.get(1)

    def byte_by_byte(client: Http2Client) -> None:
        for byte in good + get:
            client.send(bytes([byte]))

    def read_out(client: Http2Client) -> None:
        """Not frames: a plain listener takes a broken preface for HTTP/1.1."""
        try:
            while client.socket.recv(4096):
                pass
        except ConnectionError:
            pass

    yield Case("3.5/1 a client's preface", (good,), IGNORED, raw=True)
    broken = b"INVALID CONNECTION PREFACE\r\n\r\n"
    yield Case("3.5/2 a preface that is none", (broken, read_out), CLOSED, raw=True)
    yield Case("3.4 a request in the preface's segment", (good + get,), OK, raw=True)
    yield Case("3.4 byte by byte", (byte_by_byte,), OK, raw=True)
    wrong = PREFACE[:-4] + b"\r\r\r\r"
    yield Case("3.4 a preface with a wrong end", (wrong, read_out), CLOSED, raw=True)
    for name, first in (
        ("PING", ping()),
        ("HEADERS", get),
        ("an acknowledgment", settings(ack=True)),
        ("an unknown frame", frame(UNKNOWN, 0, 0, b"x")),
        ("WINDOW_UPDATE", window_update(0, 1)),
    ):
        yield Case(f"3.4 {name} before SETTINGS", (PREFACE + first,), ends(PROTOCOL), raw=True)
    yield Case("3.4 the preface twice", (PREFACE,), ends(PROTOCOL, SIZE))


def frames(r: Requests) -> Iterator[Case]:
    post, half = r.post(1), r.block()
    yield Case("4.1/1 a frame of unknown type", (frame(UNKNOWN, 0, 0, bytes(8)),), IGNORED)
    yield Case("4.1/2 PING with undefined flags", (frame(Type.PING, 0x16, 0, bytes(8)),), IGNORED)
    yield Case(
        "4.1/3 PING with the reserved bit", (frame(Type.PING, 0, 1 << 31, bytes(8)),), IGNORED
    )
    yield Case("4.1 HEADERS with undefined flags", (headers(1, half, end=True, flags=0xD2),), OK)
    yield Case("4.1 DATA with undefined flags", (post, data(1, b"x", end=True, flags=0xF6)), OK)
    yield Case("4.1 HEADERS with the reserved bit", (r.get(1 | 1 << 31),), OK)
    yield Case("4.1 SETTINGS with undefined flags", (frame(Type.SETTINGS, 0xFE, 0, b""),), IGNORED)
    yield Case("4.1 an unknown frame on an idle stream", (frame(UNKNOWN, 255, 99, b"x"),), IGNORED)
    yield Case(
        "4.1 unknown frames between those of a request",
        (post, frame(UNKNOWN, 1, 1, b"x"), data(1, b"x"), frame(0xFF, 1, 1), data(1, end=True)),
        OK,
    )
    yield Case("4.2/1 DATA of 16384 bytes", (post, data(1, bytes(16384), end=True)), OK)
    yield Case("4.2/2 DATA of 16385 bytes", (post, data(1, bytes(TOO_LONG), end=True)), fails(SIZE))
    large = r.block("/", ("x-large", "x" * 20_000))
    yield Case("4.2/3 HEADERS longer than allowed", (headers(1, large, end=True),), ends(SIZE))
    for type_, stream in (
        (Type.HEADERS, 1),
        (Type.SETTINGS, 0),
        (Type.PING, 0),
        (Type.GOAWAY, 0),
        (Type.PUSH_PROMISE, 1),
    ):
        # Only the head: who waits for the payload can be made to wait with 9 bytes, and to buffer.
        sent = frame(type_, 0, stream, b"", length=0xFFFFFF)
        yield Case(f"4.2 the head of {type_.name} of 16 MiB", (sent,), ends(SIZE, PROTOCOL))
    sent = frame(UNKNOWN, 0, 0, b"", length=TOO_LONG)
    yield Case("4.2 the head of an unknown frame too long", (sent,), ends(SIZE))
    many = b"".join(continuation(1, b"", end_headers=False) for _ in range(3)) + continuation(
        1, half
    )
    yield Case("4.3 empty fragments", (headers(1, b"", end=True, end_headers=False) + many,), OK)
    yield Case("4.3/1 a broken header block", (headers(1, b"\x40", end=True),), ends(COMPRESSION))
    begun = headers(1, half, end=True, end_headers=False)
    yield Case("4.3/2 PRIORITY within a header block", (begun + priority(1),), ends(PROTOCOL))
    yield Case("4.3/3 HEADERS of another stream within one", (begun + r.get(3),), ends(PROTOCOL))
    for name, other in (
        ("DATA", data(1, b"x")),
        ("SETTINGS", settings()),
        ("PING", ping()),
        ("WINDOW_UPDATE", window_update(0, 1)),
        ("RST_STREAM", rst_stream(1)),
        ("GOAWAY", goaway()),
        ("an unknown frame", frame(UNKNOWN, 0, 0)),
    ):
        yield Case(f"4.3 {name} within a header block", (begun + other,), ends(PROTOCOL))
    added = b"\x40\x06x-kept\x03yes"
    uses = headers(3, half + b"\xbe", end=True)  # index 62, the entry made last
    bad = headers(1, block([*r.fields(), ("X-UPPER", "x")]) + added, end=True)
    yield Case(
        "4.3 the table survives a malformed request", (bad, reset_seen(1), uses), OK, stream=3
    )
    late = headers(1, added, end=True)
    yield Case(
        "4.3 the table survives trailers after RST_STREAM",
        (post, rst_stream(1), late, uses),
        OK | ends(GONE),
        stream=3,
    )
    broken = headers(1, b"\xff\xff\xff\xff\x0f", end=True)
    yield Case("4.3 broken trailers", (post, broken), ends(COMPRESSION))
    yield Case(
        "4.3 a broken block on a reset stream",
        (post, rst_stream(1), broken),
        ends(COMPRESSION, GONE),
    )
    yield Case(
        "4.3 a block that ends in CONTINUATION's middle",
        (headers(1, half, end=True, end_headers=False) + continuation(1, b"\x40\x03x-"),),
        ends(COMPRESSION),
    )
