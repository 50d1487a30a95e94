"""Messages inflated and deflated: the examples of RFC 7692, broken data, bombs, windows."""

from __future__ import annotations

import random
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.websocket.codec import Violation
from gateway.websocket.deflate import Deflate

from .samples import agreed, inflated

# --- the RFC's examples (section 7.2.3) ---------------------------------------------------------


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize(
    "payload",
    [
        "f2 48 cd c9 c9 07 00",
        "00 05 00 fa ff 48 65 6c 6c 6f 00",
        "f3 48 cd c9 c9 07 00 00",
        "f2 48 05 00 00 00 ff ff ca c9 c9 07 00",
    ],
    ids=["one block", "no compression", "final block", "two blocks"],
)
def test_the_rfcs_message_says_hello(payload: str) -> None:
    assert inflated(agreed(b"permessage-deflate"), unhex(payload)) == b"Hello"


def test_the_rfcs_fragments_say_hello() -> None:
    deflate = agreed(b"permessage-deflate")
    assert inflated(deflate, unhex("f2 48 cd"), unhex("c9 c9 07 00")) == b"Hello"


def test_the_rfcs_second_message_refers_to_the_first() -> None:
    deflate = agreed(b"permessage-deflate")
    assert inflated(deflate, unhex("f2 48 cd c9 c9 07 00")) == b"Hello"
    assert inflated(deflate, unhex("f2 00 11 00 00")) == b"Hello"


def test_second_message_that_refers_to_the_first_against_the_agreement_is_a_violation() -> None:
    deflate = agreed(b"permessage-deflate; client_no_context_takeover")
    assert inflated(deflate, unhex("f2 48 cd c9 c9 07 00")) == b"Hello"
    with pytest.raises(Violation) as caught:
        inflated(deflate, unhex("f2 00 11 00 00"))
    assert caught.value.code == 1002


def test_empty_message_is_one_byte_both_ways() -> None:
    deflate = agreed(b"permessage-deflate")
    for _ in range(3):
        assert deflate.deflate(b"") == b"\x00"
        assert inflated(deflate, b"\x00") == b""
    assert inflated(Deflate(), deflate.deflate(b"a")) == b"a"


def test_messages_go_on_after_a_final_block() -> None:
    deflate = agreed(b"permessage-deflate")
    for _ in range(3):
        assert inflated(deflate, unhex("f3 48 cd c9 c9 07 00 00")) == b"Hello"
    assert inflated(deflate, unhex("f2 48 cd c9 c9 07 00")) == b"Hello"


def test_final_block_may_be_cut_from_the_empty_one_behind_it() -> None:
    deflate = agreed(b"permessage-deflate")
    assert inflated(deflate, unhex("f3 48 cd c9 c9 07 00"), unhex("00")) == b"Hello"
    assert inflated(deflate, unhex("f2 48 cd c9 c9 07 00")) == b"Hello"


def test_several_final_blocks_in_one_frame_are_refused() -> None:
    with pytest.raises(Violation) as caught:
        inflated(agreed(b"permessage-deflate"), unhex("03 00") * 100_000 + b"\x00")
    assert caught.value.code == 1002


# --- what a peer may get wrong ------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [b"Hello", b"\xff", unhex("f2 48 cd c9 c9 07 00") + b"\xff", b"\x06", unhex("00 05 00 fa ff 48 65 6c")],
    ids=["plain text", "reserved block", "trailing garbage", "reserved block type", "cut stored block"],
)  # fmt: skip
def test_what_is_not_deflate_is_a_violation(payload: bytes) -> None:
    with pytest.raises(Violation) as caught:
        inflated(agreed(b"permessage-deflate"), payload)
    assert caught.value.code == 1002


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4))
def test_any_bytes_are_data_or_a_violation(payloads: list[bytes]) -> None:
    deflate = agreed(b"permessage-deflate; client_max_window_bits=9")
    code, data = 0, b""
    try:
        data = inflated(deflate, *payloads, limit=500)
    except Violation as violation:
        code = violation.code
    assert code in (0, 1002, 1009)
    assert len(data) <= 500 * len(payloads)


