"""What an application gives ``start_response``, in the form of an exchange (PEP 3333)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway.head import Headers

__all__ = ["FieldNames", "check_chunk", "encode_fields", "parse_status"]

_NAMES_KEPT: Final = 512


class FieldNames(dict[str, bytes]):
    """Field name as the application spells it → lower-case bytes; remembers the first 512."""

    def __missing__(self, name: str) -> bytes:
        encoded = name.lower().encode("latin-1")
        if len(self) < _NAMES_KEPT:
            self[name] = encoded
        return encoded


def parse_status(status: str) -> int:
    """200 from ``"200 OK"``. The reason stays behind: HTTP/2 has none and clients ignore it.

    PEP 3333: "a status string of the form "999 Message here"". Raises TypeError and ValueError.
    """
    if not isinstance(status, str):
        raise TypeError(f"a status is a str like '200 OK', not {status!r}")
    code = status[:3]
    if status[3:4] != " " or not (code.isascii() and code.isdigit()):
        raise ValueError(f"a status is three digits, a space and a reason, not {status!r}")
    return int(code)


def encode_fields(headers: Iterable[tuple[str, str]], names: FieldNames) -> Headers:
    """The fields as bytes. Raises TypeError and ValueError, naming the first wrong one."""
    try:
        return [(names[name], value.encode("latin-1")) for name, value in headers]
    except (AttributeError, TypeError, ValueError):
        for pair in headers:
            match pair:
                case (str(name), str(value)):
                    if not (name + value).isascii():
                        _require_latin_1(name, value)
                case _:
                    raise TypeError(f"a response header is a pair of str, not {pair!r}") from None
        raise


def _require_latin_1(name: str, value: str) -> None:
    try:
        (name + value).encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(
            f"a response header is latin-1 (PEP 3333, Unicode Issues), not {name!r}: {value!r}"
        ) from None


def check_chunk(chunk: object) -> None:
    """Raise TypeError for anything but bytes."""
    if not isinstance(chunk, bytes):
        hint = "; return [data], not data" if isinstance(chunk, int) else ""
        raise TypeError(f"a response body is made of bytes, not {type(chunk).__name__}{hint}")
