"""Every message of tests/corpus through both head parsers, in every segmentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.protocols.context import HeadParser

from .corpus import Message, load
from .harness import PARSERS, Conversation, Outcome

MESSAGES = load()
POLICY = Path(__file__).parents[2] / "docs" / "request-policy.md"

# Longer ones are cut into prime-sized pieces: 70,000 conversations would show nothing new.
SHORT = 400


def segmentations(data: bytes) -> Iterator[tuple[bytes, ...]]:
    yield (data,)
    if len(data) <= SHORT:
        yield tuple(data[i : i + 1] for i in range(len(data)))
        for cut in range(1, len(data)):
            yield data[:cut], data[cut:]
    else:
        for size in (997, 65_537):
            yield tuple(data[i : i + size] for i in range(0, len(data), size))


def outcome(parser: type[HeadParser], segments: tuple[bytes, ...]) -> Outcome:
    talk = Conversation(parser)
    talk.feed(*segments)
    return talk.outcome()


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
def test_outcome_is_the_same_for_every_parser_and_segmentation(
    message: Message, parser: type[HeadParser]
) -> None:
    whole = outcome(PARSERS[0], (message.data,))
    message.check(whole)
    for segments in segmentations(message.data):
        assert outcome(parser, segments) == whole, [segment[-20:] for segment in segments[:2]]


def test_corpus_is_large_and_knows_both_answers() -> None:
    accepted = [message for message in MESSAGES if message.answers and message.state == "open"]
    assert len(MESSAGES) >= 300
    assert len(accepted) >= 80
    assert len(MESSAGES) - len(accepted) >= 150


def test_every_refusal_of_the_written_policy_has_a_message() -> None:
    rows = re.findall(r"^\|.*?\| (\d{3})\b", POLICY.read_text("utf-8"), re.MULTILINE)
    listed = {int(status) for status in rows} - {408}  # needs a clock: test_http1_deadlines.py
    known = {answer.status for message in MESSAGES for answer in message.answers}
    assert listed >= {400, 414, 417, 431, 501, 505}
    assert listed <= known
