from __future__ import annotations

import logging

import pytest
from fakes import exchange, head
from hypothesis import given
from hypothesis import strategies as st

from gateway.head import RequestHead
from gateway.middleware.mounts import Route, mounts
from gateway.middleware.proxy_headers import proxy_headers
from gateway.middleware.trusted_peers import TrustedPeers

TRUSTED = ["127.0.0.1", "10.0.0.0/8"]
PEER = ("127.0.0.1", 50000)


def through(*fields: tuple[str, str], client=PEER, trusted=TRUSTED, **facts) -> RequestHead:
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in fields]
    request = exchange(head("GET", "/", headers=headers, client=client, **facts))
    taken = []
    proxy_headers(taken.append, TrustedPeers(trusted))(request)
    assert taken == [request]
    return request.head


def names(seen: RequestHead) -> list[bytes]:
    return [name for name, _ in seen.headers]


# --- the client ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("203.0.113.9", ("203.0.113.9", 0)),
        ("6.6.6.6, 203.0.113.9", ("203.0.113.9", 0)),
        ("6.6.6.6, 203.0.113.9, 10.1.1.1,10.2.2.2", ("203.0.113.9", 0)),
        ("203.0.113.9:4711, 10.1.1.1:80", ("203.0.113.9", 4711)),
        ("[2001:db8::1]:4711", ("2001:db8::1", 4711)),
        ("2001:db8::1", ("2001:db8::1", 0)),
        ("::ffff:203.0.113.9, ::ffff:10.0.0.1", ("203.0.113.9", 0)),
        ("10.3.3.3, 10.1.1.1", ("10.3.3.3", 0)),
        ("6.6.6.6, unknown, 10.1.1.1", ("10.1.1.1", 0)),
        ("6.6.6.6, unknown", PEER),
        ("\x1b[2J", PEER),
        (", ,", PEER),
        ("", PEER),
    ],
)
def test_rightmost_untrusted_address_is_the_client(value, client):
    assert through(("X-Forwarded-For", value)).client == client


def test_several_lines_are_one_list():
    seen = through(("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "203.0.113.9"))

    assert seen.client == ("203.0.113.9", 0)


def test_if_everybody_is_trusted_the_leftmost_is_the_client():
    seen = through(("X-Forwarded-For", "6.6.6.6, 203.0.113.9"), trusted=["*"])

    assert seen.client == ("6.6.6.6", 0)


@pytest.mark.parametrize("client", [None, ("/run/proxy.sock", None)])
def test_a_unix_peer_is_believed(client):
    seen = through(("X-Forwarded-For", "203.0.113.9"), client=client, trusted=[])

    assert seen.client == ("203.0.113.9", 0)


def test_what_was_believed_stays_visible():
    assert b"x-forwarded-for" in names(through(("X-Forwarded-For", "203.0.113.9")))


# --- the scheme ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "scheme"),
    [("https", "https"), ("HTTPS", "https"), ("http", "http"), ("wss", "https"), ("ws", "http")],
)
def test_scheme_is_the_forwarded_one(value, scheme):
    assert through(("X-Forwarded-Proto", value)).scheme == scheme


@pytest.mark.parametrize("value", ["ftp", "https\x1b", "javascript"])
def test_unknown_scheme_is_ignored_and_removed(value):
    seen = through(("X-Forwarded-Proto", value))

    assert seen.scheme == "http"
    assert b"x-forwarded-proto" not in names(seen)


@pytest.mark.parametrize(
    ("nodes", "protos", "scheme"),
    [
        ("203.0.113.9, 10.1.1.1", "https, http", "https"),
        ("6.6.6.6, 203.0.113.9", "https, http", "http"),
        ("6.6.6.6, 203.0.113.9", "https, https, http", "http"),
        ("203.0.113.9, 10.1.1.1", "https", "https"),
        ("unknown", "http, https", "https"),
    ],
)
def test_among_several_schemes_the_one_beside_the_client_counts_else_the_last(
    nodes, protos, scheme
):
    assert through(("X-Forwarded-For", nodes), ("X-Forwarded-Proto", protos)).scheme == scheme


# --- host and port -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "host", "server"),
    [
        ({"Host": "example.com"}, b"example.com", ("example.com", 80)),
        ({"Host": "example.com:8443"}, b"example.com:8443", ("example.com", 8443)),
        ({"Host": "[::1]:8443"}, b"[::1]:8443", ("::1", 8443)),
        ({"Host": "example.com", "Proto": "https"}, b"example.com", ("example.com", 443)),
        (
            {"Host": "example.com", "Proto": "https", "Port": "443"},
            b"example.com",
            ("example.com", 443),
        ),
        ({"Host": "example.com", "Port": "8443"}, b"example.com:8443", ("example.com", 8443)),
        ({"Host": "example.com:1", "Port": "8443"}, b"example.com:1", ("example.com", 1)),
        ({"Host": "evil.com, example.com"}, b"example.com", ("example.com", 80)),
        ({"Port": "8443"}, b"testserver", ("127.0.0.1", 8443)),
    ],
)
def test_host_and_port_replace_the_host_field_and_the_server(fields, host, server):
    seen = through(*((f"X-Forwarded-{name}", value) for name, value in fields.items()))

    assert seen.header(b"host") == host
    assert names(seen).count(b"host") == 1
    assert seen.server == server


