"""Start, stop and errors of real processes, as an operator meets them."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from e2e.client import Http1Socket
from e2e.test_service import needs_namespace

APP = "e2e.apps.operator:app"
WSGI = "e2e.apps.operator:wsgi"


def wait_for(path: Path, timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.01)


def hold(process, tmp_path, app_path="/hold"):
    """A connection whose request is in the application; and the file that lets it go."""
    mark = tmp_path / "mark"
    connection = process.connect()
    connection.send_request("GET", f"{app_path}?mark={mark}")
    wait_for(mark)
    return connection, mark.with_suffix(".go")


# --- start ----------------------------------------------------------------------------------------


def test_port_0_is_printed_and_serves(gateway):
    process = gateway(APP, "--port", "0")
    port = int(process.err.wait(r"http://127.0.0.1:(\d+)/ -> e2e\.apps\.operator:app \(asgi3\)")[1])
    assert port > 0
    with Http1Socket(("127.0.0.1", port)) as connection:
        connection.send_request("GET", "/")
        assert connection.response().body == b"hello"
    assert process.stop() == 0
    assert process.err.text.endswith("stopped")


def test_every_mount_has_a_line(gateway):
    process = gateway(
        "--mount", f"/={APP}",
        "--mount", f"/w={WSGI}",
        "--mount", "api.test/v1=e2e.apps.frameworks:fastapi_app",
        "--threads", "3", "--port", "0",
    )  # fmt: skip
    process.ready()
    text = process.err.text
    assert re.search(r"http://127\.0\.0\.1:\d+/ -> e2e\.apps\.operator:app \(asgi3\)", text)
    assert re.search(
        r"http://127\.0\.0\.1:\d+/w -> e2e\.apps\.operator:wsgi \(wsgi, 3 threads\)", text
    )
    assert re.search(
        r"http://api\.test:\d+/v1 -> e2e\.apps\.frameworks:fastapi_app \(FastAPI", text
    )
    assert "docs at /v1/docs" in text
    assert re.search(
        r"gateway [\d.]+ ready in [\d.]+ s on http://127\.0\.0\.1:\d+, 3 mounts, pid", text
    )


def test_several_addresses_of_every_kind(gateway, tmp_path):
    path = str(tmp_path / "app.sock")
    with socket.socket() as inherited:
        inherited.bind(("127.0.0.1", 0))
        process = gateway(
            APP,
            "--bind", "127.0.0.1:0",
            "--bind", f"unix:{path}", "--bind", f"fd://{inherited.fileno()}",
            pass_fds=[inherited.fileno()],
        ).ready()  # fmt: skip
        urls = re.search(r"ready in [\d.]+ s on (.*), 1 mount", process.err.text)[1].split(", ")
        ports = {int(url.rpartition(":")[2]) for url in urls if url.startswith("http")}
        assert len(ports) == 2
        assert inherited.getsockname()[1] in ports
        assert f"unix:{path}" in urls
        for address in [*(("127.0.0.1", port) for port in ports), path]:
            with Http1Socket(address) as connection:
                connection.send_request("GET", "/client")
                expected = b"None http" if address == path else b"127.0.0.1 http"
                assert connection.response().body == expected
    assert process.stop() == 0
    assert not Path(path).exists()


def test_uds_and_fd_flags(gateway, tmp_path):
    path = str(tmp_path / "app.sock")
    process = gateway(WSGI, "--uds", path).ready()
    with Http1Socket(path) as connection:
        connection.send_request("GET", "/")
        assert connection.response().body == b"None http"
    assert process.stop() == 0


def test_a_file_with_mounts_is_enough(gateway, tmp_path):
    (tmp_path / "gateway.toml").write_text(
        f'bind = "127.0.0.1:0"\n[mounts]\n"/" = "{APP}"\n"/w" = {{ app = "{WSGI}", threads = 2 }}\n'
    )
    process = gateway().ready()
    with process.client() as client:
        assert client.request("GET", "/").body == b"hello"
        assert client.request("GET", "/w").body == b"127.0.0.1 http"
    assert process.stop() == 0


def test_an_application_in_the_working_directory(gateway, tmp_path):
    (tmp_path / "main.py").write_text("from e2e.apps.operator import app\n")
    process = gateway("main:app", "--port", "0")
    with process.client() as client:
        assert client.request("GET", "/").body == b"hello"


def test_app_dir(gateway, tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "inner.py").write_text("from e2e.apps.operator import app\n")
    process = gateway("inner:app", "--app-dir", "src", "--port", "0")
    with process.client() as client:
        assert client.request("GET", "/").body == b"hello"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_loops_and_parsers(gateway, loop, http):
    process = gateway(APP, "--port", "0", "--loop", loop, "--http", http)
    with process.client() as client:
        assert client.request("GET", "/").body == b"hello"
    assert process.stop() == 0


def test_a_factory(gateway, tmp_path):
    (tmp_path / "main.py").write_text(
        "from e2e.apps.operator import app\ndef create():\n    return app\n"
    )
    process = gateway("main:create", "--factory", "--port", "0")
    with process.client() as client:
        assert client.request("GET", "/").body == b"hello"


def test_the_environment_file_is_read_before_the_import(gateway, tmp_path):
    (tmp_path / "vars").write_text("FROM_FILE=here\nGATEWAY_PORT=1\n")
    process = gateway(APP, "--env-file", "vars", "--port", "0")
    with process.client() as client:
        assert client.request("GET", "/env").body == b"here"


def test_environment_variables_are_settings(gateway):
    process = gateway(APP, env={"GATEWAY_PORT": "0", "GATEWAY_HEADER": "x-from: environment"})
    with process.client() as client:
        assert client.request("GET", "/").header("x-from") == "environment"


def test_ipv6_and_a_name_with_two_addresses(gateway):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    process = gateway(APP, "--bind", "[::1]:0").ready()
    port = int(process.err.wait(r"ready in .* on http://\[::1\]:(\d+)")[1])
    with socket.create_connection(("::1", port), timeout=5) as sock:
        sock.sendall(b"GET /client HTTP/1.0\r\n\r\n")
        answer = b""
        while data := sock.recv(1000):
            answer += data
    assert answer.endswith(b"::1 http")


def test_an_idle_connection_is_closed_after_its_time(gateway):
    process = gateway(APP, "--port", "0", "--timeout-keep-alive", "0.1")
    with process.connect() as connection:
        connection.send_request("GET", "/")
        assert connection.response().header("connection") is None
        began = time.monotonic()
        assert connection.is_closed()
        assert time.monotonic() - began < 3.0  # deadlines are looked at once a second


# --- responses of the whole server ----------------------------------------------------------------


def test_default_headers_may_be_added_and_left_out(gateway):
    process = gateway(
        APP, "--port", "0", "--no-server-header", "--no-date-header",
        "--header", "x-one: 1", "--header", "x-two:2",
    )  # fmt: skip
    with process.client() as client:
        response = client.request("GET", "/")
    assert response.headers == [("x-one", "1"), ("x-two", "2"), ("content-length", "5")]


def test_the_limit_of_requests_stops_the_server(gateway):
    process = gateway(APP, "--port", "0", "--limit-max-requests", "2", "--no-supervise")
    with process.client() as client:
        assert client.request("GET", "/").header("connection") is None
        last = client.request("GET", "/")
    assert (last.body, last.header("connection")) == (b"hello", "close")
    assert process.wait() == 0
    assert "lifespan shutdown" in process.out.lines


def test_the_limit_of_concurrency_is_a_503(gateway, tmp_path):
    process = gateway(APP, "--port", "0", "--limit-concurrency", "1")
    held, go = hold(process, tmp_path)
    with held, process.client() as client:
        refused = client.request("GET", "/")
        assert (refused.status, refused.header("retry-after")) == (503, "1")
        go.touch()
        assert held.response().body == b"hello"
        assert client.request("GET", "/").status == 200


@pytest.mark.parametrize("app", [f"{APP}", f"{WSGI}"], ids=["asgi", "wsgi"])
def test_proxy_headers_are_believed_of_trusted_peers_only(gateway, app):
    lines = ("x-forwarded-for: 203.0.113.9, 10.0.0.1", "x-forwarded-proto: https")
    for trusted, expected in (
        ("127.0.0.1,10.0.0.0/8", b"203.0.113.9 https"),
        ("10.0.0.1", b"127.0.0.1 http"),
    ):
        process = gateway(app, "--port", "0", "--forwarded-allow-ips", trusted)
        with process.connect() as connection:
            connection.send_request("GET", "/client", *lines)
            assert connection.response().body == expected
        assert process.stop() == 0


# --- logs -----------------------------------------------------------------------------------------


def test_the_access_log_has_a_line_per_request(gateway):
    process = gateway(APP, "--port", "0")
    with process.connect() as connection:
        connection.send_request("GET", "/some/path?q=1")
        connection.response()
        connection.send_request("GET", '/trouble?x="\x7f')
        assert connection.response().status == 400
    process.out.wait(r'^127\.0\.0\.1:\d+ - "GET /some/path\?q=1 HTTP/1\.1" 200 OK 5B \d+\.\dms$')
    assert process.stop() == 0


def test_the_access_log_can_be_switched_off_and_formatted(gateway):
    process = gateway(APP, "--port", "0", "--no-access-log")
    with process.client() as client:
        client.request("GET", "/")
    process.stop()
    assert not any("GET" in line for line in process.out.lines)

    process = gateway(APP, "--port", "0", "--access-log-format", "json")
    with process.client() as client:
        client.request("GET", "/x?y=1")
    process.stop()
    record = next(json.loads(line) for line in process.out.lines if line.startswith("{"))
    assert (record["method"], record["path"], record["status"]) == ("GET", "/x", 200)

    process = gateway(APP, "--port", "0", "--access-log-format", '%(m)s %(U)s %(s)s "%({x-a}i)s"')
    with process.client() as client:
        client.request("GET", "/x", [("x-a", "b")])
    process.stop()
    assert 'GET /x 200 "b"' in process.out.lines


@pytest.mark.parametrize("hang_up", ["stdout", "stderr"])
def test_an_output_nobody_reads_does_not_stop_the_server(gateway, tmp_path, hang_up):
    path = tmp_path / "s.sock"
    process = gateway(WSGI, "--uds", path, hang_up=hang_up)
    wait_for(path)
    for _ in range(3):
        with Http1Socket(str(path)) as connection:
            connection.send_request("GET", "/")
            assert connection.response().status == 200
    assert process.stop() == 0


def test_the_log_level(gateway):
    process = gateway(APP, "--port", "0", "--log-level", "error", "--uds", "s.sock")
    process.out.wait("lifespan startup")
    wait_for(Path(process.process.args and process.cwd) / "s.sock")
    with Http1Socket(str(process.cwd / "s.sock")) as connection:
        connection.send_request("GET", "/trouble")
        assert connection.response().status == 500
    process.stop()
    assert process.err.lines[0].startswith("ERROR:")
    assert "ready in" not in process.err.text
    assert "ValueError: trouble of an operator" in process.err.text
    assert [line for line in process.out.lines if "GET" in line] == []


def test_a_log_config_takes_over(gateway, tmp_path):
    config = {
        "formatters": {"f": {"format": "MINE %(name)s %(message)s"}},
        "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f"}},
        "loggers": {"gateway": {"handlers": ["h"], "level": "INFO"}},
    }
    (tmp_path / "log.json").write_text(json.dumps(config))
    process = gateway(APP, "--port", "0", "--log-config", "log.json")
    with process.client() as client:
        client.request("GET", "/x")
    process.stop()
    assert any(line.startswith("MINE gateway.error gateway") for line in process.err.lines)
    assert any(
        line.startswith("MINE gateway.access") and "/x" in line for line in process.err.lines
    )


# --- stop -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
@pytest.mark.parametrize("app", [APP, WSGI], ids=["asgi", "wsgi"])
def test_a_request_in_flight_is_answered_completely(gateway, tmp_path, number, app):
    process = gateway(app, "--port", "0")
    idle = process.connect()
    idle.send_request("GET", "/")
    assert idle.response().status == 200
    connection, go = hold(process, tmp_path)
    port = process.port
    process.signal(number)
    process.err.wait(r"stopping: 1 request open, up to 30 s \(Ctrl-C again to stop now\)")
    assert idle.is_closed()
    with pytest.raises(OSError, match="refused"):
        Http1Socket(("127.0.0.1", port))
    go.touch()
    response = connection.response()
    assert (response.status, response.header("connection")) == (200, "close")
    assert process.wait() == 0
    assert process.err.lines[-1].endswith("stopped")
    if app == APP:
        assert process.out.lines.count("lifespan shutdown") == 1
    connection.close()
    idle.close()


def test_an_event_stream_is_told_and_ends_as_a_complete_response(gateway):
    process = gateway(APP, "--port", "0")
    with process.connect() as connection:
        connection.send_request("GET", "/events")
        connection.response_head()
        assert b"hello" in connection.some(100)
        process.signal(signal.SIGTERM)
        assert connection.until_closed().endswith(b"0\r\n\r\n")
    assert process.wait() == 0
    assert process.out.lines[:3] == ["lifespan startup", "events told", "lifespan shutdown"]


def test_an_event_stream_that_listens_to_nothing_ends_soon(gateway):
    process = gateway("e2e.apps.frameworks:starlette_app", "--port", "0")
    with process.connect() as connection:
        connection.send_request("GET", "/events?key=k")
        connection.response_head()
        process.signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 0
    assert "still open" not in process.err.text


@pytest.mark.parametrize("app", [APP, WSGI], ids=["asgi", "wsgi"])
def test_a_second_interrupt_ends_at_once(gateway, tmp_path, app):
    process = gateway(app, "--port", "0")
    connection, _ = hold(process, tmp_path)
    process.signal(signal.SIGINT)
    process.err.wait("stopping: 1 request open")
    before = time.monotonic()
    process.signal(signal.SIGINT)
    assert process.wait() == 0
    assert time.monotonic() - before < 3.0
    with connection:
        response = connection.response()
        assert (response.status, response.header("retry-after")) == (503, "1")
    assert re.search(
        r"still open when told to stop now, \w+: GET /hold \(mount /, ", process.err.text
    )
    if app == APP:
        assert "lifespan shutdown" in process.out.lines


def test_repeated_interrupts_end_a_server_whose_loop_is_blocked(gateway, tmp_path):
    process = gateway(APP, "--port", "0")
    connection, _ = hold(process, tmp_path, "/block")
    began = time.monotonic()
    with connection:
        while process.process.poll() is None and time.monotonic() - began < 4.0:
            process.signal(signal.SIGINT)  # as an operator does who gets no answer
            try:
                process.process.wait(0.4)
            except subprocess.TimeoutExpired:
                continue
    assert process.process.poll() is not None
    assert "lifespan shutdown" in process.out.lines


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_a_signal_during_a_slow_import_ends_it(gateway, tmp_path, number):
    (tmp_path / "main.py").write_text("import time\nprint('importing')\ntime.sleep(8)\napp = 1\n")
    process = gateway("main:app", "--port", "0")
    process.out.wait("importing")
    process.signal(number)
    assert process.wait(timeout=3.0) == 0
    assert "Traceback" not in process.err.text


def test_a_second_term_does_not_cut_the_drain(gateway, tmp_path):
    process = gateway(APP, "--port", "0")
    connection, go = hold(process, tmp_path)
    process.signal(signal.SIGTERM)
    process.err.wait("stopping: 1 request open")
    process.signal(signal.SIGTERM)
    go.touch()
    with connection:
        assert connection.response().body == b"hello"
    assert process.wait() == 0


@pytest.mark.parametrize("app", [APP, WSGI], ids=["asgi", "wsgi"])
def test_the_limit_of_the_drain_says_what_is_still_open(gateway, tmp_path, app):
    process = gateway(app, "--port", "0", "--timeout-graceful-shutdown", "0.3")
    connection, _ = hold(process, tmp_path)
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    with connection:
        assert connection.response().status == 503
    assert re.search(r"still open after 0\.3 s, \w+: GET /hold \(mount /, \d", process.err.text)
    if app == APP:
        assert "lifespan shutdown" in process.out.lines


def test_a_response_that_has_begun_is_cut_at_the_limit(gateway):
    process = gateway(APP, "--port", "0", "--timeout-graceful-shutdown", "0.3")
    with process.connect() as connection:
        connection.send_request("GET", "/begun")
        connection.response_head()
        assert connection.exactly(10) == b"5\r\nfirst\r\n"
        process.signal(signal.SIGTERM)
        assert connection.until_closed() == b""
    assert process.wait() == 0
    assert "GET /begun" in process.err.text
    assert "lifespan shutdown" in process.out.lines


def test_a_thread_that_hangs_does_not_keep_the_process(gateway, tmp_path):
    process = gateway(APP, "--port", "0", "--timeout-graceful-shutdown", "0.3")
    connection, _ = hold(process, tmp_path, "/thread")
    process.signal(signal.SIGTERM)
    with connection:
        assert connection.response().status == 503
    assert process.wait(timeout=4.0) == 0
    assert "lifespan shutdown" in process.out.lines


def test_a_lifespan_that_does_not_stop_is_named(gateway):
    process = gateway(
        "e2e.apps.operator:slow_stop", "--port", "0", "--timeout-graceful-shutdown", "0.2"
    ).ready()
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    assert re.search(r"/: its lifespan did not stop in", process.err.text)


def test_a_signal_during_the_start_stops_it(gateway):
    process = gateway("e2e.apps.operator:slow_start", "--port", "0")
    process.out.wait("starting")
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    assert "Traceback" not in process.err.text


def test_a_request_sent_just_before_the_signal_is_answered(gateway):
    process = gateway(APP, "--port", "0").ready()
    with process.connect() as connection:
        connection.send(b"GET / HTTP/1.1\r\nhost: a\r\n")
        process.signal(signal.SIGTERM)
        connection.send(b"\r\n")
        response = connection.response()
    assert (response.body, response.header("connection")) == (b"hello", "close")
    assert process.wait() == 0


# --- the first process of a container -------------------------------------------------------------


@pytest.mark.slow
def test_commands_run_by_a_hook_of_process_1_keep_their_exit_codes(gateway, tmp_path):
    """A migration that failed must stop the start, in a container too."""
    namespace = ["--pid", "--fork", "--kill-child", "--mount-proc"]
    needs_namespace(namespace)
    (tmp_path / "hooks.py").write_text(
        "import subprocess, time\n\n"
        "def on_start():\n"
        "    for _ in range(30):\n"
        "        child = subprocess.Popen(['sh', '-c', 'exit 7'])\n"
        "        time.sleep(0.005)  # it has ended before it is waited for\n"
        "        print('code', child.wait(), flush=True)\n"
    )
    launcher = "import os, sys; os.execvp('unshare', ['unshare', *sys.argv[1:]])"
    command = [*namespace, sys.executable, "-m", "gateway"]
    options = ["--hooks", "hooks", "--port", "0"]
    process = gateway("-c", launcher, *command, APP, *options, module=None).ready()
    assert " pid 1" in process.err.text
    assert [line for line in process.out.lines if line.startswith("code")] == ["code 7"] * 30


# --- errors ---------------------------------------------------------------------------------------


def failed(process, code):
    assert process.wait() == code, process.err.text
    assert process.err.lines[0].startswith("error: "), process.err.text
    assert "Traceback" not in process.err.text
    return process.err.text


def test_a_wrong_attribute_lists_the_applications(gateway, tmp_path):
    (tmp_path / "main.py").write_text("from fastapi import FastAPI\napp = FastAPI()\n")
    text = failed(gateway("main:nope", "--port", "0"), 3)
    assert 'main has no attribute "nope"' in text
    assert "main.py defines these apps: app (FastAPI)" in text
    assert "gateway main:app" in text


@pytest.mark.parametrize("target", ["time:app", "e2e.apps.operator:time"])
def test_a_built_in_module_is_no_application(gateway, target):
    assert "time" in failed(gateway(target, "--port", "0"), 3)


def test_a_wrong_module_names_its_neighbor(gateway, tmp_path):
    (tmp_path / "main.py").write_text("")
    text = failed(gateway("mian:app", "--port", "0"), 3)
    assert 'no module "mian"' in text
    assert 'did you mean "main" (main.py)?' in text


def test_a_crash_at_import_shows_the_users_lines(gateway, tmp_path):
    (tmp_path / "main.py").write_text("import nosuchlib\n")
    text = failed(gateway("main:app", "--port", "0"), 3)
    assert "main:app could not be imported" in text
    assert re.search(r"main\.py:1\s+import nosuchlib", text)
    assert "ModuleNotFoundError: No module named 'nosuchlib'" in text


@pytest.mark.parametrize(
    ("app", "words"),
    [("failing", ["the database is away"]), ("raising", ["no database here", "operator.py"])],
)
def test_a_failing_lifespan_names_its_mount(gateway, app, words):
    process = gateway(
        "--mount", f"/db=e2e.apps.operator:{app}", "--mount", f"/={APP}",
        "--lifespan", "on", "--port", "0",
    )  # fmt: skip
    text = failed(process, 3)
    assert "/db" in text.splitlines()[0]
    for word in words:
        assert word in text
    # What had started is stopped again.
    assert process.out.lines == ["lifespan startup", "lifespan shutdown"]


def test_a_taken_port_names_its_owner_before_anything_is_imported(gateway, tmp_path):
    first = gateway(APP, "--port", "0").ready()
    (tmp_path / "main.py").write_text("print('imported')\nfrom e2e.apps.operator import app\n")
    second = gateway("main:app", "--port", first.port)
    text = failed(second, 3)
    assert f"127.0.0.1:{first.port} is taken by pid {first.pid}:" in text
    assert "--port 0" in text
    assert second.out.lines == []


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ([], "nothing to serve"),
        ([APP, "--port", "80000"], "65535"),
        ([APP, "--prot", "8000"], "--port"),
        ([APP, "--loop", "trio"], "uvloop"),
        (["main"], "main:app"),
        ([APP, "--access-log-format", "%(nope)s", "--port", "0"], "nope"),
        ([APP, "--log-config", "missing.json", "--port", "0"], "missing.json"),
        ([APP, "--env-file", "missing", "--port", "0"], "missing"),
        ([APP, "--mount", f"/={WSGI}", "--mount", f"//x={WSGI}"], "//x"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_exit_code_2(gateway, args, word):
    text = failed(gateway(*args), 2)
    assert word in text


def test_a_misspelt_key_has_its_place(gateway, tmp_path):
    (tmp_path / "gateway.toml").write_text(f'prot = 1\n[mounts]\n"/" = "{APP}"\n')
    text = failed(gateway(), 2)
    assert "gateway.toml:1:1" in text
    assert "port" in text


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("http", ["httptools", "h11"])
@pytest.mark.parametrize("kind", ["asgi3", "wsgi"])
def test_large_bodies_both_ways_take_no_memory(gateway, kind, http):
    app = {"asgi3": "e2e.apps.scenarios_asgi:app3", "wsgi": "e2e.apps.scenarios_wsgi:app"}[kind]
    process = gateway(app, "--interface", kind, "--port", "0", "--http", http)
    size, block = 50 * 1024 * 1024, b"x" * (1 << 20)
    with process.client() as client:
        client.request("POST", "/upload", [], b"warm" * 100_000)
        client.request("GET", "/download?size=1000000")
        before = process.rss()
        with client.open("POST", "/upload", [("content-length", str(size))], body=True) as call:
            for _ in range(size // len(block)):
                call.send(block)
            assert call.rest().startswith(str(size).encode())
        with client.open("GET", f"/download?size={size}") as call:
            got = 0
            while data := call.read(1 << 20):
                got += len(data)
            assert got == size
        assert process.rss() - before < 8 * 1024 * 1024
