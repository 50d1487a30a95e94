"""One bound address: accepts connections, sweeps their deadlines, drains them."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from gateway.exchange import Exchange
from gateway.head import Address
from gateway.protocols.connection import Connection
from gateway.protocols.context import ConnectionContext
from gateway.protocols.crowd import Crowd
from gateway.protocols.http1 import Http1Connection
from gateway.protocols.negotiation import NegotiatedConnection
from gateway.protocols.proxy_protocol import ProxyHeader
from gateway.protocols.proxy_reader import ProxyReader
from gateway.tls.acceptor import Acceptor

__all__ = ["Listener"]

logger = logging.getLogger("gateway.error")


# What handshakes under way get to finish when the listener closes. It takes two round trips; who
# has connected and says nothing would have its ten seconds.
_HANDSHAKES: Final = 1.0
# TLS ends with a word from both sides. A client that keeps idle connections in a pool does not read
# them and says nothing: each would hold a stop until the loop's own limit.
_FAREWELL: Final = 1.0
# How long nothing is accepted when descriptors or memory have run out.
_PAUSE: Final = 1.0


class Listener:
    """Makes a connection object for every connection that `sock` accepts.

    sock: bound by somebody else; closing the listener closes it, and does not unlink a UNIX socket.
    shared: other workers accept from the same socket. Each takes one connection in a turn of its
        loop then, so that the less busy ones take more. The loops' own servers take what they can
        get: of 16 connections that wrk opens at once, one of two workers got all.
    proxy: reads the PROXY header in front of each connection; None expects none.
    acceptor: does the TLS handshakes; None speaks plain text.
    crowd: counts connections, and says whether there is room for more; None has no limits. Its
        `members` are the context's connections then.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: ConnectionContext,
        *,
        backlog: int = 2048,
        shared: bool = False,
        proxy: ProxyReader | None = None,
        acceptor: Acceptor | None = None,
        crowd: Crowd | None = None,
    ) -> None:
        self._sock = sock
        self._context = context
        self._backlog = backlog
        self._proxy = proxy
        self._acceptor = acceptor
        # Whether here, and not in a server of the loop's. asyncio's takes as many in a row as the
        # backlog is long. Without descriptors each fails, with a line and a timer (at 2048, half a
        # core and 50,000 lines a second), and afterwards those that have gone meanwhile use up what
        # is free again and again: 4 s for 40 of them, with 5 descriptors.
        self._accepts = (
            shared
            or proxy is not None
            or acceptor is not None
            or crowd is not None
            or isinstance(context.loop, asyncio.SelectorEventLoop)
        )
        self._crowd = crowd
        self._server: asyncio.Server | None = None
        self._arriving: set[asyncio.Task[None]] = set()
        self._paused: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Begin to accept."""
        loop = self._context.loop
        connection = self._connection
        if self._accepts:
            self._sock.setblocking(False)
            loop.add_reader(self._sock, self._accept)
        elif self._sock.family != getattr(socket, "AF_UNIX", None):
            self._server = await loop.create_server(
                connection, sock=self._sock, backlog=self._backlog
            )
        elif sys.version_info >= (3, 13):
            # Otherwise a loop unlinks the file, even of a socket that systemd or a parent bound.
            self._server = await loop.create_unix_server(
                connection, sock=self._sock, backlog=self._backlog, cleanup_socket=False
            )
        else:
            self._server = await loop.create_unix_server(
                connection, sock=self._sock, backlog=self._backlog
            )
        self._sock.listen(self._backlog)

    def _connection(
        self, proxied: ProxyHeader | None = None
    ) -> Http1Connection | NegotiatedConnection:
        if self._acceptor is not None:
            return NegotiatedConnection(self._context, proxied)
        return Http1Connection(self._context, proxied)

    def _accept(self) -> None:
        if self._crowd is not None and not self._crowd.make_room():
            self._context.loop.remove_reader(self._sock)
            self._crowd.wait(self, self._accept_again)
        else:
            self._accept_from(self._sock)

    def _accept_from(self, sock: socket.socket) -> bool:
        """Take one connection that waits; whether there was one."""
        loop = self._context.loop
        try:
            connection, address = sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            logger.error("no connection can be accepted for %g s: %s", _PAUSE, error.strerror)
            if self._accepts and self._paused is None:
                loop.remove_reader(self._sock)
                self._paused = loop.call_later(_PAUSE, self._accept_again)
            return False
        connection.setblocking(False)
        task = loop.create_task(self._arrive(connection, address))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)
        return True

    def _accept_again(self) -> None:
        self._paused = None
        self._context.loop.add_reader(self._sock, self._accept)

    async def _arrive(self, sock: socket.socket, address: object) -> None:
        factory: Callable[[], asyncio.BaseProtocol] = self._connection
        header: ProxyHeader | None = None
        if self._proxy is not None:
            try:
                header = await self._proxy.read(sock, address)
            except ConnectionAbortedError:
                return
            factory = partial(self._connection, header)
        if self._crowd is None:
            await self._hand_over(factory, sock)
            return
        client = _client(address, header)
        if not self._crowd.arrived(client):
            sock.close()
            return
        try:
            await self._hand_over(factory, sock)
        finally:
            self._crowd.settled(client)

    async def _hand_over(
        self, factory: Callable[[], asyncio.BaseProtocol], sock: socket.socket
    ) -> None:
        loop = self._context.loop
        if self._acceptor is not None:
            await self._acceptor.accept(loop, factory, sock)
            return
        try:
            await loop.connect_accepted_socket(factory, sock)
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
        if self._crowd is not None:
            self._crowd.forget(self)
        for _ in range(3):
            await asyncio.sleep(0)
        await self.settle()

    async def settle(self) -> None:
        """Return when every connection that was accepted is among `connections`.

        A PROXY header or a TLS handshake that has not come to its end by then is given up.
        """
        if self._arriving and (self._proxy is not None or self._acceptor is not None):
            _, late = await asyncio.wait(self._arriving, timeout=_HANDSHAKES)
            for task in late:
                task.cancel()
        while self._arriving:
            await asyncio.wait(self._arriving)

    @property
    def connections(self) -> set[Connection]:
        """Those open now."""
        return self._context.connections

    @property
    def exchanges(self) -> Iterator[Exchange]:
        """Those under way on all connections."""
        for connection in list(self._context.connections):
            yield from connection.exchanges

    def sweep(self) -> None:
        """Tell every connection whose deadline has passed; call it once a second.

        Not after a tick that came late: the loop was blocked, and what clients sent in time is
        still unread.
        """
        if self._context.clock.late:
            return
        if self._proxy is not None:
            self._proxy.sweep()
        now = self._context.clock.now
        overdue = [each for each in self._context.connections if each.deadline <= now]
        for connection in overdue:
            idle = not connection.exchanges
            connection.timed_out()
            if idle:
                self._part(connection)

    def _part(self, connection: Connection) -> None:
        """See that an idle connection that was closed goes: see `_FAREWELL`."""
        if self._acceptor is not None and connection.closing:
            self._context.loop.call_later(_FAREWELL, self._cut, connection)

    def _cut(self, connection: Connection) -> None:
        if connection in self._context.connections:
            connection.cut()

    def close(self) -> None:
        """Stop accepting. Never waits: `Server.wait_closed` would wait for every connection."""
        if self._accepts:
            if self._sock.fileno() >= 0:
                self._context.loop.remove_reader(self._sock)
            self._sock.close()
            if self._crowd is not None:
                self._crowd.forget(self)
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
            idle = not connection.exchanges
            connection.drain()
            if idle:
                self._part(connection)

    def cut(self) -> None:
        """Close every connection now; answers that are complete still leave."""
        for connection in list(self._context.connections):
            if not connection.closing:
                connection.cut()


def _client(address: object, header: ProxyHeader | None) -> Address | None:
    """Whose connection it is: whom a balancer has named, else who connects."""
    if header is not None and header.known:
        return header.client
    return (address[0], address[1]) if isinstance(address, tuple) else None
