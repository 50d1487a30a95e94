"""Every scenario over every wire with every interface (the design's first proof obligation).

What is here holds whatever carries the exchange; what only HTTP/1.1 has is in `test_http1`.
"""

from __future__ import annotations

import gc
import json
import socket
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from e2e.apps.board import BOARD
from e2e.client import ConnectionCut
from e2e.conftest import APPS
from gateway.exchange import Exchange

MiB = 1024 * 1024


def get(client, target):
    return client.request("GET", target)


# --- plain answers --------------------------------------------------------------------------------


def test_a_plain_answer(client):
    response = get(client, "/hello")
    assert (response.status, response.body) == (200, b"Hello")
    assert response.header("content-type") == "text/plain"
    assert response.header("content-length") == "5"
    assert response.header("date")
    assert response.header("server") == "gateway"


def test_many_requests_are_answered_one_after_another(client):
    assert [get(client, f"/stream?n={n}").body.count(b"chunk") for n in range(20)] == list(
        range(20)
    )


def test_head_has_the_headers_of_get_and_no_body(client):
    got = client.request("HEAD", "/hello")
    assert (got.status, got.header("content-length")) == (200, "5")
    assert get(client, "/hello").body == b"Hello"


def test_head_of_a_stream_ends(client):
    assert client.request("HEAD", "/stream").status == 200
    assert get(client, "/hello").body == b"Hello"


@pytest.mark.parametrize("code", [204, 304])
def test_a_status_without_body_has_none(client, code):
    response = get(client, f"/status?code={code}")
    assert (response.status, response.body) == (code, b"")
    assert response.header("transfer-encoding") is None
    assert get(client, "/hello").body == b"Hello"


@pytest.mark.parametrize("code", [200, 201, 205, 404, 500])
def test_an_empty_body_is_of_length_zero(client, code):
    response = get(client, f"/status?code={code}")
    assert (response.status, response.body) == (code, b"")
    assert response.header("content-length") == "0"


def test_a_304_keeps_its_fields(client):
    response = get(client, "/not-modified")
    assert (response.status, response.header("etag"), response.body) == (304, '"x"', b"")
    assert response.header("content-length") == "5"
    assert get(client, "/hello").body == b"Hello"


