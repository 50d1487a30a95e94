"""WebSockets between a client and an application: handshakes, ends, pressure, limits, shutdown.

What RFC 6455 and RFC 7692 say about frames is in `test_websocket_conformance`.
"""

from __future__ import annotations

import gc
import json
import signal
import socket
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from e2e.apps.board import BOARD
from e2e.client import Http1Socket
from e2e.conftest import WIRES, WireCase
from e2e.process import Gateway, wait_until
from e2e.websocket_client import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    Peer,
    close_payload,
    fill,
    frame,
    handshake_lines,
    open_peer,
    switching,
)
from gateway import Server
from gateway.websocket.session import Session

KiB = 1024
MiB = 1024 * KiB
APP = "e2e.apps.websockets:app3"
APPS = {"asgi3": APP, "asgi2": "e2e.apps.websockets:app2"}
# Each codec on another loop and parser: the pairs are in the conformance tests.
STACKS = {
    "auto": {"ws": "auto", "loop": "uvloop", "http": "httptools"},
    "websockets": {"ws": "websockets", "loop": "asyncio", "http": "h11"},
    "wsproto": {"ws": "wsproto", "loop": "uvloop", "http": "h11"},
}
FAST = {"timeout_graceful_shutdown": 3}


@pytest.fixture(params=list(STACKS))
def stack(request: pytest.FixtureRequest) -> dict[str, object]:
    return dict(STACKS[request.param])


@pytest.fixture
def server(stack, shared) -> Server:
    return shared(mounts={"/": APP, "/sub": APP}, **stack)


@pytest.fixture
def plain(shared) -> Server:
    """For what happens above the codec."""
    return shared(mounts={"/": APP, "/sub": APP}, **STACKS["auto"])


def address(server: Server) -> tuple[str, int]:
    return "127.0.0.1", server.port


def ask(server: Server, target: str, *lines: str, method: str = "GET", version: str = "1.1"):
    """The response to a handshake that is not accepted."""
    with Http1Socket(address(server)) as connection:
        connection.send_request(method, target, *lines, version=version)
        return connection.response(method)


# --- the opening handshake ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"sec_websocket_key": None}, 400),
        ({"sec_websocket_key": ""}, 400),
        ({"sec_websocket_key": "short=="}, 400),
        ({"sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ"}, 400),
        ({"sec_websocket_key": "dGhlIHNhbXBsZSBub25jZSBsb25n"}, 400),
        ({"sec_websocket_key": "!!!!!!!!!!!!!!!!!!!!!!=="}, 400),
        ({"sec_websocket_version": None}, 400),
        ({"sec_websocket_version": "12"}, 426),
        ({"sec_websocket_version": "14"}, 426),
        ({"sec_websocket_version": "013"}, 426),
        ({"sec_websocket_version": "13, 8"}, 426),
        ({"sec_websocket_version": ""}, 426),
    ],
    ids=str,
)
def test_a_handshake_that_is_not_one_is_refused(plain, changed, status):
    response = ask(plain, "/echo", *handshake_lines(**changed))
    assert response.status == status
    assert response.body
    if status == 426:
        assert response.header("sec-websocket-version") == "13"
        assert response.header("upgrade") == "websocket"


@pytest.mark.parametrize("name", ["sec-websocket-key", "sec-websocket-version", "origin"])
def test_a_field_that_may_be_there_once_is_there_twice(plain, name):
    values = {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version": "13"}
    extra = f"{name}: {values.get(name, 'https://example.com')}"
    repeated = [extra] * (2 if name == "origin" else 1)
    assert ask(plain, "/echo", *handshake_lines(*repeated)).status == 400


@pytest.mark.parametrize(
    "byte", ["\x80", "\xff", "\xc3\xa9", "\x0b", "\x0c", "\x1c", "\x1e", "\x85"]
)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("sec-websocket-accept", "x"),
        ("origin", "https://example.com"),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
    ],
)
def test_bytes_that_are_not_ascii_are_refused(plain, name, value, byte, log):
    changed = {name.replace("-", "_"): value + byte}
    if name == "connection":
        changed = {"connection": f"Upgrade, x{byte}"}
    assert ask(plain, "/echo", *handshake_lines(**changed)).status == 400
    before = byte + value
    changed = {name.replace("-", "_"): before if name != "connection" else f"x{byte}, Upgrade"}
    assert ask(plain, "/echo", *handshake_lines(**changed)).status == 400
    assert log.errors == []
    with open_peer(address(plain)) as peer:  # and nobody else is hurt
        peer.send("alive")
        assert peer.message() == "alive"


@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS", "HEAD"])
def test_only_a_get_opens_a_websocket(plain, method):
    response = ask(plain, "/echo", *handshake_lines(), method=method)
    assert response.status == 405
    assert response.header("allow") == "GET"


def test_a_handshake_with_a_body_is_refused(plain):
    assert ask(plain, "/echo", *handshake_lines("content-length: 5")).status == 400
    assert ask(plain, "/echo", *handshake_lines("transfer-encoding: chunked")).status == 400


@pytest.mark.parametrize(
    "changed",
    [{"connection": None}, {"connection": "keep-alive"}, {"upgrade": None}, {"upgrade": "h2c"}],
    ids=str,
)
def test_without_its_upgrade_a_request_is_a_plain_one(plain, changed):
    assert ask(plain, "/echo", *handshake_lines(**changed)).body == b"plain"


