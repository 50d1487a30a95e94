"""A server as its operator has it: a process with arguments, signals, output and an exit code."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Self

from e2e.client import Http1Client, Http1Socket

__all__ = ["Gateway"]

TESTS = Path(__file__).parents[1]


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

    def wait(self, pattern: str, timeout: float = 10.0) -> re.Match[str]:
        found: list[re.Match[str]] = []

        def look() -> bool:
            found[:] = [m for line in self.lines if (m := re.search(pattern, line))]
            return bool(found) or self._ended

        with self._changed:
            self._changed.wait_for(look, timeout)
        if not found:
            raise AssertionError(f"no line with {pattern!r} in:\n{self.text}")
        return found[0]

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
        environ |= {"PYTHONPATH": str(TESTS), "PYTHONUNBUFFERED": "1", **(env or {})}
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

    def connect(self) -> Http1Socket:
        return Http1Socket(("127.0.0.1", self.port))

    def client(self) -> Http1Client:
        return Http1Client(("127.0.0.1", self.port))

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.out.join()
        self.err.join()
