"""Sessions behind a real socket, with a client that is not ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedOK

from gateway.clock import Clock
from gateway.exchange import Exchange
from gateway.protocols.context import ConnectionContext
from gateway.protocols.default_fields import DefaultFields
from gateway.protocols.http1 import Http1Connection
from gateway.protocols.http1_httptools import HttptoolsHeadParser
from gateway.websocket.close_codes import close_payload
from gateway.websocket.codec import BINARY, CLOSE, TEXT
from gateway.websocket.frames import FrameCodec
from gateway.websocket.handshake import Handshake
from gateway.websocket.session import Session, SessionOptions

from .fakes import KEY, masked, unmasked

OPTIONS = SessionOptions(
    codec=FrameCodec,
    max_size=1024 * 1024,
    max_queue=4,
    ping_interval=20.0,
    ping_timeout=20.0,
    lifetime=None,
    handshake_timeout=30.0,
    deflate=True,
    shutdown_code=1012,
)

OPENING = (
    b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: " + KEY + b"\r\n\r\n"
)


class Echo:
    """Accepts, and sends back what comes as fast as the peer reads it.

    taken: messages so far; held: none is taken as long as it is True.
    """

    def __init__(self) -> None:
        self.session: Session | None = None
        self.taken = 0
        self.held = False

    def __call__(self, exchange: Exchange) -> None:
        self.session = Session(exchange, Handshake.check(exchange.head), OPTIONS, self)
        self.session.accept()

    def on_news(self) -> None:
        session = self.session
        assert session is not None
        while not self.held and session.writable and (message := session.take()) is not None:
            self.taken += 1
            if session.closed is None:
                session.send(message)


@asynccontextmanager
async def serving(handler: Echo) -> AsyncIterator[int]:
    """The port of a server on the loopback."""
    loop = asyncio.get_running_loop()
    clock = Clock()
    context = ConnectionContext(
        loop=loop,
        clock=clock,
        handler=handler,
        parser=HttptoolsHeadParser,
        defaults=DefaultFields(clock, server=None, date=False),
    )
    server = await loop.create_server(lambda: Http1Connection(context), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in list(context.connections):
            connection.cut()
        await server.wait_closed()


@pytest.mark.parametrize("compression", ["deflate", None])
def test_messages_of_all_sizes_come_back(compression: str | None) -> None:
    messages = ["", "é" * 60, "a" * 126, "🙂" * 20_000, b"", bytes(range(256)) * 4096]

    async def run() -> list[str | bytes]:
        async with serving(Echo()) as port:
            url = f"ws://127.0.0.1:{port}"
            async with connect(url, compression=compression, proxy=None) as client:
                for message in messages:
                    await client.send(message)
                return [await client.recv() for _ in messages]

    assert asyncio.run(run()) == messages


def test_a_close_of_the_client_is_answered() -> None:
    echo = Echo()

    async def run() -> None:
        async with serving(echo) as port:
            async with connect(f"ws://127.0.0.1:{port}", proxy=None) as client:
                await client.close(4001, "done")
            assert client.close_code == 4001

    asyncio.run(run())
    assert echo.session is not None
    assert echo.session.closed == (4001, "done")


def test_a_client_hears_our_close() -> None:
    echo = Echo()

    async def run() -> None:
        async with serving(echo) as port, connect(f"ws://127.0.0.1:{port}", proxy=None) as client:
            await client.send("x")
            await client.recv()
            assert echo.session is not None
            echo.session.close(1001, "away")
            with pytest.raises(ConnectionClosedOK) as caught:
                await client.recv()
            assert caught.value.rcvd is not None
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1001, "away")

    asyncio.run(run())


def test_a_client_hears_that_its_message_is_too_big() -> None:
    async def run() -> int | None:
        async with serving(Echo()) as port, connect(f"ws://127.0.0.1:{port}", proxy=None) as client:
            sending = asyncio.create_task(client.send(b"x" * (OPTIONS.max_size + 1)))
            await client.wait_closed()
            await asyncio.gather(sending, return_exceptions=True)
            return client.close_code

    assert asyncio.run(run()) == 1009


async def opened(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which the next bytes are frames."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(OPENING)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    return reader, writer


@pytest.mark.slow
def test_a_close_frame_reaches_a_peer_that_is_still_sending() -> None:
    async def run() -> bytes:
        async with serving(Echo()) as port:
            reader, writer = await opened(port)
            writer.write(masked(TEXT, b"\xff") + masked(BINARY, bytes(256 * 1024)) * 8)
            answer = await reader.read()
            writer.close()
            return answer

    ((opcode, payload),) = unmasked(asyncio.run(run()))
    assert opcode == CLOSE
    assert payload[:2] == b"\x03\xef"


class LateEcho(Echo):
    """Takes in a later turn of the loop, as a task does."""

    def on_news(self) -> None:
        asyncio.get_running_loop().call_later(0.02, super().on_news)


@pytest.mark.slow
def test_a_late_answer_reaches_a_peer_that_is_still_sending() -> None:
    async def run() -> bytes:
        async with serving(LateEcho()) as port:
            reader, writer = await opened(port)
            frames = [masked(TEXT, b"ok"), masked(TEXT, b"\xff")]
            writer.write(b"".join(frames) + masked(BINARY, bytes(256 * 1024)) * 8)
            # The reset takes what was received and not read yet with it.
            await asyncio.sleep(0.2)
            answer = await reader.read()
            writer.close()
            return answer

    first, (opcode, payload) = unmasked(asyncio.run(run()))
    assert first == (TEXT, b"ok")
    assert opcode == CLOSE
    assert payload[:2] == b"\x03\xef"


def test_frames_in_one_packet_with_the_request_are_read() -> None:
    async def run() -> bytes:
        async with serving(Echo()) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(OPENING + masked(TEXT, b"early") + masked(CLOSE, close_payload(1000)))
            answer = await reader.read()
            writer.close()
            return answer

    head, _, frames = asyncio.run(run()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    assert unmasked(frames) == [(TEXT, b"early"), (CLOSE, close_payload(1000))]


@pytest.mark.slow
def test_an_application_that_takes_nothing_stops_the_peer() -> None:
    echo = Echo()
    echo.held = True

    async def run() -> int:
        async with serving(echo) as port:
            _, writer = await opened(port)
            frame = masked(BINARY, bytes(64 * 1024))
            sent = 0
            while sent < 64 * 1024 * 1024:
                writer.write(frame)
                sent += len(frame)
                try:
                    await asyncio.wait_for(writer.drain(), 0.3)
                except TimeoutError:
                    break
            assert echo.session is not None
            assert echo.session.messages_received == OPTIONS.max_queue
            writer.transport.abort()
            return sent

    assert asyncio.run(run()) < 32 * 1024 * 1024


@pytest.mark.slow
def test_a_peer_that_does_not_read_stops_the_application() -> None:
    echo = Echo()

    async def run() -> None:
        async with serving(echo) as port:
            _, writer = await opened(port)
            frame = masked(BINARY, bytes(64 * 1024))
            for _ in range(1000):
                writer.write(frame)
                try:
                    await asyncio.wait_for(writer.drain(), 0.3)
                except TimeoutError:
                    break
            assert echo.session is not None
            assert not echo.session.writable
            writer.transport.abort()

    asyncio.run(run())
    assert echo.taken < 500
