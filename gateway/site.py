"""The applications of one server: imported, told apart, mounted, started and stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Literal, cast

from gateway.errors import StartError
from gateway.exchange import Exchange, Handler
from gateway.importer import DjangoSettingsGuard, explain, import_app, import_object
from gateway.interfaces.asgi2 import as_asgi3
from gateway.interfaces.asgi3 import Asgi3Application, Asgi3Interface
from gateway.interfaces.asgi_trace import traced
from gateway.interfaces.bridge import as_asgi
from gateway.interfaces.detect import Interface, describe, detect, notes
from gateway.interfaces.lifespan import Lifespan
from gateway.interfaces.wsgi import WsgiInterface
from gateway.log import TRACE
from gateway.middleware.limits import limit_concurrency
from gateway.middleware.mounts import Route, mounts
from gateway.settings.model import Settings
from gateway.settings.mounts import Mount

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["Application", "MountedApp", "Site"]


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


@dataclass(slots=True, eq=False)
class Application:
    """One application object, however many mounts it has: one lifespan, one thread pool.

    handler: its interface, from `Site.start` on.
    """

    app: object
    interface: Interface
    mount: Mount
    keys: list[str] = field(default_factory=list)
    handler: Asgi3Interface | WsgiInterface | None = None
    lifespan: Lifespan | None = None


class Site:
    """All mounts of a server, and the one handler in front of them.

    Life: `build` (imports, no loop needed), `start`, serve through `handler`, `stop`.
    """

    def __init__(self, mounted: list[MountedApp], *, root_path: str = "") -> None:
        self.mounts = mounted
        self._root_path = root_path
        self._applications = list(
            {id(each.application): each.application for each in mounted}.values()
        )
        self.handler: Handler = _not_started

    @classmethod
    def build(cls, settings: Settings) -> Site:
        """Import every application of `settings.mounts` and tell its interface.

        Raises `StartError`, which names the mount where there are several.
        """
        guard = DjangoSettingsGuard()
        known: dict[object, Application] = {}
        # "gateway main:app" has no mount in its user's mind, so no message speaks of one.
        alone = [mount.key for mount in settings.mounts] == ["/"]
        mounted = [
            _mount(mount, guard, known, settings.root_path, alone=alone)
            for mount in settings.mounts
        ]
        return cls(mounted, root_path=settings.root_path)

    async def start(self) -> None:
        """Run the lifespans, all at once, then make `handler`.

        Raises the first `StartError`; the applications that had started are stopped again then.
        """
        loop = asyncio.get_running_loop()
        for application in self._applications:
            _open(application, loop)
        lifespans = [each.lifespan for each in self._applications if each.lifespan is not None]
        results = await asyncio.gather(
            *(lifespan.startup() for lifespan in lifespans), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                await self.stop(timeout=5.0)
                raise result
        self.handler = mounts([_route(each) for each in self.mounts], root_path=self._root_path)

    def running(self) -> dict[str, int]:
        """Calls under way by mount, background work after a response included; busy mounts only."""
        counts = {", ".join(each.keys): _running(each) for each in self._applications}
        return {keys: count for keys, count in counts.items() if count}

    def cancel(self) -> None:
        """End every ASGI call under way; WSGI threads cannot be ended from outside."""
        for application in self._applications:
            if isinstance(application.handler, Asgi3Interface):
                application.handler.cancel()

    async def stop(self, timeout: float) -> None:
        """End thread pools, then all lifespans; `timeout` seconds for the whole."""
        deadline = monotonic() + timeout
        pools = [each.handler for each in self._applications]
        await asyncio.gather(
            *(pool.shutdown(timeout) for pool in pools if isinstance(pool, WsgiInterface))
        )
        # Applications know nothing of one another, so none waits for another's end.
        left = max(deadline - monotonic(), timeout / 10)
        lifespans = [each.lifespan for each in self._applications if each.lifespan is not None]
        await asyncio.gather(*(lifespan.shutdown(left) for lifespan in reversed(lifespans)))


def _not_started(exchange: Exchange) -> None:
    exchange.refuse(503, "The server is starting")


def _mount(
    mount: Mount,
    guard: DjangoSettingsGuard,
    known: dict[object, Application],
    root_path: str,
    *,
    alone: bool,
) -> MountedApp:
    try:
        with guard.watching(mount.key):
            application = _application(mount, known)
    except StartError as error:
        if alone:
            raise
        raise StartError(f"{mount.key}: {error}") from error.__cause__
    application.keys.append(mount.key)
    wsgi = application.interface == "wsgi"
    # What the banner says is about the user's own object, not the middleware around it.
    prefix = (root_path + mount.path).rstrip("/") if mount.root_path is None else mount.root_path
    return MountedApp(
        key=mount.key,
        app_name=mount.app_name,
        framework=describe(application.app),
        interface=application.interface,
        threads=mount.threads if wsgi else 0,
        notes=notes(application.app, prefix),
        mount=mount,
        application=application,
    )


def _application(mount: Mount, known: dict[object, Application]) -> Application:
    """The application of `mount`; the same import string with the same options is the same one."""
    identity = mount.app if isinstance(mount.app, str) else id(mount.app)
    stack = tuple((each.use, repr(each.options)) for each in mount.middleware)
    key = (
        identity,
        mount.factory,
        mount.interface,
        mount.lifespan,
        mount.reset_contextvars,
        mount.threads,
        mount.thread_queue,
        stack,
    )
    if key in known:
        return known[key]
    app = mount.app
    if isinstance(app, str):
        app = import_app(app, factory=mount.factory)
    elif mount.factory:
        try:
            app = cast("Callable[[], object]", app)()
        except Exception as error:
            raise StartError(f"the factory failed\n{explain(error)}") from error
    interface = detect(app) if mount.interface == "auto" else mount.interface
    if mount.middleware:
        app, interface = _wrap(mount, app, interface)
    known[key] = application = Application(app, interface, mount)
    return application


def _wrap(mount: Mount, app: object, interface: Interface) -> tuple[object, Interface]:
    """Put the user's middleware around `app`, the last one first.

    ASGI middleware around a WSGI application gets it through a2wsgi.
    """
    for each in reversed(mount.middleware):
        use = cast("Callable[..., object]", import_object(each.use))
        try:
            wrapped = use(app, **each.options)
            kind = _interface_of(wrapped, interface)
            if interface == "wsgi" and kind != "wsgi":
                wrapped = use(as_asgi(cast("WSGIApplication", app)), **each.options)
        except Exception as error:
            raise StartError(
                f"the middleware {each.use} cannot be made\n{explain(error)}"
            ) from error
        if interface != "wsgi" and kind == "wsgi":
            raise StartError(f"{each.use} is WSGI middleware, but the application is {interface}")
        app, interface = wrapped, kind
    return app, interface


def _interface_of(wrapped: object, default: Interface) -> Interface:
    try:
        return detect(wrapped)
    except StartError:
        return default


def _open(application: Application, loop: asyncio.AbstractEventLoop) -> None:
    mount, name = application.mount, ", ".join(application.keys)
    if application.interface == "wsgi":
        application.handler = WsgiInterface(
            cast("WSGIApplication", application.app),
            loop=loop,
            threads=mount.threads,
            queue=mount.thread_queue,
            name=name,
        )
        return
    version: Literal["2.0", "3.0"] = "3.0"
    app = cast("Asgi3Application", application.app)
    if application.interface == "asgi2":
        app = as_asgi3(cast("Callable[..., Callable[..., object]]", application.app))  # type: ignore[arg-type]
        version = "2.0"
    if logging.getLogger("gateway.error").isEnabledFor(TRACE):
        app = traced(app, name)
    application.lifespan = Lifespan(app, mode=mount.lifespan, name=name, version=version)
    application.handler = Asgi3Interface(
        app,
        loop=loop,
        state=application.lifespan.state,
        version=version,
        reset_contextvars=mount.reset_contextvars,
    )


def _route(mounted: MountedApp) -> Route:
    mount = mounted.mount
    handler: Handler = cast("Handler", mounted.application.handler)
    if mount.limit_concurrency is not None:
        handler = limit_concurrency(handler, mount.limit_concurrency)
    return Route(mount.key, mount.host, mount.path, handler, mount.root_path)


def _running(application: Application) -> int:
    handler = application.handler
    if isinstance(handler, Asgi3Interface):
        return len(handler.calls)
    return handler.pool.busy + handler.pool.waiting if handler is not None else 0
