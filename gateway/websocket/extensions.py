"""The header field Sec-WebSocket-Extensions (RFC 6455, section 9.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeAlias

__all__ = ["Offer", "parse_offers"]

Offer: TypeAlias = "tuple[bytes, list[tuple[bytes, bytes | None]]]"
"""(extension, its parameters in order); a parameter without a value has None."""

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_NAME: Final = re.compile(rb"[ \t]*(%b)[ \t]*" % _TOKEN)
_PARAMETER: Final = re.compile(
    rb';[ \t]*(%b)[ \t]*(?:=[ \t]*(?:(%b)|"((?:[^"\\]|\\.)*)")[ \t]*)?' % (_TOKEN, _TOKEN)
)
_EMPTY: Final = re.compile(rb"[ \t]*(?:,|$)")
_ESCAPE: Final = re.compile(rb"\\(.)")
_IS_TOKEN: Final = re.compile(_TOKEN).fullmatch


def parse_offers(values: Sequence[bytes]) -> list[Offer]:
    """The extensions of all the field's values, in the client's order of preference.

    Several fields are one list, and its empty elements are skipped (RFC 9110, section 5.6.1).

    Raises ValueError for what the grammar does not allow; a quoted value has to be a token
    once it is unquoted.
    """
    offers: list[Offer] = []
    for value in values:
        at = 0
        while at < len(value):
            empty = _EMPTY.match(value, at)
            if empty is not None:
                at = empty.end()
                continue
            name = _NAME.match(value, at)
            if name is None:
                raise ValueError("an extension has no name")
            parameters: list[tuple[bytes, bytes | None]] = []
            at = name.end()
            while (found := _PARAMETER.match(value, at)) is not None:
                parameters.append((found[1], _unquoted(found[2], found[3])))
                at = found.end()
            if value[at : at + 1] not in (b"", b","):
                raise ValueError("an extension's parameters are malformed")
            offers.append((name[1], parameters))
            at += 1
    return offers


def _unquoted(token: bytes | None, quoted: bytes | None) -> bytes | None:
    if quoted is None:
        return token
    value = _ESCAPE.sub(rb"\1", quoted)
    if _IS_TOKEN(value) is None:
        raise ValueError("an extension's quoted value is not a token")
    return value
