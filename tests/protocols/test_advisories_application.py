"""The advisories about what an application sends, WebSockets and logs, on every wire.

The rest of what an application can do wrong is in tests/interfaces/test_misbehavior_*.py.
"""

from __future__ import annotations

import asyncio
import json
import logging
import tracemalloc
import zlib
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interfaces.misbehavior import WIRES, Wire, asgi_interface, label, misbehave, wsgi_interface
from interfaces.test_misbehavior_asgi import body, hint, sending, start, trailers
from websocket.fakes import KEY, Client, masked

from gateway.exchange import Exchange, Handler
from gateway.interfaces.asgi3 import Asgi3Interface
from gateway.log_format import LevelFormatter
from gateway.middleware.access_format import PRESETS, compile_format
from gateway.middleware.access_log import access_log
from gateway.middleware.proxy_headers import proxy_headers
from gateway.middleware.trusted_peers import TrustedPeers
from gateway.websocket.codec import CLOSE, CONTINUATION, TEXT, Codec
from gateway.websocket.codec_websockets import WebsocketsCodec
from gateway.websocket.codec_wsproto import WsprotoCodec
from gateway.websocket.frames import FrameCodec
from gateway.websocket.session import SessionOptions

from .harness import PARSERS, Conversation, hello
from .http2_harness import Http2Conversation, block, data, headers, request

wires = pytest.mark.parametrize("wire", WIRES)
SPLITS = ["a\r\nx-split: b", "a\nx-split: b", "a\rx-split: b", "a\r\n\r\n<b>", "a\x00", "a\x1b[2J"]
splits = pytest.mark.parametrize("split", SPLITS, ids=label)


# --- response splitting ---------------------------------------------------------------------------


def site(app: Any) -> Any:
    async def dispatch(scope, receive, send):
        await (sending(start(), body(b"good")) if scope["path"] == "/good" else app)(
            scope, receive, send
        )

    return dispatch


@wires
@splits
def test_cve_2018_1000164_2020_7695_no_field_of_an_application_splits_a_response(
    split: str, wire: Wire
) -> None:
    """gunicorn, uvicorn; mod_proxy_uwsgi passed such on (CVE-2020-11984, CVE-2023-27522)."""
    bad = split.encode()
    for pair in ((b"x", bad), (bad, b"x"), (b"location", b"/" + bad), (b"set-cookie", bad)):
        first = [
            (sending(start(headers=[pair]), body()), "500"),
            (sending(start(headers=[(b"X-Capital", b"y"), pair]), body(b"a", True)), "500"),
            (sending(hint(bad), start(), body()), "500"),
            (sending(start(trailers=True), body(), trailers([pair])), "cut"),
        ]
        for app, outcome in first:
            seen = misbehave(asgi_interface, site(app), wire)
            assert (seen.outcome, len(seen.errors)) == (outcome, 1)
            assert b"x-split" not in dict(seen.headers + seen.trailers)


@wires
@splits
def test_cve_2018_1000164_2020_7695_nor_one_of_wsgi(split: str, wire: Wire) -> None:
    for pair in (("X", split), (split, "x"), ("Location", "/" + split)):

        def app(environ, start_response, pair=pair):
            good = environ["PATH_INFO"] == "/good"
            start_response("200 OK", [] if good else [pair])
            return [b"good"]

        assert misbehave(wsgi_interface, app, wire).outcome == "500"


@wires
@splits
def test_cve_2026_34519_2023_49082_a_reason_splits_no_response(split: str, wire: Wire) -> None:
    """aiohttp: in the reason; and, as a client, in method and version (CVE-2023-49081)."""

    def app(environ, start_response):
        start_response("200 " + split, [("X-After", "1")])
        return [b"good"]

    seen = misbehave(wsgi_interface, app, wire)
    assert (seen.outcome, seen.body) == ("200", b"good")
    assert b"x-split" not in dict(seen.headers)


@pytest.mark.parametrize("wire", ["http1", "http2"])
@splits
def test_cve_2020_7695_nor_does_the_answer_to_a_websocket(split: str, wire: Wire) -> None:
    bad = split.encode()
    accept = {"type": "websocket.accept"}
    denial = {"type": "websocket.http.response.start", "status": 403}
    for message in (
        {**accept, "headers": [(b"x", bad)]},
        {**accept, "headers": [(bad, b"x")]},
        {**accept, "subprotocol": split},
        {**denial, "headers": [(b"x", bad)]},
    ):
        app = sending(message, {"type": "websocket.http.response.body", "body": b"no"})
        seen = misbehave(asgi_interface, site(app), wire, websocket=True)
        assert seen.outcome == "500"


