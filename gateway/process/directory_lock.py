"""One gateway at a time in a directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Final

__all__ = ["locked"]

_PATIENCE: Final = 2.0  # a neighbor that probes a socket holds the lock for 1 s at most
_TURN: Final = 0.01


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other gateways from looking at a file here and replacing it at the same moment.

    Of two that find the same stale file, the second would remove the first one's new file. The lock
    is flock(2) on the directory itself: nothing is left behind, and the kernel lets go of it when a
    process dies. It is a courtesy among gateways: where the directory cannot be opened or locked
    (some network file systems), or something else holds it for more than 2 s, work goes on without.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:  # missing, not readable, or Windows: who writes there will be told
        yield
        return
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    import fcntl  # not on Windows, which opens no directories

    deadline = monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() > deadline:
                return
            sleep(_TURN)
        except OSError:
            return
        else:
            return
