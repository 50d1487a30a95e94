"""What INT and TERM mean to a server while it runs."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from gateway.worker import Worker

__all__ = ["stopped_by_signals"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
# A loop that has not heard of a signal for this long is blocked by the code of an application.
_TURN: Final = 0.2


@contextmanager
def stopped_by_signals(
    worker: Worker, loop: asyncio.AbstractEventLoop, install: bool
) -> Iterator[None]:
    """Let INT and TERM ask `worker` to stop, as long as the block runs."""
    if not install or threading.current_thread() is not threading.main_thread():
        yield
        return

    asked_at = 0.0

    def handle(number: int, _frame: object) -> None:
        nonlocal asked_at
        now = monotonic()
        blocked = 0 < asked_at < now - _TURN and not worker.stopping
        asked_at = asked_at or now
        if worker.importing or (blocked and number == signal.SIGINT):
            # The code of an application holds the loop; only an exception gets it out.
            raise KeyboardInterrupt
        # A second TERM must not cut a drain short: supervisors repeat it. A second INT must.
        stop = worker.interrupt if number == signal.SIGINT else worker.request_stop
        loop.call_soon_threadsafe(stop)

    previous: dict[signal.Signals, Callable[..., object] | int | None] = {}
    for number in _SIGNALS:
        previous[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
