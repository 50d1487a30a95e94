from __future__ import annotations

import pytest

from gateway.errors import ConfigError
from gateway.middleware.trusted_peers import TrustedPeers


@pytest.mark.parametrize(
    ("trusted", "client", "expected"),
    [
        (["127.0.0.1"], "127.0.0.1", True),
        (["127.0.0.1"], "127.0.0.2", False),
        (["127.0.0.1"], "::ffff:127.0.0.1", True),
        ([" 10.0.0.0/8 ", ""], "10.9.8.7", True),
        (["10.0.0.0/8"], "11.0.0.1", False),
        (["fd00::/8"], "fd12::1", True),
        (["fd00::/8"], "10.0.0.1", False),
        (["localhost"], "::1", True),
        (["localhost"], "127.8.8.8", True),
        (["*"], "203.0.113.1", True),
        ([], "127.0.0.1", False),
        (["*"], "not an address", True),
        (["10.0.0.0/8"], "not an address", False),
    ],
)
def test_an_address_is_trusted_by_the_list(trusted, client, expected):
    assert TrustedPeers(trusted).trusts((client, 1)) is expected


@pytest.mark.parametrize("client", [None, ("/run/app.sock", None)])
@pytest.mark.parametrize("trusted", [[], ["unix"], ["/run/app.sock"], ["unix:/run/app.sock"]])
def test_unix_peers_are_always_trusted(trusted, client):
    assert TrustedPeers(trusted).trusts(client)


@pytest.mark.parametrize(
    ("node", "host", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 0),
        ("192.0.2.1:80", "192.0.2.1", 80),
        ("192.0.2.1:99999", "192.0.2.1", 0),
        ("192.0.2.1:_hidden", "192.0.2.1", 0),
        ("2001:DB8:0::1", "2001:db8::1", 0),
        ("[2001:db8::1]", "2001:db8::1", 0),
        ("[2001:db8::1]:443", "2001:db8::1", 443),
        ("::ffff:192.0.2.1", "192.0.2.1", 0),
    ],
)
def test_a_node_is_read_as_address_and_port(node, host, port):
    assert TrustedPeers([]).hop(node) == (host, port, False)


@pytest.mark.parametrize(
    "node",
    ["", "unknown", "_hidden", "192.0.2", "[::1", "[::1]x", "fe80::1%\x1b[2J", "1.2.3.4:5:6", "é"],
)
def test_what_is_no_address_is_none(node):
    assert TrustedPeers(["*"]).hop(node) is None


def test_many_different_nodes_do_not_pile_up():
    peers = TrustedPeers(["10.0.0.1"])
    for number in range(10_000):
        peers.hop(f"junk {number}")

    assert len(peers._memo) <= 4096
    assert peers.trusts(("10.0.0.1", 1))


@pytest.mark.parametrize(
    ("item", "hint"),
    [("10.0.0.1/8", "did you mean 10.0.0.0/8"), ("proxy.internal", "an address")],
)
def test_an_item_that_is_no_address_is_refused_with_a_hint(item, hint):
    with pytest.raises(ConfigError) as caught:
        TrustedPeers([item])

    assert item in str(caught.value)
    assert hint in str(caught.value)
