"""RFC 9113, sections 6 and 7: each type of frame but WINDOW_UPDATE, and error codes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from http2_client import (
    ACK,
    END_HEADERS,
    END_STREAM,
    PADDED,
    PRIORITY,
    ErrorCode,
    Http2Client,
    Setting,
    Type,
    continuation,
    data,
    frame,
    goaway,
    headers,
    ping,
    push_promise,
    rst_stream,
    settings,
    window_update,
)

from e2e.http2_cases_model import (
    ALIVE,
    CLOSED,
    IGNORED,
    OK,
    Case,
    Requests,
    answered,
    block,
    ends,
    fails,
)

__all__ = ["control", "payloads", "settled"]

PROTOCOL = ErrorCode.PROTOCOL_ERROR
SIZE = ErrorCode.FRAME_SIZE_ERROR
FLOW = ErrorCode.FLOW_CONTROL_ERROR
GONE = ErrorCode.STREAM_CLOSED
WINDOW = Setting.INITIAL_WINDOW_SIZE
MAX_WINDOW = (1 << 31) - 1


def payloads(r: Requests) -> Iterator[Case]:
    """6.1 DATA, 6.2 HEADERS, 6.3 PRIORITY, 6.10 CONTINUATION."""
    post, half = r.post(1), r.block()
    test = data(1, b"test", end=True)
    yield Case("6.1/1 DATA on stream 0", (data(0, b"test", end=True),), ends(PROTOCOL))
    yield Case("6.1/2 DATA on a stream that is not open", (r.hold(1), test), fails(GONE))
    wrong = frame(Type.DATA, PADDED | END_STREAM, 1, b"\x06test")
    yield Case("6.1/3 DATA with more padding than payload", (post, wrong), ends(PROTOCOL))
    equal = frame(Type.DATA, PADDED | END_STREAM, 1, b"\x05test")
    yield Case("6.1 DATA with padding as long as its payload", (post, equal), ends(PROTOCOL))
    only = frame(Type.DATA, PADDED | END_STREAM, 1, b"\x04" + bytes(4))
    yield Case("6.1 DATA of nothing but padding", (post, only), OK)
    none = frame(Type.DATA, PADDED | END_STREAM, 1, b"\x00")
    yield Case("6.1 DATA with padding of no bytes", (post, none), OK)
    missing = frame(Type.DATA, PADDED | END_STREAM, 1)
    yield Case("6.1 DATA without its pad length", (post, missing), ends(SIZE, PROTOCOL))
    yield Case("6.1 empty DATA that ends the stream", (post, data(1, end=True)), OK)

    begun = headers(1, half, end=True, end_headers=False)
    first = frame(Type.PRIORITY, 0, 1, bytes(5))
    yield Case("6.2/1 PRIORITY before the block's end", (begun, first), ends(PROTOCOL))
    yield Case("6.2/2 HEADERS of another stream before it", (begun, r.get(3)), ends(PROTOCOL))
    yield Case("6.2/3 HEADERS on stream 0", (headers(0, half, end=True),), ends(PROTOCOL))
    flags = END_HEADERS | END_STREAM
    wrong = frame(Type.HEADERS, flags | PADDED, 1, bytes([len(half) + 1]) + half)
    yield Case("6.2/4 HEADERS with more padding than payload", (wrong,), ends(PROTOCOL))
    short = frame(Type.HEADERS, flags | PRIORITY, 1, bytes(4))
    yield Case("6.2 HEADERS shorter than its priority", (short,), ends(SIZE, PROTOCOL))
    short = frame(Type.HEADERS, flags | PADDED | PRIORITY, 1, b"\x00" + bytes(4))
    yield Case("6.2 HEADERS shorter than padding and priority", (short,), ends(SIZE, PROTOCOL))
    wrong = frame(Type.HEADERS, flags | PADDED | PRIORITY, 1, b"\xff" + bytes(5) + half)
    yield Case("6.2 HEADERS with padding that eats its priority", (wrong,), ends(PROTOCOL))
    missing = frame(Type.HEADERS, flags | PADDED, 1)
    yield Case("6.2 HEADERS without its pad length", (missing,), ends(SIZE, PROTOCOL))
    both = headers(1, half, end=True, depends=0, pad=3)
    yield Case("6.2 HEADERS with padding and priority", (both,), OK)

    yield Case(
        "6.3/1 PRIORITY on stream 0", (frame(Type.PRIORITY, 0, 0, bytes(5)),), ends(PROTOCOL)
    )
    for size in (4, 6, 0):
        number = "/2" if size == 4 else ""
        sent = frame(Type.PRIORITY, 0, 1, bytes(size))
        yield Case(f"6.3{number} PRIORITY of {size} bytes", (post, sent), fails(SIZE))

    more = continuation(1, block([("x-test", "ok")]))
    open_more = continuation(1, block([("x-test", "ok")]), end_headers=False)
    steps = (begun + open_more + open_more + more + more,)
    yield Case("6.10/1 CONTINUATION after the end of the block", steps, ends(PROTOCOL, GONE))
    yield Case("6.10/2 a frame between CONTINUATIONs", (begun + open_more + test,), ends(PROTOCOL))
    yield Case("6.10/3 CONTINUATION on stream 0", (begun, continuation(0, b"")), ends(PROTOCOL))
    closed = headers(1, half)
    yield Case("6.10/4 CONTINUATION after HEADERS with END_HEADERS", (closed, more), ends(PROTOCOL))
    steps = (headers(1, half, end_headers=False) + more + more,)
    yield Case("6.10/5 CONTINUATION after one with END_HEADERS", steps, ends(PROTOCOL))
    steps = (post + data(1, b"test") + more,)
    yield Case("6.10/6 CONTINUATION after DATA", steps, ends(PROTOCOL))
    yield Case("6.10 CONTINUATION of another stream", (begun, continuation(3, b"")), ends(PROTOCOL))
    split = b"".join(
        continuation(1, half[at : at + 1], end_headers=False) for at in range(1, len(half))
    )
    steps = (headers(1, half[:1], end=True, end_headers=False) + split + continuation(1, b""),)
    yield Case("6.10 CONTINUATIONs of one byte", steps, OK)


def control(r: Requests) -> Iterator[Case]:
    """6.4 RST_STREAM, 6.6 PUSH_PROMISE, 6.7 PING, 6.8 GOAWAY, 7 error codes."""
    post = r.post(1)
    yield Case("6.4/1 RST_STREAM on stream 0", (rst_stream(0),), ends(PROTOCOL))
    yield Case("6.4/2 RST_STREAM on an idle stream", (rst_stream(1),), ends(PROTOCOL))
    for size in (3, 5, 0):
        number = "/3" if size == 3 else ""
        sent = frame(Type.RST_STREAM, 0, 1, bytes(size))
        yield Case(f"6.4{number} RST_STREAM of {size} bytes", (post, sent), ends(SIZE))
    yield Case("6.4 RST_STREAM while the answer is made", (r.hold(1), rst_stream(1)), IGNORED)

    promise = push_promise(1, 2, r.block())
    yield Case("8.2/1 PUSH_PROMISE", (post, promise), ends(PROTOCOL))
    yield Case("6.6 PUSH_PROMISE on an idle stream", (promise,), ends(PROTOCOL))

    def pinged(client: Http2Client) -> None:
        client.send(ping(b"h2spec00"))
        got = client.until(Type.PING)
        assert (got.flags, got.payload) == (ACK, b"h2spec00")

    def pinged_in_order(client: Http2Client) -> None:
        tokens = [struct.pack("!Q", number) for number in range(10)]
        client.send(*map(ping, tokens))
        assert [client.until(Type.PING).payload for _ in tokens] == tokens

    yield Case("6.7/1 PING", (pinged,), IGNORED)
    yield Case("6.7/2 PING with ACK", (ping(b"invalid\0", ack=True),), IGNORED)
    yield Case("6.7/3 PING on a stream", (frame(Type.PING, 0, 1, bytes(8)),), ends(PROTOCOL))
    for size in (6, 9, 0):
        number = "/4" if size == 6 else ""
        sent = frame(Type.PING, 0, 0, bytes(size))
        yield Case(f"6.7{number} PING of {size} bytes", (sent,), ends(SIZE))
    yield Case(
        "6.7 an acknowledgment of 7 bytes", (frame(Type.PING, ACK, 0, bytes(7)),), ends(SIZE)
    )
    yield Case("6.7 ten PINGs in order", (pinged_in_order,), IGNORED)

    wrong = frame(Type.GOAWAY, 0, 1, bytes(8))
    yield Case("6.8/1 GOAWAY on a stream", (wrong,), ends(PROTOCOL))
    short = frame(Type.GOAWAY, 0, 0, bytes(7))
    yield Case("6.8 GOAWAY of 7 bytes", (short,), ends(SIZE))
    last = goaway(0, debug=b"good bye")
    yield Case(
        "6.8 what was asked before GOAWAY is answered",
        (post + last + data(1, end=True), answered(1)),
        ALIVE | CLOSED | ends(ErrorCode.NO_ERROR),
        stream=0,
    )
    yield Case(
        "7/1 GOAWAY with an unknown code",
        (goaway(0, 0xFF),),
        ALIVE | CLOSED | ends(ErrorCode.NO_ERROR),
    )
    yield Case("7/2 RST_STREAM with an unknown code", (post, rst_stream(1, 0xFF)), IGNORED)
    yield Case(
        "5.4 an error in the answer to an error",
        (goaway(0, PROTOCOL), data(0)),
        CLOSED | ends(PROTOCOL, ErrorCode.NO_ERROR),
    )


def settled(r: Requests) -> Iterator[Case]:
    """6.5 SETTINGS."""
    get = r.get(1)
    yield Case(
        "6.5/1 an acknowledgment with a payload", (frame(Type.SETTINGS, ACK, 0, b"\0"),), ends(SIZE)
    )
    wrong = frame(Type.SETTINGS, 0, 1, struct.pack("!HL", Setting.MAX_CONCURRENT_STREAMS, 9))
    yield Case("6.5/2 SETTINGS on a stream", (wrong,), ends(PROTOCOL))
    yield Case("6.5/3 SETTINGS of 3 bytes", (frame(Type.SETTINGS, 0, 0, b"\0\3\0"),), ends(SIZE))
    yield Case("6.5 SETTINGS of 7 bytes", (frame(Type.SETTINGS, 0, 0, bytes(7)),), ends(SIZE))
    yield Case("6.5 an acknowledgment on a stream", (frame(Type.SETTINGS, ACK, 1),), ends(PROTOCOL))
    yield Case("6.5 an acknowledgment of nothing", (settings(ack=True),), IGNORED | ends(PROTOCOL))
    for name, setting, value, code in (
        ("/1 ENABLE_PUSH of 2", Setting.ENABLE_PUSH, 2, PROTOCOL),
        ("/2 INITIAL_WINDOW_SIZE above 2^31-1", WINDOW, 1 << 31, FLOW),
        ("/3 MAX_FRAME_SIZE below 2^14", Setting.MAX_FRAME_SIZE, 16383, PROTOCOL),
        ("/4 MAX_FRAME_SIZE above 2^24-1", Setting.MAX_FRAME_SIZE, 1 << 24, PROTOCOL),
    ):
        yield Case(f"6.5.2{name}", (settings({setting: value}),), ends(code))
    yield Case("6.5.2/5 an unknown setting", (settings({0xFF: 1}),), IGNORED)
    for setting, value in (
        (Setting.ENABLE_PUSH, 0),
        (Setting.ENABLE_PUSH, 1),
        (Setting.MAX_FRAME_SIZE, 16384),
        (Setting.MAX_FRAME_SIZE, (1 << 24) - 1),
        (Setting.MAX_CONCURRENT_STREAMS, 0),
        (Setting.MAX_HEADER_LIST_SIZE, 0),
        (Setting.HEADER_TABLE_SIZE, 0xFFFFFFFF),
        (WINDOW, MAX_WINDOW),
    ):
        name = f"6.5.2 {setting.name} of {value}"
        yield Case(name, (get,), OK, values={setting: value})
    twice = settings([(Setting.ENABLE_PUSH, 2), (Setting.ENABLE_PUSH, 0)])
    yield Case("6.5.2 a bad value before a good one", (twice,), ends(PROTOCOL))
    yield Case("RFC 8441 3 ENABLE_CONNECT_PROTOCOL of a client", (settings({8: 1}),), IGNORED)
    yield Case(
        "RFC 9218 2.1 NO_RFC7540_PRIORITIES of 2", (settings({9: 2}),), IGNORED | ends(PROTOCOL)
    )

    def own_are_valid(client: Http2Client) -> None:
        known = client.peer
        assert known.get(Setting.ENABLE_PUSH, 0) == 0, "a server may only say 0 (section 6.5.2)"
        assert 16384 <= known.get(Setting.MAX_FRAME_SIZE, 16384) < 1 << 24
        assert known.get(WINDOW, 65535) <= MAX_WINDOW
        assert known.get(Setting.ENABLE_CONNECT_PROTOCOL, 0) in (0, 1)
        assert known.get(Setting.NO_RFC7540_PRIORITIES, 0) in (0, 1)
        assert Setting.MAX_CONCURRENT_STREAMS in known

    yield Case("6.5.2 the server's own are valid", (own_are_valid,), IGNORED)

    def last_value_holds(client: Http2Client) -> None:
        client.send(settings([(WINDOW, 100), (WINDOW, 1)]), get)
        assert client.until(Type.DATA, stream=1).payload == b"H"
        client.send(window_update(1, 4))

    def tables_shrink(client: Http2Client) -> None:
        """The decoder refuses entries of a table that was taken away (RFC 7541, section 4.2)."""
        for size in (4096, 0, 4096, 64, 0):
            client.configure({Setting.HEADER_TABLE_SIZE: size})
            client.settle()
            for _ in range(2):
                assert client.request("GET", "/").status == 200
        client.configure({Setting.HEADER_TABLE_SIZE: 0})
        client.configure({Setting.HEADER_TABLE_SIZE: 4096})
        client.settle()
        assert client.request("GET", "/").status == 200

    def acknowledged(client: Http2Client) -> None:
        client.send(settings({Setting.ENABLE_PUSH: 0}))
        got = client.until(Type.SETTINGS)
        assert (got.flags, got.stream, got.payload) == (ACK, 0, b"")

    def in_order(client: Http2Client) -> None:
        client.send(ping(b"before 1"), settings({WINDOW: 70000}), ping(b"behind 1"))
        kinds = [client.until(lambda got: got.is_ack).type for _ in range(3)]
        assert kinds == [Type.PING, Type.SETTINGS, Type.PING]

    yield Case("6.5.3/1 a value given twice", (last_value_holds,), OK)
    yield Case("6.5.3/2 an acknowledgment at once", (acknowledged,), IGNORED)
    yield Case("6.5.3 settings are acknowledged in their place", (in_order,), IGNORED)
    yield Case("6.5.2 HEADER_TABLE_SIZE made smaller and larger", (tables_shrink,), IGNORED)
