"""Both engines report the same: what they could differ in is tested with each."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.process.watch import Watcher

ENGINES = ["polling", "watchfiles"]
one_engine = pytest.mark.parametrize("watching", ["polling"], indirect=True)  # it is the same code


class Watching:
    """A watcher on a loop of its own; `batch` gives the names of the next changed files."""

    def __init__(self, runner: asyncio.Runner, directory: Path, engine: str) -> None:
        self.runner, self.directory, self.engine = runner, directory, engine

    def start(self, *dirs: str, includes=(), excludes=(), delay: float = 0.02) -> Watcher:
        self.watcher = Watcher(
            [str(self.directory / each) for each in dirs or ["."]],
            includes,
            excludes,
            delay=delay,
            engine=self.engine,
        )
        self.changes = self.watcher.changes()
        return self.watcher

    def batch(self) -> list[str]:
        return self.runner.run(self._batch())

    async def _batch(self) -> list[str]:
        async with asyncio.timeout(10):
            return [str(path.relative_to(self.directory)) for path in await anext(self.changes)]


@pytest.fixture(params=ENGINES)
def watching(request, tmp_path):
    tmp_path.joinpath("main.py").write_text("x = 1\n")
    tmp_path.joinpath("pkg").mkdir()
    tmp_path.joinpath("pkg/a.py").write_text("a = 1\n")
    with asyncio.Runner() as runner:
        made = Watching(runner, tmp_path, request.param)
        yield made
        made.watcher.close()
        runner.run(made.changes.aclose())


def test_a_written_file_is_reported(watching):
    watching.start()
    (watching.directory / "main.py").write_text("x = 2  # longer\n")

    assert watching.batch() == ["main.py"]


def test_each_change_is_reported_once(watching):
    watching.start()
    (watching.directory / "main.py").write_text("x = 22\n")
    assert watching.batch() == ["main.py"]

    (watching.directory / "pkg/a.py").write_text("a = 22\n")
    assert watching.batch() == ["pkg/a.py"]


def test_a_new_and_a_deleted_file_are_reported(watching):
    watching.start()
    (watching.directory / "pkg/new.py").write_text("")
    (watching.directory / "main.py").unlink()

    assert watching.batch() == ["main.py", "pkg/new.py"]


def test_an_editor_that_writes_by_rename_is_seen(watching):
    """Same size and same time: only the inode tells."""
    old = watching.directory / "main.py"
    status = old.stat()
    watching.start()
    new = watching.directory / "main.py.new"
    new.write_text("x = 2\n")
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    new.replace(old)

    assert watching.batch() == ["main.py"]


def test_a_touch_is_a_change(watching):
    watching.start()
    os.utime(watching.directory / "main.py", ns=(1, 1))

    assert watching.batch() == ["main.py"]


def test_a_file_that_does_not_count_is_not_reported(watching):
    watching.start()
    for name in ("notes.txt", ".hidden.py"):
        (watching.directory / name).write_text("")
    (watching.directory / "pkg/__pycache__").mkdir()
    (watching.directory / "pkg/__pycache__/a.py").write_text("")
    (watching.directory / "pkg/a.py").write_text("a = 22\n")

    assert watching.batch() == ["pkg/a.py"]


def test_a_change_while_nobody_waits_is_reported_later(watching):
    watching.start()
    (watching.directory / "main.py").write_text("x = 22\n")
    assert watching.batch() == ["main.py"]
    (watching.directory / "pkg/a.py").write_text("a = 22\n")

    assert watching.batch() == ["pkg/a.py"]


def test_files_of_a_new_directory_are_reported_and_watched(watching):
    watching.start()
    (watching.directory / "deep/er").mkdir(parents=True)
    (watching.directory / "deep/er/b.py").write_text("")
    assert watching.batch() == ["deep/er/b.py"]

    (watching.directory / "deep/er/b.py").write_text("b = 1\n")
    assert watching.batch() == ["deep/er/b.py"]


def test_a_directory_that_is_moved_in_is_reported(watching, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "moved"
    outside.mkdir()
    (outside / "c.py").write_text("")
    watching.start()
    outside.rename(watching.directory / "moved")

    assert watching.batch() == ["moved/c.py"]


def test_a_directory_that_is_moved_out_is_reported(watching, tmp_path_factory):
    watching.start()
    (watching.directory / "pkg").rename(tmp_path_factory.mktemp("outside") / "pkg")

    assert watching.batch() == ["pkg/a.py"]


def test_a_watched_directory_may_go_and_come_back(watching):
    watching.start("pkg")
    shutil.rmtree(watching.directory / "pkg")
    assert watching.batch() == ["pkg/a.py"]

    (watching.directory / "pkg").mkdir()
    (watching.directory / "pkg/a.py").write_text("a = 3\n")
    assert watching.batch() == ["pkg/a.py"]

    (watching.directory / "pkg/a.py").write_text("a = 33\n")
    assert watching.batch() == ["pkg/a.py"]


def test_a_directory_that_was_replaced_in_one_go_is_watched_on(watching):
    """Its inode may be the old one again, while the system's watch of it is gone."""
    watching.start(delay=0.1)
    shutil.rmtree(watching.directory / "pkg")
    (watching.directory / "pkg").mkdir()
    (watching.directory / "pkg/b.py").write_text("b = 1\n")
    assert watching.batch() == ["pkg/a.py", "pkg/b.py"]

    (watching.directory / "pkg/b.py").write_text("b = 22\n")
    assert watching.batch() == ["pkg/b.py"]


