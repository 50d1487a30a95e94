"""Where settings come from: a file, or words (flags, variables, Python keywords).

A source names its values, tells their origin, and shows a problem to the operator at its place.
"""

from __future__ import annotations

import re
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Final

from gateway.errors import ConfigError
from gateway.settings.kinds import Invalid
from gateway.settings.places import Lines, Path, Places, Span

__all__ = ["Source", "TomlFile", "Words", "substitute"]

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_TOML_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


class Source(ABC):
    """``path`` is the way to a value inside the source; () is the source itself."""

    @abstractmethod
    def name(self, path: Path) -> str:
        """What a message calls the setting: "'port'" in a file, "--port" for a flag."""

    @abstractmethod
    def origin(self, path: Path) -> str:
        """For `gateway config`: "gateway.toml:3", "flag --port"."""

    @abstractmethod
    def problem(self, text: str, hint: str, path: Path, on_key: bool = False) -> str:
        """The message, at its place. on_key: the name is wrong, not the value."""


class Words(Source):
    """Values that have no place but their name."""

    def __init__(self, name: str, origin: str) -> None:
        self._name = name
        self._origin = origin

    def name(self, path: Path) -> str:
        return ".".join([self._name, *map(str, path)])

    def origin(self, path: Path) -> str:
        return self._origin

    def problem(self, text: str, hint: str, path: Path, on_key: bool = False) -> str:
        return f"{text}\n  {hint}" if hint else text


class TomlFile(Source):
    """A gateway.toml, or the ``[tool.gateway]`` table of a pyproject.toml.

    path: the file. shown: how messages name it. table: its settings, without the table [dev].
    dev: what [dev] lays over them, None where there is none.
    """

    def __init__(self, path: FilePath, shown: str, prefix: Path = ()) -> None:
        """Read the file. Raises ConfigError when it cannot be read or is not TOML."""
        self.path = path
        self.shown = shown
        self._prefix = prefix
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{shown}: not UTF-8 (byte {error.start})") from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigError(f"{shown}: {reason[:1].lower()}{reason[1:]}") from None
        self._text = text
        self._lines = Lines(text)
        try:
            document: object = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(self._syntax_error(text, str(error))) from None
        self._places = Places(text)
        for name in prefix:
            document = document.get(name) if isinstance(document, dict) else None
        self.found = document is not None
        table: dict[str, object] = document if isinstance(document, dict) else {}
        self.dev = table.pop("dev", None)
        self.table: Mapping[str, object] = table

    def name(self, path: Path) -> str:
        return f"'{path[-1]}'" if path else self.shown

    def origin(self, path: Path) -> str:
        return f"{self.shown}:{self.line(path)}"

    def written(self, path: Path) -> str:
        """The value as the file has it: "0o660", not 432."""
        span = self._places[(*self._prefix, *path)].value
        return self._text[span.start : span.end]

    def line(self, path: Path) -> int:
        return self._lines.place(self._places[(*self._prefix, *path)].key.start)[0]

    def problem(self, text: str, hint: str, path: Path, on_key: bool = False) -> str:
        place = self._places[(*self._prefix, *path)]
        return self._shown(text, hint, place.key if on_key else place.value)

    def _shown(self, text: str, hint: str, span: Span) -> str:
        number, column = self._lines.place(span.start)
        return f"{self.shown}:{number}:{column}: {text}\n{self._lines.quote(span, hint)}"

    def _syntax_error(self, text: str, message: str) -> str:
        """A TOML syntax error in the shape of all others; a name given twice tells the first."""
        found = _TOML_PLACE.search(message)
        message = _TOML_PLACE.sub("", message)
        start = len(text.rstrip("\n"))
        if found and found[1]:
            start = self._lines.offset(int(found[1]), int(found[2]))
        span, hint = Span(start, start + 1), ""
        try:
            duplicates = Places(text).duplicates
        except ValueError:
            duplicates = []
        if duplicates:
            path, first, span = duplicates[0]
            what = "mounted" if len(path) > 1 and path[-2] == "mounts" else "given"
            message = f"'{path[-1]}' is {what} twice"
            hint = f"first at line {self._lines.place(first.start)[0]}"
        else:
            message = f"not TOML: {message[:1].lower()}{message[1:]}"
        shown = self._shown(message, hint, span)
        return f"{shown}\n1 problem in {self.shown}; nothing was started."


def substitute(value: object, environ: Mapping[str, str]) -> object:
    """``${VAR}`` and ``${VAR:-default}`` in the strings of a value, replaced.

    An empty variable takes the default, as in a shell. Raises `Invalid` for one without a value.
    """
    if isinstance(value, str):
        for match in _VARIABLE.finditer(value):
            if match[2] is None and match[1] not in environ:
                raise Invalid(
                    f"the environment has no {match[1]}", f"write ${{{match[1]}:-default}}"
                )
        return _VARIABLE.sub(lambda m: environ.get(m[1], "") or m[2] or "", value)
    if isinstance(value, (list, dict)):
        steps = enumerate(value) if isinstance(value, list) else value.items()
        done: dict[str | int, object] = {}
        for step, item in steps:
            try:
                done[step] = substitute(item, environ)
            except Invalid as error:
                raise Invalid(error.expected, error.hint, (step, *error.path)) from None
        return list(done.values()) if isinstance(value, list) else done
    return value
