"""Finds the application of a project the way ``flask``, ``fastapi`` and ``manage.py`` do."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from gateway.errors import ConfigError
from gateway.importer.discover_django import django_project
from gateway.importer.discover_kinds import (
    factory_kind,
    instance_kind,
    is_function,
    may_be_app,
)
from gateway.importer.discover_source import Source, Sources, module_of

__all__ = ["Found", "discover"]

_FASTAPI_FILES: Final = (
    "main.py",
    "app.py",
    "api.py",
    "app/main.py",
    "app/app.py",
    "app/api.py",
)
_FLASK_FILES: Final = ("wsgi.py", "app.py")
_FILES: Final = tuple(dict.fromkeys((*_FASTAPI_FILES, "asgi.py", *_FLASK_FILES)))
_NAMES: Final = ("app", "application", "api")
_FACTORIES: Final = ("create_app", "make_app")
_MOST: Final = 50  # files and directories that are read for a hint


@dataclass(frozen=True, slots=True)
class Found:
    """The application of a project.

    app: an import string, or the factory's.
    factory: `app` is to be called. (A call with arguments is part of the string itself.)
    why: the file and the rule that led to it, for the banner.
    app_dir: what has to be on ``sys.path``: the given directory but for FLASK_APP=src/app.py, and
        for a file that belongs to a package.
    environ: variables to set before the import where they are not set.
    """

    app: str
    factory: bool
    why: str
    app_dir: Path
    environ: Mapping[str, str] = field(default_factory=dict)


def discover(directory: Path, environ: Mapping[str, str]) -> Found:
    """Find the application in `directory` without importing anything.

    What is named goes before what is found, and the first of these that leads to one is taken:

    1. FLASK_APP, in the environment, ``.env`` or ``.flaskenv`` (the files need python-dotenv)
    2. ``entrypoint`` in the table ``[tool.fastapi]`` of pyproject.toml
    3. manage.py, by way of its settings module
    4. a FastAPI instance in main.py, app.py, api.py, app/main.py, app/app.py or app/api.py:
       ``app``, ``api``, then any by name; then ``create_app`` and ``make_app``
    5. a Flask instance in wsgi.py or app.py: ``app``, ``application``, then any by name; then
       ``create_app`` and ``make_app``
    6. an instance of another framework in one of these files or asgi.py
    7. whatever else is called ``app``, ``application`` or ``api`` there; a file that is no Python
       is taken to have an ``app``, so that the reader of the error is its author

    environ: the environment of the applications.

    Raises `ConfigError` for a name that leads nowhere and where nothing is found; the message says
    what was looked for and what to type.
    """
    directory = Path(os.path.abspath(directory))  # noqa: PTH100 - Path.resolve would follow links
    found = _flask_app(directory, environ) or _entrypoint(directory)
    found = found or _unnamed(directory, environ)
    if found is None:
        raise ConfigError(_nothing(directory))
    return found


def _flask_app(directory: Path, environ: Mapping[str, str]) -> Found | None:
    value, place = _flask_variable(directory, environ)
    if not value:
        return None
    why = f"FLASK_APP={value}{place}"
    path, _, name = re.sub(r":(?![\\/])", "\0", value, count=1).partition("\0")
    module, root = module_of(Path(os.path.abspath(directory / path)))  # noqa: PTH100
    source = Sources(root).module(module)
    if source is None:  # no file here: a module that is installed
        source = Sources(*map(Path, sys.path)).module(module)
    name = name.strip()
    if name:
        factory = source is not None and is_function(source, name)
        return Found(f"{module}:{name}", factory, why, root)
    best = source and (_best(source, "Flask", ("app", "application")) or _by_name(source))
    if not best:
        problem = f"{source.path} has no Flask application" if source else f"no {path} in {root}"
        raise ConfigError(f"{why}: {problem}\n  name the object:  FLASK_APP={path}:app")
    return Found(f"{module}:{best.name}", best.factory, f"{why}, {best.why}", root)


def _flask_variable(directory: Path, environ: Mapping[str, str]) -> tuple[str, str]:
    """FLASK_APP, and where it stands if not in the environment; .env goes first, as in Flask."""
    if environ.get("FLASK_APP"):
        return environ["FLASK_APP"], ""
    for name in (".env", ".flaskenv"):
        if (directory / name).is_file():
            try:
                from dotenv import dotenv_values
            except ImportError:
                break
            if value := dotenv_values(directory / name).get("FLASK_APP"):
                return value, f" in {name}"
    return "", ""


def _entrypoint(directory: Path) -> Found | None:
    file = directory / "pyproject.toml"
    if not file.is_file():
        return None
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"pyproject.toml: {error}") from error
    table: object = tables
    for key in ("tool", "fastapi", "entrypoint"):
        if not isinstance(table, dict) or key not in table:
            return None
        table = table[key]
    app = table
    if not isinstance(app, str) or not all(app.partition(":")):
        raise ConfigError(
            f"pyproject.toml: entrypoint in [tool.fastapi] is {app!r}\n"
            '  write "package.module:attribute"'
        )
    return Found(app, False, "[tool.fastapi] entrypoint in pyproject.toml", directory)


def _unnamed(directory: Path, environ: Mapping[str, str]) -> Found | None:
    django = django_project(directory, environ)
    if django:
        variable = "DJANGO_SETTINGS_MODULE"
        additions = {} if environ.get(variable) else {variable: django.settings}
        return Found(django.app, django.factory, django.why, directory, additions)
    return (
        _in_files(directory, _FASTAPI_FILES, "FastAPI", ("app", "api"))
        or _in_files(directory, _FLASK_FILES, "Flask", ("app", "application"))
        or _in_files(directory, _FILES, None, _NAMES)
        or _named_in_files(directory)
    )


class _Best(NamedTuple):
    name: str
    factory: bool
    why: str


def _in_files(
    directory: Path, files: Iterable[str], kind: str | None, names: Iterable[str]
) -> Found | None:
    for source, root in _sources(directory, files):
        if best := _best(source, kind, names):
            return _found(directory, source, root, best)
    return None


def _named_in_files(directory: Path) -> Found | None:
    for source, root in _sources(directory, _FILES):
        if best := _by_name(source):
            return _found(directory, source, root, best)
    return None


def _sources(directory: Path, files: Iterable[str]) -> Iterator[tuple[Source, Path]]:
    for file in files:
        path = directory / file
        if path.is_file():
            module, root = module_of(path)
            yield Sources(root).file(path, module), root


def _found(directory: Path, source: Source, root: Path, best: _Best) -> Found:
    file = source.path.relative_to(directory).as_posix()
    return Found(f"{source.module}:{best.name}", best.factory, f"{best.why} in {file}", root)


def _best(source: Source, kind: str | None, names: Iterable[str]) -> _Best | None:
    """An instance of `kind`, of any known framework if None: by `names`, then by the alphabet."""
    for name in dict.fromkeys((*names, *sorted(source.bound))):
        made = instance_kind(source, name)
        if made and made == (kind or made):
            return _Best(name, False, f"{made} instance `{name}`")
    for name in _FACTORIES:
        made = factory_kind(source, name)
        if made and made == (kind or made):
            return _Best(name, True, f"{made} factory `{name}`")
    return None


def _by_name(source: Source) -> _Best | None:
    if source.broken:
        return _Best("app", False, "`app`, after the syntax error,")
    return next(
        (_Best(name, False, f"`{name}`") for name in _NAMES if may_be_app(source, name)), None
    )


def _nothing(directory: Path) -> str:
    return (
        f"no application found in {directory}\n"
        "  looked for: FLASK_APP, [tool.fastapi] in pyproject.toml, a Django manage.py,\n"
        f"    a FastAPI instance in {', '.join(_FASTAPI_FILES)},\n"
        f"    a Flask instance or create_app in {', '.join(_FLASK_FILES)},\n"
        f"    app, application or api in one of these or asgi.py\n"
        f"  {_hint(directory)}"
    )


def _hint(directory: Path) -> str:
    """What to type: an application in another file, or another directory, if there is one."""
    files = sorted(path.name for path in directory.glob("*.py"))[:_MOST]
    if found := _in_files(directory, files, None, _NAMES):
        factory = "--factory " if found.factory else ""
        return f"there is a {found.why}; try:  gateway dev {factory}{found.app}"
    for below in sorted(path for path in directory.glob("[!._]*/") if path.is_dir())[:_MOST]:
        if found := _unnamed(below, {}):
            return f"{found.why} of {below.name}/; try:  gateway dev --app-dir {below.name}"
    return "name it:  gateway dev package.module:attribute"