# --- request bodies -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1000, 65536, 300_000])
def test_a_body_of_known_length_comes_back(client, size):
    body = bytes(range(256)) * (size // 256 + 1)
    assert client.request("POST", "/echo", [], body[:size]).body == body[:size]


def test_a_body_of_unknown_length_comes_back(client):
    parts = [b"first ", b"x" * 70_000, b" last"]
    with client.open("POST", "/echo", body=True) as call:
        for part in parts:
            call.send(part)
        call.send(b"", more=False)
        assert call.rest() == b"".join(parts)


def test_a_body_is_streamed_to_the_application_and_back(client):
    with client.open("POST", "/echo-stream", body=True) as call:
        for number in range(5):
            data = b"%d" % number * 40_000
            call.send(data)
            got = b""
            while len(got) < len(data):
                got += call.read(65536)
            assert got == data
        call.send(b"", more=False)
        assert call.rest() == b""


def test_a_body_nobody_reads_does_not_reach_the_next_request(client):
    answer = client.request("POST", "/unread", [], b"GET /evil HTTP/1.1\r\n\r\n" * 100)
    assert answer.body == b"not read"
    assert get(client, "/hello").body == b"Hello"


# --- responses ------------------------------------------------------------------------------------


def test_a_response_is_streamed(client, key):
    with client.open("GET", f"/ticks?key={key}") as call:
        assert call.head().header("content-length") is None
        seen = b""
        while seen.count(b"tick") < 3:
            seen += call.read(100)
        call.leave()
    BOARD.wait(key, "ended")


def test_the_first_chunk_is_not_held_back(client, key):
    with client.open("GET", f"/late-error?key={key}") as call:
        assert call.read(100) == b"part"
        BOARD.gate(key).set()
        with pytest.raises(ConnectionCut):
            call.rest()


def test_empty_chunks_do_not_end_a_response(client):
    assert get(client, "/empty-chunks").body == b"ab"


def test_response_fields_arrive_as_they_were_sent(client):
    response = get(client, "/fields")
    assert response.all("set-cookie") == ["a=1; Path=/", "b=2; Path=/"]
    assert response.header("x-latin") == "caf\xe9"
    assert response.header("x-empty") == ""
    assert response.header("x-mixed-case") == "kept"


def test_fields_the_application_sends_itself_are_not_doubled(client):
    response = get(client, "/own-fields")
    assert response.body == b"ok"
    assert response.all("date") == ["Thu, 01 Jan 1970 00:00:00 GMT"]
    assert response.all("server") == ["mine"]
    assert response.all("content-length") == ["2"]
    assert response.all("transfer-encoding") == []
    assert get(client, "/hello").body == b"Hello"


# --- request fields and paths ---------------------------------------------------------------------


def scope(client, target, headers=None):
    return json.loads(client.request("GET", target, headers or []).body)


def test_request_fields_reach_the_application(client):
    seen = scope(
        client,
        "/path",
        [
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("x-latin", "caf\xe9"),
            ("x-two", "1"),
            ("x-two", "2"),
        ],
    )
    fields = seen["headers"]
    values = {name: "; ".join(v for n, v in fields if n == name) for name, _ in fields}
    assert values["cookie"] == "a=1; b=2"
    assert values["x-latin"] == "caf\xe9"
    assert values["x-two"].replace("; ", ", ") == "1, 2"
    assert values["host"] == "test"


def test_the_path_is_decoded_once(client):
    seen = scope(client, "/path/caf%C3%A9/a%2Fb/%2525?q=%20+&r=1")
    assert seen["rest"] == "/path/caf\xe9/a/b/%25"
    assert seen["query"] == "q=%20+&r=1"


def test_a_path_that_is_no_utf8_is_still_served(client):
    assert scope(client, "/path/%FF%FE")["rest"].startswith("/path/")


def test_dots_and_double_slashes_are_left_alone(client):
    assert scope(client, "/path//a/../b/./c")["rest"] == "/path//a/../b/./c"


def test_the_root_path_of_a_mount(client):
    seen = scope(client, "/sub/path/x")
    assert (seen["root_path"], seen["path"], seen["rest"]) == ("/sub", "/sub/path/x", "/path/x")
    assert scope(client, "/path")["root_path"] == ""


def test_a_mount_takes_whole_segments_only(client):
    assert get(client, "/sub").body == b"Hello"
    assert get(client, "/subway").body == b"missing"


def test_the_addresses_of_both_ends(client, server):
    seen = scope(client, "/path")
    assert seen["client"] == "127.0.0.1"
    assert seen["server"] == ["127.0.0.1", server.port]
    assert seen["scheme"] == "http"


def test_headers_of_a_trusted_proxy(client):
    fields = [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-prefix", "/outer"),
    ]
    seen = scope(client, "/sub/path", fields)
    assert (seen["client"], seen["scheme"]) == ("203.0.113.9", "https")
    assert (seen["root_path"], seen["path"]) == ("/outer/sub", "/outer/sub/path")


# --- applications that fail -----------------------------------------------------------------------


def test_an_exception_before_the_start_is_a_500(client, log):
    assert get(client, "/early-error").status == 500
    record = log.wait("early trouble")
    assert "/early-error" in record.getMessage()
    assert get(client, "/hello").body == b"Hello"


def test_an_exception_after_the_start_is_a_cut(client, key, log):
    with client.open("GET", f"/late-error?key={key}") as call:
        assert call.head().status == 200
        BOARD.gate(key).set()
        with pytest.raises(ConnectionCut):
            call.rest()
    log.wait("late trouble")
    assert get(client, "/hello").body == b"Hello"


def test_no_response_at_all_is_a_500(client, log):
    assert get(client, "/silence").status == 500
    log.wait("returned without")
    assert get(client, "/hello").body == b"Hello"


def outcome(client, target):
    """(status, body) of what looks like a complete response, None for a cut one."""
    with client.open("GET", target) as call:
        try:
            return call.head().status, call.rest()
        except ConnectionCut:
            return None


def test_a_body_shorter_than_declared_never_looks_complete(client, log):
    assert outcome(client, "/too-short") in (None, (500, b"Internal Server Error\n"))
    log.wait("shorter")
    assert get(client, "/hello").body == b"Hello"


def test_a_body_longer_than_declared_never_leaks(client, log):
    # Whole, cut, or a 500 where the server saw it in time: never the surplus.
    expected = (None, (200, b"four"), (500, b"Internal Server Error\n"))
    assert outcome(client, "/too-long") in expected
    log.wait("longer")
    assert get(client, "/hello").body == b"Hello"


def test_a_control_character_in_a_field_is_never_sent(client, log):
    response = get(client, "/bad-field")
    assert response.status == 500
    assert response.header("set-cookie") is None
    assert log.wait("evil")


# --- clients that leave ---------------------------------------------------------------------------


def test_a_client_that_leaves_ends_a_stream_without_an_error(client, key, log):
    with client.open("GET", f"/ticks?key={key}") as call:
        assert call.read(100)
        call.leave()
    BOARD.wait(key, "ended", timeout=1.0)
    assert get(client, "/hello").body == b"Hello"
    assert log.errors == []


def test_a_client_that_leaves_during_its_upload_is_no_error(client, key, log):
    size = ("content-length", "200000")
    with client.open("POST", f"/upload?key={key}", [size], body=True) as call:
        call.send(b"x" * 100_000)
        BOARD.wait(key, "called")
        call.leave()
    BOARD.wait(key, "ended", timeout=1.0)
    assert get(client, "/hello").body == b"Hello"
    assert log.errors == []


def test_a_client_that_leaves_a_flood_ends_it(client, key, log):
    with client.open("GET", f"/flood?key={key}", window=8192) as call:
        call.head()
        BOARD.settled(key)
        call.leave()
    BOARD.wait(key, "ended", timeout=1.0)
    assert log.errors == []


# --- much data ------------------------------------------------------------------------------------


def test_an_upload_of_many_reads(client):
    body = bytes(range(256)) * 16 * 1024
    answer = client.request("POST", "/upload", [], body).text
    assert answer == f"{len(body)} {zlib.crc32(body)}"


def test_a_download_of_many_writes(client):
    body = get(client, f"/download?size={4 * MiB + 17}").body
    assert len(body) == 4 * MiB + 17
    assert body.count(b"c") == len(body)


@pytest.fixture
def narrow(wire, interface, serve):
    """A server whose connections have small kernel buffers, so that its own are seen; (client, bytes)."""
    listening = socket.socket()
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        listening.setsockopt(socket.SOL_SOCKET, option, 16384)
    listening.bind(("127.0.0.1", 0))
    buffers = sum(
        listening.getsockopt(socket.SOL_SOCKET, option)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF)
    )
    port = listening.getsockname()[1]
    serve(APPS[interface], interface=interface, fd=listening.detach(), **dict(wire.settings))
    with wire.client(("127.0.0.1", port)) as client:
        yield client, buffers


