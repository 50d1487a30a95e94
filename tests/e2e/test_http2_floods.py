"""Floods over HTTP/2: 3,000 frames are all an attacker gets, and nobody else notices.

Each attack is one connection that sends at most 3,000 frames. Afterwards that connection is over,
with the error it deserves; the server's memory is where it was, another client has been served all
the time, and the log has a line. Each names the advisory that told the world of it, where there is
one. What counts how much, and what other servers do, is in docs/http2.md.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

import hpack
import pytest
from http2_client import (
    PREFACE,
    ErrorCode,
    Http2Client,
    Setting,
    Type,
    connect,
    continuation,
    data,
    frame,
    goaway,
    headers,
    open_client,
    ping,
    priority,
    request_fields,
    rst_stream,
    settings,
    window_update,
)

from e2e.client import ConnectionCut
from e2e.conftest import Log, make_server
from e2e.http2_site import Certified, Site, site_of
from e2e.process import Gateway, wait_until

FRAMES = 3000
MiB = 1 << 20
# What an interpreter's arenas and the kernel's accounting move by; an attack that keeps its frames
# would be above it.
FLAT = 6 * MiB
CALM = ErrorCode.ENHANCE_YOUR_CALM


class Bystander:
    """Another client, which asks ``/hello`` all the time on a connection of its own."""

    def __init__(self, site: Site) -> None:
        self.answers = 0
        self.slowest = 0.0
        self.failure: BaseException | None = None
        self._site = site
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        try:
            with self._site.open() as client:
                while not self._ended.wait(0.002):
                    began = time.monotonic()
                    assert client.request("GET", "/hello").body == b"Hello"
                    self.slowest = max(self.slowest, time.monotonic() - began)
                    self.answers += 1
        except BaseException as error:
            self.failure = error

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self.answers or self.failure, "the bystander is served")
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("floods")
    args = ["e2e.apps.http2_floods:app", "--port", "0", "--no-access-log"]
    with Gateway(args, directory) as gateway:
        yield gateway.ready()


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Site]]:
    directory = tmp_path_factory.mktemp("encrypted")
    certified = Certified.made_in(directory)
    args = ["e2e.apps.http2_floods:app", "--port", "0", "--no-access-log", *certified.flags]
    with Gateway(args, directory) as gateway:
        yield gateway.ready(), site_of(gateway, certified)


def counts(server: Gateway) -> dict[str, int]:
    with open_client(server.address) as client:
        return json.loads(client.request("GET", "/counts").body)


# --- attacks --------------------------------------------------------------------------------------


@dataclass
class Attacker:
    """A connection that counts the frames it sends."""

    client: Http2Client
    frames: int = 0
    last: int = -1
    _parts: list[bytes] = field(default_factory=list)

    def send(self, *parts: bytes) -> None:
        """Frames, one each. They leave a few at a time, so that the server reads many at once."""
        self._parts += parts
        self.frames += len(parts)
        if len(self._parts) >= 50:
            self.flush()

    def flush(self) -> None:
        self.client.send(*self._parts)
        self._parts.clear()

    def request(self, path: str = "/hello", *, method: str = "GET", end: bool = True) -> int:
        """HEADERS of a request, without an entry in the table; its stream."""
        self.last += 2
        self.send(headers(self.last, raw_request(path, method), end=end))
        return self.last

    @property
    def left(self) -> int:
        return max(0, FRAMES - self.frames)

    @property
    def port(self) -> int:
        return int(self.client.socket.getsockname()[1])


def raw_request(path: str, method: str = "GET") -> bytes:
    """A block that touches no table, so that it may be sent any number of times."""
    fields = [
        hpack.NeverIndexedHeaderTuple(name, value) for name, value in request_fields(method, path)
    ]
    return hpack.Encoder().encode(fields, huffman=False)


def literal(name: bytes, value: bytes) -> bytes:
    """A field that enters no table, its strings as they are (RFC 7541, sections 5.2 and 6.2.2)."""

    def string(text: bytes) -> bytes:
        size = len(text)
        if size < 127:
            return bytes([size]) + text
        size -= 127
        digits = bytearray([127])
        while size >= 128:
            digits.append(size % 128 | 128)
            size //= 128
        return bytes(digits) + bytes([size]) + text

    return b"\x00" + string(name) + string(value)


def section(stream: int, block: bytes) -> list[bytes]:
    """HEADERS and CONTINUATION of a request without a body."""
    parts = [block[at : at + 16384] for at in range(0, len(block), 16384)]
    more = [continuation(stream, part, end_headers=False) for part in parts[1:-1]]
    last = [continuation(stream, part) for part in parts[1:][-1:]]
    return [headers(stream, parts[0], end=True, end_headers=not last), *more, *last]


Attack = Callable[[Attacker], None]
ATTACKS: dict[str, tuple[Attack, frozenset[int]]] = {}


def attack(name: str, *codes: int) -> Callable[[Attack], Attack]:
    """Declare one. codes: that its GOAWAY may have."""

    def declare(function: Attack) -> Attack:
        ATTACKS[name] = function, frozenset(codes or (CALM,))
        return function

    return declare


@attack("rapid reset (CVE-2023-44487)")
def rapid_reset(attacker: Attacker) -> None:
    while attacker.left:
        attacker.send(rst_stream(attacker.request("/wait")))


@attack("rapid reset of bodies that have begun (CVE-2023-44487)")
def rapid_reset_of_uploads(attacker: Attacker) -> None:
    while attacker.left >= 3:
        stream = attacker.request("/sink", method="POST", end=False)
        attacker.send(data(stream, b"x"), rst_stream(stream))


def made_to_reset(offence: Callable[[int], bytes]) -> Attack:
    def run(attacker: Attacker) -> None:
        while attacker.left >= 2:
            attacker.send(offence(attacker.request("/wait")))

    return run


# "MadeYouReset": the server is made to reset what it goes on working for.
for name, offence in {
    "a window opened by nothing": lambda stream: window_update(stream, 0),
    "a window opened too wide": lambda stream: window_update(stream, 2**31 - 1),
    "DATA after the end": lambda stream: data(stream, b"x"),
    "HEADERS after the end": lambda stream: headers(stream, raw_request("/wait"), end=True),
    "PRIORITY of four bytes": lambda stream: frame(Type.PRIORITY, 0, stream, b"\0\0\0\0"),
    "PRIORITY on itself": lambda stream: priority(stream, stream),
}.items():
    # Some of these may end the connection at once (section 5.4.1 lets a server choose).
    codes = (CALM, ErrorCode.STREAM_CLOSED, ErrorCode.PROTOCOL_ERROR)
    attack(f"made to reset by {name} (CVE-2025-8671)", *codes)(made_to_reset(offence))


@attack("resets of streams that are over (CVE-2019-9514)")
def resets(attacker: Attacker) -> None:
    stream = attacker.request()
    attacker.flush()
    attacker.client.response(stream)
    while attacker.left:
        attacker.send(rst_stream(stream))


@attack("malformed requests (CVE-2019-9514)")
def malformed(attacker: Attacker) -> None:
    block = hpack.Encoder().encode([(":method", "GET")])
    for number in range(FRAMES):
        attacker.send(headers(2 * number + 1, block, end=True))


@attack("fields without a name (CVE-2019-9516)", CALM, ErrorCode.COMPRESSION_ERROR)
def nameless(attacker: Attacker) -> None:
    block = raw_request("/hello") + b"\x00\x00\x00" * 100
    for number in range(FRAMES):
        attacker.send(headers(2 * number + 1, block, end=True))


@attack("CONTINUATION without content (CVE-2024-27316)")
def empty_continuation(attacker: Attacker) -> None:
    attacker.send(headers(1, raw_request("/hello"), end=True, end_headers=False))
    while attacker.left:
        attacker.send(continuation(1, b"", end_headers=False))


@attack("CONTINUATION byte by byte (CVE-2024-27316)")
def small_continuation(attacker: Attacker) -> None:
    attacker.send(headers(1, raw_request("/hello"), end=True, end_headers=False))
    while attacker.left:
        attacker.send(continuation(1, b"\x82", end_headers=False))


@attack("CONTINUATION without an end (CVE-2024-27316)")
def large_continuation(attacker: Attacker) -> None:
    attacker.send(headers(1, raw_request("/hello"), end=True, end_headers=False))
    piece = continuation(1, b"\x00\x01a\x7f\xff\x7f" + b"v" * 16000, end_headers=False)
    while attacker.left:
        attacker.send(piece)


@attack("an endless string in CONTINUATION (CVE-2024-27316)")
def endless_string(attacker: Attacker) -> None:
    attacker.send(headers(1, b"\x00\x01a\x7f\x80\xff\xff\x7f", end=True, end_headers=False))
    while attacker.left:
        attacker.send(continuation(1, b"v" * 16384, end_headers=False))


@attack("SETTINGS (CVE-2019-9515)")
def settings_flood(attacker: Attacker) -> None:
    while attacker.left:
        attacker.send(settings())


@attack("SETTINGS that are long (CVE-2020-11080)")
def long_settings(attacker: Attacker) -> None:
    long = settings([(Setting.INITIAL_WINDOW_SIZE, 65535 - n % 2) for n in range(2000)])
    for _ in range(60):
        attacker.request("/endless")
    while attacker.left:
        attacker.send(long)


@attack("SETTINGS of the table's size (CVE-2016-1544)")
def table_settings(attacker: Attacker) -> None:
    while attacker.left:
        attacker.send(settings({Setting.HEADER_TABLE_SIZE: attacker.frames % 2 * 4096}))


@attack("acknowledgments of SETTINGS")
def acknowledgments(attacker: Attacker) -> None:
    while attacker.left:
        attacker.send(settings(ack=True))


@attack("PING (CVE-2019-9512)")
def pings(attacker: Attacker) -> None:
    while attacker.left:
        attacker.send(ping())


@attack("answers to no PING")
def pongs(attacker: Attacker) -> None:
    while attacker.left:
        attacker.send(ping(ack=True))


@attack("empty DATA (CVE-2019-9518, RUSTSEC-2026-0258)")
def empty_data(attacker: Attacker) -> None:
    stream = attacker.request("/sink", method="POST", end=False)
    while attacker.left:
        attacker.send(data(stream))


@attack("DATA of padding (CVE-2019-9518)")
def padding(attacker: Attacker) -> None:
    stream = attacker.request("/sink", method="POST", end=False)
    while attacker.left:
        attacker.send(data(stream, pad=50))


@attack("DATA for a stream that was reset")
def late_data(attacker: Attacker) -> None:
    stream = attacker.request("/hello", method="POST", end=False)
    attacker.flush()
    attacker.client.response(stream)
    while attacker.left:
        attacker.send(data(stream, b"x"))


@attack("PRIORITY (CVE-2019-9513)")
def priorities(attacker: Attacker) -> None:
    while attacker.left:
        attacker.send(priority(2 * attacker.frames + 1, 0))


@attack("PRIORITY_UPDATE (RFC 9218)")
def priority_updates(attacker: Attacker) -> None:
    while attacker.left:
        attacker.send(frame(0x10, 0, 0, b"\0\0\0\1u=1"))


@attack("frames of an unknown type")
def unknown(attacker: Attacker) -> None:
    while attacker.left:
        attacker.send(frame(0xBE, 0, 0, b"x" * 100))


@attack("GOAWAY", CALM, ErrorCode.NO_ERROR)
def goaways(attacker: Attacker) -> None:
    attacker.request("/wait")
    while attacker.left:
        attacker.send(goaway())


@attack("windows opened by one byte")
def window_updates(attacker: Attacker) -> None:
    stream = attacker.request("/wait")
    while attacker.left:
        attacker.send(window_update(attacker.frames % 2 * stream, 1))


@attack("windows opened again and again")
def large_window_updates(attacker: Attacker) -> None:
    stream = attacker.request("/wait")
    while attacker.left:
        attacker.send(window_update(attacker.frames % 2 * stream, 2000))


@attack("a response read byte by byte (CVE-2019-9511)")
def dribble(attacker: Attacker) -> None:
    attacker.send(settings({Setting.INITIAL_WINDOW_SIZE: 1}))
    stream = attacker.request(f"/big?size={MiB}")
    while attacker.left:
        attacker.send(window_update(stream, 1))


@attack("responses read byte by byte with SETTINGS (CVE-2019-9517)")
def settings_dribble(attacker: Attacker) -> None:
    attacker.send(settings({Setting.INITIAL_WINDOW_SIZE: 1}))
    for _ in range(100):
        attacker.request(f"/big?size={MiB}")
    for size in range(2, FRAMES):
        if attacker.left:
            attacker.send(settings({Setting.INITIAL_WINDOW_SIZE: size}))


def bomb() -> bytes:
    """16 KiB that stand for 48 MiB: one entry of 4 KiB in the table, and indices to it."""
    entry = b"\x40\x01a\x7f\xa1\x1e" + b"v" * 4000
    return raw_request("/hello") + entry + b"\xbe" * 12000


@attack("HPACK bombs (CVE-2016-6581)")
def bombs(attacker: Attacker) -> None:
    block = bomb()
    for number in range(FRAMES):
        attacker.send(headers(2 * number + 1, block, end=True))


@attack("header lists over the limit")
def long_lists(attacker: Attacker) -> None:
    block = raw_request("/hello") + literal(b"a", b"v" * 16000) * 5
    for number in range(FRAMES // 5):
        attacker.send(*section(2 * number + 1, block))


@attack("requests over the limit of streams", CALM)
def too_many(attacker: Attacker) -> None:
    for _ in range(FRAMES):
        attacker.request("/wait")


@pytest.mark.parametrize("name", list(ATTACKS))
def test_is_cut_within_3000_frames(name: str, server: Gateway) -> None:
    run, codes = ATTACKS[name]
    with open_client(server.address) as client:
        client.request("GET", "/hello")
    before = server.rss()
    with (
        Bystander(site_of(server)) as bystander,
        open_client(server.address, timeout=10.0) as client,
    ):
        # What the attacker reads or not must change nothing: it reads at the end.
        client.acknowledge = client.replenish = client.judge = False
        attacker = Attacker(client)
        run(attacker)
        attacker.flush()
        assert attacker.frames <= FRAMES
        found = client.goaway()
        client.rest()
        port = attacker.port
    assert found.code in codes, found
    assert bystander.failure is None
    assert bystander.slowest < 1.0
    assert server.rss() - before < FLAT
    server.err.wait(rf"127\.0\.0\.1:{port}: HTTP/2 ended with")
    lines = [line for line in server.err.lines if f"127.0.0.1:{port}" in line]
    assert len(lines) <= 2, lines[:5]
    # Nothing goes on for somebody who is not there any more.
    wait_until(lambda: counts(server)["open"] == 0, "the calls have ended")


# --- what is allowed, and how far -----------------------------------------------------------------


def test_an_application_is_called_no_more_often_than_it_can_be_left(server: Gateway) -> None:
    before = counts(server)["calls"]
    with open_client(server.address) as client:
        attacker = Attacker(client)
        while attacker.left:
            attacker.send(rst_stream(attacker.request("/wait")))
        attacker.flush()
        assert client.goaway().code == CALM
    assert counts(server)["calls"] - before <= 300


def test_a_browser_that_leaves_a_page_is_not_cut(server: Gateway) -> None:
    with open_client(server.address) as client:
        streams = [client.open("GET", "/wait") for _ in range(100)]
        client.send(*map(rst_stream, streams))
        assert client.request("GET", "/hello").body == b"Hello"


def test_requests_without_an_error_are_never_a_flood(server: Gateway) -> None:
    with open_client(server.address) as client:
        for _ in range(40):
            streams = [client.open("GET", "/hello") for _ in range(100)]
            assert [client.response(stream).status for stream in streams] == [200] * 100


@pytest.mark.parametrize("size", [66_000, 90_000])
def test_a_header_list_over_the_limit_is_told_so(server: Gateway, size: int) -> None:
    with open_client(server.address) as client:
        stream = client.open("GET", "/wait")
        block = client.request_block("GET", "/hello") + literal(b"x-large", b"v" * size)
        number, client.next_stream = client.next_stream, client.next_stream + 2
        client.send(*section(number, block))
        assert client.response(number).status == 431
        # Those beside it know nothing of it, nor does the next one.
        assert client.request("GET", "/hello").body == b"Hello"
        assert client.streams[stream].reset is None


def test_data_beyond_the_window_ends_its_stream(server: Gateway) -> None:
    with open_client(server.address) as client:
        stream = client.open("POST", "/deaf", end=False)
        window = client.peer[Setting.INITIAL_WINDOW_SIZE]
        client.send(*[data(stream, b"x" * 16384)] * (window // 16384))
        client.sync()
        assert client.streams[stream].reset is None
        client.send(data(stream, b"x"))
        assert client.reset_code(stream) == ErrorCode.FLOW_CONTROL_ERROR
        assert client.request("GET", "/hello").body == b"Hello"


def test_bodies_nobody_reads_are_held_up_to_their_windows_and_let_go(server: Gateway) -> None:
    before = server.rss()
    with open_client(server.address) as client:
        streams = [client.open("POST", "/deaf", end=False) for _ in range(100)]
        for stream in streams:
            client.send(*[data(stream, b"x" * 16384)] * 16)
        client.sync()
        assert server.rss() - before < 100 * 16 * 16384 + FLAT
    # Also while the application, which is not told, goes on.
    wait_until(lambda: server.rss() - before < 2 * FLAT, "the bodies are let go", timeout=5.0)


@pytest.mark.parametrize("path", ["/hello", "/heading", "/endless"])
@pytest.mark.parametrize("wire", ["h2c", "tls"])
def test_requests_whose_answers_nobody_reads_cost_no_memory(
    request: pytest.FixtureRequest, server: Gateway, wire: str, path: str
) -> None:
    site = site_of(server)
    if wire == "tls":
        server, site = request.getfixturevalue("encrypted")
    with site.open() as client:
        client.request("GET", "/heading")
    before = server.rss()
    values = {Setting.INITIAL_WINDOW_SIZE: 2**31 - 1}
    with (
        Bystander(site) as bystander,
        site.open(values=values, receive_buffer=8192) as client,
    ):
        client.grant(0, 2**31 - 65536)
        block = raw_request(path, "GET" if path != "/hello" else "HEAD")
        client.socket.settimeout(1.0)
        try:
            for turn in range(400):  # 20,000 requests, never too many at a time
                batch = [headers(100 * turn + 2 * each + 1, block, end=True) for each in range(50)]
                client.socket.sendall(b"".join(batch))
                time.sleep(0.002)
        except (TimeoutError, ConnectionError):
            pass  # it takes no more, or has hung up
        grown = server.rss() - before
    assert grown < FLAT
    assert bystander.failure is None
    assert bystander.slowest < 1.0


# --- those that are slow --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hasty() -> Iterator[tuple[str, int]]:
    """A server that waits a second where others wait thirty; its address."""
    settings = {"timeout_keep_alive": 1.0, "timeout_graceful_shutdown": 0.5}
    with make_server("e2e.apps.http2_floods:app", **settings) as server:
        worker = server._worker
        assert worker is not None
        for listener in worker._listeners:
            listener._context.head_timeout = listener._context.body_timeout = 1.0
            listener._context.write_timeout = 2.0
        yield "127.0.0.1", server.port


def drip(client: Http2Client, *parts: bytes) -> float:
    """Send byte by byte until the server hangs up; after how many seconds it did."""
    began = time.monotonic()
    for byte in b"".join(parts):
        client.send(bytes([byte]))
        try:
            client.read_frame(0.05)
        except TimeoutError:
            continue
        except ConnectionCut:
            break
    else:
        client.rest()
    return time.monotonic() - began


SLOW = {
    "a slow preface": (False, PREFACE + settings()),
    "a slow frame": (True, frame(Type.SETTINGS, 0, 0, b"\0\3\0\0\0\1" * 100)),
    "a slow header block": (True, headers(1, b"\x82" * 100)),
    "slow continuations (CVE-2024-27316)": (
        True,
        headers(1, b"\x82", end_headers=False)
        + b"".join([continuation(1, b"\x82", end_headers=False)] * 20),
    ),
    "a slow unknown frame": (True, frame(0xBE, 0, 0, b"x" * 100)),
    "slow DATA that is one frame": (
        True,
        headers(1, raw_request("/deaf", "POST")) + data(1, b"x" * 300),
    ),
}


@pytest.mark.parametrize("name", list(SLOW))
def test_what_comes_byte_by_byte_has_a_deadline(name: str, hasty: tuple[str, int]) -> None:
    starts, parts = SLOW[name]
    with connect(hasty, timeout=10.0) as client:
        if starts:
            client.start()
            client.settle()
        assert drip(client, parts) < 6.0
        assert not starts or any(got.type == Type.GOAWAY for got in client.log)


@pytest.mark.parametrize("started", [False, True], ids=["no preface", "no request"])
def test_a_connection_that_says_nothing_is_closed(started: bool, hasty: tuple[str, int]) -> None:
    with connect(hasty, timeout=6.0) as client:
        if started:
            client.start()
            assert client.goaway().code == ErrorCode.NO_ERROR
        assert all(got.type != Type.HEADERS for got in client.rest())


def test_a_body_that_stops_is_answered_408(hasty: tuple[str, int]) -> None:
    with open_client(hasty, timeout=6.0) as client:
        stream = client.open("POST", "/sink", end=False)
        client.send(data(stream, b"x"))
        assert client.response(stream).status == 408


def test_a_stream_whose_window_stays_closed_is_reset(hasty: tuple[str, int]) -> None:
    values = {Setting.INITIAL_WINDOW_SIZE: 0}
    with open_client(hasty, values=values, timeout=6.0) as client:
        stream = client.open("GET", "/big?size=100000")
        assert client.reset_code(stream) == ErrorCode.CANCEL
        client.configure({Setting.INITIAL_WINDOW_SIZE: 65535})
        assert client.request("GET", "/hello").body == b"Hello"


def test_a_client_that_reads_nothing_is_cut(hasty: tuple[str, int], log: Log) -> None:
    values = {Setting.INITIAL_WINDOW_SIZE: 2**31 - 1}
    with open_client(hasty, values=values, receive_buffer=8192, timeout=10.0) as client:
        client.grant(0, 2**31 - 65536)
        client.open("GET", "/endless")
        # Over its log: bytes on their way hide from this client that it was cut.
        log.wait("stopped reading, cut")
