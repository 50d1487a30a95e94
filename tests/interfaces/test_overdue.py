"""Applications that let their clients wait for too long; time is moved by hand."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest
from fakes import FakeListener, FakeWire, head

from gateway.clock import Clock
from gateway.exchange import ClientGone, Exchange
from gateway.interfaces.asgi3 import Asgi3Interface
from gateway.interfaces.overdue import Overdue
from gateway.interfaces.wsgi import WsgiInterface

EVENTS = [(b"content-type", b"text/event-stream")]


class Scene:
    """Exchanges under way in the mounts /slow (10 s), /quick (2 s) and / (no limit)."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.clock = Clock(monotonic=lambda: self.now)
        self.under_way: list[Exchange] = []
        overdue = Overdue({"/slow": 10.0, "/quick": 2.0}, lambda: list(self.under_way), self.clock)
        self.clock.on_tick.append(overdue.sweep)

    def begin(self, mount: str = "/quick", method: str = "GET", **given: object) -> Exchange:
        request = head(method, f"{mount}/x", **given)  # type: ignore[arg-type]
        request.mount = mount
        exchange = Exchange(request, FakeWire())
        exchange.listener = FakeListener()
        exchange.on_finish.append(self.under_way.remove)
        self.under_way.append(exchange)
        return exchange

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1.0
            self.clock.tick()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def status(exchange: Exchange) -> int | None:
    return exchange.wire.status  # type: ignore[attr-defined,no-any-return]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    caplog.clear()
    return found


def test_a_request_that_is_not_answered_is_a_504(scene):
    exchange = scene.begin()
    scene.pass_time(2)
    assert status(exchange) is None
    scene.pass_time(1)
    assert status(exchange) == 504
    assert exchange.gone
    assert exchange.listener.news == ["gone"]
    scene.pass_time(100)


def test_each_mount_has_its_own_time_or_all_of_it(scene):
    quick, slow, patient = (scene.begin(mount) for mount in ("/quick", "/slow", "/"))
    scene.pass_time(5)
    assert [status(each) for each in (quick, slow, patient)] == [504, None, None]
    scene.pass_time(1000)
    assert [status(each) for each in (quick, slow, patient)] == [504, 504, None]


def test_a_response_that_has_begun_is_cut(scene):
    exchange = scene.begin()
    exchange.start(200, [], b"so", more=True)
    scene.pass_time(4)
    assert exchange.wire.aborted
    with pytest.raises(ClientGone):
        exchange.write(b"on", more=False)


def test_one_that_goes_on_may_take_as_long_as_it_likes(scene):
    exchange = scene.begin()
    exchange.start(200, [], b"so", more=True)
    for _ in range(100):
        scene.pass_time(1)
        exchange.write(b"on", more=True)
    assert not exchange.finished


def test_a_client_that_does_not_read_is_not_the_applications_fault(scene):
    exchange = scene.begin()
    exchange.start(200, [], b"so", more=True)
    exchange.set_writable(False)
    scene.pass_time(100)
    exchange.set_writable(True)
    scene.pass_time(1)
    assert not exchange.finished
    scene.pass_time(1)
    assert exchange.finished


def test_a_body_that_is_still_to_come_is_not_either(scene):
    exchange = scene.begin(method="POST", content_length=5)
    scene.pass_time(100)
    exchange.body_received(b"hello")
    exchange.body_ended()
    scene.pass_time(2)  # it is seen to have come after the first
    assert status(exchange) is None
    scene.pass_time(1)
    assert status(exchange) == 504


def test_a_body_the_application_does_not_ask_for_is(scene):
    exchange = scene.begin(method="POST", content_length=5, expect_continue=True)
    scene.pass_time(4)
    assert status(exchange) == 504


def test_event_streams_and_tunnels_have_no_end(scene):
    stream, tunnel = scene.begin(), scene.begin()
    stream.start(200, EVENTS, b"", more=True)
    tunnel.tunnel = object()
    scene.pass_time(1000)
    assert not stream.finished
    assert not tunnel.finished


def test_one_that_waits_for_a_place_has_not_begun(scene):
    exchange = scene.begin()
    exchange.listener = None
    scene.pass_time(100)
    exchange.listener = FakeListener()
    scene.pass_time(2)
    assert status(exchange) is None


def test_nobody_is_blamed_for_a_loop_that_was_blocked(scene):
    exchange = scene.begin()
    scene.pass_time(2)
    scene.now += 60.0
    scene.clock.tick()
    assert status(exchange) is None
    exchange.start(200, [], b"done")


