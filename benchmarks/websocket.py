"""What a WebSocket message costs, and an idle socket: gateway and its peers, in one run.

    python -m benchmarks.websocket                       # every row, some minutes
    python -m benchmarks.websocket --rows 64,memory
    python -m benchmarks.websocket --quick

A message's number is the server's CPU time, user and system of its whole process tree, over the
messages that came back: measured as in `benchmarks.hello`, the servers in turns on one core, the
load on another. A socket's number is what the resident memory of the tree grows by, divided by the
sockets; the servers are measured one after another, each freshly started.
"""

# ruff: noqa: S603, T201 - a program without threads that starts programs and prints

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.hello import Sample, machine
from benchmarks.servers import BenchError, cpu_of_tree, memory_of_tree, started
from benchmarks.websocket_load import Connection, frame, message

__all__ = ["MEMORY", "ROWS", "Row", "main", "render"]

SERVERS = {
    "gateway": "gateway --no-access-log echo:app",
    "uvicorn (websockets-sansio)": "uvicorn --ws websockets-sansio echo:app",
    "uvicorn (wsproto)": "uvicorn --ws wsproto echo:app",
    "granian": "granian --interface asgi echo:app",
    "hypercorn": "hypercorn -k uvloop echo:app",
}
CODECS = {
    "gateway (websockets)": "gateway --no-access-log --ws websockets echo:app",
    "gateway (wsproto)": "gateway --no-access-log --ws wsproto echo:app",
}


class Row(NamedTuple):
    """One kind of message. size: bytes. ahead: messages a connection has under way."""

    title: str
    size: int
    ahead: int = 1
    offer: bool = False
    servers: Mapping[str, str] = SERVERS


ROWS = {
    "64": Row("WebSocket echo 64 B", 64, servers=SERVERS | CODECS),
    "16k": Row("WebSocket echo 16 KiB", 16384, servers=SERVERS | CODECS),
    "64ahead": Row("WebSocket echo 64 B, 16 ahead", 64, ahead=16),
    "64deflate": Row("WebSocket echo 64 B, deflate offered", 64, offer=True),
    "16kdeflate": Row("WebSocket echo 16 KiB, deflate offered", 16384, offer=True),
}
# Without and with permessage-deflate; after one message each way, of so many bytes.
MEMORY = {"memory": False, "memorydeflate": True}
SAID = 1024


def table(
    title: str, unit: str, values: Mapping[str, float], extra: Mapping[str, str]
) -> list[str]:
    """Lines of Markdown, each value with its ratio to uvicorn's best and to the best peer's."""
    best = min(value for name, value in values.items() if not name.startswith("gateway"))
    uvicorn = min(value for name, value in values.items() if name.startswith("uvicorn"))
    lines = []
    for name, value in values.items():
        start = f"{title}, {unit}" if not lines else ""
        ratios = f"{value / uvicorn:.2f} | {value / best:.2f}"
        lines.append(f"| {start} | {name} | {value:.1f} | {extra.get(name, '')} | {ratios} |")
    return lines


def render(lines: Sequence[str]) -> str:
    head = "| | server | | messages/s | / uvicorn's best | / best peer |"
    return "\n".join([head, "|---|---|--:|--:|--:|--:|", *lines])


def opens(port: int) -> bool:
    try:
        Connection(port).socket.close()
    except OSError:
        return False
    return True


class Load(NamedTuple):
    """Which core is whose, and for how long."""

    connections: int
    seconds: float
    server_core: int
    load_core: int

    def run(self, row: Row, port: int, seconds: float) -> tuple[int, float]:
        command = [sys.executable, "-m", "benchmarks.websocket_load", f"{port}"]
        command += [f"--size={row.size}", f"--ahead={row.ahead}", f"--seconds={seconds}"]
        command += [f"--connections={self.connections}", *(["--offer"] if row.offer else [])]
        done = subprocess.run(
            command,
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=lambda: os.sched_setaffinity(0, {self.load_core}),
        )
        if done.returncode:
            raise BenchError(done.stderr)
        total, took = done.stdout.split()
        return int(total), float(took)


def measure(row: Row, load: Load, rounds: int) -> list[str]:
    samples: dict[str, list[Sample]] = {name: [] for name in row.servers}
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(started(name, command, load.server_core, opens))
            for name, command in row.servers.items()
        }
        for _, port in running.values():
            load.run(row, port, 1)
        for number in range(rounds):
            for name in list(running)[:: -1 if number % 2 else 1]:
                pid, port = running[name]
                before = cpu_of_tree(pid)
                total, took = load.run(row, port, load.seconds)
                cpu = (cpu_of_tree(pid) - before) * 1e6 / total
                samples[name].append(Sample(cpu, total / took))
                print(f"{row.title}: {name}: {cpu:.1f} µs", file=sys.stderr)
    values = {name: median(each.cpu for each in taken) for name, taken in samples.items()}
    rates = {name: median(each.rate for each in taken) for name, taken in samples.items()}
    shown = {name: f"{rate:,.0f}" for name, rate in rates.items()}
    return table(row.title, "CPU µs per message", values, shown)


def measure_memory(load: Load, sockets: int, *, offer: bool) -> list[str]:
    values = {}
    for name, command in SERVERS.items():
        with started(name, command, load.server_core, opens) as (pid, port), ExitStack() as stack:
            grown = []
            for count in (100, sockets):  # the first ones pay for caches
                before = memory_of_tree(pid)
                for _ in range(count):
                    each = Connection(port, offer=offer)
                    stack.callback(each.socket.close)
                    each.socket.sendall(frame(message(SAID), window=each.window))
                    while not each.take():
                        pass
                grown.append((memory_of_tree(pid) - before) / count / 1024)
            values[name] = grown[-1]
            print(f"{sockets} sockets: {name}: {values[name]:.1f} KiB each", file=sys.stderr)
    title = f"{sockets} idle WebSockets{', deflate offered' if offer else ''}"
    return table(title, "KiB per socket", values, {})


def main(arguments: Sequence[str] | None = None) -> None:
    about = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=about[0], epilog=about[2], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [*ROWS, *MEMORY]
    parser.add_argument("--quick", action="store_true", help="the first row only")
    parser.add_argument("--rows", default=",".join(known), help="some of: %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--sockets", type=int, default=5000, help="of the rows about memory")
    options = parser.parse_args(arguments)
    names = known[:1] if options.quick else options.rows.split(",")
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(known)}")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        parser.exit(3, "error: one core for the server and one for the load are needed\n")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if any(name in MEMORY for name in names) and most < options.sockets + 300:
        parser.exit(3, f"error: {most} open files are too few: raise ulimit -n, or use --sockets\n")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    load = Load(options.connections, options.seconds, cores[0], cores[1])
    lines: list[str] = []
    try:
        for name in names:
            if name in ROWS:
                lines += measure(ROWS[name], load, options.rounds)
            else:
                lines += measure_memory(load, options.sockets, offer=MEMORY[name])
    except BenchError as error:
        parser.exit(3, f"error: {error}\n")
    print(f"{render(lines)}\n\n{machine()}")


if __name__ == "__main__":
    main()
