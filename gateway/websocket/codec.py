"""What a session asks of whoever turns bytes into frames and back (RFC 6455, section 5)."""

from __future__ import annotations

from typing import Final, Protocol, TypeAlias

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "TEXT",
    "Codec",
    "Frame",
    "Violation",
]

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA


Frame: TypeAlias = "tuple[int, bytes, bool, bool]"
"""One frame, unmasked: (opcode, payload, fin, rsv1). A NamedTuple made each message 4 % dearer.

opcode: one of the six above.
payload: the application data; still compressed where the message is.
fin: the last frame of its message; always True for a control frame.
rsv1: the first frame of a compressed message (RFC 7692, section 6).
"""


class Violation(Exception):  # noqa: N818 - named by what the peer did, not by what went wrong here
    """The peer broke a rule: its connection ends with this close code.

    code: 1002 protocol error, 1007 data that is not what it says, 1009 too big.
    reason: for the close frame; ASCII, at most 123 bytes.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.code} {self.reason}"


class Codec(Protocol):
    """A server's side of the framing: reads masked frames, writes unmasked ones.

    It holds every rule about frames: reserved bits and opcodes, masking, minimal length forms,
    whole control frames of at most 125 bytes, the order of a message's frames. What needs a
    message is the session's: UTF-8, close codes, the size of the whole, inflating.

    violation: set once the bytes broke a rule; nothing is read from then on.
    """

    violation: Violation | None

    def __init__(self, *, limit: int, rsv1: bool) -> None:
        """Read from the first byte after the handshake.

        limit: the largest payload of one data frame, in bytes as they are on the wire. Held
            against the announced length, before anything is buffered.
        rsv1: permessage-deflate was agreed, so a message may say that it is compressed.
        """

    def receive(self, data: bytes) -> list[Frame]:
        """The frames that are complete with `data`, in order; those before a violation too."""

    def encode(self, opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False) -> bytes:
        """One frame as it goes to the wire. The caller keeps the rules: nothing is checked here."""
