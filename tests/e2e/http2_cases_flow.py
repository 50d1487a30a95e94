"""RFC 9113, section 6.9: windows; the client counts every byte."""

from __future__ import annotations

from collections.abc import Iterator

from http2_client import ErrorCode, Http2Client, Setting, Type, data, frame, settings, window_update

from e2e.http2_cases_model import IGNORED, OK, Case, Requests, ends, fails

__all__ = ["flow"]

PROTOCOL = ErrorCode.PROTOCOL_ERROR
SIZE = ErrorCode.FRAME_SIZE_ERROR
FLOW = ErrorCode.FLOW_CONTROL_ERROR
WINDOW = Setting.INITIAL_WINDOW_SIZE
MAX_WINDOW = (1 << 31) - 1


def flow(r: Requests) -> Iterator[Case]:
    """6.9 WINDOW_UPDATE and what the windows allow; the client counts every byte."""
    get, post, large = r.get(1), r.post(1), r.get(1, "/large")
    full = window_update(1, MAX_WINDOW - 65535)
    yield Case("6.9/1 an increment of 0 on the connection", (window_update(0, 0),), ends(PROTOCOL))
    yield Case("6.9/2 an increment of 0 on a stream", (post, window_update(1, 0)), fails(PROTOCOL))
    for size in (3, 5, 0):
        number = "/3" if size == 3 else ""
        sent = frame(Type.WINDOW_UPDATE, 0, 0, bytes(size))
        yield Case(f"6.9{number} WINDOW_UPDATE of {size} bytes", (sent,), ends(SIZE))
    sent = frame(Type.WINDOW_UPDATE, 0, 1, bytes(3))
    yield Case("6.9 WINDOW_UPDATE of 3 bytes on a stream", (post, sent), ends(SIZE))
    yield Case("6.9 the reserved bit of an increment", (window_update(0, 1 | 1 << 31),), IGNORED)
    yield Case(
        "6.9 an increment of 0 with the reserved bit", (window_update(0, 1 << 31),), ends(PROTOCOL)
    )

    def byte_by_byte(client: Http2Client) -> None:
        client.send(get)
        assert client.until(Type.DATA).payload == b"H"

    yield Case("6.9.1/1 a window of one byte", (byte_by_byte,), OK, values={WINDOW: 1})
    twice = window_update(0, MAX_WINDOW) + window_update(0, MAX_WINDOW)
    yield Case("6.9.1/2 a connection's window above 2^31-1", (twice,), ends(FLOW))
    twice = window_update(1, MAX_WINDOW) + window_update(1, MAX_WINDOW)
    yield Case("6.9.1/3 a stream's window above 2^31-1", (post, twice), fails(FLOW))
    largest = window_update(0, MAX_WINDOW - 65535)
    yield Case("6.9.1 windows of 2^31-1", (post, largest + full + data(1, end=True)), OK)
    yield Case("6.9.1 one more than 2^31-1", (post, full + window_update(1, 1)), fails(FLOW))
    yield Case("6.9.1 one more on the connection", (largest + window_update(0, 1),), ends(FLOW))
    yield Case("6.9.1 a body larger than the windows", (large,), OK)

    def exhausted(client: Http2Client) -> None:
        """The connection's window is the limit of all streams together."""
        client.replenish = False
        client.send(r.get(1, "/large"), r.get(3, "/large"))
        client.until(lambda _: client.credit == 0)
        # The server has no more to give; heads, empty bodies and PINGs still pass.
        client.send(r.get(5, "/empty"))
        assert client.response(5).body == b""
        assert not any(got.type == Type.DATA and got.payload for got in client.sync())
        client.replenish = True
        client.grant(0, 200_000)
        for stream in (1, 3):
            if not client.streams[stream].ended:
                client.grant(stream, 100_000)
            assert len(client.response(stream).body) == 100_000

    yield Case("6.9.1 the connection's window is used up", (exhausted,), IGNORED)

    def too_much(client: Http2Client) -> None:
        client.send(r.post(1, "/deaf"))
        limit = client.peer.get(WINDOW, 65535)
        # As much of the connection's window as the server gives without being asked.
        client.sync()
        size = min(limit, client.window)
        client.send(b"".join(data(1, bytes(min(16384, size - at))) for at in range(0, size, 16384)))
        assert not any(got.type == Type.RST_STREAM for got in client.sync())
        client.send(data(1, b"x"))

    yield Case("6.9.1 DATA beyond the window", (too_much,), fails(FLOW))

    def nothing_yet(client: Http2Client) -> None:
        client.send(get)
        client.head(1)
        assert not any(got.type == Type.DATA for got in client.sync())

    def opened(client: Http2Client) -> None:
        nothing_yet(client)
        client.configure({WINDOW: 1})
        assert client.until(Type.DATA).payload == b"H"

    def negative(client: Http2Client) -> None:
        client.replenish = False
        client.send(large)
        client.body(1, 5)
        client.configure({WINDOW: 2})
        client.settle()
        state = client.streams[1]
        client.sync()
        client.grant(1, -state.credit)  # to zero: still nothing
        client.grant(0, 200_000)
        assert not any(got.type == Type.DATA for got in client.sync())
        client.grant(1, 1)
        assert client.until(Type.DATA).payload == b"x"
        client.replenish = True
        client.grant(1, 100_000)

    yield Case("6.9.2/1 a window opened by SETTINGS", (opened,), OK, values={WINDOW: 0})
    yield Case("6.9.2/2 a window below zero", (negative,), OK, values={WINDOW: 5})
    yield Case(
        "6.9.2/3 INITIAL_WINDOW_SIZE above 2^31-1", (settings({WINDOW: 1 << 31}),), ends(FLOW)
    )
    grown = settings({WINDOW: MAX_WINDOW})
    yield Case(
        "6.9.2 SETTINGS make a window too large", (post, window_update(1, 1), grown), ends(FLOW)
    )
    yield Case(
        "6.9.2 SETTINGS leave the connection's window", (settings({WINDOW: 1 << 20}), large), OK
    )
    sent = r.get(1, "/empty")
    yield Case("6.9 an empty body needs no window", (sent,), OK, values={WINDOW: 0})
    yield Case(
        "6.9.2 no window, then one for this stream",
        (nothing_yet, lambda client: client.grant(1, 5)),
        OK,
        values={WINDOW: 0},
    )

    def padding_counts(client: Http2Client) -> None:
        """76,800 bytes of padding: they use up the windows, and are given back unread."""
        client.open("POST", "/echo", end=False)
        size = len(data(1, b"", pad=255)) - 9
        for _ in range(600):
            while min(client.window, client.streams[1].window) < size:
                client.until(Type.WINDOW_UPDATE)
            client.send(data(1, b"", pad=255))
            client.window -= size
            client.streams[1].window -= size
        client.send(data(1, b"end", end=True))
        assert client.response(1).body == b"end"

    yield Case("6.9.1 padding is counted and given back", (padding_counts,), OK)
