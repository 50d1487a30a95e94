"""``wsgi.file_wrapper``: a file as a response (PEP 3333, "Optional Platform-Specific File
Handling").
"""

from __future__ import annotations

import os
import stat
from io import BufferedRandom, BufferedReader, FileIO
from tempfile import _TemporaryFileWrapper
from typing import BinaryIO, Final, Protocol

__all__ = ["FileWrapper"]

# Django asks for 4 KiB and PEP 3333 shows 8: a suggestion, its text says. A block costs a crossing
# between threads whatever its size.
_BLOCK: Final = 32 * 1024
# Only these are known to read what their descriptor holds: a GzipFile has one as well, and its
# bytes are not the ones that `read` gives. A subclass may override `read`.
_PLAIN_FILES: Final = (BufferedReader, BufferedRandom, FileIO)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class FileWrapper:
    """An iterable over a file-like object; `regular` tells whether the kernel may send it.

    filelike: has ``read(size)``; its ``close`` becomes the wrapper's.
    block_size: bytes per ``read``; at least 32 KiB are asked for.
    """

    def __init__(self, filelike: _Readable, block_size: int = _BLOCK) -> None:
        self.filelike = filelike
        self.block_size = max(block_size, _BLOCK)
        # "If a ``close()`` method is present it is used": a wrapper without one must not have it.
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> bytes:
        if data := self.filelike.read(self.block_size):
            return data
        raise StopIteration

    def regular(self) -> tuple[BinaryIO, int, int] | None:
        """(file, offset, count) from the current position to the end of a regular file, else None.

        The file is a duplicate: the application's own is closed at once, while the kernel may
        still be sending this one. Its position is shared, so it is sent by offset.
        """
        file = self.filelike
        if isinstance(file, _TemporaryFileWrapper):
            file = file.file
        if type(file) not in _PLAIN_FILES:
            return None
        assert isinstance(file, _PLAIN_FILES)  # noqa: S101 - for mypy, which cannot read the line above
        try:
            file.flush()
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return None
            offset = file.tell()
            duplicate = FileIO(os.dup(file.fileno()), "rb")
        except (OSError, ValueError):
            return None
        return duplicate, offset, max(status.st_size - offset, 0)
