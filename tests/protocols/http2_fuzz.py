"""Random HTTP/2: frames of any kind, and conversations that have gone wrong.

`problem` says what is wrong with the reactions to some bytes: anything but frames, a GOAWAY or a
close, an exchange that does not end or ends twice, another reaction when the bytes come in other
segments, a connection that waits for ever.
"""

from __future__ import annotations

import tempfile
from random import Random
from typing import NamedTuple

from gateway.exchange import ClientGone, Exchange, ResponseError
from gateway.protocols.http2_frames import (
    DATA,
    END_STREAM,
    HEADERS,
    PREFACE,
    PRIORITY_UPDATE,
    RST_STREAM,
)

from .http2_harness import (
    Http2Conversation,
    block,
    connect,
    continuation,
    data,
    frame,
    goaway,
    headers,
    ping,
    priority,
    request,
    reset,
    settings,
    window_update,
)

__all__ = ["conversation", "problem"]

KINDS = (*range(10), PRIORITY_UPDATE, 0x77)
NUMBERS = (0, 1, 2, 5, 100, 0x3FFF, 0x4000, 65_535, 1 << 20, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
GET = {":method": "GET", ":scheme": "http", ":path": "/", ":authority": "a"}
FIELDS = (
    ("x", "y"), ("content-length", "5"), ("content-length", "0"), ("expect", "100-continue"),
    ("te", "trailers"), ("cookie", "a=b"), ("X", "y"), ("connection", "close"), (":path", "/"),
    ("host", "b"), ("x", "y" * 5000), ("upgrade", "h2c"), ("", ""), ("x", " y"), ("x", "a\0b"),
)  # fmt: skip


class Outcome(NamedTuple):
    """What must not depend on how bytes were cut into segments."""

    requests: tuple[object, ...]
    error: int | None
    resets: frozenset[tuple[int, int | None]]


def _a_frame(random: Random, last: int, live: list[int]) -> bytes:
    """Right or wrong, more often right.

    last: the highest stream so far. live: those whose request has not ended.
    """
    stream = random.choice(live or [last])
    if random.random() < 0.05:
        stream = random.choice((0, 1, last, last + 2, last + 1))
    number = random.choice(NUMBERS if random.random() < 0.2 else NUMBERS[1:5])
    extra = [random.choice(FIELDS) for _ in range(random.choice((0, 0, 0, 1, 3)))]
    section = block([*GET.items(), *extra] if random.random() < 0.9 else extra)
    pad = random.choice((None, None, 0, 3, 255))
    end = random.random() < 0.5
    cut = random.randint(0, len(section))
    kind = random.randrange(14) if random.random() < 0.97 else 14
    match kind:
        case 0 | 1 | 2 | 3:
            new = last + 2 if random.random() < 0.8 else stream
            return headers(
                new, section[:16_000], end=end, pad=pad, depends=random.choice((None, 0))
            )
        case 4:
            halves = headers(last + 2, section[:cut][:16_000], end=end, whole=False)
            return halves + continuation(last + 2, section[cut:][:16_000])
        case 5 | 6 | 7:
            return data(stream, bytes(random.choice((0, 1, 5, 1000, 16_000))), end=end, pad=pad)
        case 8:
            pairs = [(4, number), (1, number), (3, number), (5, 16_384 + number % 100), (2, 0)]
            return settings(random.sample(pairs, random.randrange(3)))
        case 9:
            return window_update(stream, number)
        case 10:
            return reset(stream, number)
        case 11:
            return random.choice((ping(), ping(ack=True), settings(), goaway(), priority(stream)))
        case 12:
            return connect(last + 2, end=end)
        case 13:
            return request(
                last + 2, random.choice(("HEAD", "OPTIONS", "BREW")), *extra[:0], end=end
            )
        case _:
            payload = random.randbytes(random.choice((0, 1, 4, 5, 8, 9, 40)))
            return frame(random.choice(KINDS), random.randrange(256), stream, payload)


def conversation(random: Random) -> bytes:
    """The bytes of a client that begins well and goes on with frames of any kind."""
    parts = [PREFACE, settings({}), settings(), request(1, "POST", end=False)]
    last, live = 1, [1]
    for _ in range(random.choice((1, 3, 10, 30))):
        got = _a_frame(random, last, live)
        parts.append(got)
        kind, ends = got[3], got[4] & END_STREAM
        stream = int.from_bytes(got[5:9], "big") & 0x7FFF_FFFF
        if kind == HEADERS and stream & 1 and last < stream < 0x7FFF_FF00:
            last = stream
            live.append(stream)
        if stream in live and (kind == RST_STREAM or (kind in (DATA, HEADERS) and ends)):
            live.remove(stream)
    whole = b"".join(parts)
    for _ in range(random.choice((0, 0, 0, 0, 1, 4))):
        at = random.randrange(24 if random.random() < 0.9 else 0, len(whole))
        change = random.choice((b"", random.randbytes(1), random.randbytes(9)))
        whole = whole[:at] + change + whole[at + random.choice((0, 1, 9)) :]
    return whole


def _outcome(talk: Http2Conversation) -> Outcome:
    resets = frozenset((number, each.reset) for number, each in talk.replies.items())
    return Outcome(tuple(talk.requests), talk.error, resets)


class _Careless:
    """An application that does what it likes with its exchange, on any news."""

    messages_received = messages_sent = 0

    def __init__(self, exchange: Exchange, random: Random) -> None:
        self._exchange = exchange
        self._random = random
        exchange.listener = self
        if exchange.head.upgrade is not None and random.random() < 0.7:
            exchange.tunnel = self
        self._act()

    def _act(self) -> None:
        exchange, random = self._exchange, self._random
        size = random.choice((0, 1, 1000, 20_000, 100_000))
        more = random.random() < 0.6
        try:
            match random.randrange(9):
                case 0:
                    exchange.read()
                case 1 if exchange.tunnel is not None and exchange.status is None:
                    exchange.open_tunnel(200, [])
                case 1 | 2:
                    exchange.start(200, [], bytes(size), more, random.random() < 0.2)
                case 3 | 4:
                    exchange.write(bytes(size), more)
                case 5 if exchange.status is not None:
                    file = tempfile.TemporaryFile()  # noqa: SIM115 - the exchange closes it
                    file.truncate(size)
                    exchange.send_file(file, 0, random.choice((size, size, size + 1)), more)
                case 6:
                    exchange.send_trailers([(b"x", b"y")])
                case 7:
                    exchange.send_informational(103, [])
                case 8 if random.random() < 0.3:
                    exchange.abort()
        except (ClientGone, ResponseError):
            pass

    def on_readable(self) -> None:
        self._act()

    def on_writable(self) -> None:
        self._act()

    def on_gone(self) -> None:
        self._act()

    def on_bytes(self, data: bytes) -> bool:
        self._act()
        return self._random.random() < 0.5

    def on_deadline(self) -> None:
        self._act()

    def on_shutdown(self) -> None:
        self._act()


def problem(random: Random, whole: bytes) -> str:
    """What is wrong with the reactions to `whole`; "" if nothing is. Raises what a server raises."""
    return _differs(random, whole) or _goes_wrong(random, whole)


def _differs(random: Random, whole: bytes) -> str:
    """With an application that answers without a body, so that no window plays a part."""
    first: Outcome | None = None
    cuts = sorted(random.sample(range(len(whole)), min(len(whole), 6)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    each_byte = [whole[at : at + 1] for at in range(len(whole))] if len(whole) < 2000 else pieces
    for way in ([whole], pieces, each_byte):
        talk = Http2Conversation(answer=lambda exchange: exchange.start(200, []), start=False)
        for piece in way:
            talk.feed(piece)
        outcome = _outcome(talk)
        talk.lose()
        if talk.failures or not talk.ended_once:
            return f"in {len(way)} segments: {talk.failures or 'an exchange did not end once'}"
        if first is not None and outcome != first:
            return f"in 1 segment: {first}\n  in {len(way)}: {outcome}"
        first = outcome
    return ""


def _goes_wrong(random: Random, whole: bytes) -> str:
    """With applications, a network and a server that do what they like."""
    applications: list[_Careless] = []
    talk = Http2Conversation(
        lambda exchange: applications.append(_Careless(exchange, random)), start=False
    )
    size = random.choice((1 << 20, 100, 1000))
    for at in range(0, len(whole), size):
        talk.feed(whole[at : at + size])
        match random.randrange(12):
            case 0:
                talk.transport.peer_stops_reading()
            case 1:
                talk.transport.peer_reads()
            case 2:
                talk.run(talk.http2.drain)
            case 3 if applications:
                talk.run(random.choice(applications).on_readable)
            case 4:
                talk.pass_time(random.choice((1, 20, 70)))
            case 5 if random.random() < 0.1:
                talk.run(talk.http2.cut)
            case 6 if random.random() < 0.1:
                talk.eof()
    if random.random() < 0.5:
        talk.transport.peer_reads()
        talk.settle()
        assert talk.frames is not None
    talk.pass_time(10)
    if talk.transport.state != "lost" and talk.connection.deadline > talk.clock.now + 3600:
        return f"waits for ever: {talk.http2!r}"
    talk.lose()
    talk.settle()
    if talk.failures:
        return f"raised {talk.failures}"
    return "" if talk.ended_once else f"ended {len(talk.ends)} of {len(talk.exchanges)} exchanges"
