"""USR2: a new parent, perhaps a new version, takes over the sockets of the old one."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from e2e.load import Load, ask
from e2e.process import wait_until, write_main

ARGS = ("main:app", "--workers", "2", "--port", "0", "--pid-file", "gateway.pid")


def pid_in(tmp_path):
    text = (tmp_path / "gateway.pid").read_text().strip()
    return int(text or 0)


def test_a_new_parent_takes_over_under_load(gateway, tmp_path):
    write_main(tmp_path, "v1")
    process = gateway(*ARGS).ready()
    address, before = process.address, process.workers()
    assert pid_in(tmp_path) == process.pid
    write_main(tmp_path, "v2")
    with (
        Load(address, "/", "/slow?seconds=0.05") as kept,
        Load(address, "/", "/slow?seconds=0.05", fresh=True) as fresh,
    ):
        kept.wait_more()
        process.signal(signal.SIGUSR2)
        fresh.wait_for_pid_besides(before)
        assert process.process.wait(10) == 0
        kept.wait_more()
        fresh.wait_more()
        assert not before & process.workers()
    assert kept.lossless(), kept
    assert fresh.lossless(), fresh
    new = pid_in(tmp_path)
    assert new != process.pid
    assert new in process.alive()
    with process.connect() as connection:
        assert ask(connection).version == "v2"
    # The new one is as good as the old one.
    os.kill(new, signal.SIGTERM)
    process.wait_gone()
    assert not (tmp_path / "gateway.pid").exists()


def test_the_new_parent_can_be_replaced_too(gateway, tmp_path):
    write_main(tmp_path, "v1")
    process = gateway(*ARGS).ready()
    address = process.address
    process.signal(signal.SIGUSR2)
    assert process.process.wait(10) == 0
    second = pid_in(tmp_path)
    write_main(tmp_path, "v3")
    with Load(address) as load:
        load.wait_more()
        os.kill(second, signal.SIGUSR2)
        wait_until(lambda: second not in process.alive(), "the second parent has left")
        load.wait_more()
    assert load.lossless(), load
    third = pid_in(tmp_path)
    assert third not in (process.pid, second)
    os.kill(third, signal.SIGTERM)
    process.wait_gone()


@pytest.mark.parametrize("broken", ["import nosuchlib", "import os; os._exit(7)"])
def test_a_new_parent_that_does_not_start_leaves_the_old_one(gateway, tmp_path, broken):
    write_main(tmp_path, "v1")
    process = gateway(*ARGS).ready()
    before = process.alive()
    write_main(tmp_path, "v2", broken)
    with Load(process.address) as load:
        load.wait_more()
        process.signal(signal.SIGUSR2)
        process.err.wait("(?i)(new|replacement|next).*(did not|not start|could not|ended|exit)")
        wait_until(lambda: process.alive() == before, "the old processes alone")
        load.wait_more()
        assert pid_in(tmp_path) == process.pid
        # And the next time it works.
        write_main(tmp_path, "v3")
        process.signal(signal.SIGUSR2)
        assert process.process.wait(10) == 0
        load.wait_more()
    assert load.lossless(), load
    new = pid_in(tmp_path)
    with process.connect() as connection:
        assert ask(connection).version == "v3"
    os.kill(new, signal.SIGTERM)
    process.wait_gone()


def test_term_to_the_old_parent_while_the_new_one_starts_ends_both(gateway, tmp_path):
    write_main(tmp_path, "v1")
    process = gateway(*ARGS).ready()
    write_main(tmp_path, "v2", "note_pid('imports')", "wait_for_file('never')")
    process.signal(signal.SIGUSR2)
    wait_until((tmp_path / "imports").exists, "the new one imports")
    process.signal(signal.SIGTERM)
    assert process.process.wait(5) == 0
    process.wait_gone(timeout=5)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere orphaned workers serve on a while")
def test_a_new_parent_comes_up_when_the_old_one_is_killed_meanwhile(gateway, tmp_path):
    write_main(tmp_path, "v1")
    process = gateway(*ARGS).ready()
    workers = process.workers()
    write_main(tmp_path, "v2", "note_pid('imports')", "wait_for_file('go')")
    process.signal(signal.SIGUSR2)
    wait_until((tmp_path / "imports").exists, "the new one imports")
    process.signal(signal.SIGKILL)
    process.wait_gone(workers)
    (tmp_path / "go").touch()
    wait_until(lambda: pid_in(tmp_path) != process.pid, "the new one has taken over")
    with process.connect() as connection:
        assert ask(connection).version == "v2"
    os.kill(pid_in(tmp_path), signal.SIGTERM)
    process.wait_gone()


def test_a_single_process_can_be_replaced_too(gateway, tmp_path):
    write_main(tmp_path, "v1")
    process = gateway("main:app", "--port", "0", "--pid-file", "gateway.pid").ready()
    write_main(tmp_path, "v2")
    with Load(process.address, "/", "/slow?seconds=0.05") as load:
        load.wait_more()
        process.signal(signal.SIGUSR2)
        (new,) = load.wait_for_pid_besides({process.pid})
        assert process.process.wait(10) == 0
        load.wait_more()
    assert load.lossless(), load
    assert pid_in(tmp_path) == new
    with process.connect() as connection:
        assert ask(connection).version == "v2"
    os.kill(new, signal.SIGTERM)
    process.wait_gone()
