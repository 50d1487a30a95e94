"""One bound address: accepts connections, sweeps their deadlines, drains them."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Final

from gateway.protocols.http1 import Http1Connection, Http1Context

__all__ = ["Listener"]


# asyncio tries to accept as often in a row as the backlog it is told is long, and when descriptors
# run out it fails, logs and arms a timer each time: at 2048, half a core and 50,000 lines a second.
_ACCEPTS: Final = 16


class Listener:
    """Makes a connection object for every connection that `sock` accepts.

    sock: bound and owned by whoever bound it; closing the listener does not unlink a UNIX socket.
    """

    def __init__(self, sock: socket.socket, context: Http1Context, *, backlog: int = 2048) -> None:
        self._sock = sock
        self._context = context
        self._backlog = backlog
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Begin to accept."""
        loop, context = self._context.loop, self._context

        def connection() -> Http1Connection:
            return Http1Connection(context)

        if self._sock.family != getattr(socket, "AF_UNIX", None):
            self._server = await loop.create_server(connection, sock=self._sock, backlog=_ACCEPTS)
        elif sys.version_info >= (3, 13):
            # Otherwise a loop unlinks the file, even of a socket that systemd or a parent bound.
            self._server = await loop.create_unix_server(
                connection, sock=self._sock, backlog=_ACCEPTS, cleanup_socket=False
            )
        else:
            self._server = await loop.create_unix_server(
                connection, sock=self._sock, backlog=_ACCEPTS
            )
        self._sock.listen(self._backlog)

    @property
    def connections(self) -> set[Http1Connection]:
        """Those open now."""
        return self._context.connections

    def sweep(self) -> None:
        """Tell every connection whose deadline has passed; call it once a second.

        Not after a tick that came late: the loop was blocked, and what clients sent in time is
        still unread.
        """
        if self._context.clock.late:
            return
        now = self._context.clock.now
        overdue = [each for each in self._context.connections if each.deadline <= now]
        for connection in overdue:
            connection.timed_out()

    def close(self) -> None:
        """Stop accepting. Never waits: `Server.wait_closed` would wait for every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def announce_drain(self) -> None:
        """Have every response from now on say that its connection closes."""
        self._context.draining = True

    def drain(self) -> None:
        """Let every connection finish the exchange under way and close."""
        for connection in list(self._context.connections):
            connection.drain()

    def cut(self) -> None:
        """Close every connection now; answers that are complete still leave."""
        for connection in list(self._context.connections):
            if not connection.closing:
                connection.cut()
