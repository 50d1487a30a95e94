"""Where workers come from: interpreters started afresh."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import IO, Final, Protocol

from gateway.errors import StartError
from gateway.process.channel import Channel
from gateway.process.handover import Handover
from gateway.process.worker_process import WorkerProcess, dump_file
from gateway.settings import Settings

__all__ = [
    "FreshLauncher",
    "Launcher",
    "Order",
    "hold_signals",
    "open_line",
    "reap",
    "release_signals",
    "spawn",
]

HELD: Final = frozenset(
    getattr(signal, name)
    for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
_REAP: Final = 0.05


class Order:
    """What is asked for: worker `index` of `settings`, to listen on `sockets`.

    failure: see `Handover`. on_change: see `WorkerProcess`.
    on_launch: called with the process as soon as there is one, before its end can be heard of.
    """

    __slots__ = ("failure", "index", "on_change", "on_launch", "settings", "sockets")

    def __init__(
        self,
        settings: Settings,
        index: int,
        sockets: Sequence[socket.socket],
        *,
        on_launch: Callable[[WorkerProcess], None],
        on_change: Callable[[WorkerProcess], None],
        failure: str = "",
    ) -> None:
        self.settings = settings
        self.on_launch = on_launch
        self.on_change = on_change
        self.index = index
        self.sockets = sockets
        self.failure = failure

    def handover(self, dump: int) -> Handover:
        """It as the worker is told it."""
        return Handover(
            settings=self.settings,
            index=self.index,
            sockets=tuple(sock.fileno() for sock in self.sockets),
            dump=dump,
            failure=self.failure,
        )

    def launched(
        self, pid: int, channel: Channel, dump: IO[bytes], *, reaped: bool = False
    ) -> WorkerProcess:
        """The worker that was asked for, as process `pid`. reaped: see `WorkerProcess`."""
        worker = WorkerProcess(
            index=self.index,
            pid=pid,
            channel=channel,
            dump=dump,
            on_change=self.on_change,
            reaped=reaped,
        )
        self.on_launch(worker)
        return worker


class Launcher(Protocol):
    """Makes worker processes."""

    async def launch(self, order: Order) -> WorkerProcess:
        """Start one. Raises `GatewayError` where none can be started."""

    async def close(self) -> None:
        """Start no more."""


class FreshLauncher:
    """Starts an interpreter for each worker.

    Not a fork: the parent may have threads (a watcher of files, a hook's), and a worker is to see
    the code as it is on disk now.

    directory: where workers work; a name, which may lead elsewhere by the time one starts.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory

    async def launch(self, order: Order) -> WorkerProcess:
        """Start one. Raises `StartError` where the system has nothing left to start it with."""
        async with AsyncExitStack() as unless_launched:
            channel, theirs, dump = await open_line(unless_launched)
            with theirs:
                frame = order.handover(dump.fileno()).pack()
                pid = spawn(
                    f"from gateway.process.child import main; main({theirs.fileno()})",
                    (theirs.fileno(), dump.fileno(), *(each.fileno() for each in order.sockets)),
                    self._directory,
                )
            unless_launched.pop_all()
        channel.send_frame(frame)
        return order.launched(pid, channel, dump)

    async def close(self) -> None:
        """Nothing is held."""


async def open_line(
    unless_launched: AsyncExitStack,
) -> tuple[Channel, socket.socket, IO[bytes]]:
    """A channel, its other end for a worker, and a file for its stacks.

    unless_launched: what closes them where no worker comes of it. Raises `StartError` where the
    system has no descriptors left.
    """
    try:
        dump = unless_launched.enter_context(dump_file())
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise StartError(f"no worker can be started: {error.strerror}") from error
    channel = await Channel.open(ours)
    unless_launched.push_async_callback(channel.close)
    return channel, theirs, dump


def spawn(code: str, fds: Sequence[int], directory: str) -> int:
    """Start an interpreter like this one on one line of `code`; its pid. It inherits `fds`.

    It begins with `HELD` signals blocked, for `release_signals`: what somebody sends to all of our
    processes would end one that has no handlers yet. Raises `StartError` where the system starts no
    more processes.
    """
    # "-P" keeps the working directory off the path, where a file of the application's may be
    # called gateway.py or socket.py; the worker gets the parent's path as it is.
    path = f"import sys; sys.path[:0] = [{str(Path(__file__).parents[2])!r}]; "
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, on a line of our own
            [*_interpreter(), "-P", "-c", path + code],
            pass_fds=fds,
            cwd=directory,
        )
    except OSError as error:
        raise StartError(f"no worker can be started: {error.strerror or error}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    process.returncode = 0  # reaped by the parent's own waitpid; Popen's would find nothing
    return process.pid


def release_signals() -> None:
    """Let `HELD` signals come; for a process that `spawn` has started."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def hold_signals() -> None:
    """Block them again, for the time between the handlers and the end of the process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)


async def reap(pid: int) -> None:
    """Wait for the end of a child that nobody else waits for."""
    with suppress(ChildProcessError):
        while os.waitpid(pid, os.WNOHANG) == (0, 0):  # noqa: ASYNC110, ASYNC222 - it never waits
            await asyncio.sleep(_REAP)


def _interpreter() -> list[str]:
    """The path of this interpreter, and the options it was started with (-W, -X, -O)."""
    return [sys.executable, *subprocess._args_from_interpreter_flags()]  # type: ignore[attr-defined]  # noqa: SLF001 - multiprocessing and test.support use it too
