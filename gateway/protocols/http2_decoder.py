"""Header blocks to fields: HPACK's decoder (RFC 7541), and the bound on what a block may hold."""

from __future__ import annotations

from typing import Final

from gateway.head import Headers
from gateway.protocols.http2_hpack import (
    ENTRY_OVERHEAD,
    STATIC_TABLE,
    TABLE_SIZE,
    CompressionError,
    decode_huffman,
)

__all__ = ["CompressionError", "HeaderDecoder", "HeaderListTooLarge"]

# Indices count from 1; the dynamic table stands behind the static one, its newest entry first.
_FIRST_DYNAMIC: Final = len(STATIC_TABLE) + 1
_LARGEST_STATIC: Final = 64
# 35 bits behind the prefix are more than any index, size or length needs (section 5.1).
_INTEGER_BYTES: Final = 5
# Whole blocks that are remembered, and how long they may be: a few kilobytes per connection.
_BLOCKS: Final = 32
_SHORT: Final = 256


class HeaderListTooLarge(Exception):  # noqa: N818 - it is the answer, by its name in RFC 9113
    """The fields are sound, but more than is taken. The table is in step: go on, with a 431.

    size: bytes of the list as RFC 9113, section 6.5.2, counts them.
    """

    def __init__(self, size: int) -> None:
        super().__init__(f"a header list of {size} bytes")
        self.size = size


class HeaderDecoder:
    """The decoder of one connection.

    max_list_size: bytes a header list may have, each field counted with 32 more, as in
        SETTINGS_MAX_HEADER_LIST_SIZE. A bomb, a block of indices to one large entry, cannot be
        inflated: entries are shared, so that 16 KiB of it are a list of 128 KiB, and 2 ms.

    A block that came before, while the table has not changed, costs 0.1 µs; else an index 0.1 and
    a literal 0.6.
    """

    __slots__ = ("_blocks", "_capacity", "_largest", "_max_list_size", "_size", "_table")

    def __init__(self, max_list_size: int) -> None:
        self._max_list_size = max_list_size
        self._table: Headers = [(b"", b""), *STATIC_TABLE]
        self._size = 0
        self._capacity = TABLE_SIZE
        # No entry was ever larger: what a list can measure is known without adding it up.
        self._largest = _LARGEST_STATIC
        self._blocks: dict[bytes, Headers] = {}

    def decode(self, block: bytes) -> Headers:
        """The fields of a complete block, pseudo-fields among them, as they were sent.

        Whether a field was marked as never indexed is not told: that binds who sends it on
        (section 6.2.3). The list may be given again for an equal block: do not change it.

        Raises `CompressionError`, after which no block can be read, and `HeaderListTooLarge`.
        """
        known = self._blocks.get(block)
        if known is not None:
            return known
        try:
            fields, same_table = self._decode(block)
        except IndexError:
            raise CompressionError("an unknown index, or the block is cut short") from None
        # No string grows to more than 8/5 of itself.
        if len(fields) * self._largest + 2 * len(block) > self._max_list_size:
            size = sum([len(name) + len(value) + ENTRY_OVERHEAD for name, value in fields])
            if size > self._max_list_size:
                raise HeaderListTooLarge(size)
        if same_table and len(block) <= _SHORT:
            if len(self._blocks) >= _BLOCKS:
                self._blocks.clear()
            self._blocks[block] = fields
        return fields

    def _decode(self, block: bytes) -> tuple[Headers, bool]:
        """The fields, and whether the table is the same as before."""
        table = self._table
        fields: Headers = []
        same_table = True
        at, end = 0, len(block)
        while at < end:
            first = block[at]
            at += 1
            if first > 0x80:
                index = first & 0x7F
                if index == 0x7F:
                    index, at = _integer(block, at, 0x7F)
                fields.append(table[index])
                continue
            if first >= 0x40:
                if first == 0x80:
                    raise CompressionError("the index 0")
                limit = 0x3F
            elif first < 0x20:
                limit = 0x0F
            else:
                if fields:
                    raise CompressionError("a table size update behind a field")
                at = self._update_size(block, at)
                same_table = False
                continue
            index = first & limit
            if index == limit:
                index, at = _integer(block, at, limit)
            if index:
                name = table[index][0]
            else:
                name, at = _string(block, at)
            value, at = _string(block, at)
            field = (name, value)
            fields.append(field)
            if limit == 0x3F:
                self._insert(field)
                same_table = False
        return fields, same_table

    def _update_size(self, block: bytes, at: int) -> int:
        capacity = block[at - 1] & 0x1F
        if capacity == 0x1F:
            capacity, at = _integer(block, at, 0x1F)
        if capacity > TABLE_SIZE:
            raise CompressionError("a table larger than was allowed")
        self._capacity = capacity
        self._make_room(0)
        return at

    def _insert(self, field: tuple[bytes, bytes]) -> None:
        size = len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
        self._make_room(size)
        if size <= self._capacity:
            self._table.insert(_FIRST_DYNAMIC, field)
            self._size += size
            self._largest = max(self._largest, size)

    def _make_room(self, size: int) -> None:
        """Evict until `size` fits, which empties the table where it never does (section 4.4)."""
        self._blocks.clear()
        table = self._table
        while self._size + size > self._capacity and len(table) > _FIRST_DYNAMIC:
            name, value = table.pop()
            self._size -= len(name) + len(value) + ENTRY_OVERHEAD


def _integer(block: bytes, at: int, limit: int) -> tuple[int, int]:
    """An integer whose prefix is full, continued at `at` (section 5.1); and where it ends."""
    number = limit
    for shift in range(0, 7 * _INTEGER_BYTES, 7):
        byte = block[at]
        at += 1
        number += (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise CompressionError("an integer is too long")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """A string (section 5.2), and where it ends."""
    first = block[at]
    at += 1
    length = first & 0x7F
    if length == 0x7F:
        length, at = _integer(block, at, 0x7F)
    end = at + length
    text = block[at:end]
    if len(text) != length:
        raise CompressionError("a string is cut short")
    return (decode_huffman(text) if first >= 0x80 else text), end
