"""What an operator may say about TLS, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

__all__ = ["INTERMEDIATE", "ClientCertificates", "KeyPair", "TlsOptions", "TlsVersion"]

ClientCertificates: TypeAlias = Literal["none", "optional", "required"]
TlsVersion: TypeAlias = Literal["1.2", "1.3"]

INTERMEDIATE: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""The TLS 1.2 suites of Mozilla's intermediate profile (5.7) that need no DH parameters.

OpenSSL's own defaults have CBC suites beside them. TLS 1.3 has no other suites than good ones.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """The files of one certificate.

    certfile: PEM, the certificate first, then those that lead to its authority.
    keyfile: PEM; None where the key is in `certfile`.
    password: of an encrypted key; never asked for at a terminal.
    """

    certfile: str
    keyfile: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def key(self) -> str:
        """The file with the key."""
        return self.certfile if self.keyfile is None else self.keyfile


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """What all connections of a listener share.

    pairs: at least one; the first one serves clients that ask for no name, or for an unknown one.
    version: the lowest that is spoken. ciphers: OpenSSL's cipher list, for TLS 1.2 alone.
    clients: whether a client has to show a certificate; ca_certs: PEM, who may have issued it.
    handshake_timeout: seconds from the opening of a connection to the end of its handshake.
    """

    pairs: tuple[KeyPair, ...]
    version: TlsVersion = "1.2"
    ciphers: str = INTERMEDIATE
    clients: ClientCertificates = "none"
    ca_certs: str | None = None
    handshake_timeout: float = 10.0
