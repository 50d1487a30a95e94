"""One worker as its parent sees it: a pid, a channel, a state."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import IO, Final

from gateway.errors import GatewayError, StartError
from gateway.log_format import CONTROLS
from gateway.process.channel import Channel, Message, failure_of

__all__ = ["MountRow", "WorkerProcess", "beat_interval", "dump_file", "ended"]

logger = logging.getLogger("gateway.error")

_PAGE: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
# A signal handler in C writes the stacks within milliseconds, unless the process is stopped.
_DUMP_PATIENCE: Final = 1.0
_LAST_WORDS: Final = 0.2
_DUMP_POLL: Final = 0.02
_DUMP_SIZE: Final = 256 * 1024
# What a worker gets on top of its limit before it is killed: the lifespans' last second, and slack.
_GRACE: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MountRow:
    """One line of the mount table, as a worker found it."""

    key: str
    app_name: str
    framework: str
    interface: str
    threads: int
    notes: str

    @classmethod
    def read(cls, told: Mapping[str, object]) -> MountRow:
        """Raises LookupError, TypeError or ValueError for what is none."""
        words = {
            name: str(told[name]).translate(CONTROLS)
            for name in ("key", "app_name", "framework", "interface", "notes")
        }
        return cls(**words, threads=int(str(told["threads"])))


class WorkerProcess:
    """A worker from its launch to its end.

    pid: of the process. index: of its slot. born, beat: `time.monotonic` of the launch, and of its
        loop's last sign of life.
    mounts: what it serves, once ready.
    ready: it accepts connections. leaving: it was told to stop, or said that it does.
    recycle: it has asked to be replaced.
    on_change: called after each of these has changed.
    reaped: it has ended, and its number may be another process's by now: it is sent no signal.
    exit_code: of `subprocess.Popen`, negative for a signal; None as long as it runs.
    """

    def __init__(
        self,
        *,
        index: int,
        pid: int,
        channel: Channel,
        dump: IO[bytes],
        on_change: Callable[[WorkerProcess], None],
        reaped: bool = False,
    ) -> None:
        self.index = index
        self.pid = pid
        self.born = self.beat = monotonic()
        self.mounts: tuple[MountRow, ...] = ()
        self.ready = False
        self.leaving = False
        self.recycle = False
        self.reaped = reaped
        self.exit_code: int | None = None
        self._failure: GatewayError | None = None
        self._settled = asyncio.Event()
        self._gone = asyncio.Event()
        self._on_change = on_change
        self._channel = channel
        self._dump = dump
        self._killer: asyncio.TimerHandle | None = None
        self._listening = asyncio.get_running_loop().create_task(self._listen())

    # --- what it says ---------------------------------------------------------------------------

    async def _listen(self) -> None:
        try:
            async for message in self._channel.messages():
                self._hear(message)
        except Exception:
            logger.exception("worker %d (pid %d) sent nonsense, killed", self.index, self.pid)
            self.kill()

    def _hear(self, message: Message) -> None:
        match message:
            case {"kind": "beat"}:
                self.beat = monotonic()
                return
            case {"kind": "ready", "mounts": list() as rows}:
                self.beat = monotonic()
                self.mounts = tuple(MountRow.read(row) for row in rows)
                self.ready = True
                self._settled.set()
            case {"kind": "failed", "text": str() as text, "code": int() as code}:
                self._failure = failure_of(text, code)
            case {"kind": "recycle"}:
                self.recycle = True
            case {"kind": "leaving"}:
                self.leaving = True
        self._on_change(self)

    async def started(self) -> None:
        """Return when it is ready. Raises why it is not, once its process has ended."""
        await self._settled.wait()
        if not self.ready:
            raise self._failure or StartError(
                f"worker {self.index} {ended(self.exit_code)} before it was ready"
            )

    async def gone(self) -> None:
        """Return when the process has ended."""
        await self._gone.wait()

    async def exited(self, code: int) -> None:
        """Take note of the end of the process; for whoever has waited for it."""
        self.reaped = True
        # What it said last is still in the channel, which a process it has forked may hold open.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._listening, _LAST_WORDS)
        self.exit_code = code
        self.ready = False
        if self._killer is not None:
            self._killer.cancel()
        self._settled.set()
        self._gone.set()
        self._dump.close()
        await self._channel.close()

    # --- what it is told ------------------------------------------------------------------------

    def stop(self, *, limit: float, alone: bool) -> None:
        """Have it drain, within `limit` seconds; it is killed when it takes much longer.

        alone: no other worker accepts on its sockets any more.
        """
        was_leaving, self.leaving = self.leaving, True
        if self.exit_code is not None:
            return
        self._channel.send({"kind": "stop", "limit": limit, "alone": alone})
        if not self._settled.is_set() and not was_leaving:
            self.signal(signal.SIGTERM)  # its loop may be importing, and hear nothing
        if self._killer is None:
            self._kill_after(limit + _GRACE)

    def force(self) -> None:
        """Have it end now, lifespans included; it is killed when it does not."""
        self._channel.send({"kind": "force"})
        if not self._settled.is_set():
            self.signal(signal.SIGTERM)
        if self._killer is not None:
            self._killer.cancel()
        self._kill_after(_GRACE)

    def kill(self) -> None:
        """End the process, whatever it does."""
        self.signal(signal.SIGKILL)

    def _kill_after(self, seconds: float) -> None:
        def kill() -> None:
            text = "worker %d (pid %d) did not end within %g s, killed"
            logger.error(text, self.index, self.pid, seconds)
            self.kill()

        self._killer = asyncio.get_running_loop().call_later(seconds, kill)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process has ended."""
        if not self.reaped:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    # --- how it is ------------------------------------------------------------------------------

    async def stacks(self) -> str:
        """The Python stacks of all its threads, written by a signal handler in C.

        That works while its loop, or the interpreter lock, is held for good; "" when it does not.
        """
        if self._has_ended():
            return ""
        # The file offset is the worker's: it is shared, so nothing here may move it.
        start = os.fstat(self._dump.fileno()).st_size
        self.signal(signal.SIGUSR2)
        text = b""
        end = monotonic() + _DUMP_PATIENCE
        while monotonic() < end:
            await asyncio.sleep(_DUMP_POLL)
            if self._has_ended():
                break
            before, text = text, os.pread(self._dump.fileno(), _DUMP_SIZE, start)
            if text and text == before:
                break
        return text.decode(errors="replace").rstrip()

    def _has_ended(self) -> bool:
        return self._gone.is_set()

    def memory(self) -> int | None:
        """Resident memory in bytes, from proc(5); None where the system does not say."""
        try:
            with open(f"/proc/{self.pid}/statm", "rb") as file:  # noqa: PTH123
                return int(file.read().split()[1]) * _PAGE
        except (OSError, IndexError):
            return None

    def __repr__(self) -> str:
        return f"<WorkerProcess {self.index} pid={self.pid} ready={self.ready}>"


def beat_interval(limit: float | None) -> float:
    """Seconds between two signs of life, where a silence of `limit` has consequences.

    Half of the limit is a warning already, and a machine under load is late now and then.
    """
    return 0.5 if limit is None else min(0.5, limit / 10)


def ended(code: int | None) -> str:
    """How a process ended, in words: "was killed by SIGKILL", "exited with code 1"."""
    if code is not None and code < 0:
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"
    return f"exited with code {code}"


def dump_file() -> IO[bytes]:
    """Where a worker's signal handler writes: a file without a name, open in both processes."""
    if hasattr(os, "memfd_create"):  # in memory: a container may have no directory to write to
        return os.fdopen(os.memfd_create("gateway-stacks"), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)
