"""Connections on their way through a handshake, over sockets, on both loops."""

import asyncio
import logging
import socket
import ssl
import struct
import threading
import time

import pytest

from gateway.tls.acceptor import Acceptor
from gateway.tls.certificates import Certificates
from gateway.tls.options import KeyPair, TlsOptions
from tls.authority import first_flight


def loops():
    uvloop = pytest.importorskip("uvloop")
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Chatter(asyncio.Protocol):
    """Keeps the loop for itself while it writes."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        for _ in range(100):
            self.transport.write(b"more")
            time.sleep(0.001)


class Server:
    """Accepts with an `Acceptor` on a loop in a thread; what its tasks raise is in `errors`."""

    def __init__(self, factory, certificates):
        self.errors = []
        self.loop = factory()
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.acceptor = Acceptor(certificates)
        self.protocol = Echo
        self.tasks = set()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.add_reader(self.sock, self.accept)
        self.loop.run_forever()
        self.loop.remove_reader(self.sock)
        for task in self.tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*self.tasks, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def accept(self):
        sock, _ = self.sock.accept()
        sock.setblocking(False)
        task = self.loop.create_task(self.acceptor.accept(self.loop, self.protocol, sock))
        self.tasks.add(task)
        task.add_done_callback(self.done)

    def done(self, task):
        self.tasks.discard(task)
        if not task.cancelled() and task.exception():
            self.errors.append(task.exception())

    def connect(self):
        sock = socket.create_connection(self.sock.getsockname())
        sock.settimeout(5)
        return sock

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.sock.close()


@pytest.fixture(params=["asyncio", "uvloop"])
def server(request, authority, caplog):
    caplog.set_level(logging.DEBUG, "gateway.error")
    certfile, keyfile = authority.issue("localhost")
    options = TlsOptions(
        pairs=(KeyPair(certfile=certfile, keyfile=keyfile),), handshake_timeout=0.3
    )
    server = Server(loops()[request.param], Certificates(options))
    server.kind = request.param
    yield server
    server.stop()
    assert server.errors == []


def gone(sock):
    """Whether the other side closes, and what it said before."""
    data = b""
    try:
        while piece := sock.recv(4096):
            data += piece
    except ConnectionResetError:
        pass
    return data


def echo(server, context, **options):
    with context.wrap_socket(server.connect(), server_hostname="localhost", **options) as tls:
        tls.sendall(b"hello")
        return tls.recv(100)


def test_bytes_go_through(server, authority):
    assert echo(server, authority.client()) == b"hello"


def test_a_hello_in_pieces_is_waited_for(server, authority):
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.client().wrap_bio(down, up, server_hostname="localhost")
    with server.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in up.read():
                    sock.sendall(bytes([byte]))
                down.write(sock.recv(65536))
        assert client.version() == "TLSv1.3"


def test_a_client_with_other_curves_alone_is_turned_away(server, authority):
    context = authority.client()
    context.set_ecdh_curve("secp521r1")

    with pytest.raises(ssl.SSLError), server.connect() as sock:
        context.wrap_socket(sock, server_hostname="localhost")


def test_plain_http_gets_a_400(server, caplog):
    with server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = gone(sock)

    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert answer.endswith(b"\r\n\r\nThis port speaks HTTPS.\n")


@pytest.mark.parametrize(
    "data",
    [b"\x00\x00", b"\x80\x2e\x01\x00\x02", b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\x00\x00"],
    ids=["binary", "sslv2", "no hello", "empty record"],
)
def test_what_is_no_handshake_is_closed_without_noise(server, data, caplog):
    with server.connect() as sock:
        sock.sendall(data)
        assert b"HTTP" not in gone(sock)

    assert {each.levelname for each in caplog.records if each.name == "gateway.error"} <= {"DEBUG"}


@pytest.mark.parametrize("data", [b"", b"\x16\x03\x01\x02"], ids=["silent", "half a hello"])
def test_who_does_not_go_on_is_closed_in_time(server, data):
    with server.connect() as sock:
        sock.sendall(data)
        assert gone(sock) == b""


def test_who_leaves_in_the_middle_does_no_harm(server, authority):
    for data in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"):
        sock = server.connect()
        sock.sendall(data)
        sock.close()

    assert echo(server, authority.client()) == b"hello"


def test_a_client_that_leaves_in_the_middle_of_an_answer_makes_no_noise(server, authority, caplog):
    server.protocol = Chatter
    tls = authority.client().wrap_socket(server.connect(), server_hostname="localhost")
    tls.sendall(b"go")
    if server.kind == "asyncio":  # uvloop writes when the turn is over
        assert tls.recv(4) == b"more"
    tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    tls.close()
    server.protocol = Echo

    assert echo(server, authority.client()) == b"hello"
    assert [each for each in caplog.records if each.name == "asyncio"] == []


def test_a_client_that_does_not_believe_the_certificate_does_no_harm(server, authority):
    with pytest.raises(ssl.SSLError):
        echo(server, ssl.create_default_context())

    assert echo(server, authority.client()) == b"hello"


@pytest.mark.parametrize("cut", [600, 60])
def test_a_name_that_is_not_ascii_gets_the_first_certificate_without_noise(
    server, authority, capfd, cut
):
    hello = first_flight(authority.client(), "localhost").replace(b"localhost", b"local\xff\xfest")
    pieces = [hello[at : at + cut] for at in range(5, len(hello), cut)]
    with server.connect() as sock:
        for each in pieces:
            sock.sendall(hello[:3] + len(each).to_bytes(2, "big") + each)
        assert sock.recv(1) == b"\x16"

    assert capfd.readouterr().err == ""


def test_a_name_that_is_not_ascii_in_the_second_hello_makes_no_noise(server, authority, capfd):
    """Of a client that is asked for another key (RFC 8446, section 4.1.4)."""
    first, second = (
        first_flight(authority.client(), name).replace(b"x" * 9, b"local\xff\xfest")
        for name in ("localhost", "x" * 9)
    )
    # X25519's number in the list of key shares gives way to that of X448.
    first = first.replace(b"\x00\x33\x00\x26\x00\x24\x00\x1d", b"\x00\x33\x00\x26\x00\x24\x00\x1e")
    with server.connect() as sock:
        sock.sendall(first)
        assert sock.recv(1) == b"\x16"
        sock.sendall(second)
        gone(sock)

    assert capfd.readouterr().err == ""
