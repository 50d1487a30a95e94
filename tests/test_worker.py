"""One process's life: start, serve, drain, stop; with sockets, inside the test's own loop."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import socket
from collections.abc import Awaitable, Callable

import pytest

from gateway.errors import StartError
from gateway.settings import Settings, load
from gateway.worker import Worker

QUIET = {"log_config": {}, "access_log": False}


class App:
    """Answers; ``/wait`` when `gate` is open. notes: what happened."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.notes: list[str] = []

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                self.notes.append(event)
                await send({"type": f"lifespan.{event}.complete"})
            return
        kind = b"text/plain"
        if scope["path"] == "/events":
            kind = b"text/event-stream"
        if scope["path"] == "/wait":
            self.notes.append("called")
            await self.gate.wait()
        head = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]}
        await send(head)
        if scope["path"] in ("/events", "/begun"):
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            await asyncio.Event().wait()
        await send({"type": "http.response.body", "body": b"hello"})


class Client:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def send(self, target):
        self.writer.write(f"GET {target} HTTP/1.1\r\nhost: a\r\n\r\n".encode())

    async def head(self):
        return (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)).decode().lower()

    async def until_closed(self):
        return await asyncio.wait_for(self.reader.read(), 5)


def work(
    steps: Callable[[Worker, Callable[[], Awaitable[Client]]], Awaitable[object]],
    app: object,
    *,
    count: int = 1,
    delay: float = 0.0,
    **settings: object,
) -> None:
    """Run `steps` with a worker on `count` sockets; it is stopped and every socket closed after."""

    async def main():
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        given = app
        if not isinstance(app, Settings):
            options = {"app": app, **QUIET, **settings}
            given = load(overrides=options, environ={}, search=False).settings
        worker = Worker(given, sockets, delay=delay)
        writers = []

        async def connect(index: int = 0) -> Client:
            reader, writer = await asyncio.open_connection(*addresses[index])
            writers.append(writer)
            return Client(reader, writer)

        addresses = [sock.getsockname() for sock in sockets]
        try:
            await steps(worker, connect)
        finally:
            for writer in writers:
                writer.close()
                await asyncio.gather(writer.wait_closed(), return_exceptions=True)
            for sock in sockets:
                sock.close()

    asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what the worker tells is a plain attribute
            await asyncio.sleep(0.005)


def test_every_socket_is_served():
    async def steps(worker, connect):
        await worker.start()
        assert worker.ready
        for index in range(2):
            client = await connect(index)
            await client.send("/")
            assert (await client.head()).startswith("http/1.1 200 ok")
        worker.request_stop()
        await worker.stop()
        assert not worker.ready

    work(steps, App(), count=2)


def test_serving_ends_when_it_is_told_to():
    app = App()

    async def steps(worker, connect):
        await worker.start()
        serving = asyncio.ensure_future(worker.serve_until_stopped())
        await asyncio.sleep(0)
        assert not serving.done()
        worker.request_stop()
        await asyncio.wait_for(serving, 1)
        await worker.stop()

    work(steps, app)
    assert app.notes == ["startup", "shutdown"]


def test_a_failing_start_raises_and_accepts_nothing():
    async def steps(worker, connect):
        with pytest.raises(StartError):
            await worker.start()
        assert not worker.ready
        await worker.stop()

    work(steps, "nowhere_at_all:app")


def test_a_connection_just_used_may_send_one_request_more():
    async def steps(worker, connect):
        await worker.start()
        client = await connect()
        await client.send("/")
        await client.head()
        await client.reader.readexactly(5)
        worker.request_stop()
        stop = asyncio.ensure_future(worker.stop())
        await client.send("/")
        assert "connection: close" in await client.head()
        assert await client.until_closed() == b"hello"
        await asyncio.wait_for(stop, 1)

    work(steps, App())


def test_an_idle_connection_is_closed_at_once_where_code_is_reloaded():
    async def steps(worker, connect):
        await worker.start()
        client = await connect()
        await client.send("/")
        await client.head()
        worker.request_stop()
        await asyncio.wait_for(worker.stop(), 1)
        assert await client.until_closed() == b"hello"

    # reload asks for an import string, which a worker by itself does not need.
    given = load(overrides={"app": App(), **QUIET}, environ={}, search=False)
    work(steps, dataclasses.replace(given.settings, reload=True))


def test_a_request_under_way_is_finished_with_connection_close():
    app = App()

    async def steps(worker, connect):
        await worker.start()
        client = await connect()
        await client.send("/wait")
        await until(lambda: "called" in app.notes)
        worker.request_stop()
        stopping = asyncio.ensure_future(worker.stop())
        await until(lambda: not worker.ready)
        app.gate.set()
        head = await client.head()
        assert "connection: close" in head
        assert await client.until_closed() == b"hello"
        await stopping

    work(steps, app)
    assert app.notes == ["startup", "called", "shutdown"]


def waiting(app, *orders):
    """A request in `app`, then `orders` of the worker; whether the stop came before the answer."""
    forced = []

    async def steps(worker, connect):
        await worker.start()
        client = await connect()
        await client.send("/wait")
        await until(lambda: "called" in app.notes)
        for order in orders:
            getattr(worker, order)()
        stopping = asyncio.ensure_future(worker.stop())
        if not worker.forced:
            app.gate.set()
        await asyncio.wait_for(stopping, 3)
        forced.append(worker.forced)

    work(steps, app)
    assert app.notes[-1] == "shutdown"
    return forced[0]


