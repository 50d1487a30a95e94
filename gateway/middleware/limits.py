"""Ceilings on the exchanges of one process."""

from __future__ import annotations

import random
from collections.abc import Callable

from gateway.exchange import Exchange, Handler

__all__ = ["limit_concurrency", "limit_max_requests", "spread"]


def limit_concurrency(next: Handler, limit: int, *, retry_after: int = 1) -> Handler:  # noqa: A002
    """Hand at most `limit` exchanges at a time to `next`; answer the others 503.

    An exchange counts from here until it is finished, however that happens. Idle connections do
    not count: a ceiling that counts sockets is filled by browsers that opened them in advance, and
    a count that includes the request being judged admits one less than was asked for.

    retry_after: seconds, see `Exchange.refuse_for_now`.
    """
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


def limit_max_requests(next: Handler, limit: int, on_reached: Callable[[], None]) -> Handler:  # noqa: A002
    """Call `on_reached` once, when the `limit`-th exchange has arrived; serve every one of them.

    It is called before that exchange goes to `next`, so that a drain it begins is known when the
    response head is written and ``Connection: close`` can be part of it.
    """
    taken = 0

    def counted(exchange: Exchange) -> None:
        nonlocal taken
        taken += 1
        if taken == limit:
            on_reached()
        next(exchange)

    return counted


def spread(limit: float, jitter: float | None) -> float:
    """`limit` and up to `jitter` more, a tenth by default.

    Workers that were started together would otherwise reach it together.
    """
    return limit + random.uniform(0, limit / 10 if jitter is None else jitter)  # noqa: S311
