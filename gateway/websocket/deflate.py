"""permessage-deflate: messages compressed one by one (RFC 7692)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

from gateway.websocket.codec import Violation
from gateway.websocket.extensions import Offer

__all__ = ["Deflate"]

_NAME: Final = b"permessage-deflate"
_EMPTY: Final = b"\x00\x00\x00\xff\xff"
_SYNC: Final = _EMPTY[1:]
"""The end of every flush, taken off by the sender and put back by the receiver (section 7.2)."""

_WINDOW: Final = 12
_MEMORY: Final = 5
_LEVEL: Final = 1
"""Measured with chat messages of 138 bytes, and 100 of them in one of 14 KB:

                          memory    138 bytes         14 KB
    window 15, memory 8   196 KiB   4.2 µs to 16 %    178 µs to 12 %    zlib's defaults, level 6
    window 12, memory 5    37 KiB   2.9 µs to 18 %    103 µs to 13 %    level 6
    window 12, memory 5    37 KiB   2.4 µs to 21 %     48 µs to 15 %    level 1

A context that inflates takes 12 KiB with a window of 12, 40 with 15.
"""

_WIDEST: Final = 15
_BITS: Final[dict[bytes | None, int]] = {b"%d" % bits: bits for bits in range(8, _WIDEST + 1)}

_RATIO: Final = 16
_STEP: Final = 0x10000


class Deflate:
    """One connection's compression, as it was agreed.

    response: the value for Sec-WebSocket-Extensions in the answer to the handshake.

    Both contexts are made with the first message that needs them: an idle connection has none.
    The answer asks for windows of 4 KiB (12 bits) where the client lets us, as websockets does.
    """

    __slots__ = (
        "_deflater",
        "_deflater_bits",
        "_deflater_stays",
        "_inflater",
        "_inflater_bits",
        "_inflater_stays",
        "response",
    )

    def __init__(
        self,
        *,
        server_bits: int = _WINDOW,
        client_bits: int = _WIDEST,
        server_takeover: bool = True,
        client_takeover: bool = True,
        response: bytes = _NAME,
    ) -> None:
        """Compress in a window of `server_bits`, inflate in one of `client_bits` (8 to 15).

        server_takeover, client_takeover: a message may refer to those before it.
        """
        self.response = response
        # zlib has no raw window of 8 bits. Its window of 9 refers back by at most 512 - 262 bytes
        # (MAX_DIST in deflate.h), which a reader with 256 bytes follows.
        self._deflater_bits = max(server_bits, 9)
        self._inflater_bits = max(client_bits, 9)
        self._deflater_stays = server_takeover
        self._inflater_stays = client_takeover
        self._deflater: zlib._Compress | None = None
        self._inflater: zlib._Decompress | None = None

    @classmethod
    def negotiate(cls, offers: Sequence[Offer]) -> Deflate | None:
        """Take the first offer that can be kept, or None: the connection is not compressed.

        Other extensions are passed over; an offer with an unknown, repeated or wrong parameter is
        declined (section 7), and a client may have put another one behind it.
        """
        for name, parameters in offers:
            if name == _NAME and (agreed := cls._accepted(parameters)) is not None:
                return agreed
        return None

    @classmethod
    def _accepted(cls, parameters: list[tuple[bytes, bytes | None]]) -> Deflate | None:
        asked = dict(parameters)
        if len(asked) != len(parameters):
            return None
        server_bits, client_bits = _WINDOW, _WIDEST
        response = [_NAME]
        for name, value in parameters:
            if name in (b"server_no_context_takeover", b"client_no_context_takeover"):
                if value is not None:
                    return None
                response.append(name)
            elif name == b"server_max_window_bits" and value in _BITS:
                server_bits = min(_BITS[value], _WINDOW)
            elif name == b"client_max_window_bits" and (value is None or value in _BITS):
                client_bits = min(_WINDOW if value is None else _BITS[value], _WINDOW)
                response.append(b"client_max_window_bits=%d" % client_bits)
            else:
                return None
        response.append(b"server_max_window_bits=%d" % server_bits)
        return cls(
            server_bits=server_bits,
            client_bits=client_bits,
            server_takeover=b"server_no_context_takeover" not in asked,
            client_takeover=b"client_no_context_takeover" not in asked,
            response=b"; ".join(response),
        )

    def inflate(self, payload: bytes, *, fin: bool, limit: int) -> bytes:
        """What one frame of a compressed message holds; frames come in order, the last with `fin`.

        limit: the most this may become, in bytes.

        Raises `Violation`: 1009 over the limit, 1002 for data that is not DEFLATE (RFC 7692 names
        no code; websockets sends this one). Nothing may be inflated after it.
        """
        try:
            pieces = self._pieces(payload + _SYNC if fin else payload, limit)
            # In the middle of a block, an empty one is taken for data (a cut message would be
            # completed by the next one). 0.1 µs.
            if fin and self._inflater is not None and self._inflater.decompress(_EMPTY, 1):
                raise Violation(1002, "a compressed message ends inside a block")
        except zlib.error:
            raise Violation(1002, "a message is not compressed as it says") from None
        if fin and not self._inflater_stays:
            self._inflater = None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _pieces(self, data: bytes, limit: int) -> list[bytes]:
        # What is left of the input is copied at each step, so a step has to do with its size. Only
        # a bomb needs several; its end costs the limit and one step, not the limit twice.
        step = max(_RATIO * len(data), _STEP)
        room = limit + 1
        pieces: list[bytes] = []
        final = False
        while True:
            inflater = self._inflater
            if inflater is None:
                inflater = self._inflater = zlib.decompressobj(-self._inflater_bits)
            asked = min(step, room)
            piece = inflater.decompress(data, asked)
            pieces.append(piece)
            room -= len(piece)
            if not room:
                raise Violation(1009, f"a message inflates to more than {limit} bytes")
            if inflater.eof:
                # A compressor may end its stream with a message and begin anew (section 7.2.3.4).
                # One that does so twice in a frame wants to cost us a copy of the rest each time.
                if final:
                    raise Violation(1002, "a compressed frame has several final blocks")
                final = True
                data = inflater.unused_data
                self._inflater = None
            else:
                data = inflater.unconsumed_tail
            if not data and len(piece) < asked:
                return pieces

    def deflate(self, payload: bytes) -> bytes:
        """One whole message, compressed; it leaves with rsv1 in its first frame."""
        if not payload:
            return b"\x00"  # section 7.2.3.6; zlib has nothing to flush here
        deflater = self._deflater
        if deflater is None:
            deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, -self._deflater_bits, _MEMORY)
            if self._deflater_stays:
                self._deflater = deflater
        return (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
