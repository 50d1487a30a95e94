"""A certificate's name as one line of text (RFC 4514)."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

__all__ = ["DistinguishedName", "name_text"]

DistinguishedName: TypeAlias = "tuple[tuple[tuple[str, str], ...], ...]"
"""As `ssl.SSLObject.getpeercert` gives it: sets of (attribute, value), the widest one first."""

# OpenSSL's short names, where they are not its long ones, which Python gives. RFC 4514, section 3,
# has nine of them; the others are what operators see in a name everywhere else.
_SHORT: Final = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "givenName": "GN",
    "jurisdictionCountryName": "jurisdictionC",
    "jurisdictionLocalityName": "jurisdictionL",
    "jurisdictionStateOrProvinceName": "jurisdictionST",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "rfc822Mailbox": "mail",
    "stateOrProvinceName": "ST",
    "streetAddress": "street",
    "surname": "SN",
    "userId": "UID",
}
_ESCAPED: Final = re.compile(rb'^[ #]|[,+"<>;\\]| \Z|[^ -~]')
_UTF8_STRING: Final = b"\x0c"


def name_text(name: DistinguishedName) -> str:
    r"""``CN=me,OU=Sales\, Berlin,O=Example``: the narrowest part first, in ASCII.

    As ``openssl x509 -nameopt RFC2253``, nginx and mod_ssl write it: an operator can copy it, and
    it is the same text in ASGI and in a WSGI environ, which has no other than latin-1. What is not
    ASCII is escaped byte by byte of its UTF-8 (section 2.4), also control characters and NUL.

    The value of an attribute without a name is written as its DER (section 2.4). `ssl` tells text
    without its ASN.1 type; it is taken for a UTF8String, which RFC 5280 asks issuers to use.
    """
    return ",".join(
        "+".join(_attribute(*attribute) for attribute in reversed(part)) for part in reversed(name)
    )


def _attribute(kind: str, value: str) -> str:
    data = value.encode("utf-8", "surrogateescape")
    if kind[:1].isdigit():
        return f"{kind}=#{_der(data).hex().upper()}"
    return f"{_SHORT.get(kind, kind)}={_ESCAPED.sub(_escape, data).decode('ascii')}"


def _escape(found: re.Match[bytes]) -> bytes:
    character = found[0]
    if b" " <= character <= b"~":
        return b"\\" + character
    return b"\\%02X" % character[0]


def _der(data: bytes) -> bytes:
    size = len(data)
    if size < 0x80:
        return _UTF8_STRING + bytes([size]) + data
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return _UTF8_STRING + bytes([0x80 | len(length)]) + length + data
