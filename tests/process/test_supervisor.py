"""What happens in the process above the workers, as its hooks, its log and its signals tell it."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from e2e.process import Gateway, wait_for, wait_until, write_main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="a supervisor lives by signals"),
]

APP = "e2e.apps.processes:app"

# A line of JSON for each call.
HOOKS = """
import json, pathlib, time

def note(event):
    with open("calls", "a") as file:
        print(json.dumps([event.name, event.exit_code, event.reason]), file=file)

on_start = on_ready = on_worker_start = on_worker_exit = on_reload = on_stop = note
"""


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Gateway]]:
    """Start ``python -m gateway`` with hooks that note their calls."""
    (tmp_path / "hooks.py").write_text(HOOKS)
    with ExitStack() as stack:

        def start(*args: str) -> Gateway:
            args = (*args, "--hooks", "hooks", "--port", "0")
            return stack.enter_context(Gateway(args, tmp_path))

        yield start


@pytest.fixture
def calls(tmp_path) -> Callable[..., list[list[object]]]:
    """The (name, exit code, reason) of hooks that were called so far, of one name or all."""

    def read(name: str | None = None) -> list[list[object]]:
        lines = (tmp_path / "calls").read_text().splitlines()
        return [call for call in map(json.loads, lines) if name in (None, call[0])]

    return read


# --- hooks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_a_start_that_failed_is_taken_back_by_the_hooks(start, tmp_path, calls, args):
    (tmp_path / "main.py").write_text("import nothing_of_that_name")
    assert start("main:app", *args).wait() == 3
    assert calls("on_ready") == []
    assert 3 in [call[1] for call in calls("on_worker_exit")]
    assert len(calls("on_start")) == len(calls("on_stop")) == 1
    assert calls()[-1][0] == "on_stop"


@pytest.mark.parametrize("args", [(), ("--supervise",)], ids=["one process", "supervised"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_the_last_hook_is_told_why(start, calls, args, number):
    process = start(APP, *args).ready()
    process.signal(number)
    assert process.wait() == 0
    assert calls("on_stop") == [["on_stop", None, number.name]]


def test_a_stop_during_the_start_is_no_failed_start(start, tmp_path, calls):
    write_main(tmp_path, "v1", "note_pid('importing')", "wait_for_file('never')")
    process = start("main:app", "--supervise")
    wait_for(tmp_path / "importing")
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    assert calls("on_stop") == [["on_stop", None, "SIGTERM"]]


def test_a_worker_that_hangs_is_noticed_while_a_hook_takes_its_time(start, tmp_path):
    hooks = tmp_path / "hooks.py"
    hooks.write_text(
        "from e2e.apps.processes import wait_for_file\n\n"
        "def on_ready():\n    wait_for_file('go', 8)\n"
    )
    process = start(APP, "--supervise", "--timeout-worker", "1").ready()
    with process.connect() as connection:
        connection.send_request("GET", "/block?seconds=20")
        process.err.wait("its event loop has been blocked", 5)
        process.err.wait("has been blocked .* replacing it", 5)
    (tmp_path / "go").touch()


# --- rolls ---------------------------------------------------------------------------------------


def test_a_roll_that_ends_half_way_says_so(start, tmp_path):
    write_main(tmp_path, "v1")
    process = start("main:app", "--workers", "2").ready()
    before = process.answering(2)
    write_main(
        tmp_path,
        "v2",
        "import os",
        "if os.environ['GATEWAY_WORKER_ID'] == '1': raise LookupError('only here')",
    )
    process.signal(signal.SIGHUP)
    process.err.wait("the reload failed")
    process.err.wait("some workers are new, the others go on as they were")
    assert "the workers go on as they were" not in process.err.text
    process.wait_gone([before[0]])
    after = process.answering(2)
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_a_roll_that_was_overtaken_leaves_nothing_of_its_settings(start, tmp_path):
    config = tmp_path / "gateway.toml"
    write_main(tmp_path, "v1")
    config.write_text('app = "main:app"\nsupervise = true\nlog_file = "first.log"\n')
    process = start()
    wait_until(lambda: "ready in" in log(tmp_path, "first"), "it serves")
    write_main(tmp_path, "v2", "note_pid('importing')", "wait_for_file('never')")
    config.write_text(config.read_text().replace("first.log", "second.log"))
    process.signal(signal.SIGHUP)
    wait_for(tmp_path / "importing")
    config.write_text("nonsense")
    process.signal(signal.SIGHUP)
    wait_until(lambda: "the reload failed" in log(tmp_path, "first"), "the log is as it was")
    assert "the workers go on as they were" in log(tmp_path, "first")
    assert process.stop() == 0
    assert log(tmp_path, "first").rstrip().endswith("stopped")


def log(directory, name: str) -> str:
    file = directory / f"{name}.log"
    return file.read_text() if file.exists() else ""


# --- the number of workers -----------------------------------------------------------------------


def test_a_worker_that_could_not_be_added_is_not_counted(start, tmp_path):
    write_main(tmp_path, "v1")
    process = start("main:app", "--workers", "2").ready()
    before = process.answering(2)
    write_main(tmp_path, "v2", "raise LookupError")
    process.signal(signal.SIGTTIN)
    process.err.wait("no worker added")
    process.err.wait("now 2 of 2 workers ready")
    process.signal(signal.SIGTTOU)
    process.err.wait("now 1 of 1 workers ready")
    process.wait_gone([before[1]])
    assert process.answering(1) == {0: before[0]}


# --- development ---------------------------------------------------------------------------------


def test_a_first_import_that_never_ends_is_mended_by_a_change(start, tmp_path):
    write_main(tmp_path, "v1", "note_pid('importing')", "wait_for_file('never')")
    process = start("main:app", "--reload", "--reload-delay", "0.1")
    wait_for(tmp_path / "importing")
    write_main(tmp_path, "v2")
    process.ready()
    with process.client() as client:
        assert client.request("GET", "/").text.endswith(" v2")
