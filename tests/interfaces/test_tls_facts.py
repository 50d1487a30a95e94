"""TLS in the terms of ASGI and of mod_ssl."""

from gateway.interfaces.tls_facts import tls_extension, tls_variables
from interfaces.tls_fakes import nobody, somebody


def test_a_connection_without_a_client_certificate():
    assert tls_extension(nobody()) == {
        "server_cert": "server",
        "client_cert_chain": [],
        "client_cert_name": None,
        "client_cert_error": None,
        "tls_version": 0x0304,
        "cipher_suite": 0x1301,
    }
    assert tls_variables(nobody()) == {
        "SSL_PROTOCOL": "TLSv1.3",
        "SSL_CIPHER": "TLS_AES_128_GCM_SHA256",
        "SSL_CIPHER_USEKEYSIZE": "128",
        "SSL_CLIENT_VERIFY": "NONE",
        "SSL_SERVER_CERT": "server",
    }


def test_a_client_certificate():
    extension = tls_extension(somebody())
    assert extension["client_cert_chain"] == ["own", "issuer's", "the issuer's issuer's"]
    assert extension["client_cert_name"] == "CN=M\\C3\\BCller,O=Example"
    assert extension["client_cert_error"] is None

    variables = tls_variables(somebody())
    assert {name: text for name, text in variables.items() if "CLIENT" in name} == {
        "SSL_CLIENT_VERIFY": "SUCCESS",
        "SSL_CLIENT_S_DN": "CN=M\\C3\\BCller,O=Example",
        "SSL_CLIENT_S_DN_CN": "MÃ¼ller",  # its bytes as latin-1, as PEP 3333 has all text
        "SSL_CLIENT_I_DN": "CN=Office,O=Example",
        "SSL_CLIENT_M_SERIAL": "0A",
        "SSL_CLIENT_V_START": "Nov 21 00:00:00 2026 GMT",
        "SSL_CLIENT_V_END": "Nov 21 00:00:00 2027 GMT",
        "SSL_CLIENT_CERT": "own",
        "SSL_CLIENT_CERT_CHAIN_0": "issuer's",
        "SSL_CLIENT_CERT_CHAIN_1": "the issuer's issuer's",
    }


def test_a_client_certificate_that_cannot_be_read():
    facts = nobody(client_error="it is broken")

    assert tls_extension(facts)["client_cert_error"] == "it is broken"
    assert tls_extension(facts)["client_cert_name"] is None
    assert tls_variables(facts)["SSL_CLIENT_VERIFY"] == "FAILED:it is broken"
    assert "SSL_CLIENT_S_DN" not in tls_variables(facts)


def test_what_is_not_known_is_none_to_asgi_and_absent_in_an_environ():
    facts = nobody(server_pem=None, cipher_number=None)

    assert tls_extension(facts)["server_cert"] is None
    assert tls_extension(facts)["cipher_suite"] is None
    assert "SSL_SERVER_CERT" not in tls_variables(facts)


def test_each_request_has_its_own():
    facts = somebody()
    tls_extension(facts)["client_cert_chain"].clear()
    tls_variables(facts).clear()

    assert tls_extension(facts)["client_cert_chain"]
    assert tls_variables(facts)
