"""The arithmetic of the TLS benchmark, and its clients with a server of Python's own."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress

import pytest
from tls.authority import Authority

from benchmarks.servers import BenchError
from benchmarks.tls import ROWS, parse_clients
from benchmarks.tls_load import Clients


def test_connections_are_counted():
    assert parse_clients("300 0 0 2.0\n") == (300, 150.0)
    assert parse_clients("300 296 290 2.0\n") == (300, 150.0)


@pytest.mark.parametrize("text", ["300 296 100 2.0", "0 0 0 2.0", "error: no answer"])
def test_what_is_no_measurement_is_refused(text):
    with pytest.raises(BenchError, match="clients: "):
        parse_clients(text)


@pytest.mark.parametrize("key", ROWS)
def test_every_row_has_gateway_first_and_its_peers_beside_it(key):
    ours, *peers = ROWS[key].servers
    assert ours == "gateway"
    assert any(name.startswith("uvicorn") for name in peers)
    assert "granian" in peers


@pytest.fixture
def port(tmp_path):
    """Of a server that answers each connection once."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*Authority(tmp_path).issue("localhost"))
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock, context.wrap_socket(sock, server_side=True) as tls:
                tls.recv(1000)
                tls.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                with suppress(OSError):  # the client says no goodbye
                    tls.unwrap()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


@pytest.mark.parametrize("resume", [True, False])
def test_clients_resume_all_sessions_or_none(port, resume):
    clients = Clients(port, resume=resume)
    clients.run(1, 0.1)

    assert clients.done > 1
    assert clients.offered == clients.resumed == (clients.done - 1 if resume else 0)
