"""The sending side of an HTTP/1.1 connection: framing of responses (RFC 9112, sections 6 and 7)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import BinaryIO, Final

from gateway.head import Headers
from gateway.protocols.http1_encoder import ResponseEncoder
from gateway.protocols.sendfile import FileTransfer

__all__ = ["ResponseWriter"]

# Larger pieces are handed over unjoined: copying 16 KiB costs what one more writev entry does, and
# uvloop sends all writes of one turn in one system call. Not by writelines: asyncio's, on Python
# 3.12 and 3.13, never asks to pause, so a peer that does not read would fill the memory.
_JOIN: Final = 16 * 1024
# uvloop's and asyncio's default: above it the transport asks to pause.
_WRITE_BUFFER: Final = 64 * 1024


class ResponseWriter:
    """Writes one response after the other to a transport, chunked where the length is unknown.

    It knows no rule about when a connection is kept; the connection says so in `start`.
    transfer: the file on its way, if any. What is written meanwhile follows it.
    """

    __slots__ = ("_chunked", "_encoder", "_loop", "_transport", "_waiting", "transfer")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        encoder: ResponseEncoder,
    ) -> None:
        self._loop = loop
        self._transport = transport
        self._encoder = encoder
        self._chunked = False
        self._waiting: list[bytes] = []
        self.transfer: FileTransfer | None = None

    def start(
        self,
        status: int,
        headers: Headers,
        own_fields: tuple[bytes, ...],
        framing: bytes,
        chunked: bool,
        data: bytes,
        more: bool,
    ) -> None:
        """Write a head and the first bytes of its body at once.

        framing: field lines of the connection's own, each with its CRLF.
        """
        self._chunked = chunked
        if chunked:
            framing += b"transfer-encoding: chunked\r\n\r\n"
            data = _chunk(data, more)
        else:
            framing += b"\r\n"
        head = self._encoder.head(status, headers, own_fields) + framing
        if len(data) < _JOIN:
            self._transport.write(head + data)
        else:
            self._transport.write(head)
            self._transport.write(data)

    def tunnel(
        self, status: int, headers: Headers, own_fields: tuple[bytes, ...], framing: bytes
    ) -> None:
        """Write a head that no body follows; `data` then goes out as it is."""
        self._chunked = False
        head = self._encoder.head(status, headers, own_fields)
        self._transport.write(head + framing + b"\r\n")

    def data(self, data: bytes, more: bool) -> None:
        """Write body bytes; ``more`` False ends the body."""
        if self._chunked:
            if len(data) >= _JOIN and self.transfer is None:
                self._transport.write(b"%x\r\n" % len(data))
                self._transport.write(data)
                self._transport.write(b"\r\n" if more else b"\r\n0\r\n\r\n")
                return
            data = _chunk(data, more)
        if data:
            self._write(data)

    def trailers(self, headers: Headers) -> None:
        """End the body with trailer fields, which only the chunked coding can carry."""
        if self._chunked:
            fields = b"".join([b"%b: %b\r\n" % pair for pair in headers])
            self._write(b"0\r\n" + fields + b"\r\n")

    def informational(self, status: int, headers: Headers) -> None:
        """Write an interim response."""
        self._transport.write(self._encoder.informational(status, headers))

    def file(
        self, file: BinaryIO, offset: int, count: int, more: bool, on_sent: Callable[[bool], None]
    ) -> None:
        """Send a range of a file as body bytes, in one chunk; `on_sent` hears of its end once.

        `on_sent` gets False when the file was shorter than `count`; nothing may follow then.
        """
        if self._chunked and count:
            self._write(b"%x\r\n" % count)

        def done(complete: bool) -> None:
            self.transfer = None
            self._transport.set_write_buffer_limits(_WRITE_BUFFER)
            if complete:
                end = b""
                if self._chunked:
                    end = (b"\r\n" if count else b"") + (b"" if more else b"0\r\n\r\n")
                rest = end + b"".join(self._waiting)
                self._waiting.clear()
                if rest:
                    self._transport.write(rest)
            on_sent(complete)

        self.transfer = FileTransfer(self._loop, self._transport, file, offset, count, done)
        self._transport.set_write_buffer_limits(0)
        self.transfer.advance()

    def unsent(self) -> int:
        """Bytes that wait for the peer: in the transport, or of the file on its way."""
        waiting = self._transport.get_write_buffer_size()
        return waiting + self.transfer.left if self.transfer is not None else waiting

    def close(self) -> None:
        """Give up a file on its way; the connection is lost."""
        if self.transfer is not None:
            self.transfer.close()
            self.transfer = None

    def _write(self, data: bytes) -> None:
        if self.transfer is not None:
            self._waiting.append(data)
        else:
            self._transport.write(data)


def _chunk(data: bytes, more: bool) -> bytes:
    """One chunk, and the last one behind it. Empty data is no chunk: that would end the body."""
    if data:
        return b"%x\r\n%b%b" % (len(data), data, b"\r\n" if more else b"\r\n0\r\n\r\n")
    return b"" if more else b"0\r\n\r\n"
