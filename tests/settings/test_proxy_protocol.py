"""Who is asked for a PROXY header: for the server, and for one address."""

from __future__ import annotations

import pytest

from gateway.chain import Chain
from gateway.errors import ConfigError
from gateway.settings import Settings, load


@pytest.fixture
def place(tmp_path):
    """Settings by a file and flags, in a directory of their own."""

    def place(text="", **flags) -> Settings:
        (tmp_path / "gateway.toml").write_text(text)
        return load(environ={}, cwd=tmp_path, argv_values=flags).settings

    return place


def proxied(settings: Settings) -> dict[str, str]:
    return {str(each): settings.proxied(each) for each in settings.addresses}


def test_nobody_is_asked_by_default(place):
    assert proxied(place()) == {"127.0.0.1:8000": "off"}


def test_an_address_says_it_for_itself(place):
    text = """
proxy-protocol = "v2"
bind = [
    ":80 redirect=https",
    ":81 tls=off proxy-protocol=off",
    { address = ":82", proxy-protocol = "v1" },
    { address = ":83", redirect = "https", proxy_protocol = "auto" },
]
insecure-bind = ":84"
"""
    settings = place(text)
    assert list(proxied(settings).values()) == ["v2", "off", "v1", "auto", "v2"]
    assert [each.redirect for each in settings.addresses] == [True, False, False, True, False]
    assert settings.bind == (
        "0.0.0.0:80 redirect=https",
        "0.0.0.0:81 tls=off proxy-protocol=off",
        "0.0.0.0:82 proxy-protocol=v1",
        "0.0.0.0:83 redirect=https proxy-protocol=auto",
    )


def test_the_names_gunicorn_has_are_taken(place):
    settings = place(proxy_protocol="auto", proxy_protocol_allow_ips="10.0.0.0/8,::1")
    assert settings.proxy_protocol == "auto"
    assert settings.proxy_protocol_allow_ips == ("10.0.0.0/8", "::1")
    for name in ("proxy-allow-from", "proxy-allow-ips"):
        assert place(f"{name} = '10.0.0.7'").proxy_protocol_allow_ips == ("10.0.0.7",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("proxy-protocol = 'v3'", "one of off, v1, v2, auto"),
        ("bind = ':80 proxy-protocol=on'", "write proxy-protocol=off, v1, v2 or auto"),
        ("bind = { address = ':80', proxy-protocol = 2 }", "one of off, v1, v2, auto"),
        ("insecure-bind = ':80 proxy-protocol=v1'", "an address alone"),
        ("health-bind = ':80 proxy-protocol=v1'", "an address alone"),
        ("bind = [':80', ':80 proxy-protocol=v1']", "an address of another kind too"),
        ("proxy-protocol-allow-ips = '10.0.0.1/8'", "did you mean '10.0.0.0/8'?"),
    ],
)
def test_what_cannot_be_is_an_error(place, text, message):
    with pytest.raises(ConfigError) as caught:
        place(text)
    assert message in str(caught.value)


def test_a_name_is_no_address_and_the_error_says_whose(place):
    with pytest.raises(ConfigError, match=r"^proxy-protocol-allow-ips: "):
        Chain.check(place("proxy-protocol-allow-ips = 'balancer.example.com'"))
