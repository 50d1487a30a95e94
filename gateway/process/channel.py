"""What a parent and its worker tell each other: JSON objects over a socket pair.

JSON, not pickle: a worker may run as another user, and what comes from it is only data. The one
pickle, the `Handover`, goes from the parent to a worker that has not run anybody's code yet.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Final, cast

from gateway.errors import ConfigError, GatewayError, StartError
from gateway.log_format import CONTROLS

__all__ = [
    "Channel",
    "Message",
    "failure_message",
    "failure_of",
    "receive_frame",
    "send_message",
]

Message = dict[str, object]

_SIZE: Final = struct.Struct("!I")
_LARGEST: Final = 1 << 20


class Channel:
    """One end of the socket pair, on a running loop.

    Frames are a length of four bytes and that many bytes. Sending never waits: what a worker that
    hangs does not read stays in this process.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, sock: socket.socket) -> Channel:
        """Take over `sock`."""
        return cls(*await asyncio.open_unix_connection(sock=sock))

    def send(self, message: Mapping[str, object]) -> None:
        """Send one message; nothing happens when the other side is gone."""
        self.send_frame(json.dumps(message).encode())

    def send_frame(self, frame: bytes) -> None:
        with suppress(OSError, RuntimeError):  # RuntimeError: uvloop, for a closed transport
            self._writer.write(_framed(frame))

    async def messages(self) -> AsyncIterator[Message]:
        """Every message, until the other side is gone. Raises ValueError for what is none."""
        while True:
            try:
                (size,) = _SIZE.unpack(await self._reader.readexactly(_SIZE.size))
                if size > _LARGEST:
                    raise ValueError(f"a frame of {size} bytes")
                frame = await self._reader.readexactly(size)
            except (asyncio.IncompleteReadError, OSError):
                return
            yield cast("Message", json.loads(frame))

    async def close(self) -> None:
        """Close this end, when everything sent has left or the other side is gone."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


def failure_message(error: GatewayError) -> Message:
    """What a child says of why it cannot start."""
    return {"kind": "failed", "text": str(error), "code": error.exit_code}


def failure_of(text: str, code: int) -> GatewayError:
    """The error that a child has told of, with nothing in it that a terminal would act on."""
    kind = ConfigError if code == ConfigError.exit_code else StartError
    return kind(text.translate(CONTROLS))


def receive_frame(sock: socket.socket) -> bytes:
    """The next frame of a blocking socket; `EOFError` when the other side is gone."""
    (size,) = _SIZE.unpack(_receive(sock, _SIZE.size))
    return _receive(sock, size)


def send_message(sock: socket.socket, message: Mapping[str, object]) -> None:
    """Send one message over a blocking socket. Raises OSError when the other side is gone."""
    sock.sendall(_framed(json.dumps(message).encode()))


def _framed(frame: bytes) -> bytes:
    return _SIZE.pack(len(frame)) + frame


def _receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data
