"""Restart everything under full load, and count what clients lost: nothing is what is allowed.

    make soak                        # every case, about a minute
    make soak SOAK="--cases hup,kill"

Two workers are under two loads at once: wrk, whose connections never rest, and eight
strict clients in Python, half of them with a new connection for each request, which know what
process answered or failed them. The table has a row per case; the exit code is 1 if one failed.
What a killed or hung worker had in its hands may be lost, and is counted against its own
connections only.
"""

# ruff: noqa: S603, T201 - a program that starts programs and prints

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))

from e2e.client import ConnectionCut, Http1Socket  # noqa: E402 - the tests' own tools, at full scale
from e2e.load import Load, ask  # noqa: E402
from e2e.process import Gateway, wait_for, wait_until, write_main  # noqa: E402

__all__ = ["CASES", "Row", "SoakError", "main", "parse_wrk", "render"]

CONNECTIONS = 64  # fewer may all meet the same worker
PATIENCE = 60.0


class SoakError(Exception):
    """What a case promises did not happen."""


class Row(NamedTuple):
    """What a case has counted. `notes`: what else was measured, in words."""

    title: str
    requests: int
    failed: int
    allowed: int
    notes: str

    @property
    def passed(self) -> bool:
        return self.requests > 0 and self.failed <= self.allowed


def render(rows: Sequence[Row]) -> str:
    """A table in Markdown."""
    lines = ["| case | requests | failed | allowed | | |", "|---|--:|--:|--:|---|---|"]
    for row in rows:
        verdict = "passed" if row.passed else "**failed**"
        counts = f"{row.requests:,} | {row.failed} | {row.allowed}"
        lines.append(f"| {row.title} | {counts} | {verdict} | {row.notes} |")
    return "\n".join(lines)


def parse_wrk(text: str) -> tuple[int, int]:
    """Requests answered well, and failures, of what wrk printed. Raises `SoakError`."""
    total = re.search(r"(\d+) requests in ", text)
    if not total:
        raise SoakError(f"wrk: {text.strip()}")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    bad = int(refused[1]) if refused else 0
    errors = re.search(r"Socket errors: (.*)", text)
    cut = sum(int(each) for each in re.findall(r"\d+", errors[1])) if errors else 0
    return int(total[1]) - bad, bad + cut


class Traffic:
    """wrk and strict clients on one server; a context manager.

    kept, fresh: the strict ones. requests, failed: of all, once stopped.
    """

    def __init__(self, port: int) -> None:
        address = ("127.0.0.1", port)
        self.kept = Load(address, "/", "/slow?seconds=0.05")
        self.fresh = Load(address, "/", "/slow?seconds=0.05", fresh=True)
        self.requests = self.failed = self.wrk_failed = 0
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", "-d1h", f"http://127.0.0.1:{port}/"]
        self._wrk = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._stopped = False

    def pids(self) -> set[int]:
        return self.kept.pids | self.fresh.pids

    def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._wrk.send_signal(signal.SIGINT)  # it prints what it has counted
        well, self.wrk_failed = parse_wrk(self._wrk.communicate(timeout=30)[0])
        loads = [self.kept.stop(), self.fresh.stop()]
        self.requests = well + sum(load.ok for load in loads)
        self.failed = self.wrk_failed + sum(len(load.failures) for load in loads)

    def row(self, title: str, notes: str, *, allowed: int = 0) -> Row:
        self.stop()
        if self.failed > allowed:
            print(f"wrk: {self.wrk_failed}\n{self.kept}\n{self.fresh}", file=sys.stderr)
        return Row(title, self.requests, self.failed, allowed, notes)

    def __enter__(self) -> Self:
        self.kept.__enter__()
        self.fresh.__enter__()
        self.kept.wait_more()
        self.fresh.wait_more()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


@contextmanager
def served(*args: str) -> Iterator[Gateway]:
    """Two workers of an application that says who answers, in a directory of their own."""
    with tempfile.TemporaryDirectory() as directory:
        write_main(Path(directory), "v1")
        command = ["main:app", "--workers", "2", "--port", "0", "--no-access-log", *args]
        with Gateway(command, Path(directory)) as server:
            yield server.ready(PATIENCE)


# --- the cases ------------------------------------------------------------------------------------


def hup() -> Row:
    with served() as server, Traffic(server.port) as traffic:
        began = time.monotonic()
        for _ in range(10):
            before = server.workers()
            server.signal(signal.SIGHUP)
            server.wait_gone(before, PATIENCE)
        took = time.monotonic() - began
        traffic.kept.wait_more()
        return traffic.row("HUP ten times", f"{len(traffic.pids())} workers in {took:.1f} s")


def usr2() -> Row:
    with served("--pid-file", "gateway.pid") as server, Traffic(server.port) as traffic:
        old, began = server.pid, time.monotonic()
        for _ in range(3):
            os.kill(old, signal.SIGUSR2)
            wait_until(lambda pid=old: pid not in server.alive(), f"{old} has left", PATIENCE)
            old = int((server.cwd / "gateway.pid").read_text())
        took = time.monotonic() - began
        traffic.kept.wait_more()
        return traffic.row("USR2 three times", f"{took:.1f} s")


