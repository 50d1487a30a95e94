"""The least an answer costs: gateway and its peers side by side, in one run.

    make bench                              # every row, six minutes
    make bench BENCH=--quick                # the first row
    make bench BENCH="--rows wsgi,flask"

Each number is the server's CPU time per request: user and system of its whole process tree, from
/proc, over the requests that wrk counted. The servers of a row run at the same time on one core,
wrk on another; they are measured in turns, each round in the other direction, so that a noisy
moment does not fall on one of them. The table has the medians of the rounds. Compare within a run:
the absolute numbers belong to the machine and its mood, the ratios hardly move.
"""

# ruff: noqa: S603, S607, T201 - a program that starts programs and prints

from __future__ import annotations

import argparse
import datetime as dt
import http.client
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.rows import ROWS, Row

__all__ = ["BenchError", "Result", "Sample", "cpu_of_tree", "main", "parse_wrk", "render"]

PACKAGES = ("gateway", "uvicorn", "granian", "gunicorn", "a2wsgi", "uvloop", "httptools", "h11")
PATIENCE = 20.0  # seconds a server has for its first answer, and for its end
PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")  # per second, of the times in /proc


class BenchError(Exception):
    """The run means nothing: a server does not start, or answers with errors."""


class Sample(NamedTuple):
    """cpu: microseconds of the server per request. rate: requests per second."""

    cpu: float
    rate: float


class Result(NamedTuple):
    """The samples of one row by server; gateway is the first."""

    title: str
    samples: dict[str, list[Sample]]

    def lines(self) -> Iterator[str]:
        """Rows of the table: medians, and their ratio to uvicorn's and to the best peer's CPU."""
        cpu = {name: median(each.cpu for each in self.samples[name]) for name in self.samples}
        ours, *peers = cpu
        best = min(cpu[name] for name in peers)
        uvicorn = next(cpu[name] for name in peers if name.startswith("uvicorn"))
        for name, samples in self.samples.items():
            title = f"{self.title} " if name == ours else ""
            rate = median(each.rate for each in samples)
            ratios = f"{cpu[name] / uvicorn:.2f} | {cpu[name] / best:.2f}"
            yield f"| {title}| {name} | {cpu[name]:.1f} | {rate:,.0f} | {ratios} |"


def render(results: Iterable[Result]) -> str:
    """A table in Markdown."""
    head = ["| | server | CPU µs per request | requests/s | / uvicorn | / best peer |"]
    head.append("|---|---|--:|--:|--:|--:|")
    return "\n".join([*head, *(line for result in results for line in result.lines())])


def parse_wrk(text: str) -> tuple[int, float]:
    """Requests, and requests per second, of what wrk printed. Raises `BenchError` for errors."""
    errors = re.search(r"Socket errors: .*|Non-2xx or 3xx responses: .*", text)
    total = re.search(r"(\d+) requests in ", text)
    rate = re.search(r"Requests/sec: +([\d.]+)", text)
    if errors or not (total and rate):
        raise BenchError(f"wrk: {errors[0] if errors else text.strip()}")
    return int(total[1]), float(rate[1])


def cpu_of_tree(root: int, proc: Path = PROC, ticks: int = TICKS) -> float:
    """Seconds, user and system, of a process and of all below it (proc(5), /proc/pid/stat)."""
    found: dict[int, tuple[int, int]] = {}
    for path in proc.glob("[0-9]*/stat"):
        try:
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        found[int(path.parent.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    tree = [root]
    for pid in tree:
        tree.extend(child for child, (parent, _) in found.items() if parent == pid)
    return sum(found[pid][1] for pid in tree) / ticks


class Load(NamedTuple):
    """How wrk is called, and which core is whose."""

    connections: int
    server_core: int
    load_core: int

    def run(self, row: Row, port: int, seconds: int) -> tuple[int, float]:
        command = ["taskset", "-c", f"{self.load_core}", "wrk", "-t1", f"-d{seconds}s"]
        command += [f"-c{row.connections or self.connections}", *(f"-H{h}" for h in row.headers)]
        command.append(f"http://127.0.0.1:{port}/")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return parse_wrk(done.stdout or done.stderr)


@contextmanager
def started(name: str, command: str, core: int) -> Iterator[tuple[int, int]]:
    """A server on one core, its output in a file; its process and its port."""
    module, *arguments = command.split()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    where = ["-b", f"127.0.0.1:{port}"] if module == "gunicorn" else ["--port", f"{port}"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            ["taskset", "-c", f"{core}", sys.executable, "-m", module, *where, *arguments],
            cwd=Path(__file__).parent,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + PATIENCE
            while not answers(port):
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


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def measure(row: Row, load: Load, rounds: int, seconds: int) -> Result:
    samples: dict[str, list[Sample]] = {name: [] for name in row.servers}
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(started(name, command, load.server_core))
            for name, command in row.servers.items()
        }
        for _, port in running.values():
            load.run(row, port, 1)  # warm-up: caches, specialized bytecode, threads
        for number in range(rounds):
            for name in list(running)[:: -1 if number % 2 else 1]:
                pid, port = running[name]
                before = cpu_of_tree(pid)
                requests, rate = load.run(row, port, seconds)
                cpu = (cpu_of_tree(pid) - before) * 1e6 / requests
                samples[name].append(Sample(cpu, rate))
                print(f"{row.title}: {name}: {cpu:.1f} µs", file=sys.stderr)
    return Result(row.title, samples)


def machine() -> str:
    """What was measured, on what, when."""
    found = re.search(r"model name\s*: (.+)", (PROC / "cpuinfo").read_text(encoding="utf-8"))
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores, "
        f"{dt.datetime.now(tz=dt.UTC).date()}. Python {platform.python_version()}, {versions}."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    about = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=about[0], epilog=about[2], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the first row only")
    parser.add_argument("--rows", default=",".join(ROWS), help="some of: %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--connections", type=int, default=16, help="all kept alive")
    options = parser.parse_args(arguments)
    names = list(ROWS)[:1] if options.quick else options.rows.split(",")
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    for tool, package in (("wrk", "wrk"), ("taskset", "util-linux")):
        if shutil.which(tool) is None:
            parser.exit(3, f"error: {tool} is missing: apt-get install {package}\n")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        parser.exit(3, "error: one core for the server and one for wrk are needed\n")
    load = Load(options.connections, cores[0], cores[1])
    try:
        results = [measure(ROWS[name], load, options.rounds, options.seconds) for name in names]
    except BenchError as error:
        parser.exit(3, f"error: {error}\n")
    print(f"{render(results)}\n\n{machine()}")


if __name__ == "__main__":
    main()
