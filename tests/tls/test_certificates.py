"""Certificates chosen by name and curve, and changed while they serve."""

import logging
import os
import ssl
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.tls import certificate as module
from gateway.tls.certificates import Certificates
from gateway.tls.client_hello import ClientHello
from gateway.tls.options import KeyPair, TlsOptions
from tls.authority import first_flight, shake_hands

X25519, P256, P384, P521, MLKEM = 29, 23, 24, 25, 0x11EC


def serve(*pairs, **options):
    files = tuple(KeyPair(certfile=cert, keyfile=key) for cert, key in pairs)
    return Certificates(TlsOptions(pairs=files, **options))


def names(certificates, authority, name=None):
    """Those of the certificate that a client gets which asks for `name`."""
    client = authority.client()
    client.check_hostname = False
    context = certificates.context_for(ClientHello(server_name=(name or "").encode()))
    found = shake_hands(context, client, name).getpeercert()["subjectAltName"]
    return [each for _, each in found]


def settle(certificates):
    """Two looks: the one that sees a change, and the one that believes it."""
    certificates.look()
    certificates.look()


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "gateway.error")

    def read():
        texts = [each.getMessage() for each in caplog.records if each.name == "gateway.error"]
        caplog.clear()
        return texts

    return read


# --- chosen by name -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ("example.com", "example.com"),
        ("EXAMPLE.com", "example.com"),
        ("www.example.org", "*.example.org"),
        ("api.example.org", "api.example.org"),
        ("a.b.example.org", "example.com"),
        ("example.org", "example.com"),
        ("www.example.org.", "*.example.org"),
        ("unknown.net", "example.com"),
        (None, "example.com"),
    ],
)
def test_the_name_chooses_the_certificate(authority, asked, got):
    certificates = serve(
        authority.issue("example.com", stem="first"),
        authority.issue("*.example.org", stem="wild"),
        authority.issue("api.example.org", stem="exact"),
    )

    assert names(certificates, authority, asked) == [got]


def test_of_two_certificates_for_a_name_the_first_serves(authority):
    certificates = serve(
        authority.issue("example.com", "first.example.com", stem="first"),
        authority.issue("example.com", "second.example.com", stem="second"),
    )

    assert "first.example.com" in names(certificates, authority, "example.com")


def test_a_bad_one_among_them_is_an_error(authority):
    with pytest.raises(ConfigError, match=r"/none\.pem"):
        serve(authority.issue("example.com"), ("/none.pem", "/none.key"))


# --- chosen by curve ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "shares", "curve"),
    [
        ({X25519, P256, P384}, {X25519}, X25519),
        ({X25519, P256, P384}, {P256}, P256),  # no further round for a better one
        ({X25519, P256}, {P521}, X25519),
        ({P384, P521}, set(), P384),
    ],
)
def test_the_hello_chooses_the_curve(authority, groups, shares, curve):
    certificates = serve(authority.issue("example.com"))
    hello = ClientHello(groups=frozenset(groups), shares=frozenset(shares))

    found = certificates.context_for(hello)

    client = authority.client()
    client.set_ecdh_curve({X25519: "X25519", P256: "prime256v1", P384: "secp384r1"}[curve])
    assert shake_hands(found, client, "example.com").cipher() is not None
    client.set_ecdh_curve("secp521r1")
    with pytest.raises(ssl.SSLError):
        shake_hands(found, client, "example.com")


def test_a_client_of_other_curves_is_turned_away(authority):
    certificates = serve(authority.issue("example.com"))
    client = authority.client()
    client.set_ecdh_curve("secp521r1")

    with pytest.raises(ssl.SSLError):
        shake_hands(certificates.context_for(ClientHello(groups=frozenset({P521}))), client)


def test_a_hello_without_groups_may_take_any(authority):
    context = serve(authority.issue("example.com")).context_for(ClientHello())
    client = authority.client()
    client.set_ecdh_curve("secp521r1")

    assert shake_hands(context, client, "example.com").cipher() is not None


@pytest.mark.parametrize("has", [True, False])
def test_a_post_quantum_share_is_left_to_an_openssl_that_has_it(authority, monkeypatch, has):
    monkeypatch.setattr(module, "_HAS_MLKEM", has)
    certificates = serve(authority.issue("example.com"))
    hello = ClientHello(groups=frozenset({MLKEM, X25519}), shares=frozenset({MLKEM, X25519}))

    any_group = certificates.context_for(ClientHello())
    assert (certificates.context_for(hello) is any_group) is has


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_may_have_a_certificate_of_another_curve_than_the_best(authority, version):
    """OpenSSL before TLS 1.3 asks the groups about it: P-256 is not X25519."""
    certificates = serve(
        authority.issue("example.com"), clients="required", ca_certs=str(authority.ca_file)
    )
    client = authority.client()
    client.maximum_version = version
    authority.ca.issue_cert("me@example.com").configure_cert(client)

    context = certificates.context_for(ClientHello.parse(first_flight(client, "example.com")))

    assert shake_hands(context, client, "example.com").cipher() is not None


