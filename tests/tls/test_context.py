"""What a server context allows."""

import ssl

import pytest

from gateway.errors import ConfigError
from gateway.tls.certificate import Certificate
from gateway.tls.context import accept_clients, server_context
from gateway.tls.options import KeyPair, TlsOptions
from tls.authority import shake_hands


def served(authority, alpn=(), **options):
    certfile, keyfile = authority.issue("localhost")
    pair = KeyPair(certfile=certfile, keyfile=keyfile)
    return Certificate.load(pair, TlsOptions(pairs=(pair,), **options), alpn).context


def test_the_suites_of_tls_1_2_are_ephemeral_and_authenticated():
    context = server_context(TlsOptions(pairs=()), ())

    old = {each["name"] for each in context.get_ciphers() if each["protocol"] == "TLSv1.2"}

    assert old == {
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-CHACHA20-POLY1305",
    }


def test_the_client_chooses_among_the_suites(authority):
    client = authority.client()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("ECDHE+CHACHA20:ECDHE+AESGCM")

    assert "CHACHA20" in shake_hands(served(authority), client, "localhost").cipher()[0]


@pytest.mark.parametrize(("version", "spoken"), [("1.2", "TLSv1.2"), ("1.3", None)])
def test_the_lowest_version_is_as_configured(authority, version, spoken):
    client = authority.client()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    context = served(authority, version=version)

    if spoken is None:
        with pytest.raises(ssl.SSLError):
            shake_hands(context, client, "localhost")
    else:
        assert shake_hands(context, client, "localhost").version() == spoken


def test_the_first_protocol_that_both_have_is_chosen(authority):
    client = authority.client()
    client.set_alpn_protocols(["http/1.1", "h2"])
    context = served(authority, alpn=("h2", "http/1.1"))

    assert shake_hands(context, client, "localhost").selected_alpn_protocol() == "h2"


def test_an_unknown_suite_is_an_error_that_names_it():
    with pytest.raises(ConfigError, match=r"ssl-ciphers: .* 'NOSUCH'"):
        server_context(TlsOptions(pairs=(), ciphers="NOSUCH"), ())


def test_a_client_without_a_certificate_is_turned_away_where_one_is_required(authority):
    context = served(authority, clients="required", ca_certs=str(authority.ca_file))
    client = authority.client()
    client.maximum_version = ssl.TLSVersion.TLSv1_2  # in 1.3 it hears of it later

    with pytest.raises(ssl.SSLError):
        shake_hands(context, client, "localhost")

    authority.ca.issue_cert("me@example.com").configure_cert(client)
    assert shake_hands(context, client, "localhost").cipher() is not None


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, "no such file"), (b"", "no certificates in PEM form")],
)
def test_authorities_that_cannot_be_read_are_named(tmp_path, content, text):
    path = tmp_path / "clients.pem"
    if content is not None:
        path.write_bytes(content)
    options = TlsOptions(pairs=(), clients="optional", ca_certs=str(path))

    with pytest.raises(ConfigError, match=text):
        accept_clients(server_context(options, ()), options)
