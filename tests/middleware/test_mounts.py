from __future__ import annotations

import pytest
from fakes import FakeWire, exchange, head

from gateway.errors import ConfigError
from gateway.exchange import Exchange
from gateway.middleware.mounts import Route, mounts


def take(seen: Exchange) -> None:
    """A handler that answers nothing: what it was given is in the head."""


def site(*keys: str, root_path: str = ""):
    routes = []
    for key in keys:
        host, _, path = key.partition("/")
        routes.append(Route(key, host, "/" + path, take))
    return mounts(routes, root_path=root_path)


def route(handler, target: str, *, host: str | None = "testserver", outer: str = "") -> Exchange:
    request = exchange(head("GET", target, host=host))
    request.head.root_path = outer
    handler(request)
    return request


def place(request: Exchange) -> tuple[str, str, str, bytes]:
    seen = request.head
    return seen.mount, seen.root_path, seen.path, seen.raw_path


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/", "/"),
        ("/apix", "/"),
        ("/API", "/"),
        ("//api", "/"),
        ("/api", "/api"),
        ("/api/", "/api"),
        ("/api/x", "/api"),
        ("/api/v2", "/api/v2"),
        ("/api/v2/x", "/api/v2"),
        ("/api/v22", "/api"),
        ("/%61pi/x", "/api"),
        ("/caf%C3%A9/x", "/café"),
        ("/api?x=/api/v2", "/api"),
    ],
)
def test_longest_prefix_by_whole_segments_of_the_decoded_path_wins(path, mount):
    assert route(site("/", "/api", "/café", "/api/v2"), path).head.mount == mount


def test_order_of_routes_does_not_matter():
    assert route(site("/api/v2", "/api", "/"), "/api/v2/x").head.mount == "/api/v2"
    assert route(site("/", "/api", "/api/v2"), "/api/v2/x").head.mount == "/api/v2"


def test_root_path_is_the_mount_and_the_path_stays_full():
    request = route(site("/", "/api"), "/api/a%20b?q")

    assert place(request) == ("/api", "/api", "/api/a b", b"/api/a%20b")


def test_trailing_slash_of_a_mount_changes_nothing():
    request = route(site("/ws/"), "/ws")

    assert place(request) == ("/ws/", "/ws", "/ws", b"/ws")


def test_mount_at_the_root_has_no_root_path():
    assert route(site("/"), "/x").head.root_path == ""
    assert route(site("/", "/api"), "/x").head.root_path == ""


def test_unknown_path_is_404_and_reaches_nobody():
    wire = FakeWire()
    request = exchange(head("GET", "/other"), wire)

    site("/api")(request)

    assert (wire.status, wire.body) == (404, b"Not Found\n")
    assert request.head.mount == ""


def test_the_handler_of_the_route_gets_the_exchange():
    taken = []
    handler = mounts([Route("/", "", "/", take), Route("/api", "", "/api", taken.append)])

    request = route(handler, "/api")

    assert taken == [request]


# --- root-path of one mount ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "root_path"), [("", "/outer"), ("/v1", "/outer/v1"), ("/v1/", "/outer/v1")]
)
def test_root_path_of_a_mount_stands_in_place_of_its_prefix(own, root_path):
    handler = mounts([Route("/ws", "", "/ws", take, own)], root_path="/outer")

    assert route(handler, "/ws/chat").head.root_path == root_path


def test_empty_root_path_routes_without_mounting():
    handler = mounts([Route("/ws", "", "/ws", take, "")])

    assert place(route(handler, "/ws/chat")) == ("/ws", "", "/ws/chat", b"/ws/chat")


# --- outer root path -----------------------------------------------------------------------------


def test_outer_root_path_is_put_before_a_path_the_proxy_shortened():
    request = route(site("/", "/api", root_path="/outer/"), "/api/x")

    assert place(request) == ("/api", "/outer/api", "/outer/api/x", b"/outer/api/x")


def test_outer_root_path_is_not_doubled_when_the_proxy_left_it():
    request = route(site("/", "/api", root_path="/outer"), "/outer/api/x")

    assert place(request) == ("/api", "/outer/api", "/outer/api/x", b"/outer/api/x")


