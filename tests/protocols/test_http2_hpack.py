"""HPACK in both directions: RFC 7541's examples and errors, and the hpack package as a reference."""

from __future__ import annotations

import tracemalloc
from importlib import import_module
from typing import Any

import hpack
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.http2_decoder import CompressionError, HeaderDecoder, HeaderListTooLarge
from gateway.protocols.http2_encoder import HeaderEncoder
from gateway.protocols.http2_hpack import STATIC_TABLE, decode_huffman, encode_integer

Fields = list[tuple[bytes, bytes]]

NO_LIMIT = 1 << 40
huffman = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode


def block(text: str) -> bytes:
    return bytes.fromhex(text)


def literal(name: bytes, value: bytes, pattern: int = 0x40) -> bytes:
    sizes = encode_integer(len(name), 0x7F, 0), encode_integer(len(value), 0x7F, 0)
    return bytes((pattern,)) + sizes[0] + name + sizes[1] + value


def decoded(decoder: HeaderDecoder, data: bytes) -> Fields | str:
    try:
        return decoder.decode(data)
    except CompressionError:
        return "refused"


def referred(decoder: hpack.Decoder, data: bytes) -> Fields | str:
    try:
        return [(field[0], field[1]) for field in decoder.decode(data, raw=True)]
    except hpack.HPACKError:
        return "refused"


def reference() -> hpack.Decoder:
    return hpack.Decoder(max_header_list_size=NO_LIMIT)


# --- decoding: appendix C -----------------------------------------------------------------------

