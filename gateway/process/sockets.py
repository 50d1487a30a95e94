"""Listening sockets, bound before anything else happens.

An application that was imported, or a lifespan that has run, for a port that turns out to be taken
has done its damage. So addresses come first, all of them or none.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from gateway.errors import StartError
from gateway.process.adoption import Adoption, adopt
from gateway.process.inherit import InheritedSocket
from gateway.process.tcp_sockets import (
    allow_siblings,
    format_address,
    listen_beside,
    listen_tcp,
    resolve,
)
from gateway.process.unix_sockets import file_identity, listen_unix, readable_path
from gateway.settings.bind import Bind

__all__ = ["BoundSocket", "addresses", "bind_all"]

logger = logging.getLogger("gateway.error")


def addresses(
    binds: Sequence[Bind], explicit: bool, inherited: Sequence[InheritedSocket]
) -> tuple[Bind, ...]:
    """Where to listen: `binds`, or systemd's sockets where nobody named an address.

    explicit: `binds` are somebody's choice and not the default.
    """
    if not explicit and any(not each.owned for each in inherited):
        return (Bind(name=""),)
    return tuple(binds)


def bind_all(
    binds: Sequence[Bind],
    *,
    backlog: int = 2048,
    inherited: Sequence[InheritedSocket] = (),
    unix_mode: int = 0o666,
    owner: tuple[int, int] | None = None,
    reuse_port: bool = False,
    beside: Sequence[BoundSocket] = (),
) -> list[BoundSocket]:
    """Bind every address and listen, in the order given.

    backlog: connections the kernel keeps until they are accepted (listen(2); 2048 is uvicorn's).
    inherited: what is among these is adopted instead of bound, as `Adoption` says. Those that no
        address asks for are closed, with a warning. Queues of a former gateway's workers go with
        the socket at the same address, for its `sibling`.
    unix_mode, owner: permissions, and user and group (numbers), of the UNIX socket files made here.
    reuse_port: `BoundSocket.sibling` makes sockets of their own for further workers.
    beside: what this process has bound already; at the same port, with another address, too.

    A host name gets a socket for each of its addresses, at the same port; what is given twice is
    bound once. An IPv6 wildcard takes IPv4 as well, unless IPv4 is bound at the same port. A stale
    UNIX socket is replaced. Listening starts here, since two sockets that reuse an address find
    out about each other in listen(2) only; who connects before the application is ready waits.

    Raises `StartError` at the first address that cannot be had, after closing what was bound here.
    Inherited sockets stay open then: they may be all that a running gateway has.
    """
    if reuse_port and not hasattr(socket, "SO_REUSEPORT"):
        raise StartError(
            "reuse-port: this system has no SO_REUSEPORT\n"
            "  leave it out: all workers then accept from the same socket"
        )
    binds = list(dict.fromkeys(binds))
    adoption = Adoption([each for each in inherited if not each.queue])
    resolved = {
        bind: resolve(bind.host, bind.port)
        for bind in binds
        if bind.host is not None and not adoption.knows(bind)
    }
    ipv4_ports = adoption.ipv4_ports | {
        bind.port
        for bind, found in resolved.items()
        if any(family == socket.AF_INET for family, _ in found)
    }
    own = [each.socket for each in beside if each.port is not None]
    bound: list[BoundSocket] = []
    try:
        claims = adoption.claims(binds, resolved)
        for bind in binds:
            if bind in claims:
                bound += [_adopted(each, bind, backlog) for each in claims[bind]]
            elif bind.fd is not None:
                bound.append(_adopted(InheritedSocket(bind.fd, str(bind)), bind, backlog))
            elif bind.path is not None:
                sock = listen_unix(bind.path, backlog, mode=unix_mode, owner=owner)
                bound.append(BoundSocket(sock, bind, backlog))
            else:
                dual_stack = bind.port not in ipv4_ports
                sockets = listen_tcp(
                    resolved[bind], dual_stack=dual_stack, backlog=backlog, own=own
                )
                bound += [BoundSocket(sock, bind, backlog) for sock in sockets]
        for each in inherited:
            if each.queue:
                _hand_over(each, bound, backlog)
    except BaseException:
        for made in bound:
            if made.origin is None:
                made.close()
            else:
                made.socket.detach()
        raise
    if unclaimed := adoption.close_unclaimed():
        logger.warning(
            "closed inherited sockets that no address asks for: %s", ", ".join(unclaimed)
        )
    if reuse_port:
        for made in bound:
            made.allow_siblings()
    return bound


class BoundSocket:
    """One socket that listens: non-blocking, not inherited by programs this process starts.

    socket: for the event loop.
    bind: the address that asked for it; a host name may have led to several sockets.
    origin: as which it was inherited, None for one that was bound here.
    """

    __slots__ = (
        "_backlog",
        "_file",
        "_has_siblings",
        "_name",
        "_pid",
        "_queues",
        "bind",
        "origin",
        "socket",
    )

    def __init__(
        self,
        sock: socket.socket,
        bind: Bind,
        backlog: int,
        origin: InheritedSocket | None = None,
    ) -> None:
        self.socket = sock
        self.bind = bind
        self.origin = origin
        self._backlog = backlog
        self._has_siblings = False
        self._queues: list[socket.socket] = []
        # Asked now: the loop's server closes the socket object before `close` is called here.
        self._name = sock.getsockname()
        is_file = bind.path is not None and origin is None
        self._file = file_identity(self._name) if is_file else None
        self._pid = os.getpid()

    @property
    def port(self) -> int | None:
        """The TCP port, the system's choice where 0 was asked for; None for a UNIX socket."""
        return int(self._name[1]) if isinstance(self._name, tuple) else None

    def url(self, scheme: str = "http") -> str:
        """What an operator opens: ``http://[::1]:8000``, or ``unix:/path``."""
        if isinstance(self._name, tuple):
            return f"{scheme}://{format_address(self._name)}"
        return f"unix:{readable_path(self._name)}"

    # --- more workers ---------------------------------------------------------------------------

    def allow_siblings(self) -> None:
        """Let `sibling` make real ones, where the socket is TCP and a gateway's own.

        The option stays with a socket: one of systemd, which outlives us, is left as it is.
        """
        is_ours = self.origin is None or self.origin.owned
        if is_ours and isinstance(self._name, tuple):
            allow_siblings(self.socket)
            self._has_siblings = True

    def sibling(self) -> socket.socket:
        """A socket for one more worker at the same address, the caller's to close.

        With ``reuse_port`` it has a queue of its own, and the kernel spreads connections over this
        socket and all siblings. So each of them must be served, this one by the first worker, and
        kept open while a worker is replaced: what waits in the queue of a closed one is reset.
        Without, for UNIX sockets and for adopted ones, it is the same socket once more.

        The queues that a former gateway's workers had come first, with what waits in them.
        """
        if self._has_siblings:
            if self._queues:
                return self._queues.pop(0)
            try:
                return listen_beside(self.socket, self._backlog)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        return self.socket.dup()

    # --- handing on -----------------------------------------------------------------------------

    def as_inherited(self) -> InheritedSocket:
        """What a new binary is told about this socket; the descriptor is to keep its number."""
        if self.origin is not None and not self.origin.owned:
            return InheritedSocket(self.socket.fileno(), self.origin.name)
        return InheritedSocket(self.socket.fileno(), str(self.bind), owned=True)

    def take_queue(self, sock: socket.socket) -> bool:
        """Take `sock` as the next sibling, if it listens at this very address."""
        is_at = sock.family == self.socket.family and sock.getsockname() == self._name
        if is_at:
            self._queues.append(sock)
        return is_at

    def take_over(self) -> None:
        """The former gateway lets go of this socket: the file of a UNIX socket is now ours.

        Not at adoption, as the start may still fail: the file would go, and the former gateway
        stay, out of reach. Does nothing for sockets that no gateway made. Queues that no worker
        here has taken are closed; those of the former gateway, which leave, empty them.
        """
        self._close_queues()
        if self.origin is not None and self.origin.owned and self.bind.path is not None:
            self._file = file_identity(self._name)

    def forget(self) -> None:
        """Close this process's descriptor; the file of a UNIX socket stays, for a new binary."""
        self._file = None
        self._close_queues()
        self.socket.close()

    def close(self) -> None:
        """Stop listening. The file of a UNIX socket that was made here goes with it.

        Not from a forked worker, and not after another server has put its own file there. One that
        cannot be removed is told in the log: the server is leaving. Closing again does nothing.
        """
        self._close_queues()
        if self._file is not None and self._pid == os.getpid():
            if file_identity(self._name) == self._file:
                self._remove_file()
            self._file = None
        self.socket.close()

    def _remove_file(self) -> None:
        path = os.fsdecode(self._name)
        try:
            Path(path).unlink(missing_ok=True)
        except OSError as error:  # the user was changed, and the directory is root's
            logger.warning("unix:%s stays: %s", path, error.strerror)

    def _close_queues(self) -> None:
        while self._queues:
            self._queues.pop().close()

    def __repr__(self) -> str:
        return f"<BoundSocket {self.url()} fd={self.socket.fileno()}>"


def _adopted(inherited: InheritedSocket, bind: Bind, backlog: int) -> BoundSocket:
    name = "" if inherited.name == str(bind) else inherited.name
    return BoundSocket(adopt(inherited.fd, backlog, name=name), bind, backlog, inherited)


def _hand_over(queue: InheritedSocket, bound: Sequence[BoundSocket], backlog: int) -> None:
    """Give a worker's queue to the socket at its address; without one it is closed."""
    sock = adopt(queue.fd, backlog, name=queue.name)
    if not any(each.take_queue(sock) for each in bound):
        sock.close()
