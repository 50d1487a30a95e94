"""Request bodies, cut out of the bytes of a connection (RFC 9112, sections 6 and 7.1)."""

from __future__ import annotations

import re
from math import inf
from typing import Final, TypeAlias

from gateway.fields import TOKEN
from gateway.protocols.http1_rules import check_fields
from gateway.protocols.request_rules import BadRequest

__all__ = ["BodyDecoder", "ChunkedDecoder", "LengthDecoder"]

# 16 hexadecimal digits are 64 bits. No white space around the size or in an extension: llhttp
# allows none, and what a proxy makes of it is anybody's guess (CVE-2021-22960). An extension holds
# no control character (CVE-2024-52304) and is not interpreted.
_QUOTED: Final = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_SIZE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,16})(?:;%b(?:=(?:%b|%b))?)*\r\n" % (TOKEN.pattern, TOKEN.pattern, _QUOTED)
)
_PARTIAL_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,16}(?:;[\t\x20-\x7e\x80-\xff]*)?\r?")
_FIELD: Final = re.compile(rb"%b:[\t\x20-\x7e\x80-\xff]*\r\n" % TOKEN.pattern)

_SIZE_LINE: Final = 1024
_EXTENSIONS: Final = 16 * 1024


class LengthDecoder:
    """Takes the bytes of a body of declared length; the same calls as `ChunkedDecoder`.

    left: bytes still to come.
    """

    __slots__ = ("done", "left")

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Returns (content, surplus): surplus are the bytes behind the end of the body."""
        left = self.left - len(data)
        if left > 0:
            self.left = left
            return data, b""
        content, surplus = (data, b"") if left == 0 else (data[:left], data[left:])
        self.left = 0
        self.done = True
        return content, surplus


class ChunkedDecoder:
    """Takes the bytes of one chunked body and gives the content.

    limit, fields: bounds on the trailer section, in bytes and lines. Trailers are checked and
    dropped: they must not join the header section (RFC 9110, section 6.5.1).
    announced: bytes of content in the chunks begun so far. most: as many as there may be.

    Size lines are bounded to 1 KiB, extensions to 16 KiB in all, as Go's net/http does: an endless
    extension is otherwise a body nobody counts.
    """

    __slots__ = (
        "_extensions",
        "_fields",
        "_left",
        "_limit",
        "_rest",
        "_state",
        "announced",
        "done",
        "left",
        "most",
    )

    _IN_SIZE, _IN_DATA, _IN_CRLF, _IN_TRAILERS = range(4)

    def __init__(self, limit: int = 64 * 1024, fields: int = 100) -> None:
        self._limit = limit
        self._fields = fields
        self._left = 0
        self._rest = b""
        self._extensions = 0
        self._state = self._IN_SIZE
        self.done = False
        self.left = 0  # of the whole body: not known, so small until it proves otherwise
        self.announced = 0
        self.most: float = inf

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Decode `data`; returns (content, surplus).

        surplus: bytes behind the end of the body, once `done`; else b"".
        Raises `BadRequest`; the connection cannot be used further then.
        """
        if self._rest:
            data, self._rest = self._rest + data, b""
        content: list[bytes] = []
        position, end = 0, len(data)
        match_size = _SIZE.match
        while position < end:
            if self._state == self._IN_DATA:
                piece = data[position : position + self._left]
                content.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if self._left == 0:
                    self._state = self._IN_CRLF
            elif self._state == self._IN_CRLF:
                # The two bytes must be there and must be these (CVE-2025-43859).
                if data[position : position + 2] != b"\r\n":
                    if data[position:] == b"\r":
                        break
                    raise BadRequest(400, "a chunk is longer than its size")
                position += 2
                self._state = self._IN_SIZE
            elif self._state == self._IN_SIZE:
                match = match_size(data, position)
                if match is None:
                    self._check_partial_size(data[position : position + _SIZE_LINE + 1])
                    break
                digits = match.group(1)
                size_line = match.end() - position
                self._extensions += size_line - len(digits) - 2
                if size_line > _SIZE_LINE or self._extensions > _EXTENSIONS:
                    raise BadRequest(400, "the chunk extensions are too long")
                position = match.end()
                self._left = int(digits, 16)
                self.announced += self._left
                if self.announced > self.most:
                    raise BadRequest(413, "the request body is too large")
                self._state = self._IN_DATA if self._left else self._IN_TRAILERS
            else:
                finish = self._trailers_end(data, position)
                if finish < 0:
                    break
                self.done = True
                return b"".join(content), data[finish:]
        self._rest = data[position:]
        return content[0] if len(content) == 1 else b"".join(content), b""

    def _check_partial_size(self, line: bytes) -> None:
        """Refuse at once what no further byte can make a size line."""
        if len(line) > _SIZE_LINE:
            raise BadRequest(400, "the chunk extensions are too long")
        if not _PARTIAL_SIZE.fullmatch(line):
            raise BadRequest(400, "a chunk size is not a hexadecimal number")

    def _trailers_end(self, data: bytes, position: int) -> int:
        """Where the body ends behind its trailer section; -1 if that is not complete."""
        if data.startswith(b"\r\n", position):
            return position + 2
        found = data.find(b"\r\n\r\n", position)
        # The last three bytes may be the beginning of the end.
        if (len(data) - 3 if found < 0 else found) - position > self._limit:
            raise BadRequest(431, "the trailer section is too large")
        if found < 0:
            return -1
        section = data[position : found + 2]
        check_fields(section)
        lines = [line + b"\r\n" for line in section.split(b"\r\n")[:-1]]
        if len(lines) > self._fields:
            raise BadRequest(431, "too many trailer fields")
        if not all(map(_FIELD.fullmatch, lines)):
            raise BadRequest(400, "a malformed trailer field")
        return found + 4


BodyDecoder: TypeAlias = "LengthDecoder | ChunkedDecoder"