REQUESTS: list[Fields] = [
    [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", b"www.example.com"),
    ],
    [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", b"www.example.com"),
        (b"cache-control", b"no-cache"),
    ],
    [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", b"/index.html"),
        (b":authority", b"www.example.com"),
        (b"custom-key", b"custom-value"),
    ],
]
DATES = [b"Mon, 21 Oct 2013 20:13:21 GMT", b"Mon, 21 Oct 2013 20:13:22 GMT"]
RESPONSES: list[Fields] = [
    [
        (b":status", b"302"),
        (b"cache-control", b"private"),
        (b"date", DATES[0]),
        (b"location", b"https://www.example.com"),
    ],
    [
        (b":status", b"307"),
        (b"cache-control", b"private"),
        (b"date", DATES[0]),
        (b"location", b"https://www.example.com"),
    ],
    [
        (b":status", b"200"),
        (b"cache-control", b"private"),
        (b"date", DATES[1]),
        (b"location", b"https://www.example.com"),
        (b"content-encoding", b"gzip"),
        (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ],
]
TABLE_OF_256 = block("3fe101")

EXAMPLES = {
    "C.3": (
        REQUESTS,
        [
            block("828684410f7777772e6578616d706c652e636f6d"),
            block("828684be58086e6f2d6361636865"),
            block("828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565"),
        ],
    ),
    "C.4": (
        REQUESTS,
        [
            block("828684418cf1e3c2e5f23a6ba0ab90f4ff"),
            block("828684be5886a8eb10649cbf"),
            block("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"),
        ],
    ),
    "C.5": (
        RESPONSES,
        [
            TABLE_OF_256
            + literal(b"", b"302", 0x48)[:1]
            + block("03333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a")
            + block("323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d"),
            block("4803333037c1c0bf"),
            block("88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a")
            + block("69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d")
            + block("61782d6167653d333630303b2076657273696f6e3d31"),
        ],
    ),
    "C.6": (
        RESPONSES,
        [
            TABLE_OF_256
            + block("488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d")
            + block("29ad171863c78f0b97c8e9ae82ae43d3"),
            block("4883640effc1c0bf"),
            block("88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821d")
            + block("d7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b106")
            + block("3d5007"),
        ],
    ),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_of_the_rfc_are_decoded(example: str) -> None:
    expected, blocks = EXAMPLES[example]
    decoder = HeaderDecoder(NO_LIMIT)
    assert [decoder.decode(data) for data in blocks] == expected


def test_static_table_is_that_of_the_rfc() -> None:
    decoder = HeaderDecoder(NO_LIMIT)
    indices = bytes(range(0x81, 0x81 + len(STATIC_TABLE)))
    assert decoder.decode(indices) == referred(reference(), indices)
    assert len(STATIC_TABLE) == 61


# --- decoding: what is refused, and what is not -------------------------------------------------


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param("20", [], id="size-update-alone"),
        pytest.param("203fe11f82", [(b":method", b"GET")], id="two-size-updates"),
        pytest.param("3fe11f", [], id="size-update-to-the-limit"),
        pytest.param("000161811f", [(b"a", b"a")], id="padding-of-3"),
        pytest.param("0001618141", None, id="padding-not-ones"),
        pytest.param("0001618118", None, id="padding-of-zeros"),
        pytest.param("000161821fff", None, id="padding-of-11"),
        pytest.param("00016181ff", None, id="padding-of-8-alone"),
        pytest.param("00016184ffffffff", None, id="eos"),
        pytest.param("000161851fffffffff", None, id="eos-behind-a-symbol"),
        pytest.param("00016180", [(b"a", b"")], id="empty-huffman"),
        pytest.param("100161016b", [(b"a", b"k")], id="never-indexed"),
        pytest.param("00000162", [(b"", b"b")], id="empty-name-is-not-ours-to-judge"),
        pytest.param("80", None, id="index-0"),
        pytest.param("be", None, id="index-behind-the-table"),
        pytest.param("7f000162", None, id="name-index-behind-the-table"),
        pytest.param("8220", None, id="size-update-behind-a-field"),
        pytest.param("000161016220", None, id="size-update-behind-a-literal"),
        pytest.param("3fe21f", None, id="size-update-over-the-limit"),
        pytest.param("ff", None, id="integer-cut-short"),
        pytest.param("ff80808080", None, id="integer-cut-short-later"),
        pytest.param("ff8080808080", None, id="integer-too-long"),
        pytest.param("ffffffffffffffffffff01", None, id="integer-overflow"),
        pytest.param("0f8080808000" + "00", [(b"accept-charset", b"")], id="integer-with-zeros"),
        pytest.param("000161", None, id="no-value"),
        pytest.param("00016105616263", None, id="value-cut-short"),
        pytest.param("0005616263", None, id="name-cut-short"),
        pytest.param("40", None, id="no-name"),
    ],
)
def test_block_has_the_verdict_of_the_rfc(data: str, fields: Fields | None) -> None:
    decoder = HeaderDecoder(NO_LIMIT)
    if fields is None:
        with pytest.raises(CompressionError):
            decoder.decode(block(data))
    else:
        assert decoder.decode(block(data)) == fields


def test_every_byte_survives_the_huffman_code() -> None:
    text = bytes(range(256))
    assert decode_huffman(huffman(text)) == text
    assert all(decode_huffman(huffman(bytes((byte,)))) == bytes((byte,)) for byte in text)


@given(st.binary(max_size=300))
def test_huffman_strings_are_read_as_by_the_reference(data: bytes) -> None:
    string = literal(b"a", data, 0)[:3] + encode_integer(len(data), 0x7F, 0x80) + data
    assert decoded(HeaderDecoder(NO_LIMIT), string) == referred(reference(), string)


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_any_bytes_have_the_verdict_of_the_reference(blocks: list[bytes]) -> None:
    ours, theirs = HeaderDecoder(NO_LIMIT), reference()
    for data in blocks:
        verdict = decoded(ours, data)
        assert verdict == referred(theirs, data)
        if verdict == "refused":
            break


