"""What a listener and a drain need of a connection, whatever it speaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.exchange import Exchange
from gateway.head import Address

__all__ = ["Connection"]


class Connection(Protocol):
    """One open connection.

    deadline: `Clock.now` seconds after which whoever sweeps calls `timed_out`.
    """

    deadline: float

    @property
    def exchanges(self) -> Sequence[Exchange]:
        """Those under way, and those whose connection still works on them."""

    @property
    def closing(self) -> bool:
        """The last bytes are on their way; nothing more is read."""

    @property
    def client(self) -> Address | None:
        """Its peer; None for a UNIX socket."""

    @property
    def idle_since(self) -> float | None:
        """`Clock.now` seconds while it waits for a request of which no byte has come; else None.

        A new connection's first request is on its way: it is not idle in its first second.
        """

    def end_idle(self) -> None:
        """Close it, while `idle_since` is not None."""

    def timed_out(self) -> None:
        """Hear that the deadline has passed."""

    def drain(self) -> None:
        """Finish what has begun and close."""

    def cut(self) -> None:
        """Close now, whatever is under way; the peer sees a reset."""
