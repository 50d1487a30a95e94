"""What every server must take: h2spec's "generic" cases of frames and messages."""

from __future__ import annotations

from collections.abc import Iterator

from http2_client import (
    Setting,
    continuation,
    data,
    goaway,
    headers,
    ping,
    priority,
    rst_stream,
    settings,
    window_update,
)

from e2e.http2_cases_model import ALIVE, CLOSED, IGNORED, OK, Case, Requests, answered, block

__all__ = ["works"]


def works(r: Requests) -> Iterator[Case]:
    """What every server must take; h2spec's "generic" cases."""
    get, post = r.get(1), r.post(1)
    half = r.block()
    yield Case("generic/1/1 a client's preface", (), IGNORED)
    yield Case("generic/2/1 PRIORITY on an idle stream", (priority(1), get), OK)
    yield Case("generic/2/2 WINDOW_UPDATE on a half-closed stream", (get, window_update(1, 1)), OK)
    yield Case("generic/2/3 PRIORITY on a half-closed stream", (get, priority(1)), OK)
    yield Case(
        "generic/2/4 RST_STREAM on a half-closed stream", (r.hold(1), rst_stream(1)), IGNORED
    )
    yield Case("generic/2/5 PRIORITY on a closed stream", (get, answered(1), priority(1)), IGNORED)
    yield Case("generic/3.1/1 one DATA frame", (post, data(1, b"test", end=True)), OK)
    yield Case(
        "generic/3.1/2 several DATA frames",
        (post, data(1, b"test"), data(1, b"test", end=True)),
        OK,
    )
    yield Case("generic/3.1/3 DATA with padding", (post, data(1, b"test", end=True, pad=6)), OK)
    yield Case("generic/3.2/1 HEADERS", (get,), OK)
    yield Case("generic/3.2/2 HEADERS with padding", (headers(1, half, end=True, pad=6),), OK)
    yield Case("generic/3.2/3 HEADERS with priority", (headers(1, half, end=True, depends=0),), OK)
    for number, weight in enumerate((0, 255), start=1):
        name = f"generic/3.3/{number} PRIORITY with weight {weight + 1}"
        yield Case(name, (priority(1, 0, weight), get), OK)
    yield Case("generic/3.3/3 PRIORITY with a dependency", (priority(1, 3), get), OK)
    yield Case("generic/3.3/4 PRIORITY, exclusive", (priority(1, 3 | 1 << 31), get), OK)
    yield Case("generic/3.3/5 PRIORITY on a higher idle stream", (priority(5), get), OK)
    yield Case("generic/3.4/1 RST_STREAM", (post, rst_stream(1)), IGNORED)
    yield Case(
        "generic/3.5/1 SETTINGS", (settings({Setting.MAX_CONCURRENT_STREAMS: 100}),), IGNORED
    )
    yield Case("generic/3.7/1 PING", (ping(),), IGNORED)
    yield Case("generic/3.8/1 GOAWAY", (r.hold(1), goaway()), ALIVE | CLOSED)
    yield Case("generic/3.9/1 WINDOW_UPDATE of the connection", (window_update(0, 1), get), OK)
    yield Case(
        "generic/3.9/2 WINDOW_UPDATE of a stream",
        (post, window_update(1, 1), data(1, end=True)),
        OK,
    )
    for number, cuts in enumerate(((3,), (3, 6)), start=1):
        parts = [half[a:b] for a, b in zip((0, *cuts), (*cuts, None), strict=True)]
        sent = headers(1, parts[0], end=True, end_headers=False) + b"".join(
            continuation(1, part, end_headers=part is parts[-1]) for part in parts[1:]
        )
        yield Case(f"generic/3.10/{number} {len(cuts)} CONTINUATION frames", (sent,), OK)
    yield Case("generic/4/1 GET", (get,), OK)
    yield Case("generic/4/2 HEAD", (headers(1, r.block(method="HEAD"), end=True),), OK)
    yield Case("generic/4/3 POST", (post, data(1, b"test", end=True)), OK)
    yield Case(
        "generic/4/4 POST with trailers",
        (post, data(1, b"test"), headers(1, block([("x-test", "ok")]), end=True)),
        OK,
    )