def test_they_are_not_looked_at_each_second():
    looked = []
    scene = Scene()
    clock = Clock(monotonic=lambda: scene.now)
    overdue = Overdue({"/": 600.0}, lambda: looked.append(scene.now) or (), clock)
    clock.on_tick.append(overdue.sweep)
    for _ in range(300):
        scene.now += 1.0
        clock.tick()
    assert len(looked) == 10


def test_one_line_says_what_was_ended_and_a_few_where(scene, caplog):
    for _ in range(8):
        scene.begin()
    scene.pass_time(3)
    first, *others, last = warnings(caplog)
    assert first.startswith(
        "no answer for 2 s (timeout-request), ended: GET /quick/x (mount /quick)"
    )
    assert len(others) == 4
    assert last == "… and 3 more that were not answered in time"


# --- with an application -------------------------------------------------------------------------


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what a thread does is a plain attribute
            await asyncio.sleep(0.001)


def begin(scene: Scene, interface) -> Exchange:
    exchange = scene.begin()
    exchange.listener = None
    interface(exchange)
    return exchange


def test_the_task_is_cancelled_and_its_stack_is_in_the_log(scene, caplog):
    events = []

    async def app(scope, receive, send):
        await outer()

    async def outer():
        try:
            await hangs_here()
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    async def hangs_here():
        await asyncio.Event().wait()

    async def main():
        interface = Asgi3Interface(app, loop=asyncio.get_running_loop())
        exchange = begin(scene, interface)
        await asyncio.sleep(0)
        scene.pass_time(3)
        assert status(exchange) == 504
        await until(lambda: not interface.calls)

    asyncio.run(main())
    (line,) = warnings(caplog)
    assert "in outer" in line
    assert line.index("in outer") < line.index("in hangs_here")
    assert events == ["cancelled"]
    assert caplog.records == []


def test_a_task_that_waits_for_another_shows_both(scene, caplog):
    async def app(scope, receive, send):
        await asyncio.create_task(hangs_here())

    async def hangs_here():
        await asyncio.sleep(3600)

    async def main():
        interface = Asgi3Interface(app, loop=asyncio.get_running_loop())
        begin(scene, interface)
        await asyncio.sleep(0.01)
        scene.pass_time(3)
        await until(lambda: not interface.calls)

    asyncio.run(main())
    (line,) = warnings(caplog)
    assert "in hangs_here" in line


def test_an_application_that_will_not_be_cancelled_can_send_nothing_more(scene):
    problems = []

    async def app(scope, receive, send):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            problems.append(await receive())
            try:
                await send({"type": "http.response.start", "status": 200})
            except OSError as error:
                problems.append(error)

    async def main():
        interface = Asgi3Interface(app, loop=asyncio.get_running_loop())
        exchange = begin(scene, interface)
        await asyncio.sleep(0)
        scene.pass_time(3)
        await until(lambda: not interface.calls)
        assert status(exchange) == 504

    asyncio.run(main())
    assert problems[0] == {"type": "http.disconnect"}
    assert isinstance(problems[1], ClientGone)


def test_a_thread_is_told_when_it_writes_and_its_stack_is_in_the_log(scene, caplog):
    called, go_on = threading.Event(), threading.Event()
    problems = []

    def app(environ, start_response):
        write = start_response("200 OK", [])
        hangs_here()
        try:
            write(b"too late")
        except OSError as error:
            problems.append(error)
        return []

    def hangs_here():
        called.set()
        go_on.wait(5)

    async def main():
        interface = WsgiInterface(app, loop=asyncio.get_running_loop())
        exchange = begin(scene, interface)
        await until(called.is_set)
        scene.pass_time(3)
        assert status(exchange) == 504
        go_on.set()
        assert await interface.shutdown(5) == 0

    asyncio.run(main())
    (line,) = warnings(caplog)
    assert "in hangs_here" in line
    assert "wsgi_task.py" not in line
    assert isinstance(problems[0], ClientGone)


def test_a_request_that_waits_for_a_thread_never_runs(scene, caplog):
    called, go_on = threading.Event(), threading.Event()
    calls = []

    def app(environ, start_response):
        calls.append(environ["PATH_INFO"])
        called.set()
        go_on.wait(5)
        start_response("200 OK", [])
        return []

    async def main():
        interface = WsgiInterface(app, loop=asyncio.get_running_loop(), threads=1)
        running = begin(scene, interface)
        await until(called.is_set)
        waiting = begin(scene, interface)
        scene.pass_time(3)
        assert (status(running), status(waiting)) == (504, 504)
        go_on.set()
        assert await interface.shutdown(5) == 0

    asyncio.run(main())
    assert len(calls) == 1
    assert "it waits for a thread" in warnings(caplog)[1]
