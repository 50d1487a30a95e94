"""RFC 9113, section 5: streams, their states and identifiers, errors, extensions."""

from __future__ import annotations

from collections.abc import Iterator

from http2_client import (
    ErrorCode,
    Http2Client,
    Setting,
    Type,
    continuation,
    data,
    frame,
    headers,
    priority,
    rst_stream,
    settings,
    window_update,
)

from e2e.http2_cases_model import (
    IGNORED,
    OK,
    Case,
    Requests,
    answered,
    block,
    ends,
    fails,
    reset_seen,
    resets,
)

__all__ = ["identifiers", "states"]

PROTOCOL = ErrorCode.PROTOCOL_ERROR
GONE = ErrorCode.STREAM_CLOSED
UNKNOWN = 0x16


def states(r: Requests) -> Iterator[Case]:
    get, post, hold, half = r.get(1), r.post(1), r.hold(1), r.block()
    test = data(1, b"test", end=True)
    more = continuation(1, block([("x-test", "ok")]))
    reset = rst_stream(1)
    yield Case("5.1/1 idle: DATA", (test,), ends(PROTOCOL))
    yield Case("5.1/2 idle: RST_STREAM", (reset,), ends(PROTOCOL))
    yield Case("5.1/3 idle: WINDOW_UPDATE", (window_update(1, 100),), ends(PROTOCOL))
    yield Case("5.1/4 idle: CONTINUATION", (continuation(1, half),), ends(PROTOCOL))
    yield Case("5.1/5 half-closed (remote): DATA", (hold, test), fails(GONE))
    yield Case("5.1/6 half-closed (remote): HEADERS", (hold, get), fails(GONE))
    yield Case("5.1/7 half-closed (remote): CONTINUATION", (hold, more), ends(GONE, PROTOCOL))
    yield Case("5.1/8 closed by RST_STREAM: DATA", (post, reset, test), fails(GONE))
    yield Case("5.1/9 closed by RST_STREAM: HEADERS", (post, reset, get), fails(GONE))
    yield Case(
        "5.1/10 closed by RST_STREAM: CONTINUATION", (post, reset, more), ends(GONE, PROTOCOL)
    )
    yield Case("5.1/11 closed: DATA", (get, answered(1), test), ends(GONE))
    yield Case("5.1/12 closed: HEADERS", (get, answered(1), get), ends(GONE))
    yield Case("5.1/13 closed: CONTINUATION", (get, answered(1), more), ends(GONE, PROTOCOL))
    # An early frame may cross the response: these are ignored, for a while at least.
    yield Case("5.1 closed: WINDOW_UPDATE", (get, answered(1), window_update(1, 9)), IGNORED)
    yield Case("5.1 closed: RST_STREAM", (get, answered(1), reset), IGNORED)
    yield Case("5.1 closed: PRIORITY", (get, answered(1), priority(1)), IGNORED)
    yield Case(
        "5.1 closed by RST_STREAM: WINDOW_UPDATE",
        (post, reset, window_update(1, 9)),
        IGNORED | fails(GONE),
    )
    yield Case("5.1 closed by RST_STREAM: RST_STREAM", (post, reset, reset), IGNORED | ends(GONE))
    upper = headers(1, block([*r.fields(method="POST"), ("X-Upper", "x")]))
    for name, late in (
        ("DATA", data(1, b"test")),
        ("trailers", headers(1, block([("x-test", "ok")]), end=True)),
        ("WINDOW_UPDATE", window_update(1, 9)),
        ("RST_STREAM", reset),
        ("PRIORITY", priority(1)),
    ):
        # The client could not know yet (5.1, "closed"): in particular, no GOAWAY.
        steps = (upper + late, reset_seen(1))
        yield Case(f"5.1 reset by the server: {name} on its way", steps, resets(PROTOCOL))


