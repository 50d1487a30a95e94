"""Where access lines wait to be written together."""

from __future__ import annotations

import logging
import os
import select
import stat
import sys
from collections.abc import Callable
from time import monotonic
from typing import Final, TextIO

__all__ = ["BufferedSink"]

_BATCH: Final = 64 * 1024  # characters; 3 ms of lines at full speed
_BACKLOG: Final = 4 * 1024 * 1024  # bytes; what a reader that pauses may be behind
_PATIENCE: Final = 1.0  # seconds a reader has at exit

_log: Final = logging.getLogger("gateway.error")


class BufferedSink:
    """Lines for one stream, written in batches; never raises and never waits for a slow reader.

    stream: usually ``sys.stdout``; None (a process without one) takes everything and keeps nothing.
    schedule: called with (seconds, callback) to be flushed later: the loop's ``call_later``.
    delay: seconds a line waits at most. 0.1 is not noticed at a terminal and makes one
        system call of hundreds of lines.
    dropped: lines lost because the stream was broken, or too slow with 4 MiB waiting. The first
        loss and, at `close`, the total go to ``gateway.error``.

    A batch to a file is one write, so that lines of several workers stay whole where it is open to
    append; `gateway.log_files` may put another file behind the descriptor at any time.
    Batches to a pipe or terminal are cut at line ends into pieces of at most PIPE_BUF bytes: the
    kernel takes each without waiting, and never mixes it with those of other workers.
    All calls are made on the loop's thread.
    """

    __slots__ = (
        "_batch",
        "_delay",
        "_fd",
        "_lines",
        "_piece",
        "_poll",
        "_rest",
        "_schedule",
        "_scheduled",
        "_size",
        "_stream",
        "dropped",
    )

    def __init__(
        self,
        stream: TextIO | None,
        *,
        schedule: Callable[[float, Callable[[], None]], object],
        delay: float = 0.1,
    ) -> None:
        self.dropped = 0
        self._stream = stream
        self._schedule = schedule
        self._delay = delay
        self._batch = _BATCH
        self._lines: list[str] = []
        self._size = 0
        self._rest = b""  # begins at the start of a line, or within one that was partly written
        self._scheduled = False
        self._fd = _file_descriptor(stream)
        if self._fd >= 0:
            regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
            self._piece = _BACKLOG if regular else select.PIPE_BUF
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLOUT)

    def write(self, line: str) -> None:
        """Take one line, without its line end."""
        self._lines.append(line)
        self._size += len(line)
        if not self._scheduled:
            self._scheduled = True
            self._schedule(self._delay, self._on_time)
        elif self._size >= self._batch:
            self.flush()

    def flush(self) -> None:
        """Write what waits, as far as the stream takes it now."""
        lines = self._lines
        if lines:
            if len(self._rest) + self._size > _BACKLOG:
                self._drop(len(lines))
            else:
                text = "\n".join([*lines, ""])
                self._rest += text.encode("utf-8", "backslashreplace")
            self._lines = []
            self._size = 0
        if self._rest:
            self._send(0)

    def close(self) -> None:
        """Write what waits, giving a slow reader a second; lines after this are written at once."""
        self._scheduled = True
        self._batch = 0
        self.flush()
        deadline = monotonic() + _PATIENCE
        while self._rest and self._fd >= 0 and (left := deadline - monotonic()) > 0:
            before = len(self._rest)
            self._send(int(left * 1000) + 1)
            if len(self._rest) == before:
                break
        if self._rest:
            self._drop(self._rest.count(b"\n"))
            self._rest = b""
        if self.dropped:
            _log.warning("%d access log lines were lost", self.dropped)

    def _on_time(self) -> None:
        if self._batch:
            self._scheduled = False
            self.flush()
            if self._rest and not self._scheduled:
                self._scheduled = True
                self._schedule(self._delay, self._on_time)

    def _send(self, wait: int) -> None:
        """Write as much of the rest as the stream takes, waiting `wait` milliseconds for it."""
        rest, position = self._rest, 0
        try:
            if self._fd < 0:
                if self._stream is not None:
                    self._stream.write(rest.decode("utf-8"))
                    self._stream.flush()
                position = len(rest)
            while position < len(rest) and self._poll.poll(wait):
                end = position + self._piece
                if end < len(rest):
                    end = rest.rfind(b"\n", position, end) + 1 or end
                position += os.write(self._fd, rest[position:end])
        except BlockingIOError:
            pass
        except (OSError, ValueError):  # a broken pipe, a full disk, a closed stream
            # The line at the front may have left in part: it stays, so that lines stay whole.
            end = rest.find(b"\n", position) + 1
            self._drop(rest.count(b"\n", end))
            self._rest = rest[position:end]
            return
        self._rest = rest[position:]

    def _drop(self, count: int) -> None:
        if count and not self.dropped:
            _log.warning("Access log lines are lost: the output is broken or too slow")
        self.dropped += count


def _file_descriptor(stream: TextIO | None) -> int:
    """The descriptor to write to, -1 where the stream itself must be used."""
    if stream is None or sys.platform == "win32":
        return -1
    try:
        return stream.fileno()
    except (OSError, ValueError):  # io.UnsupportedOperation is both
        return -1
