"""Kinds of value that speak of TLS: certificates, passwords, OpenSSL's numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Final

from gateway.settings.kinds import Choice, Invalid, Kind, Schema, Text, suggest
from gateway.tls.options import KeyPair

__all__ = ["ClientVerification", "KeyPairs", "LowestVersion", "Secret"]

_PAIR: Final = "a list of { certfile = '...', keyfile = '...' }"
_KEYS: Final = ("certfile", "keyfile", "keyfile-password")


class Secret(Text):
    """Text that is nowhere shown."""

    secret: ClassVar[bool] = True

    def show(self, value: object) -> str:
        return "(set)"


class KeyPairs(Kind):
    """Certificates: tables, or texts ``CERTFILE`` and ``CERTFILE,KEYFILE``."""

    metavar = "CERTFILE[,KEYFILE]"
    python = "Sequence[str | Mapping[str, str]]"
    repeats = True
    secret: ClassVar[bool] = True

    def read(self, value: object) -> object:
        items = value.split() if isinstance(value, str) else value
        if isinstance(items, Mapping):
            items = [items]
        if not isinstance(items, (list, tuple)):
            raise Invalid(_PAIR)
        pairs = []
        for index, item in enumerate(items):
            path = (index,) if items is value else ()
            match item:
                case KeyPair():
                    pairs.append(item)
                case str():
                    certfile, comma, keyfile = item.partition(",")
                    pairs.append(KeyPair(certfile=certfile, keyfile=keyfile if comma else None))
                case Mapping():
                    pairs.append(self._table(item, path))
                case _:
                    raise Invalid(_PAIR, path=path)
        return tuple(pairs)

    def _table(self, table: Mapping[object, object], path: tuple[str | int, ...]) -> KeyPair:
        texts: dict[str, str] = {}
        for name, value in table.items():
            key = str(name).replace("_", "-")
            if key not in _KEYS:
                near = suggest(key, _KEYS)
                raise Invalid("a table of certfile, keyfile and keyfile-password", near, path)
            text = os.fspath(value) if isinstance(value, os.PathLike) else value
            if not isinstance(text, str) or not text or "\0" in text:
                raise Invalid("text in quotes", path=(*path, str(name)))
            texts[key] = text
        if "certfile" not in texts:
            raise Invalid(_PAIR, "add certfile = '...'", path)
        return KeyPair(
            certfile=texts["certfile"],
            keyfile=texts.get("keyfile"),
            password=texts.get("keyfile-password"),
        )

    def located(self, value: object, base: Path) -> object:
        """The same files, from `base`."""
        pairs = value if isinstance(value, tuple) else ()
        return tuple(
            KeyPair(
                certfile=str(base / each.certfile),
                keyfile=None if each.keyfile is None else str(base / each.keyfile),
                password=each.password,
            )
            for each in pairs
        )

    def show(self, value: object) -> str:
        if not isinstance(value, tuple):
            return str(value)
        return " ".join(
            each.certfile if each.keyfile is None else f"{each.certfile},{each.keyfile}"
            for each in value
        )

    def schema(self) -> Schema:
        table: Schema = {
            "type": "object",
            "required": ["certfile"],
            "additionalProperties": False,
            "properties": {name: {"type": "string"} for name in _KEYS},
        }
        item: Schema = {"anyOf": [{"type": "string"}, table]}
        return {"anyOf": [{"type": "string"}, {"type": "array", "items": item}]}


class _Numbered(Choice):
    """A choice whose words have numbers in Python's `ssl` module."""

    def __init__(self, options: tuple[str, ...], spellings: Mapping[str, str]) -> None:
        super().__init__(options, spellings)
        self.python = "str | float"

    def read(self, value: object) -> object:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = f"{value:g}"  # also of an enum
        return super().read(value)

    def schema(self) -> Schema:
        return {"anyOf": [super().schema(), {"type": "number"}]}


class LowestVersion(_Numbered):
    """1.2 or 1.3; uvicorn's and gunicorn's numbers and names of protocols are read as the lowest.

    Those of TLS 1.0 and 1.1 are refused (RFC 8996).
    """

    def __init__(self) -> None:
        lowest = dict.fromkeys(("2", "17", "5", "TLS", "TLS_SERVER", "TLSv1_2", "SSLv23"), "1.2")
        names = {f"{prefix}{each}": each for each in ("1.2", "1.3") for prefix in ("tls", "TLSv")}
        super().__init__(("1.2", "1.3"), MappingProxyType(lowest | names))
        self.metavar = "1.2|1.3"

    def read(self, value: object) -> object:
        try:
            return super().read(value)
        except Invalid as error:
            hint = error.hint
            if str(value) in ("3", "4", "TLSv1", "TLSv1_1", "1.0", "1.1", "1"):
                hint = "TLS 1.0 and 1.1 must not be used any more (RFC 8996)"
            raise Invalid(error.expected, hint) from None


class ClientVerification(_Numbered):
    """none, optional or required; also as the numbers and names of Python's `ssl` module."""

    def __init__(self) -> None:
        options = ("none", "optional", "required")
        numbers = {str(number): each for number, each in enumerate(options)}
        names = {f"CERT_{each.upper()}": each for each in options}
        super().__init__(options, MappingProxyType(numbers | names))
        self.metavar = "none|optional|required"
