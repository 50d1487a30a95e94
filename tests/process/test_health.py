"""Live and ready: what is answered, and that it is answered to whoever asks."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
from fakes import FakeWire, exchange, head

from gateway.process import health as module
from gateway.process.health import Health, HealthListener, health_handler

WELL = Health(live=True, ready=True)
DRAINING = Health(live=True, ready=False, detail="draining")
LOST = Health(live=False, ready=False, detail="no worker lives")


def answered(path: str, health: Health = WELL, *, method: str = "GET") -> FakeWire:
    wire = FakeWire()
    health_handler(lambda: health)(exchange(head(method, path), wire))
    return wire


# --- the handler ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "health", "status", "body"),
    [
        ("/live", WELL, 200, b"live\n"),
        ("/livez", WELL, 200, b"live\n"),
        ("/healthz", WELL, 200, b"live\n"),
        ("/ready", WELL, 200, b"ready\n"),
        ("/readyz", WELL, 200, b"ready\n"),
        ("/live", DRAINING, 200, b"live\n"),
        ("/ready", DRAINING, 503, b"not ready: draining\n"),
        ("/readyz", DRAINING, 503, b"not ready: draining\n"),
        ("/live", LOST, 503, b"not live: no worker lives\n"),
        ("/ready", Health(live=False, ready=False), 503, b"not ready\n"),
    ],
)
def test_live_and_ready_are_told_apart(path, health, status, body):
    wire = answered(path, health)

    assert (wire.status, wire.body) == (status, body)


@pytest.mark.parametrize("path", ["/live", "/none"])
def test_no_answer_is_kept_by_a_cache(path):
    wire = answered(path)

    assert wire.header(b"cache-control") == b"no-store"
    assert wire.header(b"content-type") == b"text/plain; charset=utf-8"


def test_a_query_does_not_matter():
    assert answered("/ready?verbose").status == 200


@pytest.mark.parametrize("path", ["/", "/live/", "/Live", "/metrics"])
def test_other_paths_are_not_found(path):
    assert answered(path).status == 404


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "DELETE"])
def test_other_methods_are_refused_with_those_that_are_served(method):
    wire = answered("/live", method=method)

    assert (wire.status, wire.header(b"allow")) == (405, b"GET, HEAD")


def test_head_has_the_status_and_no_body():
    wire = answered("/ready", DRAINING, method="HEAD")

    assert (wire.status, wire.body) == (503, b"")


def test_the_answer_is_of_the_moment():
    states = [WELL, DRAINING, WELL]
    handler = health_handler(iter(states).__next__)
    statuses = []
    for _ in states:
        wire = FakeWire()
        handler(exchange(head("GET", "/ready"), wire))
        statuses.append(wire.status)

    assert statuses == [200, 503, 200]


# --- the listener --------------------------------------------------------------------------------


def listening(steps: Callable[[HealthListener, int], Awaitable[None]]) -> None:
    """Run `steps` with an open listener and its port."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            listener = HealthListener([sock], health_handler(lambda: DRAINING))
            await listener.open()
            try:
                async with asyncio.timeout(5):
                    await steps(listener, sock.getsockname()[1])
            finally:
                listener.close()

    asyncio.run(main())


async def ask(port: int, request: bytes) -> bytes:
    """The whole answer, up to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /live HTTP/1.0\r\n\r\n",
        b"GET /live HTTP/1.0\r\nUser-Agent: httpchk\r\n\r\n",
        b"GET /live HTTP/1.1\r\nHost: 10.42.0.17:9000\r\nConnection: close\r\n\r\n",
        b"GET /live HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
        b"GET /live HTTP/1.1\r\nHost: some_where.example\r\nConnection: close\r\n\r\n",
    ],
)
def test_a_probe_is_answered_whatever_host_it_names(request_bytes):
    async def steps(_, port):
        answer = await ask(port, request_bytes)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nlive\n")

    listening(steps)


def test_a_connection_serves_probe_after_probe():
    async def steps(_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b" 503 " in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(20) == b"not ready: draining\n"
        writer.close()

    listening(steps)


def test_a_client_that_says_nothing_is_closed(monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    monkeypatch.setattr(module, "_TICK", 0.02)

    async def steps(_, port):
        assert await ask(port, b"") == b""

    listening(steps)


def test_a_client_that_stops_in_its_head_is_told(monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    monkeypatch.setattr(module, "_TICK", 0.02)

    async def steps(_, port):
        assert b" 408 " in await ask(port, b"GET /live HTTP/1.1\r\n")

    listening(steps)


def test_close_ends_connections_and_accepts_no_more():
    async def steps(listener, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"live\n")

        listener.close()
        listener.close()

        assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

    listening(steps)


def test_every_socket_is_served(tmp_path):
    async def main():
        path = str(tmp_path / "health.sock")
        with (
            socket.create_server(("127.0.0.1", 0)) as tcp,
            socket.socket(socket.AF_UNIX) as unix,
        ):
            unix.bind(path)
            listener = HealthListener([tcp, unix], health_handler(lambda: WELL))
            await listener.open()
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"GET /ready HTTP/1.0\r\n\r\n")
            assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"ready\n")
            writer.close()
            assert b" 200 " in await ask(tcp.getsockname()[1], b"GET /live HTTP/1.0\r\n\r\n")
            listener.close()

    asyncio.run(main())


def test_where_one_socket_cannot_be_served_none_is():
    async def main():
        good = socket.create_server(("127.0.0.1", 0))
        broken = socket.create_server(("127.0.0.1", 0))
        broken.close()
        port = good.getsockname()[1]
        listener = HealthListener([good, broken], health_handler(lambda: WELL))

        with pytest.raises(OSError, match="Bad file descriptor"):
            await listener.open()

        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

    asyncio.run(main())
