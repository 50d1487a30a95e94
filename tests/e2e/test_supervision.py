"""Workers that die, hang, crash or are merely busy, and what becomes of everybody else."""

from __future__ import annotations

import itertools
import os
import re
import signal
import time
from contextlib import ExitStack

import pytest

from e2e.load import Load, ask
from e2e.process import wait_for, wait_until, write_main

APP = "e2e.apps.processes:app"


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


def connections_by_index(process, stack, count=2):
    """A connection to each of the `count` workers; `stack` closes them."""
    found = {}

    def look():
        for _ in range(8):
            connection = stack.enter_context(process.connect())
            found.setdefault(ask(connection, "/slow?seconds=0.02").index, connection)
        return len(found) == count

    wait_until(look, "every worker has a connection")
    return found


# --- death ----------------------------------------------------------------------------------------


def test_a_killed_worker_loses_only_what_was_in_flight_on_it(gateway):
    process = gateway(APP, "--workers", "2", "--port", "0").ready()
    before = process.answering(2)
    killed = before[1]
    with (
        Load(process.address, "/", "/slow?seconds=0.05") as kept,
        Load(process.address, "/", "/slow?seconds=0.05", fresh=True) as fresh,
    ):
        fresh.wait_until(lambda: killed in fresh.pids)
        at = time.monotonic()
        os.kill(killed, signal.SIGKILL)
        (new,) = fresh.wait_for_pid_besides(set(before.values()))
        kept.wait_more()
        fresh.wait_more()
    assert fresh.first[new] - at < 2.0
    failures = [*kept.failures, *fresh.failures]
    assert {failure.pid for failure in failures} <= {killed, None}, failures
    assert len(failures) <= 8  # each client had one request in flight at most
    assert fresh.indexes == {0, 1}
    process.err.wait(rf"\b{killed}\b.*SIGKILL")


def test_all_workers_killed_at_once_come_back(gateway):
    process = gateway(APP, "--workers", "2", "--port", "0").ready()
    before = process.answering(2)
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    process.wait_gone(before.values())
    after = process.answering(2)
    assert set(after) == {0, 1}
    assert process.stop() == 0


@pytest.mark.slow
def test_a_worker_that_crashes_again_and_again_is_started_ever_later(gateway, tmp_path):
    process = gateway("e2e.apps.processes:crashing", "--supervise", "--port", "0")
    starts = tmp_path / "starts"
    wait_until(lambda: starts.exists() and len(starts.read_text().split()) == 4, "four starts")
    times = [float(text) for text in starts.read_text().split()]
    _, second, third = (later - earlier for earlier, later in itertools.pairwise(times))
    # What it takes to start comes on top of the pause.
    assert second > 0.5
    assert third > 1.0
    process.answering(1)
    assert process.stop() == 0


# --- a start that fails ---------------------------------------------------------------------------


def failed(process):
    """The log of a server that could not start: one error, no worker left."""
    assert process.wait() == 3, process.err.text
    assert process.alive() == set()
    errors = [line for line in process.err.lines if re.match("(?i)error", line)]
    assert len(errors) == 1, process.err.text
    assert "ready in" not in process.err.text
    return process.err.text


def test_workers_that_cannot_import_are_one_error(gateway, tmp_path):
    (tmp_path / "main.py").write_text("import nosuchlib\n")
    text = failed(gateway("main:app", "--workers", "3", "--port", "0"))
    assert text.count("main:app could not be imported") == 1
    assert re.search(r"main\.py:1\s+import nosuchlib", text)


def test_workers_whose_lifespan_fails_are_one_error(gateway):
    text = failed(gateway("e2e.apps.operator:failing", "--workers", "2", "--port", "0"))
    assert text.count("the database is away") == 1


