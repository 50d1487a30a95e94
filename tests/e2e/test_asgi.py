"""The ASGI specification over real sockets: receive and send, extensions, lifespan, the end."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

from e2e.apps.board import BOARD
from e2e.client import ConnectionCut, Http1Socket


@pytest.fixture
def run(serve, key):
    """Serve one ASGI function of (scope, receive, send); gives a connection to it."""
    opened = []

    def start(app, **settings):
        async def http_only(scope, receive, send):
            if scope["type"] != "http":
                raise RuntimeError("no lifespan here")
            await app(scope, receive, send)

        server = serve(http_only, **settings)
        opened.append(Http1Socket(("127.0.0.1", server.port)))
        return opened[-1]

    yield start
    for connection in opened:
        connection.close()


def start(status=200, headers=(), **more):
    return {"type": "http.response.start", "status": status, "headers": headers, **more}


def body(data=b"", more=False):
    return {"type": "http.response.body", "body": data, "more_body": more}


async def hello(scope, receive, send):
    await send(start())
    await send(body(b"hello"))


def ask(connection, target="/", *lines, method="GET"):
    connection.send_request(method, target, *lines)
    return connection.response(method)


# --- the scope ------------------------------------------------------------------------------------


def test_the_scope_has_what_the_specification_asks_for(run):
    seen = []

    async def app(scope, receive, send):
        seen.append(dict(scope))
        await hello(scope, receive, send)

    connection = run(app)
    assert ask(connection, "/caf%C3%A9?q=%20", "X-Upper: Kept").status == 200
    (scope,) = seen
    assert scope["type"] == "http"
    assert scope["asgi"]["version"] == "3.0"
    assert scope["asgi"]["spec_version"].startswith("2.")
    assert (scope["http_version"], scope["method"], scope["scheme"]) == ("1.1", "GET", "http")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (
        "/caf\xe9",
        b"/caf%C3%A9",
        b"q=%20",
    )
    assert scope["root_path"] == ""
    assert list(map(tuple, scope["headers"])) == [(b"host", b"test"), (b"x-upper", b"Kept")]
    assert scope["client"] == connection.socket.getsockname()
    assert scope["server"] == connection.socket.getpeername()


# --- receive --------------------------------------------------------------------------------------


def test_a_request_without_body_is_one_empty_message(run):
    seen = []

    async def app(scope, receive, send):
        seen.append(await receive())
        await hello(scope, receive, send)

    ask(run(app))
    assert seen == [{"type": "http.request", "body": b"", "more_body": False}]


def test_receive_waits_for_the_end_of_the_response_then_disconnects(run, key):
    async def app(scope, receive, send):
        await receive()
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        BOARD.note(key, f"early: {waiting.done()}")
        await hello(scope, receive, send)
        BOARD.note(key, (await waiting)["type"])
        BOARD.note(key, f"again: {(await receive())['type']}")

    assert ask(run(app)).body == b"hello"
    BOARD.wait(key, "again: http.disconnect")
    assert BOARD.notes(key) == ["early: False", "http.disconnect", "again: http.disconnect"]


def test_a_client_that_leaves_is_seen_by_receive_within_a_second(run, key, log):
    async def app(scope, receive, send):
        await receive()
        BOARD.note(key, "called")
        BOARD.note(key, (await receive())["type"])

    connection = run(app)
    connection.send_request("GET", "/")
    BOARD.wait(key, "called")
    connection.close()
    BOARD.wait(key, "http.disconnect", timeout=1.0)
    assert log.errors == []


def test_a_client_that_leaves_frees_its_place(run, key):
    async def app(scope, receive, send):
        if scope["path"] == "/":
            await hello(scope, receive, send)
            return
        await receive()
        BOARD.note(key, "called")
        await receive()
        BOARD.note(key, "told")

    leaving = run(app, limit_concurrency=1)
    address = leaving.socket.getpeername()
    leaving.send_request("GET", "/wait")
    BOARD.wait(key, "called")
    leaving.end_sending()
    BOARD.wait(key, "told")
    assert leaving.is_closed()
    with Http1Socket(address) as connection:
        assert ask(connection).status == 200


def test_a_client_that_leaves_during_its_body_is_seen_by_receive(run, key, log):
    async def app(scope, receive, send):
        while (message := await receive())["type"] == "http.request":
            BOARD.note(key, f"{len(message['body'])} {message['more_body']}")
        BOARD.note(key, message["type"])

    connection = run(app)
    connection.send_request("POST", "/", "content-length: 10")
    connection.send(b"half")
    BOARD.wait(key, "4 True")
    connection.close()
    BOARD.wait(key, "http.disconnect", timeout=1.0)
    assert log.errors == []


def test_two_tasks_may_receive_at_once(run, key):
    async def app(scope, receive, send):
        first, second = await asyncio.gather(receive(), receive())
        BOARD.note(key, f"{first['type']} {second['type']}")

    connection = run(app)
    connection.send_request("POST", "/", "content-length: 1")
    connection.close()
    BOARD.wait(key, "http.disconnect http.disconnect")


def test_one_task_receives_while_another_sends(run):
    async def app(scope, receive, send):
        await send(start())

        async def pump():
            await send(body((await receive())["body"], more=True))

        pumping = asyncio.ensure_future(pump())
        await send(body(b"sent", more=True))
        await pumping
        await send(body())

    connection = run(app)
    connection.send_request("POST", "/", "content-length: 3")
    connection.response_head()
    assert connection.exactly(9) == b"4\r\nsent\r\n"
    connection.send(b"abc")
    assert connection.exactly(13) == b"3\r\nabc\r\n0\r\n\r\n"


# --- send -----------------------------------------------------------------------------------------


def test_send_raises_oserror_after_a_disconnect_and_nothing_is_logged(run, key, log):
    async def app(scope, receive, send):
        await send(start())
        await send(body(b"first", more=True))
        BOARD.note(key, "called")
        while (await receive())["type"] != "http.disconnect":
            pass
        try:
            for _ in range(100):
                await send(body(b"more", more=True))
                await asyncio.sleep(0.01)
        except OSError:
            BOARD.note(key, "oserror")
            raise

    connection = run(app)
    connection.send_request("GET", "/")
    BOARD.wait(key, "called")
    connection.reset()
    BOARD.wait(key, "oserror", timeout=2.0)
    assert log.errors == []


def test_a_send_that_waits_for_the_client_ends_when_it_leaves(run, key, log):
    async def app(scope, receive, send):
        await send(start())
        BOARD.note(key, "called")
        try:
            while True:
                await send(body(b"x" * 65536, more=True))
        except OSError:
            BOARD.note(key, "oserror")

    connection = run(app)
    connection.send_request("GET", "/")
    BOARD.wait(key, "called")
    connection.reset()
    BOARD.wait(key, "oserror", timeout=1.0)
    assert log.errors == []


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([body(b"x")], "before the response was started"),
        ([start(), start()], "started twice"),
        ([{"type": "http.response.nonsense"}], "nonsense"),
        ([start(status="200"), body()], "status"),
        ([start(status=99), body()], "99 is not"),
        ([start(headers=[("a", "b")]), body()], "bytes"),
        ([start(headers=[(b"a b", b"c")]), body()], "header name"),
        ([start(headers=[(b"a", b"b\nc")]), body()], "control character"),
        ([start(headers=[(b"content-length", b"x")]), body()], "Content-Length"),
        ([start(), body("text")], "bytes"),
        ([start(headers=5), body()], "headers"),
        ([{"type": "http.response.start"}, body()], "status"),
        ([{"no": "type"}], "type"),
    ],
    ids=[
        "body-first", "start-twice", "unknown", "status-text", "status-99", "header-text",
        "header-name", "header-control", "length", "body-text", "headers-5", "no-status", "no-type",
    ],
)  # fmt: skip
def test_a_wrong_message_raises_and_is_a_500(run, key, log, messages, problem):
    calls = []

    async def app(scope, receive, send):
        calls.append(1)
        if len(calls) > 1:
            await hello(scope, receive, send)
            return
        for message in messages:
            await send(message)

    connection = run(app)
    response = ask(connection)
    assert response.status == 500
    assert problem in repr(log.wait(problem).exc_info[1])
    assert ask(connection).body == b"hello"  # the server goes on, on this connection too


def test_a_wrong_message_after_the_start_is_a_cut(run, log):
    async def app(scope, receive, send):
        await send(start())
        await send(body(b"x", more=True))
        await send(start())

    connection = run(app)
    with pytest.raises(ConnectionCut):
        ask(connection)
    log.wait("started twice")


def test_send_after_the_end_raises(run, key, log):
    async def app(scope, receive, send):
        await hello(scope, receive, send)
        try:
            await send(body(b"more"))
        except RuntimeError as error:
            BOARD.note(key, str(error))

    assert ask(run(app)).body == b"hello"
    BOARD.wait(key, "the response is already complete")


def test_values_of_kin_types_are_taken(run):
    async def app(scope, receive, send):
        await send(
            {"type": "http.response.start", "status": 200, "headers": ([b"a", b"1"], (b"b", b"2"))}
        )
        await send({"type": "http.response.body", "body": bytearray(b"x"), "more_body": True})
        await send({"type": "http.response.body", "body": memoryview(b"y"), "more_body": True})
        await send({"type": "http.response.body"})

    response = ask(run(app))
    assert (response.header("a"), response.header("b"), response.body) == ("1", "2", b"xy")


def test_headers_may_be_left_out(run):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 201})
        await send({"type": "http.response.body"})

    assert ask(run(app)).status == 201


def test_an_exception_after_the_end_is_logged_and_harms_nobody(run, log):
    async def app(scope, receive, send):
        await hello(scope, receive, send)
        raise ValueError("afterwards")

    connection = run(app)
    assert ask(connection).body == b"hello"
    log.wait("afterwards")
    assert ask(connection).body == b"hello"


def test_sys_exit_in_an_application_is_a_500(run, log):
    async def app(scope, receive, send):
        if scope["path"] == "/exit":
            raise SystemExit(1)
        await hello(scope, receive, send)

    connection = run(app)
    assert ask(connection, "/exit").status == 500
    assert ask(connection).body == b"hello"
    assert log.errors


def test_a_cancelled_application_is_a_500(run):
    async def app(scope, receive, send):
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    assert ask(run(app)).status == 500


# --- extensions -----------------------------------------------------------------------------------


def test_trailers(run):
    async def app(scope, receive, send):
        assert "http.response.trailers" in scope["extensions"]
        await send(start(headers=[(b"trailer", b"x-sum, x-b")], trailers=True))
        await send(body(b"data"))
        await send(
            {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": True}
        )
        await send({"type": "http.response.trailers", "headers": [(b"x-b", b"2")]})

    connection = run(app)
    for _ in range(2):
        response = ask(connection, "/", "te: trailers")
        assert (response.body, response.trailers) == (b"data", [("x-sum", "1"), ("x-b", "2")])


def test_early_hints(run):
    async def app(scope, receive, send):
        assert "http.response.early_hint" in scope["extensions"]
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
        await hello(scope, receive, send)

    connection = run(app)
    response = ask(connection)
    assert response.interim == [(103, [("link", "</a.css>; rel=preload")])]
    assert response.body == b"hello"
    connection.send_request("GET", "/", version="1.0")
    assert connection.response().interim == []


def test_pathsend(run, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"0123456789" * 100_000)

    async def app(scope, receive, send):
        assert "http.response.pathsend" in scope["extensions"]
        await send(start(headers=[(b"content-type", b"text/x")]))
        await send({"type": "http.response.pathsend", "path": str(file)})

    connection = run(app)
    for _ in range(2):
        response = ask(connection)
        assert response.body == file.read_bytes()
        assert response.header("content-length") == "1000000"
    assert ask(connection, method="HEAD").header("content-length") == "1000000"
    assert ask(connection).body == file.read_bytes()


def test_pathsend_of_a_missing_file_is_a_500(run, log):
    async def app(scope, receive, send):
        await send(start())
        await send({"type": "http.response.pathsend", "path": "/does/not/exist"})

    assert ask(run(app)).status == 500
    log.wait("/does/not/exist")


# --- lifespan and context -------------------------------------------------------------------------


def with_state(name):
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["name"] = name
            scope["state"]["list"] = []
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        state = scope["state"]
        state["list"].append(1)
        seen = f"{state['name']} {'mine' in state} {len(state['list'])}"
        state["mine"] = True
        await send(start())
        await send(body(seen.encode()))

    return app


def test_lifespan_state_is_per_application_and_copied_per_request(serve):
    server = serve(mounts={"/a": with_state("a"), "/b": with_state("b")})
    with Http1Socket(("127.0.0.1", server.port)) as connection:
        assert ask(connection, "/a").body == b"a False 1"
        assert ask(connection, "/a").body == b"a False 2"
        assert ask(connection, "/b").body == b"b False 1"


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


async def sets_variable(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    before = VARIABLE.get()
    VARIABLE.set("from a request")
    await send(start())
    await send(body(before.encode()))


@pytest.mark.parametrize("reset", [True, False])
def test_requests_of_one_connection_do_not_see_each_others_context(serve, reset):
    server = serve(sets_variable, reset_contextvars=reset)
    with Http1Socket(("127.0.0.1", server.port)) as connection:
        for _ in range(3):
            assert ask(connection).body == b"unset"


def test_work_after_the_response_holds_neither_client_nor_connection(run, key):
    async def app(scope, receive, send):
        await hello(scope, receive, send)
        if scope["path"] == "/work":
            await asyncio.get_running_loop().run_in_executor(None, BOARD.gate(key).wait, 10)
            BOARD.note(key, "done")

    connection = run(app)
    assert ask(connection, "/work").body == b"hello"
    assert ask(connection).body == b"hello"
    assert BOARD.notes(key) == []
    BOARD.gate(key).set()
    BOARD.wait(key, "done")


def test_work_after_the_response_is_awaited_at_the_stop(key):
    from e2e.conftest import make_server

    async def app(scope, receive, send):
        if scope["type"] != "http":
            raise RuntimeError("no lifespan here")
        await hello(scope, receive, send)
        BOARD.note(key, "answered")
        await asyncio.get_running_loop().run_in_executor(None, BOARD.gate(key).wait, 10)
        BOARD.note(key, "done")

    server = make_server(app).start_in_thread()
    with Http1Socket(("127.0.0.1", server.port)) as connection:
        assert ask(connection).body == b"hello"
    BOARD.wait(key, "answered")
    server.should_exit = True
    BOARD.gate(key).set()
    server.stop()
    assert BOARD.notes(key) == ["answered", "done"]
