"""Kinds of several values: addresses, trusted networks, directories, patterns, header fields."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, cast, get_args

from gateway.settings.bind import Bind, ProxyProtocol
from gateway.settings.kinds import Invalid, Kind, Schema, suggest

__all__ = ["Binds", "Directories", "Fields", "Listeners", "Networks", "Origins", "Patterns"]

_ADDRESS: Final = (
    "an address such as 127.0.0.1:8000, [::]:8000, unix:/run/app.sock, fd://3 or systemd:NAME"
)

_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def _items(value: object, expected: str, separator: str = ",") -> list[str]:
    if isinstance(value, str):
        return [item.strip() for item in value.split(separator) if item.strip()]
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            if not isinstance(item, str):
                raise Invalid(expected, path=(index,))
        return [item.strip() for item in value]
    raise Invalid(expected)


def _problem(text: str) -> str:
    """Why `text` is no field value."""
    if "\n" in text or "\r" in text:
        return "the value has a line break; one field each"
    character = _VALUE.sub("", text)[0]
    what = "character outside Latin-1" if character > "\xff" else "control character"
    return f"the value has a {what}, {character!r}"


class Binds(Kind):
    """Addresses to listen on; text may hold several with commas between."""

    metavar = "ADDRESS"
    python = "str | Sequence[str]"
    repeats = True

    def read(self, value: object) -> object:
        addresses = _items(value, _ADDRESS)
        for index, address in enumerate(addresses):
            path = (index,) if not isinstance(value, str) else ()
            if not self._parsed(address, path).plain:
                raise Invalid("an address alone", path=path)
        return tuple(addresses)

    def _parsed(self, address: str, path: tuple[str | int, ...]) -> Bind:
        try:
            return Bind.parse(address)
        except ValueError as error:
            raise Invalid(_ADDRESS, str(error), path) from None

    def show(self, value: object) -> str:
        return ", ".join(value) if isinstance(value, tuple) else str(value)

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


class Listeners(Binds):
    """Addresses to listen on, each with what is special about it.

    Text ``0.0.0.0:80 redirect=https``, or a table with ``address`` and ``tls``, ``redirect`` or
    ``proxy-protocol``.
    """

    python = "str | Sequence[str | Mapping[str, object]]"

    def read(self, value: object) -> object:
        if isinstance(value, Mapping):
            return (self._table(value, ()),)
        if not isinstance(value, (list, tuple)):
            items = _items(value, _ADDRESS)
            return tuple(self._item(item, ()) for item in items)
        return tuple(self._item(item, (index,)) for index, item in enumerate(value))

    def _item(self, item: object, path: tuple[str | int, ...]) -> str:
        if isinstance(item, Mapping):
            return self._table(item, path)
        text = _items([item], _ADDRESS)[0] if isinstance(item, str) else ""
        bind = self._parsed(text, path)
        return bind.text if " " in text else text

    def _table(self, table: Mapping[object, object], path: tuple[str | int, ...]) -> str:
        known = ("address", "tls", "redirect", "proxy-protocol")
        table = {str(name).replace("_", "-"): value for name, value in table.items()}
        for name in table:
            if name not in known:
                near = suggest(str(name), known)
                expected = "a table of address, and tls, redirect or proxy-protocol"
                raise Invalid(expected, near, path)
        address = table.get("address")
        if not isinstance(address, str):
            raise Invalid("an address, or a table with one", "add address = '0.0.0.0:80'", path)
        bind = self._parsed(address, (*path, "address"))
        tls = table.get("tls", bind.tls)
        if tls is not None and not isinstance(tls, bool):
            raise Invalid("true or false", path=(*path, "tls"))
        mode = table.get("proxy-protocol", bind.proxy_protocol)
        if mode is not None and mode not in get_args(ProxyProtocol):
            raise Invalid("one of off, v1, v2, auto", path=(*path, "proxy-protocol"))
        bind = replace(bind, proxy_protocol=cast("ProxyProtocol | None", mode))
        redirect = table.get("redirect")
        if redirect not in (None, "https"):
            raise Invalid("'https'", path=(*path, "redirect"))
        if redirect and tls:
            raise Invalid("left out beside redirect", "it speaks plain HTTP", (*path, "tls"))
        if redirect:
            return replace(bind, redirect=True, tls=False).text
        return replace(bind, tls=tls).text

    def schema(self) -> Schema:
        table: Schema = {
            "type": "object",
            "required": ["address"],
            "additionalProperties": False,
            "properties": {
                "address": {"type": "string"},
                "tls": {"type": "boolean"},
                "redirect": {"enum": ["https"]},
                "proxy-protocol": {"enum": list(get_args(ProxyProtocol))},
            },
        }
        item: Schema = {"anyOf": [{"type": "string"}, table]}
        return {"anyOf": [{"type": "string"}, table, {"type": "array", "items": item}]}


class Networks(Binds):
    """Trusted peers: IP addresses, networks, literals such as a socket's path, or "*"."""

    metavar = "ADDRESSES"
    repeats = False

    def read(self, value: object) -> object:
        expected = "a list of IP addresses and networks, or '*'"
        peers = _items(value, expected)
        for index, peer in enumerate(peers):
            # Other servers keep what they cannot parse as a literal, so that 10.0.0.1/8 or
            # 10.0.0.0/33 silently trusts nobody; only names without such a shape stay literals.
            if peer.startswith("/") or not re.match(r"[0-9.]+(/|$)|[0-9a-fA-F]*:", peer):
                continue
            try:
                ipaddress.ip_network(peer)
            except ValueError as error:
                path = (index,) if not isinstance(value, str) else ()
                raise Invalid(expected, self._correct(peer) or str(error), path) from None
        return tuple(peers)

    def _correct(self, peer: str) -> str:
        try:
            return f"did you mean '{ipaddress.ip_network(peer, strict=False)}'?"
        except ValueError:
            return ""


