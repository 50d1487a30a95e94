"""``wsgi.errors``: what applications print there becomes records of the error log."""

from __future__ import annotations

import logging
import threading
from io import TextIOBase
from typing import Final

__all__ = ["ErrorStream"]

# Characters of an unfinished line that are kept: an application may never end one.
_KEPT: Final = 64 * 1024


class _Unfinished(threading.local):
    text = ""


class ErrorStream(TextIOBase):
    """A text stream into the logger "gateway.error", one record per write that ends a line.

    Through the logger rather than to stderr, so that a JSON or file log gets these lines too.
    A traceback written at once stays one record; ``print``, which writes text and line end
    apart, gives one as well. Each thread has its own unfinished line, which is logged at 64 KiB
    and, by `flush`, at the end of each request: no two requests share a record.
    """

    def __init__(self) -> None:
        super().__init__()
        self._log = logging.getLogger("gateway.error")
        self._unfinished = _Unfinished()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {type(text).__name__}")
        line = self._unfinished.text = self._unfinished.text + text
        if line.endswith("\n") or len(line) >= _KEPT:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Log the line this thread has begun."""
        line = self._unfinished.text
        if line:
            self._unfinished.text = ""
            if line := line.rstrip("\n"):
                self._log.error("%s", line)
