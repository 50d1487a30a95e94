"""What applications see of TLS connections: over every wire, in every interface."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from contextlib import contextmanager

import pytest
from http2_client import open_client
from tls.authority import Authority

LOOPS = ["uvloop", "asyncio"]


async def asgi(scope, receive, send):
    """Tells the extension as JSON; a WebSocket is denied with it."""
    if scope["type"] == "lifespan":
        return
    seen = {"tls": scope["extensions"].get("tls"), "scheme": scope["scheme"]}
    prefix = "websocket.http" if scope["type"] == "websocket" else "http"
    await send({"type": f"{prefix}.response.start", "status": 200, "headers": []})
    await send({"type": f"{prefix}.response.body", "body": json.dumps(seen).encode()})


def asgi2(scope):
    async def instance(receive, send):
        await asgi(scope, receive, send)

    return instance


def wsgi(environ, start_response):
    start_response("200 OK", [])
    seen = {
        name: value
        for name, value in environ.items()
        if name.startswith(("SSL_", "HTTPS", "SERVER_PORT", "wsgi.url_scheme"))
    }
    return [json.dumps(seen).encode()]


class Site:
    """Certificates, and the clients of a server that has them."""

    def __init__(self, directory, serve):
        self.authority = Authority(directory)
        self.certfile, self.keyfile = self.authority.issue("localhost")
        self.serve = serve
        self.server = None

    def start(self, app=None, clients="optional", **settings):
        self.server = self.serve(
            app,
            ssl_certfile=self.certfile,
            ssl_keyfile=self.keyfile,
            ssl_cert_reqs=clients,
            ssl_ca_certs=str(self.authority.ca_file) if clients != "none" else None,
            **settings,
        )

    def client(self, *names, **options):
        """A client's context, with a certificate if it has a name."""
        context = self.authority.client()
        if names:
            self.authority.ca.issue_cert(*names, **options).configure_cert(context)
        return context

    @contextmanager
    def connect(self, context=None):
        connection = http.client.HTTPSConnection(
            "localhost", self.server.port, context=context or self.client(), timeout=10
        )
        try:
            yield connection
        finally:
            connection.close()

    def ask(self, context=None, path="/", **headers):
        with self.connect(context) as connection:
            return answer(connection, path, **headers)


def answer(connection, path="/", **headers):
    connection.request("GET", path, headers=headers)
    return json.loads(connection.getresponse().read())


@pytest.fixture
def site(tmp_path, serve):
    return Site(tmp_path, serve)


def is_pem(text):
    return len(ssl.PEM_cert_to_DER_cert(text)) > 100


# --- ASGI -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", LOOPS)
def test_asgi_sees_the_clients_certificate(site, loop):
    site.start(asgi, loop=loop)
    tls = site.ask(site.client("me@example.com", common_name="me"))["tls"]

    assert set(tls) == {
        "server_cert",
        "client_cert_chain",
        "client_cert_name",
        "client_cert_error",
        "tls_version",
        "cipher_suite",
    }
    assert tls["client_cert_name"].startswith("CN=me,")
    assert is_pem(tls["client_cert_chain"][0])
    assert tls["client_cert_error"] is None
    assert tls["tls_version"] == 0x0304
    assert tls["cipher_suite"] in (0x1301, 0x1302, 0x1303)


@pytest.mark.parametrize("clients", ["none", "optional"])
def test_asgi_sees_that_there_is_no_client_certificate(site, clients):
    site.start(asgi, clients=clients)
    tls = site.ask()["tls"]

    assert tls["client_cert_chain"] == []
    assert tls["client_cert_name"] is None
    assert tls["tls_version"] == 0x0304


def test_asgi_2_sees_the_same(site):
    site.start(asgi2)

    assert site.ask(site.client("me@example.com"))["tls"]["client_cert_name"] is not None


