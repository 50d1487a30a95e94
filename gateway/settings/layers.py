"""The layers of a configuration: what one file, the environment, the command line or a Python
call gives, read and checked value by value.

A problem is noted and reading goes on, so that the operator sees all of them at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Final

from gateway.settings import texts
from gateway.settings.absent import is_absent, refusal
from gateway.settings.certificates import KeyPairs
from gateway.settings.declare import Field
from gateway.settings.drafts import Draft, app_draft, mount_drafts
from gateway.settings.kinds import Invalid, Kind, suggest, written
from gateway.settings.lists import Directories
from gateway.settings.model import SETTINGS
from gateway.settings.places import Path
from gateway.settings.source import Source, TomlFile, Words, substitute

__all__ = ["Given", "Layer", "Problems", "dev", "environment", "file", "flags", "keywords"]

KEYS: Final[Mapping[str, Field]] = {key: each for each in SETTINGS.values() for key in each.keys}
"""Every name of every setting, in kebab-case."""

# Names below GATEWAY_ that are not ours: Kubernetes sets GATEWAY_PORT=tcp://… and
# GATEWAY_SERVICE_HOST for a Service called "gateway"; RFC 3875 sets GATEWAY_INTERFACE=CGI/1.1.
_FOREIGN_NAME: Final = re.compile(r"GATEWAY_(SERVICE|PORT)_")
_FOREIGN_VALUE: Final = re.compile(r"(tcp|udp|sctp)://|CGI/")

# The gateway itself sets it, in the environment of a worker, whose programs may be gateways too.
_WORKER_ID: Final = "GATEWAY_WORKER_ID"


@dataclass(frozen=True, slots=True)
class Given:
    """One value somebody gave, typed, and who gave it."""

    value: object
    source: Source
    path: Path = ()

    @property
    def origin(self) -> str:
        return self.source.origin(self.path)


@dataclass(slots=True)
class Layer:
    """What one source of settings gives: values by setting, mounts by key."""

    values: dict[str, Given] = field(default_factory=dict)
    mounts: dict[str, Draft] = field(default_factory=dict)


class Problems(list[str]):
    """The messages so far, in the order of the sources."""

    def add(
        self, source: Source, text: str, hint: str = "", path: Path = (), on_key: bool = False
    ) -> None:
        self.append(source.problem(text, hint, path, on_key))


@dataclass(frozen=True, slots=True)
class _Raw:
    """A value before it was read.

    name: as written. spell: how a name of ours is written here. base: what a path is relative to,
    if not the working directory. elsewhere: it is for another machine, with other files.
    """

    name: str
    value: object
    source: Source
    path: Path = ()
    spell: Callable[[str], str] = str
    base: FilePath | None = None
    elsewhere: bool = False


def file(
    document: TomlFile, environ: Mapping[str, str], cwd: FilePath, problems: Problems
) -> Layer:
    """The settings of a file. Paths in it are relative to it."""
    return _read(_table(document, document.table, (), environ, problems), cwd, problems)


def dev(
    document: TomlFile, environ: Mapping[str, str], cwd: FilePath, problems: Problems, applied: bool
) -> Layer:
    """The settings of a file's table [dev]; none unless they are to be applied.

    If not they are checked all the same, but not against this place: a production machine has
    neither the developers' files nor their variables.
    """
    table = document.dev
    if table is None:
        return Layer()
    if not isinstance(table, Mapping):
        text = f"'dev' must be a table, not {written(table)}"
        problems.add(document, text, "write [dev], then settings below", ("dev",))
        return Layer()
    raws = _table(document, table, ("dev",), environ, problems, elsewhere=not applied)
    layer = _read(raws, cwd, problems)
    return layer if applied else Layer()


def _table(
    document: TomlFile,
    table: Mapping[str, object],
    under: Path,
    environ: Mapping[str, str],
    problems: Problems,
    elsewhere: bool = False,
) -> Iterator[_Raw]:
    base = document.path.parent
    for name, value in table.items():
        path = (*under, name)
        setting = KEYS.get(name.replace("_", "-"))
        if setting is not None and setting.kind.spelled and isinstance(value, int):
            yield _Raw(name, document.written(path), document, path, base=base)
            continue
        try:
            replaced = substitute(value, environ)
        except Invalid as error:
            if not elsewhere:
                problems.add(document, error.expected, error.hint, (*path, *error.path))
            continue
        yield _Raw(name, replaced, document, path, base=base, elsewhere=elsewhere)


def environment(environ: Mapping[str, str], cwd: FilePath, problems: Problems) -> Layer:
    """The settings of ``GATEWAY_*`` variables; an empty one is not set."""
    raws = []
    ours = {each.variable: each for each in SETTINGS.values() if not each.python_only}
    for variable, value in environ.items():
        if not variable.startswith("GATEWAY_") or not value or _FOREIGN_NAME.match(variable):
            continue
        source = Words(variable, f"environment {variable}")
        if variable == _WORKER_ID:
            continue
        if variable not in ours:
            # Others may use the prefix as well; only what looks like a slip is one.
            key = variable.removeprefix("GATEWAY_").lower().replace("_", "-")
            near = "" if is_absent(key) else suggest(variable, tuple(ours), cutoff=0.85)
            if near:
                problems.add(source, f"unknown setting {variable}", near)
            continue
        if not _FOREIGN_VALUE.match(value):
            raws.append(_Raw(ours[variable].name, value, source))
    return _read(raws, cwd, problems)


def flags(values: Mapping[str, object], cwd: FilePath, problems: Problems) -> Layer:
    """The settings of a command line, by the names of the fields."""
    raws = []
    for name, value in values.items():
        flag = SETTINGS[name].flag if name in SETTINGS else f"--{name.replace('_', '-')}"
        source = Words("APP", "command line") if name == "app" else Words(flag, f"flag {flag}")
        raws.append(_Raw(name, value, source))
    return _read(raws, cwd, problems)


def keywords(values: Mapping[str, object], cwd: FilePath, problems: Problems) -> Layer:
    """The settings of a Python call; None means: not given, as in uvicorn."""
    raws = [
        _Raw(name, value, Words(f"'{name}'", "Python"), spell=lambda key: key.replace("-", "_"))
        for name, value in values.items()
        if value is not None
    ]
    return _read(raws, cwd, problems)


def _read(raws: Iterable[_Raw], cwd: FilePath, problems: Problems) -> Layer:
    layer = Layer()
    seen: set[str] = set()
    for raw in raws:
        key = raw.name.replace("_", "-")
        setting = KEYS.get(key)
        if setting is None or (setting.python_only and isinstance(raw.source, TomlFile)):
            _unknown(raw, key, problems)
            continue
        if setting.name in seen:
            text = f"{raw.source.name(raw.path)} sets {setting.key}, which is set already"
            problems.add(raw.source, text, "", raw.path, on_key=True)
        elif setting.name == "mounts":
            _add(layer, mount_drafts(raw.source, raw.path, raw.value, problems.add), problems)
        else:
            _value(layer, raw, setting, cwd, problems)
        seen.add(setting.name)
    return layer


def _value(layer: Layer, raw: _Raw, setting: Field, cwd: FilePath, problems: Problems) -> None:
    name = raw.source.name(raw.path)
    try:
        value = setting.read(raw.value, name)
        base = raw.base or cwd
        if not raw.elsewhere:
            _require(setting.kind, value, name, base)
        if base != cwd:
            value = _located(setting.kind, value, base)
    except Invalid as error:
        problems.add(raw.source, error.expected, error.hint, (*raw.path, *error.path))
        return
    layer.values[setting.name] = Given(value, raw.source, raw.path)
    if setting.name == "app":
        _add(layer, [app_draft(value, raw.source, raw.path)], problems)


def _require(kind: Kind, value: object, name: str, base: FilePath) -> None:
    """Raise `Invalid` for a path that should exist and does not."""
    exists = isinstance(kind, texts.FilePath) and kind.exists and isinstance(value, str) and value
    paths = value if isinstance(kind, Directories) and isinstance(value, tuple) else ()
    for path in (value,) if exists else paths:
        found = base / str(path)
        if not found.exists():
            raise Invalid(f"{name} is '{path}', which does not exist", f"looked for {found}")


def _located(kind: Kind, value: object, base: FilePath) -> object:
    """A path, or several, from ``base``; any other value as it is."""
    if isinstance(kind, KeyPairs):
        return kind.located(value, base)
    if isinstance(kind, Directories) and isinstance(value, tuple):
        return tuple(str(base / each) for each in value)
    if isinstance(kind, texts.FilePath) and isinstance(value, str) and value:
        return str(base / value)
    return value


def _add(layer: Layer, drafts: Iterable[Draft], problems: Problems) -> None:
    for draft in drafts:
        first = layer.mounts.get(draft.key)
        if first is None:
            layer.mounts[draft.key] = draft
            continue
        hint = f"first by {first.source.origin(first.path)}"
        if isinstance(first.source, TomlFile):
            hint = f"first at line {first.source.line(first.path)}"
        text = f"'{draft.key}' is mounted twice"
        problems.add(draft.source, text, hint, draft.path, on_key=True)


def _unknown(raw: _Raw, key: str, problems: Problems) -> None:
    if is_absent(key):
        text = refusal(raw.value, raw.source.name(raw.path))
        if text:
            problems.add(raw.source, text, "", raw.path, on_key=True)
        return
    names = [name for name, each in KEYS.items() if not each.python_only or raw.spell is not str]
    near = suggest(raw.spell(key), [raw.spell(name) for name in names])
    text = f"unknown setting '{raw.name}'"
    problems.add(raw.source, text, near, raw.path, on_key=True)
