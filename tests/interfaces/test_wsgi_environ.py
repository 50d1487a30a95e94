from __future__ import annotations

import io
import sys
from wsgiref.util import guess_scheme

import pytest

from gateway.head import Peer
from gateway.interfaces.environ import EnvironBuilder
from gateway.interfaces.tls_facts import tls_variables
from gateway.interfaces.wsgi_file import FileWrapper

from .tls_fakes import nobody
from .wsgi_fakes import get, make_head


def build(
    target: bytes = b"/", *, multithread=True, multiprocess=False, body_length=None, **fields
):
    builder = EnvironBuilder(
        multithread=multithread,
        multiprocess=multiprocess,
        errors=sys.stderr,
        file_wrapper=FileWrapper,
    )
    return builder.build(
        make_head(target, **fields), io.BytesIO(), body_length, lambda: False, lambda _: None
    )


def test_request_line_and_addresses():
    environ = build(b"/a/b?x=1&y=%20", method="DELETE")
    assert environ["REQUEST_METHOD"] == "DELETE"
    assert environ["SCRIPT_NAME"] == ""
    assert environ["PATH_INFO"] == "/a/b"
    assert environ["QUERY_STRING"] == "x=1&y=%20"
    assert environ["REQUEST_URI"] == environ["RAW_URI"] == "/a/b?x=1&y=%20"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("192.0.2.1", "8000")
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("203.0.113.7", "50123")
    assert environ["HTTP_HOST"] == "example.com"
    assert environ["wsgi.url_scheme"] == "http"


def test_flags_tell_the_truth():
    assert build()["wsgi.version"] == (1, 0)
    assert build()["wsgi.run_once"] is False
    assert build()["wsgi.input_terminated"] is True
    assert build(multithread=False)["wsgi.multithread"] is False
    assert build(multiprocess=True)["wsgi.multiprocess"] is True


@pytest.mark.parametrize("threads", [1, 2])
def test_multithread_follows_the_number_of_threads(threads):
    seen = []

    def app(environ, start_response):
        seen.append(environ["wsgi.multithread"])
        start_response("200 OK", [])
        return [b""]

    get(app, threads=threads)
    assert seen == [threads > 1]


@pytest.mark.parametrize(
    ("target", "path_info"),
    [
        (b"/caf%C3%A9", "/caf\xc3\xa9"),
        (b"/%ff", "/\xff"),
        (b"/a%20b", "/a b"),
        (b"/a%2Fb", "/a/b"),
        (b"/%25", "/%"),
        (b"/100%", "/100%"),
        (b"*", ""),
    ],
)
def test_path_is_the_decoded_bytes_as_latin_1(target, path_info):
    assert build(target)["PATH_INFO"] == path_info


@pytest.mark.parametrize(
    ("root_path", "target", "script_name", "path_info"),
    [
        ("/api", b"/api/users", "/api", "/users"),
        ("/api", b"/api", "/api", ""),
        ("/api", b"/api/", "/api", "/"),
        ("/caf\xe9", b"/caf%C3%A9/menu%20du%20jour", "/caf\xc3\xa9", "/menu du jour"),
        ("/outer", b"/elsewhere", "/outer", "/elsewhere"),
        ("", b"/api/users", "", "/api/users"),
    ],
)
def test_script_name_and_path_info_share_the_path(root_path, target, script_name, path_info):
    environ = build(target, root_path=root_path)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script_name, path_info)


def test_repeated_fields_are_joined():
    environ = build(headers=[(b"accept", b"a"), (b"accept", b"b"), (b"x", b"1")])
    assert environ["HTTP_ACCEPT"] == "a, b"


def test_cookie_crumbs_are_joined_by_semicolons():
    environ = build(headers=[(b"cookie", b"a=1"), (b"cookie", b"b=2")])
    assert environ["HTTP_COOKIE"] == "a=1; b=2"


def test_underscores_cannot_forge_a_field():
    environ = build(headers=[(b"x_real_ip", b"forged"), (b"content_length", b"9")])
    assert "HTTP_X_REAL_IP" not in environ
    assert "CONTENT_LENGTH" not in environ


def test_proxy_field_does_not_become_http_proxy():
    assert "HTTP_PROXY" not in build(headers=[(b"proxy", b"http://evil.example")])


def test_content_type_and_length_have_no_prefix():
    environ = build(method="POST", headers=[(b"content-type", b"text/plain")], body=b"12345")
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("text/plain", "5")
    assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & environ.keys()


def test_content_length_is_absent_when_unknown():
    assert "CONTENT_LENGTH" not in build(method="POST", content_length=None)


def test_content_length_of_a_body_received_whole():
    assert build(method="POST", content_length=None, body_length=7)["CONTENT_LENGTH"] == "7"


def test_field_values_are_latin_1():
    assert build(headers=[(b"x-name", b"caf\xe9")])["HTTP_X_NAME"] == "caf\xe9"


def test_unix_socket_has_names_that_frameworks_take():
    environ = build(peer=Peer(None, ("/run/gateway.sock", None), "https"))
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", "443")
    assert environ["REMOTE_ADDR"] == ""
    assert "REMOTE_PORT" not in environ


def test_a_tls_connection_has_variables_of_its_own():
    environ = build(peer=Peer(None, ("192.0.2.1", 443), "https", nobody()))
    assert environ["HTTPS"] == "on"
    assert environ["SERVER_PORT"] == "443"
    assert tls_variables(nobody()).items() <= environ.items()


def test_https_is_what_the_clients_scheme_is():
    behind_a_proxy = build(peer=Peer(None, ("192.0.2.1", 80), "https"))
    assert behind_a_proxy["HTTPS"] == "on"
    assert guess_scheme(behind_a_proxy) == behind_a_proxy["wsgi.url_scheme"] == "https"
    assert "HTTPS" not in build()
    assert not [key for key in behind_a_proxy if key.startswith("SSL_")]


def test_variables_of_tls_cannot_be_forged():
    environ = build(headers=[(b"ssl-client-verify", b"SUCCESS"), (b"https", b"on")])
    assert "SSL_CLIENT_VERIFY" not in environ
    assert "HTTPS" not in environ


def test_environs_are_not_shared():
    builder = EnvironBuilder(
        multithread=True, multiprocess=False, errors=sys.stderr, file_wrapper=FileWrapper
    )
    arguments = (make_head(), io.BytesIO(), None, lambda: False, lambda _: None)
    first = builder.build(*arguments)
    first["SCRIPT_NAME"] = first["own"] = "changed"
    second = builder.build(*arguments)
    assert second["SCRIPT_NAME"] == ""
    assert "own" not in second


def test_invented_names_do_not_grow_the_process():
    builder = EnvironBuilder(
        multithread=True, multiprocess=False, errors=sys.stderr, file_wrapper=FileWrapper
    )
    for number in range(3000):
        head = make_head(headers=[(b"x-%d" % number, b"v")])
        environ = builder.build(head, io.BytesIO(), None, lambda: False, lambda _: None)
        assert environ[f"HTTP_X_{number}"] == "v"
    assert len(builder._keys) <= 1024