def test_host_is_added_where_there_was_none():
    seen = through(("X-Forwarded-Host", "example.com"), host=None, version="1.0")

    assert seen.header(b"host") == b"example.com"


@pytest.mark.parametrize(
    "value",
    [
        "example.com/?",
        "user@example.com",
        "a b",
        "example.com:",
        "example.com:x",
        "example.com:65536",
        "example.com:0",
        "[::1",
        "[1.2.3.4]",
        "[fe80::1%eth0]",
        "ex\x1bample",
        "a:b:c",
        ":80",
        "exämple.com",
    ],
)
def test_malformed_host_is_ignored_and_removed(value):
    seen = through(("X-Forwarded-Host", value))

    assert seen.header(b"host") == b"testserver"
    assert b"x-forwarded-host" not in names(seen)


@pytest.mark.parametrize("value", ["0", "65536", "-1", "x", "８０", "80\x1b"])
def test_malformed_port_is_ignored_and_removed(value):
    if not value.isascii():
        value = value.encode().decode("latin-1")
    seen = through(("X-Forwarded-Port", value))

    assert seen.server == ("127.0.0.1", 8000)
    assert b"x-forwarded-port" not in names(seen)


# --- prefix --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "root_path"),
    [
        ("/app", "/app"),
        ("/app/", "/app"),
        ("/a/b", "/a/b"),
        ("/caf%C3%A9", "/café"),
        ("/", ""),
        ("/evil, /app", "/app"),
    ],
)
def test_prefix_becomes_the_root_path(value, root_path):
    assert through(("X-Forwarded-Prefix", value)).root_path == root_path


@pytest.mark.parametrize(
    "value",
    [
        "app",
        "",
        "//evil.com",
        "/a//b",
        "/a/../b",
        "/a/%2e%2e/b",
        "/a/./b",
        "/%2f/b",
        "/a%5Cb",
        "/a%0d%0ab",
        "/a b",
        "/a?b",
        "/a\x1b",
        "/a\\b",
        "/ä",
    ],
)
def test_malformed_prefix_is_ignored_and_removed(value):
    seen = through(("X-Forwarded-Prefix", value))

    assert seen.root_path == ""
    assert b"x-forwarded-prefix" not in names(seen)


def test_mounts_put_the_site_below_the_prefix():
    request = exchange(head("GET", "/api/x", headers=[(b"x-forwarded-prefix", b"/app")]))
    routed = mounts([Route("/api", "", "/api", lambda _: None)])

    proxy_headers(routed, TrustedPeers(TRUSTED))(request)

    assert (request.head.path, request.head.root_path) == ("/app/api/x", "/app/api")


# --- Forwarded -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "client", "scheme", "host"),
    [
        (
            'for="[2001:db8::1]:4711";proto=https;host=example.com',
            ("2001:db8::1", 4711),
            "https",
            b"example.com",
        ),
        (
            "for=6.6.6.6;proto=http;host=evil.com, for=203.0.113.9;proto=https;host=good.com",
            ("203.0.113.9", 0),
            "https",
            b"good.com",
        ),
        (
            "for=203.0.113.9;proto=https;host=good.com, for=10.1.1.1;proto=http;host=inner",
            ("203.0.113.9", 0),
            "https",
            b"good.com",
        ),
        ("for=203.0.113.9, for=10.1.1.1;proto=https", ("203.0.113.9", 0), "https", b"testserver"),
        ("for=_hidden;proto=https", PEER, "https", b"testserver"),
        ("for=unknown, for=10.1.1.1", ("10.1.1.1", 0), "http", b"testserver"),
        ('for="203.0.113.9:_port"', ("203.0.113.9", 0), "http", b"testserver"),
        ('for=", for=203.0.113.9', ("203.0.113.9", 0), "http", b"testserver"),
        ("garbage", PEER, "http", b"testserver"),
        ('for=203.0.113.9;host="evil.com/?"', ("203.0.113.9", 0), "http", b"testserver"),
    ],
)
def test_forwarded_is_walked_from_the_right(value, client, scheme, host):
    seen = through(("Forwarded", value))

    assert (seen.client, seen.scheme, seen.header(b"host")) == (client, scheme, host)