@wires
@pytest.mark.parametrize("status", [0, 99, 1000, "200", b"200", None, 2.5, -200, 10**9])
def test_cve_2026_42545_an_invalid_answer_ends_no_worker(status: object, wire: Wire) -> None:
    """granian; the request that follows is answered in the same process."""
    for fields in ([], [(b"\xff\xfe", b"\x80")], [("text", "text")], [(b"x", None)], None):
        seen = misbehave(asgi_interface, site(sending(start(status, fields), body())), wire)
        assert (seen.outcome, len(seen.errors)) == ("500", 1)


# --- WebSocket ------------------------------------------------------------------------------------

HANDSHAKE = {
    b"Host": b"a",
    b"Connection": b"Upgrade",
    b"Upgrade": b"websocket",
    b"Sec-WebSocket-Version": b"13",
    b"Sec-WebSocket-Key": KEY,
    b"Sec-WebSocket-Protocol": b"chat",
    b"Sec-WebSocket-Extensions": b"permessage-deflate",
    b"Origin": b"http://a",
}
CODECS: list[type[Codec]] = [FrameCodec, WsprotoCodec, WebsocketsCodec]


def sessions(codec: type[Codec] = FrameCodec) -> SessionOptions:
    return SessionOptions(
        codec=codec,
        max_size=1 << 20,
        max_queue=32,
        ping_interval=None,
        ping_timeout=None,
        lifetime=None,
        handshake_timeout=30.0,
        deflate=True,
        shutdown_code=1012,
    )


