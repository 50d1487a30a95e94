"""A wire that records, requests made by hand, and an interface on the running loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import BinaryIO
from urllib.parse import unquote

from gateway.exchange import Exchange
from gateway.head import Headers, Peer, RequestHead
from gateway.interfaces.wsgi import WsgiInterface

PEER = Peer(("203.0.113.7", 50123), ("192.0.2.1", 8000))


class RecordingWire:
    """Keeps what it is asked to send; `high_water` makes it unwritable like a real transport."""

    def __init__(self, high_water: int | None = None) -> None:
        self.exchange: Exchange | None = None
        self.status: int | None = None
        self.headers: dict[bytes, bytes] = {}
        self.header_list: Headers = []
        self.chunks: list[bytes] = []
        self.writes = 0
        self.informational: list[tuple[int, Headers]] = []
        self.files: list[tuple[BinaryIO, int, int]] = []
        self.aborted = False
        self.unread = 0
        self.high_water = high_water
        self.consumed_bytes = 0
        self.on_consumed: Callable[[int], None] | None = None
        self.finished = asyncio.Event()

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def send_response(
        self, status: int, headers: Headers, data: bytes, more: bool, length: int | None
    ) -> None:
        self.status = status
        self.header_list = headers
        self.headers = dict(headers)
        self.writes += 1
        self._sent(data)

    def send_data(self, data: bytes, more: bool) -> None:
        self.writes += 1
        self._sent(data)

    def send_file(self, file: BinaryIO, offset: int, count: int, more: bool) -> None:
        self.files.append((file, offset, count))
        with file:
            file.seek(offset)
            self.chunks.append(file.read(count))
        assert self.exchange is not None
        asyncio.get_running_loop().call_soon(self.exchange.file_sent)

    def send_trailers(self, headers: Headers) -> None:
        raise AssertionError("WSGI has no trailers")

    def send_informational(self, status: int, headers: Headers) -> None:
        self.informational.append((status, headers))

    def exchange_finished(self) -> None:
        self.finished.set()

    def consumed(self, size: int) -> None:
        self.consumed_bytes += size
        if self.on_consumed is not None:
            self.on_consumed(size)

    def abort(self) -> None:
        self.aborted = True

    def drain(self) -> None:
        """The client reads all there is."""
        self.unread = 0
        assert self.exchange is not None
        self.exchange.set_writable(True)

    def _sent(self, data: bytes) -> None:
        self.chunks.append(data)
        self.unread += len(data)
        if self.high_water is not None and self.unread > self.high_water:
            assert self.exchange is not None
            self.exchange.set_writable(False)


def make_head(
    target: bytes = b"/",
    *,
    method: str = "GET",
    headers: Headers | None = None,
    body: bytes = b"",
    content_length: int | None = -1,
    root_path: str = "",
    peer: Peer = PEER,
    version: str = "1.1",
    expect_continue: bool = False,
) -> RequestHead:
    """A head as the protocols make it; `content_length` -1 goes by `body`."""
    raw_path, _, query = target.partition(b"?")
    fields = [(b"host", b"example.com"), *(headers or [])]
    if content_length == -1:
        content_length = len(body)
    if content_length:
        fields.append((b"content-length", b"%d" % content_length))
    head = RequestHead(
        method,
        target,
        unquote(raw_path.decode("ascii")),
        raw_path,
        query,
        version,
        fields,
        peer,
        content_length,
        expect_continue,
    )
    head.root_path = root_path
    return head


def open_exchange(
    head: RequestHead, high_water: int | None = None
) -> tuple[Exchange, RecordingWire]:
    wire = RecordingWire(high_water)
    exchange = wire.exchange = Exchange(head, wire)
    return exchange, wire


@asynccontextmanager
async def serving(app, **options) -> AsyncIterator[WsgiInterface]:
    interface = WsgiInterface(app, loop=asyncio.get_running_loop(), **options)
    try:
        yield interface
    finally:
        assert await interface.shutdown(5) == 0


async def request(
    app, target: bytes = b"/", *, body: bytes = b"", threads: int = 8, **fields
) -> RecordingWire:
    """Serve one request from start to end."""
    async with serving(app, threads=threads) as interface:
        exchange, wire = open_exchange(make_head(target, body=body, **fields))
        interface(exchange)
        if not exchange.body_complete:
            if body:
                exchange.body_received(body)
            exchange.body_ended()
        await wire.finished.wait()
    return wire


def get(app, target: bytes = b"/", **fields) -> RecordingWire:
    """`request` on a loop of its own."""
    return asyncio.run(request(app, target, **fields))


async def until(condition: Callable[[], object]) -> None:
    """Let the loop and the threads run until `condition` holds; pytest's timeout bounds it."""
    while not condition():  # noqa: ASYNC110 - what is waited for happens in threads
        await asyncio.sleep(0.001)
