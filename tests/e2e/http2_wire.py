"""The scenarios' client on HTTP/2: what `e2e.client` says of a `Client`, in streams.

Exchanges share one connection, so that none may disturb another. One that is opened with a
`window` has a connection of its own, whose windows are as large as can be: what holds the server
back then is the transport, as on HTTP/1.1 (what windows do is in `test_http2_flow`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Self

from http2_client import (
    Http2Client,
    Pair,
    Setting,
    StreamReset,
    data,
    headers,
    open_client,
    request_fields,
    rst_stream,
)

from e2e.client import Address, ConnectionCut, Fields, Response

__all__ = ["Http2Call", "Http2WireClient"]

LARGEST = 2**31 - 1
CHUNK = b"x" * 16384


def _pairs(fields: Fields) -> list[Pair]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]


def _open(client: Http2Client, method: str, target: str, fields: Fields, *, end: bool) -> int:
    stream, client.next_stream = client.next_stream, client.next_stream + 2
    given = request_fields(method, target, *_pairs(fields), authority="test", scheme=client.scheme)
    client.send(headers(stream, client.block(given), end=end))
    client._stream(stream)  # known from now on
    return stream


class Http2Call:
    """One exchange in pieces.

    owned: the connection has no other one. left: of the declared body, whose last byte ends it.
    """

    def __init__(
        self, client: Http2Client, stream: int, *, owned: bool, left: int | None = None
    ) -> None:
        self._client = client
        self._stream = stream
        self._owned = owned
        self._left = left
        self._read = 0

    def send(self, data: bytes, *, more: bool = True) -> None:
        if self._left is not None:
            self._left -= len(data)
            more = more and self._left > 0
        self._client.send_body(self._stream, data, end=not more)

    def send_available(self, *, quiet: float = 0.25) -> int:
        client, state = self._client, self._client.streams[self._stream]
        sent = 0
        deadline = time.monotonic() + quiet
        while True:
            size = min(len(CHUNK), client.window, state.window)
            if size > 0:
                client.send(data(self._stream, CHUNK[:size]))
                client.window -= size
                state.window -= size
                sent += size
                if self._left is not None:
                    self._left -= size
                deadline = time.monotonic() + quiet
                continue
            try:
                client.read_frame(deadline - time.monotonic())
            except TimeoutError:
                return sent

    def head(self) -> Response:
        try:
            return self._client.head(self._stream)
        except StreamReset as reset:
            raise ConnectionCut(str(reset)) from reset

    def read(self, size: int) -> bytes:
        try:
            body = self._client.body(self._stream, self._read + 1)
        except StreamReset as reset:
            raise ConnectionCut(str(reset)) from reset
        part = body[self._read : self._read + size]
        self._read += len(part)
        return part

    def rest(self) -> bytes:
        parts = []
        while part := self.read(1 << 20):
            parts.append(part)
        return b"".join(parts)

    def leave(self) -> None:
        if self._owned:
            self._client.abort()
        else:
            self._client.send(rst_stream(self._stream))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._owned:
            self._client.close()


class Http2WireClient:
    """By prior knowledge; the connection is opened when it is first asked for something."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._shared: Http2Client | None = None

    @property
    def _connection(self) -> Http2Client:
        if self._shared is None:
            self._shared = open_client(self.address, timeout=10.0)
        return self._shared

    def request(
        self,
        method: str,
        target: str,
        headers: Fields | None = None,
        body: bytes | Iterable[bytes] | None = None,
    ) -> Response:
        client = self._connection
        fields = list(headers or [])
        if isinstance(body, bytes):
            fields.append(("content-length", str(len(body))))
        stream = _open(client, method, target, fields, end=body is None)
        if body is not None:
            whole = body if isinstance(body, bytes) else b"".join(body)
            client.send_body(stream, whole)
        try:
            return client.response(stream)
        except StreamReset as reset:
            raise ConnectionCut(str(reset)) from reset

    def open(
        self,
        method: str,
        target: str,
        headers: Fields | None = None,
        *,
        body: bool = False,
        window: int | None = None,
    ) -> Http2Call:
        client = self._connection
        if window is not None:
            values = {Setting.INITIAL_WINDOW_SIZE: LARGEST}
            client = open_client(self.address, values=values, receive_buffer=window, timeout=10.0)
            client.replenish = False
            client.grant(0, LARGEST - 65535)
        fields = headers or []
        stream = _open(client, method, target, fields, end=not body)
        declared = next((int(value) for name, value in fields if name == "content-length"), None)
        return Http2Call(client, stream, owned=window is not None, left=declared)

    def close(self) -> None:
        if self._shared is not None:
            self._shared.close()
            self._shared = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
