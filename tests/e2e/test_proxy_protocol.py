"""The PROXY protocol in front of everything that is served, spoken by hand and by real balancers."""

from __future__ import annotations

import ast
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from deploy.program import Program, find
from http2_client import Http2Client, open_client
from protocols.proxy_headers import CLIENT, SERVER, V1, V2, binary, tlv
from protocols.proxy_headers import ssl as told_ssl
from tls.authority import Authority

from e2e.client import ConnectionCut, Http1Socket
from e2e.process import wait_until
from e2e.websocket_client import Peer, handshake_lines, switching
from gateway import Server

KEY = "gateway.proxy_protocol"
# The client of a balancer on this machine, told apart from the balancer.
HERE = "127.0.0.3"


async def asgi(scope, receive, send):
    """Says what it was told, as a Python literal."""
    if scope["type"] == "lifespan":
        return
    told = {name: scope[name] for name in ("client", "server", "scheme", "http_version")}
    text = repr(told | {"told": scope["extensions"].get(KEY), "fields": scope["headers"]})
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": text})
        await send({"type": "websocket.close"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})


def wsgi(environ, start_response):
    names = ("REMOTE_ADDR", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT", "wsgi.url_scheme", KEY)
    start_response("200 OK", [])
    return [repr({name: environ[name] for name in names if name in environ}).encode()]


class Behind:
    """A server on `port`, and what its application says of a request."""

    def __init__(self, port: int) -> None:
        self.address = ("127.0.0.1", port)

    @contextmanager
    def connect(self, header: bytes) -> Iterator[Http1Socket]:
        with Http1Socket(self.address) as connection:
            connection.send(header)
            yield connection

    def ask(self, header: bytes, *lines: str) -> dict[str, Any]:
        with self.connect(header) as connection:
            connection.send_request("GET", "/", *lines)
            return ast.literal_eval(connection.response().text)


@pytest.fixture
def behind(shared: Callable[..., Server]) -> Callable[..., Behind]:
    def start(app: object = asgi, **settings: object) -> Behind:
        given = {"proxy_protocol": "auto", "interface": "asgi3", **settings}
        return Behind(shared(app, **given).port)

    return start


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> tuple[str, str]:
    return authority.issue("localhost")


def told(version: int, **more: object) -> dict[str, object]:
    """What an application hears of V1 and V2, without the balancer's own address."""
    facts = {"version": version, "command": "proxy", "protocol": "TCP4"}
    facts |= {"source": CLIENT, "destination": SERVER}
    return facts | ({"tlvs": []} if version == 2 else {}) | more


# --- every wire -----------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize(("header", "version"), [(V1, 1), (V2, 2)], ids=["v1", "v2"])
def test_an_asgi_application_has_the_client_and_all_that_was_told(behind, loop, header, version):
    said = behind(loop=loop).ask(header)
    assert (said["client"], said["server"], said["scheme"]) == (CLIENT, SERVER, "http")
    assert said["told"].pop("peer")[0] == "127.0.0.1"
    assert said["told"] == told(version)


def test_every_request_of_a_connection_has_a_dictionary_of_its_own(serve):
    async def greedy(scope, receive, send):
        if scope["type"] == "http":
            scope["extensions"][KEY].pop("source")
            await asgi(scope, receive, send)

    site = Behind(serve(greedy, proxy_protocol="v2", interface="asgi3").port)
    with site.connect(V2) as connection:
        for _ in range(2):
            connection.send_request("GET", "/")
            assert connection.response().status == 200


def test_a_wsgi_application_has_them_in_its_environ(behind):
    site = behind(wsgi, interface="wsgi", proxy_protocol="v2")
    environ = site.ask(binary(tlv(0xEA, b"\x01vpce-08d2")))
    facts = environ.pop(KEY)
    assert environ == {
        "REMOTE_ADDR": CLIENT[0],
        "REMOTE_PORT": str(CLIENT[1]),
        "SERVER_NAME": SERVER[0],
        "SERVER_PORT": str(SERVER[1]),
        "wsgi.url_scheme": "http",
    }
    assert facts["aws_vpc_endpoint_id"] == "vpce-08d2"


def test_a_unix_client_has_an_empty_remote_addr(behind):
    site = behind(wsgi, interface="wsgi", proxy_protocol="v2")
    environ = site.ask(binary(family=0x31, block=bytes(108) + b"/run/b".ljust(108, b"\0")))
    assert (environ["REMOTE_ADDR"], environ["SERVER_NAME"]) == ("", "localhost")
    assert environ[KEY]["destination"] == ("/run/b", None)


def test_http_2_has_them_by_prior_knowledge_and_after_an_upgrade(behind):
    site = behind()
    with socket.create_connection(site.address, timeout=10) as sock:
        sock.sendall(V2)
        said = ask_http2(started(sock))
    assert (said["http_version"], said["client"], said["told"]["version"]) == ("2", CLIENT, 2)
    if shutil.which("curl"):
        said = curl(site, "--http2")
        assert said["http_version"] == "2"
        assert said["told"]["protocol"] == "TCP4"


def test_a_balancer_that_ends_tls_may_speak_http_2_in_plain_text(behind):
    with socket.create_connection(behind().address, timeout=10) as sock:
        sock.sendall(binary(told_ssl(1, 1)))
        said = ask_http2(started(sock))
    assert (said["http_version"], said["scheme"], said["client"]) == ("2", "https", CLIENT)


@pytest.mark.parametrize("alpn", ["h2", "http/1.1"])
def test_the_header_stands_before_the_tls_handshake(behind, authority, certificate, alpn):
    site = behind(ssl_certfile=certificate[0], ssl_keyfile=certificate[1])
    context = authority.client()
    context.set_alpn_protocols([alpn])
    with socket.create_connection(site.address, timeout=10) as sock:
        sock.sendall(V2)
        with context.wrap_socket(sock, server_hostname="localhost") as tls:
            if alpn == "h2":
                said = ask_http2(started(tls))
            else:
                tls.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                said = ast.literal_eval(read_all(tls).partition(b"\r\n\r\n")[2].decode())
    assert (said["client"], said["server"], said["scheme"]) == (CLIENT, SERVER, "https")
    assert said["told"]["source"] == CLIENT


def test_a_websocket_has_them_too(behind):
    with behind().connect(V1) as connection:
        connection.send_request("GET", "/", *handshake_lines())
        with Peer(connection, switching(connection)) as peer:
            said = ast.literal_eval(str(peer.message()))
    assert (said["client"], said["told"]["version"]) == (CLIENT, 1)


def test_who_sends_no_header_is_told_of_none(behind):
    site = behind(proxy_protocol_allow_ips="10.0.0.0/8")
    said = site.ask(b"")
    assert (said["client"][0], said["told"]) == ("127.0.0.1", None)


# --- who is believed ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trusted", "client"),
    [
        ("127.0.0.1", CLIENT),  # the balancer: it has not written the field, its client has
        ("203.0.113.0/24", ("198.51.100.1", 0)),  # a CDN in front of the balancer
    ],
)
def test_x_forwarded_for_is_believed_of_whom_the_header_names(behind, trusted, client):
    site = behind(forwarded_allow_ips=trusted)
    said = site.ask(V2, "X-Forwarded-For: 198.51.100.1")
    assert said["client"] == client
    assert any(name == b"x-forwarded-for" for name, _ in said["fields"]) is (client != CLIENT)


