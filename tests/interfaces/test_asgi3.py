"""An exchange as ASGI 3's scope, receive and send, without sockets."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fakes import FakeWire, exchange, head

from gateway.exchange import Exchange, ResponseError
from gateway.interfaces.asgi3 import Asgi3Interface
from gateway.interfaces.tls_facts import tls_extension
from interfaces.tls_fakes import nobody


def start(status=200, headers=(), **more):
    return {"type": "http.response.start", "status": status, "headers": headers, **more}


def body(data=b"", more=False):
    return {"type": "http.response.body", "body": data, "more_body": more}


async def hello(scope, receive, send):
    await send(start(headers=[(b"x", b"1")]))
    await send(body(b"hello"))


class Play:
    """One exchange given to one application on a loop of the test's own."""

    def __init__(self, app, request=None, **options):
        self.wire = FakeWire()
        self.exchange = Exchange(request or head(), self.wire)
        self.interface = Asgi3Interface(app, loop=asyncio.get_running_loop(), **options)
        self.interface(self.exchange)

    async def turn(self, times=3):
        """Let the application run as far as it can."""
        for _ in range(times):
            await asyncio.sleep(0)

    async def end(self):
        for call in list(self.interface.calls):
            await asyncio.wait({call.task}, timeout=5)


def play(steps: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(steps())


def answer(app, request=None, **options) -> FakeWire:
    async def steps():
        played = Play(app, request, **options)
        await played.end()
        return played.wire

    return play(steps)


# --- the scope ------------------------------------------------------------------------------------


def scope_of(request=None, **options):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope)
        await hello(scope, receive, send)

    answer(app, request, **options)
    return seen[0]


def test_the_scope_is_the_head():
    request = head("POST", "/a%2Fb?q=1", headers=[(b"x-a", b"1")], scheme="https", version="1.0")
    request.root_path = "/root"
    scope = scope_of(request)
    assert (scope["type"], scope["method"], scope["http_version"]) == ("http", "POST", "1.0")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a/b", b"/a%2Fb", b"q=1")
    assert (scope["root_path"], scope["scheme"]) == ("/root", "https")
    assert (scope["client"], scope["server"]) == (("127.0.0.1", 50000), ("127.0.0.1", 8000))
    assert scope["headers"] == [(b"host", b"testserver"), (b"x-a", b"1")]


def test_the_scope_offers_the_extensions():
    assert set(scope_of()["extensions"]) == {
        "http.response.early_hint",
        "http.response.pathsend",
        "http.response.trailers",
    }


def test_a_tls_connection_has_an_extension_of_its_own():
    request = head(scheme="https")
    request.tls = nobody()
    scope = scope_of(request)
    assert scope["extensions"]["tls"] == tls_extension(nobody())
    assert "http.response.trailers" in scope["extensions"]


def test_the_version_of_the_interface_is_told():
    assert scope_of()["asgi"]["version"] == "3.0"
    assert scope_of(version="2.0")["asgi"]["version"] == "2.0"


def test_state_is_a_copy_for_each_request():
    state = {"pool": object()}
    seen = scope_of(state=state)["state"]
    assert seen == state
    assert seen is not state


def test_without_a_lifespan_there_is_no_state():
    assert "state" not in scope_of()


# --- receive --------------------------------------------------------------------------------------


def test_the_body_comes_in_pieces_as_it_arrives():
    async def steps():
        seen = []

        async def app(scope, receive, send):
            while not seen or seen[-1]["more_body"]:
                seen.append(await receive())
            await hello(scope, receive, send)

        played = Play(app, head("POST", content_length=None))
        await played.turn()
        assert seen == []
        played.exchange.body_received(b"a")
        played.exchange.body_received(b"b")
        await played.turn()
        played.exchange.body_received(b"c")
        played.exchange.body_ended()
        await played.end()
        return seen, played.wire

    seen, wire = play(steps)
    assert seen == [
        {"type": "http.request", "body": b"ab", "more_body": True},
        {"type": "http.request", "body": b"c", "more_body": False},
    ]
    assert wire.consumed_bytes == 3


