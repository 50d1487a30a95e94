"""Frames as a client sends them, and what each rule of RFC 6455, section 5, says about them."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from gateway.websocket.codec import Codec, Frame
from gateway.websocket.codec_websockets import WebsocketsCodec
from gateway.websocket.codec_wsproto import WsprotoCodec
from gateway.websocket.deflate import Deflate
from gateway.websocket.extensions import parse_offers
from gateway.websocket.frames import FrameCodec

CODECS: list[type[Codec]] = [FrameCodec, WsprotoCodec, WebsocketsCodec]
every_codec = pytest.mark.parametrize("codec", CODECS)

LIMIT = 70_000
KEY = b"\x37\xfa\x21\x3d"


def masked(first: int, payload: bytes = b"", length: bytes | None = None, key: bytes = KEY):
    """A client's frame; `length` replaces the shortest form of the length."""
    size = len(payload)
    if length is None:
        if size < 126:
            length = bytes([size])
        elif size < 65536:
            length = b"\x7e" + size.to_bytes(2, "big")
        else:
            length = b"\x7f" + size.to_bytes(8, "big")
    body = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    return bytes([first, length[0] | 0x80]) + length[1:] + key + body


def outcome(codec: type[Codec], *pieces: bytes, rsv1: bool = False, limit: int = LIMIT):
    """(frames, the violation's (code, reason) or None) after one `receive` for each piece."""
    reader = codec(limit=limit, rsv1=rsv1)
    frames: list[Frame] = []
    for piece in pieces:
        frames += reader.receive(piece)
    broken = reader.violation
    return frames, None if broken is None else (broken.code, broken.reason)


def inflated(deflate: Deflate, *payloads: bytes, limit: int = 1 << 20) -> bytes:
    """One message out of its frames' payloads."""
    last = len(payloads) - 1
    return b"".join(
        deflate.inflate(payload, fin=index == last, limit=limit)
        for index, payload in enumerate(payloads)
    )


def agreed(*offers: bytes) -> Deflate:
    deflate = Deflate.negotiate(parse_offers(offers))
    assert deflate is not None
    return deflate


class Sample(NamedTuple):
    """Bytes; the frames in them as (opcode, payload, fin, rsv1); the close code or None."""

    name: str
    data: bytes
    frames: list[tuple[int, bytes, bool, bool]]
    code: int | None = None
    rsv1: bool = False


def _frame(opcode: int, payload: bytes = b"", fin: bool = True, rsv1: bool = False):
    return (opcode, payload, fin, rsv1)


def _valid() -> list[Sample]:
    samples = [
        Sample("the RFC's masked Hello", bytes.fromhex("818537fa213d7f9f4d5158"), [_frame(1, b"Hello")]),
        Sample("empty text", masked(0x81), [_frame(1)]),
        Sample("empty binary", masked(0x82), [_frame(2)]),
        Sample("empty close", masked(0x88), [_frame(8)]),
        Sample("close with code", masked(0x88, b"\x03\xe8bye"), [_frame(8, b"\x03\xe8bye")]),
        Sample("key of zeros", masked(0x82, b"abc", key=bytes(4)), [_frame(2, b"abc")]),
        Sample("two frames", masked(0x81, b"a") + masked(0x82, b"b"), [_frame(1, b"a"), _frame(2, b"b")]),
        Sample("fragments", masked(1, b"a") + masked(0, b"b") + masked(0x80, b"c"),
               [_frame(1, b"a", fin=False), _frame(0, b"b", fin=False), _frame(0, b"c")]),
        Sample("empty fragments", masked(2) + masked(0) + masked(0x80),
               [_frame(2, fin=False), _frame(0, fin=False), _frame(0)]),
        Sample("control frames between fragments",
               masked(1, b"a") + masked(0x89, b"p") + masked(0x8A, b"q") + masked(0x80, b"c"),
               [_frame(1, b"a", fin=False), _frame(9, b"p"), _frame(10, b"q"), _frame(0, b"c")]),
        Sample("close inside a message", masked(1, b"a") + masked(0x88),
               [_frame(1, b"a", fin=False), _frame(8)]),
        Sample("a message after fragments", masked(1) + masked(0x80) + masked(0x81, b"n"),
               [_frame(1, fin=False), _frame(0), _frame(1, b"n")]),
        Sample("compressed", masked(0xC1, b"z"), [_frame(1, b"z", rsv1=True)], rsv1=True),
        Sample("compressed binary", masked(0xC2, b"z"), [_frame(2, b"z", rsv1=True)], rsv1=True),
        Sample("compressed fragments", masked(0x41, b"y") + masked(0, b"z") + masked(0x80),
               [_frame(1, b"y", fin=False, rsv1=True), _frame(0, b"z", fin=False), _frame(0)], rsv1=True),
        Sample("plain where compression was agreed", masked(0x81, b"a"), [_frame(1, b"a")], rsv1=True),
        Sample("nothing", b"", []),
        Sample("half a header", b"\x81", []),
        Sample("half a key", masked(0x81, b"abc")[:5], []),
        Sample("all but the last byte", masked(0x81, b"abc")[:-1], []),
        Sample("exactly the limit", masked(0x82, bytes(LIMIT)), [_frame(2, bytes(LIMIT))]),
    ]  # fmt: skip
    for size in (1, 2, 3, 4, 5, 124, 125, 126, 127, 128, 255, 256, 1023, 1024, 1025, 65535, 65536):
        payload = bytes(index % 251 for index in range(size))
        samples.append(Sample(f"{size} bytes", masked(0x82, payload), [_frame(2, payload)]))
    for opcode in (8, 9, 10):
        payload = bytes(range(125))
        samples.append(
            Sample(
                f"125 bytes in control frame {opcode}",
                masked(0x80 | opcode, payload),
                [_frame(opcode, payload)],
            )
        )
    return samples


