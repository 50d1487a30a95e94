"""How connections are accepted, alone and beside other workers, and how the last are."""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from gateway import listener as listener_module
from gateway.clock import Clock
from gateway.listener import Listener
from gateway.protocols.context import ConnectionContext
from gateway.protocols.default_fields import DefaultFields
from gateway.protocols.http1_h11 import H11HeadParser

LIMIT = 5.0
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


class Time:
    """`time.monotonic`, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """A listener on a port of its own, and the clients that a test opens."""

    def __init__(self, sock: socket.socket, *, shared: bool) -> None:
        self.time = Time()
        self.clock = Clock(monotonic=self.time)
        self.sock = sock
        self.address = sock.getsockname()
        self.context = ConnectionContext(
            loop=asyncio.get_running_loop(),
            clock=self.clock,
            handler=lambda exchange: exchange.start(200, [], b"hello"),
            parser=H11HeadParser,
            defaults=DefaultFields(self.clock, server=None, date=False),
        )
        self.listener = Listener(sock, self.context, shared=shared)
        self.clients: list[socket.socket] = []

    @property
    def connections(self) -> set:
        return self.listener.connections

    def connect(self, count: int = 1) -> list[socket.socket]:
        """Connections that wait in the kernel: nothing here lets the loop have a turn."""
        new = [socket.create_connection(self.address) for _ in range(count)]
        for each in new:
            each.setblocking(False)
        self.clients += new
        return new

    async def answer(self, client: socket.socket) -> bytes:
        """All that comes until the end; b"" where the connection was reset."""
        loop, data = asyncio.get_running_loop(), b""
        try:
            async with asyncio.timeout(LIMIT):
                while more := await loop.sock_recv(client, 4096):
                    data += more
        except ConnectionResetError:
            return b""
        return data


@asynccontextmanager
async def a_listener(sock: socket.socket | None = None, *, shared: bool) -> AsyncIterator[Scene]:
    sock = sock or socket.create_server(("127.0.0.1", 0), backlog=128)
    scene = Scene(sock, shared=shared)
    await scene.listener.open()
    try:
        yield scene
    finally:
        for client in scene.clients:
            client.close()
        if sock.fileno() >= 0:
            scene.listener.close()
        await scene.listener.settle()
        scene.listener.cut()
        await until(lambda: not scene.connections)
        sock.close()


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def run(steps: Callable[[], Awaitable[None]], loop: str = "asyncio") -> None:
    factory = asyncio.new_event_loop
    if loop == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.wait_for(steps(), 4 * LIMIT))


LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


# --- the last ones -------------------------------------------------------------------------------


@LOOPS
@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
def test_closing_empty_takes_all_that_the_kernel_has_accepted(loop, shared):
    async def steps() -> None:
        async with a_listener(shared=shared) as scene:
            clients = scene.connect(50)
            for client in clients:
                client.send(GET)
            await scene.listener.close_empty()
            assert len(scene.connections) == 50
            answers = await asyncio.gather(*map(scene.answer, clients))
            assert [each.endswith(b"hello") for each in answers] == [True] * 50

    run(steps, loop)


@LOOPS
@pytest.mark.parametrize("count", range(1, 5))
def test_closing_empty_takes_those_too_that_the_loop_has_just_accepted(loop, count):
    async def steps() -> None:
        async with a_listener(shared=False) as scene:
            clients = scene.connect(50)
            for client in clients:
                client.send(GET)
            await turns(count)  # of the loop's own server
            await scene.listener.close_empty()
            answers = await asyncio.gather(*map(scene.answer, clients))
            assert [each.endswith(b"hello") for each in answers] == [True] * 50

    run(steps, loop)


@LOOPS
@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
def test_after_the_close_nobody_is_accepted(loop, shared):
    async def steps() -> None:
        async with a_listener(shared=shared) as scene:
            await scene.listener.close_empty()
            await turns()
            with pytest.raises(ConnectionRefusedError):
                scene.connect()

    run(steps, loop)


def test_what_the_kernel_holds_for_the_others_is_left_to_them():
    async def steps() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=128) as sock:
            async with a_listener(sock.dup(), shared=True) as scene:
                (client,) = scene.connect()
                scene.listener.close()
                await scene.listener.settle()
                await turns()
                assert not scene.connections
                sock.setblocking(False)
                theirs, address = sock.accept()
                theirs.close()
                assert address == client.getsockname()

    run(steps)


# --- a socket that others accept from ------------------------------------------------------------


class Watched:
    """A listening socket; taken: how many connections. The rest is the socket's."""

    def __init__(self, sock: socket.socket) -> None:
        self.taken = 0
        self._sock = sock

    def accept(self):
        accepted = self._sock.accept()
        self.taken += 1
        return accepted

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)


