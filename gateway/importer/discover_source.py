"""What a module defines, read from its source: nothing of the project is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

__all__ = ["Binding", "Imported", "Source", "Sources", "module_of"]


class Imported(NamedTuple):
    """A name that an import statement binds."""

    module: str
    attribute: str | None  # None: the module itself


Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"
Binding: TypeAlias = "ast.expr | Function | ast.ClassDef | Imported"


def module_of(path: Path) -> tuple[str, Path]:
    """The dotted name of a module, and the directory it is imported from.

    path: a file or a package. Every directory with an ``__init__.py`` above it is a package it
        belongs to, as ``flask`` and ``fastapi`` see it.
    """
    path = (
        path.parent if path.name == "__init__.py" else path.with_name(path.name.removesuffix(".py"))
    )
    parts = [path.name]
    while (path.parent / "__init__.py").is_file() and path.parent != path:
        path = path.parent
        parts.insert(0, path.name)
    return ".".join(parts), path.parent


class Sources:
    """The modules below some directories, read when they are asked for.

    roots: directories in which modules are looked up, the first one first.
    """

    def __init__(self, *roots: Path) -> None:
        self.roots = roots
        self._read: dict[Path, Source] = {}

    def module(self, name: str) -> Source | None:
        """The module with this dotted name, None if there is no file of it."""
        if not all(name.split(".")):
            return None
        for root in self.roots:
            path = root.joinpath(*name.split("."))
            for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
                if file.is_file():
                    return self.file(file, name)
        return None

    def file(self, path: Path, module: str) -> Source:
        if path not in self._read:
            self._read[path] = Source(self, path, module)
        return self._read[path]


class Source:
    """The top-level names of one module, by the last statement that binds them.

    Statements below ``if``, ``try`` and ``with`` count, except what only a script does
    (``if __name__ == "__main__"``).

    module: its dotted name.
    broken: the file cannot be read or is no Python; it binds nothing then.
    tree, statements: all of it, and what runs when it is imported.
    bound: the names, with the expression, definition or import that each stands for.
    """

    def __init__(self, sources: Sources, path: Path, module: str) -> None:
        self.path = path
        self.module = module
        self.broken = False
        self._sources = sources
        self.bound: dict[str, Binding] = {}
        self._stars: list[str] = []
        try:
            self.tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            self.tree = ast.Module([], [])
            self.broken = True
        self.statements = list(_statements(self.tree.body))
        for statement in self.statements:
            self._bind(statement)

    def constant(self, name: str, depth: int = 4) -> str | None:
        """The string `name` is bound to, here or in a module imported with ``*``.

        depth: of such imports; it ends circles too.
        """
        bound = self.bound.get(name)
        if isinstance(bound, ast.Constant):
            return bound.value if isinstance(bound.value, str) else None
        values = (star.constant(name, depth - 1) for star in self.stars() if depth)
        return next(filter(None, values), None)

    def follow(self, name: Imported) -> tuple[Source, str] | None:
        """The module of the project that an imported name comes from, and its name there."""
        source = self._sources.module(name.module) if name.attribute else None
        return (source, name.attribute) if source and name.attribute else None

    def is_module(self, name: Imported) -> bool:
        dotted = f"{name.module}.{name.attribute}"
        return name.attribute is None or self._sources.module(dotted) is not None

    def dotted(self, value: ast.expr) -> str | None:
        """The full name of what an expression names, by the imports: ``flask.Flask``."""
        if isinstance(value, ast.Attribute):
            left = self.dotted(value.value)
            return left and f"{left}.{value.attr}"
        if not isinstance(value, ast.Name):
            return None
        bound = self.bound.get(value.id)
        if isinstance(bound, Imported):
            return f"{bound.module}.{bound.attribute}" if bound.attribute else bound.module
        return value.id

    def stars(self) -> Iterator[Source]:
        """The modules of the project whose names are all imported, the last one first."""
        for module in reversed(self._stars):
            source = self._sources.module(module)
            if source is not None and source is not self:
                yield source

    def _bind(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    if isinstance(target, ast.Name):
                        self.bound[target.id] = value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                self.bound[name] = value
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self.bound[statement.name] = statement
            case ast.Import(names=aliases):
                for alias in aliases:
                    top = alias.name.partition(".")[0]
                    self.bound[alias.asname or top] = Imported(
                        alias.name if alias.asname else top, None
                    )
            case ast.ImportFrom(names=aliases):
                module = self._absolute(statement)
                for alias in aliases:
                    if alias.name == "*":
                        self._stars.append(module)
                    else:
                        self.bound[alias.asname or alias.name] = Imported(module, alias.name)

    def _absolute(self, statement: ast.ImportFrom) -> str:
        if not statement.level:
            return statement.module or ""
        package = self.module.split(".")
        up = statement.level - (self.path.name == "__init__.py")
        package = package[: len(package) - up] if up else package
        return ".".join([*package, statement.module] if statement.module else package)


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        yield statement
        if isinstance(statement, ast.If) and "__main__" in ast.unparse(statement.test):
            yield from _statements(statement.orelse)
        elif isinstance(statement, ast.If | ast.Try | ast.With):
            for field in ("body", "handlers", "orelse", "finalbody"):
                for each in getattr(statement, field, ()):
                    nested = each.body if isinstance(each, ast.ExceptHandler) else [each]
                    yield from _statements(nested)
