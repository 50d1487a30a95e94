"""deploy/nginx/gateway.conf in the real nginx, with gateway behind it on its UNIX socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from e2e.client import Http1Client, Http1Socket
from e2e.load import Load

from deploy.conftest import FreePort, Project
from deploy.program import GATEWAY, Program, edited, find

INSTALL = "apt-get install nginx-light"
# All that a distribution's nginx.conf does for the file it includes.
MAIN = """
{user}
daemon off;
pid {root}/nginx.pid;
error_log stderr notice;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    include {root}/gateway.conf;
}}
"""


@dataclass
class Site:
    """nginx at `address`, gateway behind it."""

    address: tuple[str, int]
    gateway: Program
    root: Path

    def facts(self, *lines: str) -> dict[str, object]:
        with Http1Socket(self.address) as connection:
            return _facts(connection, *lines)


def _facts(connection: Http1Socket, *lines: str) -> dict[str, object]:
    connection.send_request("GET", "/facts", *lines)
    facts: dict[str, object] = json.loads(connection.response().text)
    return facts


@contextmanager
def _nginx(root: Path, port: int, changes: Mapping[str, object]) -> Iterator[tuple[str, int]]:
    """nginx with the shipped file in front of ``gateway.sock`` in `root`; its address."""
    nginx = find("nginx", install=INSTALL)
    changes = {
        "unix:/run/gateway/gateway.sock": f"unix:{root}/gateway.sock",
        "listen 80;": f"listen 127.0.0.1:{port};",
        **changes,
    }
    (root / "gateway.conf").write_text(edited("nginx/gateway.conf", changes))
    # The directory is readable for who runs the tests only, and www-data is not.
    user = "user root;" if os.geteuid() == 0 else ""
    (root / "nginx.conf").write_text(MAIN.format(root=root, user=user))
    command = [nginx, "-e", "stderr", "-p", root, "-c", root / "nginx.conf"]
    with Program(command, root) as program:
        program.wait_for("start worker process ")
        yield ("127.0.0.1", port)


@contextmanager
def _site(root: Path, port: int, **changes: object) -> Iterator[Site]:
    with Program([GATEWAY, "-c", root / "gateway.toml"], root) as gateway:
        gateway.wait_for("ready in")
        with _nginx(root, port, changes) as address:
            yield Site(address, gateway, root)


@pytest.fixture
def root(project: Project, tmp_path: Path) -> Path:
    return project(f'bind = "unix:{tmp_path}/gateway.sock"', "timeout-graceful-shutdown = 5")


@pytest.fixture
def site(root: Path, free_port: FreePort) -> Iterator[Site]:
    with _site(root, free_port()) as site:
        yield site


def test_the_application_sees_the_client_not_nginx(site: Site) -> None:
    facts = site.facts("host: shop.example")
    assert facts["client"] == "127.0.0.1"
    assert facts["scheme"] == "http"


def test_links_have_the_host_of_the_client(site: Site) -> None:
    assert site.facts("host: shop.example")["link"] == "http://shop.example/"


def test_links_have_the_port_of_the_client(site: Site) -> None:
    assert site.facts("host: shop.example:8443")["link"] == "http://shop.example:8443/"


def test_a_client_without_a_host_is_served(site: Site) -> None:
    with Http1Socket(site.address) as connection:
        connection.send(b"GET /facts HTTP/1.0\r\n\r\n")
        assert connection.response().status == 200


def test_a_client_cannot_choose_who_it_is(site: Site) -> None:
    facts = site.facts(
        "host: shop.example",
        "x-forwarded-for: 203.0.113.7",
        "x-forwarded-proto: https",
        "x-forwarded-host: evil.example",
        "x-forwarded-port: 99",
        "x-forwarded-prefix: /evil",
        "forwarded: for=203.0.113.7;proto=https;host=evil.example",
        "x-real-ip: 203.0.113.7",
    )
    assert (facts["scheme"], facts["link"]) == ("http", "http://shop.example/")
    headers = facts["headers"]
    assert isinstance(headers, dict)
    assert not {"forwarded", "x-real-ip", "x-forwarded-prefix"} & set(headers)


def test_a_request_id_is_made(site: Site) -> None:
    first, second = (site.facts()["headers"]["x-request-id"] for _ in range(2))
    assert len(first) == 32
    assert first != second


def test_a_request_id_of_the_client_is_kept(site: Site) -> None:
    assert site.facts("x-request-id: order-4711")["headers"]["x-request-id"] == "order-4711"


def test_a_request_id_that_would_spoil_a_log_is_replaced(site: Site) -> None:
    headers = site.facts('x-request-id: 1234567" 200 "')["headers"]
    assert len(headers["x-request-id"]) == 32


def test_an_event_stream_that_says_so_is_not_buffered(site: Site) -> None:
    mark = site.root / "mark"
    with Http1Client(site.address).open("GET", f"/events?unbuffered&mark={mark}") as call:
        assert call.read(100) == b"data: first\n\n"
        mark.touch()
        assert call.rest() == b"data: second\n\n"


def test_https_is_reported_and_links_are_https(root: Path, free_port: FreePort) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("shop.example")
    certificate.private_key_and_cert_chain_pem.write_to_path(root / "both.pem")
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    port = free_port()
    changes = {
        "# listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "# ssl_certificate     /etc/ssl/example.com.pem": f"ssl_certificate {root}/both.pem",
        "# ssl_certificate_key /etc/ssl/example.com.key": f"ssl_certificate_key {root}/both.pem",
    }
    with _site(root, free_port(), **changes), Http1Socket(("127.0.0.1", port)) as connection:
        connection.socket = trusted.wrap_socket(connection.socket, server_hostname="shop.example")
        facts = _facts(connection, "host: shop.example")
    assert (facts["scheme"], facts["link"]) == ("https", "https://shop.example/")


def test_a_websocket_is_passed_through(tmp_path: Path, free_port: FreePort) -> None:
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as stack:
        listener.bind(f"{tmp_path}/gateway.sock")
        listener.listen()
        listener.settimeout(5)
        client = stack.enter_context(
            Http1Socket(stack.enter_context(_nginx(tmp_path, free_port(), {})))
        )
        client.send_request("GET", "/ws", "upgrade: websocket", "connection: upgrade")
        upstream, _ = listener.accept()
        with upstream:
            upstream.settimeout(5)
            head = upstream.recv(65536).decode().lower()
            assert "upgrade: websocket\r\n" in head
            assert "connection: upgrade\r\n" in head
            answer = "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
            upstream.sendall(answer.encode())
            assert client.line().startswith("HTTP/1.1 101 ")
            client.fields()
            client.send(b"there")
            assert upstream.recv(100) == b"there"
            upstream.sendall(b"back")
            assert client.exactly(4) == b"back"


def test_connections_to_gateway_are_kept(site: Site) -> None:
    with Load(site.address, clients=1, fresh=True) as load:
        load.wait_more(20)
        assert load.lossless(), load
    open_now = Path("/proc/net/unix").read_text().count(f"{site.root}/gateway.sock\n")
    assert open_now == 2  # the socket that listens, and gateway's end of the one that is kept


@pytest.mark.slow
def test_a_roll_of_the_workers_loses_no_request(
    project: Project, tmp_path: Path, free_port: FreePort
) -> None:
    root = project(
        f'bind = "unix:{tmp_path}/gateway.sock"',
        "supervise = true",
        "timeout-graceful-shutdown = 5",
    )
    with _site(root, free_port()) as site, Load(site.address) as load:
        load.wait_more(50)
        before = load.pids
        site.gateway.process.send_signal(signal.SIGHUP)
        load.wait_for_pid_besides(before)
        load.wait_more(150)
        assert load.lossless(), load
