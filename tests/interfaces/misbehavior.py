"""Applications that break the rules, on the real wires; what must hold whatever they do.

seen = misbehave(asgi_interface, app, "http2")
assert seen.outcome == "500"

`misbehave` itself asserts: every byte on the wire belongs to a well-formed message; nothing
but a cut ends one early; the gateway's own code never failed; each line of the log is one record
without a control character; the same mount answers the next request.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final, Literal, TypeAlias

from hypothesis import strategies as st
from protocols.harness import PARSERS, Conversation
from protocols.http2_harness import Http2Conversation, block, data, headers, request
from websocket.fakes import KEY, masked, unmasked

from gateway.exchange import Exchange, Handler
from gateway.interfaces.asgi3 import Asgi3Interface
from gateway.interfaces.wsgi import WsgiInterface
from gateway.log_format import LevelFormatter
from gateway.protocols.http2_errors import ErrorCode
from gateway.websocket.codec import CLOSE
from gateway.websocket.frames import FrameCodec
from gateway.websocket.session import SessionOptions

__all__ = [
    "WIRES",
    "Outcome",
    "Seen",
    "Wire",
    "anything",
    "asgi_interface",
    "label",
    "leaves",
    "misbehave",
    "wsgi_interface",
]

Wire: TypeAlias = Literal["http1", "http1.0", "http2"]
WIRES: Final[tuple[Wire, ...]] = ("http1", "http1.0", "http2")

Outcome: TypeAlias = str
"""What the client sees: a complete response by its status ("200"), "cut", or "closed"."""

Interface: TypeAlias = "Asgi3Interface | WsgiInterface"
MakeInterface: TypeAlias = "Callable[[Any], Interface]"

_SESSIONS: Final = SessionOptions(
    codec=FrameCodec,
    max_size=1 << 20,
    max_queue=32,
    ping_interval=None,
    ping_timeout=None,
    lifetime=None,
    handshake_timeout=30.0,
    deflate=False,
    shutdown_code=1012,
)
_HEAD: Final = re.compile(
    rb"HTTP/1\.1 ([1-9][0-9]{2}) [\x20-\x7e]*\r\n"
    rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [\t\x20-\x7e\x80-\xff]*\r\n)*)\r\n"
)
_FIELD: Final = re.compile(rb"([^:]+): ([^\r]*)\r\n")
_CHUNK: Final = re.compile(rb"([0-9a-f]+)\r\n")
_TRAILERS: Final = re.compile(
    rb"0\r\n(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [\t\x20-\x7e\x80-\xff]*\r\n)*\r\n"
)
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TURNS: Final = 2000


@dataclass
class Seen:
    """What came of one request. body: as far as it came. errors: records of the error log."""

    outcome: Outcome
    body: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    frames: list[tuple[int, bytes]] = field(default_factory=list)
    errors: list[logging.LogRecord] = field(default_factory=list)

    @property
    def words(self) -> str:
        """What the log says, tracebacks included."""
        return "\n".join(map(_line, self.errors))


def label(value: object) -> str:
    """The name of a case: the same in every process, as parallel runs need it."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))[:60]


def asgi_interface(app: Any) -> Interface:
    """One mount of an ASGI application on the running loop."""
    return Asgi3Interface(app, loop=asyncio.get_running_loop(), sessions=_SESSIONS)


def wsgi_interface(app: Any) -> Interface:
    """One mount of a WSGI application on the running loop, with one thread."""
    return WsgiInterface(app, loop=asyncio.get_running_loop(), threads=1)


def misbehave(
    make: MakeInterface,
    app: Any,
    wire: Wire,
    *,
    method: str = "GET",
    websocket: bool = False,
    encrypted: bool = False,
) -> Seen:
    """One request to ``/bad``, then one to ``/good``, which the application has to answer "good".

    encrypted: the wire copies files, as it does over TLS; else it would need a socket.
    """
    return asyncio.run(_misbehave(make, app, wire, method, websocket, encrypted))


