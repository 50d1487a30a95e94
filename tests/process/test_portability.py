"""One process serves where the signals of POSIX do not exist, as on Windows."""

from __future__ import annotations

import subprocess
import sys

import pytest

# The standard library has looked at them before they go.
WITHOUT = """
import asyncio, logging.handlers, os, select, signal, socket, subprocess, tempfile

kept = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN"}
for name in list(vars(signal)):
    if name.startswith("SIG") and name not in kept and name != "SIGCHLD":
        delattr(signal, name)
for name in ("pthread_sigmask", "pthread_kill", "sigwait", "setitimer", "alarm"):
    delattr(signal, name)
for name in ("fork", "fchmod", "fchown", "geteuid", "getegid", "setuid", "setgid", "O_NOFOLLOW"):
    delattr(os, name)
"""

SERVE = """
import urllib.request
from gateway import Server
from gateway.settings import Settings

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})

settings = Settings(app=app, port=0, pid_file="pid", log_file="log", access_log=False)
"""


def run(code: str, directory) -> str:
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT + code],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    "module", ["gateway", "gateway.cli", "gateway.process.running", "gateway.process.service"]
)
def test_it_can_be_imported(tmp_path, module):
    assert run(f"import {module}\nprint({module}.__name__)", tmp_path) == f"{module}\n"


def test_a_server_in_a_thread_serves(tmp_path):
    code = (
        "with Server(settings) as server:\n"
        "    print(urllib.request.urlopen(server.url).read().decode())\n"
    )
    assert run(SERVE + code, tmp_path) == "served\n"


def test_a_server_that_owns_its_process_serves_and_stops(tmp_path):
    code = (
        "import threading, time\n"
        "server = Server(settings)\n"
        "def ask():\n"
        "    while not server.started:\n"
        "        time.sleep(0.001)\n"
        "    print(urllib.request.urlopen(server.url).read().decode(), flush=True)\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "thread = threading.Thread(target=ask)\n"
        "thread.start()\n"
        "assert server.run() == 0\n"
        "thread.join()\n"
    )
    assert run(SERVE + code, tmp_path) == "served\n"