def test_http_1_0_has_no_upgrade(plain):
    assert ask(plain, "/echo", *handshake_lines(), version="1.0").body == b"plain"


@pytest.mark.parametrize(
    "changed",
    [
        {"connection": "keep-alive, Upgrade"},
        {"connection": "UPGRADE"},
        {"upgrade": "WebSocket"},
        {"connection": "upgrade,keep-alive"},
    ],
    ids=str,
)
def test_tokens_are_read_as_a_list_and_without_case(server, changed):
    with Http1Socket(address(server)) as connection:
        connection.send_request("GET", "/echo", *handshake_lines(**changed))
        response = switching(connection)
        assert response.status == 101
        # The example of RFC 6455, section 1.3.
        assert response.header("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("version", ["12", "13"])
def test_what_follows_a_refused_handshake_is_no_request(plain, version):
    lines = handshake_lines(sec_websocket_version=version)
    target = "/refuse" if version == "13" else "/echo"
    with Http1Socket(address(plain)) as connection:
        connection.send_request("GET", target, *lines)
        connection.send(frame(TEXT, b"Hello") + b"\r\nGET /evil HTTP/1.1\r\nhost: x\r\n\r\n")
        assert connection.response().status == (403 if version == "13" else 426)
        assert b"HTTP/1.1 200" not in connection.until_closed()


# --- what an application sees and answers ---------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
@pytest.mark.parametrize("interface", list(APPS))
@pytest.mark.parametrize("prefix", ["", "/sub"], ids=["root", "sub"])
def test_the_scope(wire: WireCase, interface, prefix, shared):
    app = APPS[interface]
    server = shared(mounts={"/": app, "/sub": app}, interface=interface, **dict(wire.settings))
    lines = [
        "sec-websocket-protocol: chat, superchat",
        "sec-websocket-protocol: third",
        "cookie: a=1",
        "x-latin: caf\xe9",
        "origin: https://example.com",
    ]
    with open_peer(address(server), f"{prefix}/show/caf%C3%A9?q=%20+&r=1", *lines) as peer:
        scope = json.loads(peer.message())
        local = peer.connection.socket.getsockname()
    assert scope["type"] == "websocket"
    version = {"asgi3": "3.0", "asgi2": "2.0"}[interface]
    assert scope["asgi"]["version"] == version
    assert scope["asgi"]["spec_version"] == "2.5"
    assert (scope["http_version"], scope["scheme"]) == ("1.1", "ws")
    assert scope["path"] == f"{prefix}/show/caf\xe9"
    assert scope["raw_path"] == f"{prefix}/show/caf%C3%A9"
    assert scope["root_path"] == prefix
    assert scope["query_string"] == "q=%20+&r=1"
    assert scope["subprotocols"] == ["chat", "superchat", "third"]
    assert scope["extensions"] == {"websocket.http.response": {}}
    assert scope["client"] == list(local)
    assert scope["server"] == ["127.0.0.1", server.port]
    fields = [tuple(each) for each in scope["headers"]]
    assert {
        ("cookie", "a=1"),
        ("x-latin", "caf\xe9"),
        ("origin", "https://example.com"),
        ("upgrade", "websocket"),
        ("host", "test"),
    } <= set(fields)
    assert "method" not in scope


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
@pytest.mark.parametrize("interface", list(APPS))
def test_an_echo_on_every_wire_and_interface(wire: WireCase, interface, shared):
    app = APPS[interface]
    server = shared(mounts={"/": app, "/sub": app}, interface=interface, **dict(wire.settings))
    for target in ("/echo", "/sub/echo"):
        with open_peer(address(server), target, offer="permessage-deflate") as peer:
            for message in ("κόσμε", b"\x00\xff", "", b"", "x" * 70_000, b"y" * 70_000):
                peer.send(message)
                assert peer.message() == message
            assert peer.close(4321, "enough") == (4321, "")


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_a_wsgi_application_gets_a_plain_request(wire: WireCase, shared):
    server = shared("e2e.apps.scenarios_wsgi:app", **dict(wire.settings))
    assert ask(server, "/hello", *handshake_lines()).body == b"Hello"


def test_without_websockets_a_request_is_a_plain_one(serve):
    assert ask(serve(APP, ws="none"), "/echo", *handshake_lines()).body == b"plain"


def test_a_subprotocol_is_chosen(server):
    offer = "sec-websocket-protocol: chat, v2.superchat"
    with open_peer(address(server), "/choose?name=v2.superchat", offer) as peer:
        assert peer.response.all("sec-websocket-protocol") == ["v2.superchat"]
        assert peer.message() == "chosen"
    with open_peer(address(server), "/echo", offer) as peer:
        assert peer.response.all("sec-websocket-protocol") == []


def test_a_subprotocol_that_was_not_offered_is_an_error(plain, log):
    offer = "sec-websocket-protocol: chat"
    response = ask(plain, "/choose?name=other", *handshake_lines(offer))
    assert response.status == 500
    log.wait("other")


def test_fields_of_the_accept(server):
    with open_peer(address(server), "/headers") as peer:
        assert peer.response.all("set-cookie") == ["a=1", "b=2"]
        assert peer.response.header("x-latin") == "caf\xe9"


def test_a_control_character_in_a_field_of_the_accept_is_never_sent(plain, key, log):
    response = ask(plain, f"/bad-header?key={key}", *handshake_lines())
    assert response.status == 500
    assert response.header("set-cookie") is None
    assert "sent" not in BOARD.notes(key)
    log.wait("evil")


def test_the_state_of_the_lifespan(plain):
    for _ in range(2):  # each connection has its own copy
        with open_peer(address(plain), "/state") as peer:
            assert peer.message() == "from the lifespan"
            peer.close()


def test_mounts_by_host(shared):
    server = shared(mounts={"/": "e2e.apps.small:named_api", "ws.example.com/in": APP})
    with open_peer(address(server), "/in/show", "host: ws.example.com") as peer:
        assert json.loads(peer.message())["root_path"] == "/in"
    assert ask(server, "/in/show", "host: other", *handshake_lines()).status >= 400


def test_a_proxy_is_believed(plain):
    lines = ["x-forwarded-for: 203.0.113.9", "x-forwarded-proto: https"]
    with open_peer(address(plain), "/show", *lines) as peer:
        scope = json.loads(peer.message())
    assert (scope["client"][0], scope["scheme"]) == ("203.0.113.9", "wss")


# --- refusals -------------------------------------------------------------------------------------


def test_a_close_before_the_accept_is_a_403(plain, key, log):
    response = ask(plain, f"/refuse?key={key}", *handshake_lines())
    assert response.status == 403
    BOARD.wait(key, "OSError: True ClientGone")
    assert log.errors == []


def test_a_denial_is_streamed(plain, key):
    with Http1Socket(address(plain)) as connection:
        connection.send_request("GET", f"/deny?key={key}", *handshake_lines())
        response = connection.response_head()
        assert response.status == 401
        assert response.header("www-authenticate") == "Basic"
        assert response.header("transfer-encoding") == "chunked"
        assert connection.line() == "6"  # the first part does not wait for the second
        assert connection.exactly(8) == b"first \r\n"
        BOARD.gate(key).set()
        assert connection.exactly(16) == b"6\r\nsecond\r\n0\r\n\r\n"
    BOARD.wait(key, "denied")


def test_a_denial_of_known_length(plain):
    response = ask(plain, "/deny-shortly", *handshake_lines())
    assert (response.status, response.body) == (418, b"short")


def test_a_denial_that_breaks_off_is_a_cut(plain, log):
    with Http1Socket(address(plain)) as connection:
        connection.send_request("GET", "/deny-half", *handshake_lines())
        assert connection.response_head().status == 401
        assert not connection.until_closed().endswith(b"0\r\n\r\n")
    log.wait("denial trouble")


def test_a_denial_nobody_reads_waits_and_ends_with_the_client(plain, key, log):
    connection = Http1Socket(address(plain), window=8192)
    connection.send_request("GET", f"/deny-flood?key={key}", *handshake_lines())
    assert connection.response_head().status == 401
    assert BOARD.settled(key) < 8 * MiB
    connection.reset()
    BOARD.wait(key, "ended")
    assert log.errors == []


def test_an_exception_before_the_accept_is_a_500(plain, log):
    assert ask(plain, "/early-error", *handshake_lines()).status == 500
    assert "/early-error" in log.wait("early trouble").getMessage()


def test_no_answer_at_all_is_a_500(plain, log):
    assert ask(plain, "/silence", *handshake_lines()).status == 500
    log.wait("without accepting")


# --- ends -----------------------------------------------------------------------------------------


def test_an_exception_after_the_accept_is_a_1011(server, log):
    with open_peer(address(server), "/late-error") as peer:
        assert peer.message() == "before"
        assert peer.frame() == Frame(CLOSE, close_payload(1011))
        peer.send_close(1011)
        assert peer.rest() == []
    assert "/late-error" in log.wait("late trouble").getMessage()


def test_an_application_that_returns_closes_with_1000(server, log):
    with open_peer(address(server), "/leave") as peer:
        assert peer.message() == "before"
        assert peer.frame() == Frame(CLOSE, close_payload(1000))
        peer.send_close(1000)
        assert peer.rest() == []
    assert log.errors == []


@pytest.mark.parametrize(
    ("query", "code", "reason"),
    [
        ("", 1000, ""),
        ("code=4000", 4000, ""),
        ("code=1001&reason=%CE%BA%CF%8C%CF%83%CE%BC%CE%B5", 1001, "κόσμε"),
        ("code=3000&reason=" + "x" * 123, 3000, "x" * 123),
    ],
    ids=["plain", "code", "reason", "long"],
)
def test_an_application_closes(server, key, query, code, reason):
    with open_peer(address(server), f"/close?key={key}&{query}") as peer:
        assert peer.frame() == Frame(CLOSE, close_payload(code, reason))
        peer.send_close(code)
        assert peer.rest() == []
    BOARD.wait(key, "OSError: True ClientGone")  # it sends after its close


def test_a_reason_that_is_too_long_is_cut_at_a_character(plain, key):
    with open_peer(address(plain), f"/close?key={key}&reason=" + "%E2%82%AC" * 50) as peer:
        assert peer.frame() == Frame(CLOSE, close_payload(1000, "€" * 41))


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000])
def test_a_code_that_may_not_be_sent_is_the_applications_error(plain, code, log):
    with open_peer(address(plain), f"/close?code={code}") as peer:
        assert peer.frame().payload[:2] == close_payload(1011)
    log.wait(str(code))


