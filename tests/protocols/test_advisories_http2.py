"""The advisories of other servers, told over HTTP/2: the policy is the same on every wire.

Floods, one connection each against a whole server, are in tests/e2e/test_http2_floods.py.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable

import pytest
from hpack import Encoder

from gateway.protocols.http2_errors import ErrorCode

from .harness import PARSERS, Conversation
from .http2_harness import Http2Conversation, Reply, continuation, data, headers, hold, request
from .test_advisories import environ_of

Pairs = list[tuple[bytes, bytes]]

GOOD: Pairs = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":authority", b"a"),
    (b":path", b"/"),
]


def section(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    return Encoder().encode(list(fields), huffman=False)


def post(*fields: tuple[bytes, bytes], **pseudo: bytes) -> Pairs:
    """POST / with further fields, or other pseudo-fields."""
    changed = {b":" + name.encode(): value for name, value in pseudo.items()}
    return [(name, changed.get(name, value)) for name, value in GOOD] + [*fields]


CONTROLS = [bytes([byte]) for byte in (*range(9), *range(10, 32), 127)]
HOSTS = (b"/?", b"?", b"#", b"/x", b"\\x", b"@evil", b" evil", b",evil")

REFUSED: dict[str, list[Pairs]] = {
    "CVE-2025-57804 h2: CR, LF and NUL": [
        *(post((b"x", b"a" + bad + b"b")) for bad in (b"\r\n", b"\r", b"\n", b"\0")),
        *(post((b"x" + bad + b"y", b"a")) for bad in (b"\r\n", b"\r", b"\n", b"\0")),
        *(post(path=b"/a" + bad + b"b") for bad in (b"\r\n", b"\n", b"\0", b" HTTP/1.1\r\nx: ")),
        *(post(authority=b"a" + bad + b"b") for bad in (b"\r\n", b"\n", b"\0")),
        *(post(method=b"GET / HTTP/1.1\r\n"[:size]) for size in (4, 5, 16)),
        *(post(scheme=b"http" + bad) for bad in (b"\r\n", b"://b/?", b" ", b"\0")),
    ],
    "h2 4.4.0, CVE-2019-16792 waitress, CVE-2020-10108 Twisted: Content-Length twice": [
        post((b"content-length", b"5"), (b"content-length", b"5")),
        post((b"content-length", b"5"), (b"content-length", b"6")),
    ],
    "CVE-2022-24761, CVE-2022-24801, CVE-2025-69224, CVE-2025-69225: numbers as int() reads them": [
        post((b"content-length", number))
        for number in (b"+5", b"-0", b"0x5", b"5_0", b"5, 5", b"", b"5.", b"\xef\xbc\x95", b"\xb2",
                       "\u0665".encode(), b"9" * 19, b"4 2")
    ],
    "h2 4.4.1, CVE-2026-34525 aiohttp: two Host": [
        post((b"host", b"a"), (b"host", b"a")),
        post((b"host", b"b")),
        post((b"host", b"a"), (b"host", b"b")),
    ],
    "CVE-2026-48710 Starlette: a Host that moves the path": [
        post(authority=b"example.com" + tail) for tail in HOSTS
    ],
    "CVE-2019-16786, CVE-2024-1135, CVE-2024-6827, CVE-2023-47641: any Transfer-Encoding": [
        post((b"transfer-encoding", coding), (b"content-length", b"5"))
        for coding in (b"chunked", b"identity", b"xchunked", b"gzip, chunked", b"")
    ],
    "CVE-2019-16789 waitress, CVE-2021-22959 llhttp: white space in a name": [
        post((b"transfer-encoding" + space, b"chunked"))
        for space in (b" ", b"\t", b"\x0b", b"\x85", b"\xa0", b":")
    ],
    "CVE-2026-34520, CVE-2023-47627 aiohttp: control bytes in a field": [
        post((b"x", b"a" + byte + b"b")) for byte in CONTROLS
    ],
    "CVE-2026-44546 daphne: what str.splitlines takes for the end of a line": [
        post((b"x", b"a" + byte + b"y: b")) for byte in (b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e")
    ],
    "gunicorn 26.2.0: the header policy over HTTP/2": [
        post((b"", b"empty name")),
        post((b"X-Capital", b"a")),
        post((b"connection", b"close")),
        post((b"keep-alive", b"5")),
        post((b"proxy-connection", b"close")),
        post((b"upgrade", b"websocket")),
        post((b"te", b"chunked")),
        post((b":status", b"200")),
        post((b"x", b"a"), (b":path", b"/late")),
        post((b":path", b"/twice")),
        post(path=b"nowhere"),
        post(path=b"*"),
        post(path=b""),
        post(path=b"/a#b"),
        post(path=b"/caf\xc3\xa9"),
        post(scheme=b"javascript"),
        post(scheme=b""),
        post(authority=b""),
        post(method=b"get"),
        post(method=b""),
    ],
    "CVE-2018-12121 http-parser: a megabyte of head": [post((b"x", b"x" * 1_000_000))],
    "CVE-2026-22815 aiohttp, gunicorn 22 to 27: fields without end": [
        post(*[(b"x", b"y")] * 101),
        post(*[(b"x%d" % number, b"y") for number in range(5000)]),
    ],
    "httptools 142, 144: a long target is cut": [post(path=b"/" + b"a" * 70_000)],
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_and_the_connection_goes_on(name: str) -> None:
    for fields in REFUSED[name]:
        talk = Http2Conversation()
        block = section(fields)
        pieces = [block[at : at + 16384] for at in range(0, len(block), 16384)]
        talk.send(headers(1, pieces[0], end=False, whole=len(pieces) == 1))
        for piece in pieces[1:]:
            talk.feed(continuation(1, piece, whole=piece is pieces[-1]))
        assert talk.exchanges == [], fields[-1]
        if talk.closed:
            assert len(block) > 100_000, fields[-1]  # more than is worth reading
            continue
        reply = talk.replies[1]
        assert refusal(reply) in ("reset", 400, 431, 501), fields[-1]
        talk.send(request(3, "GET", "/next"))
        assert talk.replies[3].status == 200


def refusal(reply: Reply) -> int | str | None:
    return "reset" if reply.reset == ErrorCode.PROTOCOL_ERROR else reply.status


@pytest.mark.parametrize("byte", range(256))
def test_cve_2024_23829_every_byte_is_judged_as_over_http_1(byte: int) -> None:
    each = bytes([byte])
    places = {
        "method": (b"G%bT", b"/", b"a", b"x: y", post(method=b"G" + each + b"T")),
        "path": (b"GET", b"/a%bb", b"a", b"x: y", post(path=b"/a" + each + b"b")),
        "query": (b"GET", b"/?a%bb", b"a", b"x: y", post(path=b"/?a" + each + b"b")),
        "authority": (b"GET", b"/", b"a%bb", b"x: y", post(authority=b"a" + each + b"b")),
        "name": (b"GET", b"/", b"a", b"x%by: z", post((b"x" + each + b"y", b"z"))),
        "value": (b"GET", b"/", b"a", b"x: y%bz", post((b"x", b"y" + each + b"z"))),
    }
    for place, (method, target, host, line, fields) in places.items():
        head = b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n\r\n" % (method, target, host, line)
        old, new = Conversation(PARSERS[0], hold), Http2Conversation(hold)
        old.feed(head.replace(b"%b", each))
        new.send(headers(1, section(fields)))
        # A name of HTTP/2 has no capital letter, and no colon that could end it.
        stricter = place == "name" and chr(byte) in ":ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        assert len(new.exchanges) == (0 if stricter else len(old.exchanges)), place
        for before, after in zip(old.exchanges, new.exchanges, strict=False):
            assert after.head.target == before.head.target
            assert after.head.headers == before.head.headers or place not in ("name", "value")


def test_cve_2023_41419_2025_53643_2025_58068_trailers_are_no_fields() -> None:
    talk = Http2Conversation()
    trailers = [(b"host", b"evil"), (b"x-forwarded-for", b"6.6.6.6")]
    talk.send(headers(1, section(post()), end=False), data(1, b"hi"), headers(1, section(trailers)))
    talk.send(request(3, "GET", "/next"))
    first, second = talk.requests
    assert (first.headers, first.body) == (((b"host", b"a"),), b"hi")
    assert second.headers == ((b"host", b"a"),)


def test_cve_2026_22815_trailers_without_end() -> None:
    talk = Http2Conversation()
    talk.send(headers(1, section(post()), end=False))
    many = section([(b"x%d" % number, b"y" * 20) for number in range(4000)])
    pieces = [many[at : at + 16384] for at in range(0, len(many), 16384)]
    talk.feed(headers(1, pieces[0], whole=False))
    for piece in pieces[1:]:
        talk.feed(continuation(1, piece, whole=piece is pieces[-1]))
    assert talk.requests == []
    assert talk.closed or talk.replies[1].reset is not None


def test_cve_2025_69223_a_request_body_is_never_inflated() -> None:
    bomb = gzip.compress(b"\0" * 1_000_000)
    talk = Http2Conversation()
    encoded = post((b"content-encoding", b"gzip"), (b"content-length", b"%d" % len(bomb)))
    talk.send(headers(1, section(encoded), end=False), data(1, bomb, end=True))
    assert talk.requests[0].body == bomb


def test_cve_2025_47287_2025_69230_bad_requests_are_one_line_of_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    talk = Http2Conversation()
    for number in range(50):
        talk.send(headers(2 * number + 1, section(post((b"x", b"\x1b[2J\nevil")))))
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 1
    assert messages[0].isprintable()
    assert "evil" not in messages[0]


def test_cve_2022_39348_2024_41810_a_refusal_is_plain_text_and_echoes_nothing() -> None:
    talk = Http2Conversation()
    talk.send(headers(1, section(post(authority=b"<script>", path=b"/<script>"))))
    reply = talk.replies[1]
    assert reply.header(b"content-type") == b"text/plain; charset=utf-8"
    assert b"script" not in reply.body


def test_cve_2020_35681_requests_share_nothing_mutable() -> None:
    """Though the fields of a repeated request are one list to the decoder."""
    talk = Http2Conversation(hold)
    for number in range(50):
        talk.send(request(2 * number + 1, "GET", "/"))
    assert len({id(exchange.head) for exchange in talk.exchanges}) == 50
    assert len({id(exchange.head.headers) for exchange in talk.exchanges}) == 50


def test_cve_2023_46137_2024_41671_each_answer_is_on_its_own_stream() -> None:
    talk = Http2Conversation(hold)
    talk.send(request(1, "GET", "/slow"), request(3, "GET", "/fast"))
    slow, fast = talk.exchanges
    fast.start(200, [], b"fast")
    slow.start(200, [], b"slow")
    talk.settle()
    assert (talk.replies[1].body, talk.replies[3].body) == (b"slow", b"fast")


def test_gunicorn_26_2_1_a_body_nobody_reads_is_bounded_by_its_window() -> None:
    talk = Http2Conversation(hold)
    talk.send(headers(1, section(post()), end=False))
    while talk.replies.get(1) is None and talk.exchanges[0].received < 10_000_000:
        talk.send(data(1, b"x" * 16384))
    assert talk.replies[1].reset == ErrorCode.FLOW_CONTROL_ERROR
    assert talk.exchanges[0].received <= talk.context.http2.initial_window  # type: ignore[union-attr]


def test_gunicorn_26_2_1_a_refused_request_keeps_the_table_in_step() -> None:
    talk = Http2Conversation()
    encoder = Encoder()
    talk.send(headers(1, encoder.encode([*post((b"x-kept", b"1")), (b"connection", b"x")])))
    talk.send(headers(3, encoder.encode(post((b"x-kept", b"1")))))
    assert talk.replies[1].reset == ErrorCode.PROTOCOL_ERROR
    assert talk.requests[0].header(b"x-kept") == b"1"


def test_gunicorn_26_2_0_underscores_do_not_reach_an_environ() -> None:
    """Nor what names a variable of the server."""
    talk = Http2Conversation(hold)
    forged = post(
        (b"x-forwarded-for", b"192.0.2.1"),
        (b"x_forwarded_for", b"6.6.6.6"),
        (b"script_name", b"/evil"),
        (b"content_length", b"7"),
        (b"remote_addr", b"6.6.6.6"),
        (b"proxy", b"http://evil"),
    )
    talk.send(headers(1, section(forged)))
    environ = environ_of(talk.exchanges[0])
    assert environ["HTTP_X_FORWARDED_FOR"] == "192.0.2.1"
    assert (environ["SCRIPT_NAME"], environ["REMOTE_ADDR"]) == ("", "203.0.113.7")
    assert not {"HTTP_PROXY", "CONTENT_LENGTH", "HTTP_SCRIPT_NAME"} & set(environ)
