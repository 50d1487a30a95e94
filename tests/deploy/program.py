"""Real programs as the tests start them: found, given an edited file of deploy/, and ended."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import pytest

__all__ = ["DEPLOY", "GATEWAY", "TESTS", "Program", "edited", "find"]

TESTS = Path(__file__).parents[1]
DEPLOY = TESTS.parent / "deploy"
GATEWAY = Path(sys.executable).with_name("gateway")
"""The console script beside this interpreter: what the files in deploy/ start."""


def find(name: str, *, install: str) -> Path:
    """The program `name`; the test is skipped without it, but fails where CI is set.

    Beside this interpreter first: what pip installed is for this Python.
    """
    path = os.pathsep.join(
        [str(GATEWAY.parent), os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]
    )
    found = shutil.which(name, path=path)
    if found is not None:
        return Path(found)
    reason = f"{name} is not installed; try  {install}"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def edited(name: str, changes: Mapping[str, object]) -> str:
    """The file `name` of deploy/ with `changes` made, as its operator makes them.

    A text that is not there any more fails the test: it would try another file than is shipped.
    """
    text = (DEPLOY / name).read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text, f"deploy/{name} has no {old!r}"
        text = text.replace(old, str(new))
    return text


class Program:
    """A process with both outputs in one; a context manager that leaves nothing behind.

    It is asked to stop with TERM at the end of the block and killed after 10 s, since a manager
    that is killed at once would leave what it manages.
    """

    def __init__(
        self,
        command: Sequence[object],
        cwd: Path,
        *,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._ended = False
        dropped = ("PORT", "NOTIFY_SOCKET", "WEB_CONCURRENCY", "LISTEN_FDS")
        environ = {name: value for name, value in os.environ.items() if name not in dropped}
        self.process = subprocess.Popen(
            [str(each) for each in command],
            cwd=cwd,
            env=environ | {"PYTHONUNBUFFERED": "1", **(env or {})},
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as pipe:
            for line in pipe:
                with self._changed:
                    self._lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def output(self) -> str:
        with self._changed:
            return "\n".join(self._lines)

    def wait_for(self, pattern: str, timeout: float = 15.0) -> re.Match[str]:
        """The first line with `pattern`; fails when the program ends without one."""
        found: re.Match[str] | None = None

        def look() -> bool:
            nonlocal found
            found = next((hit for line in self._lines if (hit := re.search(pattern, line))), None)
            return found is not None or self._ended

        with self._changed:
            self._changed.wait_for(look, timeout)
        if found is None:
            raise AssertionError(f"no line with {pattern!r} in:\n{self.output}")
        return found

    def wait(self, timeout: float = 15.0) -> int:
        """The exit code."""
        return self.process.wait(timeout)

    def stop(self) -> int:
        self.process.terminate()
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.process.terminate()
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(5)
