"""What a handshake has settled, read from the server's side of handshakes in memory."""

from __future__ import annotations

import ssl
import subprocess
import sys

import pytest

from gateway.tls.facts import TlsFacts
from gateway.tls.served import ServedContext
from tls.authority import Authority, trustme


class Site:
    """A server that asks for certificates, and clients of it."""

    def __init__(self, directory, kind=ServedContext):
        self.authority = Authority(directory)
        self.certfile, self.keyfile = self.authority.issue("localhost")
        self.context = kind(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.certfile, self.keyfile)
        self.context.load_verify_locations(self.authority.ca_file)
        self.context.verify_mode = ssl.CERT_OPTIONAL

    def client(self, *names, **options):
        context = self.authority.client()
        if names:
            self.authority.ca.issue_cert(*names, **options).configure_cert(context)
        return context

    def connected(self, client, session=None):
        """Both sides, the client's first; tickets have arrived."""
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        ours = client.wrap_bio(down, up, server_hostname="localhost", session=session)
        theirs = self.context.wrap_bio(up, down, server_side=True)
        for _ in range(4):
            for each in (ours, theirs):
                try:
                    each.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        theirs.write(b"x")
        assert ours.read(1) == b"x"
        return ours, theirs

    def facts(self, client):
        return TlsFacts.read(self.connected(client)[1])


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def openssl(pem, *what):
    """What ``openssl x509`` says of a certificate, without the name in front."""
    command = ["openssl", "x509", "-noout", "-nameopt", "RFC2253", *what]
    done = subprocess.run(command, input=pem.encode(), capture_output=True, check=True)
    return done.stdout.decode().partition("=")[2].strip()


# --- the connection -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "name", "number"),
    [("TLSv1_2", "TLSv1.2", 0x0303), ("TLSv1_3", "TLSv1.3", 0x0304)],
)
def test_the_version_has_its_number(site, version, name, number):
    client = site.client()
    client.maximum_version = client.minimum_version = ssl.TLSVersion[version]
    facts = site.facts(client)

    assert (facts.version, facts.version_number) == (name, number)


@pytest.mark.parametrize(
    ("suite", "number", "bits"),
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", 0xC02B, 128),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", 0xC02C, 256),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", 0xCCA9, 256),
    ],
)
def test_the_cipher_suite_has_ianas_number(site, suite, number, bits):
    client = site.client()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(suite)
    facts = site.facts(client)

    assert (facts.cipher, facts.cipher_number, facts.cipher_bits) == (suite, number, bits)


def test_the_cipher_suites_of_tls_1_3_have_ianas_numbers(site):
    facts = site.facts(site.client())
    known = {
        "TLS_AES_128_GCM_SHA256": 0x1301,
        "TLS_AES_256_GCM_SHA384": 0x1302,
        "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
    }
    assert facts.cipher_number == known[facts.cipher]


def test_the_servers_certificate_is_that_of_the_context(site):
    site.context.pem = "the certificate"

    assert site.facts(site.client()).server_pem == "the certificate"


def test_a_context_that_does_not_know_its_certificate_has_none(tmp_path):
    site = Site(tmp_path, ssl.SSLContext)

    assert site.facts(site.client()).server_pem is None


# --- the client -----------------------------------------------------------------------------------


def test_a_client_without_a_certificate_is_nobody(site):
    facts = site.facts(site.client())

    assert facts.client is None
    assert facts.client_error is None


def test_a_certificate_is_told_as_openssl_does(site):
    client = site.client("me@example.com", common_name="Müller, Inc.")
    found = site.facts(client).client

    own = found.chain[0]
    assert found.subject == openssl(own, "-subject")
    assert found.issuer == openssl(own, "-issuer")
    assert found.serial == openssl(own, "-serial")
    assert found.not_before == openssl(own, "-startdate")
    assert found.not_after == openssl(own, "-enddate")
    assert found.common_name == "Müller, Inc."
    assert "CN=M\\C3\\BCller\\, Inc." in found.subject


def test_a_name_without_a_common_name_has_an_empty_one(site):
    assert site.facts(site.client("me@example.com")).client.common_name == ""


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Python cannot be asked for the chain")
def test_the_chain_is_what_was_sent_and_verified(site):
    office = site.authority.ca.create_child_ca()
    issued = office.issue_cert("me@example.com")
    client = site.client()
    # Nobody's authority comes along; its signature is on nothing here.
    chain = [*issued.cert_chain_pems, trustme.CA().cert_pem]
    text = issued.private_key_pem.bytes() + b"".join(each.bytes() for each in chain)
    path = site.authority.write("client.pem", text)
    client.load_cert_chain(path)
    found = site.facts(client).client

    wanted = [each.bytes().decode() for each in issued.cert_chain_pems]
    assert [each.split() for each in found.chain] == [each.split() for each in wanted]


def test_a_resumed_session_has_the_certificate_it_began_with(site):
    client = site.client("me@example.com", common_name="me")
    first, server = site.connected(client)
    own = TlsFacts.read(server).client
    _, server = site.connected(client, first.session)

    assert server.session_reused
    again = TlsFacts.read(server).client
    assert again.chain == own.chain[:1]
    assert again.subject == own.subject


class Unreadable:
    """The server's side of a client whose certificate Python cannot decode."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def version(self):
        return "TLSv1.3"

    def cipher(self):
        return "TLS_AES_128_GCM_SHA256", "TLSv1.3", 128

    def getpeercert(self, binary_form=False):
        if binary_form:
            return b"certificate"
        raise ssl.SSLError("invalid utf8string")


def test_a_certificate_that_cannot_be_read_is_nobodys():
    facts = TlsFacts.read(Unreadable())

    assert facts.client is None
    assert "invalid utf8string" in facts.client_error
