"""The gateway's loggers, how they look by default, and how a user's own configuration replaces it.

Three loggers: ``gateway`` (the parent), ``gateway.error`` (everything an operator reads; stderr)
and ``gateway.access`` (one line per request; stdout). The library `logging` is used as it is, so a
``--log-config``, Sentry or pytest's caplog find what they expect.
"""

from __future__ import annotations

import configparser
import json
import logging
import logging.config
import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol, TextIO

from gateway.errors import ConfigError

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


class _ExchangeSeen(Protocol):
    # What this module sees of gateway.exchange.Exchange, which sits above it.
    @property
    def head(self) -> _HeadSeen: ...


class _LevelFormatter(logging.Formatter):
    """``INFO:     message``; aligned, the level in color, tracebacks without control characters."""

    def __init__(self, *, color: bool) -> None:
        super().__init__()
        self._color = color

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        name = record.levelname
        padding = " " * max(9 - len(name), 1)
        if self._color:
            name = f"{_COLORS.get(record.levelno, '')}{name}{_PLAIN}"
        return f"{name}:{padding}{record.message}"

    def formatException(self, ei: object) -> str:  # noqa: N802
        # The text of an exception often quotes what a client sent.
        return super().formatException(ei).translate(_CONTROLS)  # type: ignore[arg-type]


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
    log_config: None for the default described above; a mapping for `logging.config.dictConfig`; or
        the path of a file holding one (.json, .yaml, .yml, .toml) or of an ini file for
        `logging.config.fileConfig` (.ini, .cfg, .conf). An empty mapping configures nothing: the
        program around the server owns logging. Existing loggers are not disabled unless it says so,
        and those of the gateway never are.
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
        if isinstance(log_config, str):
            _configure_from_file(Path(log_config))
        elif log_config:
            _configure_from_mapping(log_config, "log-config")
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


def log_app_error(exchange: _ExchangeSeen, error: BaseException) -> None:
    """Write one record for an exception that left an application, with its traceback."""
    head = exchange.head
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


def _configure_from_mapping(mapping: Mapping[str, object], where: str) -> None:
    config = {"version": 1, "disable_existing_loggers": False, **mapping}
    try:
        logging.config.dictConfig(config)
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        cause = f": {error.__cause__}" if error.__cause__ else ""
        raise ConfigError(f"{where}: {error}{cause}") from error


def _configure_from_file(path: Path) -> None:
    where = f"log-config {path}"
    suffix = path.suffix.lower()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{where}: cannot be read: {reason}") from error
    try:
        match suffix:
            case ".json":
                content = json.loads(text)
            case ".toml":
                content = tomllib.loads(text)
            case ".yaml" | ".yml":
                content = _load_yaml(text, where)
            case ".ini" | ".cfg" | ".conf":
                _configure_from_ini(path, where)
                return
            case _:
                raise ConfigError(
                    f"{where}: the format is told by the suffix, which must be one of "
                    ".ini .cfg .conf .json .yaml .yml .toml"
                )
    except ValueError as error:  # what json and tomllib raise
        raise ConfigError(f"{where}: not valid {suffix[1:]}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: a mapping for logging.config.dictConfig is expected")
    _configure_from_mapping(content, where)


def _configure_from_ini(path: Path, where: str) -> None:
    try:
        logging.config.fileConfig(path, disable_existing_loggers=False, encoding="utf-8")
    except KeyError as error:
        raise ConfigError(f"{where}: the section or key {error} is missing") from error
    except configparser.Error as error:
        raise ConfigError(f"{where}: {error}") from error
    # fileConfig evaluates class names and arguments: any mistake there has its own exception.
    except Exception as error:
        raise ConfigError(f"{where}: {type(error).__name__}: {error}") from error


def _load_yaml(text: str, where: str) -> object:
    try:
        import yaml
    except ImportError:
        raise ConfigError(f"{where}: YAML needs PyYAML\n  pip install 'gateway[yaml]'") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid yaml: {error}") from error
