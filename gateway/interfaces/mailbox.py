"""Callbacks from threads to the event loop, with one wake-up for as many as are waiting."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

__all__ = ["Mailbox"]

_log = logging.getLogger("gateway.error")


class Mailbox:
    """Carries callbacks to a loop's thread, in the order they were posted.

    A thread that answers a hundred requests in a row wakes the loop once: waking costs a write to
    its pipe (2 µs) and, worse, a second thread that wants the interpreter.

    No callback is left behind: a poster appends first and looks at `_ringing` second, the loop
    clears `_ringing` first and takes second. So a poster that still sees True appended before
    that clearing, and is found by the taking that follows it; one that sees False rings itself.
    Two posters may both ring: the second round finds nothing, which is harmless.
    """

    __slots__ = ("_items", "_loop", "_ringing")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: deque[Callable[[], object]] = deque()
        self._ringing = False

    def post(self, callback: Callable[[], object]) -> None:
        """Have `callback` called on the loop's thread soon. Safe in any thread.

        Nothing happens once the loop is closed: nobody is there to be answered.
        """
        self._items.append(callback)
        if not self._ringing:
            self._ringing = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                self._items.clear()

    def _deliver(self) -> None:
        self._ringing = False
        items = self._items
        # Only what is there now: what arrives meanwhile rings again, so that busy threads cannot
        # keep the loop from its sockets.
        for _ in range(len(items)):
            try:
                items.popleft()()
            except Exception:  # noqa: BLE001 - the next one is another request's
                _log.exception("A callback from an application thread failed")
