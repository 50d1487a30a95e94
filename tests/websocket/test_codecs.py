"""The rules of RFC 6455, section 5, held by each codec alike, however the bytes are cut."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame as ClientFrame
from websockets.frames import Opcode

from gateway.websocket.codec import Codec, Violation

from .samples import CODECS, EVERY, Sample, every_codec, masked, outcome

every_sample = pytest.mark.parametrize("sample", EVERY, ids=lambda sample: sample.name)


def judged(codec: type[Codec], sample: Sample, *pieces: bytes):
    frames, broken = outcome(codec, *pieces, rsv1=sample.rsv1)
    return frames, None if broken is None else broken[0]


@every_codec
@every_sample
def test_bytes_in_one_read_have_their_verdict(codec: type[Codec], sample: Sample) -> None:
    assert judged(codec, sample, sample.data) == (sample.frames, sample.code)


@every_codec
@every_sample
def test_bytes_cut_anywhere_have_the_same_verdict(codec: type[Codec], sample: Sample) -> None:
    size = len(sample.data)
    cuts = range(1, size) if size < 300 else [*range(1, 20), size // 2, *range(size - 5, size)]
    for cut in cuts:
        pieces = sample.data[:cut], sample.data[cut:]
        assert judged(codec, sample, *pieces) == (sample.frames, sample.code), cut


@every_codec
@every_sample
def test_bytes_one_by_one_have_the_same_verdict(codec: type[Codec], sample: Sample) -> None:
    data = sample.data
    if len(data) > 2000:  # a body of one kind: its middle comes at once
        pieces = [*(data[i : i + 1] for i in range(20)), data[20:-5], *(data[-5:][i : i + 1] for i in range(5))]  # fmt: skip
    else:
        pieces = [data[i : i + 1] for i in range(len(data))]
    assert judged(codec, sample, *pieces) == (sample.frames, sample.code)


@every_sample
def test_codecs_notice_a_violation_at_the_same_byte_and_say_the_same(sample: Sample) -> None:
    head = sample.data[:300]
    for end in range(len(head) + 1):
        first, *others = [outcome(codec, head[:end], rsv1=sample.rsv1) for codec in CODECS]
        assert others == [first, first], end


@every_codec
def test_payload_is_bytes(codec: type[Codec]) -> None:
    data = masked(0x81, b"abc") + masked(0x82, bytes(200)) + masked(0x89)
    frames = outcome(codec, data)[0] + outcome(codec, data[:3], data[3:])[0]
    assert {type(payload) for _, payload, _, _ in frames} == {bytes}


@every_codec
def test_nothing_is_read_after_a_violation(codec: type[Codec]) -> None:
    reader = codec(limit=10, rsv1=False)
    assert reader.receive(masked(0x83)) == []
    broken = reader.violation
    assert isinstance(broken, Violation)
    assert reader.receive(masked(0x81, b"a")) == []
    assert reader.violation is broken


@every_codec
def test_limit_is_for_data_frames_only(codec: type[Codec]) -> None:
    frames, broken = outcome(codec, masked(0x89, b"four") + masked(0x82, b"four"), limit=3)
    assert [payload for _, payload, _, _ in frames] == [b"four"]
    assert broken == (1009, "a frame of 4 bytes is over the limit of 3")


@every_codec
def test_announcement_over_the_limit_is_refused_before_anything_is_buffered(codec) -> None:
    header = b"\x82\xff" + (1 << 62).to_bytes(8, "big")
    reader = codec(limit=1 << 24, rsv1=False)
    tracemalloc.start()
    try:
        assert reader.receive(header) == []
        assert tracemalloc.get_traced_memory()[1] < 20_000
    finally:
        tracemalloc.stop()
    assert reader.violation is not None
    assert reader.violation.code == 1009


@every_codec
def test_every_reason_fits_a_close_frame(codec: type[Codec]) -> None:
    for sample in EVERY:
        broken = outcome(codec, sample.data, rsv1=sample.rsv1)[1]
        assert (broken is None) == (sample.code is None)
        if broken is not None:
            assert 0 < len(broken[1].encode("ascii")) <= 123


@every_codec
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
@pytest.mark.parametrize("fin", [True, False])
@pytest.mark.parametrize("rsv1", [True, False])
def test_encoded_frame_has_the_shortest_header(codec, size: int, fin: bool, rsv1: bool) -> None:
    payload = bytes(index % 251 for index in range(size))
    frame = codec(limit=1, rsv1=True).encode(2, payload, fin=fin, rsv1=rsv1)
    first = 2 | (0x80 if fin else 0) | (0x40 if rsv1 else 0)
    if size < 126:
        head = bytes([first, size])
    elif size < 65536:
        head = bytes([first, 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, 127]) + size.to_bytes(8, "big")
    assert frame == head + payload
    assert type(frame) is bytes


@every_codec
@pytest.mark.parametrize("opcode", [0, 1, 2, 8, 9, 10])
def test_encoded_frame_has_its_opcode(codec: type[Codec], opcode: int) -> None:
    writer = codec(limit=1, rsv1=True)
    assert writer.encode(opcode, b"\xff") == bytes([0x80 | opcode, 1, 0xFF])
    assert writer.encode(2, b"", rsv1=True) == b"\xc2\x00"
    assert writer.encode(2, b"") == b"\x82\x00"


# --- any input ----------------------------------------------------------------------------------

payloads = st.one_of(
    st.binary(max_size=140),
    st.integers(0, 70_000).map(lambda size: bytes(index % 251 for index in range(size))),
)
control = st.tuples(
    st.sampled_from([Opcode.CLOSE, Opcode.PING, Opcode.PONG]), st.binary(max_size=125)
)


@st.composite
def conversations(draw: st.DrawFn) -> list[ClientFrame]:
    """Whole messages in some fragments each, with control frames anywhere between."""
    frames: list[ClientFrame] = []
    for _ in range(draw(st.integers(1, 3))):
        fragments = draw(st.lists(payloads, min_size=1, max_size=3))
        for index, payload in enumerate(fragments):
            for opcode, data in draw(st.lists(control, max_size=1)):
                frames.append(ClientFrame(opcode, data))
            opcode = Opcode.CONT if index else draw(st.sampled_from([Opcode.TEXT, Opcode.BINARY]))
            frames.append(ClientFrame(opcode, payload, index == len(fragments) - 1))
    return frames


@st.composite
def cut(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> list[bytes]:
    data = draw(source)
    places = draw(st.lists(st.integers(0, len(data)), max_size=6).map(sorted))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@settings(max_examples=60, deadline=None)
@given(conversations(), st.data())
def test_a_client_is_understood_by_every_codec_however_it_is_cut(sent, data) -> None:
    wire = b"".join(frame.serialize(mask=True) for frame in sent)
    expected = [(int(frame.opcode), bytes(frame.data), frame.fin, False) for frame in sent]
    pieces = data.draw(cut(st.just(wire)))
    for codec in CODECS:
        assert outcome(codec, wire) == (expected, None)
        assert outcome(codec, *pieces) == (expected, None)


noise = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.builds(masked, st.integers(0, 255), st.binary(max_size=130)),
        st.builds(masked, st.sampled_from([0, 1, 2, 0x80, 0x81, 0x82, 0x88, 0x89, 0xC1, 0x41]), st.binary(max_size=8)),
        st.builds(lambda first, size: bytes([first, 0xFF]) + size.to_bytes(8, "big"), st.sampled_from([0x81, 0x89]), st.integers(0, 2**64 - 1)),
    ),
    max_size=6,
).map(b"".join)  # fmt: skip


@settings(max_examples=250, deadline=None)
@given(cut(noise), st.booleans())
def test_any_bytes_are_frames_and_at_most_one_violation_alike_in_every_codec(pieces, rsv1) -> None:
    first, *others = [outcome(codec, *pieces, rsv1=rsv1, limit=100) for codec in CODECS]
    assert others == [first, first]
    assert outcome(CODECS[0], b"".join(pieces), rsv1=rsv1, limit=100) == first


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([0, 1, 2, 8, 9, 10]), payloads, st.booleans(), st.booleans())
def test_every_codec_encodes_the_same(opcode: int, payload: bytes, fin: bool, rsv1: bool) -> None:
    if opcode > 2:
        payload, fin, rsv1 = payload[:125], True, False
    frames = [codec(limit=1, rsv1=True).encode(opcode, payload, fin=fin, rsv1=rsv1) for codec in CODECS]  # fmt: skip
    assert frames[1:] == [frames[0], frames[0]]
