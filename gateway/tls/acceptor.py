"""The way of a connection from its acceptance to the end of its TLS handshake."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from gateway.tls.certificates import Certificates
from gateway.tls.client_hello import LARGEST_HELLO, ClientHello, is_tls

__all__ = ["Acceptor"]

logger = logging.getLogger("gateway.error")

_FIRST_WAIT: Final = 0.001
_LONGEST_WAIT: Final = 0.25
# What the loops give the last bytes of a connection to leave, and the peer to say goodbye. Below
# it a slow client would lose the end of a response; see `Listener` for those that never answer.
_SHUTDOWN: Final = 30.0

# What the loops log for each write to a connection that broke a moment ago. A plain transport can
# be asked (`is_closing`); one of TLS says no until the protocol is told, two turns of the loop
# later: a client that cut a download of one byte at a time made 850 lines.
_BROKEN: Final = frozenset(("socket.send() raised exception.", "SSL connection is closed"))

_PLAIN: Final = b"This port speaks HTTPS.\n"
_ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(_PLAIN), _PLAIN)
)


class Acceptor:
    """Makes a TLS connection of each socket.

    The loops' own servers can do it too, but then nobody sees the first bytes: whom the client asks
    for and which curves it knows (see `Certificate`), and whether they are TLS at all.
    """

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates
        self._timeout = certificates.options.handshake_timeout
        logging.getLogger("asyncio").addFilter(_is_news)

    async def accept(
        self,
        loop: asyncio.AbstractEventLoop,
        factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
    ) -> None:
        """Do the handshake, then hand the connection to a protocol of `factory`.

        sock: accepted, non-blocking; closed here where nothing comes of it. A client that speaks
        plain HTTP gets a 400. Whatever clients do wrong is one line at level debug: scanners do
        nothing else all day.
        """
        end = loop.time() + self._timeout
        peer = _peer(sock)
        try:
            async with asyncio.timeout_at(end):
                context = await self._context(loop, sock)
            if context is None:
                logger.debug("TLS: no handshake with %s: plain bytes", peer)
                _refuse(sock)
                return
            await loop.connect_accepted_socket(
                factory,
                sock,
                ssl=context,
                ssl_handshake_timeout=max(end - loop.time(), 0.001),
                ssl_shutdown_timeout=_SHUTDOWN,
            )
        except OSError as error:  # a timeout is one, and so is what OpenSSL says
            logger.debug("TLS: no handshake with %s: %s", peer, error or "timed out")
            sock.close()
        except BaseException:
            sock.close()
            raise

    async def _context(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket
    ) -> ssl.SSLContext | None:
        """What the client's hello asks for; None where it says something else."""
        wait = _FIRST_WAIT
        while True:
            try:
                data = sock.recv(LARGEST_HELLO, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                await _readable(loop, sock)
                continue
            if not data:
                raise ConnectionResetError("the client said nothing")
            if not is_tls(data):
                return None
            hello = ClientHello.parse(data)
            if hello is not None:
                return self._certificates.context_for(hello)
            # Half a hello. The socket stays readable, so only time tells.
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)


async def _readable(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    ready: asyncio.Future[None] = loop.create_future()
    fd = sock.fileno()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(fd, wake)
    try:
        await ready
    finally:
        loop.remove_reader(fd)


def _refuse(sock: socket.socket) -> None:
    """Answer what is plain HTTP; close on everything else."""
    with sock, suppress(OSError):
        data = sock.recv(65536)  # unread bytes would make the close a reset
        if data[:1].isalpha():
            sock.send(_ANSWER)
            sock.shutdown(socket.SHUT_WR)


def _is_news(record: logging.LogRecord) -> bool:
    return record.msg not in _BROKEN


def _peer(sock: socket.socket) -> str:
    try:
        name = sock.getpeername()
    except OSError:
        return "a client"
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "a UNIX socket"
