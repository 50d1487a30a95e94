"""What handshakes with nobody, and with somebody, have settled."""

from gateway.tls.facts import ClientCertificate, TlsFacts

CONNECTION = {
    "version": "TLSv1.3",
    "version_number": 0x0304,
    "cipher": "TLS_AES_128_GCM_SHA256",
    "cipher_number": 0x1301,
    "cipher_bits": 128,
    "server_pem": "server",
}
SOMEBODY = ClientCertificate(
    chain=("own", "issuer's", "the issuer's issuer's"),
    subject="CN=M\\C3\\BCller,O=Example",
    issuer="CN=Office,O=Example",
    common_name="Müller",
    serial="0A",
    not_before="Nov 21 00:00:00 2026 GMT",
    not_after="Nov 21 00:00:00 2027 GMT",
)


def nobody(**changed):
    return TlsFacts(**{**CONNECTION, "client": None, **changed})


def somebody():
    return TlsFacts(**CONNECTION, client=SOMEBODY)
