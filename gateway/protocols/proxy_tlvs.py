"""What else a PROXY header of version 2 says: its TLVs (sections 2.2.1 to 2.2.8)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

__all__ = ["ProxyProtocolError", "crc32c", "read_tlvs"]

_CRC32C: Final = 0x03
_LONGEST_ID: Final = 128
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_AWS_ID: Final = re.compile(rb"\x01[0-9A-Za-z-]+")


class ProxyProtocolError(ValueError):
    """The header is not as the specification wants it.

    Its text is for the log and echoes nothing of what was received.
    """


def read_tlvs(header: bytes, start: int) -> dict[str, object]:
    """The TLVs of `header` from `start` on: what is known by name, and all of them as ``tlvs``.

    The names are those of docs/proxy.md. A type of the range for applications has the meaning of
    the cloud that uses it where the value has that cloud's form; whatever else it may be is among
    ``tlvs``. Raises `ProxyProtocolError`, also for a checksum that is not right, and for what is
    said twice: two answers to one question are none.
    """
    facts: dict[str, object] = {}
    tlvs: list[tuple[int, bytes]] = []
    checked = False
    for kind, begin, end in _spans(header, start):
        value = header[begin:end]
        tlvs.append((kind, value))
        if kind == _CRC32C:
            if checked:
                raise ProxyProtocolError("two checksums")
            checked = True
            _check(header, begin, end)
        elif kind in _KINDS:
            name, read = _KINDS[kind]
            _note(facts, name, read(value))
    facts["tlvs"] = tlvs
    return facts


def _spans(data: bytes, position: int) -> Iterator[tuple[int, int, int]]:
    """Type, and where the value begins and ends."""
    while position < len(data):
        begin = position + 3
        end = begin + int.from_bytes(data[position + 1 : begin], "big")
        if begin > len(data) or end > len(data):
            raise ProxyProtocolError("a TLV ends behind the header")
        yield data[position], begin, end
        position = end


def _note(facts: dict[str, object], name: str, value: object) -> None:
    if value is None:
        return
    if name in facts:
        raise ProxyProtocolError(f"{name} is said twice")
    facts[name] = value


def _check(header: bytes, begin: int, end: int) -> None:
    if end - begin != 4:
        raise ProxyProtocolError("a checksum that has not four bytes")
    blank = header[:begin] + bytes(4) + header[end:]
    if crc32c(blank) != int.from_bytes(header[begin:end], "big"):
        raise ProxyProtocolError("the checksum is wrong")


def _row(number: int) -> int:
    for _ in range(8):
        number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
    return number


_ROWS: Final = tuple(map(_row, range(256)))


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum (RFC 4960, appendix B); 60 ns a byte, and few senders ask for it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _ROWS[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


# --- values --------------------------------------------------------------------------------------


def _utf8(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise ProxyProtocolError("text that is not UTF-8") from None
    # Part of it comes from clients: names of hosts and of certificates.
    if _CONTROL.search(text):
        raise ProxyProtocolError("text with a control character")
    return text


def _ascii(value: bytes) -> str:
    if not value.isascii():
        raise ProxyProtocolError("text that is not ASCII")
    return _utf8(value)


def _unique_id(value: bytes) -> bytes:
    if len(value) > _LONGEST_ID:
        raise ProxyProtocolError("a unique id of more than 128 bytes")
    return value


def _ssl(value: bytes) -> dict[str, object]:
    """Section 2.2.6; the bits of ``client`` by name."""
    if len(value) < 5:
        raise ProxyProtocolError("an SSL TLV that is too short")
    client, verify = value[0], int.from_bytes(value[1:5], "big")
    facts: dict[str, object] = {
        "client_ssl": bool(client & 1),
        "client_cert_conn": bool(client & 2),
        "client_cert_sess": bool(client & 4),
        "verify": verify,
        "verified": bool(client & 6) and verify == 0,
    }
    for kind, begin, end in _spans(value, 5):
        if kind in _SSL_KINDS:
            name, read = _SSL_KINDS[kind]
            _note(facts, name, read(value[begin:end]))
    return facts


def _aws(value: bytes) -> str | None:
    """PP2_SUBTYPE_AWS_VPCE_ID, and the id: ``vpce-08d2bf15fac5001c9``."""
    return value[1:].decode() if _AWS_ID.fullmatch(value) else None


def _azure(value: bytes) -> int | None:
    """PP2_SUBTYPE_AZURE_PRIVATEENDPOINT_LINKID, and the id, its lowest byte first."""
    return int.from_bytes(value[1:], "little") if value[:1] == b"\x01" and len(value) == 5 else None


def _google(value: bytes) -> int | None:
    return int.from_bytes(value, "big") if len(value) == 8 else None


_Kinds = Mapping[int, tuple[str, Callable[[bytes], object]]]

_KINDS: Final[_Kinds] = {
    0x01: ("alpn", bytes),
    0x02: ("authority", _utf8),
    0x05: ("unique_id", _unique_id),
    0x20: ("ssl", _ssl),
    0x30: ("netns", _ascii),
    0xE0: ("gcp_psc_connection_id", _google),
    0xEA: ("aws_vpc_endpoint_id", _aws),
    0xEE: ("azure_private_endpoint_linkid", _azure),
}
_SSL_KINDS: Final[_Kinds] = {
    0x21: ("version", _ascii),
    0x22: ("cn", _utf8),
    0x23: ("cipher", _ascii),
    0x24: ("sig_alg", _ascii),
    0x25: ("key_alg", _ascii),
    0x26: ("group", _ascii),
    0x27: ("sig_scheme", _ascii),
    0x28: ("client_cert", bytes),
}
