"""Legal conversations with python-hyper's h2 as the client: it accepts all, and all arrives."""

from __future__ import annotations

from random import Random

import pytest
from h2.exceptions import ProtocolError
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.protocols.http2_frames import DATA
from gateway.protocols.http2_stream import Http2Stream

from .http2_reference import Script


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.binary(max_size=300))
def test_any_conversation_is_understood_and_complete(script: bytes) -> None:
    Script(script).play()


@pytest.mark.parametrize("seed", range(10))
def test_so_is_a_long_one(seed: int) -> None:
    random = Random(seed)
    for _ in range(4):
        Script(random.randbytes(400)).play()


OPEN_ALL = bytes([5, *[0, 0] * 6, *[9, 12] * 6])  # six requests, and all that is sent for them


def test_a_script_is_a_conversation() -> None:
    script = Script(OPEN_ALL)
    script.play()
    assert len(script.server.exchanges) == 6
    assert all(reply.ended for reply in script.server.replies.values())


# One request into a window of a byte, an answer of a hundred.
NARROW = bytes([1, *[0, 0], *[9, 12], *[4, 0, 3], *[9, 12]])


def test_a_script_may_wait_for_its_window() -> None:
    script = Script(NARROW)
    script.play()
    assert [len(each.payload) for each in script.server.of_kind(DATA)] == [1, 99]


def test_the_judge_sees_a_byte_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Http2Stream, "_took", lambda stream, size: None)
    monkeypatch.setattr(Http2Stream, "_fits", lambda stream, size: True)
    with pytest.raises(ProtocolError, match="window"):
        Script(NARROW).play()