def test_continue_is_asked_for_by_the_first_receive():
    async def steps():
        gate = asyncio.Event()

        async def app(scope, receive, send):
            await gate.wait()
            await receive()

        request = head("POST", content_length=3, expect_continue=True)
        played = Play(app, request)
        await played.turn()
        before = list(played.wire.informational)
        gate.set()
        await played.turn()
        return before, played.wire.informational

    assert play(steps) == ([], [(100, [])])


def test_after_the_body_receive_waits_for_the_disconnect():
    async def steps():
        seen = []

        async def app(scope, receive, send):
            seen.append((await receive())["type"])
            seen.append((await receive())["type"])

        played = Play(app)
        await played.turn()
        assert seen == ["http.request"]
        played.exchange.lost()
        await played.end()
        return seen

    assert play(steps) == ["http.request", "http.disconnect"]


def test_all_who_receive_hear_of_the_disconnect():
    async def steps():
        async def app(scope, receive, send):
            seen.extend(await asyncio.gather(receive(), receive(), receive()))

        seen: list[dict[str, object]] = []
        played = Play(app, head("POST", content_length=5))
        await played.turn(5)
        played.exchange.lost()
        await played.end()
        return [message["type"] for message in seen]

    assert play(steps) == ["http.disconnect"] * 3


def test_a_receive_under_way_hears_of_the_end_of_the_response():
    async def steps():
        seen = []

        async def app(scope, receive, send):
            await receive()
            listening = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            await hello(scope, receive, send)
            seen.append((await asyncio.wait_for(listening, 1))["type"])

        played = Play(app)
        await played.end()
        return seen

    assert play(steps) == ["http.disconnect"]


def test_a_cancelled_receive_takes_nothing():
    async def steps():
        seen = []

        async def app(scope, receive, send):
            waiting = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.sleep(0)
            seen.append((await receive())["body"])
            await hello(scope, receive, send)

        played = Play(app, head("POST", content_length=3))
        await played.turn(4)
        played.exchange.body_received(b"abc")
        played.exchange.body_ended()
        await played.end()
        return seen

    assert play(steps) == [b"abc"]


# --- send -----------------------------------------------------------------------------------------


def test_head_and_body_leave_in_one_write():
    wire = answer(hello)
    assert wire.names() == ["send_response", "exchange_finished"]
    assert (wire.status, wire.body) == (200, b"hello")


def test_the_head_waits_for_the_first_body():
    async def steps():
        gate = asyncio.Event()

        async def app(scope, receive, send):
            await send(start())
            await gate.wait()
            await send(body())

        played = Play(app)
        await played.turn()
        before = played.wire.names()
        gate.set()
        await played.end()
        return before, played.wire.status

    assert play(steps) == ([], 200)


def test_send_waits_while_the_wire_is_full():
    async def steps():
        sent = []

        async def app(scope, receive, send):
            await send(start())
            for number in range(3):
                await send(body(b"%d" % number, more=True))
                sent.append(number)
            await send(body())

        played = Play(app)
        played.exchange.set_writable(False)
        await played.turn()
        before = list(sent)
        played.exchange.set_writable(True)
        await played.end()
        return before, sent, played.wire.body

    assert play(steps) == ([], [0, 1, 2], b"012")


def test_a_send_that_waits_raises_when_the_client_is_lost():
    async def steps():
        raised = []

        async def app(scope, receive, send):
            await send(start())
            try:
                await send(body(b"x", more=True))
            except OSError as error:
                raised.append(error)

        played = Play(app)
        played.exchange.set_writable(False)
        await played.turn()
        played.exchange.lost()
        await played.end()
        return raised

    assert len(play(steps)) == 1


def test_every_send_to_a_lost_client_raises_oserror():
    async def steps():
        raised = []

        async def app(scope, receive, send):
            while (await receive())["type"] != "http.disconnect":
                pass
            for message in (start(), body(b"x", more=True), body(b"x", more=True)):
                try:
                    await send(message)
                except OSError:
                    raised.append(message["type"])

        played = Play(app)
        await played.turn()
        played.exchange.lost()
        await played.end()
        return raised

    assert play(steps) == ["http.response.start"] + ["http.response.body"] * 2


