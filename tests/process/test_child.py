"""The process of a worker: what it tells of its end, and what it keeps to itself."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.process.channel import receive_frame
from gateway.process.handover import Handover
from gateway.process.launcher import FreshLauncher
from gateway.process.tasks import Tasks
from gateway.process.template_launcher import TemplateLauncher

from .fakes import on_loop
from .test_launcher import buried, directory, get, listening, order, settings
from .test_template import INHERITABLE

__all__ = ["directory", "listening"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prctl(2), proc(5)")


def nobody(directory: Path, **values):
    """Settings whose user has gone since they were read: no process can become that."""
    return dataclasses.replace(settings(directory, **values), user="nobody-of-this-name")


# --- who it is to be -----------------------------------------------------------------------------


@on_loop
async def test_a_worker_that_cannot_become_its_user_says_why(directory, capfd):
    launcher = FreshLauncher(str(directory))
    worker = await launcher.launch(order(nobody(directory)))
    assert await buried(worker) == 2
    with pytest.raises(ConfigError, match="nobody-of-this-name"):
        await worker.started()
    assert capfd.readouterr().err == ""


@on_loop
async def test_a_template_that_cannot_become_its_user_says_why(directory, capfd):
    launcher = TemplateLauncher(
        nobody(directory), str(directory), on_exit=lambda pid, code: None, tasks=Tasks()
    )
    with pytest.raises(ConfigError, match="nobody-of-this-name"):
        await launcher.start()
    assert capfd.readouterr().err == ""


class Newborn:
    """A worker that has not been told anything yet. told: what it has said."""

    def __init__(self, module: str) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(10)
        with theirs:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    f"from gateway.process.{module} import main; main({theirs.fileno()})",
                ],
                pass_fds=[theirs.fileno()],
                stderr=subprocess.PIPE,
            )

    def tell(self, handover: Handover) -> None:
        frame = handover.pack()
        self.sock.sendall(len(frame).to_bytes(4, "big") + frame)

    def end(self) -> tuple[int, bytes]:
        """Its exit code, and what it wrote."""
        _, err = self.process.communicate(timeout=10)
        self.sock.close()
        return self.process.returncode, err


@pytest.mark.parametrize("module", ["child", "template"])
def test_a_parent_that_has_changed_its_mind_is_no_failure(module):
    newborn = Newborn(module)
    newborn.sock.shutdown(socket.SHUT_WR)
    assert newborn.end() == (0, b"")


@pytest.mark.parametrize("gone", [False, True], ids=["still there", "gone"])
@pytest.mark.parametrize("module", ["child", "template"])
def test_a_worker_whose_parent_has_died_leaves_without_a_traceback(directory, module, gone):
    newborn = Newborn(module)
    newborn.tell(Handover(settings=settings(directory), index=0, sockets=(), dump=-1, parent=2**22))
    if gone:
        newborn.sock.shutdown(socket.SHUT_RD)
    else:
        assert b"the parent process is gone" in receive_frame(newborn.sock)
    assert newborn.end() == (3, b"")


# --- what it does not hand on --------------------------------------------------------------------


@on_loop
async def test_programs_of_an_application_inherit_no_socket(directory, listening):
    (directory / "main.py").write_text(INHERITABLE)
    launcher = FreshLauncher(str(directory))
    worker = await launcher.launch(order(settings(directory), [listening]))
    await worker.started()
    assert await get(listening.getsockname()) == "[]"
    worker.stop(limit=1, alone=True)
    assert await buried(worker) == 0


LEAVES_A_PROGRAM = """
import os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    # As a C library would start one: nothing closes descriptors but the kernel.
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], os.environ)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(pid).encode()})
"""


@on_loop
async def test_a_program_that_is_left_does_not_keep_the_port(directory):
    (directory / "main.py").write_text(LEAVES_A_PROGRAM)
    launcher = FreshLauncher(str(directory))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = sock.getsockname()
        worker = await launcher.launch(order(settings(directory), [sock]))
        await worker.started()
        left = int(await get(address))
    try:
        worker.stop(limit=1, alone=True)
        assert await buried(worker) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
    finally:
        os.kill(left, signal.SIGKILL)
