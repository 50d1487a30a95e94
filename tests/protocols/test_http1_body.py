"""The decoders of request bodies by themselves, and beside h11's and llhttp's."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.protocols.http1_body import ChunkedDecoder, LengthDecoder
from gateway.protocols.request_rules import BadRequest

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def decode(data: bytes, *cuts: int) -> tuple[bytes, bytes] | int | None:
    """(content, surplus) of a whole body, the status of its refusal, None if it is not complete."""
    decoder = ChunkedDecoder()
    content = b""
    places = [0, *sorted(cuts), len(data)]
    for start, end in pairwise(places):
        if start == end:
            continue
        try:
            part, surplus = decoder.feed(data[start:end])
        except BadRequest as refusal:
            return refusal.status
        content += part
        if decoder.done:
            return content, surplus + data[end:]
    return None


def by_h11(data: bytes) -> bytes | None:
    """The content as h11 reads it; None if it is refused or not complete."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(HEAD + data)
    content = b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return None
        if isinstance(event, h11.Data):
            content += event.data
        elif isinstance(event, h11.EndOfMessage):
            return content
        elif event is h11.NEED_DATA:
            return None


class ByLlhttp:
    """The content as llhttp reads it."""

    def __init__(self, data: bytes) -> None:
        self.content = b""
        self.complete = False
        with suppress(httptools.HttpParserError):  # `complete` tells whether it was the body's
            httptools.HttpRequestParser(self).feed_data(HEAD + data)

    def on_body(self, data: bytes) -> None:
        self.content += data

    def on_message_complete(self) -> None:
        self.complete = True
        raise RuntimeError("no more")  # or the surplus would be the next message


sizes = st.integers(0, 40).map(lambda size: b"%x" % size)
junk = st.sampled_from(
    [b"\r\n", b"\r", b"\n", b"0", b"5", b"a", b"A", b"+", b"_", b"x", b";", b";a=b", b" ", b"\t",
     b"\x00", b"\x80", b"0\r\n\r\n", b"X: y\r\n", b"hello", b"=", b'"', b"\\", b";a;b", b';a="\xe9"']
)  # fmt: skip


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A chunked body with, often, something wrong in it."""
    parts = []
    for data in draw(st.lists(st.binary(min_size=1, max_size=12), max_size=4)):
        extension = draw(st.sampled_from([b"", b"", b";", b";a=b", b';a="b c"', b";a=", b";a;b=c"]))
        parts += [b"%x" % len(data), extension, b"\r\n", data, b"\r\n"]
    parts += [b"0\r\n", draw(st.sampled_from([b"", b"", b"X: y\r\n", b"X:\r\nY: z\r\n"])), b"\r\n"]
    for _ in range(draw(st.integers(0, 2))):
        parts.insert(draw(st.integers(0, len(parts))), draw(st.one_of(junk, sizes)))
    if draw(st.booleans()):
        del parts[draw(st.integers(0, len(parts) - 1))]
    return b"".join(parts)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.binary(min_size=1, max_size=50)), st.binary(max_size=8))
def test_chunks_give_their_content_and_leave_the_surplus(
    pieces: list[bytes], surplus: bytes
) -> None:
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    assert decode(body + surplus) == (b"".join(pieces), surplus)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(bodies())
def test_what_is_accepted_h11_and_llhttp_read_alike(body: bytes) -> None:
    mine = decode(body)
    if isinstance(mine, tuple):
        content = mine[0]
        assert by_h11(body) == content
        other = ByLlhttp(body)
        assert (other.complete, other.content) == (True, content)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(bodies(), st.data())
def test_segments_do_not_matter(body: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=5))
    assert decode(body, *cuts) == decode(body)
    assert decode(body, *range(1, len(body))) == decode(body)


def test_most_of_the_generated_bodies_mean_something() -> None:
    """The properties above would hold of nothing but refusals, too."""
    reactions = set()

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(bodies())
    def collect(body: bytes) -> None:
        mine = decode(body)
        reactions.add(mine if not isinstance(mine, tuple) else len(mine[0]))

    collect()
    assert {400, None, 0} <= reactions
    assert len(reactions) > 10


@pytest.mark.parametrize("segment", [1, 6, 4096, 1 << 20])
def test_tiny_chunks_cost_no_more_than_their_number(segment: int) -> None:
    """CVE-2025-69229 and its kin: quadratic in the number of chunks. Counted in kept bytes."""
    decoder = ChunkedDecoder()
    wire = b"1\r\nx\r\n" * 20_000
    total = copied = 0
    for start in range(0, len(wire), segment):
        content, _ = decoder.feed(wire[start : start + segment])
        total += len(content)
        copied += len(decoder._rest)  # all that a later call has to look at once more
    assert total == 20_000
    assert copied <= len(wire)


@pytest.mark.slow
def test_megabyte_in_one_byte_chunks_is_decoded_in_no_time() -> None:
    decoder = ChunkedDecoder()
    wire = b"1\r\nx\r\n" * (1 << 20)
    total = 0
    for start in range(0, len(wire), 65536):
        total += len(decoder.feed(wire[start : start + 65536])[0])
    assert total == 1 << 20


@pytest.mark.parametrize(
    ("feeds", "expected"),
    [
        ([b"hello"], [(b"hello", b"")]),
        ([b"hellomore"], [(b"hello", b"more")]),
        ([b"hel", b"lo"], [(b"hel", b""), (b"lo", b"")]),
        ([b"hel", b"lomore"], [(b"hel", b""), (b"lo", b"more")]),
    ],
)
def test_declared_length_is_counted(
    feeds: list[bytes], expected: list[tuple[bytes, bytes]]
) -> None:
    decoder = LengthDecoder(5)
    assert [decoder.feed(data) for data in feeds] == expected
    assert (decoder.done, decoder.left) == (True, 0)


def test_incomplete_body_is_not_done() -> None:
    decoder = LengthDecoder(5)
    decoder.feed(b"hel")
    assert (decoder.done, decoder.left) == (False, 2)
