"""Nothing stands behind a message of the corpus but what it says: no request is smuggled.

One sentence for CVE-2024-49768, CVE-2022-29361, CVE-2025-53643 and all of the corpus that names no
advisory: behind a refusal nothing is a request; behind an accepted message the next one is whole.
"""

from __future__ import annotations

import pytest

from gateway.protocols.context import HeadParser

from .corpus import Message, load
from .harness import PARSERS, Conversation

MESSAGES = load()
REFUSED = [each for each in MESSAGES if each.answers and each.answers[-1].status >= 400]
KEPT = [
    each
    for each in MESSAGES
    if each.answers
    and each.answers[-1].status == 200
    and each.state == "open"
    # Half a request follows the last whole one.
    and each.name != "connection/good-then-half"
]
NEXT = b"GET /behind HTTP/1.1\r\nHost: behind\r\n\r\n"


def name(message: Message) -> str:
    return message.name


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("message", REFUSED, ids=name)
def test_nothing_behind_a_refusal_is_a_request(message: Message, parser: type[HeadParser]) -> None:
    for segments in ((message.data, NEXT), (message.data + NEXT * 3,), (message.data, NEXT, NEXT)):
        talk = Conversation(parser)
        talk.feed(*segments)
        statuses = talk.outcome().statuses
        assert len(statuses) == len(message.answers)
        assert statuses[-1] >= 400
        assert talk.state == "closed"
        assert all(request.header(b"host") != b"behind" for request in talk.requests)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("message", KEPT, ids=name)
def test_what_follows_an_accepted_message_is_the_next_one(
    message: Message, parser: type[HeadParser]
) -> None:
    for segments in ((message.data, NEXT), (message.data + NEXT,)):
        talk = Conversation(parser)
        talk.feed(*segments)
        outcome = talk.outcome()
        assert outcome.statuses == (*(answer.status for answer in message.answers), 200)
        last = outcome.requests[-1]
        assert (last.method, last.target, last.body) == ("GET", b"/behind", b"")
        assert last.headers == ((b"host", b"behind"),)


def test_both_kinds_are_many() -> None:
    assert len(REFUSED) > 250
    assert len(KEPT) > 90