def test_an_address_may_be_left_out(gateway, tmp_path):
    write_app(tmp_path)
    (tmp_path / "gateway.toml").write_text(
        """
bind = ["127.0.0.1:0", { address = "127.0.0.2:0", proxy-protocol = "off" }]
proxy-protocol = "v2"
workers = 2
mounts = { "/" = "main:app" }
"""
    )
    process = gateway()
    ports = process.err.wait(r"ready in .*http://127.0.0.1:(\d+), http://127.0.0.2:(\d+)")
    site, direct = Behind(int(ports[1])), Behind(int(ports[2]))
    direct.address = ("127.0.0.2", int(ports[2]))

    assert site.ask(V2)["client"] == CLIENT
    assert direct.ask(b"")["told"] is None
    process.out.wait(r"^203\.0\.113\.9:51234 ")  # the access log
    with pytest.raises(ConnectionCut):
        site.ask(b"")
    process.err.wait("PROXY protocol: a connection from 127.0.0.1:.* is closed: no header")
    assert process.stop() == 0


# --- real balancers -------------------------------------------------------------------------------

HAPROXY = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 10s
    timeout server 10s
frontend front
    bind fd@{fd} {tls}
    unique-id-format %[str(connection-7)]
    default_backend back
backend back
    server one 127.0.0.1:{port} {options}
