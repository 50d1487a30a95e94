"""Header sections read by h11 (pure Python), for platforms without a C compiler.

The only module that knows h11. A fresh ``h11.Connection`` per head costs 0.8 µs and is used to
read only, so both parsers share the framing of bodies and the one encoder.
"""

from __future__ import annotations

import h11

from gateway.head import Headers
from gateway.protocols.http1_rules import BadRequest, check_fields

__all__ = ["H11HeadParser"]


class H11HeadParser:
    """Reads one head at a time, as `HttptoolsHeadParser` does."""

    __slots__ = ("_limit",)

    def __init__(self, limit: int = 64 * 1024) -> None:
        # The connection has already bounded the head; h11's own bound must not be the tighter.
        self._limit = limit + 1

    def parse(self, head: bytes) -> Headers:
        """The fields of `head`, a request line and header section up to and with the blank line."""
        # llhttp refuses these itself; h11 joins folded lines and takes a bare LF for a line end.
        check_fields(head[head.find(b"\r\n") + 2 : -2])
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limit)
        connection.receive_data(head)
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise BadRequest(error.error_status_hint, f"malformed head: {error}") from None
        if not isinstance(event, h11.Request):
            raise BadRequest(400, "malformed head")
        return list(event.headers)

    def reset(self) -> None:
        """Nothing is kept between heads."""
