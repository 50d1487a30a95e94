"""The gateway's loggers, how they look by default, and how a user's own configuration replaces it.

Three loggers: ``gateway`` (the parent), ``gateway.error`` (everything an operator reads; stderr)
and ``gateway.access`` (one line per request; stdout). The library `logging` is used as it is, so a
``--log-config``, Sentry or pytest's caplog find what they expect.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Final, Protocol, TextIO

from gateway.errors import ConfigError, StartError
from gateway.log_config import apply_config
from gateway.log_files import LogFileHandler, reopen_logs
from gateway.log_format import TRACE, LevelFormatter, RecordFactory, escape, wants_color

__all__ = [
    "LEVELS",
    "TRACE",
    "access_enabled",
    "access_stream",
    "configure",
    "escape",
    "log_app_error",
    "reopen_logs",
    "wants_color",
]

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


class _AccessHandler(logging.StreamHandler[TextIO]):
    """The default access handler; its class is how `access_stream` knows that it is ours."""


def configure(
    *,
    level: str | int | None = None,
    use_colors: bool | None = None,
    log_config: str | Mapping[str, object] | None = None,
    access_log: bool = True,
    worker: int | None = None,
    log_file: str | None = None,
    access_log_file: str | None = None,
    file_owner: tuple[int, int] | None = None,
) -> None:
    """Set up the three loggers. Call it once per process, before anything is logged.

    Once more is fine where nobody writes access lines: a parent that reads its settings again.

    level: a name of `LEVELS` (any case) or a number. None is "info", and leaves the levels of a
        `log_config` alone; a given level wins over it, as ``--log-level`` does in uvicorn.
    use_colors: None asks `wants_color`.
    log_config: None for the default described above; else what `apply_config` takes, a mapping or
        a file. An empty mapping configures nothing: the program around the server owns logging.
        Existing loggers are not disabled unless it says so, and those of the gateway never are.
    access_log: False silences ``gateway.access`` whatever the configuration.
    worker: the index of this worker, None for a parent and for a server of one process. The default
        shows it in every line for the operator; with a `log_config` every record of the process
        has it as attribute ``worker`` ("-" for None).
    log_file, access_log_file: where ``gateway.error`` and ``gateway.access`` go instead of stderr
        and stdout; "-" and None leave them there, and ``/dev/stdout`` and ``/dev/stderr`` are the
        streams themselves, because sockets (systemd's) cannot be opened. See `reopen_logs`.
    file_owner: (uid, gid) for files that are made here; see `LogFileHandler`.

    Raises `ConfigError` naming the file or key and what is wrong with it, also for a log file
    beside a `log_config`; `StartError` if a log file cannot be opened.
    """
    logging.addLevelName(TRACE, "TRACE")
    number = None if level is None else _level_number(level)
    if log_config is None:
        errors = _error_handler(log_file, file_owner, use_colors, worker)
        try:
            access = _access_handler(access_log_file if access_log else None, file_owner)
        except StartError:
            errors.close()
            raise
        _forget_default()
        _install_default(errors, access, logging.INFO if number is None else number)
    elif _is_file(log_file) or _is_file(access_log_file):
        setting = "log-file" if _is_file(log_file) else "access-log-file"
        raise ConfigError(
            f"{setting}: not with a log-config, which says itself where records go\n"
            "  name the file there, in a handler of the class logging.FileHandler"
        )
    else:
        if log_config:
            _forget_default()
            _mark_records(worker)
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
        case [_AccessHandler(stream=stream) | LogFileHandler(stream=stream)] if (
            not _ACCESS.filters and not _ACCESS.propagate
        ):
            return stream
    return None


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


def _level_number(level: str | int) -> int:
    if isinstance(level, int):
        return level
    number = LEVELS.get(level.lower())
    if number is None:
        raise ConfigError(f"log-level: {level!r} is not one of {', '.join(LEVELS)}")
    return number


def _is_file(path: str | None) -> bool:
    return path not in (None, "-", "/dev/stdout", "/dev/stderr")


def _stream(path: str | None, default: TextIO) -> TextIO:
    return {"/dev/stdout": sys.stdout, "/dev/stderr": sys.stderr}.get(path or "-", default)


def _error_handler(
    path: str | None, owner: tuple[int, int] | None, use_colors: bool | None, worker: int | None
) -> logging.Handler:
    handler: LogFileHandler | logging.StreamHandler[TextIO]
    if path is not None and _is_file(path):
        handler = LogFileHandler("log-file", path, owner=owner)
    else:
        handler = logging.StreamHandler(_stream(path, sys.stderr))
    color = wants_color(handler.stream, use_colors)
    handler.setFormatter(LevelFormatter(color=color, worker=worker))
    return handler


def _access_handler(path: str | None, owner: tuple[int, int] | None) -> logging.Handler:
    if path is not None and _is_file(path):
        return LogFileHandler("access-log-file", path, owner=owner)
    return _AccessHandler(_stream(path, sys.stdout))


def _install_default(errors: logging.Handler, access: logging.Handler, level: int) -> None:
    _ROOT.handlers = [errors]
    _ROOT.setLevel(level)
    _ROOT.propagate = False
    _ERROR.handlers = []
    _ERROR.setLevel(logging.NOTSET)
    _ERROR.propagate = True
    _ACCESS.handlers = [access]
    _ACCESS.setLevel(level)
    _ACCESS.propagate = False
    for logger in (_ROOT, _ERROR, _ACCESS):
        logger.disabled = False


def _forget_default() -> None:
    # dictConfig leaves a logger it does not mention as it is, with the handlers of an earlier call.
    for logger in (_ROOT, _ACCESS):
        for handler in logger.handlers[:]:
            if isinstance(handler, (_AccessHandler, LogFileHandler)) or isinstance(
                handler.formatter, LevelFormatter
            ):
                logger.removeHandler(handler)
                handler.close()
                logger.setLevel(logging.NOTSET)
                logger.propagate = True


def _mark_records(worker: int | None) -> None:
    factory = logging.getLogRecordFactory()
    if isinstance(factory, RecordFactory):
        factory = factory.inner
    logging.setLogRecordFactory(RecordFactory(factory, worker))
