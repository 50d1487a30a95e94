"""Servers that are measured: started on one core, and what their processes take."""

# ruff: noqa: PLW1509, S603 - for programs without threads that start programs

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["PROC", "BenchError", "cpu_of_tree", "memory_of_tree", "started"]

PATIENCE = 20.0  # seconds a server has for its first answer, and for its end
PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")  # per second, of the times in /proc
BINDERS = ("gunicorn", "hypercorn")  # those that know no --port


class BenchError(Exception):
    """The run means nothing: a server does not start, or answers with errors."""


@contextmanager
def started(
    name: str, command: str, core: int, serves: Callable[[int], bool]
) -> Iterator[tuple[int, int]]:
    """A server on one core, its output in a file; its process and its port.

    command: a module with arguments, but for the address. serves: whether it does, at that port.
    """
    module, *arguments = command.split()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    where = ["-b", f"127.0.0.1:{port}"] if module in BINDERS else ["--port", f"{port}"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *where, *arguments],
            cwd=Path(__file__).parent,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        try:
            deadline = time.monotonic() + PATIENCE
            while not serves(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise BenchError(f"{name} did not start:\n{log.read()}")
                time.sleep(0.05)
            yield process.pid, port
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def cpu_of_tree(root: int, proc: Path = PROC, ticks: int = TICKS) -> float:
    """Seconds, user and system, of a process and of all below it."""
    return sum(int(fields[11]) + int(fields[12]) for fields in _tree(root, proc)) / ticks


def memory_of_tree(root: int, proc: Path = PROC) -> int:
    """Resident bytes of a process and of all below it."""
    return sum(int(fields[21]) for fields in _tree(root, proc)) * os.sysconf("SC_PAGE_SIZE")


def _tree(root: int, proc: Path) -> list[list[str]]:
    """The fields of proc_pid_stat(5), from the state on, of a process and of all below it."""
    found: dict[int, list[str]] = {}
    for path in proc.glob("[0-9]*/stat"):
        try:
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        found[int(path.parent.name)] = fields
    tree = [root]
    for pid in tree:
        tree.extend(child for child, fields in found.items() if int(fields[1]) == pid)
    return [found[pid] for pid in tree]
