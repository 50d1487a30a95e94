"""Under the real gunicorn, as its operator has it."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest
from e2e.client import Http1Socket
from e2e.load import Load
from e2e.process import wait_for, wait_until, write_main

from workers.gunicorn_process import Start

pytestmark = pytest.mark.slow

HOOKS = """
def note(text):
    with open("hooks", "a") as file:
        file.write(text + "\\n")

def post_worker_init(worker):
    note("post_worker_init")

def worker_int(worker):
    note("worker_int")

def worker_abort(worker):
    note("worker_abort")

def worker_exit(server, worker):
    note("worker_exit")
"""


@pytest.fixture
def hooks(tmp_path: Path) -> Path:
    """The file in which every hook of gunicorn's writes its name."""
    (tmp_path / "gunicorn.conf.py").write_text(HOOKS)
    return tmp_path / "hooks"


# --- serving ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "body"), [("asgi3", "asgi 3"), ("asgi2", "asgi 2"), ("wsgi", "wsgi")]
)
def test_an_application_of_each_interface_is_served(start: Start, name: str, body: str) -> None:
    response = start(app=f"workers.apps:{name}").get()
    assert (response.status, response.text) == (200, body)


def test_the_h11_worker_serves(start: Start) -> None:
    server = start(app="workers.apps:asgi3", worker="gateway.workers.GatewayH11Worker")
    assert server.get().text == "asgi 3"


def test_a_class_with_settings_serves(start: Start) -> None:
    server = start(app="workers.apps:asgi3", worker="workers.apps.ShopWorker")
    response = server.get("/w/x")
    assert (response.text, response.header("x-shop")) == ("wsgi", "1")


