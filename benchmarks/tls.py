"""What TLS costs: gateway and its peers, in one run.

    python -m benchmarks.tls                         # every row, two minutes
    python -m benchmarks.tls --rows full,resumed
    python -m benchmarks.tls --quick

Measured as in `benchmarks.hello`: the server's CPU time, user and system of its whole process tree,
over what was counted; the servers in turns on one core, the load on another. The first two rows are
connections with one request each, from 4 threads of Python: their rate is the client's as much as
the server's, the CPU time is not. The certificate is an ECDSA one (P-256), as certbot makes them;
everybody is left with its own defaults, which is TLS 1.3 with AES-256-GCM here.
"""

# ruff: noqa: S603, S607, T201 - a program without threads that starts programs and prints

from __future__ import annotations

import argparse
import http.client
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.hello import Result, Sample, machine, parse_h2load, parse_wrk, render
from benchmarks.servers import BenchError, cpu_of_tree, started
from benchmarks.tls_load import trusting

__all__ = ["ROWS", "Row", "main", "parse_clients"]

TOOLS = {"openssl": "openssl", "wrk": "wrk", "h2load": "nghttp2-client", "taskset": "util-linux"}
# A client may come with a ticket that its server does not know any more; most must not.
MOST = 0.9

FILES = "--no-access-log --ssl-certfile {certfile} --ssl-keyfile {keyfile} apps:asgi"
SERVERS = {
    "gateway": f"gateway {FILES}",
    "uvicorn (httptools)": f"uvicorn --http httptools {FILES}",
    "granian": "granian --interface asgi --ssl-certificate {certfile} --ssl-keyfile {keyfile} "
    "apps:asgi",
}
HTTP2 = {
    "gateway": SERVERS["gateway"],
    "uvicorn (zttp)": f"uvicorn --http zttp --http2 {FILES}",
    "granian": SERVERS["granian"],
    "hypercorn": "hypercorn --certfile {certfile} --keyfile {keyfile} apps:asgi",
}


class Row(NamedTuple):
    """One kind of load: `command`, without address and duration.

    The commands of servers and load are filled with ``{certfile}`` and so on.
    """

    title: str
    command: str
    servers: Mapping[str, str] = SERVERS


ROWS = {
    "full": Row("full handshake, one request", "clients"),
    "resumed": Row("resumed handshake, one request", "clients --resume"),
    "http1": Row("ASGI hello, kept alive, 16 connections", "wrk -t1 -c16"),
    "http2": Row(
        "ASGI hello, HTTP/2, 16 streams on each of 16 connections", "h2load -t1 -c16 -m16", HTTP2
    ),
}


def parse_clients(text: str) -> tuple[int, float]:
    """Connections, and connections per second, of what `benchmarks.tls_load` printed."""
    try:
        done, offered, resumed, took = map(float, text.split())
    except ValueError:
        raise BenchError(f"clients: {text.strip()}") from None
    if not done or resumed < offered * MOST:
        raise BenchError(f"clients: {resumed:.0f} of {offered:.0f} sessions were resumed")
    return int(done), done / took


class Load(NamedTuple):
    """For how long, and which core is whose."""

    seconds: int
    server_core: int
    load_core: int

    def run(self, row: Row, port: int, seconds: int) -> tuple[int, float]:
        tool, *words = row.command.split()
        url = f"https://127.0.0.1:{port}/"
        if tool == "clients":
            words = [sys.executable, "-m", "benchmarks.tls_load", f"{port}", *words]
            words += [f"--seconds={seconds}"]
        else:
            words = [tool, f"-D{seconds}" if tool == "h2load" else f"-d{seconds}s", *words, url]
        done = subprocess.run(
            ["taskset", "-c", f"{self.load_core}", *words],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
        text = done.stdout or done.stderr
        if tool == "clients":
            return parse_clients(text)
        return parse_h2load(text) if tool == "h2load" else parse_wrk(text)


def answers(port: int) -> bool:
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=trusting())
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def make_certificate(directory: Path) -> dict[str, Path]:
    files = {"certfile": directory / "site.pem", "keyfile": directory / "site.key"}
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-out", str(files["certfile"]), "-keyout", str(files["keyfile"])]
    subprocess.run(command, check=True, capture_output=True)
    return files


def measure(row: Row, load: Load, rounds: int, files: Mapping[str, Path]) -> Result:
    samples: dict[str, list[Sample]] = {name: [] for name in row.servers}
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(
                started(name, command.format(**files), load.server_core, answers)
            )
            for name, command in row.servers.items()
        }
        for _, port in running.values():
            load.run(row, port, 1)
        for number in range(rounds):
            for name in list(running)[:: -1 if number % 2 else 1]:
                pid, port = running[name]
                before = cpu_of_tree(pid)
                count, rate = load.run(row, port, load.seconds)
                cpu = (cpu_of_tree(pid) - before) * 1e6 / count
                samples[name].append(Sample(cpu, rate))
                print(f"{row.title}: {name}: {cpu:.1f} µs, {rate:,.0f}/s", file=sys.stderr)
    return Result(row.title, samples)


def main(arguments: Sequence[str] | None = None) -> None:
    about = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=about[0], epilog=about[2], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the first row only")
    parser.add_argument("--rows", default=",".join(ROWS), help="some of: %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    options = parser.parse_args(arguments)
    names = list(ROWS)[:1] if options.quick else options.rows.split(",")
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    for tool, package in TOOLS.items():
        if shutil.which(tool) is None:
            parser.exit(3, f"error: {tool} is missing: apt-get install {package}\n")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        parser.exit(3, "error: one core for the server and one for the load are needed\n")
    load = Load(options.seconds, cores[0], cores[1])
    try:
        with TemporaryDirectory() as directory:
            files = make_certificate(Path(directory))
            results = [measure(ROWS[name], load, options.rounds, files) for name in names]
    except BenchError as error:
        parser.exit(3, f"error: {error}\n")
    print(f"{render(results)}\n\n{machine()}")


if __name__ == "__main__":
    main()
