"""Clients that are slow, silent or gone: each is ended in a stated time, on every wire."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from struct import pack, unpack_from

import pytest
from hpack import Encoder

from e2e.client import ConnectionCut, Http1Socket
from e2e.http2_site import Certified, Site
from e2e.process import wait_until

LIMIT = 1.0
# Deadlines are looked at once a second; the rest is for a machine that has much to do.
LATE = 2.5
PACE = 0.3  # seconds between two pieces of who drips
SETTINGS = {
    "timeout_head": LIMIT,
    "timeout_body": LIMIT,
    "timeout_keep_alive": LIMIT,
    "ssl_handshake_timeout": LIMIT,
}


async def asgi(scope, receive, send):
    """Reads the whole request, then answers."""
    if scope["type"] != "http":
        raise RuntimeError("no lifespan here")
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


def wsgi(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [b"done"]


# --- seven kinds ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slow:
    """What a client says at first, and then every `PACE` seconds. says: what it is to be told."""

    begins: bytes
    goes_on: tuple[bytes, ...] = ()
    told: bytes = b"HTTP/1.1 408 "


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"
DRIPS = 20

HTTP1 = {
    "silent": Slow(b"", told=b""),
    "half a head": Slow(GET[:-2]),
    "a header line now and then": Slow(GET[:-2], (b"X: y\r\n",) * DRIPS),
    "half a body": Slow(POST + bytes(50)),
    "a body byte now and then": Slow(POST, (b"x",) * DRIPS),
    "idle": Slow(GET, told=b"HTTP/1.1 200 "),
    "silent inside the second request": Slow(GET + GET[:-2]),
}


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return pack(">HBBBL", len(payload) >> 8, len(payload) & 255, kind, flags, stream) + payload


def fields(method: str) -> bytes:
    names = (":method", ":scheme", ":path", ":authority")
    return Encoder().encode([*zip(names, (method, "https", "/", "a"), strict=True)])


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
GET2 = frame(1, 0x05, 1, fields("GET"))
POST2 = frame(1, 0x04, 1, fields("POST"))
RESET, GOAWAY = b"RST_STREAM", b"GOAWAY"

HTTP2 = {
    "silent": Slow(b"", told=b""),
    "half a head": Slow(PREFACE + frame(1, 0x01, 1, fields("GET")[:2]), told=GOAWAY),
    "a header line now and then": Slow(
        PREFACE + frame(1, 0x01, 1, fields("GET")), (frame(9, 0, 1, b""),) * DRIPS, told=GOAWAY
    ),
    "half a body": Slow(PREFACE + POST2 + frame(0, 0, 1, bytes(50)), told=RESET),
    "a body byte now and then": Slow(PREFACE + POST2, (frame(0, 0, 1, b"x"),) * DRIPS, told=RESET),
    "idle": Slow(PREFACE + GET2, told=GOAWAY),
    "silent inside the second request": Slow(
        PREFACE + GET2 + frame(1, 0x05, 3, fields("GET"))[:-3], told=GOAWAY
    ),
}


def last_word(received: bytes) -> bytes:
    """How the server has ended an HTTP/2 connection, or the stream on it; b"" if it has not."""
    at = 0
    while len(received) - at >= 9:
        high, low, kind = unpack_from(">HBB", received, at)
        if kind in (3, 7):
            return RESET if kind == 3 else GOAWAY
        at += 9 + (high << 8 | low)
    return b""


def endure(sock: socket.socket, slow: Slow, *, http2: bool) -> tuple[float, bytes]:
    """Be slow until the server ends it: after how many seconds, and what it has said."""
    received = b""
    with sock:
        sock.sendall(slow.begins)
        began = time.monotonic()
        drips = iter(slow.goes_on)
        sock.settimeout(PACE)
        while time.monotonic() - began < 3 * LATE:
            try:
                data = sock.recv(65536)
            except TimeoutError:
                with suppress(OSError):
                    sock.sendall(next(drips, b""))
                continue
            except OSError:
                break
            received += data
            if not data or (http2 and last_word(received)):
                break
        else:
            pytest.fail("nobody has ended it")
        return time.monotonic() - began, received


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return Certified.made_in(tmp_path_factory.mktemp("certificates"))


@dataclass(frozen=True)
class Wire:
    """One way to speak with a server; alpn: of its TLS, "" without."""

    kinds: dict[str, Slow]
    alpn: str
    app: object


WIRES = {
    "http1": Wire(HTTP1, "", asgi),
    "http1-wsgi": Wire(HTTP1, "", wsgi),
    "tls": Wire(HTTP1, "http/1.1", asgi),
    "http2": Wire(HTTP2, "h2", asgi),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WIRES)
def test_seven_kinds_of_slow_client_are_ended(name, serve, certified):
    wire = WIRES[name]
    server = serve(wire.app, **SETTINGS, **(certified.settings if wire.alpn else {}))
    context = certified.context()
    context.set_alpn_protocols([wire.alpn or "http/1.1"])

    def connect() -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        if wire.alpn:
            sock = context.wrap_socket(sock, server_hostname="localhost")
        return sock

    http2 = wire.alpn == "h2"
    with ThreadPoolExecutor(len(wire.kinds)) as pool:
        runs = {
            kind: pool.submit(endure, connect(), slow, http2=http2)
            for kind, slow in wire.kinds.items()
        }
    for kind, run in runs.items():
        seconds, received = run.result()
        assert LIMIT - 0.1 <= seconds <= LIMIT + LATE, kind
        told = wire.kinds[kind].told
        if http2:
            assert last_word(received) == told, kind
        else:
            last = received[received.rfind(b"HTTP/1.1 ") :] if received else b""
            assert last.startswith(told), kind
            assert bool(last) == bool(told), kind


@pytest.mark.slow
def test_a_handshake_that_is_not_done_is_ended(serve, certified):
    server = serve(asgi, **SETTINGS, **certified.settings)
    hello = b"\x16\x03\x01\x02\x00\x01"  # the beginning of one
    for begins in (b"", hello):
        sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        seconds, received = endure(sock, Slow(begins), http2=False)
        assert seconds <= LIMIT + LATE
        assert received == b""


@pytest.mark.slow
def test_a_client_that_stops_reading_is_cut(serve, log):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})

    server = serve(app, timeout_write=LIMIT, lifespan="off")
    with Http1Socket(("127.0.0.1", server.port), window=8192) as connection:
        began = time.monotonic()
        connection.send_request("GET", "/")
        log.wait("stopped reading, cut")
        assert time.monotonic() - began <= LIMIT + LATE
        connection.until_closed()


# --- gone in mid-response -------------------------------------------------------------------------


class Witnessed:
    """When an application heard that its client is gone."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.heard = threading.Event()

    async def asgi(self, scope, receive, send):
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                self.begun.set()
                await asyncio.sleep(0.05)
        except OSError:
            self.heard.set()
            raise

    async def receiving(self, scope, receive, send):
        """Says nothing more, and only listens."""
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        self.begun.set()
        assert (await receive())["type"] == "http.disconnect"
        self.heard.set()

    def wsgi(self, environ, start_response):
        start_response("200 OK", [])
        try:
            while True:
                yield b"x"
                self.begun.set()
                time.sleep(0.05)
        finally:
            self.heard.set()

    def asking(self, environ, start_response):
        """Says nothing more, and looks now and then."""
        start_response("200 OK", [])
        yield b"x"
        self.begun.set()
        while not environ["gateway.client_disconnected"]():
            time.sleep(0.05)
        self.heard.set()