class Patterns(Binds):
    """Glob patterns; text may hold several with commas between."""

    metavar = "GLOB"

    def read(self, value: object) -> object:
        expected = "a list of patterns such as '*.html'"
        patterns = _items(value, expected)
        for index, pattern in enumerate(patterns):
            if not pattern:
                raise Invalid(expected, path=(index,))
        return tuple(patterns)


class Directories(Binds):
    """Paths; in a file they are relative to the file, else to the working directory."""

    metavar = "DIRECTORY"
    python = "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]"

    def read(self, value: object) -> object:
        expected = "a list of directories"
        if isinstance(value, os.PathLike):
            value = [value]
        if isinstance(value, (list, tuple)):
            value = [os.fspath(each) if isinstance(each, os.PathLike) else each for each in value]
        paths = _items(value, expected)
        for index, path in enumerate(paths):
            if not path or "\0" in path:
                raise Invalid(expected, path=(index,))
        return tuple(paths)


class Origins(Binds):
    """Origins as browsers write them (RFC 6454, section 6.2); text may hold several with commas.

    "null" is what pages without an origin send; "none", read as "", a client that sends nothing.
    """

    metavar = "ORIGIN"

    def read(self, value: object) -> object:
        expected = "an origin such as https://example.com"
        origins = [origin.lower() for origin in _items(value, expected)]
        for index, origin in enumerate(origins):
            if origin not in ("null", "none", "") and not _ORIGIN.fullmatch(origin):
                path = (index,) if not isinstance(value, str) else ()
                raise Invalid(expected, self._correct(origin), path)
        return tuple("" if origin == "none" else origin for origin in origins)

    def _correct(self, origin: str) -> str:
        if origin == "*":
            return "leave it out for any"
        if _ORIGIN.fullmatch(f"https://{origin}"):
            return f"write 'https://{origin}'"
        start = _ORIGIN.match(origin)
        if start is None or origin[start.end()] != "/":
            return ""
        return f"write '{start[0]}', without a path"

    def show(self, value: object) -> str:
        return super().show(tuple(each or "none" for each in value)) if value else ""  # type: ignore[attr-defined]


class Fields(Kind):
    """Response header fields: ``Name: Value`` texts, a table, or pairs.

    Text in the environment has one field a line, as a value may hold any other separator.
    """

    metavar = "NAME:VALUE"
    python = "Sequence[str | tuple[str, str]] | Mapping[str, str]"
    repeats = True

    def read(self, value: object) -> object:
        fields: list[tuple[str, str]] = []
        items: list[tuple[tuple[str | int, ...], object]] = []
        if isinstance(value, str):
            items = [((), line) for line in value.splitlines() if line.strip()]
        elif isinstance(value, Mapping):
            items = [((name,), (name, text)) for name, text in value.items()]
        elif isinstance(value, (list, tuple)):
            items = [((index,), item) for index, item in enumerate(value)]
        else:
            raise Invalid("a list of 'Name: Value'")
        for path, item in items:
            pair = item.split(":", 1) if isinstance(item, str) else item
            match pair:
                case [str(name), str(text)] if _TOKEN.fullmatch(name.strip()):
                    if not _VALUE.fullmatch(text):
                        raise Invalid("a list of 'Name: Value'", _problem(text), path)
                    fields.append((name.strip(), text.strip()))
                case _:
                    raise Invalid("a list of 'Name: Value'", "write 'Name: Value'", path)
        return tuple(fields)

    def show(self, value: object) -> str:
        if isinstance(value, tuple):
            return ", ".join(f"{name}: {text}" for name, text in value)
        return str(value)

    def schema(self) -> Schema:
        texts: Schema = {"type": "array", "items": {"type": "string"}}
        table: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
        return {"anyOf": [{"type": "string"}, texts, table]}