def test_an_application_that_gives_up_a_send_and_returns_leaves_nothing_open(caplog):
    async def steps():
        async def app(scope, receive, send):
            await send(start())
            try:
                await asyncio.wait_for(send(body(b"x", more=True)), 0.01)
            except TimeoutError:
                return

        played = Play(app)
        played.exchange.set_writable(False)
        await played.end()
        return played

    with caplog.at_level(logging.ERROR, "gateway.error"):
        played = play(steps)
    assert played.exchange.finished
    assert played.wire.aborted


def test_an_application_that_returns_when_the_client_has_left_ends_its_exchange():
    async def steps():
        async def app(scope, receive, send):
            while (await receive())["type"] != "http.disconnect":
                pass

        played = Play(app)
        finished = []
        played.exchange.on_finish.append(finished.append)
        await played.turn()
        played.exchange.peer_closed()
        await played.end()
        return finished

    assert len(play(steps)) == 1


def test_a_half_closed_client_still_gets_its_answer():
    async def steps():
        async def app(scope, receive, send):
            while (await receive())["type"] != "http.disconnect":
                pass
            await hello(scope, receive, send)

        played = Play(app)
        await played.turn()
        played.exchange.peer_closed()
        await played.end()
        return played.wire.body

    assert play(steps) == b"hello"


# --- extensions -----------------------------------------------------------------------------------


def test_trailers_of_several_messages_are_one_section():
    async def app(scope, receive, send):
        await send(start(trailers=True))
        await send(body(b"x"))
        await send(
            {"type": "http.response.trailers", "headers": [(b"a", b"1")], "more_trailers": True}
        )
        await send({"type": "http.response.trailers", "headers": [[b"B", b"2"]]})

    wire = answer(app, head(headers=[(b"te", b"trailers")]))
    assert wire.trailers == [(b"a", b"1"), (b"b", b"2")]
    assert wire.names()[-2:] == ["send_trailers", "exchange_finished"]


def test_early_hints_are_an_interim_response():
    async def app(scope, receive, send):
        await send({"type": "http.response.early_hint", "links": [b"</a>", b"</b>"]})
        await hello(scope, receive, send)

    assert answer(app).informational == [(103, [(b"link", b"</a>"), (b"link", b"</b>")])]


def test_pathsend_of_a_fifo_neither_waits_nor_sends(tmp_path):
    os.mkfifo(tmp_path / "fifo")

    async def app(scope, receive, send):
        await send(start())
        with pytest.raises(ResponseError, match="regular files"):
            await send({"type": "http.response.pathsend", "path": str(tmp_path / "fifo")})
        await send(body(b"instead"))

    assert answer(app).body == b"instead"


def test_pathsend_hands_the_file_to_the_wire(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"content")

    async def app(scope, receive, send):
        await send(start())
        await send({"type": "http.response.pathsend", "path": str(file)})

    async def steps():
        played = Play(app)
        await played.turn()
        played.exchange.file_sent()
        await played.end()
        return played

    played = play(steps)
    assert ("send_file", 0, 7, False) in played.wire.calls
    assert played.wire.header(b"content-length") == b"7"
    assert played.exchange.finished


# --- failures -------------------------------------------------------------------------------------


def errors(caplog):
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_an_exception_before_the_start_is_a_500_and_logged_with_its_traceback(caplog):
    async def app(scope, receive, send):
        raise ValueError("trouble")

    wire = answer(app)
    assert wire.status == 500
    (record,) = errors(caplog)
    assert record.exc_info[0] is ValueError


def test_an_exception_between_start_and_body_is_a_500(caplog):
    async def app(scope, receive, send):
        await send(start(200))
        raise ValueError("trouble")

    assert answer(app).status == 500


def test_an_exception_after_the_first_body_is_a_cut(caplog):
    async def app(scope, receive, send):
        await send(start())
        await send(body(b"x", more=True))
        raise ValueError("trouble")

    wire = answer(app)
    assert (wire.status, wire.aborted) == (200, True)
    assert len(errors(caplog)) == 1


