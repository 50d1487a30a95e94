"""What a conformance case is, which outcomes there are, and how one is observed.

An outcome is a line of text: ``GOAWAY PROTOCOL_ERROR``, ``RST_STREAM CANCEL``, ``200``,
``ignored``, ``alive``, ``closed``. A case names all that conform.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple, TypeAlias

import hpack
from http2_client import (
    PREFACE,
    ConnectionCut,
    ErrorCode,
    Frame,
    Http2Client,
    Pair,
    StreamReset,
    Type,
    Values,
    headers,
    ping,
    request_fields,
    settings,
)

__all__ = [
    "ALIVE",
    "CLOSED",
    "IGNORED",
    "MALFORMED",
    "OK",
    "REFUSED",
    "Case",
    "Outcomes",
    "Requests",
    "Step",
    "answered",
    "block",
    "ends",
    "fails",
    "judge",
    "opening",
    "refused",
    "reset_seen",
    "resets",
]

Step: TypeAlias = "bytes | Callable[[Http2Client], object]"
Outcomes: TypeAlias = "frozenset[str]"

OK: Outcomes = frozenset({"200"})
IGNORED: Outcomes = frozenset({"ignored"})
ALIVE: Outcomes = frozenset({"alive"})  # a PING is answered; nothing is asked of what follows
CLOSED: Outcomes = frozenset({"closed"})


def ends(*codes: ErrorCode) -> Outcomes:
    """A connection error: GOAWAY with one of `codes`, then the connection is closed."""
    return frozenset(f"GOAWAY {code.name}" for code in codes)


def resets(*codes: ErrorCode) -> Outcomes:
    """A stream error and nothing worse."""
    return frozenset(f"RST_STREAM {code.name}" for code in codes)


def fails(*codes: ErrorCode) -> Outcomes:
    """A stream error, which an endpoint may treat as one of the connection (section 5.4.2)."""
    return resets(*codes) | ends(*codes)


def refused(*statuses: int) -> Outcomes:
    """An answer that refuses the request, or a malformed request's stream error."""
    return frozenset(str(status) for status in statuses) | resets(ErrorCode.PROTOCOL_ERROR)


# A connection error would conform too (5.4.2), and take the siblings along: one bad request behind
# a proxy would end those of its other users.
MALFORMED = resets(ErrorCode.PROTOCOL_ERROR)
# Where RFC 9113 says "malformed" but an answer that tells why is as safe (8.1.1), or says SHOULD.
REFUSED = refused(400)


class Case(NamedTuple):
    """name: its section first; with a slash, the number it has in h2spec.

    steps: bytes, each a write of its own, and what is done between them. outcomes: those that
    conform. stream: the one that is watched. values: the client's settings. raw: nothing is sent
    before the first step, not even the preface.
    """

    name: str
    steps: tuple[Step, ...]
    outcomes: Outcomes
    stream: int = 1
    values: Values | None = None
    raw: bool = False


def block(fields: Iterable[Pair]) -> bytes:
    """A header block that neither makes nor needs entries of the dynamic table."""
    never_indexed = [(name, value, True) for name, value in fields]
    encoded: bytes = hpack.Encoder().encode(never_indexed)
    return encoded


class Requests:
    """Frames of good requests in one scheme."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme

    def fields(self, path: str = "/", *extra: Pair, method: str = "GET") -> list[Pair]:
        return request_fields(method, path, *extra, scheme=self.scheme)

    def block(self, path: str = "/", *extra: Pair, method: str = "GET") -> bytes:
        return block(self.fields(path, *extra, method=method))

    def get(self, stream: int, path: str = "/", *extra: Pair) -> bytes:
        return headers(stream, self.block(path, *extra), end=True)

    def post(self, stream: int, path: str = "/", *extra: Pair) -> bytes:
        """The head; the body is open."""
        return headers(stream, self.block(path, *extra, method="POST"))

    def hold(self, stream: int) -> bytes:
        """A complete request that is not answered: the stream stays half-closed (remote)."""
        return self.get(stream, "/hold")


# --- steps ----------------------------------------------------------------------------------------


def answered(stream: int) -> Step:
    """Wait for the whole response."""

    def step(client: Http2Client) -> None:
        assert client.response(stream).status == 200

    return step


def reset_seen(stream: int) -> Step:
    """Wait for the server's RST_STREAM."""

    def step(client: Http2Client) -> None:
        with suppress(StreamReset):
            client.response(stream)
        assert client.streams[stream].reset is not None

    return step


# --- the judge ------------------------------------------------------------------------------------

_ASKED, _AFTER = b"\xffasked\xff\xff", b"\xffafter\xff\xff"
_LAST = 0x7FFFFFF1  # a stream above all those of the cases but one


def judge(client: Http2Client, case: Case) -> str:
    """Play the case; its outcome, after which the connection must be closed or as good as new."""
    with suppress(ConnectionCut):  # the outcome is in what came before
        if not case.raw:
            client.start(case.values)
            client.settle()
        for step in case.steps:
            if isinstance(step, bytes):
                client.send(step)
            else:
                step(client)
    outcome = _outcome(client, case)
    if client.log:
        # Section 3.4: the server's preface is a SETTINGS frame, whatever it says after that.
        assert (client.log[0].type, client.log[0].is_ack) == (Type.SETTINGS, False), client.log
    if outcome.startswith("GOAWAY"):
        left = client.rest()
        assert not any(got.type == Type.GOAWAY for got in left), left
    elif outcome not in CLOSED | ALIVE and case.stream < _LAST:
        _still_serves(client)
    return outcome


def _outcome(client: Http2Client, case: Case) -> str:
    """What the log tells of the watched stream and the connection, and then what comes."""
    asked = bool(case.outcomes & (IGNORED | ALIVE))
    if asked:
        client.send(ping(_ASKED))
    try:
        at = 0
        while True:
            got = client.log[at] if at < len(client.log) else client.read_frame()
            at += 1
            if found := _told(client, case, got):
                return found
            state = client.streams.get(case.stream)
            if state is not None and state.ended and not asked:
                # A response is no end: an error may follow it, before this is answered.
                asked = True
                client.send(ping(_AFTER))
    except ConnectionCut:
        return "closed"


def _told(client: Http2Client, case: Case, got: Frame) -> str:
    if got.type == Type.GOAWAY:
        return f"GOAWAY {ErrorCode(got.code).name}"
    if got.type == Type.RST_STREAM and got.stream == case.stream:
        whole = client.streams[got.stream].ended and got.code == ErrorCode.NO_ERROR
        return "" if whole else f"RST_STREAM {ErrorCode(got.code).name}"  # section 8.1
    if got.type == Type.PING and got.payload == _ASKED:
        return "alive" if ALIVE & case.outcomes else "ignored"
    if got.type == Type.PING and got.payload == _AFTER:
        response = client.streams[case.stream].response
        assert response is not None
        return str(response.status)
    return ""


def _still_serves(client: Http2Client) -> None:
    """The connection's state, HPACK's too, is the same on both sides."""
    client.send(headers(_LAST, Requests(client.scheme).block(), end=True))
    client.head(_LAST)
    if client.streams[_LAST].credit < 5:
        client.grant(_LAST, 5)
    assert client.response(_LAST).body == b"Hello"


def opening(values: Values | None = None) -> bytes:
    """A client's preface, for raw cases."""
    return PREFACE + settings(values or {})
