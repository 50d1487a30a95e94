"""Messages out of data frames: fragments, size, inflating, UTF-8 (RFC 6455, sections 5.4, 8.1)."""

from __future__ import annotations

from codecs import utf_8_decode
from typing import Final

from gateway.websocket.codec import CONTINUATION, TEXT, Frame, Violation
from gateway.websocket.deflate import Deflate

__all__ = ["Assembly"]

# The first byte of U+D000 to U+DFFF in UTF-8. From U+D800 on these are surrogates, which UTF-8 has
# not (RFC 3629, section 3); Python only says so when it sees the third byte.
_SURROGATE: Final = 0xED


class Assembly:
    """The message under way on one connection; the codec keeps its frames in order.

    Fragments are joined in one bytearray. A list of them would cost 40 times its bytes where a
    peer sends one byte per frame, and would grow for ever with empty ones.
    """

    __slots__ = ("_buffer", "_compressed", "_deflate", "_max_size", "_text", "_valid")

    def __init__(self, max_size: int, deflate: Deflate | None) -> None:
        """max_size: bytes of a whole message, inflated; the codec holds single frames to it."""
        self._max_size = max_size
        self._deflate = deflate
        self._buffer: bytearray | None = None
        self._compressed = False
        self._text = False
        self._valid = 0  # bytes at the beginning of the buffer that are whole characters

    def add(self, frame: Frame) -> str | bytes | None:
        """Take the next data frame; returns the message when it is the last one of it.

        Raises `Violation`: 1007 as soon as a byte cannot belong to UTF-8, 1009 over the limit,
        and what `Deflate.inflate` finds.
        """
        opcode, payload, fin, rsv1 = frame
        buffer = self._buffer
        if self._deflate is not None and (rsv1 or (self._compressed and opcode == CONTINUATION)):
            self._compressed = not fin
            room = self._max_size if buffer is None else self._max_size - len(buffer)
            payload = self._deflate.inflate(payload, fin=fin, limit=room)
        if buffer is None:
            if fin:
                if opcode != TEXT:
                    return payload
                try:
                    return payload.decode()
                except UnicodeDecodeError:
                    raise _not_text() from None
            self._text = opcode == TEXT
            self._valid = 0
            buffer = self._buffer = bytearray()
        if len(buffer) + len(payload) > self._max_size:
            self._buffer = None
            raise Violation(1009, f"a message is over the limit of {self._max_size} bytes")
        buffer += payload
        if not fin:
            if self._text:
                self._check_text(buffer)
            return None
        self._buffer = None
        if not self._text:
            return bytes(buffer)
        try:
            return buffer.decode()
        except UnicodeDecodeError:
            raise _not_text() from None

    def _check_text(self, buffer: bytearray) -> None:
        """Decode what is new, to find an invalid byte before the rest of the message comes."""
        try:
            with memoryview(buffer) as view:
                self._valid += utf_8_decode(view[self._valid :], "strict", False)[1]
        except UnicodeDecodeError:
            raise _not_text() from None
        tail = buffer[self._valid :]
        if len(tail) == 2 and tail[0] == _SURROGATE and tail[1] > 0x9F:
            raise _not_text()


def _not_text() -> Violation:
    return Violation(1007, "a text message is not UTF-8")
