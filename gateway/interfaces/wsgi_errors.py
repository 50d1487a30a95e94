"""``wsgi.errors``: what applications print there becomes lines of the error log."""

from __future__ import annotations

import logging
import threading
from io import TextIOBase

__all__ = ["ErrorStream"]


class ErrorStream(TextIOBase):
    """A text stream into the logger "gateway.error", one record per write that ends a line.

    Through the logger rather than to stderr, so that a JSON or file log gets these lines too.
    A traceback written at once stays one record; ``print``, which writes text and line end
    apart, gives one as well. Each thread has its own unfinished line, so they do not mix.
    """

    def __init__(self) -> None:
        super().__init__()
        self._log = logging.getLogger("gateway.error")
        self._partial = threading.local()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {type(text).__name__}")
        line = getattr(self._partial, "text", "") + text
        self._partial.text = line
        if line.endswith("\n"):
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Log the line this thread has begun."""
        line = getattr(self._partial, "text", "").rstrip("\n")
        self._partial.text = ""
        if line:
            self._log.error("%s", line)
