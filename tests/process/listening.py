"""Listening, and finding out whether somebody listens."""

from __future__ import annotations

import socket
from contextlib import contextmanager

import pytest

from gateway.errors import StartError
from gateway.process.sockets import bind_all
from gateway.settings.bind import Bind


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@contextmanager
def bound(*binds, **options):
    sockets = bind_all(binds, **options)
    try:
        yield sockets
    finally:
        for each in sockets:
            each.close()


@contextmanager
def listener(family=socket.AF_INET, address=("127.0.0.1", 0)):
    with socket.socket(family) as sock:
        sock.bind(address)
        sock.listen()
        yield sock


def tcp(host="127.0.0.1", port=0):
    return Bind(host=host, port=port)


def unix(path):
    return Bind(path=str(path))


def free_port():
    with listener() as sock:
        return sock.getsockname()[1]


def connects(family, address):
    with socket.socket(family) as client:
        return client.connect_ex(address) == 0


def refusal(*binds, **options):
    with pytest.raises(StartError) as caught:
        bind_all(binds, **options)
    return str(caught.value)


@pytest.fixture
def short_path(tmp_path, monkeypatch):
    """pytest's own directories are too long for a socket on some systems."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "s"