async def accepts(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close"})


async def ended(interface: Asgi3Interface) -> None:
    """Let the application run to its end."""
    for call in list(interface.calls):
        assert call.task is not None
        await call.task


def opened(parser: Any, fields: dict[bytes, bytes]) -> bytes:
    """What a handshake is answered."""

    async def steps() -> bytes:
        interface = Asgi3Interface(accepts, loop=asyncio.get_running_loop(), sessions=sessions())
        talk = Conversation(parser, interface)
        lines = [b"%b: %b\r\n" % pair for pair in fields.items()]
        talk.feed(b"GET / HTTP/1.1\r\n" + b"".join(lines) + b"\r\n")
        await ended(interface)
        assert not talk.failures
        return talk.output

    return asyncio.run(steps())


@pytest.mark.parametrize("parser", PARSERS)
def test_cve_2026_42544_no_byte_of_a_handshake_ends_a_worker(parser: Any) -> None:
    """granian: a non-ASCII byte in Sec-WebSocket-Protocol. The good one is taken."""
    assert opened(parser, HANDSHAKE).startswith(b"HTTP/1.1 101 ")
    for name, value in HANDSHAKE.items():
        for bad in (b"\x80\xff", b"\x85", b"\xa0", b"\xff", "\u2028".encode()):
            for changed in (bad, bad + value, value + bad, value + b", " + bad):
                answer = opened(parser, {**HANDSHAKE, name: changed})
                # Without Upgrade in Connection it is a plain request, which `accepts` fails.
                assert answer.split(b" ")[1] in (b"400", b"403", b"426", b"500"), (name, changed)
                assert bad not in answer


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("byte", [b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e"])
def test_cve_2026_44546_no_line_ends_but_by_crlf_in_a_handshake(parser: Any, byte: bytes) -> None:
    """daphne: what str.splitlines takes for the end of a line hid fields from one of two parsers."""
    for name, value in HANDSHAKE.items():
        hidden = value + byte + b"X-Forwarded-For: 6.6.6.6"
        assert opened(parser, {**HANDSHAKE, name: hidden}).startswith(b"HTTP/1.1 400 ")


def test_cve_2026_42544_2026_44546_nor_over_http2() -> None:
    async def steps() -> None:
        interface = Asgi3Interface(accepts, loop=asyncio.get_running_loop(), sessions=sessions())
        talk = Http2Conversation(interface)
        number = -1
        for name in ("sec-websocket-protocol", "sec-websocket-extensions", "origin"):
            for bad in ("\x80\xff", "a\x85", "a\x0bb", "a\x1cb"):
                number += 2
                pseudo = {":method": "CONNECT", ":protocol": "websocket", ":scheme": "http"}
                fields = {**pseudo, ":path": "/", ":authority": "a", "sec-websocket-version": "13"}
                talk.send(headers(number, block({**fields, name: bad}), end=False))
                await ended(interface)
                reply = talk.replies[number]
                assert reply.status == 400 or reply.reset is not None
        assert not talk.closed

    asyncio.run(steps())


def close_code(client: Client) -> int | None:
    codes = [int.from_bytes(data[:2], "big") for kind, data in client.frames() if kind == CLOSE]
    return codes[0] if codes else None


def bomb(size: int) -> bytes:
    """`size` zero bytes as the payload of a compressed message."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (deflater.compress(bytes(size)) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize("codec", CODECS)
def test_cve_2018_1000518_a_bomb_is_not_inflated(codec: type[Codec]) -> None:
    """websockets; wsproto inflates without a bound to this day, so no codec does it here."""
    payload = bomb(100 << 20)
    offer = [(b"sec-websocket-extensions", b"permessage-deflate")]
    client = Client.accepted(codec=codec, max_size=1 << 20, opening_fields=offer)
    tracemalloc.start()
    try:
        client.send_bytes(masked(TEXT, payload, rsv1=True))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert close_code(client) == 1009
    assert peak < 4 << 20


@pytest.mark.parametrize("codec", CODECS)
def test_cve_2026_44545_2021_21419_a_message_has_a_largest_size(codec: type[Codec]) -> None:
    """daphne, eventlet: none. Told by a frame's head, or by the fragments so far."""
    client = Client.accepted(codec=codec, max_size=1 << 20)
    client.send_bytes(masked(TEXT, bytes(17 << 20))[:20])
    assert close_code(client) == 1009
    client = Client.accepted(codec=codec, max_size=1 << 20)
    client.send_bytes(masked(TEXT, bytes(1 << 19), fin=False))
    client.send_bytes(masked(CONTINUATION, bytes(1 << 19), fin=False))
    assert close_code(client) is None
    client.send_bytes(masked(CONTINUATION, b"x", fin=False))
    assert close_code(client) == 1009


# --- who the client is ----------------------------------------------------------------------------

FORWARDED = [
    ("x-forwarded-for", "6.6.6.6"),
    ("x_forwarded_for", "6.6.6.6"),
    ("x-real-ip", "6.6.6.6"),
    ("forwarded", "for=6.6.6.6"),
    ("x-forwarded-for", "192.0.2.1"),
]


def clients(trusted: str) -> Iterator[tuple[Any, list[bytes]]]:
    """The client and the forwarding fields an application sees, on every wire."""
    seen: list[Exchange] = []

    def handler(exchange: Exchange) -> None:
        seen.append(exchange)
        hello(exchange)

    handle = proxy_headers(handler, TrustedPeers([trusted]))
    lines = "".join(f"{name}: {value}\r\n" for name, value in FORWARDED)
    for parser in PARSERS:
        Conversation(parser, handle).feed(f"GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode())
    Http2Conversation(handle).send(request(1, "GET", "/", *FORWARDED))
    assert len(seen) == 3
    for exchange in seen:
        yield exchange.head.client, [name for name, _ in exchange.head.headers if name != b"host"]


def test_waitress_3_0_2_uvicorn_0_48_a_stranger_does_not_say_who_it_is() -> None:
    for client, names in clients("192.0.2.200"):
        assert client == ("203.0.113.7", 50000)
        assert names == []


def test_waitress_3_0_2_uvicorn_0_49_of_several_lines_the_last_proxy_is_believed() -> None:
    for client, names in clients("203.0.113.7"):
        assert client == ("192.0.2.1", 0)
        assert b"x_forwarded_for" not in names


# --- logs -----------------------------------------------------------------------------------------

# What ends a line to somebody, or is obeyed by a terminal, or turns a line around.
NASTY = '\r\n\x1b[2J\x00\x07\x7f\x85\x9b\u2028\u2029\u202e"\\'
FORMATS = [
    *PRESETS,
    "json",
    " ".join(
        f"%({name})s"
        for name in (
            "h", "addr", "u", "r", "m", "target", "U", "q", "H", "scheme", "f", "a", "mount", "s",
            "{host}i", "{x-a}i", "{cookie}i", "{x-b}o", "{PATH_INFO}e", "{QUERY_STRING}e",
            "{HTTP_X_A}e", "{SCRIPT_NAME}e", "{REMOTE_ADDR}e", "{CONTENT_TYPE}e",
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("line_format", FORMATS)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(text=st.text(st.one_of(st.characters(), st.sampled_from(NASTY)), min_size=1, max_size=12))
def test_cve_2020_7694_a_line_of_the_access_log_is_one_printable_line(
    line_format: str, text: str
) -> None:
    """uvicorn: escape sequences in a path. On every wire, in every place a client has."""
    lines: list[str] = []

    def answer(exchange: Exchange) -> None:
        exchange.start(200, [(b"x-b", b"caf\xe9 \x85")], b"")

    handle = access_log(answer, lines.append, format=line_format)
    encoded = "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))
    raw = text.encode("utf-8", "surrogatepass")
    values = [b"Referer: %b", b"User-Agent: %b", b"X-A: %b", b"Cookie: %b", b"Content-Type: %b"]
    for parser in PARSERS:
        talk = Conversation(parser, handle)
        talk.feed(
            f"GET /{encoded}?{encoded} HTTP/1.1\r\nHost: a\r\n"
            f"Authorization: Basic {encode_base64(raw)}\r\n\r\n".encode()
        )
        for value in values:
            Conversation(parser, handle).feed(
                b"GET / HTTP/1.1\r\nHost: a\r\n" + value.replace(b"%b", raw) + b"\r\n\r\n"
            )
    talk = Http2Conversation(handle)
    talk.send(request(1, "GET", f"/{encoded}?{encoded}"))
    latin = raw.decode("latin-1")
    talk.send(headers(3, block([*PSEUDO, ("user-agent", latin), ("x-a", latin)])))
    assert len(lines) >= 3
    for line in lines:
        assert line.isprintable(), line


PSEUDO = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")]


def encode_base64(raw: bytes) -> str:
    return b64encode(raw + b":x").decode()


def test_json_lines_are_json_whatever_was_sent() -> None:
    lines: list[str] = []
    handle = access_log(hello, lines.append, format="json")
    talk = Conversation(PARSERS[0], handle)
    talk.feed(
        b'GET /%0a%22%7d%1b%7f%c2%85?%e2%80%a8"} HTTP/1.1\r\nHost: a\r\n'
        b'User-Agent: "}\\\x85\xff\r\n\r\n'
    )
    (line,) = lines
    assert line.isascii()
    assert json.loads(line)["path"] == '/\n"}\x1b\x7f\x85'


@pytest.mark.parametrize("wire", ["http1", "http2"])
def test_cve_2020_7694_nor_does_the_error_log_obey_a_client(
    wire: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every line that the gateway writes about a request: refused, failed, or cut."""
    caplog.set_level(logging.DEBUG, logger="gateway")
    path = "/%0aINFO:%20forged%1b[2J%7f%c2%85"

    def fails(exchange: Exchange) -> None:
        raise ValueError("of the application's own")

    talk: Conversation
    handler: Handler = fails
    if wire == "http1":
        for parser in PARSERS:
            Conversation(parser, handler).feed(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            for bad in (b"GET /\x1b[2J\nINFO: x HTTP/1.1\r\n\r\n", b"\nINFO: forged\r\n\r\n"):
                Conversation(parser, handler).feed(bad)
    else:
        talk = Http2Conversation(handler)
        talk.send(request(1, "GET", path))
        for number, field in enumerate((":path", ":authority", ":method", ":scheme", "x")):
            fields = {**dict(PSEUDO), field: "a\nINFO: forged\x1b[2J"}
            talk.send(headers(2 * number + 3, block(fields)))
        talk.send(data(99, b"on a stream that is none"))
    records = [record for record in caplog.records if record.name.startswith("gateway")]
    assert len(records) >= 2
    formatter = LevelFormatter(color=False, worker=None)
    for record in records:
        assert record.getMessage().isprintable()
        record.exc_info = record.exc_text = None  # a traceback has lines, and is escaped as well
        assert "\n" not in formatter.format(record)


@pytest.mark.parametrize("codec", CODECS)
def test_cve_2020_7694_nor_the_reason_of_a_close_frame(
    codec: type[Codec], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="gateway")
    client = Client.accepted(codec=codec)
    client.send_bytes(masked(CLOSE, (4000).to_bytes(2, "big") + b"\nINFO: forged\x1b[2J"))
    assert client.session.closed == (4000, "\nINFO: forged\x1b[2J")
    line = compile_format("default")(client.exchange)
    assert line.isprintable()
    assert all(record.getMessage().isprintable() for record in caplog.records)
