"""How much of what costs a peer nothing we put up with."""

from __future__ import annotations

from typing import Final

from gateway.clock import Clock
from gateway.protocols.http2_errors import ErrorCode, Http2Error

__all__ = ["RESET", "Restraint"]

# Frames that carry no request, in one span of time; gunicorn's measure. Granian and hypercorn
# answer 20,000 PINGs and as many SETTINGS.
_ALLOWANCE: Final = 1000
_SPAN: Final = 10.0

RESET: Final = 4
"""What a request that was taken back costs: an application has begun to work on it (rapid reset,
CVE-2023-44487). A browser that leaves a page takes back a hundred at once."""


class Restraint:
    """Counts one peer's frames that make work and carry nothing.

    PING, SETTINGS, PRIORITY, empty DATA, CONTINUATION, unknown frames, resets, requests that are
    refused. 1,000 in ten seconds, then the connection ends.
    """

    __slots__ = ("_clock", "_since", "_spent")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = clock.now
        self._spent = 0

    def spend(self, cost: int = 1) -> None:
        """Count a frame. Raises `Http2Error` (ENHANCE_YOUR_CALM) when it was one too many."""
        self._spent += cost
        if self._spent > _ALLOWANCE:
            now = self._clock.now
            if now - self._since < _SPAN:
                raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that carry nothing")
            self._since = now
            self._spent = cost
