"""What only HTTP/1.1 has, with both parsers and every interface, byte by byte on a socket."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator

import httpx2
import pytest

from e2e.apps.board import BOARD
from e2e.client import Http1Client, Http1Socket
from e2e.conftest import WIRES, WireCase


@pytest.fixture(params=[wire for wire in WIRES if wire.client is Http1Client], ids=lambda w: w.name)
def wire(request: pytest.FixtureRequest) -> WireCase:
    case: WireCase = request.param
    return case


@pytest.fixture
def connection(server) -> Iterator[Http1Socket]:
    with Http1Socket(("127.0.0.1", server.port)) as connection:
        yield connection


def ask(connection, target="/hello", *lines, method="GET", version="1.1"):
    connection.send_request(method, target, *lines, version=version)
    return connection.response(method)


# --- the life of a connection ---------------------------------------------------------------------


def test_a_connection_is_kept(connection):
    for _ in range(3):
        response = ask(connection)
        assert response.body == b"Hello"
        assert response.header("connection") is None


def test_a_client_that_says_close_gets_it(connection):
    response = ask(connection, "/hello", "connection: close")
    assert (response.body, response.header("connection")) == (b"Hello", "close")
    assert connection.is_closed()


def test_http_1_0_is_closed(connection):
    response = ask(connection, version="1.0")
    assert (response.body, response.header("connection")) == (b"Hello", "close")
    assert connection.is_closed()


def test_http_1_0_may_keep_its_connection(connection):
    for _ in range(2):
        response = ask(connection, "/hello", "connection: keep-alive", version="1.0")
        assert (response.body, response.header("connection")) == (b"Hello", "keep-alive")


def test_a_stream_to_http_1_0_ends_with_the_connection(connection, key):
    connection.send_request("GET", f"/two-parts?key={key}", "connection: keep-alive", version="1.0")
    head = connection.response_head()
    assert head.header("transfer-encoding") is None
    assert head.header("connection") == "close"
    assert connection.exactly(5) == b"first"
    BOARD.gate(key).set()
    assert connection.until_closed() == b"second"


def test_a_stream_is_chunked(connection, key):
    connection.send_request("GET", f"/two-parts?key={key}")
    assert connection.response_head().header("transfer-encoding") == "chunked"
    assert connection.exactly(10) == b"5\r\nfirst\r\n"
    BOARD.gate(key).set()
    assert connection.exactly(16) == b"6\r\nsecond\r\n0\r\n\r\n"


def test_pipelined_requests_are_answered_in_order(connection):
    for number in range(10):
        connection.send_request("GET", f"/stream?n={number}")
    for number in range(10):
        assert connection.response().body.count(b"chunk") == number


def test_a_good_request_is_answered_before_the_bad_one_behind_it(connection):
    connection.send_request("GET", "/hello")
    connection.send(b"GET / HTTP/1.1\r\nhost: a\r\nbad header: x\r\n\r\n")
    assert connection.response().body == b"Hello"
    assert connection.response().status == 400
    assert connection.is_closed()


def test_a_request_that_comes_byte_by_byte(connection):
    for byte in b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc":
        connection.send(bytes([byte]))
    assert connection.response().body == b"abc"


def test_a_half_closed_client_gets_its_answer(connection):
    connection.send_request("GET", "/hello")
    connection.end_sending()
    assert connection.response().body == b"Hello"
    assert connection.is_closed()


def test_a_request_that_ends_early_reaches_no_application(connection, key):
    connection.send(b"GET /deaf?key=%b HTTP/1.1\r\nhost: a\r\n" % key.encode())
    connection.end_sending()
    assert connection.until_closed() == b""
    assert BOARD.notes(key) == []


def test_a_chunked_body_comes_back(connection):
    connection.send_request("POST", "/echo", "transfer-encoding: chunked")
    connection.send(b"5;ext=1\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nx-trailer: 1\r\n\r\n")
    assert connection.response().body == b"hello world"
    assert ask(connection).body == b"Hello"


def test_request_trailers_do_not_join_the_headers(connection):
    connection.send_request("POST", "/path", "transfer-encoding: chunked")
    connection.send(b"0\r\nx-forwarded-for: 6.6.6.6\r\n\r\n")
    assert b"6.6.6.6" not in connection.response().body


def test_a_broken_chunk_is_a_400_and_the_end(connection):
    connection.send_request("POST", "/echo", "transfer-encoding: chunked")
    connection.send(b"zz\r\nhello\r\n0\r\n\r\n")
    assert connection.response().status == 400
    assert connection.is_closed()


def test_a_body_that_nobody_reads_and_that_is_too_long_to_skip_closes(connection):
    connection.send_request("POST", "/unread", "content-length: 100000000")
    response = connection.response()
    assert response.body == b"not read"
    assert connection.is_closed()


# --- 100 (Continue) -------------------------------------------------------------------------------


def test_continue_is_sent_when_the_application_reads(connection):
    connection.send_request("POST", "/echo", "content-length: 3", "expect: 100-continue")
    assert connection.line() == "HTTP/1.1 100 Continue"
    assert connection.line() == ""
    connection.send(b"abc")
    assert connection.response().body == b"abc"


def test_continue_is_not_sent_when_the_application_does_not_read(connection):
    connection.send_request("POST", "/unread", "content-length: 3", "expect: 100-continue")
    response = connection.response()
    assert response.interim == []
    assert (response.body, response.header("connection")) == (b"not read", "close")


def test_continue_is_not_sent_when_the_body_is_already_there(connection):
    connection.send(
        b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\nabc"
    )
    response = connection.response()
    assert (response.interim, response.body) == ([], b"abc")


def test_continue_is_not_sent_to_http_1_0(connection):
    connection.send_request(
        "POST", "/echo", "content-length: 3", "expect: 100-continue", version="1.0"
    )
    connection.send(b"abc")
    response = connection.response()
    assert (response.interim, response.body) == ([], b"abc")


# --- targets and refusals -------------------------------------------------------------------------


def test_an_absolute_target_is_a_path_to_the_application(connection):
    body = ask(connection, "http://test/path/x?q=1").body
    assert b'"rest": "/path/x"' in body


def test_options_asterisk_is_answered(connection):
    response = ask(connection, "*", method="OPTIONS")
    assert response.status in (200, 404)
    assert ask(connection).body == b"Hello"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (b"GET / HTTP/3.7\r\nhost: a\r\n\r\n", 505),
        (b"GET /\x00 HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx : 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 70000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: 1\r\n" * 101 + b"\r\n", 431),
        (b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nhost: a\r\n\r\n", 414),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
    ids=[
        "no-host", "two-hosts", "version", "control", "two-lengths", "plus-length", "cl-and-te",
        "fold", "space-colon", "large-head", "many-fields", "long-target", "tls",
    ],
)  # fmt: skip
def test_a_malformed_request_is_refused_and_the_connection_closed(
    connection, request_bytes, status
):
    connection.send(request_bytes)
    response = connection.response()
    assert (response.status, response.header("connection")) == (status, "close")
    assert connection.is_closed()


def test_an_upgrade_nobody_takes_is_a_plain_request_with_its_body(connection):
    connection.send_request(
        "POST", "/echo", "connection: upgrade", "upgrade: h2c", "content-length: 3"
    )
    connection.send(b"abc")
    assert connection.response().body == b"abc"


def test_the_end_of_a_failed_stream_is_a_cut(connection, key, log):
    connection.send_request("GET", f"/late-error?key={key}")
    connection.response_head()
    BOARD.gate(key).set()
    assert not connection.until_closed().endswith(b"0\r\n\r\n")
    log.wait("late trouble")


# --- clients of others ----------------------------------------------------------------------------


def test_curl_uploads_and_downloads(server, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"curl" * 500_000)
    done = subprocess.run(
        ["curl", "-sS", "-D", "-", "-T", source, "-o", tmp_path / "copy", f"{server.url}/echo-stream"],
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    assert "HTTP/1.1 100 Continue" in done.stdout
    assert "HTTP/1.1 200 OK" in done.stdout
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()


def test_curl_follows_keep_alive_and_head(server):
    done = subprocess.run(
        ["curl", "-sSv", f"{server.url}/hello", f"{server.url}/stream", "-I", f"{server.url}/hello"],
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    assert done.stderr.count("Trying 127.0.0.1") == 1


def test_httpx_streams_both_ways(server):
    def parts():
        for number in range(5):
            yield b"%d" % number * 30_000

    with httpx2.Client(base_url=server.url, trust_env=False) as client:
        answer = client.post("/echo-stream", content=parts())
        assert answer.content == b"".join(parts())
        assert client.get("/fields").headers.get_list("set-cookie") == [
            "a=1; Path=/",
            "b=2; Path=/",
        ]


def test_header_pairs_may_be_lists(serve):
    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": [[b"x-a", b"b"]]})
        await send({"type": "http.response.body", "body": b"ok"})

    with Http1Socket(("127.0.0.1", serve(app).port)) as connection:
        connection.send_request("GET", "/")
        response = connection.response("GET")
    assert (response.status, response.header("x-a"), response.body) == (200, "b", b"ok")


def test_a_thread_that_reads_the_body_ends_with_the_response(serve):
    """A thread of the application's own, still in read() when the response is complete."""
    errors = []
    helpers = []

    def app(environ, start_response):
        def read():
            try:
                environ["wsgi.input"].read()
            except OSError as error:
                errors.append(error)

        helpers.append(threading.Thread(target=read))
        helpers[0].start()
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    with Http1Socket(("127.0.0.1", serve(app).port)) as connection:
        connection.send_request("POST", "/", "Content-Length: 200000")
        assert connection.response("POST").body == b"ok"
        helpers[0].join(10)
        assert not helpers[0].is_alive()
    assert len(errors) == 1
