"""A server: sockets, a worker, and whoever started it."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from time import monotonic
from types import MappingProxyType, TracebackType
from typing import Final, Self

from gateway import log
from gateway.errors import GatewayError, StartError
from gateway.process.banner import announce
from gateway.process.hooks import HookEvent, HookName, Hooks
from gateway.process.loop import calm_collector, loop_factory, run_on_loop
from gateway.process.mounted import require_mounts
from gateway.process.prepare import check_certificates, configure_logs, prepare_imports
from gateway.process.service import Service
from gateway.process.signals import Actions, on_signals
from gateway.process.tasks import Tasks
from gateway.process.title import set_title
from gateway.settings import Settings, load
from gateway.worker import Worker

__all__ = ["Server"]

logger = logging.getLogger("gateway.error")

_NO_ORIGINS: Final[Mapping[str, str]] = MappingProxyType({})


class Server:
    """Serves the applications of `settings` in this process.

    Three ways to run it, each once per object:

    * ``run()`` makes an event loop and returns when the server was told to stop.
    * ``await serve()`` runs inside a loop that is there already.
    * ``with server:`` or ``start_in_thread()`` serves from a thread of its own, for tests::

        with Server(Settings(app=app, port=0)) as server:
            httpx.get(server.url)

    settings: of `gateway.settings.load`, or made by hand: ``Settings(app=app, port=0)``,
        ``Settings(mounts={"/api": api, "/": site})``. Those are checked here.
    origins: where each setting came from, for messages.
    should_exit: set it to True, from any thread, to stop gracefully.
    started: the applications are ready and connections are accepted.

    Addresses are bound before an application is imported, so that a taken port costs nothing.
    Raises `StartError` or `ConfigError` where the server cannot start.
    """

    def __init__(self, settings: Settings, *, origins: Mapping[str, str] = _NO_ORIGINS) -> None:
        self.settings = _checked(settings)
        self.started = False
        self._origins = origins
        self._service: Service | None = None
        self._hooks = Hooks.empty
        self._alone = True
        self._tasks = Tasks()
        self._worker: Worker | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._should_exit = False
        self._owns_process = False
        self._announced = threading.Event()

    # --- facts ----------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The TCP port of the first address; what was picked where 0 was asked for."""
        for bound in self._service.bound if self._service else ():
            if bound.port is not None:
                return bound.port
        raise StartError("the server listens on no TCP port")

    @property
    def urls(self) -> list[str]:
        """One per address: "http://127.0.0.1:8000", "unix:/run/app.sock"."""
        return self._service.urls if self._service else []

    @property
    def url(self) -> str:
        """The first of `urls`."""
        if not self.urls:
            raise StartError("the server is not bound to an address yet")
        return self.urls[0]

    @property
    def should_exit(self) -> bool:
        """Whether the server was asked to stop."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._should_exit = value
        loop, worker = self._loop, self._worker
        if value and loop is not None and worker is not None:
            with suppress(RuntimeError):  # the loop is closed: it has stopped
                loop.call_soon_threadsafe(worker.request_stop)

    # --- ways to run it -------------------------------------------------------------------------

    def run(self) -> int:
        """Serve on a loop of the server's own; returns the exit code, 0: stopped as asked."""
        self._owns_process = threading.current_thread() is threading.main_thread()
        with suppress(KeyboardInterrupt):  # while applications were imported: stopped as asked
            run_on_loop(loop_factory(self.settings.loop), self.serve)
        return 0

    async def serve(self, *, install_signal_handlers: bool = True) -> None:
        """Serve inside the running loop until told to stop.

        install_signal_handlers: INT and TERM stop the server, as long as it runs, if this is the
            main thread; a second INT ends it at once.
        """
        if self._worker is not None:
            raise GatewayError("a Server runs once; make another one")
        began = monotonic()
        settings = self.settings
        service = self._service or Service(settings, self._origins, main=self._owns_process)
        self._service = service
        try:
            require_mounts(settings)
            configure_logs(settings)
            check_certificates(settings)
            service.open()
            sockets = [bound.socket for bound in service.bound]
            binds = service.settled(settings).addresses
            worker = self._worker = Worker(
                settings, sockets, binds=binds, delay=settings.drain_delay
            )
            self._loop = asyncio.get_running_loop()
            others = self._actions(worker, service) if self._owns_process else {}
            signals = on_signals(worker, self._loop, others=others)
            with signals if install_signal_handlers else nullcontext():
                await self._prepare(service)
                code = 1
                try:
                    if await worker.start_unless_stopped():
                        await self._announce(worker, service, monotonic() - began)
                        await worker.serve_until_stopped()
                    limit = settings.drain_delay + settings.timeout_graceful_shutdown
                    service.stopping(limit)
                    code = 0
                except GatewayError as error:
                    code = error.exit_code
                    raise
                finally:
                    await worker.stop(alone=self._alone)
                    await self._call("on_worker_exit", exit_code=code)
                    await self._call("on_stop", reason=worker.reason)
        finally:
            self.started = False
            await self._tasks.cancel()
            service.close()
        logger.info("stopped")

    def bind(self) -> None:
        """Bind the addresses now; `serve` does it otherwise. `port` and `urls` are known then."""
        if self._service is None:
            self._service = Service(self.settings, self._origins, main=False)
        self._service.bind()

    async def _prepare(self, service: Service) -> None:
        if self._owns_process:
            set_title("gateway")
            os.environ["GATEWAY_WORKER_ID"] = "0"
            if service.identity is not None:
                service.identity.assume()
        prepare_imports(self.settings)
        self._hooks = Hooks.load(self.settings.hooks)
        await self._call("on_start")
        await self._call("on_worker_start")

    async def _announce(self, worker: Worker, service: Service, seconds: float) -> None:
        self.started = True
        if self._owns_process:
            calm_collector()
        service.ready("serving")
        interval = service.watchdog_interval
        if interval is not None:
            worker.repeat(interval, service.watchdog)
        mounts = worker.site.mounts if worker.site is not None else ()
        announce(mounts, self.urls, self.settings, self._origins, seconds)
        self._announced.set()
        await self._call("on_ready")
        if self._should_exit:
            worker.request_stop()

    # --- signals --------------------------------------------------------------------------------

    def _actions(self, worker: Worker, service: Service) -> Actions:
        def hang_up() -> None:
            if service.terminal_is_gone():
                worker.reason = worker.reason or "the terminal was closed"
                worker.request_stop()
            elif worker.reload_certificates():
                logger.info("SIGHUP: certificates were read again, and nothing else")
            else:
                logger.warning(
                    "SIGHUP: one process cannot change to new code without a gap; nothing was done"
                    "\n  start it with --supervise, or send SIGUSR2"
                )

        def count() -> None:
            logger.warning("one process serves; for more of them start it with --workers N")

        def upgrade() -> None:
            self._tasks.add(self._upgrade(worker, service))

        actions: dict[str, Callable[[], object]] = {
            "SIGHUP": hang_up,
            "SIGQUIT": worker.force,
            "SIGTTIN": count,
            "SIGTTOU": count,
            "SIGUSR1": log.reopen_logs,
            "SIGUSR2": upgrade,
        }
        return {
            signal.Signals[name]: action
            for name, action in actions.items()
            if name in signal.Signals.__members__  # Windows has none of them
        }

    async def _upgrade(self, worker: Worker, service: Service) -> None:
        successor = await service.succeeded()
        if successor is not None:
            service.give_way(successor)
            self._alone = False
            worker.reason = worker.reason or "a new binary serves"
            worker.request_stop()

    async def _call(
        self, name: HookName, *, exit_code: int | None = None, reason: str = ""
    ) -> None:
        worker = 0 if name.startswith("on_worker") else None
        event = HookEvent(
            name=name,
            worker=worker,
            worker_pid=None if worker is None else os.getpid(),
            exit_code=exit_code,
            reason=reason,
            urls=tuple(self.urls),
        )
        await self._hooks.call(event)

    # --- in a thread ----------------------------------------------------------------------------

    def start_in_thread(self, timeout: float = 30.0) -> Self:
        """Serve from a daemon thread; returns when connections are accepted.

        timeout: seconds the applications may take to start. Raises what `serve` raises, and
        `StartError` when the time is up.
        """
        if self._thread is not None:
            raise GatewayError("a Server runs once; make another one")
        self.bind()

        def target() -> None:
            try:
                self.run()
            except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
                self._failure = error
            finally:
                self._announced.set()

        self._thread = threading.Thread(target=target, name="gateway", daemon=True)
        self._thread.start()
        if not self._announced.wait(timeout):
            self.should_exit = True
            raise StartError(f"the applications did not start within {timeout:g} s")
        if self._failure is not None:
            raise self._failure
        return self

    def stop(self, timeout: float | None = None) -> None:
        """Stop a server started by `start_in_thread` and wait for its end.

        timeout: seconds to wait; None waits as long as the graceful shutdown may take.
        """
        self.should_exit = True
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                raise GatewayError("the server is still stopping")
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Self:
        return self.start_in_thread()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "started" if self.started else "not started"
        return f"<Server {', '.join(self.urls) or 'unbound'} {state}>"


def _checked(settings: Settings) -> Settings:
    """`settings` as `load` would give them; those made by hand go through it, and are judged."""
    if isinstance(settings.mounts, tuple) and settings.mounts:
        return settings
    given = {
        each.name: getattr(settings, each.name)
        for each in dataclasses.fields(settings)
        if getattr(settings, each.name) != each.default
    }
    return load(overrides=given, environ={}, search=False, embedded=True).settings
