"""The process of one worker, from its first line to its exit code."""

from __future__ import annotations

import asyncio
import ctypes
import dataclasses
import faulthandler
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Final, NoReturn

from gateway import log
from gateway.errors import GatewayError, StartError
from gateway.process.channel import Channel, Message, failure_message, receive_frame
from gateway.process.handover import Handover
from gateway.process.hooks import HookEvent, Hooks
from gateway.process.identity import identity
from gateway.process.launcher import hold_signals, release_signals
from gateway.process.leave import fail, leave
from gateway.process.loop import calm_collector, loop_factory, run_on_loop
from gateway.process.prepare import configure_logs, prepare_imports
from gateway.process.signals import Actions, nothing, on_signals
from gateway.process.title import set_title
from gateway.process.worker_process import MountRow, beat_interval
from gateway.site import Site
from gateway.worker import Worker

__all__ = ["die_with", "enter", "main", "serve"]

# What requests still get when the parent is gone: somebody may start a new one at any moment.
_ORPHANED: Final = 1.0
_PR_SET_PDEATHSIG: Final = 1


def main(fd: int) -> NoReturn:
    """Be the worker that the parent on the other side of socket `fd` asks for."""
    sock = socket.socket(fileno=fd)
    try:
        handover = Handover.unpack(receive_frame(sock))
    except EOFError:  # the parent has changed its mind
        sys.exit(0)
    try:
        enter(handover)
    except GatewayError as error:
        fail(sock, error)
    leave(serve(handover, sock))


def enter(handover: Handover) -> None:
    """Become the process the handover describes, before anything of an application is imported."""
    settings = handover.settings
    die_with(handover.parent)
    sys.path[:] = handover.path
    sys.argv[:] = handover.argv
    if settings.umask is not None:
        os.umask(settings.umask)
    user = identity(settings.user, settings.group)
    if user is not None:
        user.assume()
        die_with(handover.parent)  # a change of user has cleared it


def serve(handover: Handover, sock: socket.socket, site: Site | None = None) -> int:
    """Run the worker; its exit code.

    site: where a process this one was forked from has imported the applications.
    """
    settings = handover.settings
    # Programs that the application starts must not keep the port, nor the parent's hope.
    for fd in (sock.fileno(), handover.dump, *handover.sockets):
        os.set_inheritable(fd, False)
    os.environ["GATEWAY_WORKER_ID"] = str(handover.index)
    set_title(f"gateway: worker {handover.index}")
    faulthandler.register(signal.SIGUSR2, file=handover.dump, all_threads=True)
    child = _Child(handover, sock, site)
    try:
        return run_on_loop(loop_factory(settings.loop), child.run)
    except KeyboardInterrupt:  # told to stop while applications were imported
        return 0


class _Child:
    """A `Worker` that is told by its parent, and tells it, how it is."""

    def __init__(self, handover: Handover, sock: socket.socket, site: Site | None) -> None:
        self._handover = handover
        self._sock = sock
        self._site = site
        self._limit = handover.settings.timeout_graceful_shutdown
        self._alone = False

    async def run(self) -> int:
        channel = await Channel.open(self._sock)
        try:
            return await self._run(channel)
        except GatewayError as error:
            channel.send(failure_message(error))
            return error.exit_code
        finally:
            with suppress(TimeoutError):
                await asyncio.wait_for(channel.close(), 1)

    async def _run(self, channel: Channel) -> int:
        handover = self._handover
        settings = handover.settings
        configure_logs(settings, worker=handover.index)
        worker = Worker(
            settings,
            [socket.socket(fileno=fd) for fd in handover.sockets],
            binds=settings.addresses,
            site=self._site,
            failure=handover.failure,
            shared=True,
            on_max_requests=lambda: channel.send({"kind": "recycle"}),
        )

        async def beat() -> None:
            channel.send({"kind": "beat"})

        others: Actions = {
            signal.SIGINT: nothing,  # the parent's: a terminal sends it to both
            signal.SIGHUP: nothing,
            signal.SIGQUIT: worker.force,
            signal.SIGUSR1: log.reopen_logs,
        }
        loop = asyncio.get_running_loop()
        with on_signals(worker, loop, others=others):
            release_signals()
            listening = asyncio.ensure_future(self._listen(channel, worker))
            try:
                await self._before_import()
                if await worker.start_unless_stopped():
                    calm_collector()
                    worker.repeat(beat_interval(settings.timeout_worker), beat)
                    channel.send({"kind": "ready", "mounts": _rows(worker.site)})
                    await worker.serve_until_stopped()
                    # So that another one takes its place at once, whoever told it to stop.
                    channel.send({"kind": "leaving"})
            finally:
                await worker.stop(limit=self._limit, alone=self._alone)
                listening.cancel()
                hold_signals()
        return 0

    async def _before_import(self) -> None:
        settings, index = self._handover.settings, self._handover.index
        if self._handover.failure:
            return  # what is wrong may be in what these would load
        if self._site is None:
            prepare_imports(settings)
        hooks = Hooks.load(settings.hooks)
        event = HookEvent(name="on_worker_start", pid=os.getpid(), worker=index)
        await hooks.call(event)

    async def _listen(self, channel: Channel, worker: Worker) -> None:
        async for message in channel.messages():
            self._obey(message, worker)
        self._limit = min(self._limit, _ORPHANED)
        worker.request_stop()

    def _obey(self, message: Message, worker: Worker) -> None:
        match message:
            case {"kind": "stop", "limit": float() | int() as limit, "alone": bool() as alone}:
                self._limit, self._alone = limit, alone
                worker.request_stop()
            case {"kind": "force"}:
                worker.force()


def _rows(site: Site | None) -> list[dict[str, object]]:
    names = [field.name for field in dataclasses.fields(MountRow)]
    return [{name: getattr(each, name) for name in names} for each in site.mounts] if site else []


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however that happens.

    The end of the channel tells it too, but not to a loop that is blocked.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise StartError("the parent process is gone")
