"""One bound address: accepts connections, sweeps their deadlines, drains them."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from typing import Final

from gateway.protocols.http1 import Http1Connection, Http1Context

__all__ = ["Listener"]

logger = logging.getLogger("gateway.error")


# asyncio tries to accept as often in a row as the backlog it is told is long, and when descriptors
# run out it fails, logs and arms a timer each time: at 2048, half a core and 50,000 lines a second.
_ACCEPTS: Final = 16
# How long nothing is accepted when descriptors or memory have run out; asyncio's value.
_PAUSE: Final = 1.0


class Listener:
    """Makes a connection object for every connection that `sock` accepts.

    sock: bound by somebody else; closing the listener closes it, and does not unlink a UNIX socket.
    shared: other workers accept from the same socket. Each takes one connection in a turn of its
        loop then, so that the less busy ones take more. The loops' own servers take what they can
        get: of 16 connections that wrk opens at once, one of two workers got all.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: Http1Context,
        *,
        backlog: int = 2048,
        shared: bool = False,
    ) -> None:
        self._sock = sock
        self._context = context
        self._backlog = backlog
        self._shared = shared
        self._server: asyncio.Server | None = None
        self._arriving: set[asyncio.Task[None]] = set()
        self._paused: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Begin to accept."""
        loop = self._context.loop
        connection = self._connection
        if self._shared:
            self._sock.setblocking(False)
            loop.add_reader(self._sock, self._accept)
        elif self._sock.family != getattr(socket, "AF_UNIX", None):
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

    def _connection(self) -> Http1Connection:
        return Http1Connection(self._context)

    def _accept(self) -> None:
        self._accept_from(self._sock)

    def _accept_from(self, sock: socket.socket) -> bool:
        """Take one connection that waits; whether there was one."""
        loop = self._context.loop
        try:
            connection, _ = sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            logger.error("no connection can be accepted for %g s: %s", _PAUSE, error.strerror)
            if self._shared and self._paused is None:
                loop.remove_reader(self._sock)
                self._paused = loop.call_later(_PAUSE, self._accept_again)
            return False
        connection.setblocking(False)
        task = loop.create_task(self._arrive(connection))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)
        return True

    def _accept_again(self) -> None:
        self._paused = None
        self._context.loop.add_reader(self._sock, self._accept)

    async def _arrive(self, sock: socket.socket) -> None:
        try:
            await self._context.loop.connect_accepted_socket(self._connection, sock)
        except OSError:  # the client has gone already
            sock.close()

    async def close_empty(self) -> None:
        """`close`, and take every connection that the kernel has accepted for us until then.

        It would be reset. The loops' servers cannot be asked whether one waits: what came in three
        turns of uvloop's was 5 of 50.
        """
        sock = self._sock.dup()
        sock.setblocking(False)
        await self.stop_accepting()
        self.close()
        while self._accept_from(sock):
            pass
        sock.close()
        await self.settle()

    async def stop_accepting(self) -> None:
        """Accept no more, and return when what was accepted has its connection.

        asyncio makes a task of each, and one that finds its server closed drops the connection: 16
        of 50. (uvloop's server has no reader: nothing happens there.)
        """
        if self._sock.fileno() >= 0:
            self._context.loop.remove_reader(self._sock)
        for _ in range(3):
            await asyncio.sleep(0)
        await self.settle()

    async def settle(self) -> None:
        """Return when every connection that was accepted is among `connections`."""
        while self._arriving:
            await asyncio.wait(self._arriving)

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
        if self._shared:
            self._context.loop.remove_reader(self._sock)
            self._sock.close()
            if self._paused is not None:
                self._paused.cancel()
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
