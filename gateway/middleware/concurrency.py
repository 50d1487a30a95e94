"""A ceiling on the exchanges under way, and a line in front of it."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Protocol

from gateway.exchange import Exchange, Handler

__all__ = ["Scheduler", "limit_concurrency"]


class Scheduler(Protocol):
    """What is needed of a loop."""

    def call_soon(self, callback: Callable[[], None]) -> object:
        """Call it in the next turn."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> object:
        """Call it in `delay` seconds."""


def limit_concurrency(
    next: Handler,  # noqa: A002
    limit: int,
    *,
    queue: int = 0,
    timeout: float = 10.0,
    loop: Scheduler | None = None,
    retry_after: int = 1,
) -> Handler:
    """Hand at most `limit` exchanges at a time to `next`; let `queue` more wait; answer others 503.

    An exchange counts from here until it is finished, however that happens. Idle connections do
    not count: a ceiling that counts sockets is filled by browsers that opened them in advance, and
    a count that includes the request being judged admits one less than was asked for.

    queue: first come, first served. Who waits for `timeout` seconds is answered 503, and so is who
        leaves or closes its side meanwhile; `loop` is needed to let the next one in.
    retry_after: seconds, see `Exchange.refuse_for_now`.
    """
    if queue and loop is not None:
        return _Queue(next, limit, queue, timeout, loop, retry_after)
    in_flight = 0

    def release(_: Exchange) -> None:
        nonlocal in_flight
        in_flight -= 1

    def limited(exchange: Exchange) -> None:
        nonlocal in_flight
        if in_flight >= limit:
            exchange.refuse_for_now(retry_after=retry_after)
            return
        in_flight += 1
        exchange.on_finish.append(release)
        next(exchange)

    return limited


class _Queue:
    """The same with places to wait; one timer for all of them."""

    def __init__(
        self,
        inner: Handler,
        limit: int,
        places: int,
        timeout: float,
        loop: Scheduler,
        retry_after: int,
    ) -> None:
        self._next = inner
        self._limit = limit
        self._places = places
        self._timeout = timeout
        self._loop = loop
        self._retry_after = retry_after
        self._in_flight = 0
        self._waiting: dict[Exchange, _Place] = {}  # in the order they came
        self._admitting = False
        self._armed = False

    def __call__(self, exchange: Exchange) -> None:
        if self._in_flight < self._limit and not self._waiting:
            self._admit(exchange)
        elif len(self._waiting) < self._places:
            place = _Place(exchange, monotonic() + self._timeout, self._retry_after)
            self._waiting[exchange] = exchange.listener = place
            exchange.on_finish.append(self._left)
            if not self._armed:
                self._arm(self._timeout)
        else:
            exchange.refuse_for_now(retry_after=self._retry_after)

    def _admit(self, exchange: Exchange) -> None:
        self._in_flight += 1
        exchange.on_finish.append(self._release)
        self._next(exchange)

    def _release(self, _: Exchange) -> None:
        self._in_flight -= 1
        # Not from within the end of another: a line of exchanges that end at once would be as deep.
        if self._waiting and not self._admitting:
            self._admitting = True
            self._loop.call_soon(self._admit_some)

    def _admit_some(self) -> None:
        self._admitting = False
        while self._waiting and self._in_flight < self._limit:
            exchange = next(iter(self._waiting))
            del self._waiting[exchange]
            exchange.listener = None
            self._admit(exchange)

    def _left(self, exchange: Exchange) -> None:
        self._waiting.pop(exchange, None)

    def _arm(self, delay: float) -> None:
        self._armed = True
        self._loop.call_later(delay, self._expire)

    def _expire(self) -> None:
        self._armed = False
        now = monotonic()
        while self._waiting:
            first = next(iter(self._waiting.values()))
            if first.deadline > now:
                self._arm(first.deadline - now)
                return
            first.give_up()


class _Place:
    """Listener of an exchange that waits."""

    __slots__ = ("_exchange", "_retry_after", "deadline")

    def __init__(self, exchange: Exchange, deadline: float, retry_after: int) -> None:
        self._exchange = exchange
        self.deadline = deadline
        self._retry_after = retry_after

    def give_up(self) -> None:
        self._exchange.listener = None
        self._exchange.refuse_for_now(retry_after=self._retry_after)

    def on_readable(self) -> None:
        if self._exchange.disconnected:
            self.give_up()

    def on_writable(self) -> None:
        pass

    def on_gone(self) -> None:
        self._exchange.listener = None
