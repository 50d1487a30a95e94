"""The redirect to https."""

import pytest
from fakes import FakeWire, exchange, head

from gateway.middleware.https_redirect import https_redirect


def answer(target="/", *, port=443, host="example.com", challenges=None, method="GET", **options):
    wire = FakeWire()
    handler = https_redirect(port, challenges=challenges)
    handler(exchange(head(method, target, host=host, **options), wire))
    return wire


@pytest.mark.parametrize(
    ("target", "host", "port", "location"),
    [
        ("/", "example.com", 443, b"https://example.com/"),
        ("/a%20b?c=d", "example.com", 443, b"https://example.com/a%20b?c=d"),
        ("/", "example.com:80", 443, b"https://example.com/"),
        ("/", "example.com:80", 8443, b"https://example.com:8443/"),
        ("/", "[::1]:80", 8443, b"https://[::1]:8443/"),
        ("//evil.example/", "example.com", 443, b"https://example.com//evil.example/"),
    ],
)
def test_it_goes_to_the_same_place(target, host, port, location):
    wire = answer(target, host=host, port=port)

    assert wire.status == 308
    assert wire.header(b"location") == location


def test_a_request_without_a_host_is_refused():
    assert answer(host=None).status == 400
    assert answer(host="").status == 400


@pytest.mark.parametrize("method", ["POST", "HEAD", "DELETE"])
def test_every_method_is_redirected(method):
    assert answer(method=method).status == 308


def test_acme_goes_through_where_it_is_asked_for():
    seen = []
    challenge = "/.well-known/acme-challenge/token"

    answer(challenge, challenges=seen.append)
    answer("/other", challenges=seen.append)

    assert [each.head.path for each in seen] == [challenge]
    assert answer(challenge).status == 308


@pytest.mark.parametrize("rest", ["", "../../admin", "%2e%2e/admin", "token/more"])
def test_what_is_no_challenge_does_not_go_through(rest):
    seen = []

    wire = answer(f"/.well-known/acme-challenge/{rest}", challenges=seen.append)

    assert wire.status == 308
    assert seen == []
