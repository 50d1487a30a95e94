"""The gateway's loggers, how they look by default, and how a user's own configuration replaces it.

Three loggers: ``gateway`` (the parent), ``gateway.error`` (everything an operator reads; stderr)
and ``gateway.access`` (one line per request; stdout). The library `logging` is used as it is, so a
``--log-config``, Sentry or pytest's caplog find what they expect.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import Final, Protocol, TextIO

from gateway.errors import ConfigError
from gateway.log_config import apply_config

__all__ = [
    "LEVELS",
    "TRACE",
    "access_enabled",
    "access_stream",
    "configure",
    "escape",
    "log_app_error",
    "wants_color",
]

TRACE: Final = 5

LEVELS: Final[dict[str, int]] = {
    "critical": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE,
}
"""Names a user may write for a level."""

_ROOT: Final = logging.getLogger("gateway")
_ERROR: Final = logging.getLogger("gateway.error")
_ACCESS: Final = logging.getLogger("gateway.access")

_COLORS: Final = {
    TRACE: "\x1b[34m",
    logging.DEBUG: "\x1b[36m",
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;31m",
}
_PLAIN: Final = "\x1b[0m"

# C0 without tab and line feed, DEL, C1: what a terminal may act on (CVE-2020-7694).
_CONTROLS: Final = {
    code: f"\\x{code:02x}"
    for code in (*range(0x20), 0x7F, *range(0x80, 0xA0))
    if code not in (0x09, 0x0A)
}


class _HeadSeen(Protocol):
    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def mount(self) -> str: ...


class _RequestSeen(Protocol):
    # What this module sees of gateway.exchange.Exchange and others that sit above it.
    @property
    def head(self) -> _HeadSeen: ...


class _LevelFormatter(logging.Formatter):
    """``INFO:     message``; aligned, the level in color, the rest without control characters.

    Message and traceback may quote what a client sent: an exception's text does, and so does what
    an application writes to ``wsgi.errors``. Line feeds stay: hints and tracebacks need them.
    """

    def __init__(self, *, color: bool) -> None:
        super().__init__()
        self._color = color

    def format(self, record: logging.LogRecord) -> str:
        name = record.levelname
        padding = " " * max(9 - len(name), 1)
        if self._color:
            name = f"{_COLORS.get(record.levelno, '')}{name}{_PLAIN}"
        # Here rather than in formatMessage and its siblings: a traceback that another handler has
        # formatted before comes from the record as it is.
        return f"{name}:{padding}{super().format(record).translate(_CONTROLS)}"


class _AccessHandler(logging.StreamHandler[TextIO]):
    """The default access handler; its class is how `access_stream` knows that it is ours."""


def configure(
    *,
    level: str | int | None = None,
    use_colors: bool | None = None,
    log_config: str | Mapping[str, object] | None = None,
    access_log: bool = True,
) -> None:
    """Set up the three loggers. Call it once per process, before anything is logged.

    level: a name of `LEVELS` (any case) or a number. None is "info", and leaves the levels of a
        `log_config` alone; a given level wins over it, as ``--log-level`` does in uvicorn.
    use_colors: None asks `wants_color`.
    log_config: None for the default described above; else what `apply_config` takes, a mapping or
        a file. An empty mapping configures nothing: the program around the server owns logging.
        Existing loggers are not disabled unless it says so, and those of the gateway never are.
    access_log: False silences ``gateway.access`` whatever the configuration.

    Raises `ConfigError` naming the file or key and what is wrong with it.
    """
    logging.addLevelName(TRACE, "TRACE")
    number = None if level is None else _level_number(level)
    if log_config is None:
        _configure_default(logging.INFO if number is None else number, use_colors)
    else:
        if log_config:
            _forget_default()
            apply_config(log_config)
        for logger in (_ROOT, _ERROR, _ACCESS):
            logger.disabled = False
            if number is not None:
                logger.setLevel(number)
    if not access_log:
        _ACCESS.handlers = []
        _ACCESS.propagate = False


def access_enabled() -> bool:
    """Whether anybody receives access records; if not, the access log is left out of the chain."""
    return _ACCESS.isEnabledFor(logging.INFO) and _ACCESS.hasHandlers()


def access_stream() -> TextIO | None:
    """The stream access lines may be written to without `logging`; None if logging must see them.

    Not None exactly while ``gateway.access`` is as `configure` leaves it by default. A record
    through `logging` costs 7 µs, a line without it 1.
    """
    match _ACCESS.handlers:
        case [_AccessHandler(stream=stream)] if not _ACCESS.filters and not _ACCESS.propagate:
            return stream
    return None


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


def escape(text: str) -> str:
    r"""`text` so that it stays on its line and inside double quotes, for every log.

    Quotes and backslashes get a backslash; whatever is not printable (C0, DEL, C1, line and
    paragraph separators, direction marks, lone surrogates) becomes ``\n``, ``\x1b``, ``\u202e``.
    Reversible; text that needs nothing costs 0.1 µs.
    """
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join([_escaped(character) for character in text])


def log_app_error(request: _RequestSeen, error: BaseException) -> None:
    """Write one record for an exception that left an application, with its traceback.

    Also, without a traceback, for the rule of HTTP that its response broke.
    """
    head = request.head
    _ERROR.error(
        'Exception in the application at %s: "%s %s"',
        head.mount or "-",
        head.method,
        escape(head.path),
        exc_info=error,
    )


def _escaped(character: str) -> str:
    if character == '"':
        return '\\"'
    if character.isprintable() and character != "\\":
        return character
    return character.encode("unicode_escape").decode("ascii")


def _level_number(level: str | int) -> int:
    if isinstance(level, int):
        return level
    number = LEVELS.get(level.lower())
    if number is None:
        raise ConfigError(f"log-level: {level!r} is not one of {', '.join(LEVELS)}")
    return number


def _configure_default(level: int, use_colors: bool | None) -> None:
    errors = logging.StreamHandler(sys.stderr)
    errors.setFormatter(_LevelFormatter(color=wants_color(sys.stderr, use_colors)))
    _ROOT.handlers = [errors]
    _ROOT.setLevel(level)
    _ROOT.propagate = False
    _ERROR.handlers = []
    _ERROR.setLevel(logging.NOTSET)
    _ERROR.propagate = True
    _ACCESS.handlers = [_AccessHandler(sys.stdout)]
    _ACCESS.setLevel(level)
    _ACCESS.propagate = False
    for logger in (_ROOT, _ERROR, _ACCESS):
        logger.disabled = False


def _forget_default() -> None:
    # dictConfig leaves a logger it does not mention as it is, with the handlers of an earlier call.
    for logger in (_ROOT, _ACCESS):
        for handler in logger.handlers[:]:
            if isinstance(handler, _AccessHandler) or isinstance(
                handler.formatter, _LevelFormatter
            ):
                logger.removeHandler(handler)
                logger.setLevel(logging.NOTSET)
                logger.propagate = True
