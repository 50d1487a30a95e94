"""Frames read and written by wsproto (pure Python): ``--ws wsproto``.

The only module of this room that knows wsproto. Its frame level is used; its messages, which
inflate without a bound and decode as they like, are not.
"""

from __future__ import annotations

from wsproto.extensions import Extension
from wsproto.frame_protocol import (
    CloseReason,
    FrameDecoder,
    FrameProtocol,
    Opcode,
    ParseFailed,
    RsvBits,
)

from gateway.websocket.codec import Frame, Violation
from gateway.websocket.frame_rules import Header, between, read_header

__all__ = ["WsprotoCodec"]


class _Rsv1(Extension):
    """Lets the bit of compressed messages through, both ways; the payload stays as it is.

    outgoing: the bit of the frame that is being encoded.
    """

    outgoing = False

    def enabled(self) -> bool:
        return True

    def offer(self) -> bool:
        return False

    def frame_inbound_header(
        self,
        proto: FrameDecoder | FrameProtocol,
        opcode: Opcode,
        rsv: RsvBits,
        payload_length: int,
    ) -> CloseReason | RsvBits:
        return RsvBits(True, False, False)

    def frame_outbound(
        self,
        proto: FrameDecoder | FrameProtocol,
        opcode: Opcode,
        rsv: RsvBits,
        data: bytes,
        fin: bool,
    ) -> tuple[RsvBits, bytes]:
        return RsvBits(self.outgoing, False, False), data


class WsprotoCodec:
    """`Codec` on wsproto; the shared rules see each header before the library does."""

    __slots__ = (
        "_bit",
        "_decoder",
        "_encoder",
        "_header",
        "_limit",
        "_parts",
        "_steps",
        "violation",
    )

    def __init__(self, *, limit: int, rsv1: bool) -> None:
        self.violation: Violation | None = None
        self._limit = limit
        self._steps = between(rsv1=rsv1)
        self._bit = _Rsv1()
        self._decoder = FrameDecoder(client=False, extensions=[self._bit])
        self._encoder = FrameProtocol(client=False, extensions=[self._bit])
        self._header: Header | None = None
        self._parts = bytearray()

    def receive(self, data: bytes) -> list[Frame]:
        """The frames that are complete with `data`, in order; those before a violation too."""
        frames: list[Frame] = []
        if self.violation is not None:
            return frames
        self._decoder.receive_bytes(data)
        try:
            while (frame := self._next()) is not None:
                frames.append(frame)
        except Violation as violation:
            self.violation = violation.with_traceback(None)
        except ParseFailed as error:
            self.violation = Violation(int(error.code), str(error))
        return frames

    def _next(self) -> Frame | None:
        if self._header is None:
            buffer = self._decoder.buffer.buffer
            self._header = read_header(buffer, 0, self._steps, self._limit)
            if self._header is None:
                return None
        # A data frame comes in the parts it arrived in.
        part = self._decoder.process_buffer()
        if part is None:
            return None
        if not isinstance(part.payload, bytes):
            raise TypeError("wsproto gave a payload that is not bytes")
        self._parts += part.payload
        if not part.frame_finished:
            return None
        header, self._header = self._header, None
        payload = bytes(self._parts)
        self._parts.clear()
        self._steps = header.after
        return header.opcode, payload, header.fin, header.rsv1

    def encode(self, opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False) -> bytes:
        """One frame as it goes to the wire."""
        self._bit.outgoing = rsv1
        # Its public ways in want text as str and choose the opcode themselves.
        return bytes(self._encoder._serialize_frame(Opcode(opcode), payload, fin))  # noqa: SLF001
