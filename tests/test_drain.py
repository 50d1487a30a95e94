"""How a worker stops, where no request is open any more: applications that do not want to."""

from __future__ import annotations

import asyncio
import logging
import threading
from time import monotonic

import pytest
from fakes import exchange, head

from gateway.drain import Drain
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
