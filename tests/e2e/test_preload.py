"""--preload: the application is imported once, and workers are copies of that process."""

from __future__ import annotations

import os
import re
import signal

import pytest

from e2e.load import Load, ask
from e2e.process import write_main

ARGS = ("main:app", "--workers", "2", "--preload", "--port", "0")


def imports(tmp_path):
    """Pids of the processes that imported the application."""
    return [int(line.split()[0]) for line in (tmp_path / "imports").read_text().splitlines()]


def parent_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def test_the_application_is_imported_once_for_all_workers(gateway, tmp_path):
    write_main(tmp_path, "v1", "note_pid('imports')")
    process = gateway(*ARGS).ready()
    seen = process.answering(2)
    assert set(seen) == {0, 1}
    (importer,) = imports(tmp_path)
    assert {parent_of(pid) for pid in seen.values()} == {importer}
    assert importer != process.pid  # which stays small, and cannot be broken by an application
    assert process.stop() == 0
    assert process.alive() == set()


def test_a_dead_copy_is_replaced_without_another_import(gateway, tmp_path):
    write_main(tmp_path, "v1", "note_pid('imports')")
    process = gateway(*ARGS).ready()
    before = process.answering(2)
    with Load(process.address, fresh=True) as load:
        os.kill(before[1], signal.SIGKILL)
        load.wait_for_pid_besides(set(before.values()))
    after = process.answering(2)
    assert after[0] == before[0]
    assert after[1] != before[1]
    assert len(imports(tmp_path)) == 1


def test_a_dead_template_is_started_again(gateway, tmp_path):
    write_main(tmp_path, "v1", "note_pid('imports')")
    process = gateway(*ARGS).ready()
    before = process.workers()
    os.kill(imports(tmp_path)[0], signal.SIGKILL)
    process.wait_gone(before)
    assert set(process.answering(2)) == {0, 1}
    assert len(imports(tmp_path)) == 2
    assert process.stop() == 0
    assert process.alive() == set()


def test_each_copy_has_random_numbers_of_its_own(gateway, tmp_path):
    write_main(
        tmp_path, "v1", "import random", "class Dice:",
        "    def __str__(self): return str(random.random())",
    )  # fmt: skip
    (tmp_path / "main.py").write_text(
        (tmp_path / "main.py").read_text().replace("Witness('v1')", "Witness(Dice())")
    )
    process = gateway(*ARGS).ready()
    first = {}
    while len(first) < 2:
        with process.connect() as connection:
            answer = ask(connection)
            first.setdefault(answer.index, answer.version)
    assert first[0] != first[1]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("import threading; threading.Thread(target=threading.Event().wait, name='poller-of-mine', daemon=True).start()", "poller-of-mine"),
        ("import socket; POOL = socket.create_server(('127.0.0.1', 0))", r"socket.*127\.0\.0\.1"),
    ],
    ids=["thread", "socket"],
)  # fmt: skip
def test_what_a_copy_cannot_share_is_refused_by_its_name(gateway, tmp_path, line, named):
    write_main(tmp_path, "v1", line)
    process = gateway(*ARGS)
    assert process.wait() == 3
    assert process.alive() == set()
    text = process.err.text
    assert re.search(named, text), text
    assert "preload" in text
    assert "Traceback" not in text


def test_an_import_that_fails_is_one_error(gateway, tmp_path):
    (tmp_path / "main.py").write_text("import nosuchlib\n")
    process = gateway(*ARGS)
    assert process.wait() == 3
    assert process.alive() == set()
    assert process.err.text.count("main:app could not be imported") == 1
    assert "Traceback" not in process.err.text


def test_hup_imports_again(gateway, tmp_path):
    write_main(tmp_path, "v1", "note_pid('imports')")
    process = gateway(*ARGS).ready()
    before = process.workers()
    write_main(tmp_path, "v2", "note_pid('imports')")
    with Load(process.address, "/", "/slow?seconds=0.05") as load:
        load.wait_more()
        process.signal(signal.SIGHUP)
        process.wait_gone(before)
        load.wait_more()
    assert load.lossless(), load
    assert len(imports(tmp_path)) == 2
    assert len(process.workers()) == 2
    with process.connect() as connection:
        assert ask(connection).version == "v2"
    assert process.stop() == 0
    assert process.alive() == set()


def test_hups_that_overtake_one_another_lose_nothing(gateway, tmp_path):
    write_main(tmp_path, "v1")
    process = gateway("main:app", "--workers", "6", "--preload", "--port", "0").ready()
    before = process.workers()
    with (
        Load(process.address, "/", "/slow?seconds=0.02") as kept,
        Load(process.address, fresh=True) as fresh,
    ):
        for _ in range(6):
            known = process.workers()
            process.signal(signal.SIGHUP)
            # The first copies of this template serve; the next HUP gives up the others.
            fresh.wait_for_pid_besides(known | fresh.pids)
        process.wait_gone(before)
        process.err.wait("reloaded")
        kept.wait_more()
    assert kept.lossless(), kept
    assert fresh.lossless(), fresh
    assert set(process.answering(6)) == set(range(6))
    assert process.stop() == 0
    assert process.alive() == set()
    assert "Task" not in process.err.text


def test_hup_with_broken_code_keeps_the_copies_of_the_old(gateway, tmp_path):
    write_main(tmp_path, "v1")
    process = gateway(*ARGS).ready()
    before = process.answering(2)
    (tmp_path / "main.py").write_text("import nosuchlib\n")
    with Load(process.address) as load:
        process.signal(signal.SIGHUP)
        process.err.wait("nosuchlib")
        load.wait_more()
    assert load.lossless(), load
    assert process.answering(2) == before
    # And they can still be copied.
    os.kill(before[0], signal.SIGKILL)
    process.wait_gone([before[0]])
    after = process.answering(2)
    assert after[0] not in before.values()
    assert process.stop() == 0