"""
NGINX = """
{load}
daemon off; pid nginx.pid; error_log stderr;
events {{}}
stream {{
    server {{ listen 127.0.0.1:{listen}; proxy_pass 127.0.0.1:{port}; proxy_protocol on; }}
}}
"""


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[Callable[..., tuple[str, int]]]:
    """Starts haproxy in front of a server; its address."""
    binary_file = find("haproxy", install="apt-get install haproxy")
    with ExitStack() as stack:

        def start(site: Behind, options: str, tls: str = "") -> tuple[str, int]:
            sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            config = tmp_path / "haproxy.cfg"
            port = site.address[1]
            config.write_text(HAPROXY.format(fd=sock.fileno(), port=port, options=options, tls=tls))
            command = [binary_file, "-db", "-f", config]
            stack.enter_context(Program(command, tmp_path, pass_fds=[sock.fileno()]))
            return sock.getsockname()

        yield start


def ask_from_here(address: tuple[str, int]) -> tuple[dict[str, Any], tuple[str, int]]:
    with socket.create_connection(address, timeout=10, source_address=(HERE, 0)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = read_all(sock).partition(b"\r\n\r\n")[2].decode()
        return ast.literal_eval(answer), sock.getsockname()


@pytest.mark.parametrize(
    ("mode", "options", "version"),
    [("v1", "send-proxy", 1), ("v2", "send-proxy-v2 proxy-v2-options crc32c", 2)],
)
def test_haproxy(behind, haproxy, mode, options, version):
    address = haproxy(behind(proxy_protocol=mode), f"{options} check inter 100ms")
    said, client = ask_from_here(address)
    assert (said["client"], said["server"]) == (client, address)
    assert (said["told"]["version"], said["told"]["peer"][0]) == (version, "127.0.0.1")


def test_haproxy_that_speaks_tls_with_clients(behind, haproxy, authority, certificate, tmp_path):
    both = tmp_path / "both.pem"
    both.write_bytes(b"".join(Path(each).read_bytes() for each in certificate))
    address = haproxy(
        behind(proxy_protocol="v2"),
        "send-proxy-v2 proxy-v2-options "
        "ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority,crc32c,unique-id",
        f"ssl crt {both} alpn h2,http/1.1 verify optional ca-file {authority.ca_file}",
    )
    context = authority.client()
    context.set_alpn_protocols(["h2"])
    own = authority.ca.issue_cert("client@example.com", common_name="Käthe")
    own.configure_cert(context)
    with open_client(address, tls=context) as client:
        said = ask_http2(client)

    assert (said["http_version"], said["scheme"]) == ("2", "https")
    facts = said["told"]
    assert (facts["alpn"], facts["authority"]) == (b"h2", "localhost")
    assert facts["unique_id"] == b"connection-7"
    tls = facts["ssl"]
    assert (tls["verified"], tls["cn"], tls["version"]) == (True, "Käthe", "TLSv1.3")
    assert tls["cipher"].startswith("TLS_")


def test_nginx_stream(behind, tmp_path):
    program = find("nginx", install="apt-get install nginx-light libnginx-mod-stream")
    module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
    if not module.exists():
        pytest.skip("nginx has no module stream; try  apt-get install libnginx-mod-stream")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        listen = sock.getsockname()[1]
    site = behind(proxy_protocol="v1")
    (tmp_path / "nginx.conf").write_text(
        NGINX.format(load=f"load_module {module};", listen=listen, port=site.address[1])
    )
    with Program([program, "-p", tmp_path, "-c", "nginx.conf"], tmp_path) as nginx:
        wait_until(lambda: listens(listen), f"nginx listens; {nginx.output}")
        said, client = ask_from_here(("127.0.0.1", listen))
    assert said["client"] == client
    assert said["told"]["version"] == 1


def test_curl(behind):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed; try  apt-get install curl")
    said = curl(behind(proxy_protocol="v1"))
    assert said["told"]["source"] == said["client"]


# --- clients --------------------------------------------------------------------------------------


def curl(site: Behind, *options: str) -> dict[str, Any]:
    url = "http://{}:{}/".format(*site.address)
    command = ["curl", "-sS", "--max-time", "10", "--haproxy-protocol", *options, url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return ast.literal_eval(done.stdout)


def started(sock: socket.socket) -> Http2Client:
    client = Http2Client(sock)
    client.start()
    return client.settle()


def ask_http2(client: Http2Client) -> dict[str, Any]:
    return ast.literal_eval(client.request().body.decode())


def read_all(sock: socket.socket | ssl.SSLSocket) -> bytes:
    data = b""
    while more := sock.recv(65536):
        data += more
    return data


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def write_app(directory: Path) -> None:
    (directory / "main.py").write_text("from e2e.test_proxy_protocol import asgi as app\n")
