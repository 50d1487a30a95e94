"""What an operator may have meant by a name that is not there.

Each ``about_*`` gives text to append to an error: "" or lines that start with a line break.
"""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Final

__all__ = [
    "about_apps",
    "about_attributes",
    "about_missing_module",
    "is_factory",
    "near_module",
    "shorten",
]

_APP_PARAMETERS: Final = frozenset(("scope", "receive", "send", "environ", "start_response"))


def about_missing_module(name: str) -> str:
    """The whole text for a module that cannot be found, with what may have been meant."""
    parent, _, leaf = name.rpartition(".")
    package = sys.modules.get(parent)
    if package is not None and not hasattr(package, "__path__"):
        hint = f"\n  try:  gateway {parent}:{leaf}" if hasattr(package, leaf) else ""
        return f'no module "{name}": {_file(package)} is not a package{hint}'
    directory = _searched(parent)
    text = f'no module "{name}" in {directory}'
    if near := near_module(name):
        return f'{text}\n  did you mean "{near}" ({_modules_in(directory)[near.split(".")[-1]]})?'
    if package is not None:
        return text
    for place in (directory.parent, *(directory / stem for stem in _modules_in(directory))):
        if leaf in _modules_in(place):
            return f"{text}\n  there is one in {place}; try:  --app-dir {shorten(str(place))}"
    return f"{text}\n  start in the directory of the code, or name it with --app-dir"


def about_attributes(module: ModuleType, name: str) -> str:
    near = _nearest(name, (key for key in vars(module) if not key.startswith("_")))
    return f'\n  did you mean "{module.__name__}:{near}"?' if near else ""


def about_apps(module: ModuleType, name: str) -> str:
    """The applications `module` defines; failing those, its factory or a submodule."""
    file = _file(module)
    apps = {key: value for key, value in vars(module).items() if _is_app(module, value)}
    if apps:
        listed = ", ".join(f"{key} ({type(value).__name__})" for key, value in apps.items())
        best = _nearest(name, apps) or next((key for key in apps if "app" in key), next(iter(apps)))
        return f"\n  {file} defines these apps: {listed}\n  try:  gateway {module.__name__}:{best}"
    for key, value in vars(module).items():
        if "app" in key and _is_own(module, value) and is_factory(value):
            return (
                f"\n  {file} defines no app but a factory: {key}"
                f"\n  try:  gateway --factory {module.__name__}:{key}"
            )
    submodule = f"{module.__name__}.{name}"
    if name and hasattr(module, "__path__") and importlib.util.find_spec(submodule):
        return f"\n  {submodule} is a module; try:  gateway {submodule}:app"
    return f"\n  {file} defines no application"


def near_module(name: str) -> str | None:
    """The dotted name of the module beside it that is spelled most alike, if any is."""
    parent, _, leaf = name.rpartition(".")
    near = _nearest(leaf, _modules_in(_searched(parent)))
    return name.removesuffix(leaf) + near if near else None


def is_factory(value: object) -> bool:
    """A function or class that can be called without arguments, and does not look like an app."""
    if not (inspect.isroutine(value) or inspect.isclass(value)):
        return False
    try:
        inspect.signature(value).bind()
    except (TypeError, ValueError):
        return False
    return not any(
        parameter.kind is parameter.VAR_POSITIONAL or parameter.name in _APP_PARAMETERS
        for parameter in _parameters(value)
    )


def shorten(path: str) -> str:
    """Relative to the working directory where that is shorter."""
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive on Windows
        return path
    return path if relative.startswith(f"..{os.sep}..") else relative


def _is_app(module: ModuleType, value: object) -> bool:
    """Looks like an application by the names of its parameters; nothing is called.

    Enough for a list of what may have been meant. Which interface an application has is decided
    by its shape, elsewhere.
    """
    if inspect.isclass(value) or (inspect.isroutine(value) and not _is_own(module, value)):
        return False
    call = value if inspect.isroutine(value) else inspect.getattr_static(value, "__call__", None)
    names = [parameter.name for parameter in _parameters(call)]
    return names[-3:] == ["scope", "receive", "send"] or names[-1:] == ["start_response"]


def _is_own(module: ModuleType, value: object) -> bool:
    return getattr(value, "__module__", None) == module.__name__


def _parameters(value: object) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(value).parameters.values())  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return []


def _searched(package: str) -> Path:
    """The directory a module is looked for in first: of its package, or of the application."""
    paths = getattr(sys.modules.get(package), "__path__", sys.path)
    return Path(next(iter(paths), "")).absolute()


def _modules_in(directory: Path) -> dict[str, str]:
    """Module name to file name; a directory needs no __init__.py to be a package (PEP 420)."""
    found: dict[str, str] = {}
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if path.suffix == ".py" and path.stem.isidentifier():
            found[path.stem] = path.name
        elif path.name.isidentifier() and path.is_dir():
            found.setdefault(path.name, f"{path.name}/")
    return found


def _nearest(name: str, names: Iterable[str]) -> str | None:
    spellings = {candidate.lower(): candidate for candidate in names}
    near = difflib.get_close_matches(name.lower(), spellings, n=1)
    return spellings[near[0]] if near else None


def _file(module: ModuleType) -> str:
    """How the operator calls the file of a module."""
    file = getattr(module, "__file__", None)  # a built-in module has none
    return shorten(file) if file else module.__name__
