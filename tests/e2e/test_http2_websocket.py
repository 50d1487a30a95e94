"""WebSocket over HTTP/2 (RFC 8441): the same session, in a stream."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from http2_client import ErrorCode, Http2Client, Setting, StreamReset, Type, rst_stream

from e2e.apps.board import BOARD
from e2e.client import ConnectionCut
from e2e.conftest import make_server
from e2e.http2_site import Certified, Site, served, site_of
from e2e.http2_websocket import ask_stream, open_stream_peer
from e2e.process import Gateway
from e2e.websocket_client import (
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    close_payload,
    decoded_close,
    frame,
)

KiB, MiB = 1 << 10, 1 << 20
LARGEST = 2**31 - 1
APPS = {"asgi3": "e2e.apps.websockets:app3", "asgi2": "e2e.apps.websockets:app2"}
WSGI = "e2e.apps.scenarios_wsgi:app"
DEFLATE = "permessage-deflate; client_max_window_bits"


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return Certified.made_in(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def sites(certified: Certified) -> Iterator[Callable[[str], Site]]:
    mounts = {"/": APPS["asgi3"], "/asgi2": APPS["asgi2"], "/wsgi": WSGI}
    with ExitStack() as stack:
        loops = {"h2c": "uvloop", "tls": "asyncio"}
        known = {
            wire: stack.enter_context(
                served(None, certified if wire == "tls" else None, mounts=mounts, loop=loop)
            )
            for wire, loop in loops.items()
        }
        yield known.__getitem__


@pytest.fixture(params=["h2c", "tls"])
def client(request: pytest.FixtureRequest, sites: Callable[[str], Site]) -> Iterator[Http2Client]:
    with sites(request.param).open() as client:
        yield client


@pytest.fixture
def plain(sites: Callable[[str], Site]) -> Iterator[Http2Client]:
    with sites("h2c").open() as client:
        yield client


# --- the handshake --------------------------------------------------------------------------------


def test_the_server_says_that_it_can(plain: Http2Client) -> None:
    assert plain.peer[Setting.ENABLE_CONNECT_PROTOCOL] == 1


def test_the_scope_is_that_of_a_websocket(client: Http2Client) -> None:
    extra = [("sec-websocket-protocol", "chat, superchat"), ("origin", "https://localhost")]
    with open_stream_peer(client, "/show/caf%C3%A9?q=1", *extra) as peer:
        scope = json.loads(peer.message())
    assert (scope["type"], scope["http_version"]) == ("websocket", "2")
    assert scope["scheme"] == {"http": "ws", "https": "wss"}[client.scheme]
    assert (scope["path"], scope["query_string"]) == ("/show/caf\xe9", "q=1")
    assert scope["subprotocols"] == ["chat", "superchat"]
    names = [name for name, _ in scope["headers"]]
    assert "host" in names
    assert not [name for name in names if name.startswith(":")]


@pytest.mark.parametrize("target", ["/choose?name=two", "/asgi2/choose?name=two"])
def test_a_subprotocol_is_chosen(client: Http2Client, target: str) -> None:
    with open_stream_peer(client, target, ("sec-websocket-protocol", "one, two")) as peer:
        assert peer.response.all("sec-websocket-protocol") == ["two"]
        assert peer.message() == "chosen"


def test_fields_of_the_accept(client: Http2Client) -> None:
    with open_stream_peer(client, "/headers") as peer:
        assert peer.response.all("set-cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize(
    ("target", "options", "status"),
    [
        ("/echo", {"version": "12"}, 426),
        ("/echo", {"protocol": "webtransport"}, 501),
        ("/echo", {"end": True}, 400),
        ("/refuse", {}, 403),
        ("/deny-shortly", {}, 418),
        ("/early-error", {}, 500),
        ("/silence", {}, 500),
        ("/wsgi/hello", {}, 501),
        ("/wsgi/nothing", {}, 404),
    ],
)
def test_what_becomes_no_websocket_is_never_answered_2xx(
    client: Http2Client, target: str, options: dict[str, object], status: int
) -> None:
    stream = ask_stream(client, target, **options)
    assert client.response(stream).status == status
    assert client.request("GET", "/").body == b"plain"


def test_a_denial_is_a_response(client: Http2Client, key: str) -> None:
    stream = ask_stream(client, f"/deny?key={key}")
    response = client.head(stream)
    assert (response.status, response.header("www-authenticate")) == (401, "Basic")
    assert client.body(stream, 6) == b"first "
    BOARD.gate(key).set()
    assert client.response(stream).body == b"first second"


def test_without_websockets_a_request_for_one_is_501(certified: Certified) -> None:
    with served(APPS["asgi3"], ws="none") as site, site.open() as client:
        assert client.response(ask_stream(client, "/echo")).status == 501


# --- messages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["auto", "websockets", "wsproto"])
@pytest.mark.parametrize("offer", [None, DEFLATE], ids=["plain", "deflate"])
def test_an_echo_with_every_codec(
    shared: Callable[..., object], codec: str, offer: str | None
) -> None:
    server = shared(APPS["asgi3"], ws=codec)
    site = Site(("127.0.0.1", server.port))
    with site.open() as client, open_stream_peer(client, "/echo", offer=offer) as peer:
        assert (peer.deflate is None) == (offer is None)
        for message in ("κόσμε", b"\x00\xff", "", b"", "x" * 70_000, b"y" * 700_000):
            peer.send(message)
            assert peer.message() == message
        for message in ("ä" * 5000, bytes(range(256)) * 20):
            peer.send(message, fragment=700)
            assert peer.message() == message
        assert peer.close(4321, "enough") == (4321, "")


@pytest.mark.parametrize("target", ["/echo", "/asgi2/echo"])
def test_an_echo_on_every_wire(client: Http2Client, target: str) -> None:
    with open_stream_peer(client, target, offer=DEFLATE) as peer:
        for message in ("κόσμε", b"\x00\xff" * 100_000):
            peer.send(message)
            assert peer.message() == message
        assert peer.close(1000) == (1000, "")


def test_frames_need_not_end_where_data_does(client: Http2Client) -> None:
    with open_stream_peer(client, "/echo") as peer:
        peer.write(frame(TEXT, b"hello, ", fin=False) + frame(CONTINUATION, b"world"), chop=1)
        assert peer.message() == "hello, world"


def test_a_ping_is_answered(client: Http2Client) -> None:
    with open_stream_peer(client, "/watch?key=none") as peer:
        peer.send_frame(PING, b"there?")
        assert peer.frame() == Frame(PONG, b"there?")


def test_many_websockets_and_requests_share_a_connection(client: Http2Client) -> None:
    peers = [open_stream_peer(client, "/echo") for _ in range(50)]
    for number, peer in enumerate(peers):
        peer.send(f"message {number}")
    assert client.request("GET", "/").body == b"plain"
    for number, peer in reversed(list(enumerate(peers))):
        assert peer.message() == f"message {number}"
    for peer in peers:
        assert peer.close() == (1000, "")
    assert client.request("GET", "/").body == b"plain"


# --- the end --------------------------------------------------------------------------------------


def test_a_close_of_the_client_reaches_the_application(client: Http2Client, key: str) -> None:
    with open_stream_peer(client, f"/watch?key={key}") as peer:
        assert peer.close(4000, "bye") == (4000, "")
    BOARD.wait(key, "disconnect 4000 bye")


def test_a_close_of_the_application_reaches_the_client(client: Http2Client, key: str) -> None:
    with open_stream_peer(client, f"/close?key={key}&code=4001&reason=enough") as peer:
        assert peer.frame() == Frame(CLOSE, close_payload(4001, "enough"))
        peer.send_close(4001)
        assert peer.rest() == []
        state = client.streams[peer.connection.stream]
        assert state.ended  # in order, not by a reset
        assert state.reset in (None, ErrorCode.NO_ERROR)


def test_an_application_that_fails_closes_with_1011(client: Http2Client) -> None:
    with open_stream_peer(client, "/late-error") as peer:
        assert peer.message() == "before"
        assert peer.frame() == Frame(CLOSE, close_payload(1011))


def test_a_message_over_the_limit_closes_with_1009(shared: Callable[..., object]) -> None:
    site = Site(("127.0.0.1", shared(APPS["asgi3"], ws_max_size=10_000).port))
    with site.open() as client, open_stream_peer(client, "/echo") as peer:
        peer.send("x" * 10_001)
        got = peer.frame()
        assert (got.opcode, decoded_close(got.payload)[0]) == (CLOSE, 1009)


def test_what_is_no_frame_closes_with_1002(client: Http2Client) -> None:
    with open_stream_peer(client, "/echo") as peer:
        peer.write(frame(TEXT, b"not masked", mask=None))
        got = peer.frame()
        assert (got.opcode, decoded_close(got.payload)[0]) == (CLOSE, 1002)


def test_a_reset_is_a_lost_connection(client: Http2Client, key: str) -> None:
    with open_stream_peer(client, f"/watch?key={key}") as peer:
        BOARD.wait(key, "accepted")
        peer.leave()
    BOARD.wait(key, "disconnect 1006", timeout=1.0)
    BOARD.wait(key, "OSError: True ClientGone", timeout=1.0)
    assert client.request("GET", "/").body == b"plain"


def test_an_end_without_a_close_is_a_lost_connection(client: Http2Client, key: str) -> None:
    with open_stream_peer(client, f"/watch?key={key}") as peer:
        BOARD.wait(key, "accepted")
        peer.connection.end()
        BOARD.wait(key, "disconnect 1006", timeout=1.0)
        with pytest.raises(ConnectionCut):
            peer.frame()


@pytest.mark.parametrize("end", [Http2Client.abort, Http2Client.close], ids=["lost", "closed"])
def test_a_connection_that_ends_is_told_to_every_socket(
    sites: Callable[[str], Site], end: Callable[[Http2Client], None], key: str
) -> None:
    with sites("h2c").open() as client:
        for number in range(5):
            open_stream_peer(client, f"/watch?key={key}-{number}")
        end(client)
    for number in range(5):
        BOARD.wait(f"{key}-{number}", "disconnect 1006", timeout=1.0)


# --- much data ------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", ["h2c", "tls"])
@pytest.mark.parametrize(
    ("stream_window", "connection_window"),
    [(65535, 65535), (1000, LARGEST), (LARGEST, 65535)],
    ids=["both used up", "a small stream", "a closed connection"],
)
def test_a_peer_that_does_not_read_stops_the_application(
    sites: Callable[[str], Site],
    wire: str,
    stream_window: int,
    connection_window: int,
    key: str,
) -> None:
    values = {Setting.INITIAL_WINDOW_SIZE: stream_window}
    with sites(wire).open(values=values) as client:
        client.replenish = False
        if connection_window > 65535:
            client.grant(0, connection_window - 65535)
        peer = open_stream_peer(client, f"/flood?key={key}")
        allowed = min(stream_window, connection_window)
        asked = BOARD.settled(key)
        assert asked <= allowed + 128 * KiB
        # Control frames wait as well: they would overtake what is on its way.
        stream = peer.connection.stream
        client.grant(0, MiB) if connection_window < LARGEST else None
        client.grant(stream, MiB) if stream_window < LARGEST else None
        client.body(stream, allowed + MiB)
        assert BOARD.settled(key) >= asked + MiB - 128 * KiB
        client.send(rst_stream(stream))
        BOARD.wait(key, "ended")


def test_an_application_that_does_not_receive_stops_the_peer_alone(
    client: Http2Client, key: str
) -> None:
    peer = open_stream_peer(client, f"/deaf?key={key}")
    BOARD.wait(key, "accepted")
    stream = peer.connection.stream
    state = client.streams[stream]
    piece = frame(TEXT, b"x" * 60_000)
    sent, opened = 0, state.window
    while state.window >= len(piece) and sent < 64 * MiB:
        peer.write(piece)
        sent += 60_000
        client.sync()
    # Its window, and what the session takes before it stops reading.
    assert sent <= opened + 3 * MiB
    with open_stream_peer(client, "/echo") as beside:
        beside.send("still here")
        assert beside.message() == "still here"
    assert client.request("GET", "/").body == b"plain"
    BOARD.gate(key).set()
    BOARD.wait_count(key, sent)
    peer.leave()


# --- the end of a server --------------------------------------------------------------------------


def test_a_stop_closes_with_1012(key: str) -> None:
    server = make_server(APPS["asgi3"])
    with server, ThreadPoolExecutor(1) as pool:
        with Site(("127.0.0.1", server.port)).open() as client:
            peers = [open_stream_peer(client, f"/watch?key={key}") for _ in range(3)]
            stopping = pool.submit(server.stop)
            for peer in peers:
                assert peer.frame() == Frame(CLOSE, close_payload(1012))
                peer.send_close(1012)
            client.rest()
            said = [got.code for got in client.log if got.type == Type.GOAWAY]
            assert said == [ErrorCode.NO_ERROR] * 2
        stopping.result(3)
    BOARD.wait(key, "disconnect 1012")


def test_a_process_that_stops_tells_its_sockets(certified: Certified, tmp_path: Path) -> None:
    args = ["e2e.apps.websockets:app3", "--port", "0", *certified.flags]
    with Gateway(args, tmp_path) as gateway:
        with site_of(gateway, certified).open() as client:
            peer = open_stream_peer(client, "/pid")
            assert peer.message() == str(gateway.pid)
            gateway.signal(signal.SIGTERM)
            assert peer.frame() == Frame(CLOSE, close_payload(1012))
            peer.send_close(1012)
            client.rest()
        assert gateway.wait(3.0) == 0


def test_sockets_that_stay_are_cut_at_the_limit(tmp_path: Path) -> None:
    args = ["e2e.apps.websockets:app3", "--port", "0", "--timeout-graceful-shutdown", "1"]
    with Gateway(args, tmp_path) as gateway, site_of(gateway).open() as client:
        peer = open_stream_peer(client, "/pid")
        peer.message()
        gateway.signal(signal.SIGTERM)
        assert peer.frame() == Frame(CLOSE, close_payload(1012))
        with pytest.raises((ConnectionCut, StreamReset)):
            peer.frame()
        assert gateway.wait(5.0) == 0
