"""How a worker stops: applications that do not want to, and tunnels that take leave."""

from __future__ import annotations

import asyncio
import logging
import threading
from time import monotonic

import pytest
from fakes import exchange, head

from gateway.drain import Drain
from gateway.exchange import Exchange
from gateway.settings import load
from gateway.site import Site


class Lifespan:
    """An ASGI application; `ends` says whether its shutdown does."""

    def __init__(self, *, ends: bool = True) -> None:
        self.ends = ends
        self.events: list[str] = []

    async def __call__(self, scope, receive, send):
        for event in ("startup", "shutdown"):
            await receive()
            self.events.append(event)
            if event == "shutdown" and not self.ends:
                await asyncio.Event().wait()
            await send({"type": f"lifespan.{event}.complete"})


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what a thread does is a plain attribute
            await asyncio.sleep(0.001)


async def started(mounts: dict[str, object]) -> Site:
    site = Site.build(load(overrides={"mounts": mounts}, environ={}, search=False).settings)
    await site.start()
    return site


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.slow
def test_a_lifespan_that_was_left_by_force_is_named(caplog):
    app = Lifespan(ends=False)

    async def main():
        site = await started({"/api": app})
        drain = Drain([], site, limit=60)
        running = asyncio.ensure_future(drain.run())
        await until(lambda: "shutdown" in app.events)
        began = monotonic()
        drain.force()
        await running
        return monotonic() - began

    assert asyncio.run(main()) < 3
    assert warnings(caplog) == ["/api: its lifespan was not waited for"]


@pytest.mark.slow
def test_a_thread_that_hangs_does_not_take_the_shutdown_of_others(caplog):
    app = Lifespan()
    go_on = threading.Event()
    called = threading.Event()

    def hanging(environ, start_response):
        called.set()
        go_on.wait()
        start_response("200 OK", [])
        return []

    async def main():
        site = await started({"/": hanging, "/api": app})
        site.handler(exchange(head("GET", "/")))
        await until(called.is_set)
        drain = Drain([], site, limit=60)
        drain.force()
        await drain.run()

    try:
        asyncio.run(main())
    finally:
        go_on.set()
    assert app.events == ["startup", "shutdown"]


# --- tunnels -------------------------------------------------------------------------------------


class Tunnel:
    """A connection that has become one; it closes as soon as it is told to, unless it is `deaf`.

    told: when, in `monotonic` seconds.
    """

    messages_received = messages_sent = 0

    def __init__(self, listener: Listener, *, deaf: bool = False) -> None:
        self.told: list[float] = []
        self.exchange = exchange(head("GET", "/chat", upgrade=b"websocket"))
        self.exchange.tunnel = self
        self.exchange.status = 101
        self._listener = listener
        self._deaf = deaf
        listener.connections.add(self)

    @property
    def exchanges(self) -> list[Exchange]:
        return [] if self.exchange.finished else [self.exchange]

    def on_bytes(self, data: bytes) -> bool:
        return False

    def on_deadline(self) -> None:
        raise AssertionError

    def on_shutdown(self) -> None:
        self.told.append(monotonic())
        if not self._deaf:
            self.exchange.lost()
            self._listener.connections.discard(self)


class Listener:
    """What a drain sees of one."""

    def __init__(self) -> None:
        self.connections: set[Tunnel] = set()

    @property
    def exchanges(self) -> list[Exchange]:
        return [exchange for each in list(self.connections) for exchange in each.exchanges]

    async def close_empty(self) -> None:
        pass

    def drain(self) -> None:
        pass

    def cut(self) -> None:
        pass


def farewell(count: int, limit: float, later: int = 0) -> tuple[list[Tunnel], float]:
    """`count` tunnels after a drain, and when it began. later: as many open during it."""
    listener = Listener()
    tunnels = [Tunnel(listener) for _ in range(count)]

    async def main() -> float:
        began = monotonic()
        running = asyncio.ensure_future(Drain([listener], None, limit=limit).run())
        if later:
            await until(lambda: any(each.told for each in tunnels))
            tunnels.extend(Tunnel(listener) for _ in range(later))
        await running
        return began

    return tunnels, asyncio.run(main())


@pytest.mark.slow
def test_many_tunnels_are_told_little_by_little_within_half_of_the_limit():
    tunnels, began = farewell(300, limit=2)
    assert [len(each.told) for each in tunnels] == [1] * 300
    times = sorted(each.told[0] - began for each in tunnels)
    assert times[0] < 0.2
    assert 0.3 < times[150] < 0.8
    assert 0.7 < times[-1] < 1.5


@pytest.mark.parametrize("limit", [2, 30])
def test_a_few_tunnels_are_told_at_once(limit):
    tunnels, began = farewell(3, limit=limit)
    assert max(each.told[0] for each in tunnels) - began < 0.3


def test_tunnels_that_open_during_the_drain_are_told_too():
    tunnels, _ = farewell(3, limit=30, later=3)
    assert [len(each.told) for each in tunnels] == [1] * 6


def test_a_tunnel_that_does_not_end_is_told_once_and_ended_at_the_limit(caplog):
    listener = Listener()
    tunnel = Tunnel(listener, deaf=True)
    asyncio.run(Drain([listener], None, limit=0.2).run())
    assert len(tunnel.told) == 1
    assert tunnel.exchange.cut
    (warning,) = warnings(caplog)
    assert warning.startswith("still open after 0.2 s, ended: GET /chat ")
