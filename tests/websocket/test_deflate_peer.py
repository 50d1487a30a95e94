"""permessage-deflate with websockets at the other end."""

from __future__ import annotations

import random
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
)
from websockets.frames import Frame, Opcode
from websockets.headers import build_extension, parse_extension

from gateway.websocket.deflate import Deflate

from .samples import agreed, inflated

FACTORIES = [
    ClientPerMessageDeflateFactory(),
    ClientPerMessageDeflateFactory(compress_settings={"memLevel": 5}),
    ClientPerMessageDeflateFactory(client_max_window_bits=None),
    ClientPerMessageDeflateFactory(client_max_window_bits=9),
    ClientPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=15),
    ClientPerMessageDeflateFactory(server_max_window_bits=8),
    ClientPerMessageDeflateFactory(server_no_context_takeover=True),
    ClientPerMessageDeflateFactory(client_no_context_takeover=True),
    ClientPerMessageDeflateFactory(
        server_no_context_takeover=True,
        client_no_context_takeover=True,
        server_max_window_bits=10,
        client_max_window_bits=11,
    ),
]


def pair(factory: ClientPerMessageDeflateFactory) -> tuple[Deflate, PerMessageDeflate]:
    """Both ends, as the handshake's header fields made them."""
    offer = build_extension([(factory.name, list(factory.get_request_params()))])
    server = agreed(offer.encode())
    ((name, parameters),) = parse_extension(server.response.decode())
    assert name == factory.name
    return server, factory.process_response_params(parameters, [])


messages = st.lists(
    st.one_of(
        st.binary(max_size=50),
        st.sampled_from([b"", b"a", b"hello " * 500, bytes(5000), b"hello there"]),
        st.integers(0, 2**32).map(lambda seed: random.Random(seed).randbytes(3000)),
    ),
    min_size=1,
    max_size=8,
)
factories = st.sampled_from(FACTORIES)


@settings(max_examples=150, deadline=None)
@given(factories, messages)
def test_peer_reads_what_we_deflate(factory, sent: list[bytes]) -> None:
    server, client = pair(factory)
    for message in sent:
        frame = Frame(Opcode.BINARY, server.deflate(message), True, rsv1=True)
        assert bytes(client.decode(frame, max_size=1 << 20).data) == message


@settings(max_examples=150, deadline=None)
@given(factories, messages, st.integers(1, 4))
def test_we_inflate_what_the_peer_deflates_in_any_number_of_frames(factory, sent, count) -> None:
    server, client = pair(factory)
    for message in sent:
        size = -(-len(message) // count) or 1
        fragments = [message[at : at + size] for at in range(0, len(message), size)] or [b""]
        frames = [
            Frame(Opcode.CONT if index else Opcode.TEXT, part, index == len(fragments) - 1)
            for index, part in enumerate(fragments)
        ]
        payloads = [bytes(client.encode(frame).data) for frame in frames]
        assert inflated(server, *payloads) == message


@given(factories, messages, st.integers(0, 30))
def test_message_may_be_cut_after_it_was_deflated(factory, sent, place: int) -> None:
    server, client = pair(factory)
    for message in sent:
        payload = bytes(client.encode(Frame(Opcode.BINARY, message)).data)
        assert inflated(server, payload[:place], payload[place:]) == message


def test_context_is_taken_over_unless_the_client_forbids_it() -> None:
    message = random.Random(1).randbytes(500)
    kept, forgotten = (
        agreed(b"permessage-deflate"),
        agreed(b"permessage-deflate; server_no_context_takeover"),
    )
    first, second = kept.deflate(message), kept.deflate(message)
    assert len(second) < 50 < len(first)
    assert forgotten.deflate(message) == forgotten.deflate(message)


def test_idle_connection_has_no_context() -> None:
    tracemalloc.start()
    try:
        connections = [agreed(b"permessage-deflate; client_max_window_bits") for _ in range(100)]
        each = tracemalloc.get_traced_memory()[0] / len(connections)
    finally:
        tracemalloc.stop()
    assert each < 500
