"""Workers that a test plays: what the parent's side of a fleet is tried against.

    async with a_fleet(2) as fleet:
        fleet.ended(fleet.played[0].pid, -9)  # it was killed
        new = await fleet.next()  # the one that is started for it
        new.ready()

A `Played` is the other end of a real socket pair. Its process is a number no system gives out: no
signal leaves the test, they are only noted. KILL ends it, as the kernel would.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import signal
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.errors import StartError
from gateway.process.channel import Channel, Message
from gateway.process.fleet import Fleet
from gateway.process.launcher import Order
from gateway.process.slot import Plan
from gateway.process.worker_process import WorkerProcess, dump_file
from gateway.settings import Settings

__all__ = [
    "FakeLauncher",
    "Played",
    "PlayedFleet",
    "a_fleet",
    "a_plan",
    "a_start",
    "on_loop",
    "turns",
    "until",
]

LIMIT = 5.0  # seconds that anything may take

_pids = itertools.count(2**22 + 1)  # PID_MAX_LIMIT of Linux is 2**22


def on_loop(test):
    """Run an async test on a loop of its own."""

    @functools.wraps(test)
    def run(**fixtures) -> None:
        asyncio.run(asyncio.wait_for(test(**fixtures), 4 * LIMIT))

    return run


async def until(true: Callable[[], object], what: str = "") -> None:
    """Return when `true` holds; fail after `LIMIT` seconds."""
    async with asyncio.timeout(LIMIT):
        try:
            while not true():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            raise AssertionError(what or "this never came true") from None


async def turns(count: int = 20) -> None:
    """Let everything happen that can."""
    for _ in range(count):
        await asyncio.sleep(0)


class _Process(WorkerProcess):
    """Without a process behind it."""

    played: Played

    def signal(self, number: signal.Signals) -> None:
        if self.exit_code is None:
            self.played.signaled(number)


class Played:
    """One worker, as itself.

    told: what its parent has said so far. signals: what it was sent.
    stack: what its signal handler writes.
    """

    def __init__(self, launcher: FakeLauncher, order: Order, channel: Channel) -> None:
        self.order = order
        self.pid = next(_pids)
        self.told: list[Message] = []
        self.signals: list[signal.Signals] = []
        self.stack = b""
        self.exit_code: int | None = None
        self.process: _Process
        self._launcher = launcher
        self._channel = channel
        self._dump = dump_file()
        self._listening = asyncio.get_running_loop().create_task(self._listen())

    @property
    def index(self) -> int:
        return self.order.index

    async def _listen(self) -> None:
        async for message in self._channel.messages():
            self.told.append(message)

    async def hears(self, kind: str) -> Message:
        """The first message of this kind."""
        await until(
            lambda: any(each["kind"] == kind for each in self.told),
            f"worker {self.index} was told {self.told}, not {kind}",
        )
        return next(each for each in self.told if each["kind"] == kind)

    async def is_signaled(self, number: signal.Signals) -> None:
        await until(
            lambda: number in self.signals,
            f"worker {self.index} was sent {self.signals}, not {number.name}",
        )

    def say(self, kind: str, **facts: object) -> None:
        self._channel.send({"kind": kind, **facts})

    def ready(self) -> None:
        self.say("ready", mounts=[])

    async def serves(self) -> None:
        """Say ready, and return when it was heard and acted on."""
        self.ready()
        await until(lambda: self.process.ready)
        await turns()

    def signaled(self, number: signal.Signals) -> None:
        self.signals.append(number)
        if number == signal.SIGUSR2 and self.stack:
            os.write(self._dump.fileno(), self.stack)
        if number == signal.SIGKILL:
            self.end(-signal.SIGKILL)

    def end(self, code: int = 0) -> None:
        """Be gone."""
        if self.exit_code is None:
            self.exit_code = code
            self._launcher.keep(self.hang_up())
            self._launcher.on_exit(self.pid, code)

    async def hang_up(self) -> None:
        self._listening.cancel()
        await self._channel.close()
        self._dump.close()

    def launched(self, channel: Channel) -> WorkerProcess:
        dump = os.fdopen(os.dup(self._dump.fileno()), "rb", buffering=0)
        order = self.order
        self.process = _Process(
            index=order.index, pid=self.pid, channel=channel, dump=dump, on_change=order.on_change
        )
        self.process.played = self
        order.on_launch(self.process)
        return self.process


class FakeLauncher:
    """Launches what the test plays.

    played: all that were launched, in order.
    failures: the next launches fail with these.
    willing: a worker is ready as soon as it is launched.
    on_exit: hears of ends, like a fleet's `ended`.
    """

    def __init__(self) -> None:
        self.played: list[Played] = []
        self.failures: deque[Exception] = deque()
        self.willing = False
        self.closed = False
        self.on_exit: Callable[[int, int], None] = lambda pid, code: None
        self._tasks: set[asyncio.Task[None]] = set()
        self._seen = 0

    async def launch(self, order: Order) -> WorkerProcess:
        if self.closed:
            raise StartError("closed")
        if self.failures:
            raise self.failures.popleft()
        ours, theirs = socket.socketpair()
        played = Played(self, order, await Channel.open(theirs))
        process = played.launched(await Channel.open(ours))
        self.played.append(played)
        if self.willing:
            played.ready()
        return process

    async def close(self) -> None:
        self.closed = True

    def keep(self, work) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def next(self) -> Played:
        """The next one that was launched, in the order they were."""
        await until(lambda: len(self.played) > self._seen, "no worker was started")
        self._seen += 1
        return self.played[self._seen - 1]

    @property
    def starts(self) -> int:
        """How many were launched."""
        return len(self.played)

    async def end_all(self) -> None:
        """End what has not ended, and launch nothing more."""
        self.closed = True
        for each in self.played:
            each.end()
        while self._tasks:
            await asyncio.wait(
                self._tasks
            )  # gather, on Python 3.12, does not let go for what is done


def a_plan(launcher: FakeLauncher, **settings) -> Plan:
    return Plan(settings=Settings(**settings), launcher=launcher, sockets=lambda index: ())


class PlayedFleet(Fleet):
    """A fleet, and what it has done.

    launcher: of its first plan. changes: for each call of `on_change`, how many workers there were.
    exits: (index, exit code) of those that have ended.
    """

    def __init__(self, **settings) -> None:
        self.changes: list[int] = []
        self.exits: list[tuple[int, int | None]] = []
        self._launchers: list[FakeLauncher] = []
        self.launcher, plan = self.another_plan(**settings)
        super().__init__(
            plan,
            on_change=lambda: self.changes.append(len(self.workers)),
            on_exit=lambda worker: self.exits.append((worker.index, worker.exit_code)),
        )

    @property
    def played(self) -> list[Played]:
        """Who serves, in the order of the slots."""
        return [each.played for each in self.workers]

    async def next(self) -> Played:
        return await self.launcher.next()

    def another_plan(self, **settings) -> tuple[FakeLauncher, Plan]:
        """A plan, and what launches its workers."""
        launcher = FakeLauncher()
        launcher.on_exit = self.ended
        self._launchers.append(launcher)
        return launcher, a_plan(launcher, **settings)

    async def tidy(self) -> None:
        """End what a test has left, also what the fleet has lost sight of."""
        self.stopping = True
        for launcher in self._launchers:
            await launcher.end_all()
        async with asyncio.timeout(LIMIT):
            await self.stop(limit=0)


@asynccontextmanager
async def a_fleet(count: int, **settings) -> AsyncIterator[PlayedFleet]:
    """`count` workers that serve; nothing is left of them behind the block."""
    fleet = PlayedFleet(**settings)
    fleet.launcher.willing = True
    try:
        await fleet.start(count)
        for _ in range(count):
            await fleet.next()
        fleet.launcher.willing = False
        fleet.changes.clear()
        yield fleet
    finally:
        await fleet.tidy()


@asynccontextmanager
async def a_start(count: int, **settings) -> AsyncIterator[tuple[PlayedFleet, asyncio.Task[None]]]:
    """A fleet of `count` that is starting."""
    fleet = PlayedFleet(**settings)
    start = asyncio.ensure_future(fleet.start(count))
    try:
        yield fleet, start
    finally:
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)
        await fleet.tidy()
