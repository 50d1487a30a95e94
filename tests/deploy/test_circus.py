"""deploy/circus/circus.ini under the real circusd."""

from __future__ import annotations

import getpass
import grp
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e.client import Http1Socket
from e2e.load import Load, ask

from deploy.conftest import FreePort, Project
from deploy.program import GATEWAY, Program, edited, find

INSTALL = "pip install circus"


@dataclass
class Circus:
    """circusd with the shipped file; `ctl` runs one command of circusctl."""

    program: Program
    address: tuple[str, int]
    ctl: Callable[..., subprocess.CompletedProcess[str]]

    def pid(self) -> int:
        """Of the process that answers."""
        with Http1Socket(self.address) as connection:
            return ask(connection).pid


@pytest.fixture
def circus(project: Project, free_port: FreePort) -> Iterator[Circus]:
    root = project("timeout-graceful-shutdown = 5")
    with _circusd(root, free_port()) as started:
        yield started


@contextmanager
def _circusd(root: Path, port: int) -> Iterator[Circus]:
    daemon = find("circusd", install=INSTALL)
    control = find("circusctl", install=INSTALL)
    changes: dict[str, object] = {
        "/srv/app/.venv/bin/gateway": GATEWAY,
        "/srv/app": root,
        "port = 8000": f"port = {port}",
        "uid = app": f"uid = {getpass.getuser()}",
        "gid = app": f"gid = {grp.getgrgid(os.getgid()).gr_name}",
        "/run/circus": root,
    }
    conf = root / "circus.ini"
    conf.write_text(edited("circus/circus.ini", changes))

    def ctl(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [control, *args],
            env={**os.environ, "CIRCUSCTL_ENDPOINT": f"ipc://{root}/control"},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    with Program([daemon, conf], root) as program:
        program.wait_for("Arbiter now waiting for commands")
        yield Circus(program, ("127.0.0.1", port), ctl)


@pytest.mark.slow
def test_a_restart_refuses_no_connection(circus: Circus) -> None:
    with Load(circus.address, fresh=True) as load:
        load.wait_more()
        before = load.pids
        done = circus.ctl("restart", "gateway", "--waiting")
        assert done.returncode == 0, done.stdout + done.stderr
        load.wait_for_pid_besides(before)
        load.wait_more()
        assert load.lossless(), load


@pytest.mark.slow
def test_while_it_is_stopped_connections_wait_for_the_next_start(circus: Circus) -> None:
    before = circus.pid()
    assert circus.ctl("stop", "gateway", "--waiting").returncode == 0
    with Http1Socket(circus.address) as connection:
        assert circus.ctl("start", "gateway").returncode == 0
        assert ask(connection).pid != before


@pytest.mark.slow
def test_a_reload_rolls_the_workers_without_a_loss(project: Project, free_port: FreePort) -> None:
    root = project("supervise = true", "timeout-graceful-shutdown = 5")
    with _circusd(root, free_port()) as circus, Load(circus.address) as load:
        load.wait_more()
        before = load.pids
        assert circus.ctl("reload", "gateway").returncode == 0
        load.wait_for_pid_besides(before)
        load.wait_more()
        assert load.lossless(), load


@pytest.mark.slow
def test_circusd_that_is_stopped_leaves_nothing_behind(circus: Circus) -> None:
    pid = circus.pid()
    assert circus.program.stop() == 0
    assert not Path(f"/proc/{pid}").exists()
