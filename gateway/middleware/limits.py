"""Ceilings on the exchanges of one process, and on their bodies."""

from __future__ import annotations

import random
from collections.abc import Callable

from gateway.exchange import Exchange, Handler

__all__ = ["limit_body", "limit_max_requests", "spread"]


def limit_body(next: Handler, limit: int) -> Handler:  # noqa: A002
    """Answer 413 to bodies of more than `limit` bytes.

    One that declares its length never reaches `next`, and whoever waits for 100 (Continue) does not
    send it. Any other is counted while it arrives; beyond the limit it is a 413 where nothing was
    sent yet, else a cut, and the application's client is gone.
    """

    def bounded(exchange: Exchange) -> None:
        length = exchange.head.content_length
        if length != 0:
            if length is None:
                exchange.wire.limit_body(limit)
                if exchange.finished:
                    return
            elif length > limit:
                exchange.refuse(413, "the request body is too large")
                return
        next(exchange)

    return bounded


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