@pytest.mark.parametrize("size", [0, 1, 100, 65535, 65536, 65537, 300_000])
def test_limit_is_exact(size: int) -> None:
    data = bytes(size)
    payload = Deflate().deflate(data)
    assert inflated(Deflate(), payload, limit=size) == data
    if size:
        with pytest.raises(Violation) as caught:
            inflated(Deflate(), payload, limit=size - 1)
        assert caught.value.code == 1009


@given(st.integers(1, 5000), st.integers(0, 3), st.data())
def test_limit_is_exact_with_output_that_zlib_still_holds(size: int, more: int, data) -> None:
    payload = Deflate().deflate(b"ab" * size)
    if more:
        assert inflated(Deflate(), payload, limit=2 * size - 1 + more) == b"ab" * size
    else:
        with pytest.raises(Violation):
            inflated(Deflate(), payload, limit=data.draw(st.integers(0, 2 * size - 1)))


@pytest.mark.slow
def test_bomb_is_stopped_at_the_limit_with_memory_flat() -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    block = bytes(1 << 20)
    parts = [compressor.compress(block) for _ in range(286)]
    bomb = b"".join(parts) + compressor.flush(zlib.Z_SYNC_FLUSH)[:-4]
    assert len(bomb) < 300_000  # 300 MB
    limit = 16 << 20
    deflate = agreed(b"permessage-deflate")
    tracemalloc.start()
    try:
        with pytest.raises(Violation) as caught:
            deflate.inflate(bomb, fin=True, limit=limit)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == 1009
    assert peak < 2 * limit


# --- windows ------------------------------------------------------------------------------------


class StrictReader:
    """Inflates a byte at a time, so that every reference has to be found in the window."""

    def __init__(self, window: int) -> None:
        self.inflater = zlib.decompressobj(-window)

    def read(self, payload: bytes) -> bytes:
        data, output = payload + b"\x00\x00\xff\xff", b""
        while True:
            piece = self.inflater.decompress(data, 1)
            data = self.inflater.unconsumed_tail
            output += piece
            if not piece and not data:
                return output


@pytest.mark.parametrize("bits", range(8, 13))
def test_server_refers_no_further_back_than_the_agreed_window(bits: int) -> None:
    deflate = agreed(b"permessage-deflate; server_max_window_bits=%d" % bits)
    reader = StrictReader(bits)
    chance = random.Random(bits)
    for distance in (1 << bits, (1 << bits) - 1, 250, 249, 200, 3):
        message = chance.randbytes(distance) * 3 + bytes(chance.choices(b"abc", k=500))
        assert reader.read(deflate.deflate(message)) == message


def test_farther_reference_than_the_agreed_window_would_be_noticed() -> None:
    unit = random.Random(1).randbytes(1000)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    payload = compressor.compress(unit * 3) + compressor.flush(zlib.Z_SYNC_FLUSH)[:-4]
    with pytest.raises(zlib.error):
        StrictReader(9).read(payload)


@pytest.mark.parametrize("bits", range(9, 16))
def test_client_with_any_window_is_understood(bits: int) -> None:
    deflate = agreed(b"permessage-deflate; client_max_window_bits=%d" % min(bits, 12))
    compressor = zlib.compressobj(9, zlib.DEFLATED, -min(bits, 12))
    message = bytes(random.Random(bits).choices(b"abcdefgh", k=20_000))
    payload = compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH)[:-4]
    assert inflated(deflate, payload) == message


def test_client_that_names_no_window_may_use_the_widest() -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    unit = random.Random(1).randbytes(32_000)
    payloads = [compressor.compress(unit) + compressor.flush(zlib.Z_SYNC_FLUSH)[:-4] for _ in range(2)]  # fmt: skip
    assert len(payloads[1]) < 1000
    deflate = agreed(b"permessage-deflate")
    assert [inflated(deflate, payload) for payload in payloads] == [unit, unit]
