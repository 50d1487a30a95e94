"""deploy/supervisor/gateway.conf under the real supervisord."""

from __future__ import annotations

import getpass
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest
from e2e.client import Http1Socket
from e2e.load import Load, ask

from deploy.conftest import FreePort, Project
from deploy.program import GATEWAY, Program, edited, find

INSTALL = "pip install supervisor"
DAEMON = """
[supervisord]
nodaemon = true
logfile = {root}/supervisord.log
pidfile = {root}/supervisord.pid
childlogdir = {root}

[unix_http_server]
file = {root}/control

[supervisorctl]
serverurl = unix://{root}/control

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""


@dataclass
class Supervisor:
    """supervisord with the shipped file; `ctl` runs one command of supervisorctl."""

    program: Program
    address: tuple[str, int]
    ctl: Callable[..., subprocess.CompletedProcess[str]]

    def pids(self) -> set[int]:
        """Of the two processes that supervisord started."""
        return {int(pid) for pid in self.ctl("pid", "gateway:0", "gateway:1").stdout.split()}


@pytest.fixture
def supervisor(project: Project, free_port: FreePort) -> Iterator[Supervisor]:
    root = project("timeout-graceful-shutdown = 5")
    with _supervisord(root, free_port()) as started:
        yield started


@contextmanager
def _supervisord(
    root: Path, port: int, changes: Mapping[str, object] = MappingProxyType({})
) -> Iterator[Supervisor]:
    daemon = find("supervisord", install=INSTALL)
    control = find("supervisorctl", install=INSTALL)
    text = edited(
        "supervisor/gateway.conf",
        {
            "/srv/app/.venv/bin/gateway": GATEWAY,
            "/srv/app": root,
            "tcp://127.0.0.1:8000": f"tcp://127.0.0.1:{port}",
            "user = app": f"user = {getpass.getuser()}",
            # Both restart at once then, as fast as supervisorctl goes: no kindness to the test.
            "startsecs = 5": "startsecs = 0",
            "/var/log/supervisor": root,
            **changes,
        },
    )
    conf = root / "supervisord.conf"
    conf.write_text(DAEMON.format(root=root) + text)

    def ctl(*args: str) -> subprocess.CompletedProcess[str]:
        command = [control, "-c", conf, *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    with Program([daemon, "-c", conf], root) as program:
        program.wait_for("entered RUNNING state.*|entered FATAL")
        yield Supervisor(program, ("127.0.0.1", port), ctl)


@pytest.mark.slow
def test_restarts_one_by_one_refuse_no_connection(supervisor: Supervisor) -> None:
    with Load(supervisor.address, fresh=True) as load:
        load.wait_more()
        before = supervisor.pids()
        for name in ("gateway:0", "gateway:1"):
            done = supervisor.ctl("restart", name)
            assert done.returncode == 0, done.stdout
        assert before.isdisjoint(supervisor.pids())
        load.wait_for_pid_besides(before)
        load.wait_more()
        assert load.lossless(), load


@pytest.mark.slow
def test_a_stop_drains_both_and_leaves_nothing_behind(supervisor: Supervisor) -> None:
    pids = supervisor.pids()
    with Http1Socket(supervisor.address) as connection:
        assert ask(connection).pid in pids
    assert supervisor.program.stop() == 0
    supervisor.program.wait_for(r"stopped: 0 \(exit status 0\)")
    supervisor.program.wait_for(r"stopped: 1 \(exit status 0\)")
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    with pytest.raises(ConnectionRefusedError):
        Http1Socket(supervisor.address)


@pytest.mark.slow
def test_hup_by_supervisorctl_rolls_the_workers_without_a_loss(
    project: Project, free_port: FreePort
) -> None:
    root = project("supervise = true", "timeout-graceful-shutdown = 5")
    with (
        _supervisord(root, free_port()) as supervisor,
        Load(supervisor.address, clients=2) as load,
    ):
        load.wait_more()
        parents, workers = supervisor.pids(), load.pids
        assert supervisor.ctl("signal", "HUP", "gateway:*").returncode == 0
        load.wait_for_pid_besides(workers)
        load.wait_more()
        assert load.lossless(), load
        assert supervisor.pids() == parents


@pytest.mark.slow
def test_a_broken_file_is_given_up_not_restarted_for_ever(
    project: Project, free_port: FreePort
) -> None:
    root = project("wrokers = 3")
    changes = {"startsecs = 0": "startsecs = 1", "startretries = 3": "startretries = 0"}
    with _supervisord(root, free_port(), changes) as supervisor:
        supervisor.program.wait_for("gave up: 0 entered FATAL state")
    assert "unknown setting 'wrokers'" in (root / "gateway-0.log").read_text()
