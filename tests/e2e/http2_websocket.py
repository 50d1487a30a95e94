"""A WebSocket in a stream (RFC 8441), for the client that knows frames and nothing of HTTP."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from http2_client import END_STREAM, Http2Client, Pair, Type, frame, headers, rst_stream

from e2e.client import ConnectionCut, Response
from e2e.websocket_client import Peer

__all__ = ["StreamConnection", "ask_stream", "open_stream_peer"]


class StreamConnection:
    """One stream, with what `Peer` needs of a connection. client: may carry other streams."""

    def __init__(self, client: Http2Client, stream: int) -> None:
        self.client = client
        self.stream = stream
        self._read = 0

    @property
    def socket(self) -> socket.socket:
        return self.client.socket

    def send(self, data: bytes) -> None:
        """As far as the windows allow; returns early when the server has reset the stream."""
        self.client.send_body(self.stream, data, end=False)

    def exactly(self, size: int) -> bytes:
        state = self.client.streams[self.stream]
        assert state.response is not None
        while len(state.response.body) - self._read < size:
            if state.reset is not None:
                raise ConnectionCut(f"reset with {state.reset}")
            if state.ended:
                raise ConnectionCut("ended")
            self.client.read_frame()
        self._read += size
        return state.response.body[self._read - size : self._read]

    def end(self) -> None:
        """End this side of the stream, as a TCP connection is closed (RFC 8441, section 5)."""
        self.client.send(frame(Type.DATA, END_STREAM, self.stream))

    def reset(self) -> None:
        self.client.send(rst_stream(self.stream))

    def close(self) -> None:
        """End the stream if it goes on; the connection stays."""
        state = self.client.streams[self.stream]
        if not state.ended and state.reset is None:
            self.reset()


def ask_stream(
    client: Http2Client,
    target: str,
    *extra: Pair,
    protocol: str = "websocket",
    version: str = "13",
    end: bool = False,
) -> int:
    """An extended CONNECT; its stream."""
    stream, client.next_stream = client.next_stream, client.next_stream + 2
    fields: Iterable[Pair] = [
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", client.scheme),
        (":path", target),
        (":authority", "localhost"),
        ("sec-websocket-version", version),
        *extra,
    ]
    client.send(headers(stream, client.block(fields), end=end))
    client._stream(stream)
    return stream


def open_stream_peer(
    client: Http2Client, target: str = "/", *extra: Pair, offer: str | None = None
) -> Peer:
    """Shake hands in a stream of its own. offer: of extensions."""
    fields = list(extra)
    if offer is not None:
        fields.append(("sec-websocket-extensions", offer))
    stream = ask_stream(client, target, *fields)
    response: Response = client.head(stream)
    assert response.status == 200, response
    assert not client.streams[stream].ended
    for name in ("sec-websocket-accept", "upgrade", "connection", "content-length"):
        assert response.header(name) is None, response
    return Peer(StreamConnection(client, stream), response)  # type: ignore[arg-type]