async def _misbehave(
    make: MakeInterface, app: Any, wire: Wire, method: str, websocket: bool, encrypted: bool
) -> Seen:
    interface = make(app)
    with _records() as records:
        talk = _connect(interface, wire, encrypted)
        if not isinstance(talk, Http2Conversation):
            talk.feed(_upgrade() if websocket else _request(method, "/bad", wire))
        else:
            talk.send(_connect_request() if websocket else _request2(1, method, "/bad"))
        await _settled(talk, interface)
        if websocket:
            _answer_close(talk)
        seen = _read(talk, method)
        seen.errors = [each for each in records if each.levelno >= logging.WARNING]
        again = talk if _takes_more(talk, seen) else _connect(interface, wire, encrypted)
        await _ask_good(again, interface, wire)
    for each in records:
        assert "the gateway failed" not in each.getMessage()
        line = _line(each)
        assert not _CONTROLS.search(line), line
    if isinstance(interface, WsgiInterface):
        assert await interface.shutdown(5) == 0
    return seen


def _line(record: logging.LogRecord) -> str:
    return LevelFormatter(color=False, worker=None).format(record)


@contextmanager
def _records() -> Iterator[list[logging.LogRecord]]:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("gateway.error")
    logger.addHandler(handler)
    was, logger.propagate = logger.propagate, False
    try:
        yield records
    finally:
        logger.removeHandler(handler)
        logger.propagate = was


# --- any Python object ----------------------------------------------------------------------------


class Stubborn:
    """An object that answers nothing."""

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")


class Bytes(bytes):
    """Bytes of somebody's own class."""


_TELLING: Final = (
    b"", b"a", b"x-a", b"Content-Length", b"content-length", b"5", b"0", b"connection", b"close",
    b"transfer-encoding", b"chunked", b"a\r\nb", "a\r\nb", "\ud800", "200 OK", "content-length",
    200, 204, 304, 205, 404, 500, 103, 101, 100, float("nan"), HTTPStatus.OK, Decimal(200),
    int, len, ..., NotImplemented, ValueError("x"),
)  # fmt: skip

leaves: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 1200),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.binary(max_size=6),
    st.sampled_from(_TELLING),
    st.binary(max_size=5).map(bytearray),
    st.binary(max_size=5).map(memoryview),
    st.binary(max_size=5).map(Bytes),
    st.builds(object),
    st.builds(Stubborn),
)
anything: Final = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3), inner, max_size=2),
        st.sets(st.integers(), max_size=2),
        st.lists(inner, max_size=2).map(iter),
    ),
    max_leaves=5,
)
"""Any Python object an application may put where another one belongs."""


# --- the client's side ----------------------------------------------------------------------------


def _connect(handler: Handler, wire: Wire, encrypted: bool) -> Conversation:
    if wire == "http2":
        return Http2Conversation(handler)
    return Conversation(PARSERS[0], handler, loop=asyncio.get_running_loop(), tls=encrypted)


def _request(method: str, path: str, wire: Wire) -> bytes:
    version = "1.0" if wire == "http1.0" else "1.1"
    te = "TE: trailers\r\nConnection: TE\r\n"
    return f"{method} {path} HTTP/{version}\r\nHost: a\r\n{te}\r\n".encode()


def _request2(stream: int, method: str, path: str) -> bytes:
    return request(stream, method, path, ("te", "trailers"))


def _upgrade() -> bytes:
    return (
        b"GET /bad HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
    )


def _connect_request() -> bytes:
    """Extended CONNECT (RFC 8441)."""
    fields = {":method": "CONNECT", ":protocol": "websocket", ":scheme": "http", ":path": "/bad"}
    section = block({**fields, ":authority": "a", "sec-websocket-version": "13"})
    return headers(1, section, end=False)


async def _settled(talk: Conversation, interface: Interface) -> None:
    """Let the application run to its end."""
    for turn in range(_TURNS):
        await asyncio.sleep(0 if turn < 50 else 0.001)
        talk.settle()
        if isinstance(interface, Asgi3Interface):
            if not interface.calls:
                break
        elif not interface.pool.busy and not interface.pool.waiting and _is_over(talk.exchanges):
            break
    else:
        raise AssertionError("the application is still running")
    await asyncio.sleep(0)
    talk.settle()
    assert not talk.failures


def _answer_close(talk: Conversation) -> None:
    """What a client sends back where it was sent a close frame."""
    frame = masked(CLOSE, (1000).to_bytes(2, "big"))
    if not isinstance(talk, Http2Conversation):
        if talk.output.startswith(b"HTTP/1.1 101 "):
            talk.feed(frame)
    elif (reply := talk.replies[1]).status == 200 and not reply.ended and reply.reset is None:
        talk.send(data(1, frame, end=True))


