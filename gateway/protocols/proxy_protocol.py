"""The PROXY protocol, versions 1 and 2: whom a balancer speaks for.

Its specification is HAProxy's doc/proxy-protocol.txt. The header stands before the first byte of
TLS or HTTP. No field is guessed: what does not match the specification to the letter is an error,
and the connection ends.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, AddressFamily, inet_ntop, inet_pton
from typing import Final

from gateway.head import Address
from gateway.protocols.proxy_tlvs import ProxyProtocolError, read_tlvs

__all__ = ["ProxyHeader", "ProxyProtocolError"]

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_WORD: Final = b"PROXY "
_LONGEST_LINE: Final = 107
# Bytes behind the first 16. Addresses have 216 at most, a certificate of a client (its TLV is the
# largest there is) about 2,000.
_LARGEST_BLOCK: Final = 4096
_UNIX_PATH: Final = 108
_PORT: Final = re.compile(rb"0|[1-9][0-9]{0,4}")
_LINES: Final = {b"TCP4": AF_INET, b"TCP6": AF_INET6}
_FAMILIES: Final = {
    0x00: "UNKNOWN",
    0x11: "TCP4",
    0x12: "UDP4",
    0x21: "TCP6",
    0x22: "UDP6",
    0x31: "UNIX_STREAM",
    0x32: "UNIX_DGRAM",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyHeader:
    """What was said of one connection.

    known: whether addresses were told; else those of the socket stand (LOCAL, which is the
        balancer's own connection, and UNKNOWN).
    client, server: the ends of the connection that the balancer has accepted, as `Peer` has them;
        a client at a UNIX socket is None.
    encrypted: the client speaks TLS with the balancer.
    facts: for applications; docs/proxy.md has the names.
    """

    facts: Mapping[str, object]
    known: bool = False
    client: Address | None = None
    server: Address | None = None
    encrypted: bool = False

    @classmethod
    def parse(cls, data: bytes, versions: Collection[int]) -> tuple[ProxyHeader, int] | None:
        """The header at the beginning of `data` and its length; None while it is not complete.

        versions: 1, 2 or both, whatever is accepted. Until a header is complete every byte is
        part of it. Raises `ProxyProtocolError` as soon as no further byte can mend it.
        """
        for version, beginning, read in ((1, _WORD, _read_line), (2, _SIGNATURE, _read_block)):
            if data[: len(beginning)] == beginning[: len(data)]:
                if version not in versions:
                    raise ProxyProtocolError(f"a header of version {version}")
                return read(data)
        raise ProxyProtocolError("no header")


def _read_line(data: bytes) -> tuple[ProxyHeader, int] | None:
    """Version 1 (section 2.1): one line of text."""
    end = data.find(b"\n", 0, _LONGEST_LINE) + 1
    if not end:
        if len(data) >= _LONGEST_LINE:
            raise ProxyProtocolError("a line of more than 107 bytes")
        return None
    if data[end - 2 : end - 1] != b"\r":
        raise ProxyProtocolError("a line that ends without CR")
    line = data[: end - 2]
    facts: dict[str, object] = {"version": 1, "command": "proxy"}
    # Anything may follow UNKNOWN, and nothing of it counts.
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        facts |= {"protocol": "UNKNOWN", "source": None, "destination": None}
        return ProxyHeader(facts=facts), end
    words = line.split(b" ")
    family = _LINES.get(words[1])
    if family is None or len(words) != 6:
        raise ProxyProtocolError("a line that is none of TCP4, TCP6 and UNKNOWN")
    client = (_host(words[2], family), _port(words[4]))
    server = (_host(words[3], family), _port(words[5]))
    facts |= {"protocol": words[1].decode(), "source": client, "destination": server}
    return ProxyHeader(facts=facts, known=True, client=client, server=server), end


def _host(word: bytes, family: AddressFamily) -> str:
    """As the socket functions write it; IPv6 may be written in more than one way, IPv4 may not."""
    try:
        text = word.decode("ascii")
        host = inet_ntop(family, inet_pton(family, text))
    except (OSError, ValueError):
        raise ProxyProtocolError("an address that is none of its family") from None
    if family == AF_INET and host != text:
        raise ProxyProtocolError("an IPv4 address that is not canonical")
    return host


def _port(word: bytes) -> int:
    if not _PORT.fullmatch(word) or int(word) > 0xFFFF:
        raise ProxyProtocolError("a port that is no canonical number from 0 to 65535")
    return int(word)


def _read_block(data: bytes) -> tuple[ProxyHeader, int] | None:
    """Version 2 (section 2.2): 16 bytes, addresses, TLVs."""
    if len(data) < 16:
        return None
    version, command = divmod(data[12], 16)
    length = int.from_bytes(data[14:16], "big")
    if version != 2:
        raise ProxyProtocolError("a binary header that is not of version 2")
    if command > 1:
        raise ProxyProtocolError("a command that is neither LOCAL nor PROXY")
    if length > _LARGEST_BLOCK:
        raise ProxyProtocolError("a header of more than 4 KiB")
    family = _FAMILIES.get(data[13])
    if command == 0:
        family = "UNKNOWN"  # "discard the protocol block including the family"
    if family is None:
        raise ProxyProtocolError("an address family or transport that is not specified")
    end = 16 + length
    if len(data) < end:
        return None
    facts: dict[str, object] = {
        "version": 2,
        "command": "proxy" if command else "local",
        "protocol": family,
        "source": None,
        "destination": None,
    }
    if family == "UNKNOWN":
        # Nothing says where addresses would end and TLVs begin.
        return ProxyHeader(facts=facts), end
    source, destination, behind = _addresses(data[:end], family)
    facts |= {"source": source, "destination": destination, **read_tlvs(data[:end], behind)}
    tls = facts.get("ssl")
    header = ProxyHeader(
        facts=facts,
        known=True,
        client=None if family.startswith("UNIX") else source,
        server=destination,
        encrypted=isinstance(tls, dict) and tls["client_ssl"],
    )
    return header, end


def _addresses(header: bytes, family: str) -> tuple[Address | None, Address | None, int]:
    """Source, destination, and where what follows them begins."""
    if family.startswith("UNIX"):
        middle = 16 + _UNIX_PATH
        end = middle + _UNIX_PATH
        _check_length(header, end)
        return _unix(header[16:middle]), _unix(header[middle:end]), end
    kind, size = (AF_INET, 4) if family.endswith("4") else (AF_INET6, 16)
    middle = 16 + size
    ports = middle + size
    end = ports + 4
    _check_length(header, end)
    source = inet_ntop(kind, header[16:middle]), int.from_bytes(header[ports : ports + 2], "big")
    destination = (
        inet_ntop(kind, header[middle:ports]),
        int.from_bytes(header[end - 2 : end], "big"),
    )
    return source, destination, end


def _check_length(header: bytes, least: int) -> None:
    if len(header) < least:
        raise ProxyProtocolError("a header shorter than its addresses")


def _unix(field: bytes) -> Address | None:
    """A path, or an abstract name, which begins with a zero byte; None for a socket without."""
    path = field.rstrip(b"\0") if field[:1] == b"\0" else field.partition(b"\0")[0]
    return (path.decode(errors="surrogateescape"), None) if path else None
