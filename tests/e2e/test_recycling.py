"""Workers that have served long enough make room for new ones, and no client notices."""

from __future__ import annotations

import pytest

from e2e.load import Load
from e2e.process import wait_until, write_main

APP = "e2e.apps.processes:app"


def test_workers_are_recycled_by_requests(gateway):
    process = gateway(
        APP, "--workers", "2", "--port", "0",
        "--limit-max-requests", "60", "--limit-max-requests-jitter", "30",
    ).ready()  # fmt: skip
    with Load(process.address, "/", "/", "/slow?seconds=0.02") as load:
        load.wait_until(lambda: len(load.pids) >= 5)
    assert load.lossless(), load
    assert set(process.answering(2)) == {0, 1}
    # Those that left had served their number, and soon after it nobody new came to them.
    gone = [count for pid, count in load.answers.items() if pid not in process.workers()]
    assert all(count >= 60 for count in gone), load
    assert process.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "target"),
    [
        (["--limit-worker-age", "1", "--limit-worker-age-jitter", "0.5"], "/"),
        (
            ["--limit-worker-memory", "120MiB", "--limit-worker-memory-jitter", "8MiB"],
            "/grow?mib=120",
        ),
    ],
    ids=["age", "memory"],
)
def test_workers_are_recycled_by_age_and_memory(gateway, limit, target):
    process = gateway(APP, "--workers", "2", "--port", "0", *limit).ready()
    before = set(process.answering(2).values())
    with Load(process.address, "/", target, clients=2) as load:
        load.wait_for_pid_besides(before)
        load.wait_more()
    assert load.lossless(), load
    assert set(process.answering(2)) == {0, 1}
    assert process.stop() == 0


def test_what_a_worker_keeps_below_the_limit_of_memory_is_its_own(gateway):
    process = gateway(
        APP, "--supervise", "--port", "0", "--limit-worker-memory", "1GiB"
    ).ready()  # fmt: skip
    before = process.answering(1)
    with Load(process.address, "/grow?mib=40") as load:
        load.wait_more()
    assert load.lossless(), load
    assert process.answering(1) == before


@pytest.mark.parametrize("fresh", [False, True], ids=["kept", "fresh"])
def test_the_next_worker_is_ready_before_the_old_one_stops_accepting(gateway, tmp_path, fresh):
    write_main(
        tmp_path, "v1",
        "from pathlib import Path",
        "note_pid('imports')",
        "if len(Path('imports').read_text().splitlines()) == 2: wait_for_file('go')",
    )  # fmt: skip
    process = gateway(
        "main:app", "--port", "0", "--limit-max-requests", "30", "--supervise"
    ).ready()
    (old,) = process.workers()
    imports = tmp_path / "imports"
    with Load(process.address, fresh=fresh) as load:
        wait_until(lambda: len(imports.read_text().splitlines()) == 2, "a second worker imports")
        assert load.answers[old] >= 30 - 4  # each client may have an answer it has not counted
        load.wait_more(50)
        assert load.pids == {old}
        (tmp_path / "go").touch()
        load.wait_for_pid_besides({old})
        process.wait_gone([old])
    assert load.lossless(), load
    assert process.stop() == 0