def _is_over(exchanges: list[Exchange]) -> bool:
    return all(exchange.finished for exchange in exchanges)


def _takes_more(talk: Conversation, seen: Seen) -> bool:
    if isinstance(talk, Http2Conversation):
        return not talk.closed
    return talk.state == "open" and not seen.frames and seen.outcome != "101"


async def _ask_good(talk: Conversation, interface: Interface, wire: Wire) -> None:
    if isinstance(talk, Http2Conversation):
        stream = 3 if 1 in talk.replies else 1
        talk.send(_request2(stream, "GET", "/good"))
        await _settled(talk, interface)
        reply = talk.replies[stream]
        assert (reply.status, reply.body, reply.ended) == (200, b"good", True)
    else:
        before = len(talk.output)
        talk.feed(_request("GET", "/good", wire))
        await _settled(talk, interface)
        assert talk.output[before:].startswith(b"HTTP/1.1 200 OK\r\n")
        assert talk.output.endswith(b"\r\n\r\ngood")


# --- what came back -------------------------------------------------------------------------------


def _read(talk: Conversation, method: str) -> Seen:
    if isinstance(talk, Http2Conversation):
        return _read_stream(talk)
    return _read_http1(talk.output, talk.state, method)


def _read_stream(talk: Http2Conversation) -> Seen:
    assert talk.error is None
    assert talk.ended_once
    reply = talk.replies[1]
    for name, value in reply.headers + reply.trailers:
        assert _NAME.fullmatch(name), name
        assert _VALUE.fullmatch(value), value
    assert reply.ended or reply.reset is not None, "a stream that nobody ends"
    if reply.status is not None:
        assert 200 <= reply.status <= 999
    tunnel = talk.exchanges[0].head.upgrade is not None and reply.status == 200
    frames = unmasked(reply.body) if tunnel else []
    # After a whole response a reset says that the rest of the request is not wanted (section 8.1).
    whole = reply.ended and reply.reset in (None, ErrorCode.NO_ERROR)
    outcome = "101" if tunnel and whole else str(reply.status) if whole else "cut"
    return Seen(outcome, reply.body, reply.headers, reply.interim, reply.trailers, frames)


def _read_http1(output: bytes, state: str, method: str) -> Seen:
    interim: list[int] = []
    while True:
        if not output:
            assert state != "open", "no answer"
            return Seen("cut" if state == "cut" else "closed", interim=interim)
        head = _HEAD.match(output)
        assert head is not None, output[:200]
        output = output[head.end() :]
        status = int(head[1])
        if not 100 <= status <= 199 or status == 101:
            break
        interim.append(status)
    headers = [(name.lower(), value) for name, value in _FIELD.findall(head[2])]
    seen = Seen(str(status), headers=headers, interim=interim)
    fields = dict(headers)
    names = [name for name, _ in headers]
    for single in (b"content-length", b"transfer-encoding", b"date", b"server"):
        assert names.count(single) <= 1
    if status == 101:
        seen.frames = unmasked(output)
    elif method == "HEAD" or status in (204, 304):
        assert not output
        assert b"transfer-encoding" not in fields
    elif b"transfer-encoding" in fields:
        assert b"content-length" not in fields
        seen.body, complete = _read_chunks(output)
        if not complete:
            seen.outcome = "cut"
    elif b"content-length" in fields:
        length = int(fields[b"content-length"])
        assert len(output) <= length, "more than was declared"
        seen.body = output
        if len(output) < length:
            seen.outcome = "cut"
    else:
        assert state != "open", "a body without an end"
        seen.body = output
        if state == "cut":
            seen.outcome = "cut"
    if seen.outcome == "cut":
        assert state == "cut", "an incomplete response, and no cut"
    return seen


def _read_chunks(output: bytes) -> tuple[bytes, bool]:
    body = b""
    while output:
        if (end := _TRAILERS.match(output)) is not None:
            assert end.end() == len(output), output[end.end() :]
            return body, True
        size = _CHUNK.match(output)
        assert size is not None, output[:100]
        length = int(size[1], 16)
        start = size.end()
        chunk = output[start : start + length]
        body += chunk
        ending = output[start + length : start + length + 2]
        assert len(chunk) == length, "half a chunk"
        assert ending == b"\r\n"
        output = output[start + length + 2 :]
    return body, False
