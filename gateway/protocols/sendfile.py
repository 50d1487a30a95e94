"""A range of a regular file, sent by the kernel behind a transport's back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import BinaryIO, Final

__all__ = ["FileTransfer"]

# One turn on the loop sends this much at most, so that a fast peer does not starve the others.
_TURN: Final = 1024 * 1024
_COPY: Final = 64 * 1024


class FileTransfer:
    """Sends `count` bytes of `file` from `offset` over the socket of `transport`.

    Rules of its life:
    1. The owner calls `advance` once, and again from its ``resume_writing``. Until `on_done` it
       writes nothing to the transport and has set its write buffer limit to 0.
    2. `on_done` is called exactly once, with False if the file ended too early or could not be
       read, unless `close` came first.
    3. The file is closed in every case.

    left: bytes not sent yet.

    os.sendfile needs the socket's own descriptor, which uvloop does not let others watch; a
    duplicate of it may be. Where there is no sendfile (TLS, Windows, some file systems) the range
    is copied in pieces of 64 KiB.
    """

    __slots__ = ("_copy", "_file", "_loop", "_offset", "_on_done", "_out", "_transport", "left")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        file: BinaryIO,
        offset: int,
        count: int,
        on_done: Callable[[bool], None],
    ) -> None:
        self._loop = loop
        self._transport = transport
        self._file: BinaryIO | None = file
        self._offset = offset
        self.left = count
        self._on_done = on_done
        self._out = -1
        tls = transport.get_extra_info("sslcontext") is not None
        self._copy = tls or not hasattr(os, "sendfile")

    def advance(self) -> None:
        """Send what fits now."""
        transport = self._transport
        while (
            self._file is not None
            and transport.get_write_buffer_size() == 0
            and not transport.is_closing()
        ):
            if self.left == 0:
                self._finish(True)
            elif self._copy:
                self._copy_piece(self._file)
            elif not self._send(self._file):
                return

    def _copy_piece(self, file: BinaryIO) -> None:
        try:
            file.seek(self._offset)
            piece = file.read(min(self.left, _COPY))
        except (OSError, ValueError):
            piece = b""
        if not piece:
            self._finish(False)
            return
        self._offset += len(piece)
        self.left -= len(piece)
        self._transport.write(piece)

    def _send(self, file: BinaryIO) -> bool:
        """One turn of sendfile; False when the loop will call again."""
        try:
            if self._out < 0:
                self._out = os.dup(self._transport.get_extra_info("socket").fileno())
            sent = os.sendfile(self._out, file.fileno(), self._offset, min(self.left, _TURN))
        except BlockingIOError:
            self._loop.add_writer(self._out, self.advance)
            return False
        except ConnectionError:
            # A transport that does not read either would never learn of it.
            self._unwatch()
            self._transport.abort()
            return False
        except (OSError, ValueError):
            self._copy = True
            self._unwatch()
            return True
        if sent == 0:
            self._finish(False)
            return True
        self._offset += sent
        self.left -= sent
        if self.left:
            self._loop.add_writer(self._out, self.advance)
            return False
        return True

    def _unwatch(self) -> None:
        if self._out >= 0:
            self._loop.remove_writer(self._out)
            os.close(self._out)
            self._out = -1

    def _finish(self, complete: bool) -> None:
        self.close()
        self._on_done(complete)

    def close(self) -> None:
        """Stop, whatever has been sent; `on_done` will not be called."""
        self._unwatch()
        if self._file is not None:
            self._file.close()
            self._file = None
