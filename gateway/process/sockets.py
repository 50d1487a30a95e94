"""Listening sockets, bound before anything else happens.

An application that was imported, or a lifespan that has run, for a port that turns out to be taken
has done its damage. So addresses come first, all of them or none.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from gateway.errors import StartError
from gateway.process.tcp_sockets import format_address, listen_tcp, resolve
from gateway.process.unix_sockets import file_identity, listen_unix
from gateway.settings.bind import Bind

__all__ = ["BoundSocket", "bind_all"]


def bind_all(binds: Sequence[Bind], *, backlog: int = 2048) -> list[BoundSocket]:
    """Bind every address and listen, in the order given.

    backlog: connections the kernel keeps until they are accepted (listen(2); 2048 is uvicorn's).

    A host name gets a socket for each of its addresses, at the same port; what is given twice is
    bound once. An IPv6 wildcard takes IPv4 as well, unless IPv4 is bound at the same port. A stale
    UNIX socket is replaced. Listening starts here, since two sockets that reuse an address find
    out about each other in listen(2) only; who connects before the application is ready waits.

    Raises `StartError` at the first address that cannot be had, after closing all others.
    """
    binds = list(dict.fromkeys(binds))
    resolved = {bind: resolve(bind.host, bind.port) for bind in binds if bind.host is not None}
    ipv4_ports = {
        bind.port
        for bind, addresses in resolved.items()
        if any(family == socket.AF_INET for family, _ in addresses)
    }
    bound: list[BoundSocket] = []
    try:
        for bind in binds:
            if bind.fd is not None:
                bound.append(BoundSocket(_adopt(bind.fd, backlog), bind))
            elif bind.path is not None:
                bound.append(BoundSocket(listen_unix(bind.path, backlog), bind))
            else:
                dual_stack = bind.port not in ipv4_ports
                sockets = listen_tcp(resolved[bind], dual_stack=dual_stack, backlog=backlog)
                bound += [BoundSocket(sock, bind) for sock in sockets]
    except BaseException:
        for each in bound:
            each.close()
        raise
    return bound


class BoundSocket:
    """One socket that listens: non-blocking, not inherited by programs this process starts.

    socket: for the event loop.
    bind: the address that asked for it; a host name may have led to several sockets.
    """

    __slots__ = ("_file", "_name", "_pid", "bind", "socket")

    def __init__(self, sock: socket.socket, bind: Bind) -> None:
        self.socket = sock
        self.bind = bind
        # Asked now: the loop's server closes the socket object before `close` is called here.
        self._name = sock.getsockname()
        self._file = file_identity(self._name) if bind.path is not None else None
        self._pid = os.getpid()

    @property
    def port(self) -> int | None:
        """The TCP port, the system's choice where 0 was asked for; None for a UNIX socket."""
        return int(self._name[1]) if isinstance(self._name, tuple) else None

    def url(self, scheme: str = "http") -> str:
        """What an operator opens: ``http://[::1]:8000``, or ``unix:/path``."""
        if isinstance(self._name, tuple):
            return f"{scheme}://{format_address(self._name)}"
        return f"unix:{os.fsdecode(self._name)}"

    def close(self) -> None:
        """Stop listening. The file of a UNIX socket that was made here goes with it.

        Not from a forked worker, and not after another server has put its own file there.
        Closing again does nothing.
        """
        if self._file is not None and self._pid == os.getpid():
            if file_identity(self._name) == self._file:
                Path(os.fsdecode(self._name)).unlink()
            self._file = None
        self.socket.close()

    def __repr__(self) -> str:
        return f"<BoundSocket {self.url()} fd={self.socket.fileno()}>"


def _adopt(fd: int, backlog: int) -> socket.socket:
    """Take over a socket that a supervisor, systemd or a parent process has bound.

    It is left open where it is refused: it belongs to somebody else until then.
    """
    try:
        sock = socket.socket(fileno=fd)
    except (OSError, OverflowError) as error:
        problem = "is not a socket" if _is_open(fd) else "is not open in this process"
        raise StartError(
            f"fd://{fd} {problem}\n"
            "  the process that starts this one must bind it and pass it on (systemd: fd://3)"
        ) from error
    problem = _adoption_problem(sock)
    try:
        if not problem:
            sock.listen(backlog)
            sock.setblocking(False)
            return sock
    except OSError as error:
        problem = f"cannot listen: {error.strerror}"
    sock.detach()
    raise StartError(f"fd://{fd} {problem}")


def _adoption_problem(sock: socket.socket) -> str:
    unix = getattr(socket, "AF_UNIX", None)
    if sock.type != socket.SOCK_STREAM or sock.family not in (
        socket.AF_INET,
        socket.AF_INET6,
        unix,
    ):
        return f"is a {sock.family.name} {sock.type.name} socket, not a TCP or UNIX stream"
    try:
        sock.getpeername()
    except OSError:  # not connected: what is hoped for
        name = sock.getsockname()
        is_bound = name[1] != 0 if isinstance(name, tuple) else bool(name)
        return "" if is_bound else "is not bound to an address"
    return "is a connection, not a socket to listen on"


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except (OSError, OverflowError):
        return False
    return True
