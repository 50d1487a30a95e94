"""The sending side of a connection: one write a turn, one window, turns for who waits."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from hpack import Decoder

from gateway.clock import Clock
from gateway.protocols.default_fields import DefaultFields
from gateway.protocols.http2_errors import ErrorCode, Http2Error
from gateway.protocols.http2_sender import LARGEST_WINDOW, FrameSender

from .http2_harness import SwitchingTransport, window_update


class Protocol(asyncio.Protocol):
    """Passes a transport's pressure on, as a connection does."""

    sender: FrameSender

    def pause_writing(self) -> None:
        self.sender.writable = False

    def resume_writing(self) -> None:
        self.sender.writable = True
        self.sender.pump()


class Turns:
    """A loop that only has turns."""

    def __init__(self, transport: SwitchingTransport) -> None:
        self._later = transport.later

    def call_soon(self, callback: object, *args: object) -> None:
        self._later.append(cast("object", callback))  # type: ignore[arg-type]


class Talker:
    """A stream with `pieces` to send, each as long as `size`."""

    def __init__(self, name: bytes, pieces: int, sender: FrameSender, *, size: int = 1) -> None:
        self.name, self.left, self.size = name, pieces, size
        self._sender = sender

    def send_piece(self) -> bool:
        self.left -= 1
        self._sender.window -= self.size
        self._sender.send(self.name * self.size)
        return self.left > 0


def made() -> tuple[FrameSender, SwitchingTransport]:
    clock = Clock(monotonic=lambda: 0.0, time=lambda: 0.0)
    transport = SwitchingTransport()
    protocol = Protocol()
    transport.set_protocol(protocol)
    protocol.sender = FrameSender(
        cast("asyncio.AbstractEventLoop", Turns(transport)),
        transport,
        DefaultFields(clock, server=None, date=False),
        portion=100,
    )
    return protocol.sender, transport


def test_what_is_sent_in_one_turn_is_one_write() -> None:
    sender, transport = made()
    writes: list[bytes] = []
    transport.write = writes.append  # type: ignore[method-assign,assignment]
    sender.send(b"a")
    sender.send(b"b")
    assert writes == []
    transport.turn()
    assert writes == [b"ab"]


def test_a_turn_is_asked_for_once_and_again_after_it() -> None:
    sender, transport = made()
    sender.send(b"a")
    sender.send(b"b")
    assert len(transport.later) == 1
    transport.turn()
    sender.send(b"c")
    transport.turn()
    assert transport.written == b"abc"


def test_while_frames_are_read_who_reads_flushes() -> None:
    sender, transport = made()
    sender.reading = True
    sender.send(b"a")
    assert transport.later == []
    sender.flush()
    assert transport.written == b"a"


def test_much_does_not_wait_for_what_else_is_read() -> None:
    sender, transport = made()
    sender.reading = True
    sender.send(b"a" * 40_000)
    assert not transport.written
    sender.send(b"b" * 40_000)
    assert len(transport.written) == 80_000
    assert sender.unsent() == 0


def test_elsewhere_much_is_full_until_the_turn_ends() -> None:
    sender, transport = made()
    sender.send(b"a" * 40_000)
    assert not sender.full
    sender.send(b"b" * 40_000)
    assert sender.full
    transport.turn()
    assert not sender.full
    assert len(transport.written) == 80_000


def test_who_waited_for_that_has_its_turn_then() -> None:
    sender, transport = made()
    sender.send(b"a" * 80_000)
    sender.wait(Talker(b"b", 2, sender))
    transport.turn()
    assert transport.written.endswith(b"abb")


def test_nothing_to_flush_is_no_write() -> None:
    sender, transport = made()
    transport.write_eof()
    sender.flush()
    assert not transport.written


def test_nothing_is_written_to_a_transport_that_closes() -> None:
    sender, transport = made()
    sender.send(b"a")
    transport.close()
    sender.flush()
    assert not transport.written
    assert sender.unsent() == 0


def test_unsent_is_what_was_gathered_and_what_the_transport_holds() -> None:
    sender, transport = made()
    transport.peer_stops_reading()
    sender.send(b"aa")
    transport.turn()
    sender.send(b"b")
    assert sender.unsent() == 3


def test_a_field_section_has_the_status_first() -> None:
    sender, transport = made()
    sender.send_headers(1, 200, [(b"x", b"y")], ends=True)
    sender.flush()
    assert Decoder().decode(bytes(transport.written[9:])) == [(":status", "200"), ("x", "y")]
    assert transport.written[4] == 0x5


def test_trailers_have_none() -> None:
    sender, transport = made()
    sender.send_headers(1, None, [(b"x", b"y")], ends=True)
    sender.flush()
    assert Decoder().decode(bytes(transport.written[9:])) == [("x", "y")]


