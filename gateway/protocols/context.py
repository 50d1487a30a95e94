"""What all connections of one listener share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from gateway.clock import NEVER, Clock
from gateway.exchange import Handler
from gateway.head import Headers
from gateway.protocols.connection import Connection
from gateway.protocols.default_fields import DefaultFields
from gateway.protocols.http1_encoder import ResponseEncoder
from gateway.protocols.http2_settings import Http2Options

__all__ = ["ConnectionContext", "HeadParser"]


class HeadParser(Protocol):
    """What an HTTP/1.1 connection needs of a parser library."""

    def parse(self, head: bytes) -> Headers:
        """The fields of a complete head; names lower-case. Raises `BadRequest`."""

    def reset(self) -> None:
        """The next head does not follow the last one directly."""


@dataclass(slots=True, kw_only=True)
class ConnectionContext:
    """Plain values, for HTTP/1.1 and HTTP/2 alike.

    parser: of HTTP/1.1's heads. encoder: of its responses, made here.
    http2: what HTTP/2's peers are told; None does not speak it.
    keep_alive: seconds an idle connection is kept open for the next request.
    head_timeout: seconds from the opening of the connection to its first byte, and from the
        first byte of a head to its last. 30, as hyper's; uvicorn and gunicorn's ASGI worker wait
        for ever.
    body_timeout: seconds a body may be behind while there is room for more of it. A body that
        stopped would otherwise hold what waits for it: eight of them, all threads of a WSGI mount.
        30, as gunicorn's ASGI worker; nginx 60, uvicorn and granian none.
    body_rate: bytes in a second that it has to bring meanwhile: each moves the deadline on by its
        share, up to `body_timeout` from now, so a body may pause and may not drip. 240 is Kestrel's
        default; 0 asks for none.
    write_timeout: seconds a peer may leave everything unread that waits for it. 60, as nginx's
        send_timeout; the Python servers have none, and four readers that stop take four threads.
    linger: seconds since its last answer that an idle connection stays open for one request more
        when the listener drains. That request may be on its way already: without it, wrk's 32
        connections met 248 to 404 resets in ten rolls of two workers. gunicorn waits 2 s too.
    limit_head: bytes of request line and header section; limit_headers: field lines.
    byte_time: seconds that a byte of a body moves its deadline.
    draining: set as soon as a stop is asked for: every response says ``Connection: close``, and
        HTTP/2 says GOAWAY.
    """

    loop: asyncio.AbstractEventLoop
    clock: Clock
    handler: Handler
    parser: type[HeadParser]
    defaults: DefaultFields
    connections: set[Connection] = field(default_factory=set)
    http2: Http2Options | None = None
    keep_alive: float = 75.0
    head_timeout: float = 30.0
    body_timeout: float = 30.0
    body_rate: int = 240
    write_timeout: float = 60.0
    linger: float = 2.0
    limit_head: int = 64 * 1024
    limit_headers: int = 100
    draining: bool = False
    encoder: ResponseEncoder = field(init=False)
    byte_time: float = field(init=False)

    def __post_init__(self) -> None:
        self.encoder = ResponseEncoder(self.clock, self.defaults)
        self.byte_time = 1 / self.body_rate if self.body_rate else NEVER
