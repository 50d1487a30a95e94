"""An `ssl.SSLContext` from plain values, with the settings of Mozilla's intermediate profile."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Final

from gateway.errors import ConfigError
from gateway.tls.options import TlsOptions
from gateway.tls.served import ServedContext

__all__ = ["accept_clients", "read_file", "server_context"]

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_VERIFY: Final = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


def server_context(options: TlsOptions, alpn: Sequence[str]) -> ServedContext:
    """A context that has no certificate yet and asks clients for none.

    alpn: the protocols to choose from (RFC 7301), the best one first.

    As Mozilla's intermediate profile has it: the client's order of suites, as it knows whether AES
    is fast for it. No renegotiation: a TLS 1.2 client could have handshakes made without end. What
    OpenSSL does anyway (no compression, session tickets) stays. Raises `ConfigError`.
    """
    context = ServedContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[options.version]
    try:
        context.set_ciphers(options.ciphers)
    except ssl.SSLError:
        raise ConfigError(
            f"ssl-ciphers: OpenSSL knows no suite for '{options.ciphers}'\n"
            f"  openssl ciphers -v '{options.ciphers}'  shows what it takes; or leave it out"
        ) from None
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= ssl.OP_NO_RENEGOTIATION
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def accept_clients(context: ssl.SSLContext, options: TlsOptions) -> None:
    """Have `context` ask clients for certificates, as far as they are to show any.

    Raises `ConfigError` for authorities that cannot be read.
    """
    if options.clients == "none":
        return
    if options.ca_certs is None:
        raise ConfigError("ssl-cert-reqs: nobody is trusted to issue them\n  add ssl-ca-certs")
    read_file(options.ca_certs, "ssl-ca-certs")
    try:
        context.load_verify_locations(options.ca_certs)
    except ssl.SSLError as error:
        raise ConfigError(
            f"ssl-ca-certs: {options.ca_certs} holds no certificates in PEM form"
            f" ({error.reason or error})"
        ) from None
    context.verify_mode = _VERIFY[options.clients]


def read_file(path: str, setting: str) -> str:
    """The text of a PEM file. Raises `ConfigError`: OpenSSL's own error would not name it."""
    try:
        with open(path, encoding="latin-1") as file:  # noqa: PTH123 - "~" is no home here
            return file.read()
    except PermissionError:
        raise ConfigError(
            f"{setting}: {path} may not be read by this user\n"
            "  let its group read it; with --user, that user reads it, also when it changes"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"{setting}: {path}: {reason[:1].lower()}{reason[1:]}") from None
