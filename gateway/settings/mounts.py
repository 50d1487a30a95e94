"""Mounts: which application answers below which path of which host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time
from typing import Annotated, Final, Literal, TypeAlias

from gateway.settings.declare import INHERITED, Setting
from gateway.settings.kinds import Integer, Invalid, Kind, Schema
from gateway.settings.texts import ImportString, RootPath

__all__ = [
    "Codec",
    "Interface",
    "Lifespan",
    "Middleware",
    "Mount",
    "MountTable",
    "Stack",
    "is_plain",
    "split_key",
]

Codec: TypeAlias = Literal["auto", "websockets", "wsproto", "none"]
Interface: TypeAlias = Literal["auto", "asgi3", "asgi2", "wsgi"]
Lifespan: TypeAlias = Literal["auto", "on", "off"]

_HOST: Final = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Middleware:
    """User middleware around one application: ``use(app, **options)``.

    use: import string. options: its keyword arguments.
    """

    use: str
    options: Mapping[str, object] = field(default_factory=dict)


class Stack(Kind):
    """Middleware, outermost first: import strings, or tables with ``use`` and its arguments."""

    python = "Sequence[str | Mapping[str, object]]"

    def read(self, value: object) -> object:
        expected = "a list of 'module:attribute' or { use = 'module:attribute', ... }"
        items = value if isinstance(value, (list, tuple)) else [value]
        stack = []
        for index, item in enumerate(items):
            path = (index,) if items is value else ()
            match item:
                case Middleware():
                    stack.append(item)
                    continue
                case str(use):
                    options: dict[str, object] = {}
                case {"use": use, **rest}:
                    options = {str(name): option for name, option in rest.items()}
                    path = (*path, "use")
                case Mapping():
                    raise Invalid(expected, "add use = 'module:attribute'", path)
                case _:
                    raise Invalid(expected, path=path)
            try:
                if not isinstance(use, str):
                    raise Invalid(expected)
                ImportString().read(use)
            except Invalid:
                raise Invalid(expected, path=path) from None
            stack.append(Middleware(use=use, options=options))
        return tuple(stack)

    def show(self, value: object) -> str:
        return ", ".join(each.use for each in value) if isinstance(value, tuple) else str(value)

    def schema(self) -> Schema:
        table: Schema = {"type": "object", "required": ["use"]}
        return {"type": "array", "items": {"anyOf": [{"type": "string"}, table]}}


class MountTable(Kind):
    """The table of mounts; its entries are read one by one where the sources are merged."""

    python = "Mapping[str, object]"
    repeats = True

    def read(self, value: object) -> object:
        return value

    def show(self, value: object) -> str:
        return ", ".join(each.key for each in value) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One application and where it answers; what it does not say itself is the server's setting.

    key: the canonical "/path", "host/" or "host/path"; a trailing slash of a path is left out.
    host: "", "example.com" or "*.example.com", in lower case. path: "/" or "/api", decoded.
    """

    key: str
    host: str = ""
    path: str = "/"
    app: Annotated[
        object, ImportString(), Setting(help="The application, written module:attribute.")
    ]
    interface: Annotated[Interface, INHERITED]
    factory: Annotated[bool, INHERITED]
    threads: Annotated[int, INHERITED]
    thread_queue: Annotated[int, INHERITED]
    lifespan: Annotated[Lifespan, INHERITED]
    reset_contextvars: Annotated[bool, INHERITED]
    timeout_request: Annotated[float | None, INHERITED]
    limit_body: Annotated[int | None, INHERITED]
    limit_queue: Annotated[int, INHERITED]
    timeout_queue: Annotated[float, INHERITED]
    ws: Annotated[Codec, INHERITED]
    ws_max_size: Annotated[int, INHERITED]
    ws_max_queue: Annotated[int, INHERITED]
    ws_ping_interval: Annotated[float | None, INHERITED]
    ws_ping_timeout: Annotated[float | None, INHERITED]
    ws_per_message_deflate: Annotated[bool, INHERITED]
    ws_handshake_timeout: Annotated[float | None, INHERITED]
    ws_max_lifetime: Annotated[float | None, INHERITED]
    ws_origins: Annotated[tuple[str, ...], INHERITED]
    root_path: Annotated[
        str | None,
        RootPath(),
        Setting(
            help="The root path the application sees; empty routes here without mounting "
            "(Channels below /ws with an unchanged URLconf).",
            why="None is the path of the mount.",
        ),
    ] = None
    limit_concurrency: Annotated[
        int | None,
        Integer(low=1, zero_is_none=True),
        Setting(
            help="Answer 503 beyond this many requests in progress in this mount.",
            why="The server's own limit counts all mounts together.",
        ),
    ] = None
    middleware: Annotated[
        tuple[Middleware, ...],
        Stack(),
        Setting(
            help="Middleware of the application's own interface around it, outermost first: "
            "import strings, or tables with use and keyword arguments."
        ),
    ] = ()

    @property
    def app_name(self) -> str:
        """The import string; of an object, where it or its class was defined."""
        app = self.app
        if isinstance(app, str):
            return app
        if (name := getattr(app, "__qualname__", None)) is not None:
            return f"{getattr(app, '__module__', '?')}:{name}"
        return f"a {type(app).__module__}.{type(app).__qualname__}"

    @property
    def is_plain(self) -> bool:
        """Whether another process can have this mount: it names its application, as a file does."""
        wrapped = all(is_plain(each.use) and is_plain(each.options) for each in self.middleware)
        return is_plain(self.app) and wrapped


def is_plain(value: object) -> bool:
    """Whether the value is one that a file could hold, all the way down."""
    if isinstance(value, Mapping):
        return all(is_plain(each) for each in value.values())
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return value is None or isinstance(value, (str, int, float, date, time))


def split_key(key: str) -> tuple[str, str]:
    """(host, path) of a mount's key, normalized. Raises `Invalid` with the whole message."""
    host, slash, rest = key.partition("/")
    host = host.lower().rstrip(".")
    if not slash:
        hint = f"write '{key}/' for a host"
        if "." not in key and "*" not in key:
            hint = f"write '/{key}' for a path, '{key}/' for a host"
        raise Invalid(f"a mount key is a path or host/path, not '{key}'", hint)
    if host and not _HOST.fullmatch(host):
        hint = "mounts take no port" if ":" in host else "example.com/ and *.example.com/ are hosts"
        raise Invalid(f"'{host}' is not a host", hint)
    path = "/" + rest.rstrip("/")
    if re.search(r"[?#*{}\s\\]|%[0-9A-Fa-f]{2}|//|/\.{1,2}(/|$)|[\x00-\x1f]", path):
        hint = "a prefix takes all below it" if "*" in path else "write plain, decoded segments"
        raise Invalid(f"a mount path cannot be '{path}'", hint)
    return host, path
