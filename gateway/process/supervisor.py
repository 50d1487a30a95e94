"""The process above the workers: it binds, starts, watches, rolls and stops, and serves nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final

from gateway import log
from gateway.errors import ConfigError, GatewayError
from gateway.importer import add_app_dir
from gateway.process.banner import announce
from gateway.process.cores import usable_cores
from gateway.process.fleet import Fleet
from gateway.process.health import Health, HealthListener, health_handler
from gateway.process.hooks import HookEvent, HookName, Hooks
from gateway.process.launcher import FreshLauncher, Launcher
from gateway.process.minder import Minder
from gateway.process.prepare import configure_logs
from gateway.process.service import Service
from gateway.process.slot import Plan
from gateway.process.template_launcher import TemplateLauncher
from gateway.process.title import set_title
from gateway.process.watch import Watcher
from gateway.process.worker_process import WorkerProcess, ended
from gateway.process.worker_sockets import WorkerSockets
from gateway.settings import Loaded, Settings

__all__ = ["Supervisor"]

logger = logging.getLogger("gateway.error")

# A reload in development ends what is still open so soon; event streams end at once.
_RELOAD_LIMIT: Final = 1.0
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
        self._hooks = Hooks.empty
        self._stop = asyncio.Event()
        self._forced = asyncio.Event()
        self._serves = False
        self._health_listener: HealthListener | None = None
        self._watcher: Watcher | None = None
        self._successor: int | None = None
        self._sockets = WorkerSockets(lambda: self._service.bound, own=loaded.settings.reuse_port)
        self._fleet: Fleet = Fleet(
            self._plan(loaded.settings, FreshLauncher(self._service.directory)),
            on_change=self._tell,
            on_exit=self._on_worker_exit,
        )
        self._count = 0
        self._rolling: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls: set[asyncio.Task[None]] = set()  # of hooks, not to be cut short

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
            service.open()
            self._listen_to_signals()
            if await self._unless_stopped(self._start(settings)):
                announce(
                    self._fleet.workers[0].mounts if self._fleet.workers else (),
                    service.urls,
                    settings,
                    self._loaded.origins,
                    monotonic() - began,
                    workers=len(self._fleet.slots),
                )
                await self._unless_stopped(self._serve(settings))
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
        sockets = [each.socket for each in self._service.health]
        self._health_listener = HealthListener(sockets, health_handler(self._health))
        await self._health_listener.open()
        if settings.reload:
            # Before anything is imported, so that a change from now on is seen.
            self._watcher = self._new_watcher(settings)
        self._fleet.plan = self._plan(settings, await self._new_launcher(settings))
        self._count = _count(settings)
        try:
            await self._fleet.start(self._count)
        except GatewayError as error:
            if not settings.reload:
                raise
            await self._explain(error)

    async def _new_launcher(self, settings: Settings) -> Launcher:
        """What starts workers with `settings`: with preload, a process of its own."""
        directory = self._service.directory
        if not settings.preload or settings.reload:
            return FreshLauncher(directory)
        template = TemplateLauncher(settings, directory, self._fleet.ended)
        await template.start()
        return template

    def _plan(self, settings: Settings, launcher: Launcher) -> Plan:
        return Plan(settings=settings, launcher=launcher, sockets=self._sockets.of)

    # --- while it serves ------------------------------------------------------------------------

    async def _serve(self, settings: Settings) -> None:
        self._serves = True
        self._service.ready(self._status())
        await self._call("on_ready")
        _keep(self._tasks, Minder(self._fleet).run())
        interval = self._service.watchdog_interval
        if interval is not None:
            _keep(self._tasks, self._pet(interval))
        if self._watcher is not None:
            await self._reload_on_changes(self._watcher)
        await self._stop.wait()

    async def _pet(self, interval: float) -> None:
        while True:
            await self._service.watchdog()
            await asyncio.sleep(interval)

    def _new_watcher(self, settings: Settings) -> Watcher:
        file = self._loaded.file
        return Watcher(
            settings.reload_dirs or (settings.app_dir or os.curdir,),
            [*settings.reload_includes, *([str(file)] if file else [])],
            settings.reload_excludes,
            delay=settings.reload_delay,
        )

    async def _reload_on_changes(self, watcher: Watcher) -> None:
        logger.info(
            "reloading on changes in %s (%s)",
            ", ".join(str(each) for each in watcher.dirs),
            watcher.engine_name,
        )
        async for changed in watcher.changes():
            why = _changed(changed)
            logger.info("%s; reloading", why)
            # Started anew when more changes: what is starting now may never come up.
            await self._give_up_rolling()
            self._rolling = asyncio.ensure_future(_logged(self._reload(why)))

    async def _reload(self, why: str) -> None:
        """Development: old workers end, then new ones start; an error is what is served then."""
        await self._call("on_reload", reason=why)
        fleet = self._fleet
        limit = min(_RELOAD_LIMIT, self._loaded.settings.timeout_graceful_shutdown)
        try:
            settings = self._read_again()
            plan = self._plan(settings, await self._new_launcher(settings))
            await fleet.restart(plan, limit=limit)
        except GatewayError as error:
            await self._explain(error)
        else:
            logger.info("reloaded")

    async def _explain(self, error: GatewayError) -> None:
        logger.error("%s", error)
        logger.error("waiting for a change; until then every request gets this error")
        await self._fleet.explain(str(error))

    def _read_again(self) -> Settings:
        """The settings as they are written now."""
        with suppress(OSError):
            os.chdir(self._service.directory)
        self._loaded = self._loaded.again()
        return self._loaded.settings

    async def _roll(self) -> None:
        """Read the settings again and put new workers in place, without losing a request."""
        self._service.reloading()
        await self._call("on_reload", reason="SIGHUP")
        before = self._loaded
        try:
            await self._put_in_place(self._read_again())
        except GatewayError as error:
            if self._fleet.plan.settings is before.settings:
                self._loaded = before
                configure_logs(before.settings)
            logger.error("the reload failed: %s", error)
            logger.error("the workers go on as they were")
        else:
            logger.info("reloaded: %s", self._status())
        finally:
            self._service.ready(self._status())

    async def _put_in_place(self, settings: Settings) -> None:
        fleet, former = self._fleet, self._fleet.plan.launcher
        configure_logs(settings)
        rebound = self._service.rebind(settings)
        launcher: Launcher | None = None
        try:
            launcher = await self._new_launcher(settings)
            await fleet.roll(self._plan(settings, launcher))
            self._count = _count(settings)
            await fleet.resize(self._count)
        finally:
            taken = fleet.plan.launcher is launcher
            rebound.finish(taken=taken)
            self._sockets.keep(self._count)
            unused = former if taken else launcher
            if unused is not None:
                await unused.close()

    async def _upgrade(self) -> None:
        """Start a new binary, and leave when it serves."""
        self._successor = await self._service.succeeded()
        if self._successor is not None:
            self._service.give_way(self._successor)
            self._stop.set()

    # --- signals --------------------------------------------------------------------------------

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        actions: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: self._stop.set,
            signal.SIGINT: self._interrupt,
            signal.SIGQUIT: self._force,
            signal.SIGHUP: self._hang_up,
            signal.SIGTTIN: lambda: self._change_count(1),
            signal.SIGTTOU: lambda: self._change_count(-1),
            signal.SIGUSR1: self._reopen_logs,
            signal.SIGUSR2: lambda: self._begin(self._upgrade),
            signal.SIGCHLD: self._fleet.reap,
        }
        for number, action in actions.items():
            loop.add_signal_handler(number, action)

    def _interrupt(self) -> None:
        if self._stop.is_set():
            self._force()
        self._stop.set()

    def _force(self) -> None:
        self._forced.set()
        self._stop.set()
        self._fleet.force()

    def _hang_up(self) -> None:
        if self._service.terminal_is_gone():
            self._stop.set()
        elif not self._serves:
            logger.warning("SIGHUP: still starting; send it again when the server is ready")
        else:
            logger.info("SIGHUP: reading the settings again, rolling the workers")
            self._begin(self._roll)

    def _begin(self, action: Callable[[], Coroutine[object, object, None]]) -> None:
        """Start a roll or an upgrade; one that is under way is given up for it."""

        async def begin() -> None:
            async with self._changing:
                await self._give_up_rolling()
                if not self._stop.is_set():
                    self._rolling = asyncio.ensure_future(_logged(action()))

        _keep(self._tasks, begin())

    async def _give_up_rolling(self) -> None:
        rolling, self._rolling = self._rolling, None
        if rolling is not None:
            rolling.cancel()
            await asyncio.gather(rolling, return_exceptions=True)

    def _change_count(self, change: int) -> None:
        async def resize() -> None:
            try:
                await self._fleet.resize(self._count)
            except GatewayError as error:
                logger.error("no worker added: %s", error)
            self._sockets.keep(self._count)
            logger.info("now %s", self._status())

        if self._serves and not self._stop.is_set():
            self._count = max(self._count + change, 1)
            _keep(self._tasks, _logged(resize()))

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

    def _health(self) -> Health:
        if not self._serves:
            return Health(live=True, ready=False, detail="starting")
        silence = self._fleet.plan.settings.timeout_worker
        heard = [
            each
            for each in self._fleet.workers
            if silence is None or monotonic() - each.beat < silence
        ]
        if self._stop.is_set():
            return Health(live=True, ready=False, detail="draining")
        return Health(live=bool(heard), ready=bool(heard), detail="no worker answers")

    def _on_worker_exit(self, worker: WorkerProcess) -> None:
        call = self._call(
            "on_worker_exit",
            worker=worker.index,
            worker_pid=worker.pid,
            exit_code=worker.exit_code,
            reason=ended(worker.exit_code),
        )
        _keep(self._calls, call)

    async def _call(
        self,
        name: HookName,
        *,
        worker: int | None = None,
        worker_pid: int | None = None,
        exit_code: int | None = None,
        reason: str = "",
    ) -> None:
        event = HookEvent(
            name=name,
            worker=worker,
            worker_pid=worker_pid,
            exit_code=exit_code,
            reason=reason,
            urls=tuple(self._service.urls),
        )
        await self._hooks.call(event)

    # --- end ------------------------------------------------------------------------------------

    async def _end(self) -> None:
        """Drain, unless a successor has taken over: then it is only us who leave."""
        settings = self._fleet.plan.settings
        limit = settings.timeout_graceful_shutdown
        await self._give_up_rolling()
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
        await asyncio.gather(*self._calls)
        await self._call("on_stop")

    async def _delay(self, seconds: float) -> None:
        """Go on serving while whoever looks at ``/ready`` takes notice."""
        if seconds and self._serves:
            logger.info("not ready any more; serving on for %g s", seconds)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._forced.wait(), seconds)

    async def _clean_up(self) -> None:
        """Leave nothing behind, also where the start has failed."""
        await self._give_up_rolling()
        await self._fleet.stop(limit=_FAILED_START)
        await self._fleet.plan.launcher.close()
        while self._tasks:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._watcher is not None:
            self._watcher.close()
        if self._health_listener is not None:
            self._health_listener.close()
        self._service.close()

    # --- tasks ----------------------------------------------------------------------------------

    async def _unless_stopped(self, work: Coroutine[object, object, None]) -> bool:
        """Do `work`, given up when a stop is asked for; whether it was done."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            return task.done()
        finally:
            for each in (task, stop):
                each.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)


def _keep(tasks: set[asyncio.Task[None]], work: Coroutine[object, object, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _logged(work: Coroutine[object, object, None]) -> None:
    """Do `work`; a fault of ours in it is told, and ends nothing else."""
    try:
        await work
    except Exception:
        logger.exception("the supervisor failed at something; it goes on")


def _changed(files: Sequence[Path]) -> str:
    names = [os.path.relpath(each) for each in files]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more} changed"


def _count(settings: Settings) -> int:
    """How many workers; one where code is reloaded while it is written."""
    if settings.reload:
        return 1
    return usable_cores() if settings.workers == "auto" else settings.workers
