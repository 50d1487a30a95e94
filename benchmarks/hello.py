"""The least an answer costs: gateway and its peers side by side, in one run.

    make bench                              # every row, six minutes
    make bench BENCH=--quick                # the first row
    make bench BENCH="--rows wsgi,flask"

Each number is the server's CPU time per request: user and system of its whole process tree, from
/proc, over the requests that wrk or h2load counted. The servers of a row run at the same time on
one core, the load on another; they are measured in turns, each round in the other direction, so
that a noisy moment does not fall on one of them. The table has the medians of the rounds. Compare
within a run: the absolute numbers belong to the machine and its mood, the ratios hardly move.
"""

# ruff: noqa: S603, T201 - a program that starts programs and prints

from __future__ import annotations

import argparse
import datetime as dt
import http.client
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from statistics import median
from typing import NamedTuple

from benchmarks.rows import ROWS, Row
from benchmarks.servers import PROC, BenchError, cpu_of_tree, started

__all__ = ["BenchError", "Result", "Sample", "cpu_of_tree", "main", "parse_wrk", "render"]

TOOLS = {"wrk": "wrk", "h2load": "nghttp2-client", "taskset": "util-linux"}  # and Debian's packages
PACKAGES = ("gateway", "uvicorn", "granian", "gunicorn", "a2wsgi", "uvloop", "httptools", "h11")


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


def parse_h2load(text: str) -> tuple[int, float]:
    """As `parse_wrk`, of what h2load printed."""
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", text)
    rate = re.search(r"([\d.]+) req/s", text)
    if not (counts and rate) or int(counts[2]) or int(counts[3]) or not int(counts[1]):
        raise BenchError(f"h2load: {counts[0] if counts else text.strip()}")
    return int(counts[1]), float(rate[1])


class Load(NamedTuple):
    """How wrk and h2load are called, and which core is whose."""

    connections: int
    server_core: int
    load_core: int

    def run(self, row: Row, port: int, seconds: int) -> tuple[int, float]:
        pinned = ["taskset", "-c", f"{self.load_core}"]
        common = [f"-c{row.connections or self.connections}", *(f"-H{h}" for h in row.headers)]
        if row.streams:
            tool, parse = ["h2load", "-t1", f"-D{seconds}", f"-m{row.streams}"], parse_h2load
        else:
            tool, parse = ["wrk", "-t1", f"-d{seconds}s"], parse_wrk
        command = [*pinned, *tool, *common, f"http://127.0.0.1:{port}/"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return parse(done.stdout or done.stderr)


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
            name: stack.enter_context(started(name, command, load.server_core, answers))
            for name, command in row.servers.items()
        }
        for _, port in running.values():
            load.run(row, port, 1)  # warm-up: caches, specialized bytecode, threads
        for number in range(rounds):
            for name in list(running)[:: -1 if number % 2 else 1]:
                pid, port = running[name]
                before = cpu_of_tree(pid)
                try:
                    requests, rate = load.run(row, port, seconds)
                except BenchError as error:
                    raise BenchError(f"{row.title}: {name}: {error}") from None
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
    for tool, package in TOOLS.items():
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
