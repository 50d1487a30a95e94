"""Fields that every response has unless its application sent them itself."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.clock import Clock
from gateway.head import Headers

__all__ = ["DefaultFields"]


class DefaultFields:
    """Server, Date and what the settings add; the same list for a second.

    server: value of the Server field; None sends none.
    date: whether to send Date; RFC 9110, section 6.6.1, asks origin servers for it.
    extra: fields added to every response.
    """

    __slots__ = ("_clock", "_date", "_extra", "_known", "_server")

    def __init__(
        self,
        clock: Clock,
        *,
        server: bytes | None,
        date: bool,
        extra: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self._clock = clock
        self._server = server
        self._date = date
        self._extra = [(name.lower(), value) for name, value in extra]
        self._known: dict[tuple[bytes, ...], Headers] = {}
        clock.on_tick.append(self._known.clear)

    def beside(self, own: tuple[bytes, ...]) -> Headers:
        """Those to send beside `own`, the default fields an application sent itself."""
        known = self._known.get(own)
        if known is None:
            known = self._known[own] = list(self._fields(own))
        return known

    def _fields(self, own: tuple[bytes, ...]) -> Headers:
        fields: Headers = []
        if self._server is not None and b"server" not in own:
            fields.append((b"server", self._server))
        if self._date and b"date" not in own:
            fields.append((b"date", self._clock.date))
        return fields + self._extra
