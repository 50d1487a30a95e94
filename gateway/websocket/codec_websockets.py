"""Frames read and written by websockets: ``--ws websockets``.

The only module that knows more of websockets than its mask function. Its frame level is used;
its connections are not.
"""

from __future__ import annotations

from collections.abc import Generator

from websockets import frames as library
from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions import Extension
from websockets.streams import StreamReader

from gateway.websocket.codec import Frame, Violation
from gateway.websocket.frame_rules import Header, between, read_header

__all__ = ["WebsocketsCodec"]


class _Rsv1(Extension):
    """Lets the bit of compressed messages through, both ways; the payload stays as it is."""

    def decode(self, frame: library.Frame, *, max_size: int | None = None) -> library.Frame:
        frame.rsv1 = False
        return frame

    def encode(self, frame: library.Frame) -> library.Frame:
        frame.rsv1 = True
        return frame


_RSV1 = [_Rsv1()]


class WebsocketsCodec:
    """`Codec` on websockets; the shared rules see each header before the library does."""

    __slots__ = ("_limit", "_reader", "_reading", "_steps", "violation")

    def __init__(self, *, limit: int, rsv1: bool) -> None:
        self.violation: Violation | None = None
        self._limit = limit
        self._steps = between(rsv1=rsv1)
        self._reader = StreamReader()
        self._reading: tuple[Header, Generator[None, None, library.Frame]] | None = None

    def receive(self, data: bytes) -> list[Frame]:
        """The frames that are complete with `data`, in order; those before a violation too."""
        frames: list[Frame] = []
        if self.violation is not None:
            return frames
        self._reader.feed_data(data)
        try:
            while (frame := self._next()) is not None:
                frames.append(frame)
        except Violation as violation:
            self.violation = violation.with_traceback(None)
        except (ProtocolError, PayloadTooBig) as error:
            self.violation = Violation(1002, str(error))
        return frames

    def _next(self) -> Frame | None:
        if self._reading is None:
            header = read_header(self._reader.buffer, 0, self._steps, self._limit)
            if header is None:
                return None
            read = self._reader.read_exact
            self._reading = header, library.Frame.parse(read, mask=True, extensions=_RSV1)
        header, parser = self._reading
        try:
            next(parser)
        except StopIteration as stop:
            payload = bytes(stop.value.data)
        else:
            return None
        self._reading = None
        self._steps = header.after
        return header.opcode, payload, header.fin, header.rsv1

    def encode(self, opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False) -> bytes:
        """One frame as it goes to the wire."""
        frame = library.Frame(library.Opcode(opcode), payload, fin)
        return frame.serialize(mask=False, extensions=_RSV1 if rsv1 else None)
