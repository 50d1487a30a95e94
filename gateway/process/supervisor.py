"""The process above the workers: it binds, starts, watches, rolls and stops, and serves nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from time import monotonic
from typing import Final

from gateway import log
from gateway.errors import ConfigError, GatewayError
from gateway.importer import add_app_dir
from gateway.process.banner import announce
from gateway.process.cores import usable_cores
from gateway.process.development import Development
from gateway.process.fleet import Fleet
from gateway.process.health import Health, HealthListener, health_handler
from gateway.process.hooks import HookEvent, HookName, Hooks
from gateway.process.launcher import FreshLauncher, Launcher
from gateway.process.minder import Minder
from gateway.process.mounted import require_mounts
from gateway.process.prepare import check_certificates, configure_logs
from gateway.process.service import Service
from gateway.process.slot import Plan
from gateway.process.tasks import Tasks
from gateway.process.template_launcher import TemplateLauncher
from gateway.process.title import set_title
from gateway.process.worker_process import WorkerProcess, ended
from gateway.process.worker_sockets import WorkerSockets
from gateway.settings import Loaded, Settings
from gateway.worker import unless

__all__ = ["Supervisor"]

logger = logging.getLogger("gateway.error")

# What workers that came up beside one that failed get to leave.
_FAILED_START: Final = 1.0


class Supervisor:
    """Serves the applications of `loaded` from workers, one interpreter each.

    ``run()`` returns the exit code when the server was told to stop, and raises `StartError` or
    `ConfigError` where it cannot start. It needs the main thread: a supervisor lives by signals.

    TERM, INT stop it gracefully; a second INT, or QUIT, at once. HUP reads the settings again and
    puts new workers in place one by one. TTIN and TTOU add and remove one. USR1 reopens log files.
    USR2 starts a new binary on the same sockets, and leaves when that serves.
    """

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._service = Service(loaded.settings, loaded.origins, main=True)
        self._sockets = WorkerSockets(lambda: self._service.bound, own=loaded.settings.reuse_port)
        self._fleet: Fleet = Fleet(
            self._plan(loaded.settings, FreshLauncher(self._service.directory)),
            on_change=self._tell,
            on_exit=self._on_worker_exit,
        )
        self._hooks = Hooks.empty
        self._health: HealthListener | None = None
        self._development: Development | None = None
        self._prepared = False  # on_start has run
        self._serves = False
        self._successor: int | None = None
        self._stop = asyncio.Event()
        self._forced = asyncio.Event()
        self._reason = ""  # why it stops
        self._changes = Tasks()  # a roll or an upgrade; a newer one ends it
        self._newest = object()
        self._tasks = Tasks()
        self._templates = Tasks()
        self._calls = Tasks()  # of hooks, not to be cut short

    def run(self) -> int:
        """Serve until told to stop; the exit code."""
        if threading.current_thread() is not threading.main_thread():
            raise ConfigError(
                "workers, reload and the like need signals, which only the main thread has\n"
                "  call gateway.run there, or serve in this process without them"
            )
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(self._run())

    async def _run(self) -> int:
        began = monotonic()
        settings = self._loaded.settings
        configure_logs(settings)
        set_title("gateway: supervisor")
        service = self._service
        try:
            check_certificates(settings)
            service.open()
            self._listen_to_signals()
            if await unless(self._stop, self._start(settings)):
                announce(
                    self._fleet.workers[0].mounts if self._fleet.workers else (),
                    service.urls,
                    settings,
                    self._loaded.origins,
                    monotonic() - began,
                    workers=len(self._fleet.slots),
                )
                await unless(self._stop, self._serve())
            await self._end()
        finally:
            await self._clean_up()
        logger.info("stopped")
        return 0

    # --- start ----------------------------------------------------------------------------------

    async def _start(self, settings: Settings) -> None:
        add_app_dir(settings.app_dir or os.curdir)
        self._hooks = Hooks.load(settings.hooks)
        await self._call("on_start")
        self._prepared = True
        # Beside a predecessor that serves, "starting" would be a lie about the two of them.
        if not self._service.has_predecessor:
            await self._open_health()
        if settings.reload:
            self._development = Development(
                self._fleet,
                settings,
                self._loaded.file,
                read_again=self._new_plan,
                on_reload=self._call_on_reload,
            )
        self._fleet.plan = self._plan(settings, await self._new_launcher(settings))

        async def begin() -> None:
            await self._fleet.start(_count(settings))

        if self._development is not None:
            await self._development.start(begin)
        else:
            try:
                await begin()
            except GatewayError:
                self._reason = "the start failed"
                raise

    async def _open_health(self) -> None:
        sockets = [each.socket for each in self._service.health]
        self._health = HealthListener(sockets, health_handler(self._look))
        await self._health.open()

    async def _new_launcher(self, settings: Settings) -> Launcher:
        """What starts workers with `settings`: with preload, a process of its own."""
        directory = self._service.directory
        if not settings.preload or settings.reload:
            return FreshLauncher(directory)
        template = TemplateLauncher(
            self._service.settled(settings),
            directory,
            on_exit=self._fleet.ended,
            tasks=self._templates,
        )
        await template.start()
        return template

    def _plan(self, settings: Settings, launcher: Launcher) -> Plan:
        settled = self._service.settled(settings)
        return Plan(settings=settled, launcher=launcher, sockets=self._sockets.of)

    # --- while it serves ------------------------------------------------------------------------

    async def _serve(self) -> None:
        self._serves = True
        self._service.ready(self._status())
        self._tasks.add(Minder(self._fleet).run())
        interval = self._service.watchdog_interval
        if interval is not None:
            self._tasks.add(self._pet(interval))
        if self._health is None:
            await self._open_health()
        await self._call("on_ready")
        await self._stop.wait()

    async def _pet(self, interval: float) -> None:
        while True:
            await self._service.watchdog()
            await asyncio.sleep(interval)

    async def _new_plan(self) -> Plan:
        """What is written now, for development."""
        self._loaded = self._read_again()
        settings = self._loaded.settings
        return self._plan(settings, await self._new_launcher(settings))

    def _read_again(self) -> Loaded:
        with suppress(OSError):
            os.chdir(self._service.directory)
        loaded = self._loaded.again()
        require_mounts(loaded.settings)
        return loaded

    async def _roll(self) -> None:
        """Read the settings again and put new workers in place, without losing a request."""
        self._service.reloading()
        await self._call_on_reload("SIGHUP")
        before = self._fleet.plan
        try:
            await self._put_in_place(self._read_again())
        except GatewayError as error:
            logger.error("the reload failed: %s", error)
            if self._fleet.plan is before:
                logger.error("the workers go on as they were")
            else:
                logger.error("some workers are new, the others go on as they were")
        else:
            logger.info("reloaded: %s", self._status())
        finally:
            self._service.ready(self._status())

    async def _put_in_place(self, loaded: Loaded) -> None:
        settings = loaded.settings
        fleet, former = self._fleet, self._fleet.plan.launcher
        launcher: Launcher | None = None
        check_certificates(settings)
        rebound = self._service.rebind(settings)

        def settle() -> None:
            # Before the first of the old workers leaves: they are the last to accept at an address
            # that goes, and can empty its queue only if it ends with theirs.
            rebound.finish(taken=True)
            self._sockets.keep(len(fleet.slots))

        try:
            configure_logs(settings)
            launcher = await self._new_launcher(settings)
            await fleet.roll(self._plan(settings, launcher), on_taken=settle, alone=rebound.leaves)
            await fleet.resize(_count(settings))
        finally:
            taken = fleet.plan.launcher is launcher
            rebound.finish(taken=taken)
            if taken:
                self._loaded = loaded
            else:
                configure_logs(self._loaded.settings)
            self._sockets.keep(len(fleet.slots))
            unused = former if taken else launcher
            if unused is not None:
                await unused.close()

    async def _upgrade(self) -> None:
        """Start a new binary, and leave when it serves."""
        self._successor = await self._service.succeeded(self._sockets.as_inherited())
        if self._successor is not None:
            if self._health is not None:
                self._health.close()
            self._service.give_way(self._successor)
            self._stop_because("a new binary serves")

    # --- signals --------------------------------------------------------------------------------

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        actions: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: lambda: self._stop_because("SIGTERM"),
            signal.SIGINT: self._interrupt,
            signal.SIGQUIT: lambda: self._force("SIGQUIT"),
            signal.SIGHUP: self._hang_up,
            signal.SIGTTIN: lambda: self._grow(1),
            signal.SIGTTOU: lambda: self._grow(-1),
            signal.SIGUSR1: self._reopen_logs,
            signal.SIGUSR2: lambda: self._begin(self._upgrade),
            signal.SIGCHLD: self._fleet.reap,
        }
        for number, action in actions.items():
            loop.add_signal_handler(number, action)

    def _stop_because(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._stop.set()

    def _interrupt(self) -> None:
        if self._stop.is_set():
            self._force("SIGINT")
        self._stop_because("SIGINT")

    def _force(self, reason: str) -> None:
        self._forced.set()
        self._stop_because(reason)
        self._fleet.force()

    def _hang_up(self) -> None:
        if self._service.terminal_is_gone():
            self._stop_because("the terminal was closed")
        elif not self._serves:
            logger.warning("SIGHUP: still starting; send it again when the server is ready")
        else:
            logger.info("SIGHUP: reading the settings again, rolling the workers")
            self._begin(self._roll)

    def _begin(self, action: Callable[[], Coroutine[object, object, None]]) -> None:
        """Start a roll or an upgrade; one that is under way is given up for it."""
        mine = self._newest = object()

        async def begin() -> None:
            await self._changes.cancel()
            if self._newest is mine and not self._stop.is_set():
                self._changes.add(action())

        self._tasks.add(begin())

    def _grow(self, change: int) -> None:
        async def grow() -> None:
            try:
                await self._fleet.grow(change)
            except GatewayError as error:
                if not self._stop.is_set():
                    logger.error("no worker added: %s", error)
            self._sockets.keep(len(self._fleet.slots))
            logger.info("now %s", self._status())

        if self._serves and not self._stop.is_set():
            self._tasks.add(grow())

    def _reopen_logs(self) -> None:
        log.reopen_logs()
        self._fleet.reopen_logs()

    # --- how it is ------------------------------------------------------------------------------

    def _status(self) -> str:
        workers, slots = self._fleet.workers, self._fleet.slots
        leaving = self._fleet.leaving
        ready = f"{len(workers)} of {len(slots)} workers ready"
        return f"{ready}, {leaving} leaving" if leaving else ready

    def _tell(self) -> None:
        if self._serves and not self._stop.is_set():
            self._service.status(self._status())

    def _look(self) -> Health:
        if not self._serves:
            return Health(live=True, ready=False, detail="starting")
        if self._stop.is_set():
            return Health(live=True, ready=False, detail="draining")
        patience = self._fleet.plan.settings.timeout_worker
        now = monotonic()
        heard = any(patience is None or now - each.beat < patience for each in self._fleet.workers)
        return Health(live=heard, ready=heard, detail="no worker answers")

    def _on_worker_exit(self, worker: WorkerProcess) -> None:
        event = HookEvent(
            name="on_worker_exit",
            worker=worker.index,
            worker_pid=worker.pid,
            exit_code=worker.exit_code,
            reason=ended(worker.exit_code),
            urls=tuple(self._service.urls),
        )
        self._calls.add(self._hooks.call(event))

    async def _call_on_reload(self, reason: str) -> None:
        await self._call("on_reload", reason)

    async def _call(self, name: HookName, reason: str = "") -> None:
        event = HookEvent(name=name, reason=reason, urls=tuple(self._service.urls))
        await self._hooks.call(event)

    # --- end ------------------------------------------------------------------------------------

    async def _end(self) -> None:
        """Drain, unless a successor has taken over: then it is only us who leave."""
        settings = self._fleet.plan.settings
        limit = settings.timeout_graceful_shutdown
        await self._changes.cancel()
        if self._successor is None:
            self._service.stopping(settings.drain_delay + limit)
            await self._delay(settings.drain_delay)
        self._service.stop_listening()
        self._sockets.keep(0)
        if self._forced.is_set():
            self._fleet.force()
        # With queues of their own workers empty them, whoever else listens at the same address.
        alone = self._successor is None or settings.reuse_port
        await self._fleet.stop(limit=limit, alone=alone)

    async def _delay(self, seconds: float) -> None:
        """Go on serving while whoever looks at ``/ready`` takes notice."""
        if seconds and self._serves:
            logger.info("not ready any more; serving on for %g s", seconds)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._forced.wait(), seconds)

    async def _clean_up(self) -> None:
        """Leave nothing behind, also where the start has failed."""
        await self._changes.cancel()
        if self._development is not None:
            await self._development.close()
        await self._fleet.stop(limit=_FAILED_START)
        await self._fleet.plan.launcher.close()
        await self._templates.wait()
        await self._tasks.cancel()
        await self._calls.wait()
        if self._prepared:
            await self._call("on_stop", self._reason)
        if self._health is not None:
            self._health.close()
        self._service.close()


def _count(settings: Settings) -> int:
    """How many workers; one where code is reloaded while it is written."""
    if settings.reload:
        return 1
    return usable_cores() if settings.workers == "auto" else settings.workers
