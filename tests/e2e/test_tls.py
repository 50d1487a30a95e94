"""TLS as an operator has it: processes, files that change, clients of every kind."""

from __future__ import annotations

import http.client
import signal
import socket
import ssl
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from tls.authority import Authority

from e2e.process import wait_until

APP = """
import os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    text = f"{scope['scheme']} {scope['path']} {os.getpid()}"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/file":
        await send({"type": "http.response.pathsend", "path": os.path.abspath("big")})
    else:
        await send({"type": "http.response.body", "body": text.encode()})
"""


class Site:
    """A directory with an application and certificates, and the clients of its server."""

    def __init__(self, path, start):
        self.path = path
        self.authority = Authority(path)
        self.certfile, self.keyfile = self.authority.issue("localhost", "first.example.com")
        (path / "main.py").write_text(APP)
        self._start = start
        self.port = 0

    def start(self, *args, **options):
        """A server of ``main:app`` with the certificate, once it is ready."""
        files = ("--ssl-certfile", self.certfile, "--ssl-keyfile", self.keyfile, "--port", "0")
        return self.run("main:app", *files, *args, **options)

    def run(self, *args, **options):
        process = self._start(*args, **options)
        self.port = int(process.err.wait(r"ready in .*? on https://[^ ,]*:(\d+)")[1])
        return process

    def get(self, path="/", *, name="localhost"):
        """The body, on a connection of its own."""
        with self.connect(name) as connection:
            return self.ask(connection, path)

    @staticmethod
    def ask(connection, path="/"):
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200
        return response.read().decode("latin-1")

    @contextmanager
    def connect(self, name="localhost"):
        connection = http.client.HTTPSConnection(
            "localhost", self.port, context=self.authority.client(), timeout=10
        )
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.sock = self.authority.client().wrap_socket(sock, server_hostname=name)
        try:
            yield connection
        finally:
            connection.close()

    def names(self, name="localhost"):
        """Those of the certificate that is served for `name`."""
        context = self.authority.client()
        context.check_hostname = False
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock,
            context.wrap_socket(sock, server_hostname=name) as tls,
        ):
            return [each for _, each in tls.getpeercert()["subjectAltName"]]


@pytest.fixture
def site(tmp_path, gateway):
    return Site(tmp_path, gateway)


# --- served ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    ["--loop uvloop", "--loop asyncio", "--workers 2", "--workers 2 --preload", "--reload"],
)
def test_an_application_is_served(site, words):
    process = site.start(*words.split())

    assert site.get("/x").startswith("https /x ")
    assert process.stop() == 0
    assert "Traceback" not in process.err.text


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_file_is_sent_whole(site, loop):
    content = bytes(range(256)) * 8000
    (site.path / "big").write_bytes(content)
    site.start("--loop", loop)

    assert site.get("/file").encode("latin-1") == content


def test_plain_and_redirecting_listeners_stand_beside(site):
    (site.path / "gateway.toml").write_text(
        f"""
bind = [
    "127.0.0.1:0",
    {{ address = "127.0.0.2:0", redirect = "https" }},
    {{ address = "127.0.0.3:0", tls = false }},
]
ssl-certificates = [{{ certfile = "{site.certfile}", keyfile = "{site.keyfile}" }}]
mounts = {{ "/" = "main:app" }}
workers = 2
"""
    )
    process = site.run()
    found = process.err.wait(
        r"ready in .* on https://.*:\d+, http://127.0.0.2:(\d+), http://127.0.0.3:(\d+)"
    )

    redirect = http.client.HTTPConnection("127.0.0.2", int(found[1]), timeout=10)
    redirect.request("POST", "/a?b=c", b"form")
    answer = redirect.getresponse()
    assert answer.status == 308
    assert answer.getheader("location") == f"https://127.0.0.2:{site.port}/a?b=c"
    redirect.close()
    plain = http.client.HTTPConnection("127.0.0.3", int(found[2]), timeout=10)
    assert site.ask(plain).startswith("http / ")
    plain.close()
    assert site.get().startswith("https / ")


