"""The application that a Django project's ``manage.py`` would run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from gateway.importer.discover_source import Source, Sources

__all__ = ["DjangoProject", "django_project"]

_VARIABLE: Final = "DJANGO_SETTINGS_MODULE"
_ASYNCHRONOUS: Final = frozenset(("channels", "daphne"))


class DjangoProject(NamedTuple):
    """app, factory: as in an import string. why: which file decided. settings: the module."""

    app: str
    factory: bool
    why: str
    settings: str


def django_project(directory: Path, environ: Mapping[str, str]) -> DjangoProject | None:
    """Read ``manage.py`` and the settings it names; None where there is no Django project.

    Settings in DJANGO_SETTINGS_MODULE go first, as they do with ``manage.py``. ASGI is chosen for
    channels and daphne, and where there is nothing else. Otherwise it is WSGI: under ASGI Django
    starts a thread of its own for each request with a sync view.
    """
    file = directory / "manage.py"
    if not file.is_file():
        return None
    sources = Sources(directory)
    named = _settings_in(sources.file(file, "manage"))
    settings = environ.get(_VARIABLE) or named
    if named is None or settings is None:
        return None
    source = sources.module(settings)
    doors = [_door(sources, settings, source, kind) for kind in ("wsgi", "asgi")]
    reason = ""
    if source is not None and doors[1] and (found := _ASYNCHRONOUS.intersection(_apps(source))):
        doors.reverse()
        reason = f", as {min(found)} is installed"
    for door in doors:
        if door is not None:
            app, place = door
            return DjangoProject(app, False, f"{place}{reason} (manage.py)", settings)
    why = f"{settings} names no application (manage.py)"
    return DjangoProject("django.core.wsgi:get_wsgi_application", True, why, settings)


def _settings_in(manage: Source) -> str | None:
    """The settings module a script puts into the environment."""
    for node in ast.walk(manage.tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="setdefault"),
                args=[ast.Constant(value=name), value],
            ) if name == _VARIABLE:
                return _last_string(value)
            case ast.Assign(
                targets=[ast.Subscript(slice=ast.Constant(value=name))], value=value
            ) if name == _VARIABLE:
                return _last_string(value)
    return None


def _last_string(value: ast.expr) -> str | None:
    """A literal, or the default in ``os.getenv("SETTINGS", "mysite.settings")``."""
    return next(reversed(list(_strings(value))), None)


def _strings(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def _door(
    sources: Sources, settings: str, source: Source | None, kind: str
) -> tuple[str, str] | None:
    """The import string for `kind`, "wsgi" or "asgi", and what names it."""
    setting = f"{kind.upper()}_APPLICATION"
    dotted = source.constant(setting) if source else None
    if dotted and "." in dotted:
        return ":".join(dotted.rsplit(".", 1)), f"{setting} of {settings}"
    package = settings
    while package := package.rpartition(".")[0]:
        module = sources.module(f"{package}.{kind}")
        if module is not None:
            file = module.path.relative_to(sources.roots[0])
            return f"{module.module}:application", f"{file.as_posix()} beside {settings}"
    return None


def _apps(source: Source, depth: int = 4) -> Iterator[str]:
    """The packages in INSTALLED_APPS and in lists it may be put together from (…_APPS)."""
    for statement in source.statements:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                | ast.AugAssign(target=ast.Name(id=name), value=value)
                | ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name))) as value)
            ) if name.endswith("APPS"):
                for each in _strings(value):
                    yield each.partition(".")[0]
    if depth:
        for star in source.stars():
            yield from _apps(star, depth - 1)
