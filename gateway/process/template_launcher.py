"""Where workers come from with preload: forked from a process that has imported the applications.

What workers have in common is in memory once, and a new one is there in milliseconds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import IO, TypeAlias

from gateway.errors import GatewayError, StartError
from gateway.process.channel import Channel, Message, failure_of
from gateway.process.handover import Handover
from gateway.process.launcher import Order, open_line, reap, spawn
from gateway.process.process_stat import ProcessStat
from gateway.process.tasks import Tasks
from gateway.process.worker_process import WorkerProcess
from gateway.settings import Settings

__all__ = ["TemplateLauncher"]

logger = logging.getLogger("gateway.error")

_OnExit: TypeAlias = Callable[[int, int], None]


class TemplateLauncher:
    """Has a template process fork workers of one configuration. One that died is started anew.

    on_exit: called with pid and exit code of each worker that has ended: they are the template's
        children, not this process's.
    tasks: what listens to templates, for as long as they live, is among these. Loops hold tasks
        weakly, and a template outlives its launcher: the collector closed its channel, and with
        the template went workers that still had requests.
    """

    def __init__(
        self, settings: Settings, directory: str, *, on_exit: _OnExit, tasks: Tasks
    ) -> None:
        self._tasks = tasks
        self._settings = settings
        self._directory = directory
        self._on_exit = on_exit
        self._template: _TemplateProcess | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Return when everything is imported. Raises the `GatewayError` of what could not be."""
        template = await _TemplateProcess.start(self._settings, self._directory, self._on_exit)
        self._tasks.add(template.listen())
        try:
            await template.ready
        except BaseException:
            template.kill()
            raise
        self._template = template

    async def launch(self, order: Order) -> WorkerProcess:
        """Fork one. Raises `GatewayError`."""
        async with self._starting:
            if self._template is None or self._template.gone:
                await self.start()
            template = self._template
        if template is None:
            raise StartError("preload: there is no template process")
        return await template.fork(order)

    async def close(self) -> None:
        """Fork no more. The template stays until its last worker has ended."""
        if self._template is not None:
            self._template.close()


class _TemplateProcess:
    """One template process.

    ready: done when it has imported everything; or the reason why not.
    gone: it has ended.
    """

    def __init__(self, pid: int, sock: socket.socket, channel: Channel, on_exit: _OnExit) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gone = False
        self._pid = pid
        self._sock = sock  # a second descriptor: descriptors are sent past the loop's transport
        self._channel = channel
        self._on_exit = on_exit
        self._failure: GatewayError = StartError("preload: the template process has died")
        self._asked: deque[_Launch] = deque()
        self._workers: set[int] = set()

    @classmethod
    async def start(cls, settings: Settings, directory: str, on_exit: _OnExit) -> _TemplateProcess:
        frame = Handover(settings=settings, index=0, sockets=(), dump=-1).pack()
        async with AsyncExitStack() as unless_started:
            try:
                ours, theirs = socket.socketpair()
                unless_started.enter_context(ours)
                channel = await Channel.open(ours.dup())
            except OSError as error:
                raise StartError(f"preload: no process can start: {error.strerror}") from error
            unless_started.push_async_callback(channel.close)
            with theirs:
                code = f"from gateway.process.template import main; main({theirs.fileno()})"
                pid = spawn(code, (theirs.fileno(),), directory)
            unless_started.pop_all()
        channel.send_frame(frame)
        return cls(pid, ours, channel, on_exit)

    async def fork(self, order: Order) -> WorkerProcess:
        async with AsyncExitStack() as unless_launched:
            channel, theirs, dump = await open_line(unless_launched)
            launch = _Launch(order, channel, dump)
            with theirs:
                sockets = [each.fileno() for each in order.sockets]
                fds = [theirs.fileno(), dump.fileno(), *sockets]
                try:
                    socket.send_fds(self._sock, [b"%d\n" % order.index], fds)
                except OSError as error:
                    raise self._failure from error
            self._asked.append(launch)
            try:
                worker = await launch.worker
            except asyncio.CancelledError:
                # It is forked all the same, and needs them to be told.
                unless_launched.pop_all()
                if launch.worker.done() and not launch.worker.cancelled():
                    launch.worker.result().kill()
                raise
            unless_launched.pop_all()
        return worker

    def close(self) -> None:
        with suppress(OSError):
            self._sock.send(b"close\n")

    def kill(self) -> None:
        """For one that has forked nothing."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    async def listen(self) -> None:
        """Hear what it says, until it has ended."""
        try:
            async for message in self._channel.messages():
                self._hear(message)
        except Exception:
            logger.exception("the template process (pid %d) sent nonsense, killed", self._pid)
            self.kill()
        self.gone = True
        if not self.ready.done():
            self.ready.set_exception(self._failure)
        for launch in self._asked:
            await launch.failed(self._failure)
        # They are killed with the process they were forked from.
        for pid in list(self._workers):
            self._on_exit(pid, -signal.SIGKILL)
        self._sock.close()
        await self._channel.close()
        await reap(self._pid)

    def _hear(self, message: Message) -> None:
        match message:
            case {"kind": "ready"} if not self.ready.done():
                self.ready.set_result(None)
            case {"kind": "failed", "text": str() as text, "code": int() as code}:
                self._failure = failure_of(text, code)
            case {"kind": "forked", "pid": int() as pid}:
                self._forked(pid)
            case {"kind": "ended", "pid": int() as pid, "code": int() as code}:
                if pid in self._workers:
                    self._workers.discard(pid)
                    self._on_exit(pid, code)

    def _forked(self, pid: int) -> None:
        # The template may run as another user, with the code of applications in it: whom this
        # process signals is not for it to choose.
        found = ProcessStat.of(pid)
        if not self._asked or pid <= 1 or (found is not None and found.parent != self._pid):
            raise ValueError(f"process {pid} is not a child of the template")
        # Where /proc tells, what is not in it has ended; or is a number that somebody gets later.
        reaped = found is None and ProcessStat.of(os.getpid()) is not None
        self._workers.add(pid)
        self._asked.popleft().forked(pid, reaped=reaped)


class _Launch:
    """A worker that was asked for."""

    def __init__(self, order: Order, channel: Channel, dump: IO[bytes]) -> None:
        self.worker: asyncio.Future[WorkerProcess] = asyncio.get_running_loop().create_future()
        self._order = order
        self._channel = channel
        self._dump = dump

    def forked(self, pid: int, *, reaped: bool) -> None:
        worker = self._order.launched(pid, self._channel, self._dump, reaped=reaped)
        if self.worker.cancelled():
            worker.kill()
        else:
            self.worker.set_result(worker)

    async def failed(self, why: GatewayError) -> None:
        if not self.worker.done():
            self.worker.set_exception(why)
        elif self.worker.cancelled():  # nobody else has them any more
            self._dump.close()
            await self._channel.close()
