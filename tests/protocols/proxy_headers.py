"""PROXY headers as a balancer writes them."""

from __future__ import annotations

import socket
import struct

from gateway.protocols.proxy_tlvs import crc32c

__all__ = ["CLIENT", "SERVER", "SIGNATURE", "V1", "V2", "binary", "checked", "ssl", "tlv"]

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
CLIENT = ("203.0.113.9", 51234)
SERVER = ("192.0.2.1", 443)
V1 = b"PROXY TCP4 203.0.113.9 192.0.2.1 51234 443\r\n"


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def ssl(client: int, verify: int, *inner: bytes) -> bytes:
    return tlv(0x20, struct.pack("!BI", client, verify) + b"".join(inner))


def binary(
    tlvs: bytes = b"",
    *,
    command: int = 0x21,
    family: int = 0x11,
    source: tuple[str, int] = CLIENT,
    destination: tuple[str, int] = SERVER,
    block: bytes | None = None,
    length: int | None = None,
) -> bytes:
    """A header of version 2; block: in place of the addresses and `tlvs`."""
    if block is None:
        kind = socket.AF_INET if family < 0x20 else socket.AF_INET6
        hosts = [socket.inet_pton(kind, each[0]) for each in (source, destination)]
        block = b"".join(hosts) + struct.pack("!HH", source[1], destination[1]) + tlvs
    size = len(block) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, family, size) + block


def checked(tlvs: bytes = b"") -> bytes:
    """A header with the checksum behind `tlvs`."""
    blank = binary(tlvs + tlv(3, bytes(4)))
    return blank[:-4] + crc32c(blank).to_bytes(4, "big")


V2 = binary()