def test_certificates_are_chosen_by_name(site):
    other = site.authority.issue("*.example.org", stem="other")
    process = site.start("--ssl-certificates", ",".join(other))

    assert site.names("www.example.org") == ["*.example.org"]
    assert site.names("localhost") == ["localhost", "first.example.com"]
    assert r"TLS: localhost, first.example.com until" in process.err.text


def test_a_client_certificate_is_required(site):
    site.start("--ssl-cert-reqs", "2", "--ssl-ca-certs", str(site.authority.ca_file))

    with pytest.raises((ssl.SSLError, OSError)):
        site.get()
    context = site.authority.client()
    site.authority.ca.issue_cert("me@example.com").configure_cert(context)
    connection = http.client.HTTPSConnection("localhost", site.port, context=context, timeout=10)
    assert site.ask(connection).startswith("https ")
    connection.close()


# --- changed --------------------------------------------------------------------------------------


class Load:
    """Clients that ask all the time: half of them on a connection for each request."""

    def __init__(self, site, clients=4):
        self.answered = 0
        self.failures = []
        self._site = site
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(bool(number % 2),))
            for number in range(clients)
        ]

    def _ask(self, keep):
        while not self._stop.is_set():
            try:
                with self._site.connect() as connection:
                    self._site.ask(connection)
                    while keep and not self._stop.is_set():
                        self._site.ask(connection)
                        self.answered += 1
                self.answered += 1
            except Exception as error:
                self.failures.append(repr(error))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(10)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_new_certificate_is_taken_over_under_load_without_a_failure(site, workers):
    process = site.start("--workers", str(workers), "--no-access-log")

    with Load(site) as load, site.connect() as old:
        site.ask(old)
        for number in range(2):
            name = f"new{number}.example.com"
            site.authority.issue("localhost", name)
            process.err.wait(f"changed to localhost, {name} until")
            wait_until(lambda name=name: site.names()[1] == name, f"{name} is served", 10)
        site.ask(old)

    assert load.failures == []
    assert load.answered > 20


def test_a_bad_certificate_leaves_the_old_one(site):
    process = site.start()
    good = Path(site.keyfile).read_bytes()
    site.authority.write("site.key", b"nonsense")

    process.err.wait(r"TLS: ssl-keyfile: .*site.key holds no private key")
    assert site.get().startswith("https ")
    site.authority.write("site.key", good)
    process.err.wait(r"TLS: .*site.pem read again, localhost")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_hang_up_takes_a_new_certificate_over(site, workers):
    process = site.start("--workers", workers)
    pid = site.get().split()[2]
    site.authority.issue("localhost", "new.example.com")

    process.signal(signal.SIGHUP)

    process.err.wait(r"certificates were read again" if workers == "1" else r"reloaded: 2 of 2")
    # A worker that leaves may take a connection yet.
    wait_until(lambda: site.names()[1] == "new.example.com", "the new one is served")
    wait_until(
        lambda: (site.get().split()[2] == pid) is (workers == "1"), "by whom it should be served"
    )
    assert process.process.poll() is None


def test_a_new_binary_goes_on_with_tls(site):
    process = site.start()
    pid = site.get().split()[2]

    process.signal(signal.SIGUSR2)
    assert process.process.wait(20) == 0

    assert site.get().split()[2] != pid


# --- clients that are in the way ------------------------------------------------------------------


