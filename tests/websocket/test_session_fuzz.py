"""Any bytes, cut anywhere: the same messages, the same end, and never another exception."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.websocket.close_codes import close_payload
from gateway.websocket.codec import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from gateway.websocket.deflate import Deflate

from .fakes import Client, masked

OFFER = [(b"sec-websocket-extensions", b"permessage-deflate; client_no_context_takeover")]
PAYLOADS = st.one_of(
    st.binary(max_size=20),
    st.text(max_size=20).map(str.encode),
    st.sampled_from((b"\xed\xa0", b"\xf4\x90", b"\xc3", b"x" * 200, close_payload(1000), b"\x03")),
    st.binary(max_size=50).map(lambda data: Deflate(client_takeover=False).deflate(data)),
)
FRAMES = st.one_of(
    st.builds(
        masked,
        st.sampled_from((TEXT, BINARY, CONTINUATION, PING, PONG)),
        PAYLOADS,
        fin=st.booleans(),
        rsv1=st.booleans(),
    ),
    st.builds(masked, st.sampled_from((TEXT, BINARY)), st.text(max_size=9).map(str.encode)),
    st.just(masked(CLOSE, close_payload(1000, "bye"))),
    st.binary(max_size=8),
)
STREAMS = st.lists(FRAMES, max_size=12).map(b"".join)


def conversation(data: bytes, cuts: list[int], **options: object) -> tuple[object, ...]:
    """What the application took, how it ended, and what the peer got."""
    client = Client.accepted(opening_fields=OFFER, max_size=150, **options)
    start = 0
    taken: list[str | bytes] = []
    for cut in [*sorted(cuts), len(data)]:
        if start < cut:
            client.send_bytes(data[start:cut])
            start = cut
            taken += client.messages()
    client.exchange.peer_closed()
    taken += client.messages()
    assert client.wire.finished == 1
    return taken, client.session.closed, client.frames(), client.session.messages_received


@settings(deadline=None, max_examples=300)
@given(data=STREAMS, cuts=st.lists(st.integers(0, 400), max_size=30))
def test_cuts_change_nothing(data: bytes, cuts: list[int]) -> None:
    assert conversation(data, cuts) == conversation(data, [])


@settings(deadline=None, max_examples=300)
@given(data=STREAMS)
def test_a_small_queue_changes_nothing(data: bytes) -> None:
    taken, closed, _, _ = conversation(data, [], max_queue=1)
    assert (taken, closed) == conversation(data, [])[:2]


@settings(deadline=None, max_examples=300)
@given(data=STREAMS, cut=st.integers(0, 400), code=st.sampled_from((1000, 3000)))
def test_nothing_follows_our_close(data: bytes, cut: int, code: int) -> None:
    client = Client.accepted(opening_fields=OFFER)
    client.send_bytes(data[:cut])
    client.messages()
    client.session.close(code)
    client.frames()
    client.send_bytes(data[cut:])
    client.exchange.peer_closed()
    assert client.frames() == []
    assert client.session.state == "closed"
