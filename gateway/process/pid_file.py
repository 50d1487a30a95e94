"""A file that says which process is the server."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.errors import StartError
from gateway.process.directory_lock import locked
from gateway.process.port_owner import describe_process
from gateway.process.process_stat import ProcessStat

__all__ = ["PidFile"]

logger = logging.getLogger("gateway.error")

_MODE: Final = 0o644
_LONGEST: Final = 32  # bytes; more is no number of a process
# The time of boot, which starts are counted from, is known to the second.
_ROUNDING: Final = 2.0
_ANOTHER: Final = "  use another --pid-file"


class PidFile:
    """The number of this process in a file, for scripts and for programs like logrotate.

    path: a relative one counts from the working directory at this moment. The file has mode 0644
        and is replaced in one step, so that nobody ever reads half a number.

    All methods are for the process whose number is meant; a forked child's are other numbers.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).absolute()

    def take(self) -> None:
        """Write the number of this process, unless the file names another one that runs.

        A number is stale if nothing runs under it (a zombie does not), or what does was started
        after the file was written: numbers are used again, in containers always the same few.

        Raises `StartError` where a server runs, where the file is something else than a pid file,
        which is not overwritten, and where it cannot be written. An empty file is written to.
        """
        with locked(self._path.parent):
            pid = self._read()
            if pid is not None and pid != os.getpid() and self._is_owner(pid):
                raise StartError(
                    f"pid file {self._path} names a running process, {describe_process(pid)}\n"
                    "  stop it, or use another --pid-file"
                )
            self._write()

    def take_over(self) -> None:
        """Write the number of this process, as a new binary, whoever the file names.

        Raises `StartError` as `take`, but for the running process.
        """
        with locked(self._path.parent):
            self._read()
            self._write()

    def release(self) -> None:
        """Remove the file if it still names this process. Never raises: the server is leaving."""
        try:
            with locked(self._path.parent):
                if self._read() == os.getpid():
                    self._path.unlink()
        except OSError as error:  # the user was changed, and the directory is root's
            logger.warning("pid file %s stays: %s", self._path, error.strerror)
        except StartError as error:
            logger.warning("%s", error)

    def _read(self) -> int | None:
        """The number in the file, None without one."""
        try:
            if not stat.S_ISREG(self._path.stat().st_mode):
                raise StartError(f"pid file {self._path} is not a regular file\n{_ANOTHER}")
            with self._path.open("rb") as file:
                content = file.read(_LONGEST)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failure("read", error) from error
        text = content.decode("ascii", "replace").strip()
        if not text:
            return None
        if not (text.isascii() and text.isdecimal()):
            raise StartError(
                f"pid file {self._path} holds something else than the number of a process\n"
                "  remove it if nobody needs it, or use another --pid-file"
            )
        return int(text)

    def _write(self) -> None:
        try:
            descriptor, name = tempfile.mkstemp(
                dir=self._path.parent, prefix=f".{self._path.name}."
            )
            try:
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    file.write(f"{os.getpid()}\n")
                    # By its descriptor: at its name somebody else may have put a link by now.
                    if hasattr(os, "fchmod"):  # not on Windows, whose files have no such mode
                        os.fchmod(descriptor, _MODE)
                Path(name).replace(self._path)
            except BaseException:
                with suppress(OSError):
                    Path(name).unlink()
                raise
        except OSError as error:
            raise self._failure("written", error) from error

    def _failure(self, what: str, error: OSError) -> StartError:
        return StartError(f"pid file {self._path} cannot be {what}: {error.strerror}\n{_ANOTHER}")

    def _is_owner(self, pid: int) -> bool:
        """Whether process `pid` runs and may have written the file."""
        # To kill(2), 0 is the group of this process; on Windows the signal 0 is Ctrl-C.
        if pid == 0 or os.name != "posix":
            return False
        try:
            os.kill(pid, 0)
        except PermissionError:
            pass  # runs, as another user
        except (OSError, OverflowError):
            return False
        found = ProcessStat.of(pid)
        if found is None:
            return True
        started = _boot_time() + found.started / os.sysconf("SC_CLK_TCK")
        return found.state != "Z" and started <= self._path.stat().st_mtime + _ROUNDING


def _boot_time() -> float:
    """As `time.time`; a boot long ago where nothing tells."""
    with suppress(OSError):
        for line in Path("/proc/stat").read_text().splitlines():
            if line.startswith("btime "):
                return float(line.split()[1])
    return 0.0
