"""Properties of any input: frames, a GOAWAY or a close, each exchange ended once, nothing else."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.protocols.http2_frames import PREFACE

from . import http2_fuzz
from .http2_fuzz import conversation, problem
from .http2_harness import Http2Conversation


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_frames(data: bytes) -> None:
    assert problem(Random(0), b"?" + data) == ""
    assert problem(Random(0), PREFACE + data) == ""


@pytest.mark.parametrize("seed", range(20))
def test_conversations_that_have_gone_wrong(seed: int) -> None:
    random = Random(seed)
    for _ in range(20):
        data = conversation(random)
        assert problem(random, data) == "", data


def test_the_judge_sees_an_exchange_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(Http2Conversation):
        def lose(self) -> None:
            pass

    monkeypatch.setattr(http2_fuzz, "Http2Conversation", Forgetful)
    random = Random(1)
    assert any(problem(random, conversation(random)) for _ in range(20))
