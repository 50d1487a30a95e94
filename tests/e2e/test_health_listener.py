"""Live and ready, on a listener of their own: what a load balancer and an orchestrator ask."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from e2e.client import Http1Socket
from e2e.load import Load, ask
from e2e.process import wait_for, wait_until, write_main

APP = "e2e.apps.processes:app"
HEALTH = ("--health-bind", "unix:health.sock")


def probe(process, target="/ready", *lines, method="GET"):
    """The status of one probe."""
    with Http1Socket(str(process.cwd / "health.sock")) as connection:
        connection.send_request(method, target, *lines)
        return connection.response(method).status


def has_health(process):
    wait_for(process.cwd / "health.sock")
    return process


def test_both_are_200_and_nothing_else_is_there(gateway):
    process = gateway(APP, "--workers", "2", "--port", "0", *HEALTH).ready()
    assert probe(process, "/live") == 200
    assert probe(process, "/ready") == 200
    assert probe(process, "/ready?from=a-balancer") == 200
    assert probe(process, "/ready", method="HEAD") == 200
    assert probe(process, "/") == 404
    assert probe(process, "/live", method="POST") == 405
    # Not among the applications' paths.
    with process.connect() as connection:
        assert ask(connection).pid
    assert process.stop() == 0
    assert not (process.cwd / "health.sock").exists()


def test_any_host_is_answered(gateway):
    process = gateway(APP, "--port", "0", *HEALTH).ready()
    for host in ("10.0.0.7:9000", "_", "a.b.example", "[::1]"):
        assert probe(process, "/ready", f"host: {host}") == 200


def test_a_port_can_be_asked_several_times_on_one_connection(gateway):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    process = gateway(APP, "--port", "0", "--health-bind", f"127.0.0.1:{port}").ready()
    with Http1Socket(("127.0.0.1", port)) as connection:
        for target in ("/live", "/ready"):
            connection.send_request("GET", target)
            assert connection.response().status == 200
    assert process.stop() == 0


def test_a_slow_or_silent_probe_disturbs_nobody(gateway):
    process = gateway(APP, "--port", "0", *HEALTH).ready()
    path = str(process.cwd / "health.sock")
    with Http1Socket(path) as silent, Http1Socket(path) as half:
        half.send(b"GET /ready HT")
        assert probe(process) == 200
        half.send(b"TP/1.1\r\nhost: a\r\n\r\n")
        assert half.response().status == 200
        silent.send(b"\x16\x03\x01\x00nonsense\r\n\r\n")
        assert silent.until_closed()[:12] in (b"HTTP/1.1 400", b"")
        assert probe(process) == 200
    assert process.stop() == 0
    assert "Traceback" not in process.err.text


def test_it_is_not_ready_while_applications_start(gateway, tmp_path):
    write_main(tmp_path, "v1", "wait_for_file('go')")
    process = has_health(gateway("main:app", "--workers", "2", "--port", "0", *HEALTH))
    assert probe(process, "/ready") == 503
    (tmp_path / "go").touch()
    process.ready()
    assert probe(process, "/ready") == 200


def test_drain_delay_serves_on_while_it_is_no_longer_ready(gateway):
    process = gateway(APP, "--workers", "2", "--port", "0", *HEALTH, "--drain-delay", "1.5").ready()
    with Load(process.address, fresh=True) as load:
        load.wait_more()
        process.signal(signal.SIGTERM)
        wait_until(lambda: probe(process) == 503, "it is not ready")
        assert probe(process, "/live") == 200
        load.wait_more(40)  # by new connections
        assert load.lossless(), load
    assert process.process.poll() is None
    assert process.wait() == 0


def test_a_second_interrupt_does_not_wait_for_the_delay(gateway):
    process = gateway(APP, "--workers", "2", "--port", "0", "--drain-delay", "20").ready()
    process.signal(signal.SIGINT)
    process.err.wait("(?i)not ready")
    process.signal(signal.SIGINT)
    assert process.wait(timeout=5) == 0
    assert process.alive() == set()


def test_it_answers_while_every_request_is_refused_for_overload(gateway, tmp_path):
    process = gateway(APP, "--port", "0", "--limit-concurrency", "1", *HEALTH).ready()
    with process.connect() as held, process.client() as client:
        held.send_request("GET", f"/hold?mark={tmp_path / 'mark'}")
        wait_for(tmp_path / "mark")
        assert client.request("GET", "/").status == 503
        assert probe(process, "/ready") == 200
        assert probe(process, "/live") == 200


def gated(tmp_path):
    """An application whose second import waits for the file ``go``."""
    write_main(
        tmp_path, "v1",
        "from pathlib import Path",
        "note_pid('imports')",
        "if len(Path('imports').read_text().splitlines()) > 1: wait_for_file('go')",
    )  # fmt: skip


def test_dead_workers_are_neither_live_nor_ready(gateway, tmp_path):
    gated(tmp_path)
    process = gateway("main:app", "--port", "0", *HEALTH).ready()
    (worker,) = process.workers()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: probe(process, "/ready") == 503, "it is not ready")
    (tmp_path / "go").touch()
    wait_until(lambda: probe(process, "/ready") == 200, "it is ready again")
    assert probe(process, "/live") == 200


def test_one_worker_that_answers_is_enough(gateway, tmp_path):
    write_main(
        tmp_path, "v1",
        "from pathlib import Path",
        "note_pid('imports')",
        "if len(Path('imports').read_text().splitlines()) > 2: wait_for_file('go')",
    )  # fmt: skip
    process = gateway("main:app", "--workers", "2", "--port", "0", *HEALTH).ready()
    killed, _ = process.answering(2).values()
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: len((tmp_path / "imports").read_text().splitlines()) == 3, "a new one")
    assert probe(process, "/live") == 200
    assert probe(process, "/ready") == 200


@pytest.mark.slow
def test_a_worker_that_hangs_is_not_ready(gateway, tmp_path):
    gated(tmp_path)
    process = gateway("main:app", "--port", "0", "--timeout-worker", "1", *HEALTH).ready()
    with process.connect() as connection:
        connection.send_request("GET", f"/block?seconds=30&mark={tmp_path / 'mark'}")
        wait_for(tmp_path / "mark")
        wait_until(lambda: probe(process, "/ready") == 503, "it is not ready", 5)
        (tmp_path / "go").touch()
        wait_until(lambda: probe(process, "/ready") == 200, "it is ready again")
