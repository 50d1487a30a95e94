"""python-hyper's h2 as a client: the reference our own frames are measured by."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Self

import h2.config
import h2.connection
import h2.events
import h2.settings

from e2e.client import Fields
from e2e.http2_site import Site

__all__ = ["Answer", "ReferenceClient"]


@dataclass
class Answer:
    status: int = 0
    headers: Fields = field(default_factory=list)
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    reset: int | None = None
    ended: bool = False


class ReferenceClient:
    """Blocking; every response of the connection is kept by its stream."""

    def __init__(self, site: Site) -> None:
        sock = socket.create_connection(site.address, timeout=10.0)
        self.socket = site.tls.wrap_socket(sock, server_hostname="localhost") if site.tls else sock
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.answers: dict[int, Answer] = {}
        self.goaway: int | None = None
        self._scheme = "https" if site.tls else "http"
        self._flush()

    def open(self, method: str, path: str, *extra: tuple[str, str], end: bool = True) -> int:
        stream = int(self.h2.get_next_available_stream_id())
        fields = [
            (":method", method),
            (":scheme", self._scheme),
            (":authority", "localhost"),
            (":path", path),
            *extra,
        ]
        self.h2.send_headers(stream, fields, end_stream=end)
        self.answers[stream] = Answer()
        self._flush()
        return stream

    def send_body(self, stream: int, body: bytes) -> None:
        at = 0
        while at < len(body):
            size = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if not size:
                self.read()
                continue
            self.h2.send_data(stream, body[at : at + size])
            at += size
            self._flush()
        self.h2.end_stream(stream)
        self._flush()

    def answer(self, stream: int) -> Answer:
        answer = self.answers[stream]
        while not answer.ended and answer.reset is None:
            self.read()
        return answer

    def read(self) -> None:
        """What the server sends next. h2 raises `ProtocolError` for whatever breaks a rule."""
        received = self.socket.recv(65536)
        assert received, "the server has hung up"
        for event in self.h2.receive_data(received):
            self._take(event)
        self._flush()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                answer = self.answers[event.stream_id]
                (_, status), *answer.headers = event.headers
                answer.status = int(status)
            case h2.events.InformationalResponseReceived():
                self.answers[event.stream_id].interim.append(int(event.headers[0][1]))
            case h2.events.DataReceived():
                self.answers[event.stream_id].body += event.data
                size = event.flow_controlled_length
                if size:
                    self.h2.acknowledge_received_data(size, event.stream_id)
            case h2.events.TrailersReceived():
                self.answers[event.stream_id].trailers = list(event.headers)
            case h2.events.StreamEnded():
                self.answers[event.stream_id].ended = True
            case h2.events.StreamReset():
                self.answers[event.stream_id].reset = int(event.error_code)
            case h2.events.ConnectionTerminated():
                self.goaway = int(event.error_code)

    def _flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def close(self) -> None:
        self.h2.close_connection()
        self._flush()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
