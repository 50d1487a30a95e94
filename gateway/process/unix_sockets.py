"""UNIX sockets that listen: stale files are replaced, live ones respected."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Final

from gateway.errors import StartError
from gateway.process.port_owner import describe_peer

__all__ = ["file_identity", "listen_unix"]

_MODE: Final = 0o666  # as uvicorn's --uds: the proxy that connects runs as another user
_PROBE_SECONDS: Final = 1.0  # a connect waits only where a live server's backlog is full


def listen_unix(path: str, backlog: int) -> socket.socket:
    """Listen at a file of mode 0666. A socket file nobody listens at any more is replaced.

    path: a relative one counts from the working directory. Raises `StartError`.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise StartError(f"unix:{path} cannot be bound: this system has no UNIX sockets")
    # Absolute, because it is removed at the end, when the working directory may be another one.
    path = os.path.abspath(path)  # noqa: PTH100 - links in it are the operator's affair
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_way(path)
        sock.bind(path)
        Path(path).chmod(_MODE)
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise StartError(f"unix:{path} cannot be bound: {_reason(path, error)}") from error
    except BaseException:
        sock.close()
        raise
    return sock


def file_identity(path: str) -> tuple[int, int] | None:
    """(device, inode) of what lies at `path`, None for nothing: tells a file from its successor."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _make_way(path: str) -> None:
    """Remove a socket file whose server is gone; anything else at `path` is refused."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        kind = {stat.S_IFDIR: "directory", stat.S_IFLNK: "symbolic link"}
        what = kind.get(stat.S_IFMT(mode), "file")
        raise StartError(f"unix:{path} cannot be bound: there is a {what}, which is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
        except TimeoutError:
            owner = "another process, which does not accept"
        else:
            owner = describe_peer(probe)
    raise StartError(f"unix:{path} is taken by {owner}\n  stop it, or use another path")


def _reason(path: str, error: OSError) -> str:
    if error.errno is None:  # the socket module's own check of the length
        return f"the path is longer than the {_longest()} bytes a UNIX socket allows"
    if error.errno == errno.ENOENT:
        return f"there is no directory {Path(path).parent}"
    if error.errno == errno.EACCES:
        return "this process may not write there"
    return error.strerror or str(error)


def _longest() -> int:
    """sizeof(sun_path) without the closing zero: 108 bytes on Linux, 104 on BSD and macOS."""
    return 107 if os.uname().sysname == "Linux" else 103
