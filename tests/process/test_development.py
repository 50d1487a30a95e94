"""Reloading while code is written: a real directory is watched, the fleet is played."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.errors import ConfigError, GatewayError, StartError
from gateway.process.development import Development
from gateway.process.slot import Plan
from gateway.settings import Settings

from .fakes import FakeLauncher, a_plan, on_loop, turns, until


class FakeFleet:
    """done: ("restart", the plan's backlog, limit) and ("explain", text), in order.

    failures: the next restarts fail with these. hangs: so many of the next never end.
    given_up: how many restarts were.
    """

    def __init__(self) -> None:
        self.done: list[tuple[object, ...]] = []
        self.failures: list[GatewayError] = []
        self.hangs = 0
        self.given_up = 0

    async def restart(self, plan: Plan, *, limit: float) -> None:
        self.done.append(("restart", plan.settings.backlog, limit))
        if self.hangs:
            self.hangs -= 1
            try:
                await asyncio.Event().wait()
            finally:
                self.given_up += 1
        if self.failures:
            raise self.failures.pop()

    async def explain(self, failure: str) -> None:
        self.done.append(("explain", failure))


class Scene:
    """A project in `directory`; what it is read as has `settings`.

    broken: why it cannot be read. reasons: of the reloads. order: what was done when.
    """

    def __init__(self, directory: Path, file: Path | None = None, **watched: object) -> None:
        self.directory = directory
        self.settings: dict[str, object] = {}
        self.broken: GatewayError | None = None
        self.reasons: list[str] = []
        self.order: list[str] = []
        self.fleet = FakeFleet()
        self.development = Development(
            self.fleet,
            Settings(reload_dirs=(str(directory),), reload_delay=0.01, **watched),
            file,
            read_again=self._read_again,
            on_reload=self._on_reload,
        )

    async def _read_again(self) -> Plan:
        self.order.append("read")
        if self.broken is not None:
            raise self.broken
        return a_plan(FakeLauncher(), **self.settings)

    async def _on_reload(self, reason: str) -> None:
        self.order.append("hook")
        self.reasons.append(reason)

    def write(self, name: str = "main.py", text: str = "") -> None:
        (self.directory / name).write_text(f"{text} # {len(self.order)} {len(self.fleet.done)}")

    async def reloaded(self, count: int = 1) -> None:
        await until(lambda: len(self.fleet.done) >= count)
        await turns()


async def nothing() -> None:
    """A start that is done at once."""


@asynccontextmanager
async def developing(directory: Path, file: Path | None = None, **watched: object):
    scene = Scene(directory, file, **watched)
    try:
        await asyncio.wait_for(scene.development.start(nothing), 5)
        yield scene
    finally:
        await scene.development.close()


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "main.py").write_text("")
    return tmp_path


@on_loop
async def test_a_change_starts_the_workers_of_what_is_written_now(project):
    async with developing(project) as scene:
        scene.settings["backlog"] = 7
        scene.write()
        await scene.reloaded()
        assert scene.fleet.done == [("restart", 7, 1.0)]
        assert scene.reasons == ["main.py changed"]
        assert scene.order == ["hook", "read"]


@on_loop
async def test_what_changed_before_it_is_looked_at_is_seen(project):
    scene = Scene(project)
    scene.write()  # before the first import
    await scene.development.start(nothing)
    await scene.reloaded()
    assert scene.reasons == ["main.py changed"]
    await scene.development.close()


@on_loop
async def test_a_first_start_that_never_ends_is_mended_by_a_change(project):
    scene = Scene(project)
    begun, left = asyncio.Event(), []

    async def endless() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.append("given up")

    start = asyncio.ensure_future(scene.development.start(endless))
    await begun.wait()
    await turns()
    assert not start.done()
    scene.write()
    await asyncio.wait_for(start, 5)
    assert left == ["given up"]
    assert scene.fleet.done == [("restart", 2048, 1.0)]
    await scene.development.close()


@on_loop
async def test_a_first_start_that_fails_is_shown_and_mended_by_a_change(project):
    scene = Scene(project)

    async def broken() -> None:
        raise StartError("line 3: invalid syntax")

    await asyncio.wait_for(scene.development.start(broken), 5)
    assert scene.fleet.done == [("explain", "line 3: invalid syntax")]
    scene.write()
    await scene.reloaded(2)
    assert scene.fleet.done[1][0] == "restart"
    await scene.development.close()


@on_loop
async def test_a_change_that_does_not_mend_a_start_is_shown(project):
    scene = Scene(project)
    start = asyncio.ensure_future(scene.development.start(asyncio.Event().wait))
    scene.fleet.failures.append(StartError("still broken"))
    scene.write()
    await asyncio.wait_for(start, 5)
    assert scene.fleet.done == [("restart", 2048, 1.0), ("explain", "still broken")]
    await scene.development.close()


@on_loop
async def test_old_workers_get_no_longer_than_they_would_otherwise(project):
    async with developing(project) as scene:
        scene.settings["timeout_graceful_shutdown"] = 0.25
        scene.write()
        await scene.reloaded()
        assert scene.fleet.done == [("restart", 2048, 0.25)]


@on_loop
async def test_the_configuration_file_is_watched_wherever_it_is(project, tmp_path_factory):
    file = project / "gateway.toml"
    async with developing(project, file) as scene:
        file.write_text("backlog = 7")
        await scene.reloaded()
        assert scene.reasons == ["gateway.toml changed"]


def errors(caplog):
    return [each for each in caplog.records if each.levelno >= logging.ERROR]


@on_loop
async def test_what_cannot_be_read_is_shown_and_mended_by_a_change(project, caplog):
    async with developing(project) as scene:
        scene.broken = ConfigError("gateway.toml:1: no such key")
        scene.write()
        await scene.reloaded()
        assert scene.fleet.done == [("explain", "gateway.toml:1: no such key")]
        assert [each.getMessage() for each in errors(caplog)] == [
            "gateway.toml:1: no such key",
            "waiting for a change; until then every request gets this error",
        ]
        scene.broken = None
        scene.write()
        await scene.reloaded(2)
        assert scene.fleet.done[1:] == [("restart", 2048, 1.0)]


@on_loop
async def test_what_does_not_start_is_shown_and_mended_by_a_change(project):
    async with developing(project) as scene:
        scene.fleet.failures.append(StartError("line 3: invalid syntax"))
        scene.write()
        await scene.reloaded(2)
        assert scene.fleet.done[1] == ("explain", "line 3: invalid syntax")
        scene.write()
        await scene.reloaded(3)
        assert scene.fleet.done[2][0] == "restart"


@on_loop
async def test_a_start_that_hangs_is_given_up_for_the_next_change(project):
    async with developing(project) as scene:
        scene.fleet.hangs = 1
        scene.write()
        await scene.reloaded()
        assert scene.fleet.given_up == 0
        scene.write()
        await scene.reloaded(2)
        assert scene.fleet.given_up == 1
        assert [each[0] for each in scene.fleet.done] == ["restart", "restart"]


@on_loop
async def test_the_close_gives_up_what_is_under_way(project):
    async with developing(project) as scene:
        scene.fleet.hangs = 1
        scene.write()
        await scene.reloaded()
        await scene.development.close()
        assert scene.fleet.given_up == 1


@on_loop
async def test_a_fault_beside_the_error_does_not_end_the_watching(project, caplog):
    async with developing(project) as scene:
        scene.broken = LookupError("a fault of ours")  # type: ignore[assignment]
        scene.write()
        await until(lambda: errors(caplog))
        assert str(errors(caplog)[0].exc_info[1]) == "a fault of ours"
        scene.broken = None
        scene.write()
        await scene.reloaded()
        assert scene.fleet.done[0][0] == "restart"


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("a.py", "b.py", "c.py"), "a.py, b.py, c.py changed"),
        (("a.py", "b.py", "c.py", "d.py", "e.py"), "a.py, b.py, c.py and 2 more changed"),
    ],
)
@on_loop
async def test_many_changes_are_one_reload_and_some_names(project, names, reason):
    scene = Scene(project)
    for name in names:
        (project / name).write_text("")
    await scene.development.start(nothing)
    await scene.reloaded()
    assert scene.reasons == [reason]
    await scene.development.close()
