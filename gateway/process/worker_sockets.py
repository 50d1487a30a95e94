"""Which sockets each worker listens on."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from gateway.process.inherit import InheritedSocket
from gateway.process.sockets import BoundSocket

__all__ = ["WorkerSockets"]


class WorkerSockets:
    """The bound sockets, for every worker; with ``reuse-port`` each has its own beside them.

    bound: gives those of the server, as they are at the moment.
    own: SO_REUSEPORT: the kernel spreads connections over the workers' queues. They are kept open
        here while a worker is replaced, since what waits in the queue of a closed one is reset.
    """

    def __init__(self, bound: Callable[[], Sequence[BoundSocket]], *, own: bool) -> None:
        self._bound = bound
        self._own = own
        self._siblings: dict[tuple[BoundSocket, int], socket.socket] = {}

    def of(self, index: int) -> list[socket.socket]:
        """Those of worker `index`."""
        if not self._own or index == 0:
            return [each.socket for each in self._bound()]
        return [self._sibling(each, index) for each in self._bound()]

    def _sibling(self, bound: BoundSocket, index: int) -> socket.socket:
        key = (bound, index)
        if key not in self._siblings:
            self._siblings[key] = bound.sibling()
        return self._siblings[key]

    def as_inherited(self) -> list[InheritedSocket]:
        """The workers' own queues, for `Service.succeeded`: a new binary goes on with them.

        A queue is never empty for long under load, and closing it resets what came after the last
        look: 1 of 100,000 connections at USR2.
        """
        return [
            InheritedSocket(sock.fileno(), str(bound.bind), owned=True, queue=True)
            for (bound, _), sock in self._siblings.items()
        ]

    def keep(self, count: int) -> None:
        """Close queues that no worker below `count` serves, and those of addresses that left."""
        bound = self._bound()
        for key in list(self._siblings):
            if key[0] not in bound or key[1] >= count:
                self._siblings.pop(key).close()
