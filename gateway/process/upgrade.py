"""Giving way to a new binary: another process on the same sockets, without a gap.

The old process starts the new one as it was started itself, with its listening sockets and the end
of a pipe. The new one writes to the pipe when it is ready, and only then the old one leaves; if it
ends before that, nothing has changed. The old one closes its end when it has said whose turn it is.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Final

from gateway.errors import StartError
from gateway.process.inherit import InheritedSocket
from gateway.process.launcher import reap

__all__ = ["Predecessor", "Upgrade"]

logger = logging.getLogger("gateway.error")

# The underscore keeps it out of the settings, which begin with GATEWAY_.
_VARIABLE: Final = "_GATEWAY_UPGRADE"
_READY: Final = b"ready"
# Seconds from TERM to KILL for one that is given up: an import may hold it, or a worker.
_PATIENCE: Final = 5.0


class Predecessor:
    """The process that this one is to replace.

    sockets: what it listens on.
    """

    def __init__(self, sockets: Sequence[InheritedSocket], pipe: int) -> None:
        self.sockets = tuple(sockets)
        self._pipe = pipe

    @classmethod
    def find(cls, environ: MutableMapping[str, str]) -> Predecessor | None:
        """The one that `environ` tells of, if any; the variable is taken out."""
        text = environ.pop(_VARIABLE, "")
        if not text:
            return None
        told = json.loads(text)
        for fd in (told["pipe"], *(sock[0] for sock in told["sockets"])):
            os.set_inheritable(fd, False)
        return cls([InheritedSocket(*each) for each in told["sockets"]], told["pipe"])

    def give_way(self, *, patience: float = 0.0) -> None:
        """Tell it that this process serves now.

        patience: seconds to wait, without a turn of the loop, until it has said so to others.
        """
        with suppress(OSError):
            os.write(self._pipe, _READY)
            if patience:
                closed = select.poll()
                closed.register(self._pipe, 0)  # POLLERR comes unasked, when the other end closes
                closed.poll(patience * 1000)
        os.close(self._pipe)


class Upgrade:
    """A new binary on its way.

    pid: of its process.
    serves: it has said that it is ready.
    canceled: `cancel` was called before that.
    """

    def __init__(self, process: subprocess.Popen[bytes], pipe: int) -> None:
        self.pid = process.pid
        process.returncode = 0  # Popen would warn of a child that still runs, as this one is to
        self.serves = False
        self.canceled = False
        self._pipe = pipe

    @classmethod
    def begin(
        cls, sockets: Sequence[InheritedSocket], environ: Mapping[str, str], directory: str
    ) -> Upgrade:
        """Start it: this process's own command line, in `directory`.

        Raises `StartError` where the system starts no more processes.
        """
        reader, writer = os.pipe()
        told = {
            "pipe": writer,
            "sockets": [(each.fd, each.name, each.owned, each.queue) for each in sockets],
        }
        try:
            process = subprocess.Popen(  # noqa: S603 - the command line of the operator
                [sys.executable, *sys.orig_argv[1:]],
                env={**environ, _VARIABLE: json.dumps(told)},
                pass_fds=(writer, *(each.fd for each in sockets)),
                cwd=directory,
            )
        except OSError as error:
            os.close(reader)
            raise StartError(f"the new binary cannot be started: {error.strerror}") from error
        finally:
            os.close(writer)
        return cls(process, reader)

    async def is_ready(self) -> bool:
        """Return True when it serves; False when it has ended before, or was canceled."""
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        loop.add_reader(self._pipe, told.set)
        try:
            await told.wait()
        finally:
            loop.remove_reader(self._pipe)
        return self._look()

    def _look(self) -> bool:
        """Whether the word was given, by now."""
        if not self.serves and select.select([self._pipe], [], [], 0)[0]:
            self.serves = os.read(self._pipe, len(_READY)) == _READY
        return self.serves

    def cancel(self) -> bool:
        """Have it end, and return True; False if it serves already: then it is too late.

        Again it does nothing but answer.
        """
        if not self.canceled and not self._look():
            self.canceled = True
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
        return self.canceled

    async def gone(self) -> None:
        """Wait for its end, which was asked for or has come; a second long one is cut short."""
        try:
            await asyncio.wait_for(reap(self.pid), _PATIENCE)
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            await reap(self.pid)

    def close(self) -> None:
        """Let go of the pipe: nothing more is to be heard, and whose turn it is was said.

        Closing again does nothing.
        """
        pipe, self._pipe = self._pipe, -1
        if pipe != -1:
            os.close(pipe)
