"""``wsgi.input`` for a body that is still arriving (PEP 3333, "Input and Error Streams")."""

from __future__ import annotations

import io
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["BodyStream"]


class BodyStream(io.RawIOBase):
    """Body bytes handed from the loop to a thread, on demand.

    The thread asks with `ask`; the loop answers each asking once, with `answer`: whatever has
    arrived, b"" at the end of the body, or an exception to be raised in the thread. In between,
    the bytes wait in the exchange, where they hold the client back: what a request keeps in
    memory is one answer here, one receive window there, and the reader's buffer.

    To be wrapped in `io.BufferedReader`, which makes lines and sizes of it.

    start: bytes that arrived before the thread ran.
    """

    def __init__(self, start: bytes, ask: Callable[[], None]) -> None:
        super().__init__()
        self._data = memoryview(start)
        self._ask = ask
        # Of one place at most; C code, a fifth of the cost of a Condition.
        self._answers: SimpleQueue[bytes | Exception] = SimpleQueue()
        self._end: Exception | None = None
        self._ended = False

    # --- the loop's thread ----------------------------------------------------------------------

    def answer(self, news: bytes | Exception) -> None:
        """Give the thread that asked its bytes, the end of the body, or an error."""
        self._answers.put(news)

    # --- the application's thread ---------------------------------------------------------------

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer).cast("B")
        if not self._data and not self._ended and target:
            self._fetch()
        if self._end is not None:
            raise self._end
        taken = self._data[: len(target)]
        target[: len(taken)] = taken
        self._data = self._data[len(taken) :]
        return len(taken)

    def _fetch(self) -> None:
        self._ask()
        news = self._answers.get()
        if isinstance(news, bytes):
            self._data = memoryview(news)
            self._ended = not news
        else:
            self._end = news
            self._ended = True
