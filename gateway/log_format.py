"""How a line of a log looks: its level, its color, its worker, and no control character."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from typing import Final, TextIO

__all__ = [
    "CONTROLS",
    "TRACE",
    "LevelFormatter",
    "RecordFactory",
    "counted",
    "escape",
    "wants_color",
]

TRACE: Final = 5

_COLORS: Final = {
    TRACE: "\x1b[34m",
    logging.DEBUG: "\x1b[36m",
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;31m",
}
_PLAIN: Final = "\x1b[0m"
_AT_MARGIN: Final = re.compile(r"\n(?=\S)")

# C0 without tab and line feed, DEL, C1: what a terminal may act on (CVE-2020-7694).
CONTROLS: Final = {
    code: f"\\x{code:02x}"
    for code in (*range(0x20), 0x7F, *range(0x80, 0xA0))
    if code not in (0x09, 0x0A)
}


class LevelFormatter(logging.Formatter):
    """``INFO:     message``; aligned, the level in color, the rest without control characters.

    worker: its index, for ``INFO:     [2] message``.

    Message and traceback may quote what a client sent: an exception's text does, and so does what
    an application writes to ``wsgi.errors``. Line feeds stay, since hints and tracebacks need them,
    but no further line begins at the margin: what stands there is always a record.
    """

    def __init__(self, *, color: bool, worker: int | None) -> None:
        super().__init__()
        self._color = color
        self._worker = "" if worker is None else f"[{worker}] "

    def format(self, record: logging.LogRecord) -> str:
        name = record.levelname
        padding = " " * max(9 - len(name), 1)
        if self._color:
            name = f"{_COLORS.get(record.levelno, '')}{name}{_PLAIN}"
        # Here rather than in formatMessage and its siblings: a traceback that another handler has
        # formatted before comes from the record as it is.
        text = _AT_MARGIN.sub("\n  ", super().format(record).translate(CONTROLS))
        return f"{name}:{padding}{self._worker}{text}"


class RecordFactory:
    """Makes records that tell the worker: ``%(worker)s`` in the formats of a user's configuration.

    A filter would see the gateway's records only, and a format with ``%(worker)s`` on the root
    logger would fail for those of every library. Costs 0.2 µs a record.
    """

    def __init__(self, inner: Callable[..., logging.LogRecord], worker: int | None) -> None:
        self.inner = inner
        self._worker = "-" if worker is None else worker

    def __call__(self, *args: object, **kwargs: object) -> logging.LogRecord:
        record = self.inner(*args, **kwargs)
        record.__dict__["worker"] = self._worker
        return record


def wants_color(stream: TextIO | None, use_colors: bool | None = None) -> bool:
    """Whether to color what goes to `stream`: the explicit wish, else NO_COLOR, FORCE_COLOR, a TTY.

    A variable counts when it is not empty (no-color.org, force-color.org).
    """
    if use_colors is not None:
        return use_colors
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def counted(number: int, noun: str) -> str:
    """``1 request``, ``2 requests``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def escape(text: str) -> str:
    r"""`text` so that it stays on its line and inside double quotes, for every log.

    Quotes and backslashes get a backslash; whatever is not printable (C0, DEL, C1, line and
    paragraph separators, direction marks, lone surrogates) becomes ``\n``, ``\x1b``, ``\u202e``.
    Reversible; text that needs nothing costs 0.1 µs.
    """
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join([_escaped(character) for character in text])


def _escaped(character: str) -> str:
    if character == '"':
        return '\\"'
    if character.isprintable() and character != "\\":
        return character
    return character.encode("unicode_escape").decode("ascii")
