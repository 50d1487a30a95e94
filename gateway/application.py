"""One application: imported, told apart, wrapped in the user's middleware, given its interface."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from gateway.errors import ConfigError, StartError
from gateway.exchange import Handler
from gateway.importer import explain, import_app, import_object
from gateway.importer.static_files import with_static_files
from gateway.interfaces.asgi2 import as_asgi3
from gateway.interfaces.asgi3 import Asgi3Application, Asgi3Interface
from gateway.interfaces.asgi_trace import traced
from gateway.interfaces.bridge import as_asgi
from gateway.interfaces.detect import Interface, detect
from gateway.interfaces.lifespan import Lifespan
from gateway.interfaces.wsgi import WsgiInterface
from gateway.log import TRACE
from gateway.settings.mounts import Codec as CodecName
from gateway.settings.mounts import Middleware, Mount
from gateway.websocket.codec import Codec
from gateway.websocket.frames import FrameCodec
from gateway.websocket.session import SessionOptions

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["Application", "Applications"]

_Door: TypeAlias = "Asgi3Interface | WsgiInterface"


class Application:
    """One application object, however many mounts it has: one lifespan, one state.

    app: with the user's middleware around it.
    interface: what `app` speaks.
    keys: its mounts, for messages.
    """

    def __init__(
        self,
        app: object,
        interface: Interface,
        mount: Mount,
        *,
        development: bool = False,
        multiprocess: bool = False,
    ) -> None:
        self.app = app
        self.interface = interface
        self.keys: list[str] = []
        self.lifespan: Lifespan | None = None
        self._mode = mount.lifespan
        self._development = development
        self._multiprocess = multiprocess
        self._asgi3: Asgi3Application | None = None
        self._doors: dict[object, _Door] = {}  # by the options that mounts may vary

    @property
    def name(self) -> str:
        """Its mounts, "/a, /b"."""
        return ", ".join(self.keys)

    def add(self, mount: Mount) -> None:
        """Note another mount.

        Raises `StartError` where the two cannot be one application, and `ConfigError` where a
        library is missing that the mount asks for.
        """
        if mount.lifespan != self._mode:
            raise StartError(
                f"the same application is mounted at {self.name}, with lifespan = {self._mode!r}\n"
                "  an application has one lifespan; say the same in both mounts"
            )
        if self.interface != "wsgi":
            self._sessions(mount)
        self.keys.append(mount.key)

    def open(self, mount: Mount, loop: asyncio.AbstractEventLoop) -> Handler:
        """The handler in front of the application for `mount`."""
        if self.interface == "wsgi":
            options: object = (mount.threads, mount.thread_queue)
        else:
            options = (mount.reset_contextvars, self._sessions(mount), mount.ws_origins)
        door = self._doors.get(options)
        if door is None:
            door = self._doors[options] = self._open(mount, loop)
        return door

    def _open(self, mount: Mount, loop: asyncio.AbstractEventLoop) -> _Door:
        if self.interface == "wsgi":
            return WsgiInterface(
                cast("WSGIApplication", self.app),
                loop=loop,
                threads=mount.threads,
                queue=mount.thread_queue,
                multiprocess=self._multiprocess,
                name=self.name,
            )
        version: Literal["2.0", "3.0"] = "2.0" if self.interface == "asgi2" else "3.0"
        if self._asgi3 is None or self.lifespan is None:
            app = cast("Asgi3Application", self.app)
            if self.interface == "asgi2":
                app = as_asgi3(self.app)  # type: ignore[arg-type]
            if logging.getLogger("gateway.error").isEnabledFor(TRACE):
                app = traced(app, self.name)
            self._asgi3 = app
            self.lifespan = Lifespan(app, mode=self._mode, name=self.name, version=version)
        return Asgi3Interface(
            self._asgi3,
            loop=loop,
            state=self.lifespan.state,
            version=version,
            reset_contextvars=mount.reset_contextvars,
            sessions=self._sessions(mount),
            origins=mount.ws_origins,
        )

    def _sessions(self, mount: Mount) -> SessionOptions | None:
        """How WebSockets of `mount` behave; None where it has none. Raises `ConfigError`."""
        if mount.ws == "none":
            return None
        return SessionOptions(
            codec=_codec(mount.ws),
            max_size=mount.ws_max_size,
            max_queue=mount.ws_max_queue,
            ping_interval=mount.ws_ping_interval,
            ping_timeout=mount.ws_ping_timeout,
            lifetime=mount.ws_max_lifetime,
            handshake_timeout=mount.ws_handshake_timeout,
            deflate=mount.ws_per_message_deflate,
            # Browsers' libraries take both for "connect again"; a proxy, a page, or a developer
            # reads in 1012 that the service restarts (RFC 6455 registry), in 1001 that it leaves.
            shutdown_code=1001 if self._development else 1012,
        )

    def running(self) -> int:
        """Calls under way, background work after a response included."""
        return sum(
            len(door.calls)
            if isinstance(door, Asgi3Interface)
            else door.pool.busy + door.pool.waiting
            for door in self._doors.values()
        )

    def cancel(self) -> None:
        """End every ASGI call under way; WSGI threads cannot be ended from outside."""
        for door in self._doors.values():
            if isinstance(door, Asgi3Interface):
                door.cancel()

    async def end_threads(self, timeout: float) -> None:
        """Let the calls of WSGI threads finish, `timeout` seconds at most."""
        doors = [door for door in self._doors.values() if isinstance(door, WsgiInterface)]
        await asyncio.gather(*(door.shutdown(timeout) for door in doors))


class Applications:
    """What was imported so far: the same object with the same middleware is one application.

    development: Django's static files are served in front of it, as its runserver does, and
        WebSockets are told at the end that the server goes away, not that it restarts.
    multiprocess: other processes serve the same applications.
    """

    def __init__(self, *, development: bool = False, multiprocess: bool = False) -> None:
        self._development = development
        self._multiprocess = multiprocess
        self._made: dict[object, object] = {}  # what factories returned
        self._known: dict[object, Application] = {}

    def load(self, mount: Mount) -> Application:
        """The application of `mount`. Raises `StartError` and, for a library, `ConfigError`."""
        app = self._object(mount)
        stack = tuple((each.use, repr(each.options)) for each in mount.middleware)
        interface = detect(app) if mount.interface == "auto" else mount.interface
        key = (id(app), interface, stack)
        application = self._known.get(key)
        if application is None:
            wrapped = with_static_files(app) if self._development else app
            for each in reversed(mount.middleware):
                wrapped, interface = _wrap(each, wrapped, interface)
            application = self._known[key] = Application(
                wrapped,
                interface,
                mount,
                development=self._development,
                multiprocess=self._multiprocess,
            )
        application.add(mount)
        return application

    def all(self) -> list[Application]:
        """Each application once, in the order of its first mount."""
        return list(self._known.values())

    def _object(self, mount: Mount) -> object:
        app = mount.app
        if not mount.factory and not (isinstance(app, str) and "(" in app):
            return import_app(app) if isinstance(app, str) else app
        if app not in self._made:
            self._made[app] = _made(app)
        return self._made[app]


def _codec(name: CodecName) -> type[Codec]:
    """The codec that `ws` names; auto is gateway's own. Raises `ConfigError`."""
    if name == "auto":
        return FrameCodec
    try:
        if name == "websockets":
            from gateway.websocket.codec_websockets import WebsocketsCodec

            return WebsocketsCodec
        from gateway.websocket.codec_wsproto import WsprotoCodec

        return WsprotoCodec
    except ImportError as error:
        raise ConfigError(f"ws = {name}: {error}\n  pip install {name}, or use --ws auto") from None


