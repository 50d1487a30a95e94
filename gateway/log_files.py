"""Log files that outlive their rotation: opened to append, opened again when told to.

A file is opened again by putting the new descriptor in the place of the old one (dup2). Whoever
holds the number goes on with the new file from its next write on: the handler, its stream, and
`BufferedSink`, which writes access lines past both. There is no moment without a file.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import TextIOWrapper
from logging.handlers import MemoryHandler, QueueHandler
from pathlib import Path
from time import monotonic
from typing import Final

from gateway.errors import StartError

__all__ = ["LogFileHandler", "reopen_logs"]

_log: Final = logging.getLogger("gateway.error")

_SILENCE: Final = 60.0  # seconds between two lines about a file that cannot be written


class LogFileHandler(logging.FileHandler):
    """Writes to a file of a setting, in UTF-8; what is none leaves as a backslash escape.

    setting: its name, for the message; path: a relative one counts from the working directory.
    owner: (uid, gid) that a file made here is given, None for those of the process. A server that
        starts as root and serves as somebody else could not open its files again otherwise. Then
        `path` may be no symbolic link: in a directory of that user it would have root write to any
        file (CVE-2016-1247, the same in nginx's packages).

    A record is one write(2), whatever its length, and the file is open with O_APPEND: records of
    several processes follow one another. Raises `StartError` if the file cannot be opened.

    What cannot be written, as on a full disk, is lost; stderr has a line of that, once a minute at
    most, and the next record is tried again.
    """

    def __init__(self, setting: str, path: str, *, owner: tuple[int, int] | None = None) -> None:
        self.owner = owner
        self._silent_until = -math.inf
        try:
            super().__init__(path, encoding="utf-8", errors="backslashreplace")
        except (OSError, ValueError) as error:
            reason = _reason(path, error)
            raise StartError(f"{setting} {path} cannot be opened: {reason}") from error

    def _open(self) -> TextIOWrapper:
        descriptor = _open_to_append(self.baseFilename, self.owner)
        return os.fdopen(descriptor, "a", encoding=self.encoding, errors=self.errors)

    def close(self) -> None:
        """Close the file, also where what still waits to be written cannot be."""
        with suppress(OSError):
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - of the library
        """Tell of an operation of the system that failed; of all else as the library does.

        That is a traceback for each record.
        """
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        now = monotonic()
        if now < self._silent_until:
            return
        self._silent_until = now + _SILENCE
        reason = _reason(self.baseFilename, error)
        text = f"log file {self.baseFilename} cannot be written: {reason}; lines are lost"
        with suppress(OSError, ValueError):  # stderr may be on the same disk, or closed
            if sys.stderr is not None:
                sys.stderr.write(f"ERROR:    {text}\n")
                sys.stderr.flush()


def reopen_logs() -> None:
    """Open every log file again, after logrotate has moved or removed it.

    All `logging.FileHandler` that a logger reaches, also those of a user's ``log-config`` and of
    the application, and always to append: one with mode "w" would empty a file that is still in
    use. Files that cannot be opened stay as they are, and ``gateway.error`` is told. Pipes and
    terminals (``/dev/stderr``) are left alone.

    Takes the handlers' locks, so it is not for the frame of a signal handler.
    """
    for handler in dict.fromkeys(_file_handlers()):
        try:
            _reopen(handler)
        except (OSError, ValueError) as error:
            path = handler.baseFilename
            _log.error(
                "log file %s cannot be opened again: %s\n  the old one stays in use",
                path,
                _reason(path, error),
            )


def _reopen(handler: logging.FileHandler) -> None:
    handler.acquire()
    try:
        stream: TextIOWrapper | None = handler.stream  # None: delay=True and nothing logged yet
        if stream is None or not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            return
        owner = handler.owner if isinstance(handler, LogFileHandler) else None
        descriptor = _open_to_append(handler.baseFilename, owner)
        try:
            with suppress(OSError):  # a full disk: what waits goes to the new file
                stream.flush()
            os.dup2(descriptor, stream.fileno(), inheritable=False)
        finally:
            os.close(descriptor)
    finally:
        handler.release()


def _open_to_append(path: str, owner: tuple[int, int] | None) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    if owner is not None:
        flags |= os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags | os.O_EXCL, 0o666)
    except FileExistsError:  # and has the owner that somebody chose
        return os.open(path, flags, 0o666)
    if owner is not None:
        try:
            os.fchown(descriptor, *owner)
        except OSError:
            os.close(descriptor)
            raise
    return descriptor


def _file_handlers() -> Iterator[logging.FileHandler]:
    """Those of every logger; one of several loggers comes several times."""
    for logger in [logging.root, *logging.root.manager.loggerDict.values()]:
        if isinstance(logger, logging.Logger):
            for handler in logger.handlers:
                yield from _files_behind(handler)


def _files_behind(handler: object) -> Iterator[logging.FileHandler]:
    """`handler` itself, or what a MemoryHandler or a QueueHandler hands its records to."""
    if isinstance(handler, logging.FileHandler):
        yield handler
    elif isinstance(handler, MemoryHandler):
        yield from _files_behind(handler.target)
    elif isinstance(handler, QueueHandler):
        # Set by dictConfig since Python 3.12; a listener made by hand is known to nobody.
        for behind in getattr(getattr(handler, "listener", None), "handlers", ()):
            yield from _files_behind(behind)


def _reason(path: str, error: OSError | ValueError) -> str:
    if isinstance(error, ValueError):  # a zero byte in the path, a closed stream
        return str(error)
    if error.errno == errno.ENOENT:
        return f"there is no directory {Path(path).absolute().parent}"
    if error.errno == errno.EACCES:
        return "this process may not write there"
    if error.errno == errno.ELOOP and Path(path).is_symlink():
        return (
            "it is a symbolic link, and root follows none where `user` is set\n"
            "  name the file itself"
        )
    return error.strerror or str(error)
