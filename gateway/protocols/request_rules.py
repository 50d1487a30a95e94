"""The part of the request policy that is the same in all versions of HTTP.

docs/request-policy.md is its prose.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Final

__all__ = ["METHODS", "BadRequest", "is_host", "refused_method"]


class BadRequest(Exception):  # noqa: N818 - it is the answer, by its name in RFC 9110
    """A request that is refused without reaching an application.

    status: 400, 408, 414, 417, 431, 501 or 505. The text says which rule was broken; it is logged
    and never echoes bytes of the request.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


# The methods of the IANA registry that llhttp reads as HTTP. CONNECT is left out: this is an
# origin server (RFC 9110, section 9.3.6); so is PRI, the HTTP/2 preface.
METHODS: Final[dict[bytes, str]] = {
    name.encode(): name
    for name in """ACL BIND CHECKOUT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY
    MKCALENDAR MKCOL MOVE NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND
    REPORT SEARCH SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE""".split()
}

_UNKNOWN_METHOD: Final = re.compile(rb"[A-Z][A-Z0-9-]*")
# uri-host [":" port], RFC 9110 section 7.2. Without it "example.com/?" moves the path of the URLs
# that frameworks build (CVE-2026-48710). Underscores are no host name, but Docker makes them. The
# comma, which the grammar allows, is no name's either: it is what joins two Host lines into one.
_HOST: Final = re.compile(
    rb"(?:(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})+"
    rb"|\[([0-9A-Fa-f:.]+)(?:%25[A-Za-z0-9._~-]+)?\])(?::([0-9]{0,5}))?"
)


def refused_method(method: bytes) -> BadRequest:
    """Why a method that is not in `METHODS` is refused."""
    if _UNKNOWN_METHOD.fullmatch(method):
        return BadRequest(501, "the method is not known")
    return BadRequest(400, "the method is not a name in capital letters")


def is_host(host: bytes) -> bool:
    """Whether `host` is a host name or address with an optional port (RFC 9110, section 7.2)."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    address, port = match.groups()
    if address is not None:
        # urllib.parse, and so every framework, raises ValueError for anything else in brackets.
        try:
            IPv6Address(address.decode())
        except ValueError:
            return False
    return int(port or 0) <= 65535
