"""HTTP/2 as others speak it: command line clients, libraries, a browser, and proxies in front."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from deploy.program import Program, find
from examples.browser import FLAGS, Browser, Page
from websockets.sync.client import connect as connect_websocket

from e2e.http2_reference import ReferenceClient
from e2e.http2_site import Certified, Site, digest_of, pattern, served
from e2e.process import wait_until

APP = "e2e.apps.http2_clients:app"
FLOW = "e2e.apps.http2_flow:app"


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return Certified.made_in(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def sites(certified: Certified) -> Iterator[Mapping[str, Site]]:
    mounts = {"/": APP, "/flow": FLOW}
    with served(None, mounts=mounts) as plain, served(None, certified, mounts=mounts) as encrypted:
        yield {"h2c": plain, "tls": encrypted}


@pytest.fixture
def plain(sites: Mapping[str, Site]) -> str:
    """The address of the server without TLS, as a URL."""
    return f"http://localhost:{sites['h2c'].address[1]}"


@pytest.fixture
def encrypted(sites: Mapping[str, Site]) -> str:
    return f"https://localhost:{sites['tls'].address[1]}"


def output(program: str, *args: object, package: str, stdin: bytes | None = None) -> str:
    """What a command line client wrote; it must succeed."""
    command = [str(find(program, install=f"apt-get install {package}")), *map(str, args)]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode(errors="replace")


# --- curl -----------------------------------------------------------------------------------------


def curl(*args: object, stdin: bytes | None = None) -> str:
    return output("curl", "-sS", *args, package="curl", stdin=stdin)


def test_curl_by_prior_knowledge(plain: str) -> None:
    seen = json.loads(curl("--http2-prior-knowledge", f"{plain}/show"))
    assert (seen["version"], seen["scheme"]) == ("2", "http")
    assert seen["headers"][0] == ["host", plain.removeprefix("http://")]


def test_curl_by_upgrade(plain: str) -> None:
    seen = json.loads(curl("--http2", f"{plain}/show"))
    assert seen["version"] == "2"
    names = {name for name, _ in seen["headers"]}
    assert not names & {"upgrade", "connection", "http2-settings"}


def test_curl_by_upgrade_keeps_its_body(plain: str) -> None:
    # uvicorn's applications get an empty body here; gunicorn had to learn it (its issue 3711).
    seen = json.loads(curl("--http2", "-d", "hello=1", f"{plain}/show"))
    assert seen["size"] == 7


def test_an_upgrade_that_a_proxy_passed_on_is_not_taken(plain: str) -> None:
    # It would be a tunnel past the proxy's rules ("h2c smuggling").
    seen = json.loads(curl("--http2", "-H", "X-Forwarded-For: 203.0.113.9", f"{plain}/show"))
    assert seen["version"] == "1.1"


def test_curl_by_alpn(encrypted: str, certified: Certified) -> None:
    seen = json.loads(curl("--cacert", certified.ca, f"{encrypted}/show"))
    assert (seen["version"], seen["scheme"]) == ("2", "https")


def test_curl_that_wants_http_1_gets_it(encrypted: str, certified: Certified) -> None:
    seen = json.loads(curl("--http1.1", "--cacert", certified.ca, f"{encrypted}/show"))
    assert seen["version"] == "1.1"


@pytest.mark.parametrize("expect", ["Expect: 100-continue", "Expect:"])
def test_curl_uploads(encrypted: str, certified: Certified, tmp_path: Path, expect: str) -> None:
    size = 3 << 20
    path = tmp_path / "file"
    path.write_bytes(b"".join(pattern(at, min(65536, size - at)) for at in range(0, size, 65536)))
    args = ("--cacert", certified.ca, "-H", expect, "-T", path, f"{encrypted}/show")
    seen = json.loads(curl(*args))
    assert (seen["size"], seen["sha256"]) == (size, digest_of(size))


def test_curl_downloads(plain: str) -> None:
    args = ("--http2-prior-knowledge", f"{plain}/flow/pattern?size={5 << 20}")
    assert (
        curl(*args, "-o", "/dev/null", "-w", "%{size_download} %{http_version}") == f"{5 << 20} 2"
    )


def test_curl_asks_for_many_at_once(encrypted: str, certified: Certified) -> None:
    # Over TLS: by prior knowledge curl 7.88 fails by itself when it opens 50 at once.
    args = ("--cacert", certified.ca, "-Z", "--parallel-max", 50)
    shown = curl(*args, f"{encrypted}/show?[1-100]")
    assert shown.count('"version": "2"') == 100


# --- nghttp and h2load ----------------------------------------------------------------------------


def nghttp(*args: object) -> str:
    return output("nghttp", *args, package="nghttp2-client")


def h2load(*args: object) -> str:
    return output("h2load", *args, package="nghttp2-client")


def test_nghttp_by_prior_knowledge(plain: str) -> None:
    said = nghttp("-nv", "-m", 20, f"{plain}/show")
    assert said.count(":status: 200") == 20
    assert "INVALID" not in said


def test_nghttp_by_upgrade(plain: str) -> None:
    said = nghttp("-nvu", f"{plain}/show")
    assert "HTTP/1.1 101 Switching Protocols" in said
    assert ":status: 200" in said


def test_nghttp_posts_by_upgrade(plain: str, tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"x" * 200_000)
    said = nghttp("-u", "-d", path, f"{plain}/show")
    assert json.loads(said)["size"] == 200_000


def test_nghttp_sends_trailers(plain: str, tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"x" * 1000)
    args = ("-v", "-d", path, "-H", "te: trailers", "--trailer", "x-sum: abc")
    said = nghttp(*args, f"{plain}/trailers")
    assert "grpc-status: 0" in said
    assert '"size": 1000' in said


def test_nghttp_with_padding_and_small_windows(plain: str) -> None:
    said = nghttp("-nv", "-b", 100, "-w", 12, "-W", 14, f"{plain}/flow/pattern?size=500000")
    assert ":status: 200" in said
    assert "error_code=NO_ERROR" in said
    assert "RST_STREAM" not in said


def load_of(report: str) -> dict[str, int]:
    """h2load's count of requests: total, started, done, succeeded, failed, errored, timeout."""
    line = next(line for line in report.splitlines() if line.startswith("requests:"))
    return {name: int(count) for count, name in re.findall(r"(\d+) (\w+)", line)}


