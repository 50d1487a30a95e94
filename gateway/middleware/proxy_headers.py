"""The client, scheme, host and prefix as a trusted proxy in front reports them.

One place for ASGI and WSGI alike: what is believed is written into the head, what is not believed
is taken out of it, so that an application that reads the fields itself is safe as well.
"""

from __future__ import annotations

import logging
from ipaddress import IPv6Address
from itertools import product
from typing import Final, NamedTuple
from urllib.parse import unquote

from gateway.exchange import Exchange, Handler
from gateway.head import Address, RequestHead
from gateway.middleware.forwarded import elements_from_right
from gateway.middleware.trusted_peers import Hop, TrustedPeers

__all__ = ["proxy_headers"]

_FOR: Final = b"x-forwarded-for"
_PROTO: Final = b"x-forwarded-proto"
_HOST: Final = b"x-forwarded-host"
_PORT: Final = b"x-forwarded-port"
_PREFIX: Final = b"x-forwarded-prefix"
_FORWARDED: Final = b"forwarded"

# Fields that only a proxy has business sending. The second line is not read here, but by
# applications.
_NAMES: Final = frozenset(
    (
        *(_FOR, _PROTO, _HOST, _PORT, _PREFIX, _FORWARDED),
        *(b"x-forwarded-scheme", b"x-forwarded-server", b"x-forwarded-ssl", b"x-real-ip"),
    )
)


def _spellings(name: bytes) -> set[bytes]:
    first, *rest = name.split(b"-")
    return {
        first + b"".join(map(b"".join, zip(separators, rest, strict=True)))
        for separators in product((b"-", b"_"), repeat=len(rest))
    }


# With underscores too: HTTP_X_FORWARDED_FOR of a WSGI environ does not tell the two apart, so a
# client could add to what the proxy wrote.
_ANY_SPELLING: Final = frozenset(spelling for name in _NAMES for spelling in _spellings(name))

_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_NAME_CHARACTERS: Final = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
)
_PREFIX_CHARACTERS: Final = _NAME_CHARACTERS | frozenset("/%!$&'()*+,;=:@")

_log: Final = logging.getLogger("gateway.error")


class _Report(NamedTuple):
    """What the fields say; "" and None where they do not."""

    client: Hop | None
    proto: str
    host: str
    port: str


def proxy_headers(next: Handler, trusted: TrustedPeers) -> Handler:  # noqa: A002
    """Believe forwarding fields from `trusted` peers, remove them from everybody else's requests.

    From a trusted peer:

    * X-Forwarded-For: the rightmost address that is not trusted itself is the client, because
      each proxy appends whom it saw; anything further left is hearsay. Where all are trusted, the
      leftmost. An entry that is no address ("unknown", "_hidden") ends the walk: the client is then
      the last hop that was readable, the peer itself at first, as in nginx's realip module.
    * X-Forwarded-Proto (ws and wss are http and https), -Host, -Port: the value in the client's
      position where there are as many values as addresses, else the last one.
    * X-Forwarded-Host replaces the Host field. Without a port of its own it takes
      X-Forwarded-Port where that is not the scheme's default. Both change ``head.server``.
    * X-Forwarded-Prefix, the last value, becomes ``head.root_path`` for `mounts`.
    * Forwarded (RFC 7239): the same walk; proto and host come from the client's element or, where
      that has none, from the next one on the way here. An obfuscated port is 0.
    * A malformed value is ignored, and its field removed: a Host such as "example.com/?" moves the
      path in the URLs an application builds (CVE-2026-48710).

    If there is any of X-Forwarded-For, -Proto, -Host and -Port, Forwarded is not read but removed.
    A proxy that writes one family usually passes the other one through from the client, so
    preferring the family the proxy does not write lets clients choose their address. Nearly every
    proxy writes X-Forwarded-*, most without being told to; one that was told to write Forwarded
    must also be told to remove X-Forwarded-*. Rejecting requests in which the two differ
    was considered: it would turn away everyone behind a CDN that writes Forwarded on its own.

    From an untrusted peer these fields, X-Real-IP and their kin are removed, in every spelling; the
    first time it is logged, because behind a proxy that is simply not listed this is what the
    operator needs to know. A request without such fields costs 0.2 µs.
    """
    warned = False

    def forwarded(exchange: Exchange) -> None:
        nonlocal warned
        head = exchange.head
        for name, _ in head.headers:
            if name in _ANY_SPELLING:
                break
        else:
            next(exchange)
            return
        if trusted.trusts(head.client):
            _believe(head, trusted)
        else:
            head.headers = [field for field in head.headers if field[0] not in _ANY_SPELLING]
            if not warned:
                warned = True
                _log.warning(
                    "Forwarding headers from %s are removed: the address is not in "
                    "forwarded-allow-ips. If it is your proxy, add it.",
                    head.client and head.client[0],
                )
        next(exchange)

    return forwarded


