"""The console script ``gateway``, and ``python -m gateway``."""

from __future__ import annotations

import os

from gateway import cli
from gateway.process.leave import leave

__all__ = ["main"]


def main() -> None:
    """Run the command line of the process."""
    _open_standard_streams()
    leave(cli.main())


def _open_standard_streams() -> None:
    """Put the null device where a descriptor of 0 to 2 is closed, as sshd does.

    The next file or socket would get its number, and what C code writes to stderr: uvloop aborts.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


if __name__ == "__main__":
    main()
