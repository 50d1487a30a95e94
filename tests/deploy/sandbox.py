"""``python sandbox.py NAMES COMMAND…``: COMMAND below the system call filter of a systemd unit.

NAMES: a file with the system calls that are allowed, one a line; all others fail with EPERM, which
is what ``SystemCallFilter=`` with ``SystemCallErrorNumber=EPERM`` makes of them (systemd.exec(5)).
The filter is made by libseccomp, systemd's own library for it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

__all__ = ["confine"]

# seccomp.h of libseccomp: SCMP_ACT_ERRNO(x) and SCMP_ACT_ALLOW.
_ERRNO = 0x00050000
_ALLOW = 0x7FFF0000


def confine(names: list[str]) -> None:
    """Allow only the system calls of these names, to this process and all it starts."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    filter_ = ctypes.c_void_p(library.seccomp_init(_ERRNO | errno.EPERM))
    for name in names:
        number = library.seccomp_syscall_resolve_name(name.encode())
        # A name that this kernel or processor does not have is negative, and may stay away.
        if number >= 0 and library.seccomp_rule_add(filter_, _ALLOW, number, 0):
            raise OSError(f"{name} cannot be allowed")
    if library.seccomp_load(filter_):
        raise OSError("the filter cannot be loaded")


if __name__ == "__main__":
    confine(Path(sys.argv[1]).read_text().split())
    os.execv(sys.argv[2], sys.argv[2:])