def _believe(head: RequestHead, trusted: TrustedPeers) -> None:
    found: dict[bytes, list[str]] = {}
    dropped: set[bytes] = set()
    for name, value in head.headers:
        if name in _NAMES:
            found.setdefault(name, []).append(value.decode("latin-1"))
        elif name in _ANY_SPELLING:
            dropped.add(name)

    if _FOR in found or _PROTO in found or _HOST in found or _PORT in found:
        report = _read_lists(found, trusted)
        if _FORWARDED in found:
            dropped.add(_FORWARDED)
    else:
        report = _read_forwarded(", ".join(found.get(_FORWARDED, ())), trusted)

    if report.client is not None:
        head.client = (report.client.host, report.client.port)
    if report.proto:
        scheme = _SCHEMES.get(report.proto.lower())
        if scheme is None:
            dropped |= {_PROTO, _FORWARDED}
        else:
            head.scheme = scheme
    if report.port and _port(report.port) is None:
        dropped.add(_PORT)
        report = report._replace(port="")
    host = b""
    if report.host:
        authority = _authority(report.host)
        if authority is None:
            dropped |= {_HOST, _FORWARDED}
        else:
            host = _replace_host(head, *authority, _port(report.port))
    elif report.port and head.server is not None and head.server[1] is not None:
        head.server = (head.server[0], _port(report.port))
    if _PREFIX in found:
        prefix = _prefix(found[_PREFIX][-1].rpartition(",")[2].strip())
        if prefix is None:
            dropped.add(_PREFIX)
        else:
            head.root_path = prefix
    if host:
        dropped.add(b"host")
    if dropped:
        head.headers = [field for field in head.headers if field[0] not in dropped]
    if host:
        head.headers.insert(0, (b"host", host))


def _read_lists(found: dict[bytes, list[str]], trusted: TrustedPeers) -> _Report:
    nodes = _values(found, _FOR)
    client: Hop | None = None
    position = len(nodes)
    while position:
        hop = trusted.hop(nodes[position - 1])
        if hop is None:
            break
        position -= 1
        client = hop
        if not hop.trusted:
            break

    def beside_client(name: bytes) -> str:
        values = _values(found, name)
        if not values:
            return ""
        return values[position if len(values) == len(nodes) > position else -1]

    return _Report(client, beside_client(_PROTO), beside_client(_HOST), beside_client(_PORT))


def _read_forwarded(text: str, trusted: TrustedPeers) -> _Report:
    client: Hop | None = None
    proto = host = ""
    for element in elements_from_right(text):
        proto = element.get("proto", proto)
        host = element.get("host", host)
        hop = trusted.hop(element.get("for", ""))
        if hop is None:
            break
        client = hop
        if not hop.trusted:
            break
    return _Report(client, proto, host, "")


def _values(found: dict[bytes, list[str]], name: bytes) -> list[str]:
    """The items of a list field over all its lines; empty ones do not count (RFC 9110, 5.6.1)."""
    lines = found.get(name, ())
    return [item for line in lines for part in line.split(",") if (item := part.strip())]


def _replace_host(head: RequestHead, name: str, own: int | None, reported: int | None) -> bytes:
    default = _DEFAULT_PORTS[head.scheme]
    port = own or reported or default
    head.server = _server(name, port)
    written = own is not None or port != default
    return (f"{name}:{port}" if written else name).encode("ascii")


def _server(name: str, port: int) -> Address:
    return (name.strip("[]"), port)


def _authority(text: str) -> tuple[str, int | None] | None:
    """uri-host and port of ``uri-host [":" port]`` (RFC 9110, section 7.2), None if malformed."""
    if text.startswith("["):
        name, bracket, rest = text.partition("]")
        name += bracket
        valid = bracket and _is_ipv6(name[1:-1])
    else:
        name, colon, port_text = text.partition(":")
        rest = colon + port_text
        valid = name and _NAME_CHARACTERS.issuperset(name)
    if not valid:
        return None
    if not rest:
        return name, None
    port = _port(rest[1:]) if rest[0] == ":" else None
    return None if port is None else (name, port)


def _is_ipv6(text: str) -> bool:
    try:
        return IPv6Address(text).scope_id is None
    except ValueError:
        return False


def _port(text: str) -> int | None:
    if text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= 65535:
        return int(text)
    return None


def _prefix(text: str) -> str | None:
    """The percent-decoded prefix without a trailing slash, None if it is no clean absolute path."""
    if not text.startswith("/") or not _PREFIX_CHARACTERS.issuperset(text):
        return None
    path = unquote(text).removesuffix("/")
    segments = path.split("/")[1:]
    if not path.isprintable() or "\\" in path or any(part in ("", ".", "..") for part in segments):
        return None
    return path
