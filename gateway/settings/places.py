"""Where the keys and values of a TOML document stand, for error messages.

tomllib reads the values and says nothing about places; this scanner finds places and reads no
values. It expects a document tomllib accepts, so it checks nothing.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["Lines", "Path", "Place", "Places", "Span"]

Path: TypeAlias = tuple[str | int, ...]
"""Keys and list indexes from the root: ("mounts", "/api", "middleware", 0)."""

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY: Final = re.compile(r'[ \t]*("(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|[A-Za-z0-9_-]+)[ \t]*')
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")|\'\'\'.*?\'{3,5}(?!\')|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'',
    re.DOTALL,
)
_SCALAR: Final = re.compile(r"[^,\]}#\r\n]*[^,\]}#\s]")


@dataclass(frozen=True, slots=True)
class Span:
    """Characters ``start`` up to ``end`` of the document."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Place:
    """A key and its value; for a table both are its header's key."""

    key: Span
    value: Span


class Lines:
    """Lines and columns of a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = text.split("\n")

    def __len__(self) -> int:
        return len(self._lines)

    def place(self, offset: int) -> tuple[int, int]:
        """(line, column), both counted from 1."""
        before = self._text[:offset]
        return before.count("\n") + 1, offset - before.rfind("\n")

    def offset(self, line: int, column: int) -> int:
        return sum(len(each) + 1 for each in self._lines[: line - 1]) + column - 1

    def line(self, number: int) -> str:
        return self._lines[number - 1].rstrip("\r")

    def quote(self, span: Span, note: str) -> str:
        """The line of the span, marked below, with a note beside the mark."""
        number, column = self.place(span.start)
        line = self.line(number)
        length = max(1, min(span.end - span.start, len(line) - column + 1))
        # Tabs are kept, so that the mark stands right whatever their width.
        indent = re.sub(r"[^\t]", " ", line[: column - 1])
        marked = f"{number:>6} | {line}\n       | {indent}{'^' * length} {note}"
        return marked.rstrip()


class Places:
    """The places of a document, by path.

    duplicates: (path, first, second) of what is given twice, which tomllib refuses without saying
        where the first one stands. Raises ValueError where the text is not TOML.
    """

    def __init__(self, text: str) -> None:
        self.duplicates: list[tuple[Path, Span, Span]] = []
        self._text = text
        self._found: dict[Path, Place] = {}
        self._given: set[Path] = set()
        self._lengths: dict[Path, int] = {}
        try:
            self._scan()
        except IndexError:
            raise ValueError("the document ends inside a value") from None

    def __getitem__(self, path: Path) -> Place:
        """The place of the path, or of the nearest thing around it that has one."""
        while path and path not in self._found:
            path = path[:-1]
        return self._found.get(path, Place(Span(0, 0), Span(0, 0)))

    def __contains__(self, path: Path) -> bool:
        return path in self._found

    def _scan(self) -> None:
        text = self._text
        table: Path = ()
        at = self._blank(0)
        while at < len(text):
            if text.startswith("[[", at):
                keys, at = self._keys(at + 2)
                table = self._resolve(keys[:-1])
                last, span = keys[-1]
                array = (*table, last)
                index = self._lengths.get(array, 0)
                self._lengths[array] = index + 1
                self._found.setdefault(array, Place(span, span))
                table = (*array, index)
                self._record(table, Place(span, span))
                at += 2
            elif text[at] == "[":
                keys, at = self._keys(at + 1)
                table = self._resolve(keys)
                self._record(table, Place(keys[-1][1], keys[-1][1]))
                at += 1
            else:
                at = self._pair(table, at)
            at = self._blank(at)

    def _blank(self, at: int) -> int:
        match = _BLANK.match(self._text, at)
        return match.end() if match else at

    def _keys(self, at: int) -> tuple[list[tuple[str, Span]], int]:
        """The parts of a dotted key from ``at``, and where it ends."""
        keys = []
        while match := _KEY.match(self._text, at):
            raw = match[1]
            name = tomllib.loads(f"k = {raw}")["k"] if raw[0] in "\"'" else raw
            keys.append((name, Span(*match.span(1))))
            at = match.end()
            if not self._text.startswith(".", at):
                break
            at += 1
        if not keys:
            raise ValueError(f"no key at {at}")
        return keys, at

    def _resolve(self, keys: list[tuple[str, Span]]) -> Path:
        """The path of a table header: a name of an array of tables means its last table."""
        path: Path = ()
        for name, span in keys:
            path = (*path, name)
            self._found.setdefault(path, Place(span, span))
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
        return path

    def _pair(self, table: Path, at: int) -> int:
        """Record ``key = value``; gives where it ends."""
        keys, at = self._keys(at)
        path = table
        for name, span in keys[:-1]:
            path = (*path, name)
            self._found.setdefault(path, Place(span, span))
        name, span = keys[-1]
        start = self._blank(at + 1)
        end = self._value((*path, name), start)
        self._record((*path, name), Place(span, Span(start, end)))
        return end

    def _value(self, path: Path, at: int) -> int:
        """Record what is inside a value; gives where it ends."""
        text = self._text
        if text[at] in "[{":
            closing = "]" if text[at] == "[" else "}"
            index = 0
            at = self._blank(at + 1)
            while text[at] != closing:
                if closing == "]":
                    start = at
                    at = self._value((*path, index), at)
                    self._record((*path, index), Place(Span(start, at), Span(start, at)))
                    index += 1
                else:
                    at = self._pair(path, at)
                at = self._blank(at)
                if text[at] == ",":
                    at = self._blank(at + 1)
            return at + 1
        match = (_STRING if text[at] in "\"'" else _SCALAR).match(text, at)
        if match is None:
            raise ValueError(f"no value at {at}")
        return match.end()

    def _record(self, path: Path, place: Place) -> None:
        if path in self._given:
            self.duplicates.append((path, self._found[path].key, place.key))
        self._given.add(path)
        self._found[path] = place
