"""The policy on HTTP/1.1 request heads, above either parser; docs/request-policy.md is its prose.

A parser library reads the header section; everything two of them would decide differently is
decided here: the request line, Host, framing, Expect and Upgrade. Where the RFC leaves a choice,
the stricter answer is taken, because the request may have passed a proxy that read it otherwise.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from gateway.fields import FIELD_MARKS, TOKEN
from gateway.head import Headers, Peer, RequestHead
from gateway.protocols.request_rules import METHODS, BadRequest, is_host, refused_method

__all__ = [
    "RequestLine",
    "check_fields",
    "check_visible",
    "parse_request_line",
    "request_head",
]


_VERSIONS: Final = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}

RequestLine = tuple[str, bytes, str]
"""(method, target, version): ("GET", b"/a?b", "1.1")."""

_PROTOCOL: Final = re.compile(rb"(?:%b(?:/%b)?)?" % (TOKEN.pattern, TOKEN.pattern))
_OTHER_VERSION: Final = re.compile(rb".* HTTP/[0-9]\.[0-9]", re.DOTALL)
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)([^#]*)", re.IGNORECASE)


def parse_request_line(line: bytes) -> RequestLine:
    """Split a request line, without its CRLF (RFC 9112, section 3)."""
    parts = line.split(b" ")
    # llhttp takes two spaces for one, and a bare LF in a target for the end of the line.
    if len(parts) != 3 or not line.isascii() or not line.decode().isprintable():
        raise _explain_request_line(line)
    method = METHODS.get(parts[0])
    version = _VERSIONS.get(parts[2])
    if method is None or version is None or not parts[1]:
        raise _explain_request_line(line)
    return method, parts[1], version


def check_visible(line: bytes) -> None:
    """Refuse a request line, or a part of it, with anything else than visible ASCII and spaces."""
    if not (line.isascii() and line.decode().isprintable()):
        raise BadRequest(400, "the request line has a control or non-ASCII character")


def _explain_request_line(line: bytes) -> BadRequest:
    check_visible(line)
    parts = line.split(b" ")
    if len(parts) != 3 or not parts[1]:
        return BadRequest(400, "the request line is not: method, target, version")
    if parts[2] not in _VERSIONS:
        if _OTHER_VERSION.fullmatch(line):
            return BadRequest(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
        return BadRequest(400, "the request line does not end in a version")
    return refused_method(parts[0])


def check_fields(section: bytes) -> None:
    """Refuse what a lenient parser would let pass in a header or trailer section.

    section: field lines, each ended by CRLF. Refused are bare CR and LF (CVE-2019-16785), other
    control characters, and line folding (RFC 9112, section 5.2, lets a server do so).
    """
    lines = section.count(b"\r\n")
    if section.count(b"\n") != lines or section.count(b"\r") != lines:
        raise BadRequest(400, "a bare CR or LF in the header section")
    if 0 in section.replace(b"\r\n", b"").translate(FIELD_MARKS):
        raise BadRequest(400, "a control character in the header section")
    if section.startswith((b" ", b"\t")) or b"\n " in section or b"\n\t" in section:
        raise BadRequest(400, "a folded header line")


_HOST_FIELD, _LENGTH, _CODING, _CONNECTION, _EXPECT, _UPGRADE = range(6)
_SPECIAL: Final = {
    b"host": _HOST_FIELD,
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
    b"connection": _CONNECTION,
    b"expect": _EXPECT,
    b"upgrade": _UPGRADE,
}


def request_head(line: RequestLine, headers: Headers, peer: Peer) -> tuple[RequestHead, bool]:
    """Make the head of a request out of its parts, or refuse it.

    headers: as parsed, names lower-case. Returns the head and whether the client lets the
    connection be reused (RFC 9112, section 9.3).
    """
    method, target, version = line
    host: bytes | None = None
    length: bytes | None = None
    coding: bytes | None = None
    upgrade: bytes | None = None
    options: bytes | None = None
    expect = False
    # What is well-formed but not served is told last: whether a malformed request is refused by
    # the parser or here, its answer is 400.
    unserved: BadRequest | None = None
    for name, value in headers:
        if name in _SPECIAL:
            kind = _SPECIAL[name]
            if kind == _HOST_FIELD:
                if host is not None:
                    raise BadRequest(400, "more than one Host")
                host = value
            elif kind == _CONNECTION:
                options = value.lower() if options is None else options + b"," + value.lower()
            elif kind == _LENGTH:
                if length is not None:
                    raise BadRequest(400, "more than one Content-Length")
                length = value
            elif kind == _CODING:
                if coding is not None:
                    raise BadRequest(400, "more than one Transfer-Encoding")
                coding = value.lower()
            elif kind == _UPGRADE:
                upgrade = value.lower() if upgrade is None else upgrade + b", " + value.lower()
            elif value.lower() == b"100-continue":
                expect = version == "1.1"
            elif version == "1.1":
                unserved = BadRequest(417, "only 100-continue can be expected")

    if host is None:
        if version == "1.1":
            raise BadRequest(400, "no Host")
    elif host != peer.checked_host:
        if host and not is_host(host):
            raise BadRequest(400, "Host is not a host name with an optional port")
        peer.checked_host = host

    if upgrade is not None:
        upgrade = _protocol(upgrade)
    if options is None:
        keep_alive = version == "1.1"
        upgrade = None
    else:
        tokens = [token.strip(b" \t") for token in options.split(b",")]
        keep_alive = b"close" not in tokens and (version == "1.1" or b"keep-alive" in tokens)
        if upgrade is not None and (version == "1.0" or b"upgrade" not in tokens):
            upgrade = None

    size: int | None = 0
    if coding is not None:
        unserved = _check_coding(coding, length, version) or unserved
        size = None
    elif length is not None:
        # bytes.isdigit is ASCII only: no sign, no underscore, no digit of another script
        # (CVE-2022-24761, CVE-2025-69225). 18 digits fit every file system and 63 bits.
        if not length.isdigit() or len(length) > 18:
            raise BadRequest(400, "Content-Length is not a number of bytes")
        size = int(length)

    if not target.startswith(b"/"):
        target, headers = _reduce_target(method, target, headers)
    elif b"#" in target:
        raise BadRequest(400, "the request target has a fragment")
    if unserved is not None:
        raise unserved
    raw_path, _, query = target.partition(b"?")
    path = raw_path.decode("ascii")
    if "%" in path:
        path = unquote(path)
    head = RequestHead(
        method,
        target,
        path,
        raw_path,
        query,
        version,
        headers,
        peer,
        size,
        expect and size != 0,
        upgrade,
    )
    return head, keep_alive


def _protocol(upgrade: bytes) -> bytes:
    """The protocol an Upgrade field asks for, which may name several (RFC 9110, section 7.8)."""
    names = [name.strip(b" \t") for name in upgrade.split(b",")]
    if not all(map(_PROTOCOL.fullmatch, names)):
        raise BadRequest(400, "Upgrade is not a list of protocols")
    return b"websocket" if b"websocket" in names else upgrade


def _check_coding(coding: bytes, length: bytes | None, version: str) -> BadRequest | None:
    """Only ``chunked``, only alone (RFC 9112, sections 6.1 and 6.3).

    Returns the refusal of a coding that is well-formed but not known.
    """
    if length is not None:
        raise BadRequest(400, "Content-Length beside Transfer-Encoding")
    if version == "1.0":
        raise BadRequest(400, "Transfer-Encoding in HTTP/1.0")
    if coding != b"chunked":
        codings = [part.strip(b" \t") for part in coding.split(b",")]
        if codings[-1] == b"chunked" and codings.count(b"chunked") == 1 and all(codings):
            return BadRequest(501, "only the chunked transfer coding is known")
        raise BadRequest(400, "Transfer-Encoding does not end in chunked")
    return None


def _reduce_target(method: str, target: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """Absolute-form to origin-form (RFC 9112, section 3.2.2); ``*`` only for OPTIONS."""
    if target == b"*":
        if method != "OPTIONS":
            raise BadRequest(400, "the target * is for OPTIONS only")
        return target, headers
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise BadRequest(400, "the request target is neither a path nor an http URL")
    authority, rest = match.groups()
    if not is_host(authority):
        raise BadRequest(400, "the authority of the request target is malformed")
    # "MUST ignore the received Host header field and instead replace it with the host
    # information of the request-target".
    headers = [(b"host", authority), *(field for field in headers if field[0] != b"host")]
    if not rest:
        return b"*" if method == "OPTIONS" else b"/", headers
    return rest if rest.startswith(b"/") else b"/" + rest, headers