@pytest.mark.parametrize("name", ["For", "Proto", "Host", "Port"])
def test_forwarded_is_not_read_but_removed_beside_x_forwarded_fields(name):
    """A proxy that writes one family passes the other through from the client."""
    values = {"For": "203.0.113.9", "Proto": "http", "Host": "testserver", "Port": "8000"}

    seen = through(
        ("Forwarded", "for=6.6.6.6;proto=https;host=evil.com"),
        (f"X-Forwarded-{name}", values[name]),
    )

    assert seen.client == (("203.0.113.9", 0) if name == "For" else PEER)
    assert seen.scheme == "http"
    assert b"evil" not in (seen.header(b"host") or b"")
    assert b"forwarded" not in names(seen)


def test_prefix_goes_together_with_forwarded():
    seen = through(("Forwarded", "for=203.0.113.9"), ("X-Forwarded-Prefix", "/app"))

    assert (seen.client, seen.root_path) == (("203.0.113.9", 0), "/app")


# --- who is not believed -------------------------------------------------------------------------

SPOOFED = (
    ("X-Forwarded-For", "6.6.6.6"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "evil.com"),
    ("X-Forwarded-Port", "1"),
    ("X-Forwarded-Prefix", "/evil"),
    ("Forwarded", "for=6.6.6.6"),
    ("X-Real-IP", "6.6.6.6"),
    ("X-Forwarded-Ssl", "on"),
    ("X_Forwarded_For", "6.6.6.6"),
    ("Accept", "*/*"),
)


def test_fields_of_an_untrusted_peer_change_nothing_and_are_removed():
    seen = through(*SPOOFED, client=("203.0.113.1", 4))

    assert seen.client == ("203.0.113.1", 4)
    assert (seen.scheme, seen.root_path) == ("http", "")
    assert seen.headers == [(b"host", b"testserver"), (b"accept", b"*/*")]


def test_removal_is_logged_once_with_what_to_do(caplog):
    handler = proxy_headers(lambda _: None, TrustedPeers([]))
    logger = logging.getLogger("gateway.error")
    logger.addHandler(caplog.handler)
    try:
        for _ in range(3):
            handler(exchange(head(headers=[(b"x-forwarded-for", b"6.6.6.6")])))
    finally:
        logger.removeHandler(caplog.handler)

    messages = {record.getMessage() for record in caplog.records}
    assert len(messages) == 1
    assert "127.0.0.1" in messages.pop()


@pytest.mark.parametrize("name", ["X_Forwarded_For", "X-Forwarded_For", "X_Real-IP"])
def test_names_with_underscores_are_removed_even_from_a_trusted_peer(name):
    """A WSGI environ could not tell them from the proxy's own."""
    seen = through((name, "6.6.6.6"), ("X-Forwarded-For", "203.0.113.9"))

    assert seen.client == ("203.0.113.9", 0)
    assert names(seen) == [b"host", b"x-forwarded-for"]


def test_a_request_without_such_fields_keeps_its_headers():
    request = exchange(head(headers=[(b"accept", b"*/*")]))
    before = request.head.headers

    proxy_headers(lambda _: None, TrustedPeers(TRUSTED))(request)

    assert request.head.headers is before


# --- anything ------------------------------------------------------------------------------------

FIELD = st.tuples(
    st.sampled_from([name for name, _ in SPOOFED]),
    st.text(alphabet='for=;,"\\[]:.%/*10a htps\x1b\xff_', max_size=30),
)


@given(st.lists(FIELD, max_size=5), st.sampled_from([["*"], TRUSTED, []]))
def test_any_values_leave_a_sound_head(fields, trusted):
    seen = through(*fields, trusted=trusted)

    host, port = seen.client
    assert host.isprintable()
    assert 0 <= port <= 65535
    assert seen.scheme in {"http", "https"}
    assert seen.root_path == "" or (seen.root_path[0] == "/" and seen.root_path[-1] != "/")
    assert names(seen).count(b"host") == 1