texts = st.sampled_from([b"", b"a", b"x" * 130, b"/path?q=%20", bytes(range(256)), b"y" * 4100])
instructions = st.one_of(
    st.integers(0, 200).map(lambda index: encode_integer(index, 0x7F, 0x80)),
    st.integers(0, 4100).map(lambda size: encode_integer(size, 0x1F, 0x20)),
    st.builds(literal, texts, texts, st.sampled_from([0x00, 0x10, 0x40])),
    st.builds(
        lambda index, form, text: (
            encode_integer(index, *form)
            + encode_integer(len(huffman(text)), 0x7F, 0x80)
            + huffman(text)
        ),
        st.integers(1, 80),
        st.sampled_from([(0x3F, 0x40), (0x0F, 0x00), (0x0F, 0x10)]),
        texts,
    ),
    st.binary(min_size=1, max_size=1),
)


@given(st.lists(st.lists(instructions, max_size=8).map(b"".join), max_size=8))
def test_any_instructions_leave_the_table_of_the_reference(blocks: list[bytes]) -> None:
    ours, theirs = HeaderDecoder(NO_LIMIT), reference()
    for data in blocks:
        verdict = decoded(ours, data)
        assert verdict == referred(theirs, data)
        assert verdict == "refused" or decoded(ours, data) == referred(theirs, data)
        if verdict == "refused":
            break


def test_known_block_is_read_anew_when_the_table_has_changed() -> None:
    decoder = HeaderDecoder(NO_LIMIT)
    decoder.decode(literal(b"a", b"1"))
    assert decoder.decode(b"\xbe") == [(b"a", b"1")]
    decoder.decode(literal(b"b", b"2"))
    assert decoder.decode(b"\xbe") == [(b"b", b"2")]
    decoder.decode(b"\x20")
    with pytest.raises(CompressionError):
        decoder.decode(b"\xbe")


def test_block_that_inserts_is_not_taken_for_known() -> None:
    decoder = HeaderDecoder(NO_LIMIT)
    for _ in range(2):
        decoder.decode(literal(b"a", b"1"))
    assert decoder.decode(b"\xbe\xbf") == [(b"a", b"1")] * 2


def test_remembered_blocks_are_few() -> None:
    decoder = HeaderDecoder(NO_LIMIT)
    for number in range(1000):
        decoder.decode(literal(b"a", b"%d" % number, 0))
    assert len(decoder._blocks) <= 32
    decoder.decode(literal(b"a", b"x" * 300, 0))
    assert max(map(len, decoder._blocks)) <= 256


# --- decoding: the limit ------------------------------------------------------------------------


def test_list_of_exactly_the_limit_is_taken() -> None:
    data = literal(b"name", b"value", 0)
    assert HeaderDecoder(4 + 5 + 32).decode(data) == [(b"name", b"value")]
    with pytest.raises(HeaderListTooLarge) as caught:
        HeaderDecoder(4 + 5 + 31).decode(data)
    assert caught.value.size == 41


def test_huffman_is_counted_as_what_it_becomes() -> None:
    text = b"0" * 1000
    data = b"\x04" + encode_integer(625, 0x7F, 0x80) + huffman(text)
    with pytest.raises(HeaderListTooLarge):
        HeaderDecoder(1000).decode(data)


def test_table_is_in_step_after_a_list_over_the_limit() -> None:
    decoder = HeaderDecoder(100)
    with pytest.raises(HeaderListTooLarge):
        decoder.decode(literal(b"a", b"x" * 100) + literal(b"b", b"2"))
    assert decoder.decode(b"\xbe") == [(b"b", b"2")]


def test_entry_is_counted_each_time_it_is_named() -> None:
    decoder = HeaderDecoder(5000)
    entry = [(b"a", b"x" * 4000)]
    assert decoder.decode(literal(*entry[0])) == entry
    assert decoder.decode(b"\xbe") == entry
    with pytest.raises(HeaderListTooLarge):
        decoder.decode(b"\xbe\xbe")