@pytest.mark.parametrize("way", ["asgi", "receiving", "wsgi", "asking"])
@pytest.mark.parametrize("name", ["http1", "tls", "http2"])
def test_a_client_that_goes_in_mid_response_is_missed_within_a_second(
    name, way, serve, certified, log
):
    witness = Witnessed()
    server = serve(
        getattr(witness, way), lifespan="off", **(certified.settings if name != "http1" else {})
    )
    with ExitStack() as stack:
        if name == "http2":
            client = stack.enter_context(
                Site(("127.0.0.1", server.port), certified.context()).open()
            )
            client.send(GET2)
        else:
            sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            if name == "tls":
                context = ssl.create_default_context(cafile=certified.ca)
                sock = context.wrap_socket(sock, server_hostname="localhost")
            client = stack.enter_context(sock)
            client.sendall(GET)
        assert witness.begun.wait(5)
    assert witness.heard.wait(1.0)
    assert log.errors == []


# --- without descriptors --------------------------------------------------------------------------


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def hold(address: tuple[str, int], count: int, stack: ExitStack) -> None:
    """Open connections that say nothing; those that are not accepted wait in the kernel."""
    for _ in range(count):
        stack.enter_context(socket.create_connection(address, timeout=10))


@pytest.mark.slow
@pytest.mark.parametrize("args", [["--loop", "asyncio"], ["--loop", "uvloop"], ["--workers", "2"]])
def test_a_server_without_descriptors_waits_and_recovers_within_a_second(gateway, args):
    process = gateway("e2e.apps.processes:app", "--port", "0", *args).ready()
    workers = process.workers() or {process.pid}
    for pid in workers:
        used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 5, used + 5))
    with ExitStack() as stack:
        hold(process.address, 40, stack)
        before = sum(map(cpu_seconds, workers))
        began = time.monotonic()
        time.sleep(2.0)  # what is measured
        spent = sum(map(cpu_seconds, workers)) - before
        assert spent / (time.monotonic() - began) < 0.1
    began = time.monotonic()

    def answered() -> bool:
        with suppress(ConnectionCut, OSError), process.connect() as connection:
            connection.socket.settimeout(0.5)
            connection.send_request("GET", "/")
            return connection.response().status == 200
        return False

    wait_until(answered, "it answers again")
    assert time.monotonic() - began < 1.5  # the second, and what a request takes
    assert len(process.err.lines) < 60
    assert process.stop() == 0