def test_plain_http_at_a_tls_port_is_told(site):
    site.start()

    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
    connection.request("GET", "/")
    answer = connection.getresponse()

    assert answer.status == 400
    assert answer.read() == b"This port speaks HTTPS.\n"
    connection.close()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_what_clients_do_wrong_leaves_no_trace_in_the_log(site, loop):
    process = site.start("--loop", loop, "--ssl-handshake-timeout", "0.3")
    for data in (b"", b"\x16\x03\x01\x02\x00", b"\x16\x03\x01\x00\x05hello", b"\x00\x01"):
        with socket.create_connection(("127.0.0.1", site.port), timeout=5) as sock:
            sock.sendall(data)
            with suppress(ConnectionResetError):
                assert sock.recv(10) in (b"", b"\x15\x03\x03\x00\x02\x02\x0a"), data
    with pytest.raises(ssl.SSLError), socket.create_connection(("127.0.0.1", site.port)) as sock:
        ssl.create_default_context().wrap_socket(sock, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", site.port)) as sock:
        tls = site.authority.client().wrap_socket(sock, server_hostname="localhost")
        tls.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        tls.close()

    assert site.get().startswith("https ")
    assert process.stop() == 0
    lines = process.err.text.splitlines()
    after = lines[lines.index(next(x for x in lines if "ready in" in x)) + 1 :]
    assert after == ["INFO:     stopped"]


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_idle_clients_do_not_hold_a_stop(site, loop, workers):
    process = site.start("--loop", loop, "--workers", workers)
    http2 = site.authority.client()
    http2.set_alpn_protocols(["h2"])
    with ExitStack() as stack:
        for _ in range(3):
            site.ask(stack.enter_context(site.connect()))  # which never reads again
            sock = socket.create_connection(("127.0.0.1", site.port), timeout=10)
            stack.enter_context(http2.wrap_socket(sock, server_hostname="localhost")).recv(9)
        stack.enter_context(socket.create_connection(("127.0.0.1", site.port)))  # says nothing
        began = time.monotonic()
        assert process.stop() == 0

    assert time.monotonic() - began < 8
    assert "Traceback" not in process.err.text


# --- configuration --------------------------------------------------------------------------------


def refused(gateway, site, *words):
    """What is printed in place of a start; nothing is bound before."""
    process = gateway("main:app", "--port", "0", *words)
    assert process.wait() == 2
    assert "Traceback" not in process.err.text
    return process.err.text


def test_bad_certificates_are_told_before_anything_is_bound(gateway, site):
    _, other = site.authority.issue("localhost", stem="other")
    certfile = ("--ssl-certfile", site.certfile)

    assert "which does not exist" in refused(gateway, site, "--ssl-certfile", "none.pem")
    assert "is not the key of" in refused(gateway, site, *certfile, "--ssl-keyfile", other)
    key = ("--ssl-keyfile", site.keyfile)
    assert "knows no suite" in refused(gateway, site, *certfile, *key, "--ssl-ciphers", "X")
    text = refused(gateway, site, *certfile, *key, "--ssl-ciphers", "X", "--workers", "2")
    assert "knows no suite" in text


def test_an_address_that_is_taken_is_not_asked_for_with_a_bad_certificate(gateway, site):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        text = refused(gateway, site, "--port", port, "--ssl-certfile", site.certfile)

    assert "holds no private key" in text


def test_check_reports_certificates(gateway, site):
    site.authority.issue("soon.example.com", days=2.5)
    files = ("--ssl-certfile", site.certfile, "--ssl-keyfile", site.keyfile)
    process = gateway("check", "main:app", *files)

    assert process.wait() == 0
    assert process.out.lines[0].startswith("TLS: soon.example.com until ")
    assert "expires in 2 days" in process.err.text


# --- judged by others -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore")  # of sslyze's, about authorities it comes with
def test_it_is_mozillas_intermediate_profile(site):
    sslyze = pytest.importorskip("sslyze")
    from sslyze.mozilla_tls_profile import tls_config_checker as checker

    site.start()
    request = sslyze.ServerScanRequest(
        server_location=sslyze.ServerNetworkLocation("localhost", site.port, "127.0.0.1"),
        scan_commands=checker.SCAN_COMMANDS_NEEDED_BY_MOZILLA_CHECKER,
    )
    scanner = sslyze.Scanner()
    scanner.queue_scans([request])
    (result,) = scanner.get_results()
    profile = checker.MozillaTlsConfiguration.get(checker.TlsConfigurationEnum.MOZILLA_INTERMEDIATE)

    with pytest.raises(checker.ServerNotCompliantWithTlsConfiguration) as found:
        checker.check_server_against_tls_configuration(result, profile)

    # That a test's authority is nobody's is all there is to say.
    assert set(found.value.issues) == {"certificate_path_validation"}
    curves = result.scan_result.elliptic_curves.result.supported_curves
    assert {each.name for each in curves} == {"X25519", "secp256r1", "secp384r1"}
