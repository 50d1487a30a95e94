"""What a ClientHello asks for, as far as the gateway has to know before OpenSSL does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["LARGEST_HELLO", "ClientHello", "is_tls"]

LARGEST_HELLO: Final = 5 + 16384
"""The bytes that are looked at: a record and its header (RFC 8446, section 5.1). Hellos have 200 to
2,000."""

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_SUPPORTED_GROUPS: Final = 10
_SUPPORTED_VERSIONS: Final = 43
_KEY_SHARE: Final = 51
_TLS13: Final = 0x0304
# Clients that hide the name from a censor cut a hello into two or three. Read anew for each that
# comes, a hello in records of one byte would take seconds.
_RECORDS: Final = 16


def is_tls(data: bytes) -> bool:
    """Whether these first bytes of a connection may be TLS (RFC 8446, section 5.1)."""
    return data[:2] in (b"\x16\x03", b"\x16")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientHello:
    """Groups for the key exchange, by number (RFC 8446, section 4.2.7), and the name asked for.

    groups: those the client can do. shares: those it has sent a key for, so that the handshake
    takes no further round. tls13: it can do TLS 1.3. server_name: the bytes of SNI (RFC 6066,
    section 3); b"" without it.
    """

    groups: frozenset[int] = frozenset()
    shares: frozenset[int] = frozenset()
    tls13: bool = False
    server_name: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> ClientHello | None:
        """Read the first message (RFC 8446, section 4.1.2); None while it is not complete.

        Whether it is right is OpenSSL's to judge: what cannot be read here is an empty hello.
        """
        message = _message(data)
        if message is None:
            return None
        found = dict(_extensions(message))
        name = found.get(_SERVER_NAME, b"")
        return cls(
            groups=frozenset(_numbers(found.get(_SUPPORTED_GROUPS, b"")[2:])),
            shares=frozenset(_shares(found.get(_KEY_SHARE, b""))),
            tls13=_TLS13 in _numbers(found.get(_SUPPORTED_VERSIONS, b"")[1:]),
            server_name=name[5 : 5 + int.from_bytes(name[3:5], "big")],
        )


def _message(data: bytes) -> bytes | None:
    """The hello without its records, which may cut it anywhere; b"" where it is none."""
    message = b""
    at = 0
    for _ in range(_RECORDS):
        start = at + 5
        if len(data) < start:
            return None
        at = start + int.from_bytes(data[at + 3 : start], "big")
        if data[start - 5] != _HANDSHAKE or not start < at <= LARGEST_HELLO:
            return b""
        if len(data) < at:
            return None
        message += data[start:at]
        size = 4 + int.from_bytes(message[1:4], "big")
        if message[0] != _CLIENT_HELLO or size > LARGEST_HELLO:
            return b""
        if len(message) >= size:
            return message
    return b""


def _numbers(data: bytes) -> Iterator[int]:
    return (int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data) - 1, 2))


def _extensions(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each. body: the message, or less; slices end where it does."""
    at = 4 + 2 + 32  # type and length, version, random
    at += 1 + int.from_bytes(body[at : at + 1], "big")  # session id
    at += 2 + int.from_bytes(body[at : at + 2], "big")  # cipher suites
    at += 1 + int.from_bytes(body[at : at + 1], "big")  # compression methods
    at += 2
    while at + 4 <= len(body):
        size = int.from_bytes(body[at + 2 : at + 4], "big")
        yield int.from_bytes(body[at : at + 2], "big"), body[at + 4 : at + 4 + size]
        at += 4 + size


def _shares(data: bytes) -> Iterator[int]:
    at = 2
    while at + 4 <= len(data):
        yield int.from_bytes(data[at : at + 2], "big")
        at += 4 + int.from_bytes(data[at + 2 : at + 4], "big")