def test_nothing_of_the_application_comes_after_its_close(server, key):
    with open_peer(address(server), f"/close-when-told?key={key}") as peer:
        peer.send("close")
        assert peer.frame() == Frame(CLOSE, close_payload(4000, "told"))
        peer.send("too late")
        peer.send_frame(PING, b"too late")
        peer.send_close(4000)
        assert peer.rest() == []
    BOARD.wait(key, "disconnect 4000 told")


@pytest.mark.slow
def test_a_peer_that_never_closes_is_cut(plain, key, monkeypatch):
    monkeypatch.setattr("gateway.websocket.session._CLOSING", 1.0)  # 10 s otherwise
    with open_peer(address(plain), f"/close-when-told?key={key}") as peer:
        peer.send("close")
        assert peer.frame().opcode == CLOSE
        assert peer.rest() == []
    BOARD.wait(key, "disconnect 4000 told")


@pytest.mark.parametrize(
    ("end", "noted"),
    [
        (lambda peer: peer.send_close(1000), "disconnect 1000"),
        (lambda peer: peer.send_close(4000, "bye κ"), "disconnect 4000 bye κ"),
        (lambda peer: peer.send_close(None), "disconnect 1005"),
        (lambda peer: peer.leave(), "disconnect 1006"),
        (lambda peer: peer.connection.end_sending(), "disconnect 1006"),
        (lambda peer: peer.write(frame(3)), "disconnect 1002 opcode 0x3 is reserved"),
        (lambda peer: peer.write(frame(TEXT, b"\xff")), "disconnect 1007 a text message is not UTF-8"),
    ],
    ids=["close", "reason", "no code", "reset", "end", "violation", "no text"],
)  # fmt: skip
def test_the_disconnect_event(server, key, end: Callable[[Peer], None], noted, log):
    with open_peer(address(server), f"/watch?key={key}") as peer:
        BOARD.wait(key, "accepted")
        end(peer)
        BOARD.wait(key, noted, timeout=2.0)
        BOARD.wait(key, "OSError: True ClientGone")
    assert log.errors == []


