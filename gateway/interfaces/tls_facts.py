"""What applications are told of a TLS connection: in ASGI's terms, and in those of CGI."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.tls.facts import TlsFacts

__all__ = ["tls_extension", "tls_variables"]


def tls_extension(facts: TlsFacts) -> dict[str, object]:
    """``scope["extensions"]["tls"]`` (ASGI TLS Extension 0.2)."""
    client = facts.client
    return {
        "server_cert": facts.server_pem,
        "client_cert_chain": [] if client is None else list(client.chain),
        "client_cert_name": None if client is None else client.subject,
        "client_cert_error": facts.client_error,
        "tls_version": facts.version_number,
        "cipher_suite": facts.cipher_number,
    }


def tls_variables(facts: TlsFacts) -> dict[str, str]:
    """SSL_* of a WSGI environ, with the names and the forms of Apache's mod_ssl.

    Its StdEnvVars and ExportCertData, as far as they say who the client is; what else is in its
    certificate, SSL_CLIENT_CERT has. A client cannot forge them: its fields all begin with HTTP_.
    """
    variables = {
        "SSL_PROTOCOL": facts.version,
        "SSL_CIPHER": facts.cipher,
        "SSL_CIPHER_USEKEYSIZE": str(facts.cipher_bits),
        "SSL_CLIENT_VERIFY": "NONE",
    }
    if facts.server_pem is not None:
        variables["SSL_SERVER_CERT"] = facts.server_pem
    client = facts.client
    if client is not None:
        variables |= {
            "SSL_CLIENT_VERIFY": "SUCCESS",
            "SSL_CLIENT_S_DN": client.subject,
            "SSL_CLIENT_S_DN_CN": client.common_name.encode().decode("latin-1"),
            "SSL_CLIENT_I_DN": client.issuer,
            "SSL_CLIENT_M_SERIAL": client.serial,
            "SSL_CLIENT_V_START": client.not_before,
            "SSL_CLIENT_V_END": client.not_after,
            "SSL_CLIENT_CERT": client.chain[0],
        }
        for number, pem in enumerate(client.chain[1:]):
            variables[f"SSL_CLIENT_CERT_CHAIN_{number}"] = pem
    elif facts.client_error is not None:
        variables["SSL_CLIENT_VERIFY"] = f"FAILED:{facts.client_error}"
    return variables