def succeeded(report: str, count: int) -> None:
    found = load_of(report)
    assert found["succeeded"] == found["done"] == count, report
    assert found["failed"] == found["errored"] == found["timeout"] == 0, report


def test_h2load_over_h2c(plain: str) -> None:
    succeeded(h2load("-n", 4000, "-c", 8, "-m", 32, f"{plain}/show"), 4000)


def test_h2load_over_tls(encrypted: str) -> None:
    report = h2load("-n", 2000, "-c", 8, "-m", 32, f"{encrypted}/show")
    succeeded(report, 2000)
    assert "Application protocol: h2" in report


def test_h2load_uploads(plain: str, tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"x" * 100_000)
    succeeded(h2load("-n", 200, "-c", 4, "-m", 8, "-d", path, f"{plain}/show"), 200)


def test_h2load_with_small_windows(plain: str) -> None:
    report = h2load("-n", 50, "-c", 2, "-m", 5, "-w", 12, "-W", 13, f"{plain}/large")
    succeeded(report, 50)
    assert f"{50 * 3_000_000}) data" in report


# --- libraries ------------------------------------------------------------------------------------


def test_httpx_over_tls(encrypted: str, certified: Certified) -> None:
    with httpx2.Client(http2=True, verify=certified.context()) as client:
        response = client.get(f"{encrypted}/show")
        assert (response.http_version, response.json()["version"]) == ("HTTP/2", "2")
        body = b"x" * 1_000_000
        assert client.post(f"{encrypted}/show", content=body).json()["size"] == len(body)
        assert len(client.get(f"{encrypted}/large").content) == 3_000_000


def test_httpx_by_prior_knowledge(plain: str) -> None:
    with httpx2.Client(http1=False, http2=True) as client:
        response = client.get(f"{plain}/show")
        assert (response.http_version, response.json()["version"]) == ("HTTP/2", "2")


def test_httpx_asks_for_many_at_once(encrypted: str, certified: Certified) -> None:
    # In tasks: in threads its own streams overtake each other, which no server may take.
    async def ask() -> list[dict[str, object]]:
        limits = httpx2.Limits(max_connections=1)
        async with httpx2.AsyncClient(
            http2=True, verify=certified.context(), limits=limits
        ) as client:
            url = f"{encrypted}/show"
            return [
                each.json() for each in await asyncio.gather(*[client.get(url) for _ in range(100)])
            ]

    assert [each["version"] for each in asyncio.run(ask())] == ["2"] * 100


