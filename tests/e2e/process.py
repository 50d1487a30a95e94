"""A server as its operator has it: a process with arguments, signals, output and an exit code."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, NamedTuple, Self

from e2e.client import Address, Http1Client, Http1Socket

__all__ = ["TESTS", "Gateway", "children_of", "wait_for", "wait_until", "write_main"]

TESTS = Path(__file__).parents[1]


def wait_until(true: Callable[[], object], what: str, timeout: float = 10.0) -> None:
    """Return when `true` holds; fail with `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(0.01)


def wait_for(path: Path, timeout: float = 10.0) -> None:
    wait_until(path.exists, f"{path} is there", timeout)


def write_main(directory: Path, version: str, *lines: str) -> None:
    """``main:app``: a `Witness` of `version`. lines: run first at its import."""
    draft = directory / "main.draft"
    draft.write_text(
        "\n".join(
            [
                "from e2e.apps.processes import Witness, note_pid, wait_for_file",
                *lines,
                f"app = Witness({version!r})\n",
            ]
        )
    )
    draft.replace(directory / "main.py")  # nobody meets half a file


class _Stat(NamedTuple):
    state: str
    parent: int
    session: int


def _processes() -> dict[int, _Stat]:
    """What runs on this machine (proc(5), /proc/pid/stat)."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
            found[int(path.parent.name)] = _Stat(fields[0], int(fields[1]), int(fields[3]))
    return found


def children_of(pid: int) -> set[int]:
    """Its children that run."""
    return {each for each, stat in _processes().items() if stat.parent == pid and stat.state != "Z"}


class _Output:
    """Lines of a pipe as they come."""

    def __init__(self, pipe: IO[str] | None) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self._thread.start()

    def _read(self, pipe: IO[str] | None) -> None:
        if pipe is not None:
            with pipe:
                for line in pipe:
                    with self._changed:
                        self.lines.append(line.rstrip("\n"))
                        self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait(
        self, pattern: str, timeout: float = 10.0, *, after: int = 0, count: int = 1
    ) -> re.Match[str]:
        """The match of the `count`-th line with `pattern`, not looking at the first `after`."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            found[:] = [m for line in self.lines[after:] if (m := re.search(pattern, line))]
            return len(found) >= count or self._ended

        with self._changed:
            self._changed.wait_for(look, timeout)
        if len(found) < count:
            raise AssertionError(f"{len(found)} lines with {pattern!r} in:\n{self.text}")
        return found[count - 1]

    @property
    def length(self) -> int:
        """How many lines there are; for `after`."""
        return len(self.lines)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def join(self) -> None:
        self._thread.join(5)


class Gateway:
    """``python -m gateway ARGS`` in directory `cwd`; a context manager.

    out, err: its two outputs. module: another module, or None for ``ARGS`` as they are.
    hang_up: "stdout" or "stderr", which nobody reads: writing there is a broken pipe.
    """

    def __init__(
        self,
        args: Sequence[str],
        cwd: Path,
        *,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        module: str | None = "gateway",
        hang_up: str = "",
    ) -> None:
        self.cwd = cwd
        environ = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PORT", "NO_COLOR", "FORCE_COLOR") and not name.startswith("GATEWAY_")
        }
        environ |= {"PYTHONPATH": str(TESTS), "PYTHONUNBUFFERED": "1"}
        # Tests write a module twice in a second; the cache takes seconds and sizes for its version.
        environ |= {"PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
        pipes: dict[str, int] = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
        if hang_up:
            reader, pipes[hang_up] = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, *(["-m", module] if module else []), *args],
            cwd=cwd,
            env=environ,
            text=True,
            encoding="utf-8",
            pass_fds=pass_fds,
            start_new_session=True,
            **pipes,
        )
        if hang_up:
            os.close(reader)
            os.close(pipes[hang_up])
        self.out = _Output(self.process.stdout)
        self.err = _Output(self.process.stderr)

    @property
    def pid(self) -> int:
        return self.process.pid

    def ready(self, timeout: float = 10.0) -> Self:
        self.err.wait(r"ready in", timeout)
        return self

    @property
    def port(self) -> int:
        return int(self.err.wait(r"ready in .*? on http://[^ ,]*:(\d+)")[1])

    @property
    def address(self) -> Address:
        return "127.0.0.1", self.port

    def connect(self) -> Http1Socket:
        return Http1Socket(("127.0.0.1", self.port))

    def client(self) -> Http1Client:
        return Http1Client(("127.0.0.1", self.port))

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def signal_group(self, number: signal.Signals) -> None:
        """To all its processes at once, as a terminal does with Ctrl-C."""
        os.killpg(self.pid, number)

    def wait(self, timeout: float = 10.0) -> int:
        """The exit code; everything it wrote is in `out` and `err` then."""
        code = self.process.wait(timeout)
        self.out.join()
        self.err.join()
        return code

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def rss(self) -> int:
        """Resident memory in bytes."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        assert found is not None
        return int(found[1]) * 1024

    # --- its processes --------------------------------------------------------------------------

    def alive(self) -> set[int]:
        """Every process that runs in its session: itself, its workers, and what they left."""
        return {
            pid
            for pid, stat in _processes().items()
            if stat.session == self.pid and stat.state != "Z"
        }

    def workers(self) -> set[int]:
        """Those of its session that have no children, but for itself: also workers that leave."""
        known = _processes()
        alive = self.alive()
        parents = {known[pid].parent for pid in alive if pid in known}
        return alive - parents - {self.pid}

    def wait_gone(self, pids: Collection[int] | None = None, timeout: float = 10.0) -> None:
        """Return when none of `pids`, or of all its processes, runs any more."""

        def left() -> set[int]:
            return self.alive() if pids is None else self.alive() & set(pids)

        wait_until(lambda: not left(), f"{left()} ended; log:\n{self.err.text}", timeout)

    def answering(self, count: int, *, timeout: float = 10.0) -> dict[int, int]:
        """Pids by worker index of those that answer now, once there are `count` of them.

        Eight connections at a time: one alone would mostly meet the same worker.
        """
        seen: dict[int, int] = {}

        def look() -> bool:
            with ExitStack() as stack:
                burst = [stack.enter_context(self.connect()) for _ in range(8)]
                for connection in burst:
                    connection.send_request("GET", "/slow?seconds=0.02")
                for connection in burst:
                    pid, index, _ = connection.response().text.split(" ")
                    seen[int(index)] = int(pid)
            return len(seen) >= count

        wait_until(look, f"{count} workers answer", timeout)
        assert len(seen) == count, seen
        return seen

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in {*self.alive(), *([self.pid] if self.process.poll() is None else [])}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.out.join()
        self.err.join()