def test_an_interrupt_drains_and_a_second_one_does_not():
    assert not waiting(App(), "interrupt")
    assert waiting(App(), "interrupt", "interrupt")


def test_a_request_to_stop_may_be_repeated_but_an_interrupt_after_it_is_an_order():
    assert not waiting(App(), "request_stop", "request_stop")
    assert waiting(App(), "request_stop", "interrupt")


def test_an_interrupt_during_the_drain_ends_it():
    app = App()

    async def steps(worker, connect):
        await worker.start()
        client = await connect()
        await client.send("/wait")
        await until(lambda: "called" in app.notes)
        worker.interrupt()
        stopping = asyncio.ensure_future(worker.stop())
        await until(lambda: not worker.ready)
        assert not stopping.done()
        worker.interrupt()
        await asyncio.wait_for(stopping, 3)
        assert "503" in await client.head()

    work(steps, app)
    assert app.notes[-1] == "shutdown"


def test_the_limit_ends_the_drain_and_names_what_was_open(caplog):
    caplog.set_level(logging.INFO, "gateway.error")
    app = App()

    async def steps(worker, connect):
        await worker.start()
        client = await connect()
        await client.send("/wait?x=\x7f".replace("\x7f", "%7f"))
        await until(lambda: "called" in app.notes)
        worker.request_stop()
        await asyncio.wait_for(worker.stop(), 3)

    work(steps, app, timeout_graceful_shutdown=0.05)
    texts = [record.getMessage() for record in caplog.records]
    assert any("1 request open" in text for text in texts)
    assert any("still open after 0.05 s" in text and "GET /wait" in text for text in texts)
    assert app.notes[-1] == "shutdown"


def test_an_event_stream_does_not_hold_the_stop():
    app = App()

    async def steps(worker, connect):
        await worker.start()
        client = await connect()
        await client.send("/events")
        assert "text/event-stream" in await client.head()
        worker.request_stop()
        stopping = asyncio.ensure_future(worker.stop())
        assert (await client.until_closed()).endswith(b"0\r\n\r\n")
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)

    work(steps, app)


def test_a_response_that_has_begun_is_cut_at_the_limit():
    app = App()

    async def steps(worker, connect):
        await worker.start()
        client = await connect()
        await client.send("/begun")
        await client.head()
        worker.request_stop()
        await asyncio.wait_for(worker.stop(), 3)
        try:
            rest = await client.until_closed()
        except ConnectionResetError:
            rest = b""
        assert not rest.endswith(b"0\r\n\r\n")

    work(steps, app, timeout_graceful_shutdown=0.05)
    assert app.notes[-1] == "shutdown"


def test_a_request_that_waits_in_the_accept_queue_is_answered():
    async def steps(worker, connect):
        await worker.start()
        client = await connect()
        await client.send("/")
        worker.request_stop()
        await worker.stop()
        assert "connection: close" in await client.head()

    work(steps, App())


@pytest.mark.slow
def test_during_the_delay_of_the_drain_everything_is_served_as_before():
    async def steps(worker, connect):
        await worker.start()
        client = await connect()
        worker.request_stop()
        began = asyncio.get_running_loop().time()
        stopping = asyncio.ensure_future(worker.stop())
        for each in (client, client, await connect()):  # kept, and new
            await each.send("/")
            assert "connection: close" not in await each.head()
            assert await each.reader.readexactly(5) == b"hello"
        assert worker.ready
        await until(lambda: not worker.ready)
        assert asyncio.get_running_loop().time() - began >= 0.3
        await client.send("/")
        assert "connection: close" in await client.head()
        assert await client.until_closed() == b"hello"
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)

    work(steps, App(), delay=0.3)


def test_an_order_to_stop_now_cuts_the_delay_of_the_drain_short():
    async def steps(worker, connect):
        await worker.start()
        worker.request_stop()
        stopping = asyncio.ensure_future(worker.stop())
        await asyncio.sleep(0)
        assert worker.ready
        worker.force()
        await asyncio.wait_for(stopping, 3)

    work(steps, App(), delay=60)


def test_a_start_that_was_stopped_is_not_delayed():
    async def steps(worker, connect):
        worker.request_stop()
        assert not await worker.start_unless_stopped()
        await asyncio.wait_for(worker.stop(), 3)

    work(steps, App(), delay=60)


def test_the_limit_of_requests_asks_for_the_stop():
    async def steps(worker, connect):
        await worker.start()
        client = await connect()
        await client.send("/")
        assert "connection: close" in await client.head()
        await asyncio.wait_for(worker.serve_until_stopped(), 1)
        await worker.stop()

    work(steps, App(), limit_max_requests=1)


def test_a_notify_that_fails_is_logged_and_called_again(caplog):
    calls = []

    async def notify():
        calls.append(1)
        raise ValueError("no pulse")

    async def steps(worker, connect):
        await worker.start()
        await until(lambda: len(calls) > 1)
        worker.request_stop()
        await worker.stop()

    work(steps, App(), callback_notify=notify, timeout_notify=0.01)
    assert "no pulse" in repr([record.exc_info for record in caplog.records])


def test_stop_without_start_does_nothing():
    async def steps(worker, connect):
        await asyncio.wait_for(worker.stop(), 1)

    work(steps, App())


@pytest.mark.parametrize("http", ["httptools", "h11", "auto"])
def test_either_parser(http):
    async def steps(worker, connect):
        await worker.start()
        client = await connect()
        await client.send("/")
        assert "200 ok" in await client.head()
        worker.request_stop()
        await worker.stop()

    work(steps, App(), http=http)