def identifiers(r: Requests) -> Iterator[Case]:
    get = r.get(1)
    yield Case("5.1.1/1 an even stream", (r.get(2),), ends(PROTOCOL), stream=2)
    yield Case("5.1.1/2 a lower stream", (r.get(5), r.get(3)), ends(PROTOCOL), stream=3)
    yield Case(
        "5.1.1 a lower stream after the answer", (r.get(5), answered(5), r.get(3)), ends(PROTOCOL)
    )
    yield Case("5.1.1 HEADERS on stream 0", (r.get(0),), ends(PROTOCOL))
    yield Case("5.1.1 streams left out", (r.get(9),), OK, stream=9)
    yield Case("5.1.1 the last stream", (r.get(0x7FFFFFFF),), OK, stream=0x7FFFFFFF)
    yield Case(
        "5.1.1 DATA on a stream left out",
        (r.get(9), data(3, b"x")),
        fails(GONE) | ends(PROTOCOL),
        stream=3,
    )
    yield Case("5.1.1 WINDOW_UPDATE on an even stream", (window_update(2, 1),), ends(PROTOCOL))

    def one_too_many(client: Http2Client) -> None:
        limit = client.peer[Setting.MAX_CONCURRENT_STREAMS]
        assert 0 < limit <= 1000, limit
        client.send(b"".join(r.hold(1 + 2 * number) for number in range(limit)))
        watched = 1 + 2 * limit
        client.send(r.hold(watched))
        assert client.reset_code(watched) in (PROTOCOL, ErrorCode.REFUSED_STREAM)
        client.send(rst_stream(1), r.get(watched + 2))
        assert client.response(watched + 2).status == 200

    yield Case("5.1.2/1 more streams than allowed", (one_too_many,), IGNORED)
    # RFC 9113 dropped the dependencies and this rule (5.3.2); RFC 7540 and suites for it have it.
    self_headers = headers(1, r.block(), end=True, depends=1)
    yield Case("5.3.1/1 HEADERS that depend on themselves", (self_headers,), fails(PROTOCOL))
    yield Case("5.3.1/2 PRIORITY that depends on itself", (priority(1, 1),), fails(PROTOCOL))
    heavy = headers(1, r.block(), end=True, depends=7 | 1 << 31, weight=255)
    yield Case("5.3.2 dependencies on nothing, without effect", (heavy + r.get(3),), OK, stream=3)
    yield Case(
        "5.4.1/1 an invalid PING closes", (frame(Type.PING, 0, 3, bytes(8)),), ends(PROTOCOL)
    )

    def says_goaway(client: Http2Client) -> None:
        client.send(r.get(1))
        client.response(1)
        client.send(frame(Type.PING, 0, 3, bytes(8)))
        assert client.goaway().last_stream == 1

    yield Case(
        "5.4.1/2 GOAWAY comes first and names the last stream",
        (says_goaway,),
        ends(PROTOCOL),
        stream=0,
    )

    def half_told(client: Http2Client) -> None:
        """What was begun before the error need not be answered, but the end must come."""
        client.send(r.hold(1) + r.get(3) + data(0, b"x"))

    yield Case("5.4.1 an error while streams are open", (half_told,), ends(PROTOCOL), stream=0)
    yield Case(
        "5.4.2 a stream error leaves its sibling",
        (
            r.post(1) + headers(3, block([*r.fields(), ("X", "")]), end=True),
            reset_seen(3),
            data(1, end=True),
        ),
        OK,
    )
    yield Case("5.5/1 an unknown extension frame", (frame(UNKNOWN, 0, 0, bytes(8)),), IGNORED)
    begun = headers(1, r.block(), end=True, end_headers=False)
    yield Case(
        "5.5/2 an unknown frame within a header block",
        (begun + frame(UNKNOWN, 0, 0, bytes(8)),),
        ends(PROTOCOL),
    )
    yield Case("5.5 an unknown setting", (settings({0x1234: 5}), get), OK)
