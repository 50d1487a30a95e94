"""What all sessions of a server share."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.websocket.codec import Codec

__all__ = ["SessionOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """Limits and habits of WebSocket sessions. All times are seconds, swept once a second.

    codec: turns bytes into frames and back.
    max_size: bytes of one message, inflated; beyond it the peer gets 1009.
    max_queue: messages that wait for the application before the peer has to.
    ping_interval: between a pong and the next ping; None: no pings.
    ping_timeout: a peer that sent nothing since a ping is given up; None: never.
    lifetime: from the accept to 1001, so that long connections move to other servers; None: none.
    handshake_timeout: for the application's accept or denial; then the client gets 503.
    deflate: agree to permessage-deflate where a client offers it.
    shutdown_code: when the server stops: 1012 (service restart, registered with IANA), or 1001
        where code is reloaded.
    """

    codec: type[Codec]
    max_size: int
    max_queue: int
    ping_interval: float | None
    ping_timeout: float | None
    lifetime: float | None
    handshake_timeout: float | None
    deflate: bool
    shutdown_code: int