@pytest.mark.parametrize(
    ("crash", "said"),
    [
        ("os._exit(7)", r"\b7\b"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV|signal 11"),
    ],
    ids=["exit", "segv"],
)
def test_a_crash_while_the_application_is_imported_is_told(gateway, tmp_path, crash, said):
    (tmp_path / "main.py").write_text(f"import os, signal\n{crash}\n")
    text = failed(gateway("main:app", "--workers", "2", "--port", "0"))
    assert re.search(said, text)
    assert re.search("before it was ready|could not start|did not start|while", text)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_a_signal_while_workers_import_ends_them(gateway, tmp_path, number):
    write_main(tmp_path, "v1", "note_pid('imports')", "wait_for_file('never')")
    process = gateway("main:app", "--workers", "2", "--port", "0")
    imports = tmp_path / "imports"
    wait_for(imports)
    wait_until(lambda: len(imports.read_text().splitlines()) == 2, "both import")
    process.signal(number)
    assert process.wait(timeout=5) == 0
    assert process.alive() == set()
    assert "Traceback" not in process.err.text


# --- a loop that hangs ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_worker_whose_loop_hangs_is_shown_and_replaced(gateway, tmp_path, stack):
    process = gateway(
        APP, "--workers", "2", "--port", "0", "--timeout-worker", "1",
        "--timeout-graceful-shutdown", "0.2",
    ).ready()  # fmt: skip
    before = process.answering(2)
    mine = connections_by_index(process, stack)
    began = time.monotonic()
    mine[0].send_request("GET", f"/block?seconds=30&mark={tmp_path / 'mark'}")
    wait_for(tmp_path / "mark")
    with Load(process.address, clients=2, fresh=True) as load:
        process.err.wait(r"processes\.py.* in blocking_handler", 5)
        (new,) = load.wait_for_pid_besides(set(before.values()))
        assert load.first[new] - began < 5.0
        process.wait_gone([before[0]])
        # The worker beside it went on, on its old connection too.
        assert ask(mine[1]).pid == before[1]
        load.wait_more()
    assert load.lossless(), load
    assert load.slowest < 2.0
    assert process.answering(2) == {0: new, 1: before[1]}
    assert re.search(rf"worker 0 \(pid {before[0]}\)", process.err.text)
    assert process.stop() == 0


def test_the_stack_is_shown_while_the_interpreter_itself_is_held(gateway, tmp_path, stack):
    process = gateway(APP, "--workers", "2", "--port", "0", "--timeout-worker", "1").ready()
    before = process.answering(2)
    mine = connections_by_index(process, stack)
    mine[0].send_request("GET", f"/regex?mark={tmp_path / 'mark'}")
    wait_for(tmp_path / "mark")
    process.err.wait(r"processes\.py.* in catastrophic_handler", 5)
    with Load(process.address, clients=2, fresh=True) as load:
        load.wait_for_pid_besides(set(before.values()))
    assert load.lossless(), load


@pytest.mark.slow
def test_a_worker_that_comes_back_in_time_answers_and_leaves(gateway, tmp_path, stack):
    process = gateway(APP, "--workers", "2", "--port", "0", "--timeout-worker", "1").ready()
    before = process.answering(2)
    mine = connections_by_index(process, stack)
    mine[0].send_request("GET", f"/block?seconds=2.2&mark={tmp_path / 'mark'}")
    wait_for(tmp_path / "mark")
    process.err.wait("blocking_handler", 5)
    response = mine[0].response()
    assert response.status == 200
    assert response.text.split(" ")[0] == str(before[0])
    process.wait_gone([before[0]])
    after = process.answering(2)
    assert after[0] != before[0]
    assert after[1] == before[1]
    assert "KILL" not in process.err.text
    assert process.stop() == 0


@pytest.mark.slow
def test_a_worker_that_computes_in_its_threads_is_left_alone(gateway, stack):
    process = gateway(
        "e2e.apps.processes:wsgi", "--supervise", "--threads", "4", "--port", "0",
        "--timeout-worker", "1",
    ).ready()  # fmt: skip
    connections = [stack.enter_context(process.connect()) for _ in range(4)]
    for connection in connections:
        connection.send_request("GET", "/spin?seconds=1.3")
    pids = {int(connection.response().text.split(" ")[0]) for connection in connections}
    assert pids == process.workers()
    assert process.stop() == 0
    assert not re.search("(?i)warning|hang|silent", process.err.text)


@pytest.mark.slow
def test_a_worker_whose_import_takes_long_is_left_alone(gateway, tmp_path):
    write_main(tmp_path, "v1", "note_pid('imports')", "import time", "time.sleep(1.5)")
    process = gateway("main:app", "--supervise", "--port", "0", "--timeout-worker", "1").ready()
    assert len((tmp_path / "imports").read_text().splitlines()) == 1
    assert process.stop() == 0
    assert not re.search("(?i)warning|hang|silent", process.err.text)


@pytest.mark.slow
def test_term_ends_a_worker_that_hangs(gateway, tmp_path):
    process = gateway(APP, "--workers", "2", "--port", "0", "--timeout-graceful-shutdown", "0.1")
    process.ready()
    with process.connect() as connection:
        connection.send_request("GET", f"/block?seconds=30&mark={tmp_path / 'mark'}")
        wait_for(tmp_path / "mark")
        process.signal(signal.SIGTERM)
        assert process.wait(timeout=6) == 0
    assert process.alive() == set()


# --- the parent -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["idle", "importing", "hanging", "preload"])
def test_a_killed_parent_leaves_nobody_behind(gateway, tmp_path, case):
    args = ["main:app", "--workers", "2", "--port", "0"]
    if case == "importing":
        write_main(tmp_path, "v1", "note_pid('imports')", "wait_for_file('never')")
        process = gateway(*args)
        wait_for(tmp_path / "imports")
    else:
        write_main(tmp_path, "v1")
        process = gateway(*args, *["--preload"] * (case == "preload")).ready()
    if case == "hanging":
        with process.connect() as connection:
            connection.send_request("GET", f"/block?seconds=30&mark={tmp_path / 'mark'}")
            wait_for(tmp_path / "mark")
    process.process.kill()
    process.process.wait()
    process.wait_gone(timeout=2.0)
