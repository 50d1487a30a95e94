"""The advisories that take a process to show: it lives, it rests, its logs say one line each.

It runs without assertions (``python -O``), which CVE-2025-69227 of aiohttp needed.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from http2_client import open_client

from e2e.client import Http1Socket, Response
from e2e.process import Gateway, wait_until
from e2e.websocket_client import handshake_lines, open_peer

MAIN = """
import os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("none")
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    if scope["path"] == "/fails":
        raise ValueError("secret of the application")
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    text = f"{os.getpid()} {__debug__} {size} {scope['path']}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text, "more_body": True})
    if scope["path"] == "/stream":
        for _ in range(1000):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    await send({"type": "http.response.body", "body": b""})

def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/fails":
        raise ValueError("secret of the application")
    size = 0
    while data := environ["wsgi.input"].read(65536):
        size += len(data)
    start_response("200 OK", [])
    return [f"{os.getpid()} {__debug__} {size} {environ['PATH_INFO']}".encode()]
"""
NASTY = "%0aINFO:%20%20%20%20%20forged%0d%1b[2J%00%7f%c2%85%c2%9b%e2%80%a8%22"


def start(directory: Path, *args: str) -> Gateway:
    (directory / "main.py").write_text(MAIN)
    mounts = ["--mount", "/=main:app", "--mount", "/wsgi=main:wsgi", "--port", "0"]
    return Gateway(["-O", "-m", "gateway", *mounts, *args], directory, module=None)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with start(tmp_path_factory.mktemp("advisories"), "--no-access-log") as gateway:
        yield gateway.ready()


def ask(server: Gateway, target: str, *lines: str, body: bytes = b"") -> Response:
    with server.connect() as connection:
        connection.send_request("POST" if body else "GET", target, *lines)
        connection.send(body)
        return connection.response()


def pid(server: Gateway) -> int:
    return int(ask(server, "/").text.split()[0])


def reset(connection: Http1Socket) -> None:
    """Close with a RST."""
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.socket.close()


def processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_cve_2025_69227_nothing_rests_on_assertions(server: Gateway) -> None:
    for mount in ("/", "/wsgi/"):
        _, debug, size, _ = ask(server, mount).text.split()
        assert (debug, size) == ("False", "0")


@pytest.mark.parametrize("mount", ["", "/wsgi"])
def test_cve_2025_69229_a_megabyte_in_tiny_chunks_is_read_in_no_time(
    server: Gateway, mount: str
) -> None:
    size = 1 << 20
    began = time.monotonic()
    answer = ask(
        server, mount + "/", "transfer-encoding: chunked", body=b"1\r\nx\r\n" * size + b"0\r\n\r\n"
    )
    assert answer.text.split()[2] == str(size)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("mount", ["", "/wsgi"])
def test_cve_2018_6758_a_long_path_harms_nobody(server: Gateway, mount: str) -> None:
    before = pid(server)
    assert len(ask(server, mount + "/" + "a" * 60_000).text) > 60_000
    assert ask(server, mount + "/" + "a" * 66_000).status == 414
    assert ask(server, mount + "/" + "../" * 20_000).status == 200
    assert pid(server) == before


@pytest.mark.parametrize("mount", ["", "/wsgi"])
def test_cve_2019_14806_2024_34069_a_failure_shows_nothing_of_the_application(
    server: Gateway, mount: str
) -> None:
    """No debugger, no traceback: those are in the log."""
    answer = ask(server, mount + "/fails")
    assert (answer.status, answer.text) == (500, "Internal Server Error\n")
    server.err.wait("secret of the application")


def test_cve_2022_31015_clients_that_leave_end_no_server(server: Gateway) -> None:
    """waitress: a race at the end of a connection killed the main thread."""
    before = pid(server)
    for number in range(400):
        connection = server.connect()
        if number % 4 == 1:
            connection.send(b"GET /stream HTT")
        elif number % 4 == 2:
            connection.send_request("GET", "/stream")
        elif number % 4 == 3:
            connection.send_request("GET", "/wsgi/" if number % 8 == 3 else "/stream")
            connection.socket.recv(10)
        if number % 3:
            reset(connection)
        else:
            connection.socket.close()
    assert pid(server) == before
    wait_until(lambda: open_sockets(server) < 10, "every connection is closed")


def open_sockets(server: Gateway) -> int:
    found = 0
    for path in Path(f"/proc/{server.pid}/fd").iterdir():
        try:
            found += path.readlink().name.startswith("socket:")
        except OSError:  # closed meanwhile
            continue
    return found


def test_cve_2024_49769_half_open_sockets_keep_no_core_busy(server: Gateway) -> None:
    """waitress: a client that closes at once left a loop that never slept."""
    waiting = [server.connect() for _ in range(20)]
    for number, connection in enumerate(waiting):
        if number % 2:
            connection.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhe")
        if number % 4 > 1:
            connection.socket.shutdown(socket.SHUT_WR)
        if number % 4 == 0:
            reset(connection)
    ask(server, "/")
    process = pid(server)
    before, began = processor_seconds(process), time.monotonic()
    threading.Event().wait(1.0)
    spent = (processor_seconds(process) - before) / (time.monotonic() - began)
    for connection in waiting:
        connection.socket.close()
    assert spent < 0.2


def test_cve_2020_35681_requests_do_not_mix(server: Gateway) -> None:
    failures: list[str] = []

    def many(number: int) -> None:
        with server.connect() as connection:
            for turn in range(100):
                for mount in ("", "/wsgi"):
                    connection.send_request("GET", f"{mount}/{number}/{turn}")
                    if not connection.response().text.endswith(f" /{number}/{turn}"):
                        failures.append(f"{number}/{turn}")

    threads = [threading.Thread(target=many, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_cve_2026_42544_no_byte_of_a_handshake_ends_a_worker(server: Gateway) -> None:
    before = pid(server)
    for name in ("key", "version", "protocol", "extensions"):
        for bad in ("\x80\xff", "\x85", "a\x0bb", "\xa0"):
            field = {f"sec_websocket_{name}": bad}
            with server.connect() as connection:
                connection.send_request("GET", "/", *handshake_lines(**field))
                assert connection.response().status in (400, 426)
    with open_peer(server.address) as peer:
        peer.send("hello")
        assert peer.message() == "hello"
    assert pid(server) == before


def test_cve_2020_7694_no_client_writes_a_line_of_its_own(tmp_path: Path) -> None:
    """uvicorn. Every place a client has, over HTTP/1.1, HTTP/2 and WebSocket, in a real log."""
    with start(tmp_path) as server:
        server.ready()
        fields = ['user-agent: "\\\x85\xff', "referer: \x9b[2J", "x-forwarded-for: \x85 forged"]
        for mount in ("", "/wsgi"):
            ask(server, f"{mount}/{NASTY}?{NASTY}", *fields)
            ask(server, f"{mount}/fails/../{NASTY}")
        for bad in (
            b"GET /\x1b[2J HTTP/1.1\r\n\r\n",
            b"\x1b[2J\nINFO: forged\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[2J\r\nINFO:     forged\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\nINFO: forged\r\n",
        ):
            with server.connect() as connection:
                connection.send(bad)
                assert connection.response().status == 400
        with open_client(server.address) as client:
            assert client.request("GET", f"/{NASTY}").status == 200
        with open_peer(server.address, f"/{NASTY}") as peer:
            peer.send_close(4000, "\nINFO:     forged \x1b[2J")
            peer.connection.until_closed()
        assert server.stop() == 0
        out, err = server.out.lines, server.err.lines
    assert len(out) >= 6
    for line in out:
        assert re.match(r'127\.0\.0\.1:\d+ - "(GET|POST) /', line)
        assert line.isprintable()
    assert sum("refused with 400" in line for line in err) == 4
    for line in err:
        assert re.match(r"(INFO|WARNING): {2,5}[^ ]", line)
        assert "forged" not in line
        assert line.isprintable()