def recycle() -> Row:
    args = ("--limit-max-requests", "1000", "--limit-max-requests-jitter", "200")
    with served(*args) as server, Traffic(server.port) as traffic:
        seen: set[int] = set()
        end = time.monotonic() + 20
        while time.monotonic() < end:
            seen |= server.workers()
            traffic.kept.wait_more(10)
        if len(seen) < 10:
            raise SoakError(f"{len(seen)} workers in 20 s")
        return traffic.row("recycling every 1,000 requests", f"{len(seen)} workers in 20 s")


def kill() -> Row:
    """Each connection has one request in flight at most; those of the other worker lose none."""
    with served() as server, Traffic(server.port) as traffic:
        killed = server.answering(2)[1]
        traffic.kept.wait_until(lambda: killed in traffic.pids())
        known, at = set(traffic.pids()), time.monotonic()
        os.kill(killed, signal.SIGKILL)
        (new,) = traffic.fresh.wait_for_pid_besides(known)
        took = traffic.fresh.first[new] - at
        row = traffic.row(
            "KILL of a worker", f"next ready after {took:.2f} s", allowed=CONNECTIONS + 8
        )
        failures = [*traffic.kept.failures, *traffic.fresh.failures]
        if took > 2.0 or not {failure.pid for failure in failures} <= {killed, None}:
            raise SoakError(f"next after {took:.2f} s; {failures}")
        return row


def term() -> Row:
    """No wrk: it would count the refusals after the end."""
    with served() as server:
        address = server.address
        with (
            Load(address, "/", "/slow?seconds=0.2", clients=8) as kept,
            Load(address, "/", "/slow?seconds=0.2", clients=8, fresh=True) as fresh,
        ):
            kept.wait_more(400)
            began = time.monotonic()
            server.signal(signal.SIGTERM)
            code = server.wait(PATIENCE)
            took = time.monotonic() - began
            kept.stop()
            fresh.stop()
        if code != 0 or server.alive():
            raise SoakError(f"exit code {code}, {server.alive()} left")
        refused = "ConnectionRefusedError"
        lost = [each for each in (*kept.failures, *fresh.failures) if refused not in each.what]
        return Row("TERM", kept.ok + fresh.ok, len(lost), 0, f"exit 0 after {took:.1f} s")


def hang() -> Row:
    """A handler blocks its loop for 30 s; whoever was on that loop waits, nobody else."""
    with served("--timeout-worker", "5", "--timeout-graceful-shutdown", "5") as server:
        before = server.answering(2)
        with Traffic(server.port) as traffic, Http1Socket(server.address) as connection:
            told = ask(connection)
            mark = server.cwd / "mark"
            connection.send_request("GET", f"/block?seconds=30&mark={mark}")
            wait_for(mark)
            began = time.monotonic()
            server.err.wait("blocking_handler", 15)
            noticed = time.monotonic() - began
            (new,) = traffic.fresh.wait_for_pid_besides(set(before.values()))
            replaced = traffic.fresh.first[new] - began
            server.wait_gone([told.pid], 30)
            with suppress(ConnectionCut):
                connection.response()
            traffic.fresh.wait_more()
            failures = [*traffic.kept.failures, *traffic.fresh.failures]
            if not {failure.pid for failure in failures} <= {told.pid, None}:
                raise SoakError(f"others were disturbed: {failures}")
            notes = f"stack after {noticed:.1f} s, replaced after {replaced:.1f} s"
            # wrk counts a connection that waits as timed out, and once more when it is cut.
            return traffic.row("a loop blocked for 30 s", notes, allowed=2 * CONNECTIONS + 8)


def orphans() -> Row:
    with served() as server, Traffic(server.port) as traffic:
        server.process.kill()
        server.process.wait()
        began = time.monotonic()
        server.wait_gone(timeout=2.0)
        took = time.monotonic() - began
        traffic.stop()
        return Row("KILL of the parent", traffic.requests, 0, 0, f"all gone after {took:.2f} s")


CASES: dict[str, Callable[[], Row]] = {
    case.__name__: case for case in (hup, usr2, recycle, kill, term, hang, orphans)
}


def main(arguments: Sequence[str] | None = None) -> None:
    about = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=about[0], epilog=about[2], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default=",".join(CASES), help="some of: %(default)s")
    names = parser.parse_args(arguments).cases.split(",")
    if unknown := [name for name in names if name not in CASES]:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    if shutil.which("wrk") is None:
        parser.exit(3, "error: wrk is missing: apt-get install wrk\n")
    rows = []
    for name in names:
        try:
            row = CASES[name]()
        except (SoakError, AssertionError) as error:
            row = Row(name, 0, 0, 0, str(error).partition("\n")[0])
            print(f"{name}: {error}", file=sys.stderr)
        print(row, file=sys.stderr)
        rows.append(row)
    print(render(rows))
    sys.exit(0 if all(row.passed for row in rows) else 1)


if __name__ == "__main__":
    main()
