"""A pair of files: what is read of it, and what is wrong with it."""

import os
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.errors import ConfigError
from gateway.tls.certificate import Certificate
from gateway.tls.options import KeyPair, TlsOptions

x509 = pytest.importorskip("cryptography.x509")
serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
hashes = pytest.importorskip("cryptography.hazmat.primitives.hashes")
ec = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec")


def load(certfile, keyfile=None, password=None, **options):
    pair = KeyPair(certfile=certfile, keyfile=keyfile, password=password)
    return Certificate.load(pair, TlsOptions(pairs=(pair,), **options))


def refusal(*files, **values):
    with pytest.raises(ConfigError) as caught:
        load(*files, **values)
    return str(caught.value)


def encrypted(authority, keyfile, password=b"secret"):
    key = serialization.load_pem_private_key(Path(keyfile).read_bytes(), None)
    return authority.write(
        "encrypted.key",
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(password),
        ),
    )


def test_its_names_and_its_end_are_read(authority):
    certificate = load(*authority.issue("Example.com", "*.example.com", "127.0.0.1", days=30))

    assert certificate.names == ("example.com", "*.example.com")
    assert certificate.expires == pytest.approx(time.time() + 30 * 86400, abs=60)
    assert re.fullmatch(r"example.com, \*.example.com until \d{4}-\d\d-\d\d", str(certificate))


def test_one_that_has_expired_is_read_too(authority):
    assert load(*authority.issue("example.com", days=-1)).expires < time.time()


def test_key_and_certificate_may_be_in_one_file(authority):
    certfile, keyfile = authority.issue("example.com")
    both = authority.write("both.pem", Path(keyfile).read_bytes() + Path(certfile).read_bytes())

    assert load(both).names == ("example.com",)


def test_an_encrypted_key_is_opened_by_its_password(authority):
    certfile, keyfile = authority.issue("example.com")

    assert load(certfile, encrypted(authority, keyfile), "secret").names == ("example.com",)


def test_an_encrypted_key_without_a_password_is_an_error_and_no_question(authority):
    certfile, keyfile = authority.issue("example.com")

    text = refusal(certfile, encrypted(authority, keyfile))

    assert text.endswith("encrypted.key is encrypted\n  add ssl-keyfile-password")


def test_a_wrong_password_is_named(authority):
    certfile, keyfile = authority.issue("example.com")

    text = refusal(certfile, encrypted(authority, keyfile), "wrong")

    assert text.startswith("ssl-keyfile: ssl-keyfile-password does not open ")


def test_the_key_of_another_certificate_is_named(authority):
    certfile, _ = authority.issue("example.com")
    _, keyfile = authority.issue("example.org", stem="other")

    assert refusal(certfile, keyfile) == f"ssl-keyfile: {keyfile} is not the key of {certfile}"


def test_so_is_a_key_of_another_kind(authority):
    certfile, _ = authority.issue("example.com")
    keyfile = authority.directory / "rsa.key"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    keyfile.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    assert refusal(certfile, keyfile) == f"ssl-keyfile: {keyfile} is not the key of {certfile}"


def test_a_missing_file_is_named(authority):
    certfile, keyfile = authority.issue("example.com")

    assert refusal("/none.pem", keyfile) == "ssl-certfile: /none.pem: no such file or directory"
    assert refusal(certfile, "/none.key") == "ssl-keyfile: /none.key: no such file or directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(authority):
    certfile, keyfile = authority.issue("example.com")
    Path(keyfile).chmod(0)

    assert f"ssl-keyfile: {keyfile} may not be read" in refusal(certfile, keyfile)


def test_what_is_no_certificate_is_named(authority):
    certfile, keyfile = authority.issue("example.com")

    assert f"{keyfile} holds no certificate in PEM form" in refusal(keyfile, keyfile)
    assert f"{certfile} holds no private key in PEM form" in refusal(certfile)


def test_a_broken_certificate_is_named(authority):
    _, keyfile = authority.issue("example.com")
    text = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

    assert "broken.pem" in refusal(authority.write("broken.pem", text), keyfile)


def test_one_that_no_client_would_take_is_refused(authority):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a client")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH]), False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )

    text = refusal(authority.write("client.pem", pem))

    assert "no client could connect with" in text
    assert text.endswith("purpose")
