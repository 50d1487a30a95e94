"""Header fields of a response: what HTTP allows, and what a server does with the special ones."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from gateway.head import Headers

__all__ = [
    "FIELD_MARKS",
    "KINDS",
    "LENGTH",
    "TOKEN",
    "NormalFields",
    "ResponseError",
    "checked",
    "explain_fields",
    "length_problem",
    "marks",
    "normalized",
    "parse_length",
]


class ResponseError(RuntimeError):
    """The application broke a rule of HTTP; the text says which."""


TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""A field name, RFC 9110, section 5.6.2."""


def marks(allowed: bytes) -> bytes:
    """A table for bytes.translate that leaves a 0 for each byte that is not `allowed`.

    To look for the 0 takes half as long as to delete what is allowed: a call that deletes begins
    with 0.15 µs for a table of its own.
    """
    return bytes(byte in allowed for byte in range(256))


FIELD_MARKS: Final = marks(bytes(b for b in range(256) if (b >= 0x20 and b != 0x7F) or b == 0x09))
"""`marks` of all a field may hold (RFC 9110, section 5.5): HTAB, SP, VCHAR, obs-text."""

_PLAIN, LENGTH, _HOP, _DEFAULTED = range(4)

KINDS: Final[dict[bytes, int]] = dict.fromkeys(
    b"""accept-ranges access-control-allow-credentials access-control-allow-headers
    access-control-allow-methods access-control-allow-origin access-control-expose-headers age
    allow cache-control content-disposition content-encoding content-language content-location
    content-range content-security-policy content-type cross-origin-opener-policy etag expires
    last-modified link location permissions-policy pragma referrer-policy retry-after set-cookie
    strict-transport-security vary via www-authenticate x-content-type-options x-frame-options
    x-process-time x-request-id x-xss-protection""".split(),
    _PLAIN,
) | {
    b"content-length": LENGTH,
    b"transfer-encoding": _HOP,
    b"connection": _HOP,
    b"keep-alive": _HOP,
    b"proxy-connection": _HOP,
    b"upgrade": _HOP,
    b"date": _DEFAULTED,
    b"server": _DEFAULTED,
}
"""What the common fields mean to a server; 0 for those it only passes on. A name found here needs
no check of its syntax; any other is matched, 0.4 µs more."""


class NormalFields(NamedTuple):
    """Fields as a wire may send them.

    kept: names in lower case, without those that describe one connection.
    length: Content-Length, None if there is none.
    close: ``Connection: close`` was among them.
    own: those of ``date`` and ``server`` that are among `kept`; the wire adds the others.
    """

    kept: Headers
    length: int | None
    close: bool
    own: tuple[bytes, ...]


def normalized(headers: Headers, *, upgrade: bool = False) -> NormalFields:
    """Check `headers` and take out what is the wire's business. Raises `ResponseError`.

    upgrade: leave the Upgrade field, which a 426 must have (RFC 9110, section 15.5.22).
    """
    kept: Headers = []
    length: int | None = None
    close = False
    own: tuple[bytes, ...] = ()
    for name, value in checked(headers):
        kind = KINDS.get(name, _PLAIN)
        if kind == _HOP and not (upgrade and name == b"upgrade"):
            # RFC 9110, section 7.6.1: these describe one connection, which is the wire's.
            close = close or (name == b"connection" and b"close" in value.lower())
            continue
        if kind == LENGTH:
            again = parse_length(value)
            if length is not None:
                if again != length:
                    raise ResponseError("two Content-Length fields differ")
                continue
            length = again
        elif kind == _DEFAULTED:
            own = (*own, name)
        kept.append((name, value))
    return NormalFields(kept, length, close, own)


def checked(headers: Headers) -> Headers:
    """`headers` with names in lower case. Raises `ResponseError` for what is no field."""
    problem = explain_fields(headers)
    if problem:
        raise ResponseError(problem)
    return [(name.lower(), value) for name, value in headers]


def explain_fields(headers: Iterable[object]) -> str:
    """The first problem among (name, value) pairs, "" if there is none."""
    for pair in headers:
        match pair:
            case (bytes(name), bytes(value)) if TOKEN.fullmatch(name):
                if 0 in value.translate(FIELD_MARKS):
                    return f"header {name!r} has a control character in its value: {value!r}"
            case (bytes(name), bytes()):
                return f"{name!r} is not a header name"
            case _:
                return f"a header is a pair of bytes, not {pair!r}"
    return ""


def parse_length(value: bytes) -> int:
    """The number in a Content-Length field of an application. Raises `ResponseError`."""
    if not value.isdigit() or len(value) > 18:
        raise ResponseError(f"Content-Length is not a number of bytes: {value!r}")
    return int(value)


def length_problem(declared: int, actual: int) -> str:
    """A body that does not have the length its head promised, in words."""
    longer = "longer" if actual > declared else "shorter"
    return f"the body is {longer} than its Content-Length: {actual} of {declared} bytes"
