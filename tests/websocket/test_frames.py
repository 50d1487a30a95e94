"""What `FrameCodec` promises beyond the rules: linear time, bounded memory, the portable mask."""

from __future__ import annotations

import sys
import tracemalloc
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.websocket import masking
from gateway.websocket.frames import FrameCodec
from gateway.websocket.masking import apply_mask, apply_mask_portable

from .samples import masked, outcome

ZEROS = bytes(4)
"""A key that leaves the payload as it is: large frames without a loop over them."""


def large(size: int) -> bytes:
    return b"\x82\xff" + size.to_bytes(8, "big") + ZEROS + bytes(size)


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def cpu_time(*chunks: bytes, frames: int) -> float:
    begun = process_time()
    assert len(outcome(FrameCodec, *chunks, limit=1 << 24)[0]) == frames
    return process_time() - begun


# Each of these takes tens of milliseconds; copying what waits, or what is left, at each step would
# move 128 GB in the first and 35 GB in the others.


def test_waiting_for_a_large_frame_takes_linear_time() -> None:
    assert cpu_time(*pieces(large(1 << 24), 1024), frames=1) < 3


def test_many_frames_in_one_read_take_linear_time() -> None:
    assert cpu_time(masked(0x82, b"a") * 100_000, frames=100_000) < 3


def test_many_frames_behind_half_a_frame_take_linear_time() -> None:
    one = masked(0x82, b"a")
    assert cpu_time(one[:3], one[3:] + one * 100_000, frames=100_001) < 3


def test_a_frame_in_tiny_pieces_costs_no_more_memory_than_its_bytes() -> None:
    size = 1 << 20
    data = large(size)
    codec = FrameCodec(limit=size, rsv1=False)
    tracemalloc.start()
    try:
        for at in range(0, len(data) - 2, 64):
            assert codec.receive(data[at : min(at + 64, len(data) - 2)]) == []
        assert tracemalloc.get_traced_memory()[0] < 1.3 * size
        (frame,) = codec.receive(data[-2:])
        assert len(frame[1]) == size
        del frame
        ours = tracemalloc.take_snapshot().filter_traces(
            [tracemalloc.Filter(True, "*/websocket/*")]
        )
        assert sum(trace.size for trace in ours.traces) < 10_000
    finally:
        tracemalloc.stop()


def test_a_violation_keeps_no_bytes() -> None:
    codec = FrameCodec(limit=1 << 20, rsv1=False)
    tracemalloc.start()
    try:
        codec.receive(b"\x82")
        codec.receive(large(1 << 20)[1:] + masked(0x83) + bytes(1 << 20))
        assert codec.violation is not None
        assert tracemalloc.get_traced_memory()[0] < 20_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("mask", [apply_mask, apply_mask_portable])
@given(st.integers(0, 5000), st.binary(min_size=4, max_size=4))
def test_mask_is_the_key_repeated(mask, size: int, key: bytes) -> None:
    data = bytes(index % 251 for index in range(size))
    expected = bytes(byte ^ key[index % 4] for index, byte in enumerate(data))
    assert mask(data, key) == expected
    assert mask(memoryview(data), bytearray(key)) == expected


def test_without_the_c_extension_the_portable_mask_is_used(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)
    source = masking.__spec__.loader.get_source(masking.__name__)
    module = {"__name__": "gateway.websocket.masking_again"}
    exec(compile(source, masking.__file__, "exec"), module)
    assert module["apply_mask"] is module["apply_mask_portable"]