@pytest.mark.parametrize("wire", ["h2c", "tls"])
def test_the_reference_library_finds_no_fault(sites: Mapping[str, Site], wire: str) -> None:
    with ReferenceClient(sites[wire]) as client:
        streams = [client.open("GET", f"/show?{number}") for number in range(50)]
        for stream in streams:
            answer = client.answer(stream)
            assert (answer.status, json.loads(answer.body)["version"]) == (200, "2")
        size = 1 << 20
        upload = client.open("POST", "/flow/sum", end=False)
        client.send_body(
            upload, b"".join(pattern(at, min(65536, size - at)) for at in range(0, size, 65536))
        )
        assert client.answer(upload).body.decode() == f"{size} {digest_of(size)}"
        download = client.answer(client.open("GET", f"/flow/pattern?size={size}"))
        assert hashlib.sha256(download.body).hexdigest() == digest_of(size)
        trailers = client.answer(client.open("GET", "/trailers", ("te", "trailers")))
        assert trailers.trailers == [("grpc-status", "0")]
        assert client.answer(client.open("GET", "/flow/hints")).interim == [103]
        head = client.answer(client.open("HEAD", "/show"))
        assert (head.status, head.body) == (200, b"")
        assert client.answer(client.open("GET", "/flow/late_error")).reset == 2
        assert client.answer(client.open("GET", "/show")).status == 200
        assert client.goaway is None


# --- a browser ------------------------------------------------------------------------------------


@contextmanager
def browsing(directory: Path, certified: Certified) -> Iterator[Browser]:
    """Chromium that believes this one certificate."""
    certificate = x509.load_pem_x509_certificate(Path(certified.certificate).read_bytes())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pin = base64.b64encode(hashlib.sha256(key).digest()).decode()
    chromium = find("chromium", install="apt-get install chromium")
    believing = f"--ignore-certificate-errors-spki-list={pin}"
    command = [chromium, *FLAGS, believing, f"--user-data-dir={directory}", "about:blank"]
    with Program(command, directory) as program:
        url = program.wait_for(r"DevTools listening on (ws://\S+)")[1]
        with connect_websocket(url, proxy=None, max_size=None) as connection:
            yield Browser(connection)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, certified: Certified) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser"), certified) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, encrypted: str) -> Iterator[Page]:
    with browser.visitor(f"{encrypted}/") as page:
        yield page


@pytest.mark.timeout(60)
def test_a_browser_speaks_http_2(page: Page) -> None:
    assert page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
    assert page.evaluate("versions(50)") == " ".join(["2"] * 50)


@pytest.mark.timeout(60)
def test_a_browser_uploads_and_downloads(page: Page) -> None:
    assert page.evaluate("sum(5000000)") == 5_000_000
    assert page.evaluate("fetch('/large').then((got) => got.text()).then((t) => t.length)") == 3e6


@pytest.mark.timeout(60)
def test_a_browser_speaks_websocket_in_a_stream(page: Page) -> None:
    seen = page.evaluate("socket('/socket')")
    assert seen.pop("extensions").startswith("permessage-deflate")
    assert seen == {
        "hello": "HTTP/2",
        "text": "caf\u00e9",
        "size": 100_000,
        "code": 1000,
        "clean": True,
        "protocol": "one",
    }


# --- proxies in front -----------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


NGINX = """
daemon off; pid nginx.pid; error_log stderr; worker_processes 1;
events {{}}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{
    listen 127.0.0.1:{port} ssl http2;
    ssl_certificate {certificate}; ssl_certificate_key {key};
    client_max_body_size 0;
    location / {{ proxy_pass {upstream}; proxy_http_version 1.1;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme; }}
    location /h2/ {{ rewrite ^/h2(/.*) $1 break; grpc_pass {grpc}; grpc_set_header Host $http_host; grpc_ssl_verify off; }}
  }}
}}
"""

HAPROXY = """
global
  log stdout format raw local0
defaults
  mode http
  timeout connect 5s
  timeout client 10s
  timeout server 10s
frontend front
  bind 127.0.0.1:{port} ssl crt {pem} alpn h2,http/1.1
  http-request set-header X-Forwarded-Proto https
  default_backend back
backend back
  option forwardfor
  server one 127.0.0.1:{upstream} {options}
"""


@pytest.fixture
def nginx(
    sites: Mapping[str, Site], certified: Certified, tmp_path: Path
) -> Iterator[Callable[[str], str]]:
    """Starts nginx before the server of a wire; its URL."""
    programs: list[Program] = []
    binary = find("nginx", install="apt-get install nginx-light")

    def start(wire: str) -> str:
        port, upstream = free_port(), sites[wire].address[1]
        text = NGINX.format(
            port=port,
            certificate=certified.certificate,
            key=certified.key,
            upstream=f"{'https' if wire == 'tls' else 'http'}://127.0.0.1:{upstream}",
            grpc=f"{'grpcs' if wire == 'tls' else 'grpc'}://127.0.0.1:{upstream}",
        )
        (tmp_path / "nginx.conf").write_text(text)
        command = [binary, "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-e", "stderr"]
        programs.append(Program(command, tmp_path))
        wait_until(lambda: listens(port), f"nginx listens; {programs[-1].output}")
        return f"https://localhost:{port}"

    yield start
    for program in programs:
        program.__exit__()


