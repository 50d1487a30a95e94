"""PROXY headers on real sockets: taken off to the last byte and no further, in time, from whom."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from gateway.clock import Clock
from gateway.head import Address
from gateway.listener import Listener
from gateway.protocols.context import ConnectionContext
from gateway.protocols.default_fields import DefaultFields
from gateway.protocols.http1_h11 import H11HeadParser
from gateway.protocols.proxy_reader import ProxyReader
from protocols.proxy_headers import SIGNATURE, V1, V2, binary, ssl, tlv

LIMIT = 5.0
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
TOLD = b"http 203.0.113.9:51234 192.0.2.1:443"


class Time:
    """`time.monotonic`, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """A listener behind a balancer at 127.0.0.1; `trusted` says whether it is believed."""

    def __init__(self, sock: socket.socket, mode: str, *, trusted: bool) -> None:
        self.time = Time()
        self.clock = Clock(monotonic=self.time)
        self.sock = sock
        self.asked: list[Address | None] = []
        self.trusted = trusted
        context = ConnectionContext(
            loop=asyncio.get_running_loop(),
            clock=self.clock,
            handler=_answer,
            parser=H11HeadParser,
            defaults=DefaultFields(self.clock, server=None, date=False),
        )
        self.reader = ProxyReader(mode, trusts=self._trusts, clock=self.clock)
        self.listener = Listener(sock, context, proxy=self.reader)
        self.clients: list[socket.socket] = []

    def _trusts(self, peer: Address | None) -> bool:
        self.asked.append(peer)
        return self.trusted

    def connect(self, data: bytes = b"") -> socket.socket:
        client = socket.socket(self.sock.family)
        self.clients.append(client)
        client.connect(self.sock.getsockname())
        client.setblocking(False)
        if data:
            client.send(data)
        return client

    async def answer(self, client: socket.socket) -> bytes:
        """All that comes until the end; b"" also where the connection was reset."""
        loop, data = asyncio.get_running_loop(), b""
        try:
            async with asyncio.timeout(LIMIT):
                while more := await loop.sock_recv(client, 4096):
                    data += more
        except ConnectionResetError:
            return data
        return data

    async def ask(self, data: bytes) -> bytes:
        return await self.answer(self.connect(data))

    def pass_time(self, seconds: float) -> None:
        """A sweep every second, as a worker does it."""
        for _ in range(round(seconds)):
            self.time.now += 1.0
            self.clock.tick()
            self.listener.sweep()


def _answer(exchange) -> None:
    head = exchange.head
    ends = [":".join(map(str, each)) if each else "none" for each in (head.client, head.server)]
    exchange.start(200, [], " ".join([head.scheme, *ends]).encode())


@asynccontextmanager
async def a_scene(
    mode: str = "auto", *, trusted: bool = True, sock: socket.socket | None = None
) -> AsyncIterator[Scene]:
    sock = sock or socket.create_server(("127.0.0.1", 0))
    scene = Scene(sock, mode, trusted=trusted)
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
        await until(lambda: not scene.listener.connections)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request) -> Callable[[Callable[[], Awaitable[None]]], None]:
    factory = asyncio.new_event_loop
    if request.param == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop

    def run(steps: Callable[[], Awaitable[None]]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(steps(), 4 * LIMIT))

    return run


@pytest.fixture
def lines(caplog) -> Callable[[], list[str]]:
    """The lines of the log, at level warning and above."""
    caplog.set_level(logging.WARNING, "gateway.error")
    return lambda: [record.getMessage() for record in caplog.records]


# --- read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "header"), [("v1", V1), ("v2", V2), ("auto", V1), ("auto", V2)])
def test_the_request_behind_a_header_is_served_with_what_it_told(run, mode, header):
    async def steps() -> None:
        async with a_scene(mode) as scene:
            assert (await scene.ask(header + GET)).endswith(TOLD)
            assert scene.asked == [scene.clients[0].getsockname()]

    run(steps)


@pytest.mark.parametrize("header", [V1, binary(tlv(1, b"h2"))], ids=["v1", "v2"])
def test_a_header_may_come_in_any_pieces(run, header):
    async def steps() -> None:
        async with a_scene() as scene:
            client = scene.connect()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for position in range(len(header)):
                client.send(header[position : position + 1])
                for _ in range(4):
                    await asyncio.sleep(0)
            client.send(GET)
            assert (await scene.answer(client)).endswith(TOLD)

    run(steps)


@pytest.mark.parametrize("header", [V1, V2, binary(tlv(4, bytes(4081)))], ids=["v1", "v2", "4 KiB"])
@pytest.mark.parametrize("cut", [0, 1, 12, 15, 16, 20, -1])
def test_not_a_byte_behind_a_header_is_taken(run, header, cut):
    async def steps() -> None:
        reader = ProxyReader("auto", trusts=lambda _: True, clock=Clock())
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            reading = asyncio.ensure_future(reader.read(ours, ("127.0.0.1", 1)))
            if cut:
                theirs.send(header[:cut])
                await asyncio.sleep(0.002)
                assert not reading.done()
            theirs.send(header[cut:] + b"the client's bytes")
            assert (await reading) is not None
            assert ours.recv(100) == b"the client's bytes"

    run(steps)


def test_a_client_with_tls_at_the_balancer_has_the_scheme_https(run):
    async def steps() -> None:
        async with a_scene() as scene:
            assert (await scene.ask(binary(ssl(1, 1)) + GET)).endswith(TOLD.replace(b"p ", b"ps "))

    run(steps)


