"""Files on a real socket and a real loop: the kernel sends them, and clients go away."""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, BinaryIO, TypeVar

import pytest

from gateway.clock import Clock
from gateway.exchange import Exchange
from gateway.protocols.context import ConnectionContext
from gateway.protocols.default_fields import DefaultFields
from gateway.protocols.http1 import Http1Connection
from gateway.protocols.http1_httptools import HttptoolsHeadParser
from gateway.protocols.sendfile import FileTransfer

from .harness import Response, read_responses

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop]
if sys.platform != "win32":
    import uvloop

    LOOPS.append(uvloop.new_event_loop)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CONTENT = bytes(range(256)) * 20_000 + b"the end"  # 5 MB: more than socket buffers hold

T = TypeVar("T")


@pytest.fixture(params=LOOPS, ids=lambda factory: factory.__module__)
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    loop = request.param()
    yield loop
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


class Service:
    """A connection on one end of a socket pair, its client on the other."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, handler: Callable[[Exchange], None]
    ) -> None:
        clock = Clock()
        self.loop = loop
        self.exchanges: list[Exchange] = []

        def handle(exchange: Exchange) -> None:
            self.exchanges.append(exchange)
            handler(exchange)

        self.context = ConnectionContext(
            loop=loop,
            clock=clock,
            handler=handle,
            parser=HttptoolsHeadParser,
            defaults=DefaultFields(clock, server=None, date=False),
        )
        self.connection = Http1Connection(self.context)
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.far.setblocking(False)

    def run(self, conversation: Coroutine[Any, Any, T]) -> T:
        """Connect, hold the conversation, and see to it that nothing is left."""

        async def whole() -> T:
            await self.loop.create_connection(lambda: self.connection, sock=self.near)
            try:
                async with asyncio.timeout(10):
                    return await conversation
            finally:
                self.far.close()
                while self.context.connections:  # noqa: ASYNC110 - its loss tells nobody else
                    await asyncio.sleep(0.001)

        return self.loop.run_until_complete(whole())

    async def send(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.far, data)

    async def receive(self, end: bytes = b"") -> bytes:
        """Until `end` has come, or the end of the connection."""
        data = bytearray()
        while not (end and data.endswith(end)):
            piece = await self.loop.sock_recv(self.far, 1 << 20)
            if not piece:
                break
            data += piece
        return bytes(data)


def responses(data: bytes) -> list[Response]:
    return read_responses(data)


@pytest.fixture
def file() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        file.write(CONTENT)
        file.flush()
        yield file


def test_file_with_its_length_arrives_whole(
    loop: asyncio.AbstractEventLoop, file: BinaryIO
) -> None:
    def handler(exchange: Exchange) -> None:
        exchange.start(200, [(b"content-length", b"%d" % len(CONTENT))], b"", more=True)
        exchange.send_file(file, 0, len(CONTENT))

    service = Service(loop, handler)

    async def conversation() -> bytes:
        await service.send(GET)
        return await service.receive(b"the end")

    data = service.run(conversation())
    assert data.endswith(b"\r\n\r\n" + CONTENT)
    assert file.closed
    assert service.exchanges[0].finished


def test_files_of_pipelined_requests_do_not_mix(
    loop: asyncio.AbstractEventLoop, tmp_path: Any
) -> None:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)

    def handler(exchange: Exchange) -> None:
        exchange.start(200, [(b"content-length", b"1000000")], b"", more=True)
        exchange.send_file(path.open("rb"), 7, 1_000_000)

    service = Service(loop, handler)

    async def conversation() -> bytes:
        await service.send(GET * 2 + b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return await service.receive()

    got = responses(service.run(conversation()))
    assert [response.body == CONTENT[7 : 7 + 1_000_000] for response in got] == [True] * 3
    assert got[2].header(b"connection") == b"close"


def test_file_inside_a_chunked_body_is_one_chunk(
    loop: asyncio.AbstractEventLoop, file: BinaryIO
) -> None:
    def handler(exchange: Exchange) -> None:
        exchange.start(200, [], b"<", more=True)
        exchange.send_file(file, 10, 300_000, more=True)
        # Written meanwhile, they follow the file.
        exchange.write(b"!" * 20_000, more=True)
        exchange.write(b">", more=False)

    service = Service(loop, handler)

    async def conversation() -> bytes:
        await service.send(GET)
        return await service.receive(b"0\r\n\r\n")

    response = responses(service.run(conversation()))[0]
    assert response.header(b"transfer-encoding") == b"chunked"
    assert response.body == b"<" + CONTENT[10:300_010] + b"!" * 20_000 + b">"


def test_empty_file_is_an_empty_body(loop: asyncio.AbstractEventLoop, file: BinaryIO) -> None:
    def handler(exchange: Exchange) -> None:
        exchange.start(200, [], b"", more=True)
        exchange.send_file(file, 0, 0)

    service = Service(loop, handler)

    async def conversation() -> bytes:
        await service.send(GET)
        return await service.receive(b"0\r\n\r\n")

    assert responses(service.run(conversation()))[0].body == b""
    assert file.closed


def test_file_shorter_than_announced_cuts_the_connection(
    loop: asyncio.AbstractEventLoop, file: BinaryIO, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(exchange: Exchange) -> None:
        size = len(CONTENT) + 1
        exchange.start(200, [(b"content-length", b"%d" % size)], b"", more=True)
        exchange.send_file(file, 0, size)

    service = Service(loop, handler)
    finished: list[Exchange] = []

    async def conversation() -> int:
        await service.send(GET + GET)
        service_end = 0
        try:
            while piece := await loop.sock_recv(service.far, 1 << 20):
                service_end += len(piece)
                service.exchanges[0].on_finish[:] = [finished.append]
        except ConnectionError:
            pass
        return service_end

    assert service.run(conversation()) < len(CONTENT) + 200
    assert "a file ended before its announced length" in caplog.text
    assert finished == service.exchanges
    assert file.closed


@pytest.mark.parametrize("unread", [b"", GET * 5000], ids=["reading", "paused"])
def test_client_that_goes_away_in_the_middle_is_noticed(
    loop: asyncio.AbstractEventLoop, file: BinaryIO, unread: bytes
) -> None:
    """With reading paused nobody but sendfile itself hears of it."""

    def handler(exchange: Exchange) -> None:
        exchange.start(200, [(b"content-length", b"%d" % len(CONTENT))], b"", more=True)
        exchange.send_file(file, 0, len(CONTENT))

    service = Service(loop, handler)

    async def conversation() -> None:
        await service.send(GET + unread)
        await loop.sock_recv(service.far, 1000)
        service.far.close()

    service.run(conversation())
    assert service.exchanges[0].gone
    assert len(service.exchanges) == 1
    assert file.closed


def test_closed_file_is_a_cut(
    loop: asyncio.AbstractEventLoop, file: BinaryIO, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(exchange: Exchange) -> None:
        exchange.start(200, [(b"content-length", b"5")], b"", more=True)
        file.close()
        exchange.send_file(file, 0, 5)

    service = Service(loop, handler)

    async def conversation() -> bytes:
        await service.send(GET)
        try:
            return await service.receive()
        except ConnectionError:
            return b""

    assert not service.run(conversation()).endswith(CONTENT[:5])
    assert service.exchanges[0].cut
    assert "a file ended before its announced length" in caplog.text


class Sink(asyncio.Protocol):
    """The owner of a transfer: passes `resume_writing` on."""

    transfer: FileTransfer | None = None

    def resume_writing(self) -> None:
        if self.transfer is not None:
            self.transfer.advance()


@pytest.mark.parametrize("copy", [False, True], ids=["sendfile", "copied"])
def test_range_is_sent_either_way(
    loop: asyncio.AbstractEventLoop, file: BinaryIO, copy: bool
) -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)

    async def conversation() -> bytes:
        transport, sink = await loop.create_connection(Sink, sock=near)
        transport.set_write_buffer_limits(0)
        done: asyncio.Future[bool] = loop.create_future()
        transfer = FileTransfer(loop, transport, file, 100, 3_000_000, done.set_result)
        transfer._copy = copy
        sink.transfer = transfer
        transfer.advance()
        received = bytearray()
        while len(received) < 3_000_000:
            received += await loop.sock_recv(far, 1 << 20)
        assert await done
        transport.close()
        await asyncio.sleep(0)
        return bytes(received)

    data = loop.run_until_complete(conversation())
    far.close()
    assert data == CONTENT[100:3_000_100]
    assert file.closed


def test_closed_transfer_closes_its_file_and_says_nothing(
    loop: asyncio.AbstractEventLoop, file: BinaryIO
) -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    done: list[bool] = []

    async def conversation() -> None:
        transport, _ = await loop.create_connection(Sink, sock=near)
        transfer = FileTransfer(loop, transport, file, 0, len(CONTENT), done.append)
        transfer.advance()
        transfer.close()
        transfer.close()
        await asyncio.sleep(0.01)
        transport.close()
        await asyncio.sleep(0)

    loop.run_until_complete(conversation())
    far.close()
    assert done == []
    assert file.closed
