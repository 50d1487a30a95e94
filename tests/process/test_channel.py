"""The channel between a parent and its worker: frames in pieces, large ones, and an end."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading

import pytest

from gateway.errors import ConfigError, GatewayError, StartError
from gateway.process.channel import (
    Channel,
    failure_message,
    failure_of,
    receive_frame,
    send_message,
)

from .fakes import on_loop, turns


def framed(data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + data


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


async def received(channel: Channel) -> list[object]:
    return [message async for message in channel.messages()]


@on_loop
async def test_what_one_side_sends_the_other_receives_in_order(pair):
    ours, theirs = await Channel.open(pair[0]), await Channel.open(pair[1])
    ours.send({"kind": "one"})
    ours.send({"kind": "two", "text": "Zoë"})
    await ours.close()
    assert await received(theirs) == [{"kind": "one"}, {"kind": "two", "text": "Zoë"}]
    await theirs.close()


@on_loop
async def test_a_message_may_come_byte_by_byte(pair):
    channel = await Channel.open(pair[0])
    messages = channel.messages()
    for byte in framed(b'{"kind": "beat"}'):
        pair[1].send(bytes([byte]))
        await turns(3)
    assert await anext(messages) == {"kind": "beat"}
    await channel.close()


@on_loop
async def test_messages_that_come_together_are_told_apart(pair):
    channel = await Channel.open(pair[0])
    pair[1].sendall(framed(b'{"a": 1}') + framed(b'{"b": 2}') + framed(b'{"c": 3}')[:5])
    pair[1].close()
    assert await received(channel) == [{"a": 1}, {"b": 2}]
    await channel.close()


@on_loop
async def test_a_large_message_waits_in_the_sender_until_it_is_read(pair):
    ours, theirs = await Channel.open(pair[0]), await Channel.open(pair[1])
    text = "x" * 900_000
    ours.send({"text": text})  # more than the kernel takes; and yet it does not wait
    assert await anext(theirs.messages()) == {"text": text}
    await ours.close()
    await theirs.close()


@on_loop
async def test_the_end_of_the_other_side_ends_the_messages(pair):
    channel = await Channel.open(pair[0])
    pair[1].close()
    assert await received(channel) == []
    await channel.close()


@on_loop
async def test_half_a_frame_is_no_message(pair):
    channel = await Channel.open(pair[0])
    pair[1].sendall(framed(b'{"kind": "ready"}')[:-1])
    pair[1].close()
    assert await received(channel) == []
    await channel.close()


@on_loop
async def test_sending_to_a_side_that_is_gone_does_nothing(pair):
    channel = await Channel.open(pair[0])
    pair[1].close()
    for _ in range(3):
        channel.send({"kind": "beat"})
        await turns()
    await channel.close()


@on_loop
async def test_sending_after_the_close_does_nothing(pair):
    channel = await Channel.open(pair[0])
    await channel.close()
    channel.send({"kind": "beat"})
    pair[1].settimeout(5)
    assert pair[1].recv(1) == b""


def test_sending_on_a_closed_uvloop_does_nothing(pair):
    uvloop = pytest.importorskip("uvloop")

    async def scenario() -> None:
        channel = await Channel.open(pair[0])
        await channel.close()
        channel.send({"kind": "beat"})

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(scenario(), 5))
    pair[1].settimeout(5)
    assert pair[1].recv(1) == b""


@on_loop
async def test_what_is_no_json_is_an_error(pair):
    channel = await Channel.open(pair[0])
    pair[1].sendall(framed(b"\xff{"))
    with pytest.raises(ValueError):
        await received(channel)
    await channel.close()


@on_loop
async def test_a_frame_nobody_would_send_is_not_waited_for(pair):
    channel = await Channel.open(pair[0])
    pair[1].sendall(b"\xff\xff\xff\xff")
    with pytest.raises(ValueError, match="4294967295 bytes"):
        await received(channel)
    await channel.close()


# --- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ConfigError("a\n  b"), StartError("c")])
def test_a_failure_is_the_same_on_the_other_side(error):
    message = failure_message(error)
    assert message["kind"] == "failed"
    told = failure_of(message["text"], message["code"])
    assert (type(told), str(told)) == (type(error), str(error))


def test_a_failure_of_another_kind_is_one_of_the_start():
    message = failure_message(GatewayError("odd"))
    assert isinstance(failure_of(message["text"], message["code"]), StartError)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\tb\n c", "a\tb\n c"),
        ("\x00\x7f\x85", "\\x00\\x7f\\x85"),
    ],
)
def test_a_failure_has_nothing_in_it_that_a_terminal_acts_on(said, told):
    assert str(failure_of(said, 3)) == told


# --- blocking sockets ----------------------------------------------------------------------------


def test_a_frame_of_a_blocking_socket_is_read_whole(pair):
    ours, theirs = pair
    data = bytes(range(256)) * 8192

    def send() -> None:
        ours.sendall(framed(data) + b"more")

    sender = threading.Thread(target=send)
    sender.start()
    assert receive_frame(theirs) == data
    sender.join()
    assert theirs.recv(10) == b"more"


@pytest.mark.parametrize("sent", [b"", b"\0\0", framed(b"abc")[:-1]])
def test_the_end_in_a_frame_of_a_blocking_socket_is_an_eof_error(pair, sent):
    ours, theirs = pair
    ours.sendall(sent)
    ours.close()
    with pytest.raises(EOFError):
        receive_frame(theirs)


def test_a_message_of_a_blocking_socket_is_a_frame_of_json(pair):
    ours, theirs = pair
    send_message(ours, {"kind": "forked", "pid": 7})
    assert json.loads(receive_frame(theirs)) == {"kind": "forked", "pid": 7}


def test_a_message_to_nobody_is_an_os_error(pair):
    ours, theirs = pair
    theirs.close()
    with pytest.raises(OSError):
        send_message(ours, {"kind": "forked"})
