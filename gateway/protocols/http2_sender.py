"""The sending side of an HTTP/2 connection: one buffer, its window, and the streams' turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from gateway.head import Headers
from gateway.protocols.default_fields import DefaultFields
from gateway.protocols.http2_encoder import HeaderEncoder
from gateway.protocols.http2_errors import ErrorCode, Http2Error
from gateway.protocols.http2_frames import header_frames, window_update

__all__ = ["LARGEST_WINDOW", "FrameSender", "Outgoing"]

LARGEST_WINDOW: Final = 0x7FFF_FFFF

_DEFAULT_WINDOW: Final = 0xFFFF
# What is gathered in one turn of the loop: the transport asks to pause at 64 KiB. Who has more
# waits for its turn: an application that does not pause between its writes would use the
# connection's window up before the others run.
_GATHER: Final = 64 * 1024


class Outgoing(Protocol):
    """A stream as its sender sees it."""

    def send_piece(self) -> bool:
        """Send one frame of what waits; whether there is more that may leave."""


class FrameSender:
    """Gathers frames and hands them to the transport once a turn of the loop.

    Frames that one read has caused leave in one write, and so do the answers of the applications
    it has started. Streams that wait for the transport or for the connection's window take turns,
    a frame each.

    window: bytes of DATA the connection still takes. initial_window: what a new stream takes.
    largest: bytes of the largest frame the peer takes.
    writable: False while the transport asks to pause.
    full: enough was gathered for this turn of the loop; what else there is takes turns.
    reading: frames are being read; who reads flushes afterwards.
    data_frames: sent so far.
    slivers: how many more tiny pieces, cut off by a window, than KiB of others have left.
    portion: bytes in which a stream's window is given back; half of it, so that the peer need not
        wait for each.
    """

    __slots__ = (
        "_gathered",
        "_loop",
        "_planned",
        "_pumping",
        "_size",
        "_transport",
        "_waiting",
        "data_frames",
        "defaults",
        "encode",
        "encoder",
        "full",
        "initial_window",
        "largest",
        "portion",
        "reading",
        "slivers",
        "window",
        "writable",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        defaults: DefaultFields,
        *,
        portion: int,
    ) -> None:
        self._loop = loop
        self._transport = transport
        self.defaults = defaults
        self.encoder = HeaderEncoder()
        self.encode: Callable[[int | None, Headers], bytes] = self.encoder.encode
        self._gathered: list[bytes] = []
        self._size = 0
        self._planned = False
        self._pumping = False
        self._waiting: dict[Outgoing, None] = {}
        self.window = _DEFAULT_WINDOW
        self.initial_window = _DEFAULT_WINDOW
        self.largest = 16 * 1024
        self.writable = True
        self.reading = False
        self.full = False
        self.data_frames = 0
        self.portion = portion
        self.slivers = 0

    def send(self, frames: bytes) -> None:
        """Let `frames` leave with what else this turn of the loop sends."""
        self._gathered.append(frames)
        self._size += len(frames)
        if self.reading:
            if self._size >= _GATHER:
                self.flush()
            return
        if self._size >= _GATHER:
            self.full = True
        if not self._planned:
            self._planned = True
            self._loop.call_soon(self._flush_planned)

    def send_headers(self, stream: int, status: int | None, fields: Headers, *, ends: bool) -> None:
        """Send a field section; no status: of trailers."""
        block = self.encode(status, fields)
        self.send(header_frames(stream, block, self.largest, ends=ends))

    def _flush_planned(self) -> None:
        self._planned = False
        self.flush()
        self.pump()

    def flush(self) -> None:
        """Hand over what was gathered."""
        gathered = self._gathered
        if gathered:
            data = b"".join(gathered)
            gathered.clear()
            self._size = 0
            self.full = False
            if not self._transport.is_closing():
                self._transport.write(data)

    def unsent(self) -> int:
        """Bytes that wait for the peer to read."""
        return self._size + self._transport.get_write_buffer_size()

    @property
    def blocked(self) -> bool:
        """Something waits for the transport, or for the connection's window."""
        return not self.writable or bool(self._waiting)

    # --- turns ----------------------------------------------------------------------------------

    def wait(self, stream: Outgoing) -> None:
        """`stream` has something to send that its own window allows."""
        self._waiting[stream] = None

    def forget(self, stream: Outgoing) -> None:
        """`stream` is over, or its own window is used up."""
        self._waiting.pop(stream, None)

    def pump(self) -> None:
        """Let those that wait send, one frame each in turn, as long as there is room."""
        if self._pumping:
            return  # an application writes as soon as it is told that it may: one level is enough
        self._pumping = True
        waiting = self._waiting
        try:
            while waiting and self.writable and self.window > 0:
                stream = next(iter(waiting))
                del waiting[stream]
                if stream.send_piece():
                    waiting[stream] = None
                if self.full:
                    self.flush()
        finally:
            self._pumping = False

    def open_window(self, size: int) -> None:
        """The peer takes `size` more on the connection."""
        self.window += size
        if self.window > LARGEST_WINDOW:
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window is too large")

    def give_back(self, stream: int, size: int) -> None:
        """Let the peer send `size` more: on a stream, or 0, the connection."""
        self.send(window_update(stream, size))
