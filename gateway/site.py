"""The mounts of one server: their applications, the one handler in front, start and stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from gateway.application import Application, Applications
from gateway.errors import StartError
from gateway.exchange import Exchange, Handler
from gateway.importer import DjangoSettingsGuard
from gateway.interfaces.detect import Interface, describe, notes
from gateway.middleware.concurrency import limit_concurrency
from gateway.middleware.limits import limit_body
from gateway.middleware.mounts import Route, mounts
from gateway.settings.model import Settings
from gateway.settings.mounts import Mount

__all__ = ["MountedApp", "Site"]


@dataclass(slots=True, kw_only=True)
class MountedApp:
    """One line of the mount table, with what was found behind it.

    key: "/api", "admin.example.com/". app_name: the import string. framework: "Django 5.2.19", ""
    if unknown. threads: of a WSGI mount, 0 else. notes: such as "docs at /api/docs".
    """

    key: str
    app_name: str
    framework: str
    interface: Interface
    threads: int
    notes: str
    mount: Mount
    application: Application


class Site:
    """All mounts of a server, and the one handler in front of them.

    Life: `build` (imports, no loop needed), `start`, serve through `handler`, `stop`.
    """

    def __init__(
        self, mounted: list[MountedApp], applications: list[Application], *, root_path: str = ""
    ) -> None:
        self.mounts = mounted
        self.handler: Handler = _not_started
        self._applications = applications
        self._root_path = root_path

    @classmethod
    def build(
        cls, settings: Settings, *, imported: Callable[[Mount], None] = lambda _: None
    ) -> Site:
        """Import every application of `settings.mounts` and tell its interface.

        imported: called after each mount; it may refuse what the import has done, by `StartError`.

        Raises `StartError`, which names the mount where there are several.
        """
        guard = DjangoSettingsGuard()
        applications = Applications(
            development=settings.reload, multiprocess=settings.supervised or settings.workers != 1
        )
        mounted = []
        for mount in settings.mounts:
            try:
                with guard.watching(mount.key):
                    application = applications.load(mount)
                imported(mount)
            except StartError as error:
                # "gateway main:app" has no mount in its user's mind: no message speaks of one.
                if [each.key for each in settings.mounts] == ["/"]:
                    raise
                raise StartError(f"{mount.key}: {error}") from error.__cause__
            mounted.append(_mounted(mount, application, settings.root_path))
        return cls(mounted, applications.all(), root_path=settings.root_path)

    async def start(self) -> None:
        """Run the lifespans, all at once, then make `handler`.

        Raises the first `StartError`; the applications that had started are stopped again then.
        """
        loop = asyncio.get_running_loop()
        routes = [
            _route(each, each.application.open(each.mount, loop), loop) for each in self.mounts
        ]
        lifespans = [each.lifespan for each in self._applications if each.lifespan is not None]
        results = await asyncio.gather(
            *(lifespan.startup() for lifespan in lifespans), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                await self.stop(timeout=5.0)
                raise result
        self.handler = mounts(routes, root_path=self._root_path)

    def running(self) -> dict[str, int]:
        """Calls under way by mount, background work after a response included; busy mounts only."""
        counts = {each.name: each.running() for each in self._applications}
        return {name: count for name, count in counts.items() if count}

    def cancel(self) -> None:
        """End every ASGI call under way; WSGI threads cannot be ended from outside."""
        for application in self._applications:
            application.cancel()

    async def stop(self, timeout: float) -> None:
        """End thread pools, then all lifespans; `timeout` seconds for the whole.

        A thread that hangs gets two thirds of it: the lifespans' shutdown always runs.
        """
        deadline = monotonic() + timeout
        await asyncio.gather(*(each.end_threads(timeout * 2 / 3) for each in self._applications))
        # Applications know nothing of one another, so none waits for another's end.
        left = deadline - monotonic()
        lifespans = [each.lifespan for each in self._applications if each.lifespan is not None]
        await asyncio.gather(*(lifespan.shutdown(left) for lifespan in reversed(lifespans)))


def _not_started(exchange: Exchange) -> None:
    exchange.refuse(503, "The server is starting")


def _mounted(mount: Mount, application: Application, root_path: str) -> MountedApp:
    prefix = (root_path + mount.path).rstrip("/") if mount.root_path is None else mount.root_path
    return MountedApp(
        key=mount.key,
        app_name=mount.app_name,
        framework=describe(application.app),
        interface=application.interface,
        threads=mount.threads if application.interface == "wsgi" else 0,
        notes=notes(application.app, prefix),
        mount=mount,
        application=application,
    )


def _route(mounted: MountedApp, handler: Handler, loop: asyncio.AbstractEventLoop) -> Route:
    mount = mounted.mount
    if mount.limit_concurrency is not None:
        handler = limit_concurrency(
            handler,
            mount.limit_concurrency,
            queue=mount.limit_queue,
            timeout=mount.timeout_queue,
            loop=loop,
        )
    if mount.limit_body is not None:
        handler = limit_body(handler, mount.limit_body)
    return Route(mount.key, mount.host, mount.path, handler, mount.root_path)