def test_the_disconnect_event_comes_once(plain, key):
    with open_peer(address(plain), f"/twice?key={key}") as peer:
        peer.close(4000)
        BOARD.wait(key, "disconnect 4000")
        BOARD.gate(key).set()
        BOARD.wait(key, "ClientGone")


def test_messages_before_a_close_are_received(server, key):
    ahead = b"".join(frame(BINARY, b"x" * 100) for _ in range(100))
    with open_peer(address(server), f"/deaf?key={key}") as peer:
        BOARD.wait(key, "accepted")
        peer.write(ahead[: -106 * 80] + frame(CLOSE, close_payload(4000, "bye")))
        BOARD.gate(key).set()
        BOARD.wait(key, "disconnect 4000 bye")
    BOARD.wait_count(key, 2000)


def test_a_client_that_leaves_before_the_accept(plain, key, log):
    for kind in ("reset", "end"):
        name = f"{key}-{kind}"
        with Http1Socket(address(plain)) as connection:
            connection.send_request("GET", f"/late-accept?key={name}", *handshake_lines())
            BOARD.wait(name, "called")
            if kind == "reset":
                connection.reset()
            else:
                connection.end_sending()
                assert connection.until_closed() == b""
        BOARD.gate(name).set()
    with Http1Socket(address(plain)) as connection:
        connection.send_request("GET", f"/never-accept?key={key}", *handshake_lines())
        BOARD.wait(key, "called")
        connection.reset()
    BOARD.wait(key, "disconnect 1006")
    assert log.errors == []


# --- bytes around the handshake -------------------------------------------------------------------


def test_frames_in_the_segment_of_the_handshake(server):
    ahead = frame(TEXT, b"one") + frame(PING, b"p") + frame(BINARY, b"two")
    with open_peer(address(server), data=ahead) as peer:
        frames = [peer.frame() for _ in range(3)]
        assert Frame(PONG, b"p") in frames
        assert [each for each in frames if each.opcode != PONG] == [
            Frame(TEXT, b"one"),
            Frame(BINARY, b"two"),
        ]
        assert peer.close() == (1000, "")


def test_frames_before_the_accept_are_kept(server, key):
    with ThreadPoolExecutor(1) as pool:
        ahead = frame(BINARY, b"x" * 1000) * 20
        opening = pool.submit(open_peer, address(server), f"/late-accept?key={key}", data=ahead)
        BOARD.wait(key, "called")
        BOARD.gate(key).set()
        with opening.result() as peer:
            BOARD.wait_count(key, 20_000)
            peer.close(4000)
            BOARD.wait(key, "disconnect 4000")


