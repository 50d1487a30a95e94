"""Preload, the process that imports the applications once and forks workers."""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn

from gateway.chain import Chain
from gateway.errors import GatewayError, StartError
from gateway.process import child
from gateway.process.channel import receive_frame, send_message
from gateway.process.handover import Handover
from gateway.process.launcher import release_signals
from gateway.process.leave import fail, leave
from gateway.process.prepare import configure_logs, prepare_imports
from gateway.process.signals import nothing
from gateway.process.title import set_title
from gateway.settings import Mount
from gateway.site import Site

__all__ = ["main"]

logger = logging.getLogger("gateway.error")

# What others send to a whole group of processes; this one ends with its parent or its last worker.
_IGNORED: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCHLD")
_FDS: Final = 250  # SCM_MAX_FD is 253


def main(fd: int) -> NoReturn:
    """Be the template that the parent on the other side of socket `fd` asks for."""
    sock = socket.socket(fileno=fd)
    try:
        handover = Handover.unpack(receive_frame(sock))
    except EOFError:
        sys.exit(0)
    for name in _IGNORED:
        signal.signal(getattr(signal, name), lambda *_: nothing())
    release_signals()
    set_title("gateway: template")
    try:
        child.enter(handover)
        site = _preload(handover)
    except GatewayError as error:
        fail(sock, error)
    send_message(sock, {"kind": "ready"})
    _Template(sock, handover, site).run()


def _preload(handover: Handover) -> Site:
    """Import everything, and see that it can be forked. Raises `GatewayError`."""
    settings = handover.settings
    configure_logs(settings)
    Chain.check(settings)
    prepare_imports(settings)
    before = _sockets()
    site = Site.build(settings, imported=lambda mount: _refuse_unforkable(mount, before))
    native = len(_listed("/proc/self/task")) - 1
    if native > 0:
        logger.warning(
            "preload: %d threads of a native library run; not every library survives a fork", native
        )
    # What is frozen is not looked at by the collector, so that it stays shared.
    gc.collect()
    gc.freeze()
    return site


def _refuse_unforkable(mount: Mount, before: set[str]) -> None:
    """Raise `StartError` for what the import of `mount` has left open. before: sockets."""
    threads = [each.name for each in threading.enumerate() if each is not threading.main_thread()]
    if threads:
        raise StartError(
            f"preload: {mount.app_name} has started a thread at import, {', '.join(threads)}\n"
            "  a forked worker would be without it; start it in the lifespan, in the hook\n"
            "  on_worker_start or at the first request, or leave preload out"
        )
    opened = _sockets() - before
    if opened:
        names = ", ".join(sorted(opened))
        raise StartError(
            f"preload: {mount.app_name} has opened a socket at import, {names}\n"
            "  forked workers would all write to the same; open it in the lifespan, in the hook\n"
            "  on_worker_start or at the first request, or leave preload out"
        )


class _Template:
    """Forks a worker when the parent asks for one, and tells it of each that has ended.

    Ends when the parent is gone, which takes the workers along, or after "close" with the last of
    them: they live as long as the process they were forked from.
    """

    def __init__(self, sock: socket.socket, handover: Handover, site: Site) -> None:
        self._sock = sock
        self._handover = handover
        self._site = site
        self._children: set[int] = set()
        self._closing = False

    def run(self) -> NoReturn:
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        while not self._closing or self._children:
            readable, _, _ = select.select([self._sock.fileno(), woken], [], [])
            if woken in readable:
                os.read(woken, 4096)
                self._reap()
            if self._sock.fileno() in readable:
                data, fds, _, _ = socket.recv_fds(self._sock, 64, _FDS)
                if not data:
                    break
                # A stream keeps no messages apart; descriptors end a read with their own.
                for order in data.split():
                    if order == b"close":
                        self._closing = True
                    else:
                        self._fork(int(order), fds)
        leave(0)

    def _fork(self, index: int, fds: list[int]) -> None:
        template = os.getpid()
        pid = os.fork()
        if pid:
            self._children.add(pid)
            for fd in fds:
                os.close(fd)
            send_message(self._sock, {"kind": "forked", "pid": pid})
            return
        signal.set_wakeup_fd(-1)
        self._sock.close()
        channel, dump, *sockets = fds
        handover = replace(
            self._handover, index=index, dump=dump, sockets=tuple(sockets), parent=template
        )
        child.die_with(template)
        leave(child.serve(handover, socket.socket(fileno=channel), self._site))

    def _reap(self) -> None:
        for pid in list(self._children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._children.discard(pid)
                code = os.waitstatus_to_exitcode(status)
                send_message(self._sock, {"kind": "ended", "pid": pid, "code": code})


def _sockets() -> set[str]:
    """The sockets open in this process, in words; empty where the system does not say."""
    found = set()
    for fd in _listed("/proc/self/fd"):
        try:
            sock = socket.socket(fileno=os.dup(int(fd)))
        except OSError:  # no socket, or the listing's own descriptor, closed again
            continue
        with sock:
            try:
                found.add(f"fd {fd} to {sock.getpeername()}")
            except OSError:
                found.add(f"fd {fd} at {sock.getsockname()}")
    return found


def _listed(directory: str) -> list[str]:
    try:
        return [each.name for each in Path(directory).iterdir()]
    except OSError:
        return []
