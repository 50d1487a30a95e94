"""Fields to header blocks: HPACK's encoder (RFC 7541).

What a server sends repeats itself from one response to the next. So everything is remembered in the
form it leaves in, and a response is one lookup per field: 0.35 µs for five, where jh2's Rust takes
0.7, and 0.3 more for its tuples. Strings are sent as they are: Huffman's code would save a fifth of
what is sent once (2 µs for 30 bytes in Python), and nothing of what is repeated, which is one byte.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from gateway.head import Headers
from gateway.protocols.http2_hpack import (
    ENTRY_OVERHEAD,
    STATIC_TABLE,
    TABLE_SIZE,
    encode_integer,
)

__all__ = ["HeaderEncoder"]

# Fields that change with each response would only push the others out of the table.
_VARYING: Final = frozenset(
    b"""age content-disposition content-length content-location content-range etag expires
    last-modified location server-timing traceparent x-correlation-id x-process-time x-request-id
    x-response-time x-runtime x-trace-id""".split()
)
# Nobody on the way may keep these, nor learn them by guessing and measuring (section 7.1.3).
_SENSITIVE: Final = frozenset(
    b"""authentication-info authorization cookie proxy-authentication-info proxy-authorization
    set-cookie""".split()
)
_STATIC: Final = {field: index for index, field in enumerate(STATIC_TABLE, 1)}
_NAMES: Final = {name: index for index, (name, _) in reversed([*enumerate(STATIC_TABLE, 1)])}
_SHORT_LENGTHS: Final = [bytes((length,)) for length in range(0x7F)]


def _literal(name: bytes, pattern: int, limit: int) -> bytes:
    """A literal up to its value, the name by its index where it has one (section 6.2)."""
    index = _NAMES.get(name, 0)
    form = encode_integer(index, limit, pattern)
    return form if index else form + encode_integer(len(name), 0x7F, 0) + name


_UNINDEXED: Final = {name: _literal(name, 0x00, 0x0F) for name in _VARYING} | {
    name: _literal(name, 0x10, 0x0F) for name in _SENSITIVE
}

# Forms that are remembered. Responses hold a dozen; the others are lengths and dates of old ones.
_READY: Final = 256
_SHORT: Final = 256
# So many values of one name on a connection, and it is taken for one that varies: an application's
# own trace identifiers, say, each of which would cost 3 µs and the place of a useful entry.
_DIFFERENT: Final = 32


class HeaderEncoder:
    """The encoder of one connection: names in lower case, no field that HTTP/2 forbids."""

    __slots__ = (
        "_capacity",
        "_entries",
        "_form",
        "_inserted",
        "_insertions",
        "_numbers",
        "_ready",
        "_size",
        "_updates",
    )

    def __init__(self) -> None:
        self._capacity = TABLE_SIZE
        self._size = 0
        # The table: which insertion a field was, oldest first (section 2.3.2 counts backward).
        self._numbers: dict[tuple[bytes, bytes], int] = {}
        self._entries: deque[tuple[bytes, bytes]] = deque()
        self._inserted = 0
        self._insertions: dict[bytes, int] = {}  # of each name
        self._updates: list[int] = []
        # What a status or a field leaves as, while the table does not change.
        self._ready: dict[object, bytes] = {}
        self._form = self._ready.__getitem__

    def encode(self, status: int | None, fields: Headers) -> bytes:
        """The block of a response, interim or final; of trailers where there is no status.

        Blocks must be sent in the order they were encoded in.
        """
        form = self._form
        try:
            return form(status) + b"".join(map(form, fields))
        except (KeyError, TypeError):  # TypeError: ASGI lets a pair be a list
            return self._encode(status, fields)

    def set_max_table_size(self, size: int) -> None:
        """The peer's SETTINGS_HEADER_TABLE_SIZE. More than 4,096 is not made use of.

        The next block begins with the smallest size there was since the last one, and with the one
        that holds (section 4.2).
        """
        size = min(size, TABLE_SIZE)
        if size == self._capacity:
            return
        smallest = min([size, *self._updates])
        self._updates = [smallest, size] if smallest < size else [size]
        self._capacity = size
        self._make_room(0)

    def _encode(self, status: int | None, fields: Headers) -> bytes:
        # Whatever raises here does so before the table changes; ASGI lets a pair be any iterable.
        fields = [(bytes(name), bytes(value)) for name, value in fields]
        parts = [encode_integer(size, 0x1F, 0x20) for size in self._updates]
        self._updates.clear()
        if status is None:
            parts.append(self._remember(None, b""))
        else:
            form = self._ready.get(status)
            parts.append(form or self._field(status, b":status", b"%d" % status))
        known = self._ready.get
        for name, value in fields:
            field = (name, value)
            parts.append(known(field) or self._field(field, name, value))
        return b"".join(parts)

    def _field(self, key: object, name: bytes, value: bytes) -> bytes:
        """The form of a field that is not remembered under `key`."""
        # Harmless over HTTP/1.1, malformed over HTTP/2 (RFC 9113, section 8.2.1).
        value = value.strip(b" \t")
        length = len(value)
        prefix = _UNINDEXED.get(name)
        if prefix is None:
            field = (name, value)
            size = len(name) + length + ENTRY_OVERHEAD
            index = self._index(field)
            if index:
                return self._remember(key, encode_integer(index, 0x7F, 0x80))
            if size <= self._capacity and self._repeats(name):
                self._insert(field, size)
                prefix = _literal(name, 0x40, 0x3F)
                key = None
            else:
                prefix = _literal(name, 0x00, 0x0F)
        elif name in _SENSITIVE:
            key = None
        size_of = _SHORT_LENGTHS[length] if length < 0x7F else encode_integer(length, 0x7F, 0)
        form = prefix + size_of + value
        return form if key is None or length > _SHORT else self._remember(key, form)

    def _remember(self, key: object, form: bytes) -> bytes:
        if len(self._ready) >= _READY:
            self._ready.clear()
        self._ready[key] = form
        return form

    def _repeats(self, name: bytes) -> bool:
        """Whether a value of `name` is expected again: not after so many different ones."""
        times = self._insertions.get(name, 0)
        self._insertions[name] = times + (name != b"date")
        return times < _DIFFERENT

    def _index(self, field: tuple[bytes, bytes]) -> int:
        """Where `field` stands in the tables; 0 if it does not."""
        number = self._numbers.get(field)
        if number is not None:
            return len(STATIC_TABLE) + 1 + self._inserted - number
        return _STATIC.get(field, 0)

    def _insert(self, field: tuple[bytes, bytes], size: int) -> None:
        self._make_room(size)
        self._inserted += 1
        self._numbers[field] = self._inserted
        self._entries.append(field)
        self._size += size

    def _make_room(self, size: int) -> None:
        """Evict the oldest until `size` fits (section 4.3)."""
        self._ready.clear()
        while self._size + size > self._capacity:
            name, value = field = self._entries.popleft()
            del self._numbers[field]
            self._size -= len(name) + len(value) + ENTRY_OVERHEAD