def test_one_of_two_watched_directories_may_come_back(watching):
    (watching.directory / "lib").mkdir()
    watching.start("pkg", "lib")
    shutil.rmtree(watching.directory / "pkg")
    assert watching.batch() == ["pkg/a.py"]

    (watching.directory / "pkg").mkdir()
    (watching.directory / "pkg/a.py").write_text("a = 3\n")
    assert watching.batch() == ["pkg/a.py"]


def test_a_named_file_outside_is_watched_and_may_be_created_later(watching):
    outside = watching.directory / "site.yaml"
    watching.start("pkg", includes=[str(outside)])
    outside.write_text("a: 1\n")
    assert watching.batch() == ["site.yaml"]

    outside.unlink()
    assert watching.batch() == ["site.yaml"]


@one_engine
@pytest.mark.slow
def test_changes_in_quick_succession_are_one_batch(watching):
    watching.start(delay=0.5)
    (watching.directory / "main.py").write_text("x = 22\n")

    async def edits() -> list[str]:
        batch = asyncio.ensure_future(watching._batch())
        for number in range(3):
            await asyncio.sleep(0.1)  # shorter than the delay: the batch stays open
            (watching.directory / f"new{number}.py").write_text("")
        return await batch

    assert watching.runner.run(edits()) == ["main.py", *(f"new{n}.py" for n in range(3))]


@one_engine
@pytest.mark.slow
def test_a_file_that_is_written_all_the_time_does_not_hold_a_batch_up(watching):
    watching.start(delay=0.1)

    async def writer(done: asyncio.Event) -> None:
        size = 0
        while not done.is_set():
            size += 1
            (watching.directory / "main.py").write_text("#" * size)
            await asyncio.sleep(0.02)

    async def scenario() -> list[str]:
        done = asyncio.Event()
        writing = asyncio.ensure_future(writer(done))
        try:
            return await watching._batch()
        finally:
            done.set()
            await writing

    assert watching.runner.run(scenario()) == ["main.py"]


def test_close_ends_the_iteration(watching):
    watcher = watching.start()

    async def scenario() -> list[object]:
        async def collect() -> list[object]:
            return [batch async for batch in watching.changes]

        collecting = asyncio.ensure_future(collect())
        await asyncio.sleep(0)
        watcher.close()
        watcher.close()
        async with asyncio.timeout(5):
            return await collecting

    assert watching.runner.run(scenario()) == []


def test_the_engine_has_a_name(watching):
    assert watching.start().engine_name == watching.engine


def test_the_watched_directories_are_told(watching):
    assert watching.start("pkg").dirs == (watching.directory / "pkg",)


def test_watchfiles_is_taken_where_it_is_installed(tmp_path):
    assert Watcher([str(tmp_path)], delay=1).engine_name == "watchfiles"


def test_polling_is_taken_without_watchfiles(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "watchfiles", None)

    assert Watcher([str(tmp_path)], delay=1).engine_name == "polling"
    with pytest.raises(ConfigError, match="pip install"):
        Watcher([str(tmp_path)], delay=1, engine="watchfiles")


def test_polling_takes_over_where_the_system_has_no_notifications(tmp_path, monkeypatch, caplog):
    import watchfiles

    def refused(*_args, **_options):
        raise OSError("OS file watch limit reached.")

    monkeypatch.setattr(watchfiles, "watch", refused)
    monkeypatch.setattr(logging.getLogger("gateway"), "propagate", True)
    with asyncio.Runner() as runner:
        watching = Watching(runner, tmp_path, "auto")
        watcher = watching.start()
        (tmp_path / "main.py").write_text("")

        assert watching.batch() == ["main.py"]
        assert watcher.engine_name == "polling"
        runner.run(watching.changes.aclose())
    assert "OS file watch limit reached." in caplog.text


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.slow
def test_no_thread_keeps_the_process_from_exiting(tmp_path, engine):
    """The task that iterates is cancelled, as by Ctrl-C, and nobody calls close."""
    code = f"""
    import asyncio
    from gateway.process.watch import Watcher

    async def main():
        async def watch():
            async for _ in Watcher([{str(tmp_path)!r}], delay=60, engine={engine!r}).changes():
                pass
        task = asyncio.create_task(watch())
        await asyncio.wait([task], timeout=0.2)
        task.cancel()

    asyncio.run(main())
    """

    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=10, check=False)

    assert done.returncode == 0
