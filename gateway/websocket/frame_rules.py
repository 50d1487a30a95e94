"""The rules of one frame's header (RFC 6455, section 5.2 to 5.5), the same for every codec.

Which first bytes are legal depends on what came before, so they are a small state machine in
tables: `between` messages, or inside one. A byte that has no step is a violation, and only then
somebody asks which.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from gateway.websocket.codec import CLOSE, CONTINUATION, PING, PONG, Violation

__all__ = ["SHORT", "Header", "Steps", "between", "read_header"]

SHORT: Final = 125
"""The largest payload with a length in one byte, and of a control frame."""

_FIN, _RSV1, _RSV23, _OPCODE = 0x80, 0x40, 0x30, 0x0F
_MASKED, _LENGTH = 0x80, 0x7F
_CONTROL: Final = 0x8
_KEY: Final = 4

Steps: TypeAlias = "dict[int, tuple[int, bool, bool, Steps]]"
"""Legal first bytes of the next frame → its (opcode, fin, rsv1) and the steps after it."""


class Header(NamedTuple):
    """A frame's header, found legal.

    start, end: where its payload is in the data, in bytes; the masking key is just before `start`.
    """

    opcode: int
    fin: bool
    rsv1: bool
    after: Steps
    start: int
    end: int


def _tables(*, rsv1: bool) -> Steps:
    idle: Steps = {}
    inside: Steps = {}
    for opcode in (CLOSE, PING, PONG):
        idle[_FIN | opcode] = (opcode, True, False, idle)
        inside[_FIN | opcode] = (opcode, True, False, inside)
    inside[CONTINUATION] = (CONTINUATION, False, False, inside)
    inside[_FIN | CONTINUATION] = (CONTINUATION, True, False, idle)
    for opcode in (1, 2):
        for compressed in (False, True) if rsv1 else (False,):
            first = opcode | (_RSV1 if compressed else 0)
            idle[first] = (opcode, False, compressed, inside)
            idle[_FIN | first] = (opcode, True, compressed, idle)
    return idle


_PLAIN: Final = _tables(rsv1=False)
_COMPRESSED: Final = _tables(rsv1=True)


def between(*, rsv1: bool) -> Steps:
    """The steps where no message is under way; rsv1: permessage-deflate was agreed."""
    return _COMPRESSED if rsv1 else _PLAIN


def read_header(data: bytes | bytearray, at: int, steps: Steps, limit: int) -> Header | None:
    """The header that begins at `data[at]`, or None while it is incomplete.

    limit: the largest payload of a data frame, in bytes.

    Raises `Violation` as soon as the bytes that are there show one.
    """
    have = len(data) - at
    if have < 2:
        return None
    first, second = data[at], data[at + 1]
    step = steps.get(first)
    if step is None:
        raise Violation(1002, _explain(first, steps))
    if not second & _MASKED:
        raise Violation(1002, "a client's frame is not masked")
    opcode, fin, rsv1, after = step
    size, start = second & _LENGTH, at + 2
    if size > SHORT:
        if opcode & _CONTROL:
            raise Violation(1002, "a control frame is longer than 125 bytes")
        form, least = (2, SHORT + 1) if size == SHORT + 1 else (8, 0x10000)
        if have < 2 + form:
            return None
        start += form
        size = int.from_bytes(data[at + 2 : start], "big")
        if size < least:
            raise Violation(1002, "a length is not in its shortest form")
        if size >> 63:
            raise Violation(1002, "a length has more than 63 bits")
    if size > limit and not opcode & _CONTROL:
        raise Violation(1009, f"a frame of {size} bytes is over the limit of {limit}")
    start += _KEY
    if have < start - at:
        return None
    return Header(opcode, fin, rsv1, after, start, start + size)


def _explain(first: int, steps: Steps) -> str:
    opcode = first & _OPCODE
    inside = CONTINUATION in steps
    if first & _RSV23:
        return "a reserved bit is set"
    if opcode not in (0, 1, 2, CLOSE, PING, PONG):
        return f"opcode {opcode:#x} is reserved"
    if first & _RSV1 and (opcode & _CONTROL or opcode == CONTINUATION):
        return "only the first frame of a message says that it is compressed"
    if opcode & _CONTROL and not first & _FIN:
        return "a control frame is fragmented"
    if opcode == CONTINUATION:
        return "a continuation has no message to continue"
    if inside:
        return "a message begins before the last one ended"
    return "compression was not agreed"
