"""What one stream has to send and its peer does not take yet."""

from __future__ import annotations

from collections import deque
from typing import BinaryIO

from gateway.head import Headers

__all__ = ["Outbox"]


class Outbox:
    """Bytes, and ranges of files, in order; read from the file when there is room for them.

    ends: the response is complete with what waits here. trailers: leave behind it, if any.
    file_sent: a file was taken to its end.
    """

    __slots__ = ("_files", "_pieces", "ends", "file_sent", "trailers")

    def __init__(self) -> None:
        # Views: cutting off what is left anew for each frame would copy a body of n frames n / 2
        # times.
        self._pieces: deque[memoryview | _FileRange] = deque()
        self.ends = False
        self.file_sent = False
        self.trailers: Headers = []

    def add(self, data: bytes) -> None:
        """Wait with `data`."""
        if data:
            self._pieces.append(memoryview(data))

    def add_file(self, file: BinaryIO, offset: int, count: int) -> None:
        """Wait with `count` bytes of `file`, which is closed in every case."""
        self._pieces.append(_FileRange(file, offset, count))

    @property
    def empty(self) -> bool:
        return not self._pieces

    def take(self, size: int) -> bytes:
        """The next bytes, at most `size`, of an outbox that is not empty.

        Raises OSError where a file has fewer than it should.
        """
        pieces = self._pieces
        piece = pieces.popleft()
        if isinstance(piece, _FileRange):
            try:
                data = piece.read(size)
            except OSError:
                piece.file.close()
                raise
            if piece.left:
                pieces.appendleft(piece)
            else:
                piece.file.close()
                self.file_sent = True
            return data
        if len(piece) > size:
            pieces.appendleft(piece[size:])
        return bytes(piece[:size])

    def close(self) -> None:
        """Give up what waits."""
        for piece in self._pieces:
            if isinstance(piece, _FileRange):
                piece.file.close()
        self._pieces.clear()


class _FileRange:
    __slots__ = ("_offset", "file", "left")

    def __init__(self, file: BinaryIO, offset: int, left: int) -> None:
        self.file = file
        self._offset = offset
        self.left = left

    def read(self, size: int) -> bytes:
        self.file.seek(self._offset)
        data = self.file.read(min(size, self.left))
        if not data and self.left:
            raise OSError("the file is shorter than announced")
        self._offset += len(data)
        self.left -= len(data)
        return data
