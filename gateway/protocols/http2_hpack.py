"""What both directions of HPACK share: the static table and the Huffman code (RFC 7541).

Ours, and in Python. jh2's Rust codec takes what sections 4.2 and 5.2 refuse (a table size update
behind a field, padding of zeros), panics with a text on stderr where a block is cut short, and
gives the GIL away on each call: beside one busy thread, such as a WSGI application's, 18 of 10,000
calls waited 5 ms to have it back. What a connection repeats is not decoded again here: 0.1 µs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

__all__ = [
    "ENTRY_OVERHEAD",
    "STATIC_TABLE",
    "TABLE_SIZE",
    "CompressionError",
    "decode_huffman",
    "encode_integer",
]

TABLE_SIZE: Final = 4096
"""Bytes of the dynamic table, by the count of section 4.1: the default of the protocol, for both
directions. A larger one is memory per connection that a peer may fill for nothing."""

ENTRY_OVERHEAD: Final = 32
"""What a field costs beside its bytes, in a table and in a header list (section 4.1)."""


class CompressionError(Exception):
    """A block that is not HPACK: the connection's table is lost, and with it the connection."""


STATIC_TABLE: Final[tuple[tuple[bytes, bytes], ...]] = tuple(
    (line.split()[0], b" ".join(line.split()[1:]))
    for line in b""":authority
    :method GET
    :method POST
    :path /
    :path /index.html
    :scheme http
    :scheme https
    :status 200
    :status 204
    :status 206
    :status 304
    :status 400
    :status 404
    :status 500
    accept-charset
    accept-encoding gzip, deflate
    accept-language
    accept-ranges
    accept
    access-control-allow-origin
    age
    allow
    authorization
    cache-control
    content-disposition
    content-encoding
    content-language
    content-length
    content-location
    content-range
    content-type
    cookie
    date
    etag
    expect
    expires
    from
    host
    if-match
    if-modified-since
    if-none-match
    if-range
    if-unmodified-since
    last-modified
    link
    location
    max-forwards
    proxy-authenticate
    proxy-authorization
    range
    referer
    refresh
    retry-after
    server
    set-cookie
    strict-transport-security
    transfer-encoding
    user-agent
    vary
    via
    www-authenticate""".splitlines()
)
"""Appendix A; its first entry has the index 1."""

# Appendix B: how many bits each symbol has, 0 to 255 and EOS. The code is canonical, so that these
# say all: shorter codes come before longer ones, equal ones in the order of their symbols.
_LENGTHS: Final = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c060a0a0c0d06080b0a0a080b08"
    "0606060505050606060606060607080f060c0a0d06070707070707070707070707070707070707070707070807"
    "080d130d0e060f05060506050606060507070606060506070605050607070707070f0b0e0d1c14161414161616"
    "171617171717171817181816171817171717151617161717181615141616171715171616181516171715151615"
    "1716171714161616171616171a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b14"
    "181415161515171616191918181a171a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a1e"
)
_EOS: Final = 256


class _State(dict[int, "tuple[_State, bytes]"]):
    """A place between two bits: the next byte leads to another one and gives whole symbols.

    A byte's way is walked once, at its first use: 0.08 µs per byte from then on. All 65,536 ways
    would be 20 ms at each start, and 7 MB.

    padding: a string may end here: at most 7 bits behind a symbol, all of them 1 (section 5.2).
    """

    __slots__ = ("branches", "padding")

    def __init__(self, *, padding: bool) -> None:
        super().__init__()
        self.branches: list[_State | int | None] = [None, None]
        self.padding = padding

    def __missing__(self, byte: int) -> tuple[_State, bytes]:
        state, text = self, b""
        for shift in range(7, -1, -1):
            branch = state.branches[byte >> shift & 1]
            if isinstance(branch, _State):
                state = branch
            elif branch is None or branch == _EOS:
                raise CompressionError("a Huffman string holds EOS")
            else:
                state, text = _START, text + bytes((branch,))
        step = self[byte] = state, text
        return step


def _code() -> _State:
    """The tree of the code."""
    start = _State(padding=True)
    code = length = 0
    for symbol in sorted(range(len(_LENGTHS)), key=_LENGTHS.__getitem__):
        code <<= _LENGTHS[symbol] - length
        length = _LENGTHS[symbol]
        state = start
        for depth in range(1, length):
            bit = code >> (length - depth) & 1
            branch = state.branches[bit]
            if not isinstance(branch, _State):
                branch = _State(padding=state.padding and bit == 1 and depth <= 7)
                state.branches[bit] = branch
            state = branch
        state.branches[code & 1] = symbol
        code += 1
    return start


_START: Final = _code()

# The same browsers and paths come again, on other connections too: 0.1 µs for a string instead of
# 0.08 for a byte, 9 instead of 38 for the first request of a connection. Up to 0.4 MB.
_REMEMBERED: Final = 1024
_SHORT: Final = 128


def decode_huffman(data: bytes) -> bytes:
    """The text of a Huffman-coded string. Raises `CompressionError`."""
    return _decode_short(data) if len(data) <= _SHORT else _decode(data)


def _decode(data: bytes) -> bytes:
    state = _START
    parts = []
    for byte in data:
        state, text = state[byte]
        parts.append(text)
    if not state.padding:
        raise CompressionError("a Huffman string does not end in its padding")
    return b"".join(parts)


_decode_short: Final = lru_cache(_REMEMBERED)(_decode)


def encode_integer(number: int, limit: int, pattern: int) -> bytes:
    """An integer behind the bits of `pattern`, which leaves it room up to `limit` (section 5.1)."""
    if number < limit:
        return bytes((pattern | number,))
    encoded = [pattern | limit]
    number -= limit
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
