"""Names as text: RFC 4514's examples, and everything as OpenSSL writes it."""

from __future__ import annotations

import ssl
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from gateway.tls.distinguished_name import name_text
from tls.authority import Authority, shake_hands

x509 = pytest.importorskip("cryptography.x509")
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.x509.oid import NameOID  # noqa: E402

HARD = [
    "plain",
    "Sales, Berlin",
    'a"quote',
    "back\\slash",
    "a+b<c>d;e=f",
    "#1",
    "a#1",
    " leading",
    "trailing ",
    " ",
    "  ",
    "in the  middle",
    "Müller & Söhne",
    "雀🐦",
    "tab\tline\nfeed\rend\x7f",
    "nul\0byte",
    "/CN=admin",
    ",CN=admin",
    "x" * 64,
]


class Named:
    """A certificate of one's own for a name; what Python and OpenSSL make of it."""

    def __init__(self, *parts):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.RelativeDistinguishedName(part) for part in parts])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1)
        )
        self.pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        self.key = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def seen_by_python(self, directory):
        site = Authority(directory)
        (directory / "own.pem").write_bytes(self.pem + self.key)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(directory / "own.pem")
        client = site.client()
        client.check_hostname = False
        client.load_verify_locations(cadata=self.pem.decode())
        return shake_hands(server, client).getpeercert()["subject"]

    def written_by_openssl(self):
        command = ["openssl", "x509", "-noout", "-subject", "-nameopt", "RFC2253"]
        done = subprocess.run(command, input=self.pem, capture_output=True, check=True)
        return done.stdout.decode().removeprefix("subject=").rstrip("\n")


def attribute(oid, value):
    return x509.NameAttribute(oid, value, _validate=False)


def test_every_character_is_written_as_openssl_does(tmp_path):
    named = Named(*[[attribute(NameOID.COMMON_NAME, value)] for value in HARD])

    assert name_text(named.seen_by_python(tmp_path)) == named.written_by_openssl()


def test_every_attribute_has_openssls_name(tmp_path):
    known = {value for name, value in vars(NameOID).items() if name.isupper()}
    known -= {NameOID.X500_UNIQUE_IDENTIFIER}  # which is no text
    known |= {x509.ObjectIdentifier("0.9.2342.19200300.100.1.3")}  # a mailbox
    known |= {x509.ObjectIdentifier("1.2.3.4.5")}  # nobody's
    named = Named(*[[attribute(oid, "DE")] for oid in sorted(known, key=str)])

    assert name_text(named.seen_by_python(tmp_path)) == named.written_by_openssl()


def test_attributes_of_one_part_are_joined_by_a_plus(tmp_path):
    part = [attribute(NameOID.COMMON_NAME, "me"), attribute(NameOID.USER_ID, "7")]
    named = Named([attribute(NameOID.COUNTRY_NAME, "DE")], part)

    text = name_text(named.seen_by_python(tmp_path))

    assert text == named.written_by_openssl()
    assert sorted(text.removesuffix(",C=DE").split("+")) == ["CN=me", "UID=7"]


def test_a_long_value_without_a_name_is_its_der():
    text = name_text(((("1.2.3", "x" * 300),),))

    assert text == "1.2.3=#0C82012C" + "78" * 300


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ((), ""),
        (
            (
                (("domainComponent", "net"),),
                (("domainComponent", "example"),),
                (("userId", "jsmith"),),
            ),
            "UID=jsmith,DC=example,DC=net",
        ),
        (
            (
                (("domainComponent", "net"),),
                (("organizationalUnitName", "Sales"), ("commonName", "J.  Smith")),
            ),
            "CN=J.  Smith+OU=Sales,DC=net",
        ),
        (
            ((("commonName", 'James "Jim" Smith, III'),),),
            'CN=James \\"Jim\\" Smith\\, III',
        ),
        (((("commonName", "Before\rAfter"),),), "CN=Before\\0DAfter"),
        (((("commonName", "Lučić"),),), "CN=Lu\\C4\\8Di\\C4\\87"),
    ],
)
def test_the_examples_of_the_rfc(name, text):
    assert name_text(name) == text
