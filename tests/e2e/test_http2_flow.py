"""Flow control over HTTP/2, in both directions, and streams that do not hold each other up."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from http2_client import (
    ConnectionCut,
    ErrorCode,
    Http2Client,
    Setting,
    StreamReset,
    Type,
    data,
    goaway,
    ping,
    rst_stream,
)

from e2e.apps.board import BOARD
from e2e.http2_load import Http2Load
from e2e.http2_site import Certified, Site, digest_of, pattern, received, served, site_of
from e2e.process import Gateway, wait_for, write_main

KiB, MiB = 1 << 10, 1 << 20
LARGEST = 2**31 - 1
SCENARIOS = {"asgi": "e2e.apps.scenarios_asgi:app3", "wsgi": "e2e.apps.scenarios_wsgi:app"}
FLOWS = {"asgi": "e2e.apps.http2_flow:app", "wsgi": "e2e.apps.http2_flow:wsgi"}


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return Certified.made_in(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def sites(certified: Certified) -> Iterator[Callable[..., Site]]:
    """One server for each wire with all applications; each wire on a loop of its own."""
    mounts = {
        **{f"/{name}": app for name, app in FLOWS.items()},
        **{f"/scenarios/{name}": app for name, app in SCENARIOS.items()},
    }
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
def site(request: pytest.FixtureRequest, sites: Callable[[str], Site]) -> Site:
    return sites(request.param)


@pytest.fixture
def plain(sites: Callable[[str], Site]) -> Site:
    return sites("h2c")


@pytest.fixture(params=["asgi", "wsgi"])
def interface(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# --- nobody is asked for what nobody reads --------------------------------------------------------


@pytest.mark.parametrize(
    ("stream_window", "connection_window"),
    [(0, 65535), (65535, 65535), (LARGEST, 65535), (100, LARGEST)],
    ids=["a closed stream", "both used up", "a closed connection", "a small stream"],
)
def test_an_application_is_asked_for_no_more_than_128_kib(
    site: Site, interface: str, stream_window: int, connection_window: int, key: str
) -> None:
    values = {Setting.INITIAL_WINDOW_SIZE: stream_window}
    with site.open(values=values) as client:
        client.replenish = False
        if connection_window > 65535:
            client.grant(0, connection_window - 65535)
        stream = client.open("GET", f"/scenarios/{interface}/flood?key={key}")
        assert client.head(stream).status == 200
        allowed = min(stream_window, connection_window)
        asked = BOARD.settled(key, quiet=0.15)
        assert asked <= allowed + 128 * KiB
        client.sync()
        assert len(client.streams[stream].response.body) == allowed
        # And it goes on, by as much, when the window opens.
        client.grant(0, MiB) if connection_window < LARGEST else None
        client.grant(stream, MiB) if stream_window < LARGEST else None
        client.body(stream, allowed + MiB)
        assert asked + MiB - 128 * KiB <= BOARD.settled(key, quiet=0.15) <= asked + MiB + 128 * KiB
        client.send(rst_stream(stream))
        BOARD.wait(key, "ended")


def test_an_upload_nobody_reads_holds_up_nobody(site: Site, interface: str, key: str) -> None:
    base = f"/scenarios/{interface}"
    with site.open() as client:
        stuck = client.open("POST", f"{base}/deaf?key={key}", end=False)
        window = client.peer[Setting.INITIAL_WINDOW_SIZE]
        client.send_body(stuck, b"x" * window, end=False)
        BOARD.wait(key, "called")
        client.sync()
        assert client.streams[stuck].window == 0
        assert client.request("GET", f"{base}/hello").body == b"Hello"
        whole = bytes(range(256)) * 2048
        assert client.request("POST", f"{base}/echo", body=whole).body == whole
        BOARD.gate(key).set()
        client.send_body(stuck, b"x" * window)
        assert client.response(stuck).body == b"heard"
    BOARD.wait_count(key, 2 * window)


def test_a_hundred_uploads_nobody_reads_hold_up_nobody(plain: Site, key: str) -> None:
    base = "/scenarios/asgi"
    with plain.open() as client:
        for number in range(100):
            stuck = client.open("POST", f"{base}/deaf?key={key}-{number}", end=False)
            client.send(*[data(stuck, b"x" * 16384)] * 16)
        whole = bytes(range(256)) * 2048
        assert client.request("POST", f"{base}/echo", body=whole).body == whole
        for number in range(100):
            BOARD.gate(f"{key}-{number}").set()


# --- much data arrives whole ----------------------------------------------------------------------


def test_a_large_upload_is_whole_however_slowly_it_is_read(site: Site, interface: str) -> None:
    size = 20 * MiB if interface == "asgi" else 5 * MiB
    with site.open() as client:
        stream = client.open("POST", f"/{interface}/sum?pause=10", end=False)
        for at in range(0, size, 65280):
            client.send_body(stream, pattern(at, min(65280, size - at)), end=False)
        client.send_body(stream, b"")
        assert client.response(stream).text == f"{size} {digest_of(size)}"


@pytest.mark.parametrize(
    ("size", "window", "piece"),
    [(50 * MiB, 65535, 60_000), (5 * MiB, 16 * KiB, 1000), (MiB, 5000, 16384)],
)
def test_a_large_download_is_whole(
    plain: Site, interface: str, size: int, window: int, piece: int
) -> None:
    values = {Setting.INITIAL_WINDOW_SIZE: window}
    with plain.open(values=values) as client:
        stream = client.open("GET", f"/{interface}/pattern?size={size}&piece={piece}")
        assert received(client, stream) == (size, digest_of(size))


def test_a_download_over_tls_is_whole(sites: Callable[[str], Site], interface: str) -> None:
    with sites("tls").open(values={Setting.INITIAL_WINDOW_SIZE: 100_000}) as client:
        stream = client.open("GET", f"/{interface}/pattern?size={10 * MiB}")
        assert received(client, stream) == (10 * MiB, digest_of(10 * MiB))


def test_frames_as_large_as_the_client_takes_are_filled(plain: Site) -> None:
    values = {Setting.MAX_FRAME_SIZE: 65536, Setting.INITIAL_WINDOW_SIZE: LARGEST}
    with plain.open(values=values) as client:
        client.grant(0, LARGEST - 65535)
        stream = client.open("GET", f"/asgi/pattern?size={MiB}&piece=65536")
        client.response(stream)
        largest = max(len(got.payload) for got in client.log if got.type == Type.DATA)
        assert 16384 < largest <= 65536


@pytest.mark.parametrize("window", [65535, 10_000])
@pytest.mark.parametrize("size", [0, 1, 16384, 3 * MiB + 17])
def test_a_file_is_sent_whole(
    site: Site, interface: str, tmp_path: Path, size: int, window: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"".join(pattern(at, min(65536, size - at)) for at in range(0, size, 65536)))
    with site.open(values={Setting.INITIAL_WINDOW_SIZE: window}) as client:
        stream = client.open("GET", f"/{interface}/file?path={path}")
        assert received(client, stream) == (size, digest_of(size))
        assert client.request("GET", f"/{interface}/hello").body == b"Hello"


def test_memory_stays_where_it_is(tmp_path: Path) -> None:
    args = ["e2e.apps.http2_flow:app", "--port", "0", "--no-access-log"]
    with Gateway(args, tmp_path) as gateway, site_of(gateway).open() as client:
        client.request("GET", "/hello")
        before = gateway.rss()
        seen = []
        stream = client.open("POST", "/sum?pause=20", end=False)
        for at in range(0, 20 * MiB, 65280):
            client.send_body(stream, pattern(at, min(65280, 20 * MiB - at)), end=False)
            seen.append(gateway.rss())
        client.send_body(stream, b"")
        assert client.response(stream).text == f"{20 * MiB} {digest_of(20 * MiB)}"
        stream = client.open("GET", f"/pattern?size={20 * MiB}")
        assert received(client, stream) == (20 * MiB, digest_of(20 * MiB))
        seen.append(gateway.rss())
        assert max(seen) - before < 4 * MiB


# --- windows that change --------------------------------------------------------------------------


def body_now(client: Http2Client, stream: int) -> int:
    """Bytes of a response once the server has nothing more to say."""
    client.head(stream)
    client.sync()
    client.sync()  # what an application was asked for by the first
    return len(client.streams[stream].response.body)


def test_settings_change_the_windows_of_open_streams(plain: Site) -> None:
    with plain.open(values={Setting.INITIAL_WINDOW_SIZE: 30_000}) as client:
        client.replenish = False
        client.grant(0, MiB)
        stream = client.open("GET", "/asgi/pattern?size=200000")
        assert body_now(client, stream) == 30_000
        client.configure({Setting.INITIAL_WINDOW_SIZE: 50_000})
        client.body(stream, 50_000)
        assert body_now(client, stream) == 50_000
        # Smaller: it is 40,000 below zero then (section 6.9.2).
        client.configure({Setting.INITIAL_WINDOW_SIZE: 10_000})
        client.grant(stream, 39_000)
        assert body_now(client, stream) == 50_000
        client.grant(stream, 1100)
        client.body(stream, 50_100)
        assert body_now(client, stream) == 50_100
        client.configure({Setting.INITIAL_WINDOW_SIZE: 200_000})
        assert client.response(stream).body == pattern(0, 65536) + b"".join(
            pattern(at, min(65536, 200_000 - at)) for at in range(65536, 200_000, 65536)
        )


def test_a_window_that_is_too_large_by_settings_ends_the_connection(plain: Site) -> None:
    with plain.open() as client:
        client.replenish = False
        stream = client.open("GET", "/asgi/until_gone?key=none")
        client.body(stream, 5)
        client.grant(stream, LARGEST - 65535)
        client.configure({Setting.INITIAL_WINDOW_SIZE: 65535 + 10})
        assert client.goaway().code == ErrorCode.FLOW_CONTROL_ERROR


# --- turns ----------------------------------------------------------------------------------------


def test_a_small_response_is_not_stuck_behind_large_ones(plain: Site, interface: str) -> None:
    with plain.open(values={Setting.INITIAL_WINDOW_SIZE: LARGEST}) as client:
        client.replenish = False
        large = [client.open("GET", f"/{interface}/pattern?size={5 * MiB}") for _ in range(4)]
        for stream in large:
            client.head(stream)
        while client.credit:
            client.read_frame()
        small = client.open("GET", f"/{interface}/hello")
        client.head(small)
        client.grant(0, 5 * 16384)
        assert client.response(small).body == b"Hello"


def test_no_stream_is_starved_by_another(plain: Site, interface: str) -> None:
    with plain.open(values={Setting.INITIAL_WINDOW_SIZE: LARGEST}) as client:
        client.replenish = False
        streams = [client.open("GET", f"/{interface}/pattern?size={5 * MiB}") for _ in range(4)]
        for stream in streams:
            client.head(stream)
        while client.credit:
            client.read_frame()
        before = [len(client.streams[stream].response.body) for stream in streams]
        client.grant(0, 2 * MiB)
        while client.credit:
            client.read_frame()
        got = [
            len(client.streams[stream].response.body) - had
            for stream, had in zip(streams, before, strict=True)
        ]
        assert min(got) >= 128 * KiB, got


# --- more than a body -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 10, 60_000])
def test_trailers_end_a_response(site: Site, size: int) -> None:
    with site.open(values={Setting.INITIAL_WINDOW_SIZE: 1000}) as client:
        response = client.request("GET", f"/asgi/trailers?size={size}", ("te", "trailers"))
        assert (response.status, len(response.body)) == (200, size)
        assert response.trailers == [("x-first", "1"), ("x-sum", "abc")]


def test_trailers_of_a_request_are_read(site: Site, interface: str) -> None:
    with site.open() as client:
        response = client.request(
            "POST", f"/{interface}/sum", body=pattern(0, 1000), trailers=[("x-sum", "abc")]
        )
        assert response.text == f"1000 {digest_of(1000)}"


def test_early_hints_come_before_the_response(site: Site, interface: str) -> None:
    with site.open() as client:
        response = client.request("GET", f"/{interface}/hints")
        assert response.interim == [(103, [("link", "</style.css>; rel=preload")])]
        assert response.body == b"Hello"


def test_a_client_that_expects_100_gets_it(site: Site, interface: str) -> None:
    with site.open() as client:
        stream = client.open("POST", f"/{interface}/sum", ("expect", "100-continue"), end=False)
        client.until(Type.HEADERS)
        assert client.streams[stream].interim == [(100, [])]
        client.send_body(stream, pattern(0, 1000))
        assert client.response(stream).text == f"1000 {digest_of(1000)}"


@pytest.mark.parametrize("size", [16_384, 50_000])
def test_a_head_of_a_response_may_be_larger_than_a_frame(site: Site, size: int) -> None:
    with site.open() as client:
        response = client.request("GET", f"/asgi/fields?size={size}")
        assert response.header("x-large") == "~" * size
        assert (response.header("x-after"), response.body) == ("1", b"Hello")
        assert client.request("GET", "/asgi/hello").body == b"Hello"


def test_the_client_chooses_the_size_of_the_header_table(plain: Site) -> None:
    with plain.open() as client:
        for size in (4096, 0, 100, 65536, 0, 4096):
            client.configure({Setting.HEADER_TABLE_SIZE: size})
            client.settle()
            for number in range(3):
                response = client.request("GET", f"/asgi/fields?size={100 + number}")
                assert response.header("x-after") == "1"


# --- streams that end early -----------------------------------------------------------------------


def test_a_response_before_the_end_of_the_upload_stops_it(site: Site, interface: str) -> None:
    with site.open() as client:
        stream = client.open("POST", f"/scenarios/{interface}/unread", end=False)
        client.send_body(stream, b"x" * 1000, end=False)
        assert client.response(stream).body == b"not read"
        assert client.reset_code(stream) == ErrorCode.NO_ERROR
        # What was on its way is no error; the rest of the upload never leaves.
        client.send(data(stream, b"x" * 1000), data(stream, b"x", end=True))
        assert client.request("GET", f"/{interface}/hello").body == b"Hello"


def test_a_reset_is_told_to_an_application_that_receives(site: Site, key: str) -> None:
    with site.open() as client:
        stream = client.open("GET", f"/asgi/until_gone?key={key}")
        client.body(stream, 5)
        client.send(rst_stream(stream))
        BOARD.wait(key, "disconnected", timeout=1.0)
        assert client.request("GET", "/asgi/hello").body == b"Hello"


def test_a_reset_is_told_to_an_application_that_sends(site: Site, interface: str, key: str) -> None:
    with site.open() as client:
        stream = client.open("GET", f"/{interface}/sends_on?key={key}")
        client.body(stream, 5)
        client.send(rst_stream(stream))
        told = "OSError ClientGone" if interface == "asgi" else "closed"
        BOARD.wait(key, told, timeout=1.0)
        assert client.request("GET", f"/{interface}/hello").body == b"Hello"


@pytest.mark.parametrize("end", [Http2Client.abort, Http2Client.close], ids=["lost", "closed"])
def test_a_connection_that_ends_is_told_to_all_its_streams(
    site: Site, end: Callable[[Http2Client], None], key: str
) -> None:
    with site.open() as client:
        for number in range(20):
            client.body(client.open("GET", f"/asgi/until_gone?key={key}-{number}"), 5)
        end(client)
    for number in range(20):
        BOARD.wait(f"{key}-{number}", "disconnected", timeout=1.0)


def test_downloads_that_were_left_hold_no_threads(site: Site, key: str) -> None:
    for number in range(20):
        with site.open() as client:
            client.replenish = False
            stream = client.open("GET", f"/scenarios/wsgi/flood?key={key}-{number}")
            client.body(stream, 65535)
            client.sync()
    for number in range(20):
        BOARD.wait(f"{key}-{number}", "ended", timeout=2.0)


def test_a_client_that_says_goaway_gets_its_responses(site: Site, interface: str) -> None:
    with site.open() as client:
        stream = client.open("GET", f"/{interface}/pattern?size={MiB}")
        client.send(goaway())
        assert received(client, stream) == (MiB, digest_of(MiB))
        client.rest()  # and then the connection ends


def test_an_application_that_fails_first_is_a_500(site: Site, interface: str) -> None:
    with site.open() as client:
        assert client.request("GET", f"/{interface}/early_error").status == 500
        assert client.request("GET", f"/{interface}/hello").body == b"Hello"


def test_an_application_that_fails_later_resets_its_stream_alone(
    site: Site, interface: str, key: str
) -> None:
    with site.open() as client:
        beside = client.open("GET", f"/scenarios/{interface}/wait?key={key}")
        stream = client.open("GET", f"/scenarios/{interface}/late-error?key={key}")
        assert client.body(stream, 4) == b"part"
        BOARD.gate(key).set()
        with pytest.raises(StreamReset) as reset:
            client.response(stream)
        assert reset.value.code == ErrorCode.INTERNAL_ERROR
        assert client.response(beside).body == b"waited"


# --- the end of a server --------------------------------------------------------------------------


@pytest.mark.parametrize("wire", ["h2c", "tls"])
def test_a_stop_lets_streams_finish_and_says_so_twice(
    wire: str, certified: Certified, tmp_path: Path
) -> None:
    encrypted = certified if wire == "tls" else None
    args = ["e2e.apps.operator:app", "--port", "0", *(encrypted.flags if encrypted else [])]
    mark, late = tmp_path / "mark", tmp_path / "late"
    with Gateway(args, tmp_path) as gateway:
        client = site_of(gateway, encrypted).open()
        with client:
            stream = client.open("GET", f"/hold?mark={mark}")
            wait_for(mark)
            client.acknowledge = False  # so that the PING between the two GOAWAYs is not answered
            gateway.signal(signal.SIGTERM)
            first = client.goaway()
            assert (first.code, first.last_stream) == (ErrorCode.NO_ERROR, LARGEST)
            # A request that was on its way when the first one left is served.
            crossing = client.open("GET", f"/hold?mark={late}")
            wait_for(late)
            left = client.until(lambda got: got.type == Type.PING and not got.is_ack)
            client.send(ping(left.payload, ack=True))
            second = client.goaway()
            assert (second.code, second.last_stream) == (ErrorCode.NO_ERROR, crossing)
            # One behind the second is told that it was not touched, or nothing.
            refused = client.open("GET", "/")
            mark.with_suffix(".go").touch()
            assert client.response(stream).body == b"hello"
            late.with_suffix(".go").touch()
            assert client.response(crossing).body == b"hello"
            client.rest()
            assert client.streams[refused].reset in (None, ErrorCode.REFUSED_STREAM)
            assert client.streams[refused].response is None
        assert gateway.wait() == 0


@pytest.mark.parametrize("wire", ["h2c", "tls"])
def test_a_roll_of_the_workers_loses_no_request(
    wire: str, certified: Certified, tmp_path: Path
) -> None:
    encrypted = certified if wire == "tls" else None
    write_main(tmp_path, "one")
    args = ["main:app", "--port", "0", "--workers", "2", "--no-access-log"]
    with Gateway([*args, *(encrypted.flags if encrypted else [])], tmp_path) as gateway:
        site = site_of(gateway, encrypted)
        seen = gateway.workers()
        with Http2Load(site.address, tls=site.tls, clients=6) as load:
            load.wait_until(lambda: load.ok > 100)
            gateway.signal(signal.SIGHUP)
            gateway.err.wait("reloaded: 2 of 2 workers ready")
            load.wait_until(lambda: load.goaways >= 6)
            gateway.wait_gone(seen)
            assert load.lossless(), load


def test_recycling_of_workers_loses_no_request(tmp_path: Path) -> None:
    write_main(tmp_path, "one")
    args = ["main:app", "--port", "0", "--workers", "2", "--no-access-log"]
    with Gateway([*args, "--limit-max-requests", "400"], tmp_path) as gateway:
        with Http2Load(site_of(gateway).address, clients=6) as load:
            load.wait_until(lambda: load.goaways >= 6)
            assert load.lossless(), load
        assert "has served its number of requests" in gateway.err.text


def test_an_idle_connection_ends_at_once_when_the_server_stops(tmp_path: Path) -> None:
    with Gateway(["e2e.apps.operator:app", "--port", "0"], tmp_path) as gateway:
        with site_of(gateway).open() as client:
            assert client.request("GET", "/").body == b"hello"
            gateway.signal(signal.SIGTERM)
            assert client.goaway().code == ErrorCode.NO_ERROR
            client.rest()
        assert gateway.wait(1.5) == 0


def test_an_event_stream_is_completed_when_the_server_stops(tmp_path: Path) -> None:
    with Gateway(["e2e.apps.operator:app", "--port", "0"], tmp_path) as gateway:
        with site_of(gateway).open() as client:
            stream = client.open("GET", "/events")
            assert client.body(stream, 5) == b"data: hello\n\n"
            gateway.signal(signal.SIGTERM)
            assert client.response(stream).body == b"data: hello\n\n"
            client.rest()
        assert gateway.wait(3.0) == 0
        assert "events told" in gateway.out.text


def test_what_never_ends_is_cut_at_the_limit(tmp_path: Path) -> None:
    args = ["e2e.apps.operator:app", "--port", "0", "--timeout-graceful-shutdown", "1"]
    with Gateway(args, tmp_path) as gateway, site_of(gateway).open() as client:
        begun = client.open("GET", "/begun")
        assert client.body(begun, 5) == b"first"
        held = client.open("GET", f"/hold?mark={tmp_path / 'mark'}")
        wait_for(tmp_path / "mark")
        gateway.signal(signal.SIGTERM)
        assert client.response(held).status == 503
        with pytest.raises((StreamReset, ConnectionCut)):
            client.response(begun)
        assert gateway.wait(5.0) == 0
