"""Startup and shutdown of one application (ASGI lifespan spec 2.0)."""

from __future__ import annotations

import asyncio
import logging

import pytest

from gateway.errors import StartError
from gateway.interfaces.lifespan import Lifespan


class App:
    """Notes what it gets; sends what it is told to.

    startup, shutdown: the message to send, an exception to raise, or None for silence.
    """

    COMPLETE = "complete"

    def __init__(self, startup=COMPLETE, shutdown=COMPLETE, state=None):
        self.answers = {"startup": startup, "shutdown": shutdown}
        self.state = state or {}
        self.seen: list[str] = []
        self.scope = None

    async def __call__(self, scope, receive, send):
        self.scope = scope
        scope["state"].update(self.state)
        for event in ("startup", "shutdown"):
            message = await receive()
            self.seen.append(message["type"])
            answer = self.answers[event]
            if isinstance(answer, BaseException):
                raise answer
            if answer is None:
                return
            if answer == self.COMPLETE:
                answer = {"type": f"lifespan.{event}.complete"}
            await send(answer)


def live(app, *, mode="auto", timeout=1.0):
    """Startup and shutdown in a row; the lifespan."""

    async def steps():
        lifespan = Lifespan(app, mode=mode, name="/api")
        await lifespan.startup()
        await lifespan.shutdown(timeout)
        return lifespan

    return asyncio.run(steps())


def errors(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_startup_then_shutdown(caplog):
    app = App()
    live(app)
    assert app.seen == ["lifespan.startup", "lifespan.shutdown"]
    assert app.scope["type"] == "lifespan"
    assert app.scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
    assert errors(caplog) == []


def test_state_is_what_the_application_put_there():
    assert live(App(state={"pool": 1})).state == {"pool": 1}


def test_a_failed_startup_names_the_mount_and_says_why():
    app = App(startup={"type": "lifespan.startup.failed", "message": "no database\nat all"})
    with pytest.raises(StartError) as caught:
        live(app)
    assert str(caught.value).splitlines()[0].startswith("/api: ")
    assert "  no database\n  at all" in str(caught.value)


def test_a_failed_startup_without_message():
    with pytest.raises(StartError, match="/api"):
        live(App(startup={"type": "lifespan.startup.failed"}))


@pytest.mark.parametrize("error", [ValueError("only http"), KeyError("path"), AssertionError()])
def test_an_application_that_refuses_the_scope_is_quiet(error, caplog):
    async def app(scope, receive, send):
        raise error

    caplog.set_level(logging.INFO, "gateway.error")
    live(app)
    assert caplog.records == []


def test_an_application_that_answers_the_lifespan_as_a_request_is_quiet(caplog):
    async def echo(scope, receive, send):
        message = await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": message["body"]})

    caplog.set_level(logging.INFO, "gateway.error")
    live(echo)
    assert caplog.records == []


def test_a_startup_that_fails_on_its_way_is_told_with_its_frames_and_the_server_goes_on(caplog):
    async def app(scope, receive, send):
        await receive()
        conect_database()  # noqa: F821

    caplog.set_level(logging.INFO, "gateway.error")
    live(app)
    (record,) = caplog.records
    text = record.getMessage()
    assert record.levelname == "WARNING"
    assert text.startswith("/api: its lifespan failed")
    assert "test_lifespan.py" in text
    assert "conect_database()" in text
    assert "NameError" in text


def test_an_application_without_lifespan_gets_no_shutdown():
    app = App(startup=RuntimeError("lifespan is not supported"))
    live(app)
    assert app.seen == ["lifespan.startup"]


def test_an_application_that_returns_at_once_has_no_lifespan(caplog):
    live(App(startup=None))
    assert errors(caplog) == []


def test_mode_on_makes_an_exception_an_error():
    with pytest.raises(StartError) as caught:
        live(App(startup=RuntimeError("no such thing")), mode="on")
    text = str(caught.value)
    assert text.startswith("/api: ")
    assert "RuntimeError: no such thing" in text
    assert "test_lifespan.py" in text


def test_mode_off_calls_nothing():
    app = App()
    live(app, mode="off")
    assert app.scope is None


def test_a_startup_that_ends_the_process_is_an_error_of_the_start():
    with pytest.raises(StartError, match="/api"):
        live(App(startup=SystemExit("DATABASE_URL is not set")))


def test_a_failed_shutdown_is_logged_and_nothing_more(caplog):
    live(App(shutdown={"type": "lifespan.shutdown.failed", "message": "still busy"}))
    (text,) = errors(caplog)
    assert "/api" in text
    assert "still busy" in text


def test_an_exception_during_shutdown_is_logged_and_nothing_more(caplog):
    live(App(shutdown=ValueError("half closed")))
    assert len(errors(caplog)) == 1
    assert caplog.records[-1].exc_info[0] is ValueError


def test_a_shutdown_without_answer_is_accepted(caplog):
    live(App(shutdown=None))
    assert errors(caplog) == []


def test_a_shutdown_that_never_ends_is_left_after_the_timeout(caplog):
    class Stuck(App):
        cancelled = False

        async def __call__(self, scope, receive, send):
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise

    app = Stuck()
    live(app, timeout=0.02)
    (text,) = errors(caplog)
    assert "/api" in text
    assert "did not stop in 0.02 s" in text
    assert app.cancelled


def test_a_lifespan_that_dies_between_is_logged(caplog):
    class Dying(App):
        async def __call__(self, scope, receive, send):
            await receive()
            await send({"type": "lifespan.startup.complete"})
            raise ValueError("died")

    live(Dying())
    assert len(errors(caplog)) == 1


def test_a_cancelled_startup_cancels_the_application():
    ended = []

    async def app(scope, receive, send):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def steps():
        lifespan = Lifespan(app, mode="auto", name="/")
        starting = asyncio.ensure_future(lifespan.startup())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)

    asyncio.run(steps())
    assert ended == [True]


@pytest.mark.parametrize("kind", ["lifespan.shutdown.complete", "http.response.start"])
def test_a_message_out_of_turn_raises_in_the_application(kind):
    with pytest.raises(StartError, match=kind):
        live(App(startup={"type": kind}), mode="on")


def test_a_shutdown_that_is_not_waited_for_is_named(caplog):
    class Slow(App):
        async def __call__(self, scope, receive, send):
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await asyncio.Event().wait()

    async def steps():
        lifespan = Lifespan(Slow(), mode="auto", name="/api")
        await lifespan.startup()
        stopping = asyncio.ensure_future(lifespan.shutdown(60.0))
        await asyncio.sleep(0)
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)

    asyncio.run(steps())
    assert errors(caplog) == ["/api: its lifespan was not waited for"]


def test_shutdown_without_startup_does_nothing():
    async def steps():
        app = App()
        await Lifespan(app, mode="auto", name="/").shutdown(1.0)
        return app.scope

    assert asyncio.run(steps()) is None