def test_a_client_that_does_not_read_stops_the_application(narrow, key):
    client, buffers = narrow
    with client.open("GET", f"/flood?key={key}", window=8192) as call:
        assert call.head().status == 200
        asked = BOARD.settled(key)
        assert asked <= 128 * 1024 + buffers + 16384
        got = 0
        while got < asked + MiB:  # and it goes on when the client does
            got += len(call.read(65536))
        call.leave()
    BOARD.wait(key, "ended")


def test_an_application_that_does_not_read_stops_the_client(narrow, key):
    client, buffers = narrow
    total = 16 * MiB
    with client.open(
        "POST", f"/deaf?key={key}", [("content-length", str(total))], body=True, window=16384
    ) as call:
        BOARD.wait(key, "called")
        taken = call.send_available()
        # 64 KiB unread and one read of 256 KiB here, the rest in three kernel buffers.
        assert taken <= 320 * 1024 + buffers + 2 * 16384
        BOARD.gate(key).set()
        call.send(b"x" * (total - taken))
        assert call.rest() == b"heard"
    BOARD.wait_count(key, total)


# --- many at once, and nothing left behind --------------------------------------------------------


def test_answers_of_many_connections_are_not_mixed_up(wire, server):
    def one(number: int) -> list[int]:
        wrong = []
        with wire.client(("127.0.0.1", server.port)) as client:
            for turn in range(8):
                body = b"%d %d " % (number, turn) * (1 + 997 * (turn % 3))
                path = ("/echo", "/echo-stream")[turn % 2]
                if client.request("POST", path, [], body).body != body:
                    wrong.append(turn)
        return wrong

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(one, range(12))) == [[]] * 12


@pytest.fixture
def strict(wire, interface, serve):
    """A server that takes four requests at a time."""
    server = serve(APPS[interface], interface=interface, limit_concurrency=4, **dict(wire.settings))
    with wire.client(("127.0.0.1", server.port)) as client:
        yield client


def test_places_of_clients_that_left_are_free_again(strict, key, log):
    def leave_early(kind: int) -> None:
        name = f"{key}-{kind}"
        if kind % 4 == 0:
            with strict.open("GET", f"/flood?key={name}", window=8192) as call:
                call.head()
                call.leave()
            BOARD.wait(name, "ended")
        elif kind % 4 == 1:
            size = ("content-length", "100000")
            with strict.open("POST", f"/upload?key={name}", [size], body=True) as call:
                call.send(b"x" * 90_000)
                BOARD.wait(name, "called")
                call.leave()
            BOARD.wait(name, "ended")
        elif kind % 4 == 2:
            with strict.open("GET", f"/wait?key={name}") as call:
                BOARD.wait(name, "called")
                call.leave()
            BOARD.gate(name).set()
        else:
            get(strict, "/early-error")

    for kind in range(12):
        leave_early(kind)
    calls = []
    with ExitStack() as stack:
        for number in range(4):
            name = f"{key}-last-{number}"
            calls.append(stack.enter_context(strict.open("GET", f"/wait?key={name}")))
            BOARD.wait(name, "called")
        assert get(strict, "/hello").status == 503
        for number in range(4):
            BOARD.gate(f"{key}-last-{number}").set()
        assert [call.rest() for call in calls] == [b"waited"] * 4


def test_nothing_of_a_request_stays_behind(wire, interface, serve, key):
    gc.collect()
    before = {id(each) for each in gc.get_objects() if isinstance(each, Exchange)}
    server = serve(APPS[interface], interface=interface, **dict(wire.settings))
    with wire.client(("127.0.0.1", server.port)) as client:
        for target in ("/hello", "/stream", "/status?code=204", "/nothing", "/fields"):
            get(client, target)
        client.request("POST", "/echo", [], b"x" * 100_000)
        with client.open("GET", f"/flood?key={key}") as call:
            call.read(100)
            call.leave()
        BOARD.wait(key, "ended")
        get(client, "/hello")
    server.stop()
    gc.collect()
    left = [
        each for each in gc.get_objects() if isinstance(each, Exchange) and id(each) not in before
    ]
    assert left == []
