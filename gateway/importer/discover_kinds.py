"""Which framework made the object a name stands for, told from the source."""

from __future__ import annotations

import ast
from typing import Final

from gateway.importer.discover_source import Imported, Source

__all__ = ["factory_kind", "instance_kind", "is_function", "may_be_app"]

# Class names by the package they are imported from, and the kind of application they make.
_KINDS: Final = {
    ("flask", "Flask"): "Flask",
    ("apiflask", "APIFlask"): "Flask",
    ("flask_openapi3", "OpenAPI"): "Flask",
    ("fastapi", "FastAPI"): "FastAPI",
    ("fastapi_offline", "FastAPIOffline"): "FastAPI",
    ("starlette", "Starlette"): "Starlette",
    ("quart", "Quart"): "Quart",
    ("litestar", "Litestar"): "Litestar",
    ("falcon", "App"): "Falcon",
    ("bottle", "Bottle"): "Bottle",
}

# Names are followed through this many imports, aliases and base classes; circles end here as well.
_DEPTH: Final = 8


def instance_kind(source: Source, name: str, depth: int = _DEPTH) -> str | None:
    """What `name` is an instance of: "Flask", "FastAPI", …; None where that is not known."""
    bound = source.bound.get(name)
    if isinstance(bound, Imported):
        there = source.follow(bound) if depth else None
        return instance_kind(*there, depth - 1) if there else None
    if bound is None and depth:
        kinds = (instance_kind(star, name, depth - 1) for star in source.stars())
        return next(filter(None, kinds), None)
    return _kind_of(source, bound, depth) if isinstance(bound, ast.expr) else None


def factory_kind(source: Source, name: str) -> str | None:
    """What the function `name` makes when it is called without arguments."""
    found = _function(source, name, _DEPTH)
    return None if found is None or _required(found[1].args) else _made_by(*found, _DEPTH)


def is_function(source: Source, name: str) -> bool:
    return _function(source, name, _DEPTH) is not None


def may_be_app(source: Source, name: str) -> bool:
    """`name` is bound to something that is not evidently anything else than an application."""
    bound = source.bound.get(name)
    if isinstance(bound, Imported):
        return not source.is_module(bound)
    if isinstance(bound, ast.FunctionDef | ast.AsyncFunctionDef):
        return _required(bound.args) > 0 or bound.args.vararg is not None
    return isinstance(bound, ast.Call | ast.Name | ast.Attribute)


def _kind_of(source: Source, value: ast.expr, depth: int) -> str | None:
    if isinstance(value, ast.Name) and depth:
        return instance_kind(source, value.id, depth - 1)
    if not isinstance(value, ast.Call):
        return None
    kind = _kind_of_class(source, value.func, depth)
    if kind is None and isinstance(value.func, ast.Name):
        function = _function(source, value.func.id, depth)
        kind = _made_by(*function, depth) if function else None
    return kind


def _kind_of_class(source: Source, value: ast.expr, depth: int) -> str | None:
    """By what it is imported as, else by its base classes."""
    package, _, rest = (source.dotted(value) or "").partition(".")
    known = _KINDS.get((package, rest.rpartition(".")[2]))
    if known or not depth or not isinstance(value, ast.Name):
        return known
    bound = source.bound.get(value.id)
    if isinstance(bound, ast.ClassDef):
        kinds = (_kind_of_class(source, base, depth - 1) for base in bound.bases)
        return next(filter(None, kinds), None)
    there = source.follow(bound) if isinstance(bound, Imported) else None
    return _kind_of_class(there[0], ast.Name(there[1]), depth - 1) if there else None


def _function(source: Source, name: str, depth: int) -> tuple[Source, ast.FunctionDef] | None:
    bound = source.bound.get(name)
    if isinstance(bound, ast.FunctionDef):
        return source, bound
    there = source.follow(bound) if isinstance(bound, Imported) and depth else None
    return _function(*there, depth - 1) if there else None


def _made_by(source: Source, function: ast.FunctionDef, depth: int) -> str | None:
    """By the return annotation, else by the first application the function makes."""
    kind = _kind_of_class(source, function.returns, depth) if function.returns else None
    if kind is None and depth:
        calls = (node for node in ast.walk(function) if isinstance(node, ast.Call))
        kind = next(filter(None, (_kind_of(source, call, depth - 1) for call in calls)), None)
    return kind


def _required(arguments: ast.arguments) -> int:
    positional = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    return positional + sum(default is None for default in arguments.kw_defaults)