def test_much_that_comes_before_the_accept_waits_outside(stack, serve, key):
    server, buffers = narrow(serve, stack)
    with Http1Socket(address_of(server), window=16384) as connection:
        connection.send_request("GET", f"/late-accept?key={key}", *handshake_lines())
        BOARD.wait(key, "called")
        message = frame(BINARY, b"x" * 65522)
        taken = fill(connection, message)
        assert taken <= 320 * KiB + buffers + 2 * 16384
        BOARD.gate(key).set()
        assert switching(connection).status == 101
        connection.send(message[taken % len(message) :] + frame(CLOSE, close_payload(1000)))
        BOARD.wait_count(key, (taken // len(message) + 1) * 65522)
        BOARD.wait(key, "disconnect 1000")


def test_another_request_behind_the_handshake_is_a_violation(server):
    garbage = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    with open_peer(address(server), data=garbage) as peer:
        assert peer.closed()[0] == 1002


# --- pressure -------------------------------------------------------------------------------------


def narrow(serve, stack, **settings) -> tuple[Server, int]:
    """A server whose connections have small kernel buffers; (server, bytes of them)."""
    listening = socket.socket()
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        listening.setsockopt(socket.SOL_SOCKET, option, 16384)
    listening.bind(("127.0.0.1", 0))
    buffers = sum(
        listening.getsockopt(socket.SOL_SOCKET, option)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF)
    )
    port = listening.getsockname()[1]
    server = serve(APP, fd=listening.detach(), **{**stack, **settings})
    PORTS[id(server)] = port
    return server, buffers


PORTS: dict[int, int] = {}


def address_of(server: Server) -> tuple[str, int]:
    return "127.0.0.1", PORTS[id(server)]


@pytest.mark.parametrize("size", [1, 1000, 64 * KiB])
def test_an_application_that_does_not_receive_stops_the_peer(stack, serve, key, size):
    server, buffers = narrow(serve, stack, ws_max_queue=4)
    with open_peer(address_of(server), f"/deaf?key={key}", window=16384) as peer:
        BOARD.wait(key, "accepted")
        message = frame(BINARY, b"x" * size)
        batch = message * max(1, 65536 // len(message))
        taken = fill(peer.connection, batch)
        # 4 messages, a fifth in pieces, two reads of 256 KiB, the rest in three kernel buffers.
        assert taken <= 5 * len(message) + 2 * 320 * KiB + buffers + 2 * 16384
        BOARD.gate(key).set()
        peer.write(batch[taken % len(batch) :] + frame(CLOSE, close_payload(1000)))
        BOARD.wait_count(key, (taken // len(batch) + 1) * (len(batch) // len(message)) * size)
        BOARD.wait(key, "disconnect 1000")


def test_pings_are_answered_while_the_application_does_not_receive(server, key):
    with open_peer(address(server), f"/deaf?key={key}") as peer:
        BOARD.wait(key, "accepted")
        peer.write(frame(TEXT, b"x") * 10 + frame(PING, b"there?"))
        assert peer.frame() == Frame(PONG, b"there?")
        BOARD.gate(key).set()
        peer.close()
        BOARD.wait_count(key, 10)


@pytest.mark.parametrize("offer", [None, "permessage-deflate"], ids=["plain", "deflate"])
def test_a_peer_that_does_not_read_stops_the_application(stack, serve, key, offer):
    server, buffers = narrow(serve, stack)
    with open_peer(address_of(server), f"/flood?key={key}", offer=offer, window=8192) as peer:
        asked = BOARD.settled(key)
        if offer is None:
            assert asked <= 128 * KiB + buffers + 2 * 16384
        got = 0
        while got < asked + MiB:  # and it goes on when the peer does
            got += len(peer.message())
        peer.leave()
    BOARD.wait(key, "ended")


def test_pongs_do_not_pile_up_for_a_peer_that_does_not_read(stack, serve, key):
    server, _ = narrow(serve, stack)
    with open_peer(address_of(server), f"/flood?key={key}", window=8192) as peer:
        BOARD.settled(key)
        for number in range(2000):
            peer.send_frame(PING, b"%d" % number + b"x" * 100)
        pongs = 0
        last = b""
        while not last.startswith(b"1999"):
            got = peer.frame()
            if got.opcode == PONG:
                pongs, last = pongs + 1, got.payload
        assert pongs < 1000
        peer.leave()
    BOARD.wait(key, "ended")


def test_a_socket_that_floods_leaves_time_for_others(plain, key):
    # The client reads as fast as the application sends: it must not have the loop for itself.
    with open_peer(address(plain), f"/flood?key={key}") as flood:
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(lambda: [flood.message() for _ in range(3000)])
            while not reading.done():
                with open_peer(address(plain)) as peer:
                    began = time.monotonic()
                    peer.send("Hello")
                    assert peer.message() == "Hello"
                    assert time.monotonic() - began < 2
            reading.result()
        flood.leave()
    BOARD.wait(key, "ended")


# --- limits ---------------------------------------------------------------------------------------


def bomb(size: int) -> bytes:
    """A compressed message of `size` MiB of zeros, a thousandth as long."""
    compressor = zlib.compressobj(9, wbits=-15)
    piece = compressor.compress(bytes(MiB)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return (piece * size).removesuffix(b"\x00\x00\xff\xff")


@pytest.mark.parametrize("ws", list(STACKS))
@pytest.mark.parametrize("fragment", [0, 4096], ids=["whole", "fragments"])
def test_a_bomb_does_not_explode(gateway, ws, fragment):
    process = gateway(APP, "--port", "0", "--ws", ws).ready()
    data = bomb(300)
    assert len(data) < 340 * KiB
    cut = fragment or len(data)
    parts = [data[at : at + cut] for at in range(0, len(data), cut)]
    frames = [
        frame(0 if number else BINARY, part, fin=part is parts[-1], rsv=0 if number else 4)
        for number, part in enumerate(parts)
    ]
    offer = "permessage-deflate"
    with open_peer(process.address, "/count", offer=offer) as peer:
        peer.send("warm")
        assert peer.message() == "4"
    peak_before = peak(process)
    with open_peer(process.address, "/count", offer=offer) as peer:
        with suppress(ConnectionError):
            peer.write(b"".join(frames))
        assert peer.closed()[0] == 1009
    # VmHWM: the most it ever had, not what is left of it.
    assert peak(process) - peak_before < 2 * 16 * MiB
    with open_peer(process.address, "/count") as peer:
        peer.send("alive")
        assert peer.message() == "5"
    assert process.stop() == 0


def peak(process: Gateway) -> int:
    """The most resident memory the process ever had, in bytes (proc(5), VmHWM)."""
    with open(f"/proc/{process.pid}/status") as file:
        found = [line for line in file if line.startswith("VmHWM:")]
    return int(found[0].split()[1]) * KiB


@pytest.mark.parametrize("ws", list(STACKS))
def test_17_mib_are_too_much_and_16_are_not(gateway, ws):
    process = gateway(APP, "--port", "0", "--ws", ws).ready()
    with open_peer(process.address, "/count") as peer:
        peer.send(bytes(16 * MiB))
        assert peer.message() == str(16 * MiB)
    for fragment in (0, 64 * KiB):
        before = peak(process)
        with open_peer(process.address, "/count") as peer:
            with suppress(ConnectionError):
                peer.send(bytes(17 * MiB), fragment=fragment)
            assert peer.closed()[0] == 1009
        assert peak(process) - before < 32 * MiB
    assert process.stop() == 0


def test_many_tiny_fragments_of_a_message_cost_no_memory(gateway):
    process = gateway(APP, "--port", "0").ready()
    with open_peer(process.address, "/count") as peer:
        before = peak(process)
        peer.send_frame(BINARY, b"x", fin=False)
        for _ in range(100):
            peer.write(frame(0, b"x", fin=False) * 10_000)
        peer.send_frame(0, b"x", fin=True)
        assert peer.message() == str(1_000_002)
        assert peak(process) - before < 64 * MiB
    assert process.stop() == 0


def test_empty_fragments_without_end_cost_no_memory(gateway):
    process = gateway(APP, "--port", "0").ready()
    with open_peer(process.address, "/count") as peer:
        before = peak(process)
        peer.send_frame(BINARY, b"", fin=False)
        with suppress(ConnectionError):  # to refuse them would be as good
            for _ in range(100):
                peer.write(frame(0, b"", fin=False) * 10_000)
        wait_until(lambda: peak(process) - before < 32 * MiB, "memory stays")
    assert process.stop() == 0


def test_the_message_size_is_a_mounts_own(shared):
    server = shared(mounts={"/": APP, "/small": {"app": APP, "ws-max-size": 1000}})
    with open_peer(address(server), "/small/count") as peer:
        peer.send("x" * 1000)
        assert peer.message() == "1000"
        peer.send("x" * 1001)
        assert peer.closed()[0] == 1009
    with open_peer(address(server), "/count") as peer:
        peer.send("x" * 1001)
        assert peer.message() == "1001"


def test_an_open_websocket_counts_as_a_request_under_way(serve, key):
    server = serve(APP, limit_concurrency=2)
    with open_peer(address(server)) as first:
        with open_peer(address(server)) as second:
            assert ask(server, "/echo", *handshake_lines()).status == 503
            second.close()
        with open_peer(address(server)) as third:
            third.leave()
        wait_until(lambda: ask(server, "/plain").status == 200, "the place is free")
        first.send("still here")
        assert first.message() == "still here"


def origin_answer(server: Server, target: str, origin: str | None) -> int:
    lines = [f"origin: {origin}"] if origin is not None else []
    with Http1Socket(address(server)) as connection:
        connection.send_request("GET", target, *handshake_lines(*lines))
        return switching(connection).status


def test_origins_are_a_mounts_own(shared):
    allowed = ["https://example.com", "https://example.com:8443"]
    server = shared(mounts={"/": APP, "/own": {"app": APP, "ws-origins": allowed}})
    for origin in ("https://example.com", "https://EXAMPLE.com", "https://example.com:8443"):
        assert origin_answer(server, "/own/echo", origin) == 101
    for origin in (
        "http://example.com",
        "https://example.com.evil.test",
        "https://evil.example.com",
        "https://example.com:444",
        "null",
        None,
        "",
    ):
        assert origin_answer(server, "/own/echo", origin) == 403, origin
        assert origin_answer(server, "/echo", origin) == 101


def test_origins_do_not_touch_plain_requests(shared):
    server = shared(mounts={"/": {"app": APP, "ws-origins": ["https://example.com"]}})
    assert ask(server, "/", "origin: https://evil.test").body == b"plain"


# --- times ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_peer_that_answers_pings_stays_and_another_goes(stack, serve, key):
    server = serve(APP, ws_ping_interval=1, ws_ping_timeout=1, **stack)
    with ExitStack() as opened:
        good = opened.enter_context(open_peer(address(server), f"/watch?key={key}-good"))
        bad = opened.enter_context(open_peer(address(server), f"/watch?key={key}-bad"))
        began = time.monotonic()
        for _ in range(2):
            ping = good.frame()
            assert ping.opcode == PING
            good.send_frame(PONG, ping.payload)
        assert time.monotonic() - began < 8
        assert bad.frame().opcode == PING
        assert bad.goodbye() == (1011, "keepalive ping timeout")
        BOARD.wait(f"{key}-bad", "disconnect 1011 keepalive ping timeout")
        assert good.close(4000)[0] == 4000
        BOARD.wait(f"{key}-good", "disconnect 4000")


@pytest.mark.slow
def test_no_other_timeout_ends_an_idle_websocket(serve, key):
    server = serve(APP, timeout_keep_alive=1, ws_ping_interval=0)
    with open_peer(address(server)) as peer:
        assert peer.is_silent(3.2)
        peer.send("still here")
        assert peer.message() == "still here"


@pytest.mark.slow
def test_the_lifetime(serve, key):
    server = serve(APP, ws_max_lifetime=1)
    with open_peer(address(server), f"/watch?key={key}") as peer:
        began = time.monotonic()
        assert peer.goodbye()[0] == 1001
        assert 0.5 < time.monotonic() - began < 4
    BOARD.wait(key, "disconnect 1001 maximum lifetime reached")


@pytest.mark.slow
def test_an_accept_that_does_not_come(serve, key):
    server = serve(APP, ws_handshake_timeout=1)
    assert ask(server, f"/never-accept?key={key}", *handshake_lines()).status == 503
    BOARD.wait(key, "disconnect 1006")


# --- the end of a server --------------------------------------------------------------------------


def test_a_stop_closes_with_1012(stack, serve, key):
    server = serve(APP, **stack, **FAST)
    with (
        open_peer(address(server), f"/watch?key={key}") as first,
        open_peer(address(server)) as second,
        ThreadPoolExecutor(1) as pool,
    ):
        BOARD.wait(key, "accepted")
        stopping = pool.submit(server.stop)
        for peer in (first, second):
            assert peer.goodbye() == (1012, "")
        stopping.result(2)  # well before the limit
    BOARD.wait(key, "disconnect 1012")


def test_term_ends_every_kind_of_socket_within_the_limit(gateway):
    process = gateway(APP, "--port", "0", "--timeout-graceful-shutdown", "2").ready()
    with ExitStack() as opened:
        # Who answers, who never does, an application that hangs, one that floods, and no accept.
        targets = ["/echo", "/echo", "/stubborn", "/flood", "/deaf"]
        peers = [
            opened.enter_context(open_peer(process.address, target, window=8192))
            for target in targets
        ]
        waiting = opened.enter_context(process.connect())
        waiting.send_request("GET", "/never-accept", *handshake_lines())
        began = time.monotonic()
        process.signal(signal.SIGTERM)
        assert peers[0].goodbye() == (1012, "")
        code = process.wait(8)
        assert time.monotonic() - began < 5
        assert waiting.response_head().status == 503
    assert code == 0


def test_the_goodbyes_are_spread(gateway):
    process = gateway(APP, "--port", "0", "--timeout-graceful-shutdown", "4").ready()
    with ExitStack() as opened:
        peers = [opened.enter_context(open_peer(process.address)) for _ in range(150)]
        began = time.monotonic()
        process.signal(signal.SIGTERM)
        for peer in peers:
            assert peer.frame() == Frame(CLOSE, close_payload(1012))
            peer.send_close(1012)
        # A hundred in a second, and all within the limit. From the signal on: a test that is late
        # to read the first would find them all at once.
        assert 1 < time.monotonic() - began < 4
        assert process.wait() == 0


def test_a_websocket_opened_during_the_drain_ends_too(serve, key):
    server = serve(APP, **FAST)
    with open_peer(address(server), f"/cancelled?key={key}") as peer:
        BOARD.wait(key, "accepted")
        kept = Http1Socket(address(server))
        kept.send_request("GET", "/plain")
        assert kept.response().body == b"plain"
        with ThreadPoolExecutor(1) as pool:
            stopping = pool.submit(server.stop)
            assert peer.frame().opcode == CLOSE
            with suppress(OSError):
                kept.send_request("GET", "/echo", *handshake_lines())
            assert kept.until_closed()[-4:] in (b"", frame(CLOSE, close_payload(1012), mask=None))
            kept.close()
            peer.send_close(1012)
            stopping.result(8)
    BOARD.wait(key, "cancelled")


def pid(peer: Peer) -> int:
    return int(peer.message())


def test_hup_moves_sockets_to_new_workers(gateway):
    process = gateway(
        APP, "--workers", "2", "--port", "0", "--timeout-graceful-shutdown", "3"
    ).ready()  # fmt: skip
    old = process.workers()
    with ExitStack() as opened:
        peers = [opened.enter_context(open_peer(process.address, "/pid")) for _ in range(8)]
        assert {pid(peer) for peer in peers} <= old
        process.signal(signal.SIGHUP)
        for peer in peers:
            assert peer.frame() == Frame(CLOSE, close_payload(1012))
            with open_peer(process.address, "/pid") as again:  # somebody serves at once
                assert pid(again) not in old or process.alive() & old
        # Two never answer the close: they do not hold up the roll beyond its limit.
        for peer in peers[2:]:
            peer.send_close(1012)
            assert peer.rest() == []
        process.wait_gone(old, timeout=8)
        with open_peer(process.address, "/pid") as again:
            assert pid(again) not in old
    assert process.stop() == 0


def test_a_worker_that_is_recycled_says_goodbye(gateway):
    process = gateway(
        APP, "--supervise", "--port", "0", "--limit-max-requests", "6",
        "--limit-max-requests-jitter", "0", "--timeout-graceful-shutdown", "3",
    ).ready()  # fmt: skip
    with open_peer(process.address, "/pid") as peer:
        first = pid(peer)
        with process.client() as client:
            for _ in range(8):
                assert client.request("GET", "/plain").body == b"plain"
        assert peer.goodbye() == (1012, "")
        process.wait_gone({first})
    with open_peer(process.address, "/pid") as peer:
        assert pid(peer) != first
    assert process.stop() == 0


@pytest.mark.parametrize("answers", [True, False], ids=["answers", "does not"])
def test_reload_in_development_never_hangs_on_an_open_socket(gateway, tmp_path, answers):
    main = tmp_path / "main.py"
    main.write_text("from e2e.apps.websockets import app3 as app\n")
    process = gateway("main:app", "--reload", "--port", "0").ready()
    with open_peer(process.address, "/pid") as peer:
        old = pid(peer)
        main.write_text("from e2e.apps.websockets import app3 as app\nVERSION = 2\n")
        assert peer.frame() == Frame(CLOSE, close_payload(1001))
        if answers:
            peer.send_close(1001)
            assert peer.rest() == []
        process.wait_gone({old})

        def new() -> bool:
            with open_peer(process.address, "/pid") as again:
                return pid(again) != old

        wait_until(new, "the new code answers")
    assert process.stop() == 0


# --- the log --------------------------------------------------------------------------------------


def test_the_access_log_has_a_line_at_the_end(gateway):
    process = gateway(APP, "--port", "0").ready()
    with open_peer(process.address, "/echo?a=b") as peer:
        for message in ("Hello", b"\x00" * 300):
            peer.send(message)
            peer.message()
        peer.close()
    # Frames both ways with their headers: 11 + 308 + 8 in, 7 + 304 + 4 out.
    process.out.wait(
        r'"GET /echo\?a=b HTTP/1\.1" 101 Switching Protocols 315B [\d.]+ms, in 2/327B, out 2/315B'
    )
    with open_peer(process.address, "/echo") as peer:
        peer.send("x")
        peer.message()
        peer.leave()
    process.out.wait(r'"GET /echo HTTP/1\.1" 101 .* in 1/7B, out 1/3B')
    assert ask_process(process, "/refuse").status == 403
    process.out.wait(r'"GET /refuse HTTP/1\.1" 403 Forbidden')
    assert process.stop() == 0
    assert len([line for line in process.out.lines if '"GET /' in line]) == 3


def test_the_access_log_as_json(gateway):
    process = gateway(APP, "--port", "0", "--access-log-format", "json").ready()
    with open_peer(process.address, "/echo") as peer:
        peer.send("Hello")
        peer.message()
        peer.close()
    line = json.loads(process.out.wait(r"\{.*\}")[0])
    assert (line["status"], line["messages_in"], line["messages_out"]) == (101, 1, 1)
    assert (line["bytes_in"], line["bytes"]) == (19, 11)
    assert process.stop() == 0


def ask_process(process: Gateway, target: str):
    with process.connect() as connection:
        connection.send_request("GET", target, *handshake_lines())
        return connection.response()


def test_messages_are_logged_at_trace_level(gateway):
    process = gateway(APP, "--port", "0", "--log-level", "trace").ready()
    with open_peer(process.address, "/echo") as peer:
        peer.send("Hello")
        peer.message()
        peer.close()
    for event in ("websocket.connect", "websocket.accept", "websocket.receive", "websocket.send"):
        process.err.wait(event)
    process.err.wait("websocket.disconnect")
    assert process.stop() == 0


# --- many at once, and nothing left behind --------------------------------------------------------


def test_messages_of_many_sockets_are_not_mixed_up(server):
    def one(number: int) -> list[int]:
        wrong = []
        with open_peer(address(server), offer="permessage-deflate") as peer:
            for turn in range(20):
                message = f"{number} {turn} " * (1 + 499 * (turn % 3))
                peer.send(message, fragment=1000)
                if peer.message() != message:
                    wrong.append(turn)
            peer.close()
        return wrong

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(one, range(12))) == [[]] * 12


def sessions() -> int:
    gc.collect()
    return sum(isinstance(each, Session) for each in gc.get_objects())


def test_nothing_of_a_websocket_stays_behind(stack, serve, key):
    before = sessions()
    server = serve(APP, **stack)
    for number in range(5):
        with open_peer(address(server), offer="permessage-deflate") as peer:
            peer.send("Hello")
            peer.message()
            if number % 2:
                peer.close()
            else:
                peer.leave()
    # Not those that raise: a record of what they logged keeps their frames.
    for target in ("/refuse", "/deny-shortly"):
        ask(server, target, *handshake_lines())
    with open_peer(address(server), "/leave") as peer:
        peer.message()
        peer.goodbye()
    with open_peer(address(server), f"/watch?key={key}") as peer:
        peer.close(4000)
    BOARD.wait(key, "disconnect 4000")
    assert ask(server, "/plain").body == b"plain"
    wait_until(lambda: sessions() == before, "all sessions are gone")
