"""What a handshake has settled, as applications are told."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import Any, Final

from gateway.tls.distinguished_name import name_text
from gateway.tls.served import ServedContext

__all__ = ["ClientCertificate", "TlsFacts"]

_VERSIONS: Final = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """Who the client is, verified against `TlsOptions.ca_certs`.

    chain: PEM, its own certificate first, each of the others has signed the one before; those the
        client has sent and OpenSSL has used. Before Python 3.13, and in a session that was
        resumed, its own alone.
    subject, issuer: see `name_text`. common_name: the first of the subject, "" without one.
    serial: hexadecimal. not_before, not_after: "Nov 21 09:14:39 2026 GMT".
    """

    chain: tuple[str, ...]
    subject: str
    issuer: str
    common_name: str
    serial: str
    not_before: str
    not_after: str

    @classmethod
    def read(cls, tls: ssl.SSLObject) -> ClientCertificate | None:
        """None where the client has shown none. Raises ValueError, or `ssl.SSLError`."""
        own = tls.getpeercert(binary_form=True)
        if own is None:
            return None
        # typeshed's type has each value as a union of all of them.
        facts: dict[str, Any] = tls.getpeercert() or {}
        names = (value for part in facts["subject"] for kind, value in part if kind == "commonName")
        return cls(
            chain=tuple(map(ssl.DER_cert_to_PEM_cert, _chain(tls, own))),
            subject=name_text(facts["subject"]),
            issuer=name_text(facts["issuer"]),
            common_name=next(names, ""),
            serial=facts["serialNumber"],
            not_before=facts["notBefore"],
            not_after=facts["notAfter"],
        )


@dataclass(slots=True, kw_only=True)
class TlsFacts:
    """One connection's, for all its requests.

    version: "TLSv1.3"; version_number: 0x0304. cipher: OpenSSL's name of the suite; cipher_number:
        IANA's, 0x1301; cipher_bits: of its key. None, and 0, where they are unknown.
    server_pem: the certificate the server has shown.
    client: who has shown a certificate; None is nobody.
    client_error: why the certificate that was shown is not to be had; None if it is, or none was.

    Read at once, on the loop's thread: another one may not ask OpenSSL while the loop decrypts,
    and a connection that has ended may be asked no more. That takes 1 µs, and 20 where the
    client has a certificate; the handshake before took 200.
    """

    version: str
    version_number: int | None
    cipher: str
    cipher_number: int | None
    cipher_bits: int
    server_pem: str | None
    client: ClientCertificate | None
    client_error: str | None = None

    @classmethod
    def read(cls, tls: ssl.SSLObject) -> TlsFacts:
        """Those of a connection whose handshake is done."""
        version = tls.version() or ""
        cipher, _, bits = tls.cipher() or ("", "", 0)
        context = tls.context
        client, error = None, None
        try:
            client = ClientCertificate.read(tls)
        except (ValueError, ssl.SSLError) as broken:
            # OpenSSL has verified it, and Python cannot decode some part, which need not be the
            # name. Nobody is better than somebody who is half known.
            error = f"the certificate cannot be read: {broken}"
        return cls(
            version=version,
            version_number=_VERSIONS.get(version),
            cipher=cipher,
            cipher_number=_cipher_numbers().get(cipher),
            cipher_bits=bits,
            server_pem=context.pem if isinstance(context, ServedContext) else None,
            client=client,
            client_error=error,
        )


def _chain(tls: ssl.SSLObject, own: bytes) -> list[bytes]:
    """What was sent and verified: clients may send anything besides."""
    chain: list[bytes] = []
    if sys.version_info >= (3, 13):
        sent = set(tls.get_unverified_chain())
        chain = list(takewhile(sent.__contains__, tls.get_verified_chain()))
    return chain or [own]


@cache
def _cipher_numbers() -> Mapping[str, int]:
    """IANA's number of each suite OpenSSL has; it puts a byte of its own in front."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    return {each["name"]: each["id"] & 0xFFFF for each in context.get_ciphers()}