def test_bomb_is_not_inflated() -> None:
    decoder = HeaderDecoder(64 * 1024)
    decoder.decode(literal(b"a", b"x" * 4000))
    bomb = b"\xbe" * 16384
    tracemalloc.start()
    for _ in range(3):
        with pytest.raises(HeaderListTooLarge) as caught:
            decoder.decode(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.size == 16384 * 4033
    # What it says would be 66 MB.
    assert peak < 1024 * 1024


# --- encoding -----------------------------------------------------------------------------------

FIELDS: Fields = [
    (b"server", b"gateway"),
    (b"date", DATES[0]),
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"13"),
]


def understood(data: bytes, decoder: hpack.Decoder) -> Fields:
    return [(field[0], field[1]) for field in decoder.decode(data, raw=True)]


def test_repeated_response_is_a_byte_per_indexed_field() -> None:
    encoder, decoder = HeaderEncoder(), reference()
    sizes = []
    for _ in range(4):
        data = encoder.encode(200, FIELDS)
        sizes.append(len(data))
        assert understood(data, decoder) == [(b":status", b"200"), *FIELDS]
    length = len(b"\x0f\x0d\x0213")
    assert sizes[1:] == [1 + 3 + length] * 3


@pytest.mark.parametrize("status", [100, 103, 200, 204, 302, 304, 404, 418, 500, 999])
def test_any_status_is_understood(status: int) -> None:
    encoder, decoder = HeaderEncoder(), reference()
    for _ in range(3):
        data = encoder.encode(status, [])
        assert understood(data, decoder) == [(b":status", b"%d" % status)]


def test_trailers_have_no_status() -> None:
    encoder, decoder = HeaderEncoder(), reference()
    for _ in range(3):
        assert understood(encoder.encode(None, [(b"x-sum", b"1")]), decoder) == [(b"x-sum", b"1")]
    assert encoder.encode(None, []) == b""


def test_pairs_may_be_lists() -> None:
    encoder, decoder = HeaderEncoder(), reference()
    pairs: Any = [[b"x-a", b"1"], (b"x-b", b"2")]
    for _ in range(3):
        expected = [(b":status", b"200"), (b"x-a", b"1"), (b"x-b", b"2")]
        assert understood(encoder.encode(200, pairs), decoder) == expected


@pytest.mark.parametrize("name", [b"set-cookie", b"authorization", b"authentication-info"])
def test_secrets_are_never_indexed(name: bytes) -> None:
    encoder, decoder = HeaderEncoder(), reference()
    for _ in range(3):
        (field,) = decoder.decode(encoder.encode(None, [(name, b"s3cret")]), raw=True)
        assert tuple(field) == (name, b"s3cret")
        assert not field.indexable
    assert b"s3cret" not in repr(encoder._ready).encode()
    assert not decoder.header_table.dynamic_entries


@pytest.mark.parametrize("name", [b"content-length", b"etag", b"x-request-id"])
def test_what_varies_takes_no_place_in_the_table(name: bytes) -> None:
    encoder, decoder = HeaderEncoder(), reference()
    for number in range(3):
        value = b"%d" % number
        assert understood(encoder.encode(None, [(name, value)]), decoder) == [(name, value)]
    assert not decoder.header_table.dynamic_entries


def test_unknown_field_that_varies_is_found_out() -> None:
    encoder, decoder = HeaderEncoder(), reference()
    for number in range(500):
        fields = [*FIELDS, (b"x-own-trace", b"%016d" % number)]
        assert understood(encoder.encode(None, fields), decoder) == fields
    traces = [entry for entry in decoder.header_table.dynamic_entries if entry[0] == b"x-own-trace"]
    assert len(traces) == 32
    assert (b"server", b"gateway") in decoder.header_table.dynamic_entries


