"""RFC 7540, section 3.2: from HTTP/1.1 to HTTP/2 on a plain connection. RFC 9113 has dropped it."""

from __future__ import annotations

from collections.abc import Iterator

from http2_client import ErrorCode, Http2Client, Setting, Type, data

from e2e.http2_cases_model import (
    CLOSED,
    OK,
    Case,
    Outcomes,
    Requests,
    Step,
    answered,
    ends,
    fails,
)

__all__ = ["upgrades"]

GONE = ErrorCode.STREAM_CLOSED
H2C = "upgrade: h2c"
BOTH = "connection: Upgrade, HTTP2-Settings"
EMPTY = "http2-settings:"


def upgrades(r: Requests) -> Iterator[Case]:
    if r.scheme == "https":  # where ALPN decides
        return

    def case(name: str, outcomes: Outcomes, *steps: Step, stream: int = 1) -> Case:
        return Case(f"RFC 7540 3.2 {name}", steps, outcomes, stream=stream, raw=True)

    def asked(client: Http2Client) -> None:
        assert client.upgrade().startswith(b"HTTP/1.1 101 ")

    def held(client: Http2Client) -> None:
        assert client.upgrade("/hold").startswith(b"HTTP/1.1 101 ")

    def with_a_window(client: Http2Client) -> None:
        client.upgrade(values={Setting.INITIAL_WINDOW_SIZE: 1})
        assert client.until(Type.DATA, stream=1).payload == b"H"

    yield case("the answer is on stream 1", OK, asked)
    yield case("the next request has stream 3", OK, asked, r.get(3), stream=3)
    yield case("HTTP2-Settings hold from the start", OK, with_a_window)
    yield case("stream 1 is half-closed: DATA", fails(GONE), held, data(1, b"x"))
    yield case("stream 1 is half-closed: HEADERS", fails(GONE), held, r.get(1))
    yield case("stream 1 is closed: HEADERS", ends(GONE), asked, answered(1), r.get(1))
    yield case(
        "a connection error behind it", ends(ErrorCode.PROTOCOL_ERROR), asked, answered(1), data(0)
    )

    def stays(name: str, *lines: str) -> Case:
        """Answered in HTTP/1.1, as if Upgrade were not there."""

        def step(client: Http2Client) -> None:
            assert client.upgrade("/", *lines) == b"HTTP/1.1 200 OK"
            while client.socket.recv(4096):
                pass

        return Case(f"RFC 7540 3.2.1 {name}", (step,), CLOSED, raw=True)

    yield stays("no HTTP2-Settings", H2C, "connection: Upgrade, close")
    yield stays("two of HTTP2-Settings", H2C, f"{BOTH}, close", EMPTY, EMPTY)
    yield stays("HTTP2-Settings not in Connection", H2C, "connection: Upgrade, close", EMPTY)
    yield stays("HTTP2-Settings that are not base64url", H2C, f"{BOTH}, close", f"{EMPTY} $$$$")
    yield stays("settings of 5 bytes", H2C, f"{BOTH}, close", f"{EMPTY} AAMAAAA")
    yield stays("another protocol", "upgrade: h3c", f"{BOTH}, close", EMPTY)
    yield stays("h2, which is for TLS", "upgrade: h2", f"{BOTH}, close", EMPTY)
