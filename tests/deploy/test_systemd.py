"""deploy/systemd/*: read by systemd's own tools, activated by one of them, notified for real.

systemd itself need not run: systemd-socket-activate passes sockets as a .socket unit does, and a
datagram socket listens in the place of the service manager.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest
from e2e.client import Http1Socket
from e2e.load import Load, ask
from e2e.process import wait_until

from deploy.conftest import FreePort, Project
from deploy.program import DEPLOY, GATEWAY, Program, edited, find

INSTALL = "apt-get install systemd"
UNITS = ("gateway.service", "gateway.socket")


class Manager:
    """Hears what a service says on ``NOTIFY_SOCKET``, sd_notify(3)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(10)
        self._socket.bind(str(path))

    def wait_for(self, text: str) -> dict[str, str]:
        """The next message that has a line with this beginning; others are passed over."""
        while True:
            lines = self._socket.recv(4096).decode().splitlines()
            if any(line.startswith(text) for line in lines):
                return dict(line.split("=", 1) for line in lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def directive(unit: str, key: str) -> str:
    """The one value of `key` in a unit file."""
    [value] = re.findall(rf"^{key}=(.*)$", (DEPLOY / "systemd" / unit).read_text(), re.MULTILINE)
    return str(value)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The unit files with a program that exists; they name their user, who need not."""
    for name in UNITS:
        shutil.copy(DEPLOY / "systemd" / name, tmp_path / name)
    text = edited("systemd/gateway.service", {"/srv/app/.venv/bin/gateway": GATEWAY})
    (tmp_path / "gateway.service").write_text(text)
    return tmp_path


@pytest.mark.slow
def test_systemd_has_no_complaint_about_the_units(units: Path) -> None:
    analyze = find("systemd-analyze", install=INSTALL)
    done = subprocess.run(
        [analyze, "verify", "--man=no", *(units / name for name in UNITS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_systemd_calls_the_exposure_of_the_service_low(units: Path) -> None:
    analyze = find("systemd-analyze", install=INSTALL)
    command = [analyze, "security", "--offline=true", "--threshold=20", units / "gateway.service"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@contextmanager
def _activated(root: Path, port: int, manager: Manager) -> Iterator[Program]:
    """What the two units start, at the first connection. It has the unit's name for its socket."""
    activate = find("systemd-socket-activate", install=INSTALL)
    name = directive("gateway.socket", "FileDescriptorName")
    variables = {
        "NOTIFY_SOCKET": str(manager.path),
        "WATCHDOG_USEC": "200000",
        "PYTHONUNBUFFERED": "1",
    }
    settings = [f"--setenv={key}={value}" for key, value in variables.items()]
    command = [activate, f"--listen=127.0.0.1:{port}", f"--fdname={name}", *settings]
    start = directive("gateway.service", "ExecStart").replace("/srv/app/.venv/bin/gateway", "")
    with Program(
        [*command, GATEWAY, *start.replace("/srv/app", str(root)).split()], root
    ) as program:
        program.wait_for("Listening on")
        yield program


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with Manager(tmp_path / "notify") as manager:
        yield manager


@pytest.fixture
def root(project: Project) -> Path:
    """With what the head of gateway.service asks for."""
    lines = re.findall(
        r"^#   (\w+ +=.*?) *#", (DEPLOY / "systemd/gateway.service").read_text(), re.MULTILINE
    )
    assert len(lines) == 2
    return project(*lines, "timeout-graceful-shutdown = 5")


@pytest.mark.slow
def test_the_first_connection_starts_the_service(
    root: Path, free_port: FreePort, manager: Manager
) -> None:
    port = free_port()
    with _activated(root, port, manager), Http1Socket(("127.0.0.1", port)) as connection:
        ask(connection)
        manager.wait_for("READY=1")


@pytest.mark.slow
def test_systemd_is_told_of_start_life_reload_and_stop(
    root: Path, free_port: FreePort, manager: Manager
) -> None:
    port = free_port()
    assert directive("gateway.service", "ExecReload") == "kill -HUP $MAINPID"
    with _activated(root, port, manager) as service, Load(("127.0.0.1", port)) as load:
        manager.wait_for("READY=1")
        manager.wait_for("WATCHDOG=1")
        load.wait_more()
        before = load.pids
        service.process.send_signal(signal.SIGHUP)
        assert "MONOTONIC_USEC" in manager.wait_for("RELOADING=1")
        manager.wait_for("READY=1")
        load.wait_for_pid_besides(before)
        assert load.lossless(), load
        service.process.terminate()
        manager.wait_for("STOPPING=1")
        assert service.wait() == 0


@pytest.mark.slow
def test_systemd_is_told_who_goes_on_after_an_upgrade(
    root: Path, free_port: FreePort, manager: Manager
) -> None:
    port = free_port()
    with _activated(root, port, manager) as service, Load(("127.0.0.1", port)) as load:
        manager.wait_for("READY=1")
        load.wait_more()
        before = load.pids
        service.process.send_signal(signal.SIGUSR2)
        successor = int(manager.wait_for("MAINPID=")["MAINPID"])
        try:
            assert service.wait() == 0
            load.wait_for_pid_besides(before)
            assert load.lossless(), load
        finally:
            os.kill(successor, signal.SIGTERM)
            manager.wait_for("STOPPING=1")
            wait_until(lambda: not _runs(successor), "the successor is gone")


@pytest.mark.slow
def test_the_filter_of_system_calls_lets_gateway_serve(
    project: Project, tmp_path: Path, free_port: FreePort
) -> None:
    analyze = find("systemd-analyze", install=INSTALL)
    names = tmp_path / "names"
    names.write_text("\n".join(_allowed(analyze, directive("gateway.service", "SystemCallFilter"))))
    port = free_port()
    root = project(
        f'bind = "127.0.0.1:{port}"', "supervise = true", "timeout-graceful-shutdown = 5"
    )
    sandbox = Path(__file__).with_name("sandbox.py")
    command = [sys.executable, sandbox, names, GATEWAY, "-c", root / "gateway.toml"]
    with Program(command, root) as service:
        service.wait_for("ready in")
        with Load(("127.0.0.1", port)) as load:
            load.wait_more()
            before = load.pids
            service.process.send_signal(signal.SIGHUP)
            load.wait_for_pid_besides(before)
            assert load.lossless(), load
        assert service.stop() == 0


def _runs(pid: int) -> bool:
    """A process that has ended has no command line, also while nobody has asked how it ended."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def _allowed(analyze: Path, group: str) -> set[str]:
    """The system calls of a group such as ``@system-service``, with all the groups in it."""
    command = [analyze, "syscall-filter", "--no-pager", group]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    entries = [line.strip() for line in text.splitlines()[1:]]
    names = {entry for entry in entries if entry and entry[0] not in "#@"}
    return names.union(*(_allowed(analyze, entry) for entry in entries if entry.startswith("@")))
