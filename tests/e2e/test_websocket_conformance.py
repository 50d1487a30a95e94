"""RFC 6455 and RFC 7692, case by case, with every codec.

The numbers in the names are those of the Autobahn testsuite, so that a report of either can be
read beside the other; what follows no number is stricter than it. A case is what the client
sends, which frames come back, and how the connection ends.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import pytest

from e2e.websocket_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    close_payload,
    decoded_close,
    frame,
    open_peer,
)

APP = "e2e.apps.websockets:echo"
CODECS = ["auto", "websockets", "wsproto"]
KiB = 1024
MiB = 1024 * KiB


class Case(NamedTuple):
    """sends: segments in order. replies: frames that come back, all of them, in order.

    code: of the close frame that follows them; None for a connection that is still good: the
    client closes it then and gets 1000. chop: bytes per segment, 0 for `sends` as they are.
    """

    name: str
    sends: tuple[bytes, ...]
    replies: tuple[Frame, ...] = ()
    code: int | None = None
    chop: int = 0


def text(payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    return frame(TEXT, payload, fin=fin, rsv=rsv)


def more(payload: bytes = b"", *, fin: bool = False) -> bytes:
    return frame(CONTINUATION, payload, fin=fin)


def fragments(payload: bytes, size: int, opcode: int = TEXT) -> tuple[bytes, ...]:
    """One message in frames of `size` bytes."""
    parts = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
    return tuple(
        frame(CONTINUATION if number else opcode, part, fin=number == len(parts) - 1)
        for number, part in enumerate(parts)
    )


def chopped(case: Case, *names: str) -> Iterator[Case]:
    """The case as it is (every frame a segment), in one segment, and byte by byte."""
    chops = (0, 1 << 30, 1)
    for name, chop in zip(names, chops, strict=True):
        yield case._replace(name=name, chop=chop)


# --- 1 framing ------------------------------------------------------------------------------------

SIZES = (0, 125, 126, 127, 128, 65535, 65536)


def framing() -> Iterator[Case]:
    for group, (opcode, byte) in enumerate(((TEXT, b"*"), (BINARY, b"\xfe")), start=1):
        for number, size in enumerate(SIZES, start=1):
            data = byte * size
            yield Case(f"1.{group}.{number}", (frame(opcode, data),), (Frame(opcode, data),))
        yield Case(f"1.{group}.8", (frame(opcode, data),), (Frame(opcode, data),), chop=997)
    yield Case("an unmasked frame", (frame(TEXT, b"Hello", mask=None),), code=1002)
    yield Case("an unmasked ping", (frame(PING, b"Hello", mask=None),), code=1002)
    yield Case("an unmasked empty frame", (frame(TEXT, b"", mask=None),), code=1002)
    zero = frame(TEXT, b"Hello", mask=bytes(4))
    yield Case("a mask of zeros", (zero,), (Frame(TEXT, b"Hello"),))
    for size, width in ((0, 3), (125, 3), (0, 9), (125, 9), (126, 9), (65535, 9)):
        sent = frame(BINARY, b"x" * size, width=width)
        yield Case(f"a length of {size} in {width} bytes", (sent,), code=1002)
    ping = frame(PING, b"Hello", width=3)
    yield Case("a ping's length of 5 in 3 bytes", (ping,), code=1002)
    yield Case("a length of 64 bits", (b"\x82\xff" + b"\x80" + bytes(7) + b"mask",), code=1002)
    two = text(b"one") + frame(BINARY, b"two")
    both = (Frame(TEXT, b"one"), Frame(BINARY, b"two"))
    yield from chopped(Case("", (two,), both), "two messages", "one segment", "single bytes")


# --- 2 pings and pongs ----------------------------------------------------------------------------


def pings() -> Iterator[Case]:
    binary = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
    for number, data in enumerate((b"", b"Hello, world!", binary, b"\xfe" * 125), start=1):
        yield Case(f"2.{number}", (frame(PING, data),), (Frame(PONG, data),))
    yield Case("2.5", (frame(PING, b"\xfe" * 126),), code=1002)
    yield Case("2.6", (frame(PING, b"\xfe" * 125),), (Frame(PONG, b"\xfe" * 125),), chop=1)
    yield Case("2.7", (frame(PONG),))
    yield Case("2.8", (frame(PONG, b"unsolicited pong payload"),))
    pong = frame(PONG, b"unsolicited")
    yield Case("2.9", (pong, frame(PING, b"payload")), (Frame(PONG, b"payload"),))
    payloads = [b"payload-%d" % number for number in range(10)]
    sends = tuple(frame(PING, data) for data in payloads)
    replies = tuple(Frame(PONG, data) for data in payloads)
    yield from chopped(Case("", sends, replies), "2.10", "2.10 in one segment", "2.11")
    yield Case("a pong of 126 bytes", (frame(PONG, bytes(126)),), code=1002)


# --- 3 reserved bits, 4 opcodes -------------------------------------------------------------------


def reserved() -> Iterator[Case]:
    hello = Frame(TEXT, b"Hello")
    for rsv in range(1, 8):
        bad = frame(TEXT, b"Hello", rsv=rsv)
        ping = frame(PING)
        yield Case(f"3.1 rsv {rsv}", (bad,), code=1002)
        three = Case("", (text(b"Hello"), bad, ping), (hello,), 1002)
        yield from chopped(three, f"3.3 rsv {rsv}", f"3.2 rsv {rsv}", f"3.4 rsv {rsv}")
        yield Case(f"3.5 rsv {rsv}", (frame(BINARY, b"\x00\xff", rsv=rsv),), code=1002)
        yield Case(f"3.6 rsv {rsv}", (frame(PING, b"Hello", rsv=rsv),), code=1002)
        yield Case(f"3.7 rsv {rsv}", (frame(CLOSE, close_payload(1000), rsv=rsv),), code=1002)
        later = frame(CONTINUATION, b"x", rsv=rsv)
        yield Case(f"a continuation's rsv {rsv}", (text(b"x", fin=False), later), code=1002)
    for group, first in ((1, 3), (2, 11)):
        for number, opcode in enumerate(range(first, first + 5), start=1):
            name = f"4.{group}.{number}"
            bad = frame(opcode, b"" if number % 2 else b"reserved opcode payload")
            yield Case(name, (bad,), code=1002)
            sends = (text(b"Hello"), bad, frame(PING))
            after = Case("", sends, (hello,), 1002)
            yield from chopped(
                after, f"{name} later", f"{name} in one segment", f"{name} in single bytes"
            )


# --- 5 fragments ----------------------------------------------------------------------------------


def fragmented() -> Iterator[Case]:
    yield Case("5.1", (frame(PING, b"frag", fin=False), more(b"ment", fin=True)), code=1002)
    yield Case("5.2", (frame(PONG, b"frag", fin=False), more(b"ment", fin=True)), code=1002)
    closing = frame(CLOSE, close_payload(1000), fin=False)
    yield Case("a fragmented close", (closing, more(b"", fin=True)), code=1002)
    whole = Frame(TEXT, b"fragment1fragment2")
    first, second = text(b"fragment1", fin=False), more(b"fragment2", fin=True)
    ping, pong = frame(PING, b"pongme"), Frame(PONG, b"pongme")
    yield from chopped(Case("", (first, second), (whole,)), "5.3", "5.4", "5.5")
    between = Case("", (first, ping, second), (pong, whole))
    yield from chopped(between, "5.6", "5.7", "5.8")
    for names, fin in ((("5.9", "5.10", "5.11"), True), (("5.12", "5.13", "5.14"), False)):
        lonely = more(b"non-continuation payload", fin=fin)
        yield from chopped(Case("", (lonely, text(b"Hello")), code=1002), *names)
    lonely = more(b"fragment3")
    sends = (first, second, lonely, text(b"fragment4"))
    yield from chopped(
        Case("", sends, (whole,), 1002), "5.15", "5.15 in one segment", "5.15 in single bytes"
    )
    for number, fin in ((16, False), (17, True)):
        twice = (more(b"fragment1", fin=fin), text(b"fragment2", fin=False), more(b"x", fin=True))
        yield Case(f"5.{number}", twice * 2, code=1002)
    yield Case("5.18", (first, text(b"fragment2")), code=1002)
    yield Case("a binary frame inside a text", (first, frame(BINARY, b"x")), code=1002)
    parts = (
        text(b"fragment1", fin=False), more(b"fragment2"), frame(PING, b"pongme 1"),
        more(b"fragment3"), more(b"fragment4"), frame(PING, b"pongme 2"),
        more(b"fragment5", fin=True),
    )  # fmt: skip
    replies = (
        Frame(PONG, b"pongme 1"),
        Frame(PONG, b"pongme 2"),
        Frame(TEXT, b"fragment1fragment2fragment3fragment4fragment5"),
    )
    yield from chopped(
        Case("", parts, replies), "5.19", "5.19 in one segment", "5.20 in single bytes"
    )
    binary = bytes(range(256)) * 8
    for size in (1, 7, 256, 1300):
        sends = fragments(binary, size, BINARY)
        yield Case(f"a binary message by {size}", sends, (Frame(BINARY, binary),))


# --- 6 UTF-8 --------------------------------------------------------------------------------------

GREEK = "κόσμε"
MIXED = "Hello-µ@ßöäüàá-UTF-8!!"


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


# RFC 3629: what is text and what is not, by Markus Kuhn's list of decoder tests.
GOOD = {
    "some text": [
        b"hello$world", b"hello\xc2\xa2world", b"hello\xe2\x82\xacworld",
        b"hello\xf0\xa4\xad\xa2world", GREEK.encode(), MIXED.encode(),
    ],
    "shortest": [b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"],
    "longest": [b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"],
    "boundaries": [b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xf4\x8f\xbf\xbf"],
    "non-characters": [
        chr(plane << 16 | last).encode() for plane in range(17) for last in (0xFFFE, 0xFFFF)
    ],
    "specials": [chr(code).encode() for code in range(0xFFF9, 0x10000)],
}  # fmt: skip
STARTS = [b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8\x80\x80\x80", b"\xfc\x80\x80\x80\x80"]
STARTS += [b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf", b"\xfb\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf"]
SURROGATES = [chr(code).encode("utf-8", "surrogatepass") for code in (
    0xD800, 0xDB7F, 0xDB80, 0xDBFF, 0xDC00, 0xDF80, 0xDFFF)]  # fmt: skip
BAD = {
    "prefixes": [
        cut for at in range(1, len(GREEK.encode())) if not is_text(cut := GREEK.encode()[:at])
    ],
    "too long first": [b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"],
    "too long last": [b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"],
    "beyond": [b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80"],
    "continuation bytes": [
        *((b"\x80\xbf" * 3)[:size] for size in range(1, 7)), b"\xbf", bytes(range(0x80, 0xC0)),
    ],
    "lonely starts": [
        b"".join(b"%c " % byte for byte in range(low, high))
        for low, high in ((0xC0, 0xE0), (0xE0, 0xF0), (0xF0, 0xF8), (0xF8, 0xFC), (0xFC, 0xFE))
    ],
    "the last byte is missing": [*STARTS, b"".join(STARTS)],
    "impossible": [b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"],
    "overlong slash": [
        b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf",
        b"\xfc\x80\x80\x80\x80\xaf",
    ],
    "overlong": [
        b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf8\x87\xbf\xbf\xbf",
        b"\xfc\x83\xbf\xbf\xbf\xbf",
    ],
    "overlong nul": [
        b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x80\x80\x80\x80",
        b"\xfc\x80\x80\x80\x80\x80",
    ],
    "surrogates": SURROGATES,
    "pairs": [high + low for high in SURROGATES[:4] for low in (SURROGATES[4], SURROGATES[6])],
}  # fmt: skip


def utf8() -> Iterator[Case]:
    empty = Frame(TEXT, b"")
    yield Case("6.1.1", (text(),), (empty,))
    yield Case("6.1.2", (text(fin=False), more(), more(fin=True)), (empty,))
    middle = (text(fin=False), more(b"middle"), more(fin=True))
    yield Case("6.1.3", middle, (Frame(TEXT, b"middle"),))
    mixed = MIXED.encode()
    yield Case("6.2.1", (text(mixed),), (Frame(TEXT, mixed),))
    half = mixed.index("ß".encode())
    yield Case("6.2.2", fragments(mixed, half), (Frame(TEXT, mixed),))
    yield Case("6.2.3", fragments(mixed, 1), (Frame(TEXT, mixed),))
    yield Case("6.2.4", fragments(GREEK.encode(), 1), (Frame(TEXT, GREEK.encode()),))
    for size in range(1, 5):
        astral = "𐀀😀".encode()
        yield Case(f"four bytes cut by {size}", fragments(astral, size), (Frame(TEXT, astral),))
    broken = GREEK.encode() + b"\xed\xa0\x80" + b"edited"
    yield Case("6.3.1", (text(broken),), code=1007)
    yield Case("6.3.2", fragments(broken, 1), code=1007)
    yield Case("6.3.1 in single bytes", (text(broken),), code=1007, chop=1)
    yield Case(
        "a code point that never ends", (text(b"\xce", fin=False), more(fin=True)), code=1007
    )
    ended = (text(b"\xce", fin=False), more(b"\xbaok", fin=True), text(b"\xba"))
    yield Case("each message starts afresh", ended, (Frame(TEXT, b"\xce\xbaok"),), 1007)
    ping = frame(PING, b"\xff")
    between = (text(b"\xf0\x90", fin=False), ping, more(b"\x80\x80", fin=True))
    replies = (Frame(PONG, b"\xff"), Frame(TEXT, b"\xf0\x90\x80\x80"))
    yield Case("a ping inside a code point", between, replies)
    yield Case("binary is not judged", (frame(BINARY, broken),), (Frame(BINARY, broken),))
    for kind, samples in GOOD.items():
        for number, data in enumerate(samples, start=1):
            yield Case(f"6.x {kind} {number}", (text(data),), (Frame(TEXT, data),))
    for kind, samples in BAD.items():
        for number, data in enumerate(samples, start=1):
            yield Case(f"6.x {kind} {number}", (text(data),), code=1007)


# --- 7 closing ------------------------------------------------------------------------------------

VALID = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]
VALID += [3000, 3999, 4000, 4999]
INVALID = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


def closing() -> Iterator[Case]:
    bye = frame(CLOSE, close_payload(1000))
    yield Case("7.1.1", (text(b"Hello"),), (Frame(TEXT, b"Hello"),))
    yield Case("7.1.2", (bye, bye), code=1000)
    yield Case("7.1.3", (bye, frame(PING)), code=1000)
    yield Case("7.1.4", (bye, text(b"Hello")), code=1000)
    yield Case("7.1.5", (text(b"frag", fin=False), bye, more(b"ment", fin=True)), code=1000)
    yield Case("garbage after a close", (bye + b"\xff" * 100,), code=1000)
    yield Case("7.3.2", (frame(CLOSE, b"a"),), code=1002)
    yield Case("7.3.3", (bye,), code=1000)
    yield Case("7.3.4", (frame(CLOSE, close_payload(1000, "Hello World!")),), code=1000)
    yield Case("7.3.5", (frame(CLOSE, close_payload(1000, "*" * 123)),), code=1000)
    yield Case("7.3.6", (frame(CLOSE, close_payload(1000, "*" * 124)),), code=1002)
    yield Case("7.5.1", (frame(CLOSE, close_payload(1000, BAD["surrogates"][0])),), code=1007)
    cut = close_payload(1000, GREEK.encode()[:-1])
    yield Case("a reason that ends in a code point", (frame(CLOSE, cut),), code=1007)
    good = close_payload(1000, GREEK)
    yield Case("a reason in Greek", (frame(CLOSE, good),), code=1000)
    yield Case("a close byte by byte", (frame(CLOSE, good),), code=1000, chop=1)
    for code in VALID:
        yield Case(f"7.7 {code}", (frame(CLOSE, close_payload(code)),), code=code)
    for code in INVALID:
        yield Case(f"7.9 {code}", (frame(CLOSE, close_payload(code)),), code=1002)
        with_reason = frame(CLOSE, close_payload(code, "reason"))
        yield Case(f"7.9 {code} with a reason", (with_reason,), code=1002)


CASES = [*framing(), *pings(), *reserved(), *fragmented(), *utf8(), *closing()]
# On another loop and with the other parser: what depends on how bytes are cut.
CUT = [case for case in CASES if case.chop or len(case.sends) > 2]


# --- the judge ------------------------------------------------------------------------------------


@pytest.fixture(params=CODECS)
def server(request, shared):
    return shared(APP, ws=request.param, loop="uvloop", http="httptools", ws_max_size=MiB)


@pytest.fixture(params=CODECS)
def other_server(request, shared):
    return shared(APP, ws=request.param, loop="asyncio", http="h11", ws_max_size=MiB)


def judge(server, case: Case) -> None:
    with open_peer(("127.0.0.1", server.port), data=b"") as peer:
        peer.connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sends = case.sends if not case.chop else (b"".join(case.sends),)
        # A server need not wait for the rest of what is wrong already.
        with suppress(*((ConnectionError,) if case.code else ())):
            for data in sends:
                peer.write(data, chop=case.chop)
        if case.code is None:
            assert tuple(peer.frame() for _ in case.replies) == case.replies
            assert peer.close() == (1000, "")
            return
        *frames, last = peer.rest()
        assert last.opcode == CLOSE, [*frames, last]
        assert decoded_close(last.payload)[0] == case.code, decoded_close(last.payload)
        # What came before the violation is answered before it: "OK" of Autobahn, not "non-strict".
        assert tuple(frames) == case.replies


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(server, case):
    judge(server, case)


@pytest.mark.parametrize("case", CUT[::3], ids=lambda case: case.name)
def test_case_on_asyncio(other_server, case):
    judge(other_server, case)


# --- what needs a conversation --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (GREEK.encode(), b"\xf4\x90\x80\x80"),  # 6.4.1
        (GREEK.encode() + b"\xf4", b"\x90"),  # 6.4.2: the first byte that cannot become text
        (b"\xed", b"\xa0"),
    ],
    ids=["6.4.1", "6.4.2", "half a surrogate"],
)
def test_a_fragment_that_cannot_become_text_fails_at_once(server, good, bad):
    with open_peer(("127.0.0.1", server.port)) as peer:
        peer.send_frame(TEXT, good, fin=False)
        assert peer.is_silent(0.05)
        peer.send_frame(CONTINUATION, bad, fin=False)  # and no more: the message is not complete
        assert peer.closed()[0] == 1007


@pytest.mark.parametrize("code", [1002, 1007])
def test_a_message_before_a_violation_is_answered(server, code):
    bad = frame(3) if code == 1002 else text(b"\xff")
    with open_peer(("127.0.0.1", server.port)) as peer:
        peer.send("Hello")
        assert peer.message() == "Hello"
        peer.write(bad)
        assert peer.closed()[0] == code


def test_a_violation_is_noticed_from_a_frames_head(server):
    # The payload never comes: 1002 for a mask that is missing, 1009 for a length that is too much.
    for head, code in (
        (b"\x81\x05", 1002),
        (b"\x83\x85", 1002),
        (b"\x82\xff\0\0\0\1\0\0\0\0", 1009),
    ):
        with open_peer(("127.0.0.1", server.port)) as peer:
            peer.write(head)
            assert peer.closed()[0] == code


def test_7_1_6_a_close_behind_a_long_message(server):
    long = "*" * 256 * KiB
    with open_peer(("127.0.0.1", server.port)) as peer:
        peer.send(long)
        peer.send_close()
        with suppress(ConnectionError):
            peer.send_frame(PING)
        *frames, last = peer.rest()
        assert decoded_close(last.payload) == (1000, "")
        assert frames == [Frame(TEXT, long.encode())]


def test_7_3_1_a_close_without_a_code(server):
    with open_peer(("127.0.0.1", server.port)) as peer:
        assert peer.close(None)[0] in (None, 1000)


def test_10_1_1_a_message_in_odd_frames(server):
    data = b"*" * 65536
    with open_peer(("127.0.0.1", server.port)) as peer:
        for each in fragments(data, 1300):
            peer.write(each)
        assert peer.message() == data.decode()
        peer.close()


# --- 9 sizes and numbers --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [64 * KiB, 256 * KiB, MiB])
@pytest.mark.parametrize("kind", [str, bytes])
def test_9_1_9_2_large_messages(server, kind, size):
    data = "*" * size if kind is str else b"\xfe" * size
    with open_peer(("127.0.0.1", server.port)) as peer:
        peer.send(data)
        assert peer.message() == data
        assert peer.close() == (1000, "")


@pytest.mark.parametrize("size", [64, 1024, 16 * KiB, 256 * KiB])
@pytest.mark.parametrize("kind", [str, bytes])
def test_9_3_9_4_large_messages_in_fragments(server, kind, size):
    whole = min(MiB, size * 2048)
    data = "*" * whole if kind is str else b"\xfe" * whole
    with open_peer(("127.0.0.1", server.port)) as peer:
        peer.send(data, fragment=size)
        assert peer.message() == data
        assert peer.close() == (1000, "")


@pytest.mark.parametrize("chop", [64, 512, 2048])
def test_9_5_9_6_large_messages_in_small_segments(server, chop):
    data = bytes(range(256)) * (64 * chop // 256)
    with open_peer(("127.0.0.1", server.port)) as peer:
        peer.write(frame(BINARY, data), chop=chop)
        assert peer.message() == data
        assert peer.close() == (1000, "")


@pytest.mark.parametrize("size", [0, 16, 64, 256, 1024, 4096, 16 * KiB])
@pytest.mark.parametrize("kind", [str, bytes])
def test_9_7_9_8_many_round_trips(server, kind, size):
    data = "*" * size if kind is str else b"\xfe" * size
    with open_peer(("127.0.0.1", server.port)) as peer:
        for _ in range(100):
            peer.send(data)
            assert peer.message() == data
        assert peer.close() == (1000, "")


def test_messages_sent_ahead_come_back_in_order(server):
    with open_peer(("127.0.0.1", server.port)) as peer:
        peer.write(b"".join(text(b"%d" % number) for number in range(500)))
        assert [peer.message() for _ in range(500)] == [str(number) for number in range(500)]
        assert peer.close() == (1000, "")


@pytest.mark.parametrize("seed", range(4))
def test_a_long_conversation_cut_anywhere(server, seed):
    chance = random.Random(seed)
    data, expected = b"", []
    for _ in range(40):
        payload = "".join(chance.choices("aµ€😀", k=chance.choice((0, 1, 40, 200)))).encode()
        pieces = list(fragments(payload, chance.choice((1, 3, 50, 1000))))
        for at in sorted(chance.sample(range(len(pieces) + 1), 1), reverse=True):
            pieces.insert(at, frame(PING, b"%d" % at))
        data += b"".join(pieces)
        expected.append(payload)
    with open_peer(("127.0.0.1", server.port)) as peer:
        peer.connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        at = 0
        while at < len(data):
            step = chance.choice((1, 2, 3, 5, 700))
            peer.write(data[at : at + step])
            at += step
        peer.send_close()
        frames = peer.rest()
    answers = [each.payload for each in frames if each.opcode == TEXT]
    assert answers == expected
    assert len([each for each in frames if each.opcode == PONG]) == 40
    assert decoded_close(frames[-1].payload) == (1000, "")


# --- 12 and 13 permessage-deflate -----------------------------------------------------------------

# (size of messages, bytes per frame or 0)
SHAPES = [(size, 0) for size in (16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072)]
SHAPES += [(size, 256) for size in (8192, 16384, 32768, 65536, 131072)]
SHAPES += [(131072, size) for size in (1024, 4096, 32768)]

OFFERS = {
    "12": "permessage-deflate",
    "12 with bits": "permessage-deflate; client_max_window_bits",
    "13.2": "permessage-deflate; server_no_context_takeover",
    "13.3": "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9",
    "13.4": "permessage-deflate; server_max_window_bits=15; client_max_window_bits",
    "13.5": "permessage-deflate; server_no_context_takeover; server_max_window_bits=9",
    "13.6": "permessage-deflate; server_no_context_takeover; server_max_window_bits=15",
    "both": "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "13.7": "permessage-deflate; server_no_context_takeover; server_max_window_bits=9, "
    "permessage-deflate; server_no_context_takeover, permessage-deflate",
}


def corpus(kind: str) -> bytes:
    """Something like a text, like data, and like neither."""
    chance = random.Random(kind)
    if kind == "noise":
        return chance.randbytes(200_000)
    if kind == "zeros":
        return bytes(200_000)
    words = ["".join(chance.choices("enirstaöä€", k=chance.randint(2, 9))) for _ in range(600)]
    return " ".join(chance.choices(words, k=40_000)).encode()


CORPORA = {kind: corpus(kind) for kind in ("text", "noise", "zeros")}


def converse(server, offer: str, kind: str, shape: tuple[int, int], count: int = 4) -> None:
    size, fragment = shape
    data = CORPORA[kind]
    with open_peer(("127.0.0.1", server.port), offer=offer) as peer:
        assert peer.deflate is not None, "not agreed"
        for number in range(count):
            at = number * size % (len(data) - size)
            message: str | bytes = data[at : at + size]
            if kind == "text" and number % 2:
                message = message.decode(errors="ignore")
            peer.send(message, fragment=fragment)
            assert peer.message() == message
        assert peer.close() == (1000, "")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}-{shape[1]}")
@pytest.mark.parametrize("kind", CORPORA)
def test_12_compressed_messages(server, kind, shape):
    converse(server, OFFERS["12"], kind, shape)


@pytest.mark.parametrize("shape", SHAPES[::2], ids=lambda shape: f"{shape[0]}-{shape[1]}")
@pytest.mark.parametrize("offer", list(OFFERS)[1:])
def test_13_parameters_of_the_compression(server, offer, shape):
    converse(server, OFFERS[offer], "text", shape)


@pytest.mark.parametrize("offer", ["12", "13.2", "both"])
def test_12_on_asyncio(other_server, offer):
    for shape in SHAPES[::5]:
        converse(other_server, OFFERS[offer], "text", shape)


@pytest.mark.parametrize("bits", range(8, 16))
def test_13_3_every_window_of_the_server(server, bits):
    offer = f"permessage-deflate; server_max_window_bits={bits}"
    with open_peer(("127.0.0.1", server.port), offer=offer) as peer:
        if peer.deflate is None:
            assert bits == 8  # zlib cannot make raw streams of 8 bits; to decline is legal
        else:
            assert peer.deflate.server_bits <= bits
        data = CORPORA["text"][:70_000]
        for _ in range(2):
            peer.send(data)
            assert peer.message() == data
        peer.close()


def agreed(server, *offers: str) -> str | None:
    lines = [f"sec-websocket-extensions: {offer}" for offer in offers]
    with open_peer(("127.0.0.1", server.port), "/", *lines) as peer:
        peer.send("Hello")
        assert peer.message() == "Hello"
        peer.close()
        return peer.response.header("sec-websocket-extensions")


def test_nothing_is_compressed_that_was_not_offered(server):
    assert agreed(server) is None
    assert agreed(server, "x-webkit-deflate-frame") is None
    assert agreed(server, "bbf-usp-protocol; x=1, mux; max-channels=4") is None


def test_an_answer_has_only_parameters_that_the_offer_allows(server):
    # Section 7.1.2.2: client_max_window_bits may be answered only where it was offered.
    assert "client_max_window_bits" not in str(agreed(server, "permessage-deflate"))
    reply = str(agreed(server, "permessage-deflate; server_no_context_takeover"))
    assert "server_no_context_takeover" in reply
    reply = str(agreed(server, "permessage-deflate; server_max_window_bits=10"))
    assert "server_max_window_bits=10" in reply


def test_offers_in_several_fields_and_among_others(server):
    assert agreed(server, "mux", "permessage-deflate")
    assert agreed(server, "foo; a=b, permessage-deflate; server_no_context_takeover")


@pytest.mark.parametrize(
    "parameters",
    [
        "unknown",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=010",
        "server_max_window_bits",
        "client_max_window_bits=99",
        "server_no_context_takeover=1",
        "client_no_context_takeover; client_no_context_takeover",
    ],
)
def test_an_offer_with_parameters_that_make_no_sense_is_declined(server, parameters):
    # Section 7.1: the offer is declined; the next one, without them, is taken.
    assert agreed(server, f"permessage-deflate; {parameters}") is None
    fallback = agreed(server, f"permessage-deflate; {parameters}, permessage-deflate")
    assert fallback is not None
    assert parameters not in [part.strip() for part in fallback.split(";")]


DEFLATE = OFFERS["12"]


@pytest.fixture
def peer(server):
    with open_peer(("127.0.0.1", server.port), offer=DEFLATE) as peer:
        assert peer.deflate is not None
        yield peer


def test_an_uncompressed_message_among_compressed_ones(peer):
    for _ in range(2):
        peer.send("compressed " * 20)
        assert peer.message() == "compressed " * 20
        peer.send_frame(TEXT, b"plain")
        assert peer.message() == "plain"


def test_control_frames_between_compressed_fragments(peer):
    data = peer.deflate.compress(b"Hello " * 1000)
    peer.send_frame(TEXT, data[:10], fin=False, rsv=4)
    peer.send_frame(PING, b"between")
    assert peer.frame() == Frame(PONG, b"between")
    peer.send_frame(CONTINUATION, data[10:], fin=True)
    assert peer.message() == "Hello " * 1000


def test_empty_fragments_of_a_compressed_message(peer):
    data = peer.deflate.compress(b"Hello " * 1000)
    peer.send_frame(TEXT, b"", fin=False, rsv=4)
    peer.send_frame(CONTINUATION, data, fin=False)
    peer.send_frame(CONTINUATION, b"", fin=True)
    assert peer.message() == "Hello " * 1000


def test_a_compressed_message_byte_by_byte(peer):
    data = peer.deflate.compress("κόσμε 😀".encode())
    for number in range(len(data)):
        peer.send_frame(
            CONTINUATION if number else TEXT,
            data[number : number + 1],
            fin=number == len(data) - 1,
            rsv=0 if number else 4,
        )
    assert peer.message() == "κόσμε 😀"


def test_an_empty_compressed_message(peer):
    # Section 7.2.3.6: a single byte of zero; and zlib's own way to say nothing.
    for payload in (b"\x00", peer.deflate.compress(b"")):
        peer.send_frame(TEXT, payload, rsv=4)
        assert peer.message() == ""


def test_a_message_in_several_blocks(peer):
    # Section 7.2.3.5: two blocks, the first one stored without compression (7.2.3.3).
    peer.send_frame(TEXT, b"\x00\x05\x00\xfa\xffHello" + b"\x00", rsv=4)
    assert peer.message() == "Hello"


def test_a_message_with_a_final_block(peer):
    # Section 7.2.3.4: BFINAL is allowed; the next message begins a new stream.
    for _ in range(2):
        peer.send_frame(TEXT, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", rsv=4)
        assert peer.message() == "Hello"


def test_text_is_judged_after_inflating(peer):
    peer.send_frame(TEXT, peer.deflate.compress(b"Hello \xed\xa0\x80"), rsv=4)
    assert peer.closed()[0] == 1007


def test_a_code_point_cut_by_compressed_frames(peer):
    data = "😀".encode() * 400
    compressed = peer.deflate.compress(data)
    for at in range(len(compressed)):
        peer.send_frame(
            CONTINUATION if at else TEXT,
            compressed[at : at + 1],
            fin=at == len(compressed) - 1,
            rsv=0 if at else 4,
        )
    assert peer.message() == data.decode()


@pytest.mark.parametrize("payload", [b"\xff\xff\xff", b"\x06", b"\x00\x05\x00\x00\x00Hello"])
def test_what_is_no_compressed_data_fails(peer, payload):
    peer.send_frame(TEXT, payload, rsv=4)
    assert peer.closed()[0] in (1002, 1007)


@pytest.mark.parametrize(
    ("opcode", "rsv", "first"),
    [(PING, 4, None), (CLOSE, 4, None), (TEXT, 2, None), (TEXT, 1, None), (TEXT, 6, None),
     (CONTINUATION, 4, TEXT)],
)  # fmt: skip
def test_reserved_bits_beside_the_agreed_one(peer, opcode, rsv, first):
    if first is not None:
        peer.send_frame(first, peer.deflate.compress(b"Hello")[:3], fin=False, rsv=4)
    peer.send_frame(opcode, close_payload(1000) if opcode == CLOSE else b"x", rsv=rsv)
    assert peer.closed()[0] == 1002


def test_a_compressed_message_that_becomes_too_large(peer):
    peer.send_frame(BINARY, peer.deflate.compress(bytes(MiB + 1)), rsv=4)
    assert peer.closed()[0] == 1009


def test_a_compressed_message_of_just_the_limit(peer):
    peer.send(bytes(MiB))
    assert peer.message() == bytes(MiB)


def test_many_compressed_fragments_that_become_too_large(peer):
    data = peer.deflate.compress(random.Random(1).randbytes(MiB // 2) * 3)
    with suppress(ConnectionError):
        for at in range(0, len(data), 65536):
            peer.send_frame(
                CONTINUATION if at else BINARY,
                data[at : at + 65536],
                fin=at + 65536 >= len(data),
                rsv=0 if at else 4,
            )
    assert peer.closed()[0] == 1009


@pytest.mark.parametrize("size", [MiB, MiB + 1])
@pytest.mark.parametrize("fragment", [0, 4096])
def test_the_size_of_a_message(server, size, fragment):
    data = b"x" * size
    with open_peer(("127.0.0.1", server.port)) as peer:
        with suppress(ConnectionError):
            peer.send(data, fragment=fragment)
        if size <= MiB:
            assert peer.message() == data
        else:
            assert peer.closed()[0] == 1009