def test_a_websocket_sees_the_clients_certificate(site):
    site.start(asgi)
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    seen = site.ask(site.client("me@example.com", common_name="me"), **upgrade)

    assert seen["scheme"] == "wss"
    assert seen["tls"]["client_cert_name"].startswith("CN=me,")


@pytest.mark.parametrize("loop", LOOPS)
def test_a_stream_of_http_2_sees_the_clients_certificate(site, loop):
    site.start(asgi, loop=loop)
    context = site.client("me@example.com", common_name="me")
    context.set_alpn_protocols(["h2"])
    with open_client(("127.0.0.1", site.server.port), tls=context) as client:
        seen = [json.loads(client.request().body) for _ in range(2)]

    assert seen[0]["tls"]["client_cert_name"].startswith("CN=me,")
    assert seen[0] == seen[1]


def test_a_plain_connection_has_no_extension(site):
    site.start(asgi, insecure_bind=("127.0.0.2:0",))
    plain = next(url for url in site.server.urls if url.startswith("http:"))
    connection = http.client.HTTPConnection(plain.removeprefix("http://"), timeout=10)

    assert answer(connection) == {"tls": None, "scheme": "http"}
    connection.close()


@pytest.mark.parametrize("name", ["localhost", "other.example.com", "unknown.example.com"])
def test_the_servers_certificate_is_the_one_that_was_shown(site, name):
    other = site.authority.issue("other.example.com", stem="other")
    site.start(asgi, ssl_certificates=(",".join(other),))
    context = site.client()
    context.check_hostname = False
    with site.connect(context) as connection:
        sock = socket.create_connection(("127.0.0.1", site.server.port), timeout=10)
        connection.sock = context.wrap_socket(sock, server_hostname=name)
        shown = ssl.DER_cert_to_PEM_cert(connection.sock.getpeercert(True))
        assert answer(connection)["tls"]["server_cert"] == shown


# --- WSGI -----------------------------------------------------------------------------------------


def test_wsgi_sees_the_clients_certificate(site):
    site.start(wsgi)
    environ = site.ask(site.client("me@example.com", common_name="me"))

    assert environ["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert environ["SSL_CLIENT_S_DN"].startswith("CN=me,")
    assert environ["SSL_CLIENT_S_DN_CN"] == "me"
    assert "O=trustme" in environ["SSL_CLIENT_I_DN"]
    assert is_pem(environ["SSL_CLIENT_CERT"])
    assert environ["SSL_PROTOCOL"] == "TLSv1.3"
    assert environ["HTTPS"] == "on"
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["SERVER_PORT"] == str(site.server.port)


def test_wsgi_sees_that_there_is_no_client_certificate(site):
    site.start(wsgi)
    environ = site.ask()

    assert environ["SSL_CLIENT_VERIFY"] == "NONE"
    assert "SSL_CLIENT_S_DN" not in environ


# --- connections ----------------------------------------------------------------------------------


def test_each_connection_has_its_own_client(site):
    site.start(asgi)
    names = []
    with (
        site.connect(site.client("a@example.com", common_name="a")) as first,
        site.connect(site.client("b@example.com", common_name="b")) as second,
        site.connect() as third,
    ):
        for connection in (first, second, third, first):
            name = answer(connection)["tls"]["client_cert_name"]
            names.append(name and name.partition(",")[0])

    assert names == ["CN=a", "CN=b", None, "CN=a"]


def test_the_certificate_is_the_proxys_where_a_proxy_has_the_connection(site):
    site.start(asgi)
    seen = site.ask(
        site.client("proxy@example.com", common_name="proxy"),
        **{"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http"},
    )

    assert seen["scheme"] == "http"
    assert seen["tls"]["client_cert_name"].startswith("CN=proxy,")


def test_a_client_nobody_vouches_for_reaches_no_application(site, tmp_path):
    site.start(asgi)
    (tmp_path / "other").mkdir()
    context = site.client()
    Authority(tmp_path / "other").ca.issue_cert("me@example.com").configure_cert(context)

    with pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
        site.ask(context)
