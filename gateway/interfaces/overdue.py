"""Applications that let their clients wait for too long."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

from gateway.clock import Clock
from gateway.exchange import Exchange
from gateway.interfaces.application_task import ApplicationTask
from gateway.interfaces.stacks import task_stack, thread_stack
from gateway.interfaces.wsgi_task import WsgiTask
from gateway.log import escape

__all__ = ["Overdue"]

logger = logging.getLogger("gateway.error")

# How often within its time a request is looked at: one that hangs is ended a twentieth late.
_LOOKS: Final = 20
# Shown at a time, each with its stack: a database that hangs makes all requests hang alike.
_SHOWN: Final = 5

_Progress: TypeAlias = "tuple[int, int, int | None]"


class _Seen(NamedTuple):
    progress: _Progress
    since: float


class Overdue:
    """Ends requests whose application has done nothing for as long as its mount allows.

    limits: seconds by the key of the mount; a mount that is not in it has all the time.
    under_way: the exchanges of all connections.

    A request makes progress when bytes of its response are handed over or bytes of its body come;
    while its client is awaited (for its body, or to read) the application is not to blame. So a
    download may take hours, and what hangs has an end. WebSockets have deadlines of their own, and
    event streams have none.

    Nothing is noted per request and no timer armed: all of them are looked at now and then, by
    `sweep`, to be called after each tick of `clock`.
    """

    def __init__(
        self,
        limits: Mapping[str, float],
        under_way: Callable[[], Iterable[Exchange]],
        clock: Clock,
    ) -> None:
        self._limits = limits
        self._under_way = under_way
        self._clock = clock
        self._pause = min(limits.values()) / _LOOKS if limits else 0.0
        self._next = 0.0
        self._seen: dict[Exchange, _Seen] = {}

    def sweep(self) -> None:
        """Look at all, where it is time; not after a loop that was blocked, which nobody saw."""
        now = self._clock.now
        if now < self._next or self._clock.late:
            return
        self._next = now + self._pause
        before, self._seen = self._seen, {}
        overdue = []
        for exchange in self._under_way():
            limit = self._limits.get(exchange.head.mount)
            if limit is None or exchange.listener is None or exchange.tunnel is not None:
                continue
            progress = (exchange.received, exchange.sent, exchange.status)
            seen = before.get(exchange)
            if seen is None or seen.progress != progress or _waits_for_client(exchange):
                seen = _Seen(progress, now)
            elif now - seen.since >= limit and not exchange.endless:
                overdue.append(exchange)
                continue
            self._seen[exchange] = seen
        for exchange in overdue[:_SHOWN]:
            self._show(exchange)
        if len(overdue) > _SHOWN:
            logger.warning("… and %d more that were not answered in time", len(overdue) - _SHOWN)
        for exchange in overdue:
            _end(exchange)

    def _show(self, exchange: Exchange) -> None:
        head = exchange.head
        logger.warning(
            "no answer for %g s (timeout-request), ended: %s %s (mount %s)\n%s",
            self._limits[head.mount],
            head.method,
            escape(head.path),
            head.mount,
            _where(exchange) or "  (it is not known where)",
        )


def _waits_for_client(exchange: Exchange) -> bool:
    return not exchange.writable or not (exchange.readable or exchange.expecting)


def _where(exchange: Exchange) -> str:
    listener: object = exchange.listener
    if isinstance(listener, ApplicationTask):
        return task_stack(listener.task)
    if isinstance(listener, WsgiTask):
        return thread_stack(listener) or "  (it waits for a thread)"
    return ""


def _end(exchange: Exchange) -> None:
    """504 or a cut; then nobody is there any more, which is how a WSGI application hears of it."""
    listener: object = exchange.listener
    if exchange.status is None:
        exchange.refuse(504, "The application did not answer in time")
    else:
        exchange.abort()
    exchange.lost()
    if isinstance(listener, ApplicationTask):
        listener.cancel()