@pytest.mark.parametrize(
    ("messages", "word"),
    [([], "starting"), ([start()], "completing"), ([start(), body(b"x", more=True)], "completing")],
)
def test_an_application_that_returns_too_early_is_told_what_is_missing(caplog, messages, word):
    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    answer(app)
    (record,) = errors(caplog)
    assert word in str(record.exc_info[1])


@pytest.mark.parametrize(
    "error",
    [
        OSError("write failed"),
        ExceptionGroup("tasks", [OSError("write failed")]),
        asyncio.CancelledError(),
    ],
    ids=["oserror", "group", "cancelled"],
)
def test_a_failure_because_the_client_left_is_not_an_error(caplog, error):
    async def steps():
        async def app(scope, receive, send):
            while (await receive())["type"] != "http.disconnect":
                pass
            raise error

        played = Play(app)
        await played.turn()
        played.exchange.lost()
        await played.end()

    play(steps)
    assert errors(caplog) == []


def test_a_failure_of_its_own_is_an_error_though_the_client_left(caplog):
    async def steps():
        async def app(scope, receive, send):
            while (await receive())["type"] != "http.disconnect":
                pass
            raise ValueError("cleanup failed")

        played = Play(app)
        await played.turn()
        played.exchange.lost()
        await played.end()

    play(steps)
    assert len(errors(caplog)) == 1


def test_an_oserror_of_its_own_is_an_error(caplog):
    async def app(scope, receive, send):
        raise OSError("no space left on device")

    assert answer(app).status == 500
    assert len(errors(caplog)) == 1


def test_sys_exit_in_an_application_ends_its_request_only(caplog):
    async def app(scope, receive, send):
        raise SystemExit(4)

    async def steps():
        played = Play(app)
        await played.end()
        return played.wire.status

    assert play(steps) == 500


# --- tasks ----------------------------------------------------------------------------------------


def test_calls_are_known_while_they_run():
    async def steps():
        gate = asyncio.Event()

        async def app(scope, receive, send):
            await hello(scope, receive, send)
            await gate.wait()

        played = Play(app)
        await played.turn()
        running = len(played.interface.calls)
        gate.set()
        await played.end()
        return running, len(played.interface.calls), played.exchange.listener

    assert play(steps) == (1, 0, None)


def test_cancel_ends_what_runs_with_a_500_or_a_cut(caplog):
    async def steps():
        async def app(scope, receive, send):
            if scope["path"] == "/begun":
                await send(start())
                await send(body(b"x", more=True))
            await asyncio.Event().wait()

        silent = Play(app)
        begun = FakeWire()
        silent.interface(exchange(head(target="/begun"), begun))
        await silent.turn()
        count = silent.interface.cancel()
        await silent.end()
        return count, silent.wire.status, begun.aborted

    assert play(steps) == (2, 500, True)
    assert errors(caplog) == []


def test_a_call_that_has_not_begun_is_cancelled_like_the_others(caplog):
    async def steps():
        async def app(scope, receive, send):
            await asyncio.Event().wait()

        played = Play(app)
        count = played.interface.cancel()
        await played.end()
        return count, played.interface.calls, played.wire.status

    assert play(steps) == (1, set(), 500)
    assert errors(caplog) == []


VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


@pytest.mark.parametrize(("reset", "seen"), [(False, "outer"), (True, "unset")])
def test_the_context_of_a_call(reset, seen):
    values = []

    async def app(scope, receive, send):
        values.append(VARIABLE.get())
        VARIABLE.set("inner")
        await hello(scope, receive, send)

    async def steps():
        VARIABLE.set("outer")
        await Play(app, reset_contextvars=reset).end()
        values.append(VARIABLE.get())

    play(steps)
    assert values == [seen, "outer"]


@pytest.mark.parametrize("ending", ["raises", "returns"])
def test_a_task_left_in_receive_has_its_disconnect(ending):
    async def steps():
        left = []

        async def app(scope, receive, send):
            await receive()
            left.append(asyncio.ensure_future(receive()))
            await asyncio.sleep(0)
            if ending == "raises":
                raise ValueError("boom")

        await Play(app).end()
        return await asyncio.wait_for(left[0], 5)

    assert play(steps) == {"type": "http.disconnect"}