@LOOPS
def test_one_connection_is_taken_in_a_turn(loop):
    async def steps() -> None:
        watched = Watched(socket.create_server(("127.0.0.1", 0)))
        async with a_listener(watched, shared=True) as scene:
            scene.connect(4)
            seen = [0]
            while seen[-1] < 4:
                await asyncio.sleep(0)
                seen.append(watched.taken)
                assert len(seen) < 1000
            # A turn may bring none, but none brings two.
            assert {after - before for before, after in itertools.pairwise(seen)} <= {0, 1}

    run(steps, loop)


@LOOPS
def test_two_listeners_share_what_comes_at_once(loop):
    async def steps() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=128) as sock:
            async with (
                a_listener(sock.dup(), shared=True) as first,
                a_listener(sock.dup(), shared=True) as second,
            ):
                first.connect(16)
                await until(lambda: len(first.connections) + len(second.connections) == 16)
                # Both belong to one loop here, so each has had as many turns as the other.
                assert abs(len(first.connections) - len(second.connections)) <= 2

    run(steps, loop)


@LOOPS
def test_a_connection_that_somebody_else_took_is_no_matter(loop):
    async def steps() -> None:
        async with a_listener(shared=True) as scene:
            assert scene.listener._accept_from(scene.sock) is False
            (client,) = scene.connect()
            client.send(GET)
            assert (await scene.answer(client)).endswith(b"hello")

    run(steps, loop)


class Exhausted(Watched):
    """In a process that has no descriptors left."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.exhausted = True
        self.tries = 0

    def accept(self):
        self.tries += 1
        if self.exhausted:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@LOOPS
def test_without_descriptors_it_pauses_and_says_so_once_for_each_pause(loop, monkeypatch, caplog):
    monkeypatch.setattr(listener_module, "_PAUSE", 0.05)

    async def steps() -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            exhausted = Exhausted(sock.dup())
            async with a_listener(exhausted, shared=True) as scene:
                (client,) = scene.connect()
                client.send(GET)
                await until(lambda: exhausted.tries)
                for _ in range(20):
                    await turns()
                assert exhausted.tries <= 2  # not one for each turn
                assert caplog.messages[0] == (
                    "no connection can be accepted for 0.05 s: Too many open files"
                )
                assert caplog.records[0].levelno == logging.ERROR
                exhausted.exhausted = False
                assert (await scene.answer(client)).endswith(b"hello")

    run(steps, loop)


@LOOPS
def test_a_listener_closed_in_its_pause_stays_closed(loop, monkeypatch):
    monkeypatch.setattr(listener_module, "_PAUSE", 0.02)

    async def steps() -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            exhausted = Exhausted(sock.dup())
            async with a_listener(exhausted, shared=True) as scene:
                scene.connect()
                await until(lambda: exhausted.tries)
                scene.listener.close()
                passed = asyncio.get_running_loop().create_future()
                asyncio.get_running_loop().call_later(0.06, passed.set_result, None)
                await passed
                assert exhausted.tries == 1

    run(steps, loop)


@LOOPS
def test_a_client_that_is_gone_when_it_is_accepted_leaves_nothing(loop, caplog):
    async def steps() -> None:
        async with a_listener(shared=True) as scene:
            for client in scene.connect(8):
                # A reset, not an end: what the kernel hands over is dead.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
            (client,) = scene.connect()
            client.send(GET)
            assert (await scene.answer(client)).endswith(b"hello")
            client.close()
            await scene.listener.settle()
            await until(lambda: not scene.connections)
            assert caplog.messages == []

    run(steps, loop)


# --- deadlines -----------------------------------------------------------------------------------


def test_deadlines_are_swept_with_the_clock():
    async def steps() -> None:
        async with a_listener(shared=False) as scene:
            scene.clock.on_tick.append(scene.listener.sweep)
            (client,) = scene.connect()
            await until(lambda: scene.connections)
            for _ in range(29):
                scene.time.now += 1
                scene.clock.tick()
            assert not any(each.closing for each in scene.connections)
            scene.time.now += 1
            scene.clock.tick()
            assert await scene.answer(client) == b""
            await until(lambda: not scene.connections)

    run(steps)


def test_nobody_is_overdue_after_a_loop_that_was_blocked():
    async def steps() -> None:
        async with a_listener(shared=False) as scene:
            scene.clock.on_tick.append(scene.listener.sweep)
            (client,) = scene.connect()
            await until(lambda: scene.connections)
            client.send(GET)
            scene.time.now += 3600
            scene.clock.tick()  # before the request was read
            assert (await scene.answer(client)).endswith(b"hello")

    run(steps)


@pytest.mark.parametrize(("gap", "late"), [(1.0, False), (2.0, False), (2.1, True), (3600.0, True)])
def test_a_tick_more_than_a_second_overdue_is_late(gap, late):
    time = Time()
    clock = Clock(monotonic=time)
    assert not clock.late
    time.now += gap
    clock.tick()
    assert clock.late is late
    time.now += 1
    clock.tick()
    assert not clock.late