def _invalid() -> list[Sample]:
    long = bytes(126)
    samples = [
        Sample("unmasked text", b"\x81\x05Hello", [], 1002),
        Sample("unmasked empty", b"\x81\x00", [], 1002),
        Sample("unmasked close", b"\x88\x00", [], 1002),
        Sample("unmasked with long length", b"\x82\x7e\x01\x00" + bytes(256), [], 1002),
        Sample("unmasked and huge", b"\x82\x7f" + (1 << 62).to_bytes(8, "big"), [], 1002),
        Sample("continuation of nothing", masked(0x80, b"a"), [], 1002),
        Sample("open continuation of nothing", masked(0, b"a"), [], 1002),
        Sample("continuation after a whole message", masked(0x81, b"a") + masked(0x80, b"b"), [_frame(1, b"a")], 1002),
        Sample("continuation after the last fragment", masked(1) + masked(0x80) + masked(0x80),
               [_frame(1, fin=False), _frame(0)], 1002),
        Sample("text inside a message", masked(1, b"a") + masked(0x81, b"b"), [_frame(1, b"a", fin=False)], 1002),
        Sample("binary inside a message", masked(1, b"a") + masked(0x02, b"b"), [_frame(1, b"a", fin=False)], 1002),
        Sample("length 125 in 16 bits", masked(0x82, bytes(125), b"\x7e\x00\x7d"), [], 1002),
        Sample("length 0 in 16 bits", masked(0x82, b"", b"\x7e\x00\x00"), [], 1002),
        Sample("length 65535 in 64 bits", masked(0x82, bytes(65535), b"\x7f" + (65535).to_bytes(8, "big")), [], 1002),
        Sample("length 5 in 64 bits", masked(0x82, b"abcde", b"\x7f" + (5).to_bytes(8, "big")), [], 1002),
        Sample("length of 64 bits", masked(0x82, b"", b"\x7f\x80" + bytes(7)), [], 1002),
        Sample("one over the limit", masked(0x82, bytes(LIMIT + 1)), [], 1009),
        Sample("one over the limit, compressed", masked(0xC2, bytes(LIMIT + 1)), [], 1009, rsv1=True),
        Sample("over the limit in a continuation", masked(2) + masked(0x80, bytes(LIMIT + 1)), [_frame(2, fin=False)], 1009),
        Sample("announces 2^62 bytes", masked(0x82, b"", b"\x7f" + (1 << 62).to_bytes(8, "big")), [], 1009),
        Sample("rsv1 without agreement", masked(0xC1, b"a"), [], 1002),
        Sample("rsv1 on a continuation", masked(0x41, b"a") + masked(0xC0, b"b"), [_frame(1, b"a", fin=False, rsv1=True)], 1002, rsv1=True),
        Sample("rsv1 on a continuation of a plain message", masked(0x01, b"a") + masked(0x40, b"b"), [_frame(1, b"a", fin=False)], 1002, rsv1=True),
        Sample("rsv1 on text inside a message", masked(0x01, b"a") + masked(0xC1, b"b"), [_frame(1, b"a", fin=False)], 1002, rsv1=True),
        Sample("frames before it are kept", masked(0x81, b"a") + masked(0x89, b"p") + masked(0x83), [_frame(1, b"a"), _frame(9, b"p")], 1002),
        Sample("bytes after it are not read", masked(0x83) + masked(0x81, b"a"), [], 1002),
    ]  # fmt: skip
    samples += [
        Sample(f"reserved opcode {opcode:#x}", masked(0x80 | opcode), [], 1002)
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    ]
    for bit in (0x40, 0x20, 0x10, 0x30, 0x70):
        for opcode in (1, 2, 8, 9, 10):
            agreed = bit != 0x40 or opcode > 2
            samples.append(
                Sample(
                    f"reserved bits {bit:#x} on opcode {opcode:#x}",
                    masked(0x80 | bit | opcode, b""),
                    [],
                    1002,
                    rsv1=agreed,
                )
            )
    for opcode in (8, 9, 10):
        samples += [
            Sample(f"fragmented control frame {opcode:#x}", masked(opcode), [], 1002),
            Sample(f"fragmented control frame {opcode:#x} inside a message", masked(1) + masked(opcode), [_frame(1, fin=False)], 1002),
            Sample(f"126 bytes in control frame {opcode:#x}", masked(0x80 | opcode, long), [], 1002),
            Sample(f"64-bit length in control frame {opcode:#x}", masked(0x80 | opcode, b"", b"\x7f" + (1 << 62).to_bytes(8, "big")), [], 1002),
        ]  # fmt: skip
    return samples


VALID = _valid()
INVALID = _invalid()
EVERY = VALID + INVALID
