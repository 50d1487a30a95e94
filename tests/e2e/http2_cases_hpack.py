"""RFC 7541: header blocks, byte by byte."""

from __future__ import annotations

import json
from collections.abc import Iterator

from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from http2_client import ErrorCode, Http2Client, Setting, continuation, headers

from e2e.http2_cases_model import OK, Case, Requests, Step, answered, ends, refused

__all__ = ["blocks", "broken", "tables"]

COMPRESSION = ErrorCode.COMPRESSION_ERROR
INDEXED, WITHOUT, NEVER = (0x40, 6), (0x00, 4), (0x10, 4)
USER_AGENT = 58  # of the static table


def integer(value: int, bits: int, first: int = 0) -> bytes:
    """Section 5.1: `value` behind a prefix of `bits` in a byte that has `first` above it."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([first | value])
    out = bytearray([first | limit])
    value -= limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def string(text: bytes, *, huffman: bool = False) -> bytes:
    if not huffman:
        return integer(len(text), 7) + text
    coded = "".join(f"{REQUEST_CODES[c]:0{REQUEST_CODES_LENGTH[c]}b}" for c in text)
    coded += "1" * (-len(coded) % 8)
    payload = int(coded or "0", 2).to_bytes(len(coded) // 8, "big")
    return integer(len(payload), 7, 0x80) + payload


def literal(
    kind: tuple[int, int], name: int | bytes, value: bytes, *, huffman: bool = False
) -> bytes:
    """A field; name: an index, or the text."""
    first, bits = kind
    if isinstance(name, int):
        return integer(name, bits, first) + string(value, huffman=huffman)
    return bytes([first]) + string(name, huffman=huffman) + string(value, huffman=huffman)


def index(number: int) -> bytes:
    return integer(number, 7, 0x80)


def resize(size: int) -> bytes:
    return integer(size, 5, 0x20)


def blocks(r: Requests) -> Iterator[Case]:
    """Each representation, with what the application gets of it."""
    head = r.block("/head")

    def gives(coded: bytes, *wanted: tuple[str, str], before: bytes = b"") -> Step:
        def step(client: Http2Client) -> None:
            client.send(headers(1, before + head + coded, end=True))
            seen = json.loads(client.response(1).body)["fields"]
            found = [tuple(pair) for pair in seen if pair[0] not in ("host", ":authority")]
            assert found == list(wanted), seen

        return step

    agent, test = ("user-agent", "h2spec"), ("x-test", "h2spec")
    empty = gives(index(USER_AGENT), ("user-agent", ""))
    yield Case("generic/5/1 an indexed field", (empty,), OK)
    number = 1
    for name, kind in (("with indexing", INDEXED), ("without", WITHOUT), ("never", NEVER)):
        for key, pair in ((USER_AGENT, agent), (b"x-test", test)):
            for huffman in (False, True):
                number += 1
                coded = literal(kind, key, b"h2spec", huffman=huffman)
                of = "an indexed name" if isinstance(key, int) else "a new name"
                title = f"generic/5/{number} a literal {name}, {of}{', Huffman' * huffman}"
                yield Case(title, (gives(coded, pair),), OK)
    yield Case("generic/5/14 a size update", (gives(b"", before=resize(0)),), OK)
    two = gives(b"", before=resize(0) + resize(4096))
    yield Case("generic/5/15 two size updates", (two,), OK)

    raw = bytes(range(33, 127)) + bytes(range(128, 256))
    for huffman in (False, True):
        coded = literal(WITHOUT, b"x", raw, huffman=huffman)
        title = f"5.2 every byte{', Huffman' * huffman}"
        yield Case(title, (gives(coded, ("x", raw.decode("latin-1"))),), OK)
        for size in (0, 126, 127, 128, 300, 4000):
            coded = literal(INDEXED, b"x", b"a" * size, huffman=huffman)
            title = f"5.1 a value of {size} bytes{', Huffman' * huffman}"
            yield Case(title, (gives(coded, ("x", "a" * size)),), OK)
    coded = literal(WITHOUT, b"x", b"").replace(b"\x01x\x00", b"\x01x\x7f\x80\x80\x80\x00")
    coded += b"a" * 127
    yield Case(
        "5.1 a length with zeros behind", (gives(coded, ("x", "a" * 127)),), OK | ends(COMPRESSION)
    )


def tables(r: Requests) -> Iterator[Case]:
    """The dynamic table over several blocks."""
    head = r.block()
    entry = literal(INDEXED, b"x-test", b"kept")

    def then(*parts: bytes) -> bytes:
        """A block for each request; the last one is watched."""
        return b"".join(
            headers(1 + 2 * number, part, end=True) for number, part in enumerate(parts)
        )

    kept = then(head + entry, head + index(62))
    yield Case("2.3.3 an entry of the block before", (kept,), OK, stream=3)
    within = then(head + entry + index(62))
    yield Case("2.3.3 an entry of the same block", (within,), OK)
    second = then(head + entry + literal(INDEXED, b"x-new", b"1"), head + index(63) + index(62))
    yield Case("2.3.3 the entry before the newest", (second,), OK, stream=3)
    gone = then(head + entry, head + index(63))
    yield Case("2.3.3 one beyond the oldest", (gone,), ends(COMPRESSION), stream=3)
    none = then(
        head + literal(WITHOUT, b"x-a", b"1") + literal(NEVER, b"x-b", b"2"), head + index(62)
    )
    yield Case("6.2 what is not indexed makes no entry", (none,), ends(COMPRESSION), stream=3)
    emptied = then(head + entry, resize(0) + head + index(62))
    yield Case("4.3 a table of 0 has no entries", (emptied,), ends(COMPRESSION), stream=3)
    emptied = then(head + entry, resize(0) + resize(4096) + head + index(62))
    yield Case("4.3 nor one that was 0 between", (emptied,), ends(COMPRESSION), stream=3)
    again = then(head + entry, resize(0) + resize(4096) + head + entry, head + index(62))
    yield Case("4.3 a table that was emptied is filled again", (again,), OK, stream=5)
    size = 32 + 6 + 4
    exact = then(resize(size) + head + entry, head + index(62))
    yield Case("4.1 an entry that fills the table", (exact,), OK, stream=3)
    over = then(resize(size - 1) + head + entry, head + index(62))
    yield Case(
        "4.4 an entry larger than the table empties it", (over,), ends(COMPRESSION), stream=3
    )
    pushed = then(
        resize(2 * size - 1) + head + entry,
        head + literal(INDEXED, b"x-next", b"kept"),
        head + index(63),
    )
    yield Case("4.4 the oldest entry makes room", (pushed,), ends(COMPRESSION), stream=5)
    named = then(resize(size) + head + entry, head + literal(INDEXED, 62, b"next") + index(62))
    yield Case("4.4 a name taken from the entry that makes room", (named,), OK, stream=3)
    full = then(
        *(head + literal(INDEXED, b"x-%d" % number, b"v" * 50) for number in range(99)),
        head + index(62) + index(100),
    )
    yield Case("4.4 a table that is full", (full,), OK, stream=199)

    def twice(client: Http2Client) -> None:
        """Equal blocks are not equal fields when an entry was made in between."""
        told = r.block("/head")
        again = told + index(62)
        blocks = told + entry, again, told + literal(INDEXED, b"x-test", b"next"), again, again
        client.send(then(*blocks))
        for stream, wanted in zip((1, 3, 5, 7, 9), ("kept", "kept", *["next"] * 3), strict=True):
            seen = json.loads(client.response(stream).body)["fields"]
            assert ["x-test", wanted] in seen, (stream, seen)

    yield Case("2.3.2 a block sent again after an insertion", (twice,), OK)
    # RFC 7541, appendix C.3 and C.4: three requests of one connection.
    for title, coded in (
        (
            "C.3",
            (
                "828684410f7777772e6578616d706c652e636f6d",
                "828684be58086e6f2d6361636865",
                "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
            ),
        ),
        (
            "C.4",
            (
                "828684418cf1e3c2e5f23a6ba0ab90f4ff",
                "828684be5886a8eb10649cbf",
                "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
            ),
        ),
    ):
        sent = then(*(bytes.fromhex(part) for part in coded))
        yield Case(
            f"{title} the RFC's own requests", (sent, answered(1), answered(3)), OK, stream=5
        )


def broken(r: Requests) -> Iterator[Case]:
    head = r.block()

    def case(name: str, *parts: bytes) -> Case:
        return Case(name, (headers(1, b"".join(parts), end=True),), ends(COMPRESSION))

    text = literal(WITHOUT, b"x-test", b"value")
    yield case("hpack/2.3.3/1 an index beyond the tables", head, index(70))
    yield case("hpack/2.3.3/2 a name beyond the tables", head, literal(INDEXED, 70, b"test"))
    yield case("2.3.3 a name beyond them, never indexed", head, literal(NEVER, 70, b"test"))
    yield case("2.3.3 an index far beyond", head, index(1 << 20))
    yield case("hpack/4.2/1 a size update at the end", head, resize(0))
    yield case("4.2 a size update between two fields", head, resize(0), text)
    trailing = headers(1, head, end=True, end_headers=False) + continuation(1, resize(0))
    yield Case("4.2 a size update in CONTINUATION", (trailing,), ends(COMPRESSION))
    huffman = string(b"test", huffman=True)[1:]
    yield case(
        "hpack/5.2/1 padding of a whole byte",
        head,
        b"\x00\x01x",
        bytes([0x80 | len(huffman) + 1]),
        huffman + b"\xff",
    )
    # "A" is 100001.
    yield case("hpack/5.2/2 padding of zeros", head, b"\x00\x01x", b"\x81\x84")
    yield case("hpack/5.2/3 the end-of-string symbol", head, b"\x00\x01x", b"\x84\xff\xff\xff\xff")
    yield case(
        "5.2 the end-of-string symbol after a letter",
        head,
        b"\x00\x01x",
        b"\x85\x1f\xff\xff\xff\xff",
    )
    yield case("5.2 nothing but padding", head, b"\x00\x01x", b"\x82\xff\xff")
    yield case("hpack/6.1/1 index 0", head, index(0))
    yield case("hpack/6.3/1 a table larger than allowed", resize(4097 * 16 + 65536), head)

    def above_the_limit(client: Http2Client) -> None:
        limit = client.peer.get(Setting.HEADER_TABLE_SIZE, 4096)
        client.send(headers(1, resize(limit + 1) + head, end=True))

    yield Case("6.3 a table one byte larger than allowed", (above_the_limit,), ends(COMPRESSION))

    def at_the_limit(client: Http2Client) -> None:
        limit = client.peer.get(Setting.HEADER_TABLE_SIZE, 4096)
        client.send(headers(1, resize(limit) + head, end=True))

    yield Case("6.3 a table as large as allowed", (at_the_limit,), OK)
    for name, part in (
        ("an index", b"\xff"),
        ("an index, begun", b"\xff\x80"),
        ("a name's length", b"\x00"),
        ("a name", b"\x00\x05x"),
        ("a value's length", b"\x00\x01x"),
        ("a value", b"\x00\x01x\x05ab"),
        ("a size update", b"\x3f"),
    ):
        yield case(
            f"5 a block that ends within {name}", b"" if name == "a size update" else head, part
        )
    yield case("5.1 an integer of 70 bits", head, b"\xff" + b"\xff" * 10 + b"\x01")
    yield case("5.1 an integer without end", head, b"\xff" + b"\x80" * 200)
    yield case("5.1 a length of 2^62", head, b"\x00\x01x\x7f" + b"\xff" * 8 + b"\x3f")
    # Deflated once, it is larger than any head may be: 4,000 references to an entry of 4,000 bytes.
    bomb = literal(INDEXED, b"x", b"a" * 4000) + index(62) * 4000
    outcomes = refused(431) | ends(
        COMPRESSION, ErrorCode.ENHANCE_YOUR_CALM, ErrorCode.PROTOCOL_ERROR
    )
    yield Case(
        "7.3 a block of 8 KB that is a head of 16 MB",
        (headers(1, head + bomb, end=True),),
        outcomes,
    )