@pytest.mark.parametrize(
    "header", [b"PROXY UNKNOWN\r\n", binary(command=0x20), binary(family=0, block=b"")]
)
def test_where_nothing_is_told_the_sockets_addresses_stand(run, header):
    async def steps() -> None:
        async with a_scene() as scene:
            answer = await scene.ask(header + GET)
            ends = [
                ":".join(map(str, each.getsockname())) for each in (scene.clients[0], scene.sock)
            ]
            assert answer.endswith(" ".join(["http", *ends]).encode())

    run(steps)


def test_a_balancer_may_come_by_a_unix_socket(run, tmp_path):
    async def steps() -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(tmp_path / "sock"))
        async with a_scene(sock=sock) as scene:
            assert (await scene.ask(V2 + GET)).endswith(TOLD)
            local = await scene.ask(binary(command=0x20) + GET)
            assert local.endswith(f"http none {tmp_path}/sock:None".encode())
            assert scene.asked == [None, None]

    run(steps)


# --- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["v1", "v2"])
def test_who_is_not_trusted_is_turned_away(run, mode, lines):
    async def steps() -> None:
        async with a_scene(mode, trusted=False) as scene:
            assert await scene.ask((V1 if mode == "v1" else V2) + GET) == b""
            assert await scene.ask(GET) == b""

    run(steps)
    (line,) = lines()
    assert "127.0.0.1:" in line
    assert line.endswith("is closed: it is not in proxy-protocol-allow-ips")


def test_auto_has_plain_clients_too_and_they_may_not_send_a_header(run, lines):
    async def steps() -> None:
        async with a_scene("auto", trusted=False) as scene:
            assert b" 200 " in await scene.ask(GET)
            for header in (V1, V2):
                assert b" 400 " in await scene.ask(header + GET)

    run(steps)
    assert not [line for line in lines() if line.startswith("PROXY protocol")]


@pytest.mark.parametrize(
    ("mode", "data", "reason"),
    [
        ("v1", GET, "no header"),
        ("v2", GET, "no header"),
        ("auto", GET, "no header"),
        ("v1", V2, "a header of version 2"),
        ("v2", V1, "a header of version 1"),
        ("auto", V1.replace(b" 443", b" 0443"), "a port that is no canonical number"),
        ("auto", SIGNATURE + b"\x31\x11\0\0", "not of version 2"),
    ],
)
def test_what_is_no_header_ends_the_connection_unanswered(run, mode, data, reason, lines):
    async def steps() -> None:
        async with a_scene(mode) as scene:
            assert await scene.ask(data) == b""

    run(steps)
    (line,) = lines()
    assert reason in line


def test_a_header_that_ends_early_ends_the_connection(run, lines):
    async def steps() -> None:
        async with a_scene() as scene:
            client = scene.connect(V2[:20])
            client.shutdown(socket.SHUT_WR)
            assert await scene.answer(client) == b""

    run(steps)
    (line,) = lines()
    assert line.endswith("it closed within its header")


def test_a_probe_that_connects_and_leaves_is_not_worth_a_line(run, lines):
    async def steps() -> None:
        async with a_scene() as scene:
            client = scene.connect()
            client.shutdown(socket.SHUT_WR)
            assert await scene.answer(client) == b""

    run(steps)
    assert lines() == []


def test_the_log_has_a_line_a_minute_and_counts_the_others(run, lines):
    async def steps() -> None:
        async with a_scene() as scene:
            for _ in range(4):
                assert await scene.ask(GET) == b""
            scene.trusted = False
            scene.reader._optional = False
            assert await scene.ask(GET) == b""  # another kind has lines of its own
            scene.trusted = True
            scene.pass_time(60)
            assert await scene.ask(GET) == b""

    run(steps)
    ends = [line.partition("is closed: ")[2] for line in lines()]
    assert ends == [
        "no header",
        "it is not in proxy-protocol-allow-ips",
        "no header (3 more since the last such line)",
    ]


# --- late ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [b"", V1[:10], V2[:14], V2[:20]])
def test_a_header_that_is_late_ends_the_connection(run, begun, lines):
    async def steps() -> None:
        async with a_scene() as scene:
            client = scene.connect(begun)
            await until(lambda: scene.reader._waiting)
            scene.pass_time(4)
            await asyncio.sleep(0.002)
            assert scene.reader._waiting
            client.send((V1 if begun[:1] == b"P" else V2)[len(begun) :][:1])  # a byte is no excuse
            await asyncio.sleep(0.002)
            scene.pass_time(1)
            assert await scene.answer(client) == b""
            assert not scene.reader._waiting

    run(steps)
    (line,) = lines()
    assert line.endswith("no header within 5 s")


def test_a_blocked_loop_is_not_a_late_header(run):
    async def steps() -> None:
        async with a_scene() as scene:
            client = scene.connect()
            await until(lambda: scene.reader._waiting)
            scene.time.now += 30
            scene.clock.tick()
            scene.listener.sweep()
            client.send(V2 + GET)
            assert (await scene.answer(client)).endswith(TOLD)

    run(steps)


def test_closing_takes_whose_header_has_come_and_gives_up_the_others(run, monkeypatch, lines):
    monkeypatch.setattr("gateway.listener._HANDSHAKES", 0.05)

    async def steps() -> None:
        async with a_scene() as scene:
            come = [scene.connect(V2 + GET) for _ in range(10)]
            silent = [scene.connect() for _ in range(3)]
            await scene.listener.close_empty()
            answers = await asyncio.gather(*map(scene.answer, come))
            assert [each.endswith(TOLD) for each in answers] == [True] * 10
            assert [await scene.answer(each) for each in silent] == [b""] * 3

    run(steps)
    assert lines() == []