def test_a_section_is_cut_at_the_peers_largest_frame() -> None:
    sender, transport = made()
    sender.largest = 16_384
    sender.send_headers(1, 200, [(b"x", b"y" * 20_000)], ends=True)
    sender.flush()
    assert transport.written[:3] == (16_384).to_bytes(3, "big")
    assert transport.written[9 + 16_384 + 3] == 0x9


def test_streams_take_turns_a_frame_each() -> None:
    sender, transport = made()
    for name in (b"a", b"b", b"c"):
        sender.wait(Talker(name, 3, sender))
    sender.pump()
    transport.turn()
    assert transport.written == b"abcabcabc"


def test_who_waits_twice_has_one_turn() -> None:
    sender, transport = made()
    talker = Talker(b"a", 2, sender)
    sender.wait(talker)
    sender.wait(Talker(b"b", 2, sender))
    sender.wait(talker)
    sender.pump()
    transport.turn()
    assert transport.written == b"abab"


def test_turns_go_on_where_the_window_stopped_them() -> None:
    sender, transport = made()
    sender.window = 4
    for name in (b"a", b"b", b"c"):
        sender.wait(Talker(name, 9, sender))
    sender.pump()
    for _ in range(4):
        sender.open_window(1)
        sender.pump()
    transport.turn()
    assert transport.written == b"abcabcab"


def test_turns_go_on_where_the_transport_stopped_them() -> None:
    sender, transport = made()
    sender.window = LARGEST_WINDOW
    transport.peer_stops_reading()
    for name in (b"a", b"b", b"c"):
        sender.wait(Talker(name, 10, sender, size=40_000))
    sender.pump()
    assert not sender.writable
    transport.peer_reads()
    transport.turn()
    assert transport.written[::40_000] == b"abc" * 10


def test_a_peer_that_does_not_read_stops_the_turns_soon() -> None:
    sender, transport = made()
    sender.window = LARGEST_WINDOW
    transport.peer_stops_reading()
    sender.wait(Talker(b"a", 1000, sender, size=16_384))
    sender.pump()
    assert sender.unsent() <= 128 * 1024


def test_nobody_has_a_turn_while_the_transport_is_paused() -> None:
    sender, transport = made()
    sender.writable = False
    sender.wait(Talker(b"a", 1, sender))
    sender.open_window(10)
    sender.pump()
    transport.turn()
    assert not transport.written


def test_who_is_forgotten_has_no_turn() -> None:
    sender, transport = made()
    talker = Talker(b"a", 1, sender)
    sender.wait(talker)
    sender.forget(talker)
    sender.forget(talker)
    sender.pump()
    transport.turn()
    assert not transport.written


def test_it_is_blocked_by_the_transport_or_by_who_waits() -> None:
    sender, _ = made()
    assert not sender.blocked
    sender.window = 0
    assert not sender.blocked
    sender.wait(Talker(b"a", 1, sender))
    assert sender.blocked
    sender.open_window(1)
    sender.pump()
    assert not sender.blocked
    sender.writable = False
    assert sender.blocked


def test_a_stream_that_fails_in_its_turn_does_not_stop_the_others_for_ever() -> None:
    sender, transport = made()

    class Failing(Talker):
        def send_piece(self) -> bool:
            raise ValueError("I/O operation on closed file")

    sender.wait(Failing(b"a", 1, sender))
    with pytest.raises(ValueError, match="closed"):
        sender.pump()
    sender.wait(Talker(b"b", 1, sender))
    sender.pump()
    transport.turn()
    assert transport.written == b"b"


def test_the_window_may_be_opened_to_its_limit() -> None:
    sender, _ = made()
    sender.open_window(LARGEST_WINDOW - sender.window)
    assert sender.window == LARGEST_WINDOW


def test_and_no_further() -> None:
    sender, _ = made()
    with pytest.raises(Http2Error) as error:
        sender.open_window(LARGEST_WINDOW - sender.window + 1)
    assert error.value.code is ErrorCode.FLOW_CONTROL_ERROR


def test_giving_back_is_a_window_update() -> None:
    sender, transport = made()
    sender.give_back(3, 500)
    sender.flush()
    assert transport.written == window_update(3, 500)


def test_a_stream_that_writes_in_its_turn_does_not_begin_another_round() -> None:
    sender, transport = made()
    depth = deepest = 0

    class Greedy(Talker):
        def send_piece(self) -> bool:
            nonlocal depth, deepest
            depth += 1
            deepest = max(deepest, depth)
            more = super().send_piece()
            sender.pump()  # as a write from `Listener.on_writable` does
            depth -= 1
            return more

    for _ in range(300):
        sender.wait(Greedy(b"a", 3, sender))
    sender.pump()
    transport.turn()
    assert len(transport.written) == 900
    assert deepest == 1