def test_a_unix_socket_is_served_and_left_to_gunicorn(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    server = start(bind=f"unix:{path}")
    with Load(str(path), clients=1) as load:
        load.wait_more(2)
        server.signal(signal.SIGHUP)
        load.wait_for_pid_besides(load.pids)
        assert load.lossless()


def test_a_preloaded_application_is_imported_by_the_arbiter(start: Start, tmp_path: Path) -> None:
    write_main(tmp_path, "1", "note_pid('imports')")
    server = start("--preload", "--workers", "2")
    assert server.worker_pid() != server.pid
    assert [line.split()[0] for line in Path(tmp_path, "imports").read_text().splitlines()] == [
        str(server.pid)
    ]


# --- what cannot start --------------------------------------------------------------------------


def test_tls_is_refused_with_a_boot_failure(launch: Start) -> None:
    server = launch("--certfile", __file__, "--keyfile", __file__)
    assert server.wait(15) == 3
    assert "is not supported by GatewayWorker\n  TLS ends in a proxy in front" in server.err.text


def test_a_failed_lifespan_is_a_boot_failure(launch: Start) -> None:
    server = launch(app="workers.apps:failing")
    assert server.wait(15) == 3
    assert "no database" in server.err.text


# --- replacing workers --------------------------------------------------------------------------


def test_hup_loses_no_request(start: Start) -> None:
    server = start("--workers", "2")
    with Load(server.address, "/", "/slow?seconds=0.05") as load:
        for _ in range(2):
            load.wait_more()
            old = server.workers()
            server.signal(signal.SIGHUP)
            load.wait_for_pid_besides(load.pids | old)
            server.wait_gone(old)
        assert load.lossless(), load


def test_max_requests_loses_no_request(start: Start) -> None:
    server = start("--max-requests", "25", "--max-requests-jitter", "5")
    with Load(server.address, "/", "/slow?seconds=0.01") as load:
        load.wait_until(lambda: len(load.pids) >= 4)
        assert load.lossless(), load
    assert server.lines(r"Restarting after (2[5-9]|30) requests")


def test_reload_serves_the_changed_file(start: Start, tmp_path: Path) -> None:
    server = start("--reload")
    assert server.get().text.endswith(" 1")
    with server.connect() as connection:
        # One that would hold a drain up, for longer than this test may take.
        connection.send_request("GET", f"/hold?mark={tmp_path / 'held'}")
        wait_for(tmp_path / "held")
        for _ in range(5):  # gunicorn's reloader misses what changes before its first look
            write_main(tmp_path, "2")
            try:
                server.err.wait("Worker reloading", 2)
                break
            except AssertionError:
                continue
        server.err.wait(r"Serving ", count=2)
    assert server.get().text.endswith(" 2")


def test_reload_shows_a_syntax_error_until_it_is_mended(start: Start, tmp_path: Path) -> None:
    write_main(tmp_path, "1", "app = = 2")
    response = start("--reload").get()
    assert response.status == 500
    assert "app = = 2" in response.text


def test_a_blocked_loop_is_replaced_and_the_culprit_named(start: Start, hooks: Path) -> None:
    server = start("--timeout", "1")
    pid = server.worker_pid()
    with server.connect() as connection:
        connection.send_request("GET", "/block?seconds=25")
        server.err.wait("WORKER TIMEOUT")
        server.err.wait("in blocking_handler")
        server.err.wait(r"Serving ", count=2)
    assert server.worker_pid() != pid
    assert hooks.read_text().splitlines()[:2] == ["post_worker_init", "worker_abort"]


def test_a_long_request_that_does_not_block_is_no_hang(start: Start) -> None:
    server = start("--timeout", "1")
    assert server.get("/slow?seconds=2.5").text.startswith(f"{server.worker_pid()} ")


# --- stopping -----------------------------------------------------------------------------------


def test_term_lets_an_open_request_finish(start: Start, tmp_path: Path) -> None:
    server = start("--timeout", "1")
    with server.connect() as connection:
        connection.send_request("GET", f"/hold?mark={tmp_path / 'held'}")
        wait_for(tmp_path / "held")
        server.signal(signal.SIGTERM)
        server.err.wait("stopping: 1 request open")
        (tmp_path / "held.go").touch()
        assert connection.response().status == 200
    assert server.wait() == 0
    assert any(line.startswith("lifespan shutdown") for line in server.out.lines)


def test_a_drain_ends_before_gunicorn_kills(start: Start, tmp_path: Path) -> None:
    server = start("--graceful-timeout", "2")
    with server.connect() as connection:
        connection.send_request("GET", f"/hold?mark={tmp_path / 'held'}")
        wait_for(tmp_path / "held")
        server.signal(signal.SIGTERM)
        assert connection.response().status == 503
    assert server.wait() == 0
    assert any(line.startswith("lifespan shutdown") for line in server.out.lines)
    assert not server.lines("SIGKILL")


@pytest.mark.parametrize("target", ["/hold?mark=held", "/block?mark=held&seconds=25"])
def test_quit_does_not_wait(start: Start, hooks: Path, tmp_path: Path, target: str) -> None:
    server = start()
    with server.connect() as connection:
        connection.send_request("GET", target)
        wait_for(tmp_path / "held")
        began = time.monotonic()
        assert server.stop_with(signal.SIGQUIT) == 0
        assert time.monotonic() - began < 4
    assert hooks.read_text().splitlines()[1] == "worker_int"


def test_workers_end_when_the_arbiter_is_killed(start: Start) -> None:
    server = start("--workers", "2")
    server.signal(signal.SIGKILL)
    server.wait_gone()


# --- logs ---------------------------------------------------------------------------------------


def test_the_access_log_is_gunicorns(start: Start, tmp_path: Path) -> None:
    fmt = '%(h)s %(m)s %(U)s?%(q)s %(H)s %(s)s %({x-shop}i)s "%(a)s"'
    server = start("--access-logfile", "access", "--access-logformat", fmt)
    server.get("/slow?seconds=0", 'user-agent: te"st', "x-shop: 7")
    log = tmp_path / "access"
    wait_until(log.read_text, "a line is written")
    assert log.read_text() == '127.0.0.1 GET /slow?seconds=0 HTTP/1.1 200 7 "te\\"st"\n'


def test_usr1_opens_the_log_files_again(start: Start, tmp_path: Path) -> None:
    server = start("--access-logfile", "access")
    server.get("/?first")
    log = tmp_path / "access"
    wait_until(log.read_text, "a line is written")
    log.rename(tmp_path / "access.1")
    server.signal(signal.SIGUSR1)

    def written() -> bool:
        server.get("/?more")
        return log.exists() and "/?more" in log.read_text()

    wait_until(written, "lines go to the new file")
    assert "/?first" in (tmp_path / "access.1").read_text()


def test_without_an_access_log_nothing_is_written(start: Start) -> None:
    server = start()
    server.get()
    assert server.stop() == 0
    assert not any("GET" in line for line in [*server.out.lines, *server.err.lines])


def test_the_error_log_has_gunicorns_place_and_form(launch: Start, tmp_path: Path) -> None:
    log, path = tmp_path / "errors", str(tmp_path / "app.sock")
    server = launch("--error-logfile", "errors", "--log-level", "warning", bind=f"unix:{path}")
    wait_until(lambda: Path(path).exists(), "gunicorn has bound its socket")
    with Http1Socket(path) as connection:
        connection.send_request("GET", "/trouble")
        assert connection.response().status == 500
    wait_until(lambda: "ValueError: trouble" in log.read_text(), "the traceback is written")
    pid = re.search(r"\[(\d+)\] \[ERROR\] Exception in the application at /", log.read_text())
    assert pid is not None
    assert int(pid[1]) in server.alive() - {server.pid}
    assert "INFO" not in log.read_text()


def test_a_hook_that_is_not_called_is_named(start: Start, tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text("def pre_request(worker, req): pass\n")
    server = start("--workers", "2")
    assert len(server.lines("pre_request is not called")) == 1
