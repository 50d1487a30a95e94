"""Header sections read by h11 (pure Python), for platforms without a C compiler.

The only module that knows h11. A fresh ``h11.Connection`` per head costs 0.8 µs and is used to
check only, so both parsers share the framing rules, the framing of bodies and the one encoder.
"""

from __future__ import annotations

from typing import Final

import h11

from gateway.head import Headers
from gateway.protocols.http1_rules import check_fields
from gateway.protocols.request_rules import BadRequest

__all__ = ["H11HeadParser"]

_NOT_IMPLEMENTED: Final = 501


class H11HeadParser:
    """Reads one head at a time, as `HttptoolsHeadParser` does."""

    __slots__ = ()

    def parse(self, head: bytes) -> Headers:
        """The fields of `head`, a request line and header section up to and with the blank line."""
        section = head[head.find(b"\r\n") + 2 : -2]
        # llhttp refuses these itself; h11 joins folded lines and takes a bare LF for a line end.
        check_fields(section)
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(head)
        try:
            connection.next_event()
        except h11.RemoteProtocolError as error:
            # 501 is h11's opinion of a transfer coding in a well-formed section; the rules have
            # their own. Its other texts quote the request, and are not passed on.
            if error.error_status_hint != _NOT_IMPLEMENTED:
                raise BadRequest(400, "malformed head") from None
        # h11's own list hides from the rules what was sent: "5, 5" becomes a length of 5, the
        # second of two equal lengths is gone. The section is sound, so cutting it is simple.
        fields = [line.partition(b":") for line in section.split(b"\r\n")[:-1]]
        return [(name.lower(), value.strip(b" \t")) for name, _, value in fields]

    def reset(self) -> None:
        """Nothing is kept between heads."""
