"""Servers of the HTTP/2 tests, plain and encrypted, and what their clients need to know."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from http2_client import Http2Client, Values, open_client
from tls.authority import Authority

from e2e.client import Address
from e2e.conftest import make_server
from e2e.process import Gateway
from gateway import Server

__all__ = ["Certified", "Site", "digest_of", "pattern", "received", "served", "site_of"]

PERIOD = 251
BASE = bytes(range(PERIOD)) * 400


@dataclass(frozen=True)
class Certified:
    """A certificate for localhost on disk, and what its clients trust."""

    certificate: str
    key: str
    ca: Path

    @classmethod
    def made_in(cls, directory: Path) -> Certified:
        authority = Authority(directory)
        certificate, key = authority.issue("localhost", "127.0.0.1")
        return cls(certificate, key, authority.ca_file)

    @property
    def flags(self) -> list[str]:
        return ["--ssl-certfile", self.certificate, "--ssl-keyfile", self.key]

    @property
    def settings(self) -> dict[str, str]:
        return {"ssl_certfile": self.certificate, "ssl_keyfile": self.key}

    def context(self) -> ssl.SSLContext:
        """Of a client that offers h2."""
        context = ssl.create_default_context(cafile=self.ca)
        context.set_alpn_protocols(["h2"])
        return context


@dataclass(frozen=True)
class Site:
    """A server's address; tls: how to shake hands with it, None without TLS."""

    address: Address
    tls: ssl.SSLContext | None = None

    def open(
        self,
        *,
        values: Values | None = None,
        receive_buffer: int | None = None,
        timeout: float = 10.0,
    ) -> Http2Client:
        return open_client(
            self.address,
            tls=self.tls,
            values=values,
            receive_buffer=receive_buffer,
            timeout=timeout,
        )


@contextmanager
def served(app: object, certified: Certified | None = None, **settings: object) -> Iterator[Site]:
    """A server in a thread, which shares the board; encrypted with `certified`."""
    given = settings if certified is None else {**settings, **certified.settings}
    server: Server = make_server(app, **given)
    with server:
        yield Site(("127.0.0.1", server.port), certified and certified.context())


def site_of(gateway: Gateway, certified: Certified | None = None) -> Site:
    """Of a process that was started with the flags of `certified`, or without."""
    port = int(gateway.err.wait(r"ready in .*? on https?://[^ ,]*:(\d+)")[1])
    return Site(("127.0.0.1", port), certified and certified.context())


# --- bodies that can be told apart ----------------------------------------------------------------


def pattern(start: int, size: int) -> bytes:
    """Bytes `start` to ``start + size`` of a body without end; size: up to 64 KiB."""
    at = start % PERIOD
    return BASE[at : at + size]


def digest_of(size: int) -> str:
    """Of the first `size` bytes."""
    digest = hashlib.sha256()
    for at in range(0, size, 65536):
        digest.update(pattern(at, min(65536, size - at)))
    return digest.hexdigest()


def received(client: Http2Client, stream: int) -> tuple[int, str]:
    """Size and digest of a response read to its end, without keeping it."""
    digest, size = hashlib.sha256(), 0
    response = client.head(stream)
    state = client.streams[stream]
    while True:
        digest.update(response.body)
        size += len(response.body)
        response.body = b""
        del client.log[:-3]
        if state.ended:
            return size, digest.hexdigest()
        assert state.reset is None, state.reset
        client.read_frame()
