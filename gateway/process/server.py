"""A server: sockets, a worker, and whoever started it."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic
from types import MappingProxyType, TracebackType
from typing import Final, Self

from gateway import log
from gateway.errors import ConfigError, GatewayError, StartError
from gateway.importer import add_app_dir
from gateway.process.banner import announce
from gateway.process.loop import calm_collector, loop_factory
from gateway.process.signals import stopped_by_signals
from gateway.process.sockets import BoundSocket, bind_all
from gateway.settings import Settings, load
from gateway.settings.env_file import load_env_file
from gateway.site import Site
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
        self._bound: list[BoundSocket] = []
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
        for bound in self._bound:
            if bound.port is not None:
                return bound.port
        raise StartError("the server listens on no TCP port")

    @property
    def urls(self) -> list[str]:
        """One per address: "http://127.0.0.1:8000", "unix:/run/app.sock"."""
        return [bound.url() for bound in self._bound]

    @property
    def url(self) -> str:
        """The first of `urls`."""
        if not self._bound:
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
        with asyncio.Runner(loop_factory=loop_factory(self.settings.loop)) as runner:
            loop = runner.get_loop()
            # The applications' run_in_executor and to_thread. Runner.close would wait for it, for
            # ever on Python 3.11 and for five minutes on 3.12; it gets an empty one instead.
            executor = ThreadPoolExecutor(thread_name_prefix="asyncio")
            loop.set_default_executor(executor)
            self._owns_process = threading.current_thread() is threading.main_thread()
            try:
                runner.run(self.serve())
            except KeyboardInterrupt:
                pass  # while applications were imported: stopped as asked
            finally:
                executor.shutdown(wait=False, cancel_futures=True)
                loop.set_default_executor(ThreadPoolExecutor(1))
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
        try:
            if not settings.mounts:
                raise ConfigError("nothing to serve: name an application\n  try  gateway main:app")
            self._prepare()
            if not self._bound:
                self.bind()
            worker = self._worker = Worker(settings, [bound.socket for bound in self._bound])
            self._loop = asyncio.get_running_loop()
            with stopped_by_signals(worker, self._loop, install_signal_handlers):
                try:
                    site = await _unless_stopped(worker)
                    if site is not None:
                        self.started = True
                        if self._owns_process:
                            calm_collector()
                        announce(site, self.urls, settings, self._origins, monotonic() - began)
                        self._announced.set()
                        if self._should_exit:
                            worker.request_stop()
                        await worker.serve_until_stopped()
                finally:
                    await worker.stop()
        finally:
            self.started = False
            for bound in self._bound:
                bound.close()
        logger.info("stopped")

    def bind(self) -> None:
        """Bind the addresses now; `serve` does it otherwise. `port` and `urls` are known then."""
        self._bound = bind_all(self.settings.addresses, backlog=self.settings.backlog)

    def _prepare(self) -> None:
        settings = self.settings
        log.configure(
            level=settings.log_level,
            use_colors=settings.use_colors,
            log_config=settings.log_config,
            access_log=settings.access_log,
        )
        if settings.env_file:
            load_env_file(settings.env_file)
        add_app_dir(settings.app_dir or os.curdir)

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


async def _unless_stopped(worker: Worker) -> Site | None:
    """Start the worker, but give up when a signal comes first; None then."""
    start = asyncio.ensure_future(worker.start())
    stopped = asyncio.ensure_future(worker.serve_until_stopped())
    try:
        await asyncio.wait({start, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return start.result() if start.done() else None
    finally:
        for task in (start, stopped):
            task.cancel()
        await asyncio.gather(start, stopped, return_exceptions=True)


def _checked(settings: Settings) -> Settings:
    """`settings` as `load` would give them; those made by hand go through it, and are judged."""
    if isinstance(settings.mounts, tuple) and settings.mounts:
        return settings
    given = {
        each.name: getattr(settings, each.name)
        for each in dataclasses.fields(settings)
        if getattr(settings, each.name) != each.default
    }
    return load(overrides=given, environ={}, search=False).settings
