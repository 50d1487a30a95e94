"""Close frames: codes and reasons that may be on the wire (RFC 6455, sections 5.5.1 and 7.4)."""

from __future__ import annotations

from typing import Final

from gateway.websocket.codec import Violation

__all__ = [
    "ABNORMAL",
    "GOING_AWAY",
    "INTERNAL_ERROR",
    "NORMAL",
    "NO_STATUS",
    "close_payload",
    "is_close_code",
    "parse_close",
]

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
NO_STATUS: Final = 1005
"""Stands for a close frame without a code; never on the wire."""
ABNORMAL: Final = 1006
"""Stands for an end without a close frame; never on the wire."""
INTERNAL_ERROR: Final = 1011

# A control frame holds 125 bytes, the code is two of them.
_REASON: Final = 123


def is_close_code(code: int) -> bool:
    """Whether `code` may be sent: registered with IANA for that, or 3000 to 4999."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def close_payload(code: int, reason: str = "") -> bytes:
    """The payload of a close frame; a reason over 123 bytes is cut at a character."""
    text = reason.encode()
    if len(text) > _REASON:
        text = text[:_REASON].decode(errors="ignore").encode()
    return code.to_bytes(2, "big") + text


def parse_close(payload: bytes) -> tuple[int, str]:
    """Code and reason of a peer's close frame, `NO_STATUS` where it has none.

    Raises `Violation`: 1002 for a code that may not be sent, 1007 for a reason not in UTF-8.
    """
    if not payload:
        return NO_STATUS, ""
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not is_close_code(code):
        raise Violation(1002, "a close frame has no valid code")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise Violation(1007, "the reason of a close frame is not UTF-8") from None
