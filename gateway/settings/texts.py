"""Kinds of text with a meaning: paths, hosts, import strings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from gateway.settings.kinds import Invalid, Kind, Schema, Text

__all__ = [
    "Account",
    "FilePath",
    "Host",
    "ImportString",
    "LogConfig",
    "LogFile",
    "NewFile",
    "Reference",
    "RootPath",
    "complete",
]


def complete(module: str) -> str:
    """The import string somebody meant by a module or a file alone: "mysite.wsgi:application"."""
    module = module.removesuffix(".py").strip("./").replace("/", ".") or "main"
    return f"{module}:{'application' if module.endswith(('wsgi', 'asgi')) else 'app'}"


class FilePath(Text):
    """A path; in a file it is relative to the file, else to the working directory.

    exists: it must, or the setting is wrong.
    """

    metavar = "PATH"
    python = "str | os.PathLike[str]"
    exists: ClassVar[bool] = True

    def read(self, value: object) -> object:
        path = value.__fspath__() if hasattr(value, "__fspath__") else value
        if isinstance(path, str) and "\0" not in path:
            return path
        raise Invalid("a path")


class NewFile(FilePath):
    """A path that need not exist yet."""

    metavar = "FILE"
    exists = False


class LogFile(NewFile):
    """A file to write to; ``-`` is none, the standard stream, as in gunicorn."""

    def read(self, value: object) -> object:
        return None if value == "-" else super().read(value)


class Account(Text):
    """A user or a group of the system, by name or number."""

    metavar = "NAME"
    python = "str | int"

    def read(self, value: object) -> object:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return str(value)
        if isinstance(value, str) and re.fullmatch(r"[^\s:/\0]+", value):
            return value
        raise Invalid("a name or a number")

    def schema(self) -> Schema:
        return {"type": ["string", "integer"]}


class Host(Text):
    """A host name or an IP address, with or without brackets."""

    metavar = "HOST"

    def read(self, value: object) -> object:
        expected = "a host name or address"
        if not isinstance(value, str) or not value or re.search(r"[\s/]", value):
            raise Invalid(expected)
        name, colon, port = value.rpartition(":")
        if colon and ":" not in name and not value.startswith("["):
            raise Invalid(expected, f"give host {name} and port {port}, or bind {value}")
        return value


class RootPath(Text):
    metavar = "PATH"
    takes_empty = True

    def read(self, value: object) -> object:
        if not isinstance(value, str) or (value and not value.startswith("/")):
            hint = f"write '/{value}'" if isinstance(value, str) else ""
            raise Invalid("a path that begins with '/', or empty", hint)
        return value.rstrip("/")


class ImportString(Kind):
    """Reads ``package.module:attribute`` or, from Python, the application itself."""

    metavar = "MODULE:APP"
    python = "object"

    def read(self, value: object) -> object:
        if callable(value):
            return value
        expected = "an application written module:attribute"
        if not isinstance(value, str):
            raise Invalid(expected)
        module, _, attribute = value.partition(":")
        if not attribute:
            raise Invalid(expected, f"try {complete(module)}")
        # What follows the colon may be a call with arguments; the importer reads it.
        if not all(map(str.isidentifier, module.split("."))):
            raise Invalid(expected)
        return value

    def show(self, value: object) -> str:
        return value if isinstance(value, str) else repr(value)


class Reference(Text):
    """A ``package.module``, or ``package.module:attribute`` of something that is no application."""

    metavar = "MODULE[:NAME]"

    def read(self, value: object) -> object:
        module, colon, name = value.partition(":") if isinstance(value, str) else ("", "", "")
        names = [*module.split("."), *(name.split(".") if colon else ())]
        if all(map(str.isidentifier, names)):
            return value
        raise Invalid("an import string, module or module:attribute")


class LogConfig(FilePath):
    """A file, or the dictionary `logging.config.dictConfig` takes."""

    python = "str | os.PathLike[str] | Mapping[str, object]"

    def read(self, value: object) -> object:
        if isinstance(value, Mapping):
            return value
        return super().read(value)

    def schema(self) -> Schema:
        return {"type": ["string", "object"]}