# --- more connections than there may be -----------------------------------------------------------


@pytest.fixture(params=["plain", "tls"])
def crowded(request, serve, certified) -> Callable[..., tuple[object, Callable[[], socket.socket]]]:
    """Start a server with limits: it, and how to connect."""

    def start(app: object, **settings: object):
        encrypted = request.param == "tls"
        server = serve(app, lifespan="off", **settings, **(certified.settings if encrypted else {}))

        def connect() -> socket.socket:
            sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            if encrypted:
                context = ssl.create_default_context(cafile=certified.ca)
                sock = context.wrap_socket(sock, server_hostname="localhost")
            return sock

        return server, connect

    return start


def ask(sock: socket.socket) -> bytes:
    sock.sendall(GET)
    return sock.recv(65536)


def test_idle_connections_are_no_load(crowded, log):
    _, connect = crowded(asgi, limit_connections=4)
    with ExitStack() as stack:
        kept = [stack.enter_context(connect()) for _ in range(4)]
        assert all(ask(each).startswith(b"HTTP/1.1 200") for each in kept)
        late = [stack.enter_context(connect()) for _ in range(3)]
        assert all(ask(each).startswith(b"HTTP/1.1 200") for each in late)
        with suppress(ConnectionResetError):
            assert kept[0].recv(1) == b""
        log.wait("limit-connections: ")


@pytest.mark.slow
def test_where_all_are_busy_the_next_one_waits(crowded):
    go_on = threading.Event()

    def app(environ, start_response):
        go_on.wait(5)
        start_response("200 OK", [("Connection", "close")])
        return [b"done"]

    _, connect = crowded(app, limit_connections=2)
    with ThreadPoolExecutor(3) as pool, ExitStack() as stack:

        def run() -> bytes:
            with connect() as sock:
                return ask(sock)

        runs = [pool.submit(run) for _ in range(3)]
        stack.callback(go_on.set)
        assert not wait(runs, timeout=0.3).done
        go_on.set()
        assert all(each.result().startswith(b"HTTP/1.1 200") for each in runs)


def test_an_address_has_its_number_of_connections(serve, log):
    server = serve(asgi, lifespan="off", limit_connections_per_address=2, forwarded_allow_ips="")
    address = ("127.0.0.1", server.port)
    with ExitStack() as stack:
        first, _ = (stack.enter_context(Http1Socket(address)) for _ in range(2))
        first.send_request("GET", "/")
        assert first.response().status == 200
        third = stack.enter_context(Http1Socket(address))
        assert third.is_closed()
        log.wait("limit-connections-per-address: 1 closed, the last of 127.0.0.1:")
        first.close()

        def let_in() -> bool:
            with Http1Socket(address) as again:
                again.send_request("GET", "/")
                try:
                    return again.response().status == 200
                except ConnectionCut:
                    return False

        wait_until(let_in, "one more is let in")


def test_a_proxy_of_ours_has_as_many_as_it_likes(serve):
    server = serve(asgi, lifespan="off", limit_connections_per_address=1)
    with ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(Http1Socket(("127.0.0.1", server.port)))
            connection.send_request("GET", "/")
            assert connection.response().status == 200
