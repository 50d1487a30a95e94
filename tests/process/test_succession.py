"""One new binary at a time, and nothing left of those that come to nothing: real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress

import pytest

from gateway.process.succession import Succession

from .fakes import LIMIT, on_loop, until

SERVES = (
    "import os\n"
    "from gateway.process.upgrade import Predecessor\n"
    "Predecessor.find(os.environ).give_way()\n"
)


class Attempts:
    """Calls of one `Succession`. pids: of what they have started, in order."""

    def __init__(self, directory, monkeypatch) -> None:
        self._directory = directory / "started"
        self._directory.mkdir()
        self._monkeypatch = monkeypatch
        self._succession = Succession()
        self.cancel = self._succession.cancel

    def begin(self, code: str) -> asyncio.Task[int | None]:
        """Try a new binary that writes its number down and runs `code`."""
        note = f"import os; open(f'{self._directory}/{{os.getpid()}}', 'w').close()\n"
        self._monkeypatch.setattr(sys, "orig_argv", ["python", "-c", note + code])
        return asyncio.ensure_future(self._succession.begin([], os.environ, str(self._directory)))

    @property
    def pids(self) -> list[int]:
        paths = sorted(self._directory.iterdir(), key=lambda each: each.stat().st_mtime_ns)
        return [int(each.name) for each in paths]

    async def one_more(self) -> int:
        """The number of the next one, when it runs."""
        before = set(self.pids)
        await until(lambda: set(self.pids) - before)
        (pid,) = set(self.pids) - before
        return pid


@pytest.fixture
def attempts(tmp_path, monkeypatch):
    attempts = Attempts(tmp_path, monkeypatch)
    yield attempts
    for pid in attempts.pids:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def has_ended(pid: int) -> bool:
    """It is no process any more, not even one that waits to be reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@on_loop
async def test_one_that_is_under_way_is_given_up_for_the_next(attempts, caplog):
    first = attempts.begin("import time; time.sleep(60)")
    former = await attempts.one_more()
    second = attempts.begin(SERVES + "import time; time.sleep(60)")
    pid = await asyncio.wait_for(second, LIMIT)
    assert await asyncio.wait_for(first, LIMIT) is None
    assert attempts.pids == [former, pid]
    assert has_ended(former)
    assert "did not come up" not in caplog.text


@on_loop
async def test_the_next_one_starts_when_the_former_has_ended(attempts, tmp_path):
    slow = (
        "import pathlib, signal, time\n"
        "def leave(*_): time.sleep(0.3); raise SystemExit\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        f"pathlib.Path({str(tmp_path / 'set')!r}).touch()\n"
        "time.sleep(60)"
    )
    attempts.begin(slow)
    former = await attempts.one_more()
    await until((tmp_path / "set").exists)
    attempts.begin("import time; time.sleep(60)")
    await attempts.one_more()
    assert has_ended(former)


@on_loop
async def test_of_three_at_once_the_last_is_started(attempts):
    calls = [attempts.begin("import time; time.sleep(60)")]
    await attempts.one_more()
    calls += [attempts.begin(SERVES + "import time; time.sleep(60)") for _ in range(2)]
    results = await asyncio.wait_for(asyncio.gather(*calls), LIMIT)
    serving = [pid for pid in attempts.pids if not has_ended(pid)]
    assert [each for each in results if each is not None] == serving
    assert len(serving) == 1


@on_loop
async def test_one_that_is_canceled_leaves_no_zombie(attempts):
    call = attempts.begin("import time; time.sleep(60)")
    pid = await attempts.one_more()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: has_ended(pid), "what is left is a zombie")


@on_loop
async def test_canceled_too_late_it_has_succeeded(attempts, tmp_path):
    said = tmp_path / "said"
    os.mkfifo(said)
    call = attempts.begin(SERVES + f"open({str(said)!r}, 'w').close(); import time; time.sleep(60)")
    pid = await attempts.one_more()
    said.open().close()  # without a turn of the loop: the word is not read yet
    call.cancel()
    assert await asyncio.wait_for(call, LIMIT) == pid
    assert not has_ended(pid)


@on_loop
async def test_when_one_serves_no_other_is_started(attempts):
    first = attempts.begin(SERVES + "import time; time.sleep(60)")
    pid = await asyncio.wait_for(first, LIMIT)
    assert not attempts.cancel()
    assert await asyncio.wait_for(attempts.begin(SERVES), LIMIT) is None
    assert attempts.pids == [pid]


@on_loop
async def test_without_one_there_is_nothing_to_cancel(attempts):
    assert attempts.cancel()


@on_loop
async def test_after_one_that_did_not_come_up_the_next_may(attempts, caplog):
    assert await asyncio.wait_for(attempts.begin("raise SystemExit(3)"), LIMIT) is None
    assert "did not come up; this one goes on" in caplog.messages[-1]
    assert all(has_ended(pid) for pid in attempts.pids)
    assert await asyncio.wait_for(attempts.begin(SERVES), LIMIT) == attempts.pids[1]