def test_outer_root_path_alone_is_the_root_of_the_site():
    request = route(site("/", "/api", root_path="/outer"), "/outer")

    assert place(request) == ("/", "/outer", "/outer", b"/outer")


def test_outer_root_path_is_recognized_by_whole_segments():
    request = route(site("/", root_path="/outer"), "/outerspace")

    assert place(request) == ("/", "/outer", "/outer/outerspace", b"/outer/outerspace")


def test_outer_root_path_is_percent_encoded_in_the_raw_path():
    request = route(site("/", root_path="/für uns"), "/x")

    assert place(request)[2:] == ("/für uns/x", b"/f%C3%BCr%20uns/x")


def test_forwarded_prefix_replaces_the_configured_root_path():
    handler = site("/", root_path="/configured")

    assert place(route(handler, "/x", outer="/told")) == ("/", "/told", "/told/x", b"/told/x")


def test_forwarded_prefix_works_for_a_single_mount():
    assert place(route(site("/"), "/x", outer="/told")) == ("/", "/told", "/told/x", b"/told/x")


# --- hosts ---------------------------------------------------------------------------------------

HOSTS = ("/", "a.example/", "*.example/", "*.b.example/", "[::1]/", "münchen.example/")


@pytest.mark.parametrize(
    ("host", "mount"),
    [
        ("a.example", "a.example/"),
        ("A.Example", "a.example/"),
        ("a.example:8000", "a.example/"),
        ("a.example.", "a.example/"),
        ("a.example.:80", "a.example/"),
        ("c.example", "*.example/"),
        ("x.b.example", "*.b.example/"),
        ("x.y.b.example", "*.b.example/"),
        ("b.example", "*.example/"),
        ("example", "/"),
        (".example", "/"),
        ("other", "/"),
        ("", "/"),
        (None, "/"),
        ("[::1]", "[::1]/"),
        ("[::1]:8000", "[::1]/"),
        ("xn--mnchen-3ya.example", "münchen.example/"),
    ],
)
def test_host_is_exact_then_longest_wildcard_then_any(host, mount):
    assert route(site(*HOSTS), "/x", host=host).head.mount == mount


def test_more_specific_host_wins_over_a_longer_prefix():
    assert route(site("a.example/", "/api"), "/api", host="a.example").head.mount == "a.example/"


def test_a_host_that_does_not_cover_the_path_leaves_it_to_the_next():
    handler = site("a.example/api", "*.example/admin", "/static")

    assert route(handler, "/admin", host="a.example").head.mount == "*.example/admin"
    assert route(handler, "/static", host="a.example").head.mount == "/static"


def test_unknown_host_is_404():
    request = route(site("a.example/"), "/", host="other")

    assert request.status == 404


def test_many_different_hosts_do_not_pile_up():
    handler = site("a.example/", "/")
    for number in range(3000):
        assert route(handler, "/", host=f"h{number}").head.mount == "/"

    assert route(handler, "/", host="a.example").head.mount == "a.example/"


# --- OPTIONS * -----------------------------------------------------------------------------------


def ask_options(handler) -> Exchange:
    request = exchange(head("OPTIONS", "*"))
    handler(request)
    return request


@pytest.mark.parametrize("root_path", ["", "/outer"])
def test_asterisk_goes_to_the_mount_at_the_root_without_a_root_path(root_path):
    request = ask_options(site("/", "/api", root_path=root_path))

    assert place(request) == ("/", "", "*", b"*")


def test_asterisk_without_a_mount_at_the_root_is_404():
    assert ask_options(site("/api")).status == 404


# --- configuration -------------------------------------------------------------------------------


def test_relative_path_is_refused():
    with pytest.raises(ConfigError, match="must begin with /"):
        mounts([Route("api", "", "api", take)])


def test_two_routes_in_one_place_are_refused():
    with pytest.raises(ConfigError, match="'/api' and '/api/' are the same place"):
        site("/api", "/api/")


def test_no_routes_is_404_for_everything():
    assert route(mounts([]), "/").status == 404