@pytest.fixture
def haproxy(
    sites: Mapping[str, Site], certified: Certified, tmp_path: Path
) -> Iterator[Callable[[str], str]]:
    """Starts haproxy, which speaks HTTP/2 to the server of a wire; its URL."""
    programs: list[Program] = []
    binary = find("haproxy", install="apt-get install haproxy")

    def start(wire: str) -> str:
        pem = tmp_path / "both.pem"
        pem.write_bytes(Path(certified.certificate).read_bytes() + Path(certified.key).read_bytes())
        port = free_port()
        tls = f"ssl verify required ca-file {certified.ca} sni str(localhost) alpn h2"
        text = HAPROXY.format(
            port=port,
            pem=pem,
            upstream=sites[wire].address[1],
            options=tls if wire == "tls" else "proto h2",
        )
        (tmp_path / "haproxy.cfg").write_text(text)
        programs.append(Program([binary, "-db", "-f", tmp_path / "haproxy.cfg"], tmp_path))
        wait_until(lambda: listens(port), f"haproxy listens; {programs[-1].output}")
        return f"https://localhost:{port}"

    yield start
    for program in programs:
        program.__exit__()


@pytest.mark.parametrize("wire", ["h2c", "tls"])
def test_nginx_in_front(nginx: Callable[[str], str], wire: str, certified: Certified) -> None:
    url = nginx(wire)
    with httpx2.Client(http2=True, verify=certified.context()) as client:
        seen = client.get(f"{url}/show")
        assert (seen.http_version, seen.json()["version"]) == ("HTTP/2", "1.1")
        assert (seen.json()["scheme"], seen.json()["client"]) == ("https", "127.0.0.1")


@pytest.mark.parametrize("wire", ["h2c", "tls"])
def test_nginx_speaks_http_2_to_us_as_to_grpc(
    nginx: Callable[[str], str], wire: str, certified: Certified
) -> None:
    url = nginx(wire)
    with httpx2.Client(http2=True, verify=certified.context()) as client:
        shown = client.get(f"{url}/h2/show").json()
        assert shown["version"] == "2"
        body = b"x" * 1_000_000
        assert client.post(f"{url}/h2/show", content=body).json()["size"] == len(body)
        assert len(client.get(f"{url}/h2/large").content) == 3_000_000
    succeeded(h2load("-n", 500, "-c", 4, "-m", 8, f"{url}/h2/show"), 500)
    site = Site(("127.0.0.1", int(url.rpartition(":")[2])), certified.context())
    with ReferenceClient(site) as reference:
        answer = reference.answer(reference.open("GET", "/h2/trailers", ("te", "trailers")))
        assert answer.trailers == [("grpc-status", "0")]


@pytest.mark.parametrize("wire", ["h2c", "tls"])
def test_haproxy_speaks_http_2_to_us(
    haproxy: Callable[[str], str], wire: str, certified: Certified
) -> None:
    url = haproxy(wire)
    with httpx2.Client(http2=True, verify=certified.context()) as client:
        seen = client.get(f"{url}/show")
        assert (seen.http_version, seen.json()["version"]) == ("HTTP/2", "2")
        assert (seen.json()["scheme"], seen.json()["client"]) == ("https", "127.0.0.1")
        body = b"x" * 3_000_000
        assert client.post(f"{url}/show", content=body).json()["size"] == len(body)
        assert len(client.get(f"{url}/large").content) == 3_000_000
    succeeded(h2load("-n", 1000, "-c", 4, "-m", 16, f"{url}/show"), 1000)


@pytest.mark.parametrize("wire", ["h2c", "tls"])
def test_a_websocket_through_haproxy_becomes_a_stream(
    haproxy: Callable[[str], str], wire: str, certified: Certified
) -> None:
    url = haproxy(wire).replace("https", "wss")
    context = certified.context()
    context.set_alpn_protocols(["http/1.1"])
    with connect_websocket(f"{url}/socket", ssl=context, subprotocols=["one"], proxy=None) as peer:
        assert peer.recv() == "HTTP/2"
        peer.send("caf\u00e9")
        assert peer.recv() == "caf\u00e9"
