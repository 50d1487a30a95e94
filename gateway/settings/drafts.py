"""Mounts as they are written, before sources are merged and the server's settings are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from gateway.settings.declare import Field, declared
from gateway.settings.kinds import Invalid, suggest, written
from gateway.settings.model import SETTINGS
from gateway.settings.mounts import Mount, split_key
from gateway.settings.places import Path
from gateway.settings.source import Source, TomlFile

__all__ = ["MOUNT_SETTINGS", "Draft", "app_draft", "build", "mount_drafts"]

MOUNT_SETTINGS: Final[Mapping[str, Field]] = declared(Mount, SETTINGS)

_T = TypeVar("_T")


class Note(Protocol):
    """Takes a problem: where, what, a hint."""

    def __call__(
        self, source: Source, text: str, hint: str = "", path: Path = (), on_key: bool = False
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What one source says of one mount. values: by field, only what it says."""

    key: str
    host: str
    route: str
    values: Mapping[str, object]
    source: Source
    path: Path
    is_app: bool = False

    def mount(self, server: Mapping[str, object]) -> Mount:
        """The mount, with the server's values for what it leaves out."""
        values = dict(self.values)
        for each in MOUNT_SETTINGS.values():
            if each.inherited:
                values.setdefault(each.name, server[each.name])
        return build(Mount, {**values, "key": self.key, "host": self.host, "path": self.route})


def app_draft(app: object, source: Source, path: Path) -> Draft:
    """APP is the mount "/"."""
    values = {"app": app}
    return Draft(key="/", host="", route="/", values=values, source=source, path=path, is_app=True)


def mount_drafts(source: Source, path: Path, value: object, note: Note) -> Iterator[Draft]:
    """Read a table of mounts, or texts ``KEY=MODULE:APP``."""
    for key, entry, place in _entries(source, path, value, note):
        try:
            host, route = split_key(key)
        except Invalid as error:
            note(source, error.expected, error.hint, place, on_key=True)
            continue
        yield Draft(
            key=host + route,
            host=host,
            route=route,
            values=_values(source, place, key, entry, note),
            source=source,
            path=place,
        )


def _entries(
    source: Source, path: Path, value: object, note: Note
) -> Iterator[tuple[str, object, Path]]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield str(key), entry, (*path, str(key))
        return
    texts = value.split() if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or isinstance(source, TomlFile):
        text = f"{source.name(path)} must be a table, not {written(value)}"
        note(source, text, "write [mounts], then '/' = 'module:app' below", path)
        return
    for text in texts:
        key, equals, app = text.partition("=") if isinstance(text, str) else ("", "", "")
        if equals:
            yield key, app, path
        else:
            note(source, f"{source.name(path)} takes PATH=MODULE:APP, not {text!r}", "", path)


def _values(source: Source, path: Path, key: str, entry: object, note: Note) -> dict[str, object]:
    """The settings of one mount; an import string or an application stands for a table."""
    if not isinstance(entry, Mapping):
        try:
            return {"app": MOUNT_SETTINGS["app"].read(entry, f"'{key}'")}
        except Invalid as error:
            note(source, error.expected, error.hint, path)
            return {}
    values: dict[str, object] = {}
    for name, value in entry.items():
        place = (*path, str(name))
        setting = MOUNT_SETTINGS.get(str(name).replace("-", "_"))
        if setting is None:
            near = suggest(str(name), [each.key for each in MOUNT_SETTINGS.values()])
            note(source, f"unknown setting '{name}' in mount '{key}'", near, place, on_key=True)
            continue
        try:
            values[setting.name] = setting.read(value, f"'{name}'")
        except Invalid as error:
            note(source, error.expected, error.hint, (*place, *error.path))
    if not any(str(name) == "app" for name in entry):
        note(source, f"mount '{key}' has no app", "add app = 'module:app'", path, on_key=True)
    return values


def build(model: Callable[..., _T], values: Mapping[str, object]) -> _T:
    """An instance from values whose types were checked by reading them."""
    return model(**values)
