"""Settings from everywhere, merged: file, environment, command line, Python.

1. default < FORWARDED_ALLOW_IPS, WEB_CONCURRENCY, PORT < file < GATEWAY_* < flag < Python.
2. The file is ``-c FILE``, else ./gateway.toml, else [tool.gateway] in ./pyproject.toml.
3. PORT replaces the port of the file, since platforms insist on it, and without any address there
   it means 0.0.0.0:$PORT; a GATEWAY_PORT, a flag and a keyword still win over it.
4. Addresses replace one another across sources: a later bind, uds or fd takes the place of all
   earlier ones; a later host or port changes the first host:port of an earlier bind.
5. Mounts of all sources are merged by key, the later one taking the place of the earlier one
   whole; APP is the mount "/". So ``gateway main:app`` beside a file keeps its other mounts.
6. interface and factory speak of APP; without APP, of every mount that does not say its own.
7. Reload has one worker, whatever asks for more.
8. What needs a process above the workers needs import strings, and supervise not to be off.
9. ``gateway dev`` has defaults of its own, and lays the file's table [dev] over the rest of it.
10. A key needs its certificate, and an address is either plain or TLS.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from gateway.errors import ConfigError
from gateway.settings import layers
from gateway.settings.addresses import merge_addresses
from gateway.settings.drafts import Draft, build
from gateway.settings.encryption import check_encryption
from gateway.settings.kinds import Invalid
from gateway.settings.layers import Given, Layer, Problems
from gateway.settings.model import SETTINGS, Settings
from gateway.settings.source import TomlFile, Words
from gateway.settings.supervision import check_processes, yield_to_reload

__all__ = ["Loaded", "load"]

_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})

_PLATFORM: Final = MappingProxyType(
    {"FORWARDED_ALLOW_IPS": "forwarded_allow_ips", "WEB_CONCURRENCY": "workers"}
)
"""Variables that platforms set for any server; PORT has rules of its own."""

_DEV: Final = MappingProxyType(
    {"reload": True, "timeout_graceful_shutdown": 1.0, "access_log_format": "dev"}
)
"""The defaults of ``gateway dev``: see changes at once, do not wait for an open page's streams."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Settings and where they came from.

    origins: by setting ("default", "gateway dev", "gateway.toml:3", "environment PORT",
        "flag --port", "command line", "Python"), and by mount ("mounts./api").
    file: the file that was read, if any.
    again: does the same reading once more, of what is written by then.
    """

    settings: Settings
    origins: dict[str, str]
    file: Path | None
    again: Callable[[], Loaded]


def load(
    *,
    argv_values: Mapping[str, object] = _NOTHING,
    config: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    overrides: Mapping[str, object] = _NOTHING,
    search: bool = True,
    dev: bool = False,
    embedded: bool = False,
) -> Loaded:
    """Read and merge every source of settings. Nothing is kept: called again, it reads again.

    argv_values: what flags said, as text, by the names of `Settings`' fields.
    config: a file to read; without it one is searched for in ``cwd``, unless ``search`` is False.
    environ, cwd: the process's own if None.
    overrides: keywords of a Python call; None values count as not given.
    dev: for development: `_DEV` are the defaults, and [dev] in the file is in force.
    embedded: for a server inside a caller's loop, which has no workers: what asks for them is
        accepted, and is the caller's to ignore.

    Raises `ConfigError`, which lists every problem of every source at once.
    """
    given_environ, given_cwd = environ, cwd
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd
    problems = Problems()
    document = _document(config, cwd, search)
    stack = [
        _dev_defaults() if dev else Layer(),
        _platform(environ, problems),
        layers.file(document, environ, cwd, problems) if document else Layer(),
        layers.dev(document, environ, cwd, problems, applied=dev) if document else Layer(),
        layers.environment(environ, cwd, problems),
        layers.flags(argv_values, cwd, problems),
        layers.keywords(overrides, cwd, problems),
    ]
    values: dict[str, object] = {name: each.default for name, each in SETTINGS.items()}
    origins = dict.fromkeys(SETTINGS, "default")
    given: dict[str, Given] = {}
    drafts: dict[str, Draft] = {}
    for layer in stack:
        given.update(layer.values)
        drafts.update(layer.mounts)
    for name, each in given.items():
        values[name], origins[name] = each.value, each.origin
    merge_addresses(stack[2:], _port(environ, problems), values, origins, problems)
    yield_to_reload(values, origins)
    if problems:
        raise ConfigError(_report(problems, document))
    values["mounts"] = _mounts(drafts, values, origins)
    settings = build(Settings, values)
    check_encryption(settings, given, problems)
    if not embedded:
        check_processes(settings, given, problems)
    if problems:
        raise ConfigError(_report(problems, document))

    def again() -> Loaded:
        return load(
            argv_values=argv_values,
            config=config,
            environ=given_environ,
            cwd=given_cwd,
            overrides=overrides,
            search=search,
            dev=dev,
            embedded=embedded,
        )

    return Loaded(
        settings=settings,
        origins=origins,
        file=document.path if document else None,
        again=again,
    )


def _document(config: str | os.PathLike[str] | None, cwd: Path, search: bool) -> TomlFile | None:
    if config is not None:
        path = cwd / config
        prefix = ("tool", "gateway") if path.name == "pyproject.toml" else ()
        return TomlFile(path, os.fspath(config), prefix)
    if search and (cwd / "gateway.toml").is_file():
        return TomlFile(cwd / "gateway.toml", "gateway.toml")
    if search and (cwd / "pyproject.toml").is_file():
        document = TomlFile(cwd / "pyproject.toml", "pyproject.toml", ("tool", "gateway"))
        return document if document.found else None
    return None


def _dev_defaults() -> Layer:
    source = Words("gateway dev", "gateway dev")
    return Layer({name: Given(value, source) for name, value in _DEV.items()})


def _platform(environ: Mapping[str, str], problems: Problems) -> Layer:
    layer = Layer()
    for variable, name in _PLATFORM.items():
        if text := environ.get(variable):
            given = _variable(variable, name, text, problems)
            if given is not None:
                layer.values[name] = given
    return layer


def _port(environ: Mapping[str, str], problems: Problems) -> Given | None:
    text = environ.get("PORT")
    return _variable("PORT", "port", text, problems) if text else None


def _variable(variable: str, name: str, text: str, problems: Problems) -> Given | None:
    """The setting ``name`` by a variable of the platform; None, and a problem, if it is wrong."""
    source = Words(variable, f"environment {variable}")
    try:
        return Given(SETTINGS[name].read(text, variable), source)
    except Invalid as error:
        problems.add(source, error.expected, error.hint)
        return None


def _mounts(
    drafts: Mapping[str, Draft], values: Mapping[str, object], origins: dict[str, str]
) -> tuple[object, ...]:
    """Every mount in the order of its key, longest path last."""
    without_app = {**values}
    if any(draft.is_app for draft in drafts.values()):
        for name in ("interface", "factory"):
            without_app[name] = SETTINGS[name].default
    mounts = []
    for key in sorted(drafts):
        draft = drafts[key]
        mounts.append(draft.mount(values if draft.is_app else without_app))
        origins[f"mounts.{key}"] = draft.source.origin(draft.path)
    if mounts:
        origins["mounts"] = ", ".join(
            dict.fromkeys(origins[f"mounts.{key}"].split(":")[0] for key in sorted(drafts))
        )
    return tuple(mounts)


def _report(problems: Problems, document: TomlFile | None) -> str:
    placed = [each for each in problems if document and each.startswith(f"{document.shown}:")]
    if len(problems) == 1 and not placed:
        return problems[0]
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    where = f" in {document.shown}" if document and len(placed) == len(problems) else ""
    return "\n".join([*problems, f"{count}{where}; nothing was started."])
