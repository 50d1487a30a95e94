"""Sends every request to the same place at https."""

from __future__ import annotations

import re
from typing import Final

from gateway.exchange import Exchange, Handler

__all__ = ["https_redirect"]

_PORT: Final = re.compile(rb":[0-9]*$")
# A token and nothing else (RFC 8555, section 8.3): an application may take ".." for what it says.
_CHALLENGE: Final = re.compile(rb"/\.well-known/acme-challenge/[A-Za-z0-9_-]+")


def https_redirect(port: int = 443, *, challenges: Handler | None = None) -> Handler:
    """Answer every exchange 308 (RFC 9110, section 15.4.9), with the host it asks for.

    A 301 would let a client turn POST into GET, and the form that was sent would be lost without a
    word; all browsers since 2014 know 308. The body is not read. A request that names no host
    (HTTP/1.0 may) is a 400: there is no place that could be meant.

    port: of the https URLs; 443 is not written. challenges: who answers ACME's HTTP-01 (RFC 8555,
    section 8.3) in place of the redirect; None is nobody.
    """
    suffix = b"" if port == 443 else b":%d" % port

    def redirect(exchange: Exchange) -> None:
        head = exchange.head
        if challenges is not None and _CHALLENGE.fullmatch(head.raw_path):
            challenges(exchange)
            return
        host = _PORT.sub(b"", head.header(b"host") or b"")
        if not host:
            exchange.refuse(400, "Host is missing: it says where to go at https")
            return
        path = head.raw_path if head.raw_path.startswith(b"/") else b"/"
        query = b"?" + head.query if head.query else b""
        location = b"https://%b%b%b%b" % (host, suffix, path, query)
        exchange.refuse(308, "This site speaks HTTPS", [(b"location", location)])

    return redirect
