"""Several workers: who they are, what they share, and what the parent keeps out of."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from e2e.process import children_of, write_main

APP = "e2e.apps.processes:app"


def test_two_workers_answer_on_one_port(gateway):
    process = gateway(APP, "--workers", "2", "--port", "0").ready()
    seen = process.answering(2)
    assert set(seen) == {0, 1}
    assert set(seen.values()) == children_of(process.pid)
    assert process.stop() == 0
    assert process.alive() == set()


def test_the_line_of_readiness_comes_once_and_counts_the_workers(gateway):
    process = gateway(APP, "--workers", "2", "--port", "0").ready()
    assert process.stop() == 0
    told = [line for line in process.err.lines if "ready in" in line]
    assert len(told) == 1
    assert re.search(rf"on http://127\.0\.0\.1:\d+, .*2 workers, pid {process.pid}\b", told[0])
    mounts = [line for line in process.err.lines if f"-> {APP}" in line]
    assert len(mounts) == 1


def test_every_lifespan_is_run_once_per_worker(gateway):
    process = gateway(APP, "--workers", "2", "--port", "0").ready()
    pids = {str(pid) for pid in process.workers()}
    assert process.stop() == 0
    events = [line.split() for line in process.out.lines if line.startswith("lifespan")]
    for event in ("startup", "shutdown"):
        assert {pid for _, each, pid in events if each == event} == pids
    assert len(events) == 4


def test_web_concurrency_is_the_number_of_workers(gateway):
    process = gateway(APP, "--port", "0", env={"WEB_CONCURRENCY": "2"})
    process.err.wait(r"ready in .* 2 workers")
    assert set(process.answering(2)) == {0, 1}


def test_auto_counts_the_cores_this_process_may_use(gateway):
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        process = gateway(APP, "--port", "0", "--workers", "auto")
    finally:
        os.sched_setaffinity(0, cores)
    process.err.wait(r"ready in .* 1 worker, pid")
    assert len(children_of(process.pid)) == 1


def test_a_replacement_keeps_the_index(gateway):
    process = gateway(APP, "--workers", "2", "--port", "0").ready()
    before = process.answering(2)
    os.kill(before[1], signal.SIGKILL)
    process.wait_gone([before[1]])
    after = process.answering(2)
    assert after[0] == before[0]
    assert after[1] not in before.values()


def test_a_worker_is_named_by_its_index_in_the_log(gateway):
    process = gateway(APP, "--workers", "2", "--port", "0").ready()
    with process.connect() as connection:
        connection.send_request("GET", "/")
        index = connection.response().text.split(" ")[1]
        connection.send_request("GET", "/trouble")
        assert connection.response().status == 500
    process.err.wait(rf"^ERROR: .*(\[{index}\]|worker {index}\b).*Exception in the application")


def test_the_access_log_of_all_workers_is_one(gateway):
    process = gateway(APP, "--workers", "2", "--port", "0").ready()
    process.answering(2)
    with process.connect() as connection:
        connection.send_request("GET", "/?last")
        connection.response()
    process.out.wait(r'"GET /\?last HTTP/1\.1" 200')
    assert process.stop() == 0
    lines = [line for line in process.out.lines if "GET /slow" in line]
    assert all(line.count("GET") == 1 for line in lines)


def test_every_worker_may_have_a_socket_of_its_own(gateway):
    process = gateway(APP, "--workers", "2", "--reuse-port", "--port", "0").ready()
    assert set(process.answering(2)) == {0, 1}
    listening = f":{process.port:04X} 00000000:0000 0A"
    assert Path("/proc/net/tcp").read_text().count(listening) == 2


def test_the_parent_never_imports_the_application(gateway, tmp_path):
    write_main(tmp_path, "v1", "note_pid('imports')")
    process = gateway("main:app", "--workers", "2", "--port", "0").ready()
    imports = [line.split() for line in (tmp_path / "imports").read_text().splitlines()]
    assert {int(pid) for pid, _ in imports} == set(process.answering(2).values())
    assert {int(parent) for _, parent in imports} == {process.pid}


SCRIPT = """
import builtins, sys, threading
builtins.OF_THE_SCRIPT = 1
threading.Thread(target=threading.Event().wait, daemon=True).start()
import gateway
gateway.run({app}, {settings})
"""


def test_workers_are_interpreters_of_their_own(gateway, tmp_path):
    # No "if __name__ == '__main__'" either: a worker runs the application, not the script.
    settings = "workers=2, port=0"
    (tmp_path / "script.py").write_text(SCRIPT.format(app=repr(APP), settings=settings))
    process = gateway("script.py", module=None).ready()
    process.answering(2)
    for _ in range(8):
        with process.connect() as connection:
            connection.send_request("GET", "/builtins")
            assert "OF_THE_SCRIPT" not in connection.response().text.split(" ")
    assert process.stop() == 0


@pytest.mark.parametrize("settings", ["workers=2", "reload=True", "preload=True"])
def test_an_application_object_cannot_be_given_to_processes(gateway, tmp_path, settings):
    app = "lambda environ, start_response: [b'']"
    (tmp_path / "script.py").write_text(SCRIPT.format(app=app, settings=f"{settings}, port=0"))
    process = gateway("script.py", module=None)
    assert process.wait() == 2
    assert process.err.lines[0].startswith("error: ")
    assert "import string" in process.err.text
    assert settings.partition("=")[0] in process.err.text
    assert "Traceback" not in process.err.text


def test_an_application_object_is_served_where_one_worker_is_asked_for(gateway, tmp_path):
    text = SCRIPT.format(app="app", settings="workers=1, port=0")
    (tmp_path / "script.py").write_text(f"from e2e.apps.processes import app\n{text}")
    process = gateway("script.py", module=None).ready()
    assert list(process.answering(1).values()) == [process.pid]