def test_date_stays_in_the_table_however_often_it_changes() -> None:
    encoder, decoder = HeaderEncoder(), reference()
    for second in range(200):
        fields = [(b"date", b"Mon, 21 Oct 2013 20:13:%03d GMT" % second)]
        understood(encoder.encode(None, fields), decoder)
    data = encoder.encode(None, fields)
    assert data == b"\xbe"


def test_remembered_forms_are_few() -> None:
    encoder = HeaderEncoder()
    for number in range(1000):
        encoder.encode(200, [(b"content-length", b"%d" % number)])
    encoder.encode(200, [(b"location", b"/" * 300)])
    assert len(encoder._ready) <= 256
    assert max(map(len, encoder._ready.values())) < 40


def test_long_strings_are_understood() -> None:
    encoder, decoder = HeaderEncoder(), reference()
    fields = [(b"a" * 200, b"b"), (b"a", b"b" * 5000), (b"etag", b"c" * 126), (b"etag", b"c" * 127)]
    for _ in range(3):
        assert understood(encoder.encode(None, fields), decoder) == fields


@pytest.mark.parametrize(
    ("sizes", "start"),
    [
        ([0], "20"),
        ([100], "3f45"),
        ([0, 4096], "203fe11f"),
        ([0, 65536], "203fe11f"),
        ([100, 0, 50, 200], "203fa901"),
        ([4096], ""),
        ([65536], ""),
        ([200, 200], "3fa901"),
    ],
)
def test_change_of_the_table_size_is_said_once(sizes: list[int], start: str) -> None:
    encoder = HeaderEncoder()
    for size in sizes:
        encoder.set_max_table_size(size)
    assert encoder.encode(200, []) == block(start) + b"\x88"
    assert encoder.encode(200, []) == b"\x88"


def test_smaller_table_is_not_overfilled() -> None:
    encoder, decoder = HeaderEncoder(), reference()
    encoder.encode(None, [])
    encoder.set_max_table_size(100)
    decoder.max_allowed_table_size = 100
    for _ in range(3):
        assert understood(encoder.encode(200, FIELDS), decoder) == [(b":status", b"200"), *FIELDS]
    assert [*decoder.header_table.dynamic_entries] == [*reversed(encoder._entries)]


fields = st.lists(
    st.tuples(
        st.sampled_from(
            [b"server", b"content-type", b"content-length", b"etag", b"set-cookie", b"x-a", b"date"]
        ),
        st.sampled_from([b"", b"1", b"2", b"text/html", b"v" * 60, b"w" * 1500, b"x" * 5000]),
    ),
    max_size=6,
)
steps = st.one_of(
    st.tuples(st.sampled_from([None, 103, 200, 404, 418]), fields),
    st.sampled_from([0, 40, 100, 2000, 4096, 10000]),
)


@given(st.lists(steps, max_size=25))
def test_any_responses_and_table_sizes_are_understood(steps: list[Any]) -> None:
    encoder, theirs, ours = HeaderEncoder(), reference(), HeaderDecoder(NO_LIMIT)
    for step in steps:
        if isinstance(step, int):
            encoder.set_max_table_size(step)
            theirs.max_allowed_table_size = step
            continue
        status, fields = step
        expected = [(b":status", b"%d" % status)] if status else []
        data = encoder.encode(status, fields)
        # A decoder wants to be told of a table that became smaller, in whatever comes next.
        assert understood(data, theirs) == expected + fields
        assert ours.decode(data) == expected + fields
        assert [*theirs.header_table.dynamic_entries] == [*reversed(encoder._entries)]


def test_another_decoder_understands_the_same() -> None:
    try:
        native = import_module("jh2._hazmat").Decoder()
    except ImportError:
        pytest.skip("jh2 is not installed")
    encoder = HeaderEncoder()
    for number in range(100):
        fields = [*FIELDS, (b"x-n", b"%d" % (number % 7)), (b"set-cookie", b"a=b")]
        data = encoder.encode(200 + number % 5, fields)
        assert [field[:2] for field in native.decode(data, True)][1:] == fields
