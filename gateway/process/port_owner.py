"""Who holds what is already taken: read from /proc, so on Linux only."""

from __future__ import annotations

import os
import shlex
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["describe_peer", "describe_port_owner", "describe_process"]

_PROC: Final = Path("/proc")
_LISTEN: Final = "0A"  # TCP_LISTEN of the kernel's include/net/tcp_states.h
_LONGEST: Final = 160  # characters of a command line


def describe_port_owner(host: str, port: int) -> str:
    """Say who listens on a TCP port: ``"pid 21240: python -m uvicorn main:app"``.

    host: the address that could not be bound; of several listeners of the port its own is told.
    Returns the user alone where the process belongs to another one and may not be looked at, and
    "another process" where nothing can be known.
    """
    listeners = sorted(
        _listeners(port), key=lambda listener: (listener.host != host, not listener.is_wildcard)
    )
    if not listeners:
        return "another process"
    pid = _holder(listeners[0].inode)
    return f"a process of {_user(listeners[0].uid)}" if pid is None else describe_process(pid)


def describe_peer(connection: socket.socket) -> str:
    """Say who listens at the other end of a connected UNIX socket, as `describe_port_owner`."""
    if not hasattr(socket, "SO_PEERCRED"):
        return "another process"
    # The credentials are those of the process that called listen (unix(7)).
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid, uid, _ = struct.unpack("3i", credentials)
    return describe_process(pid) if (_PROC / str(pid)).exists() else f"a process of {_user(uid)}"


def describe_process(pid: int) -> str:
    """Name a process as an operator knows it: ``"pid 21240: python -m uvicorn main:app"``.

    Its number alone where it is gone or the system does not tell.
    """
    if pid == os.getpid():
        return f"this process itself (pid {pid})"
    command = _read(_PROC / str(pid) / "cmdline").rstrip("\0").split("\0")
    if len(command) == 1 and " " in command[0]:
        text = command[0]  # a title of the process's own choice (setproctitle)
    else:
        command[0] = command[0].rpartition("/")[2] or _read(_PROC / str(pid) / "comm").strip()
        text = shlex.join(command) if command[0] else ""
    if not text:
        return f"pid {pid}"
    # Another process chose these characters: they must not drive the operator's terminal.
    text = "".join(each if each.isprintable() else "?" for each in text)
    return f"pid {pid}: {text if len(text) <= _LONGEST else text[:_LONGEST] + '…'}"


class _Listener(NamedTuple):
    host: str
    uid: int
    inode: str

    @property
    def is_wildcard(self) -> bool:
        return self.host in ("0.0.0.0", "::")


def _listeners(port: int) -> Iterator[_Listener]:
    for table in ("tcp", "tcp6"):
        for line in _read(_PROC / "net" / table).splitlines()[1:]:
            fields = line.split()
            address, _, hexadecimal = fields[1].partition(":")
            if fields[3] == _LISTEN and int(hexadecimal, 16) == port:
                yield _Listener(_address(address), int(fields[7]), fields[9])


def _address(hexadecimal: str) -> str:
    """An address of /proc/net/tcp: 32-bit words, each in the byte order of the machine."""
    words = struct.unpack(f">{len(hexadecimal) // 8}I", bytes.fromhex(hexadecimal))
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words))


def _holder(inode: str) -> int | None:
    """The process that has the socket open; of a master and its workers, the oldest."""
    link = f"socket:[{inode}]"
    for pid in sorted(int(path.name) for path in _PROC.iterdir() if path.name.isdigit()):
        try:
            if any(_points_to(path, link) for path in (_PROC / str(pid) / "fd").iterdir()):
                return pid
        except OSError:
            continue  # gone meanwhile, or of another user
    return None


def _points_to(path: Path, link: str) -> bool:
    try:
        return os.readlink(path) == link  # noqa: PTH115 - Path.readlink doubles the time of a scan
    except OSError:
        return False


def _user(uid: int) -> str:
    import pwd  # not on Windows, which never comes here

    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
