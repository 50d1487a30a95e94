"""The Forwarded field (RFC 7239), read from the right."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["elements_from_right"]


def elements_from_right(text: str) -> Iterator[dict[str, str]]:
    """Yield the elements of a Forwarded field's value, the nearest proxy's first.

    Each is a mapping of lower-case parameter names to values, unquoted; an element that breaks the
    grammar is an empty mapping. Read from the right because that end was written by a proxy: a
    quote that a client left open on the left then cannot swallow what the proxies added. Lazy,
    and linear in what is read.
    """
    end = len(text)
    while end >= 0:
        start = _element_start(text, end)
        element = text[start:end].strip()
        if element:
            yield _parameters(element)
        end = start - 1


def _element_start(text: str, end: int) -> int:
    """The index after the last comma before `end` that is not inside a quoted string."""
    quoted = False
    position = end
    while position:
        position -= 1
        character = text[position]
        if character == '"':
            if not _escaped(text, position):
                quoted = not quoted
        elif character == "," and not quoted:
            return position + 1
    return 0


def _escaped(text: str, position: int) -> bool:
    before = position
    while before and text[before - 1] == "\\":
        before -= 1
    return (position - before) % 2 == 1


def _parameters(element: str) -> dict[str, str]:
    found: dict[str, str] = {}
    position = 0
    while position < len(element):
        equals = element.find("=", position)
        if equals < 0:
            return {}
        name = element[position:equals].strip().lower()
        if element[equals + 1 : equals + 2] == '"':
            value, position = _quoted(element, equals + 2)
            semicolon = element.find(";", position)
            end = len(element) if semicolon < 0 else semicolon
            if position < 0 or element[position:end].strip():
                return {}
        else:
            semicolon = element.find(";", equals)
            end = len(element) if semicolon < 0 else semicolon
            value = element[equals + 1 : end].strip()
        if not name or name in found or '"' in name:
            return {}
        found[name] = value
        position = end + 1
    return found


def _quoted(text: str, position: int) -> tuple[str, int]:
    """The quoted string whose content begins at `position`, and the index after it (-1: open)."""
    characters: list[str] = []
    while position < len(text):
        character = text[position]
        if character == '"':
            return "".join(characters), position + 1
        if character == "\\":
            position += 1
            character = text[position : position + 1]
        characters.append(character)
        position += 1
    return "", -1