def _made(factory: object) -> object:
    if isinstance(factory, str):
        return import_app(factory, factory=True)
    try:
        return cast("Callable[[], object]", factory)()
    except Exception as error:
        raise StartError(f"the factory failed\n{explain(error)}") from error


def _wrap(middleware: Middleware, app: object, interface: Interface) -> tuple[object, Interface]:
    """Put `middleware` around `app`; ASGI middleware gets a WSGI application through a2wsgi."""
    use = cast("Callable[..., object]", import_object(middleware.use))
    kind = _kind_of_instances(use)
    inner = app
    if interface == "wsgi" and kind not in ("wsgi", None):
        inner = as_asgi(cast("WSGIApplication", app))
    try:
        wrapped = use(inner, **middleware.options)
        if kind is None:
            kind = _kind(wrapped) or interface
            if interface == "wsgi" and kind != "wsgi":
                # Only a function that returns one comes here: what it makes tells what it wants.
                wrapped = use(as_asgi(cast("WSGIApplication", app)), **middleware.options)
    except Exception as error:
        raise StartError(
            f"the middleware {middleware.use} cannot be made\n{explain(error)}"
        ) from error
    if interface != "wsgi" and kind == "wsgi":
        raise StartError(f"{middleware.use} is WSGI middleware, but the application is {interface}")
    return wrapped, kind


def _kind_of_instances(use: object) -> Interface | None:
    """What instances of a class speak, without making one; None for all else."""
    if not isinstance(use, type):
        return None
    try:
        return _kind(object.__new__(use))
    except TypeError:  # not a class of Python's own making
        return None


def _kind(app: object) -> Interface | None:
    try:
        return detect(app)
    except StartError:
        return None
