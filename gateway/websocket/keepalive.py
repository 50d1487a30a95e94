"""When to ping, when to give a peer up, when a session is old: due times, and no timer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from gateway.websocket.options import SessionOptions

__all__ = ["PING_PAYLOAD", "Keepalive", "Verdict"]

# One ping is under way at a time, so it needs no number; but it is not empty, which an unasked
# heartbeat of a peer usually is.
PING_PAYLOAD: Final = b"keepalive"

# The sweep compares with the time of its last tick, so that it may come this much early.
_SWEEP: Final = 1.0

Verdict: TypeAlias = Literal["nothing", "ping", "silent", "old"]


class Keepalive:
    """The due times of one open session, in seconds of `now`.

    A peer that sends anything is alive: its pong may have to wait behind a message that takes
    longer than the timeout. Only a matching pong begins the next interval, though.
    """

    __slots__ = ("_awaiting", "_due", "_end", "_interval", "_now", "_seen", "_timeout")

    def __init__(self, options: SessionOptions, now: Callable[[], float]) -> None:
        self._now = now
        self._interval = options.ping_interval
        self._timeout = options.ping_timeout
        self._awaiting = False
        self._seen = 0
        start = now()
        self._due = math.inf if self._interval is None else start + self._interval
        self._end = math.inf if options.lifetime is None else start + options.lifetime

    def seconds(self) -> float | None:
        """How long until `judge` has something to say; None: never."""
        due = min(self._due, self._end)
        return None if due == math.inf else max(0.0, due - self._now())

    def judge(self, received: int, *, held: bool) -> Verdict:
        """What is due now; whoever gets "ping" sends one.

        received: bytes from the peer so far.
        held: nothing is being read, because the application is slow: a pong could not be seen.
        """
        now = self._now() + _SWEEP
        if now >= self._end:
            return "old"
        if now < self._due or self._interval is None:
            return "nothing"
        if self._awaiting and self._timeout is not None:
            if held:
                self.grant()
                return "nothing"
            if received == self._seen:
                return "silent"
        self._awaiting = True
        self._seen = received
        wait = self._interval if self._timeout is None else self._timeout
        self._due = self._now() + wait
        return "ping"

    def pong(self, payload: bytes) -> bool:
        """Hear of a pong; True if it answers the ping, and another time is due now."""
        if not self._awaiting or self._interval is None or payload != PING_PAYLOAD:
            return False
        self._awaiting = False
        self._due = self._now() + self._interval
        return True

    def grant(self) -> bool:
        """Give a peer that could not be heard the whole timeout again; True if it needed it."""
        if not self._awaiting or self._timeout is None:
            return False
        self._due = self._now() + self._timeout
        return True
