"""UNIX sockets that listen: stale files are replaced, live ones respected."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Final

from gateway.errors import StartError
from gateway.process.directory_lock import locked
from gateway.process.port_owner import describe_peer

__all__ = ["file_identity", "listen_unix", "readable_path"]

_PROBE_SECONDS: Final = 1.0  # a connect waits only where a live server's backlog is full


def listen_unix(
    path: str, backlog: int, *, mode: int = 0o666, owner: tuple[int, int] | None = None
) -> socket.socket:
    """Listen at a socket file. One that nobody listens at any more is replaced.

    path: a relative one counts from the working directory.
    mode: permissions of the file, whatever the umask; connecting takes the right to write. 0666 as
        uvicorn's --uds: the proxy that connects runs as another user. The umask is another one for
        the moment of bind(2), in all threads.
    owner: user and group of the file, as numbers; None leaves those of this process.

    Of two gateways that start at the same moment one is refused. Raises `StartError`.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise StartError(f"unix:{path} cannot be bound: this system has no UNIX sockets")
    # Absolute, because it is removed at the end, when the working directory may be another one.
    path = os.path.abspath(path)  # noqa: PTH100 - links in it are the operator's affair
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Until it listens, a bound socket looks stale to others.
        with locked(Path(path).parent):
            _make_way(path)
            _bind(sock, path, mode)
            try:
                if owner is not None:
                    _give(path, owner)
                sock.listen(backlog)
            except BaseException:
                Path(path).unlink()
                raise
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


def readable_path(name: str | bytes) -> str:
    """A socket's name for messages; one in Linux's abstract namespace starts with "@"."""
    return os.fsdecode(name).replace("\0", "@")


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
        except (TimeoutError, BlockingIOError):  # Linux does not wait for a place in the backlog
            owner = "another process, which does not accept"
        else:
            owner = describe_peer(probe)
    raise StartError(f"unix:{path} is taken by {owner}\n  stop it, or use another path")


def _bind(sock: socket.socket, path: str, mode: int) -> None:
    # Not chmod(2) afterwards: it follows links, and in a directory of the applications' user one
    # may lie there by then, to any file of root's. The kernel makes the file as 0777 & ~umask.
    before = os.umask(0o777 & ~mode)
    try:
        sock.bind(path)
    finally:
        os.umask(before)


def _give(path: str, owner: tuple[int, int]) -> None:
    try:
        os.chown(path, *owner, follow_symlinks=False)
    except PermissionError as error:
        raise StartError(
            f"unix:{path} cannot be given to user {owner[0]} and group {owner[1]}: "
            f"{error.strerror}\n  only root gives files away"
        ) from error


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
