"""Import strings: what they may look like, and the object each one names."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Final, NamedTuple, NoReturn, TypeAlias

from gateway.errors import ConfigError, StartError
from gateway.importer.crash import explain, own_frames
from gateway.importer.suggestions import (
    about_apps,
    about_attributes,
    about_missing_module,
    is_factory,
)

__all__ = ["add_app_dir", "import_app", "import_object"]

_FORM: Final = 'an import string is "package.module:attribute"'


def add_app_dir(path: str) -> None:
    """Put a directory of application code at the front of ``sys.path``; again is harmless.

    path: a relative one counts from the working directory. Raises `ConfigError` if it is none.
    """
    # Path.resolve would follow the "current" link of a deployment and pin one release.
    directory = os.path.abspath(path)  # noqa: PTH100
    # os.path.isdir: where a directory above may not be entered, Path.is_dir raises.
    if not os.path.isdir(directory):  # noqa: PTH112
        raise ConfigError(f"app-dir: there is no directory {directory}")
    if not os.access(directory, os.X_OK):
        raise StartError(f"app-dir: user {os.geteuid()} may not enter {directory}")
    if directory in sys.path:
        sys.path.remove(directory)
    sys.path.insert(0, directory)


def import_app(spec: str, *, factory: bool = False) -> object:
    """Import an application: ``"package.module:attribute"``, where the attribute may be dotted.

    factory: call the attribute without arguments and take what it returns (uvicorn's
        ``--factory``). gunicorn's call form ``"main:create_app('prod', debug=True)"`` implies it;
        arguments are literals, nothing else is evaluated.

    Raises `ConfigError` for a malformed string, `StartError` for everything that goes wrong while
    the module is imported or the factory called, ``sys.exit()`` included. Only KeyboardInterrupt
    passes as it is.
    """
    target = _parse(spec)
    module, value = _load(target, about_apps)
    if factory or target.called:
        return _call(target, value)
    if not callable(value):
        kind = type(value).__name__
        place = value if isinstance(value, ModuleType) else module
        raise StartError(f"{target} is not an application but a {kind}{about_apps(place, '')}")
    if is_factory(value):
        raise StartError(
            f"{target} needs no arguments, so it is not an application\n"
            f"  if it returns one, try:  gateway --factory {target}"
        )
    return value


def import_object(spec: str) -> object:
    """Import what else an operator names by a string: middleware, hooks. Errors as `import_app`."""
    target = _parse(spec)
    if target.called:
        raise ConfigError(f'"{spec}" is a call, but an object is wanted here\n  {_FORM}')
    return _load(target, about_attributes)[1]


class _Target(NamedTuple):
    module: str
    attribute: str
    called: bool
    args: list[object]
    kwargs: dict[str, object]

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"


def _parse(spec: str) -> _Target:
    module, _, expression = spec.strip().partition(":")
    if not expression or not _is_dotted(module):
        problem = "names no attribute" if _is_dotted(module) else "starts with no module name"
        # A path or a bare module is what people write first: tell them the string they meant.
        name = module.removesuffix(".py").strip("./\\").replace("\\", ".").replace("/", ".")
        hint = f"\n  try:  gateway {name}:{expression or 'app'}" if _is_dotted(name) else ""
        raise ConfigError(f'"{spec}" {problem}\n  {_FORM}{hint}')
    try:
        node = ast.parse(expression.strip(), mode="eval").body
        if isinstance(node, ast.Call):
            args = [ast.literal_eval(argument) for argument in node.args]
            kwargs = dict(map(_keyword, node.keywords))
            return _Target(module, _dotted(node.func), True, args, kwargs)
        return _Target(module, _dotted(node), False, [], {})
    except (SyntaxError, ValueError, TypeError):
        raise ConfigError(
            f'"{expression}" is neither an attribute nor a call with literal arguments\n  {_FORM}'
        ) from None


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    raise ValueError("not a dotted name")


def _keyword(node: ast.keyword) -> tuple[str, object]:
    if node.arg is None:
        raise ValueError("a ** argument")
    return node.arg, ast.literal_eval(node.value)


_Hint: TypeAlias = "Callable[[ModuleType, str], str]"


def _load(target: _Target, hint: _Hint) -> tuple[ModuleType, object]:
    try:
        module = importlib.import_module(target.module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        name = error.name if isinstance(error, ModuleNotFoundError) else None
        # Missing is the module itself only if none of the operator's lines asked for it.
        if name and f"{target.module}.".startswith(f"{name}.") and not own_frames(error):
            raise StartError(about_missing_module(name)) from error
        _crash(target, "could not be imported", error)
    value: object = module
    path = target.module
    for depth, name in enumerate(target.attribute.split(".")):
        try:
            value = getattr(value, name)
        except AttributeError as error:
            raise StartError(f'{path} has no attribute "{name}"{hint(module, name)}') from error
        except Exception as error:  # noqa: BLE001 - a lazy module may do anything here
            _crash(target, "could not be read", error)
        path += f".{name}" if depth else f":{name}"
    return module, value


def _call(target: _Target, factory: object) -> object:
    if not callable(factory):
        raise StartError(
            f"{target} is a {type(factory).__name__}, not a function that returns an application"
        )
    if inspect.iscoroutinefunction(factory):
        raise StartError(
            f"{target} is a coroutine function, but factories are called before a loop runs\n"
            "  make it a plain function; what needs the loop belongs into the lifespan"
        )
    _check_arguments(target, factory)
    try:
        app: object = factory(*target.args, **target.kwargs)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - as in _load
        _crash(target, "failed to make an application", error)
    if not callable(app):
        result = "None: is there a return?" if app is None else f"a {type(app).__name__}"
        raise StartError(f"the factory {target} returned no application but {result}")
    return app


def _check_arguments(target: _Target, factory: Callable[..., object]) -> None:
    """Tell wrong arguments from a TypeError inside: only the first is the import string's."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return  # a builtin without one: the call itself will tell
    try:
        signature.bind(*target.args, **target.kwargs)
    except TypeError as error:
        raise StartError(
            f"{target}{signature} cannot be called so: {error}\n"
            f"  arguments are written as literals:  gateway '{target}(\"prod\", debug=True)'"
        ) from None


def _crash(target: _Target, problem: str, error: BaseException) -> NoReturn:
    package = target.module.partition(".")[0]
    raise StartError(f"{target} {problem}\n{explain(error, package)}") from error