# --- changed --------------------------------------------------------------------------------------


def test_a_new_pair_is_taken_over(authority, lines):
    certificates = serve(authority.issue("old.example.com"))
    authority.issue("new.example.com")

    settle(certificates)

    assert names(certificates, authority) == ["new.example.com"]
    (line,) = lines()
    assert line.startswith("TLS: ")
    assert "site.pem changed to new.example.com until " in line


def test_nothing_is_taken_over_at_the_first_sight(authority):
    certificates = serve(authority.issue("old.example.com"))
    authority.issue("new.example.com")

    certificates.look()

    assert names(certificates, authority) == ["old.example.com"]


def test_files_that_stay_are_not_read_again(authority, monkeypatch):
    certificates = serve(authority.issue("example.com"))
    monkeypatch.setattr(module.Certificate, "load", None)  # a call would fail

    settle(certificates)

    assert names(certificates, authority) == ["example.com"]


def test_a_link_that_leads_elsewhere_is_a_change(authority):
    """As Kubernetes changes a mounted secret: ``..data`` is a link to a directory."""
    for name in ("old", "new"):
        (authority.directory / name).mkdir()
        authority.issue(f"{name}.example.com", stem=f"{name}/tls")
    link = authority.directory / "..data"
    link.symlink_to("old")
    certificates = serve((f"{link}/tls.pem", f"{link}/tls.key"))
    fresh = authority.directory / "..data_tmp"
    fresh.symlink_to("new")
    fresh.replace(link)

    settle(certificates)

    assert names(certificates, authority) == ["new.example.com"]


def test_a_bad_pair_leaves_the_old_one_and_is_named_once(authority, lines):
    certfile, keyfile = authority.issue("old.example.com")
    certificates = serve((certfile, keyfile))
    authority.issue("other.example.com", stem="other")
    Path(authority.directory / "other.pem").replace(certfile)  # without its key

    settle(certificates)
    settle(certificates)

    assert names(certificates, authority) == ["old.example.com"]
    (line,) = lines()
    assert line.splitlines() == [
        f"TLS: ssl-keyfile: {keyfile} is not the key of {certfile}",
        f"  still serving {certificates}",
    ]


def test_a_pair_that_was_mended_is_told(authority, lines):
    certfile, keyfile = authority.issue("example.com")
    certificates = serve((certfile, keyfile))
    good = Path(certfile).read_bytes()
    Path(certfile).unlink()
    settle(certificates)
    lines()

    authority.write("site.pem", good)
    settle(certificates)

    (line,) = lines()
    assert line == f"TLS: {certfile} read again, {certificates}"


def test_a_bad_pair_does_not_hold_up_another(authority, lines):
    first = authority.issue("one.example.com", stem="one")
    second = authority.issue("two.example.com", stem="two")
    certificates = serve(first, second)
    Path(first[0]).write_bytes(b"nonsense")
    authority.issue("three.example.com", stem="two")

    settle(certificates)

    assert names(certificates, authority, "three.example.com") == ["three.example.com"]
    assert names(certificates, authority, "one.example.com") == ["one.example.com"]


def test_a_touched_file_is_no_news(authority, lines):
    certfile, keyfile = authority.issue("example.com")
    certificates = serve((certfile, keyfile))
    os.utime(certfile, (1, 1))

    settle(certificates)

    assert lines() == []


def test_a_reload_reads_at_once(authority, lines):
    certificates = serve(authority.issue("old.example.com"))
    authority.issue("new.example.com")

    certificates.reload()

    assert names(certificates, authority) == ["new.example.com"]
    assert len(lines()) == 1


def test_new_authorities_for_clients_count_from_now_on(authority, tmp_path):
    trusted = Path(authority.write("clients.pem", authority.ca_file.read_bytes()))
    certificates = serve(authority.issue("example.com"), clients="required", ca_certs=str(trusted))
    client = authority.client()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    authority.ca.issue_cert("me@example.com").configure_cert(client)
    assert (
        shake_hands(certificates.context_for(ClientHello()), client, "example.com").cipher()
        is not None
    )
    other = tmp_path / "other"
    other.mkdir()
    trusted.write_bytes(type(authority)(other).ca_file.read_bytes())

    settle(certificates)

    with pytest.raises(ssl.SSLError):
        shake_hands(certificates.context_for(ClientHello()), client, "example.com")


# --- its end --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "words"), [(5.5, "expires in 5 days"), (-1, "has expired"), (15, None)]
)
def test_an_end_that_is_near_is_told_once_a_day(authority, lines, days, words):
    certificates = serve(authority.issue("example.com", days=days))

    settle(certificates)

    found = lines()
    assert len(found) == (words is not None)
    assert all(f"site.pem {words}: example.com until " in line for line in found)


def test_one_worker_of_many_says_it(authority, lines):
    certfile, keyfile = authority.issue("example.com", days=1)
    options = TlsOptions(pairs=(KeyPair(certfile=certfile, keyfile=keyfile),))

    Certificates(options, reports=False).look()

    assert lines() == []
