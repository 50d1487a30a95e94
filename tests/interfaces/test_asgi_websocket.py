"""A WebSocket as ASGI 3's scope, receive and send: the real session on a fake wire."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fakes import head
from websocket.fakes import TunnelWire, masked, unmasked

from gateway.exchange import Exchange, ResponseError
from gateway.interfaces.asgi2 import as_asgi3
from gateway.interfaces.asgi3 import Asgi3Interface
from gateway.interfaces.asgi_trace import traced
from gateway.interfaces.tls_facts import tls_extension
from gateway.log import TRACE
from gateway.websocket.codec import BINARY, CLOSE, TEXT
from gateway.websocket.frames import FrameCodec
from gateway.websocket.session import SessionOptions
from interfaces.tls_fakes import nobody

ACCEPT = {"type": "websocket.accept"}
OPTIONS = {
    "codec": FrameCodec,
    "max_size": 1 << 20,
    "max_queue": 32,
    "ping_interval": None,
    "ping_timeout": None,
    "lifetime": None,
    "handshake_timeout": 30.0,
    "deflate": False,
    "shutdown_code": 1012,
}


def upgrade(path="/chat", *, headers=(), **facts):
    fields = [
        (b"connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        *headers,
    ]
    return head("GET", path, headers=fields, upgrade=b"websocket", **facts)


def closing(code: int, reason: str = "") -> bytes:
    return masked(CLOSE, struct.pack("!H", code) + reason.encode())


class Wire(TunnelWire):
    """Tells what went through its tunnel."""

    @property
    def frames(self) -> list[tuple[int, bytes]]:
        """What the server sent: (opcode, payload)."""
        return unmasked(self.body)

    @property
    def close_code(self) -> int | None:
        """Of the server's close frame; None if there is none."""
        return next(
            (int.from_bytes(d[:2], "big") for kind, d in self.frames if kind == CLOSE), None
        )


class Play:
    """One request for a WebSocket given to one application on a loop of the test's own."""

    def __init__(self, app, request=None, *, sessions=OPTIONS, **options):
        self.wire = Wire()
        self.exchange = Exchange(request or upgrade(), self.wire)
        self.ended = 0
        self.exchange.on_finish.append(self._count)
        if sessions is not None:
            options["sessions"] = SessionOptions(**{**OPTIONS, **sessions})
        self.interface = Asgi3Interface(app, loop=asyncio.get_running_loop(), **options)
        self.interface(self.exchange)

    def _count(self, _) -> None:
        self.ended += 1

    async def turn(self, times=3):
        """Let the application run as far as it can."""
        for _ in range(times):
            await asyncio.sleep(0)

    async def peer(self, *data: bytes):
        """The client sends."""
        for each in data:
            self.exchange.body_received(each)
            await self.turn()

    async def end(self):
        for call in list(self.interface.calls):
            await asyncio.wait({call.task}, timeout=5)


def play(steps: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(steps())


def outcome(app, *data: bytes, request=None, **options) -> Play:
    """Run the application to its end against a client that sends `data` after the accept."""

    async def steps():
        played = Play(app, request, **options)
        await played.turn()
        if data:
            await played.peer(*data)
        await played.end()
        return played

    return play(steps)


async def echo(scope, receive, send):
    await receive()
    await send(ACCEPT)
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


def scope_of(request=None, **options):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope)
        await receive()
        await send({"type": "websocket.close"})

    outcome(app, request=request, **options)
    return seen[0]


def failures(caplog) -> list[str]:
    """The exceptions in the log."""
    return [str(record.exc_info[1]) for record in caplog.records if record.exc_info]


# --- the scope ------------------------------------------------------------------------------------


def test_the_scope_is_the_head():
    request = upgrade("/a%2Fb?q=1", headers=[(b"x-a", b"1")])
    request.root_path = "/root"
    scope = scope_of(request)
    assert (scope["type"], scope["http_version"], scope["scheme"]) == ("websocket", "1.1", "ws")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a/b", b"/a%2Fb", b"q=1")
    assert scope["root_path"] == "/root"
    assert (scope["client"], scope["server"]) == (("127.0.0.1", 50000), ("127.0.0.1", 8000))
    assert scope["headers"] == request.headers
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.5"}
    assert scope["subprotocols"] == []
    assert scope["extensions"] == {"websocket.http.response": {}}
    assert "method" not in scope


def test_a_tls_connection_has_an_extension_of_its_own():
    request = upgrade(scheme="https")
    request.tls = nobody()
    assert scope_of(request)["extensions"] == {
        "websocket.http.response": {},
        "tls": tls_extension(nobody()),
    }


def test_https_is_wss():
    assert scope_of(upgrade(scheme="https"))["scheme"] == "wss"


def test_the_subprotocols_are_listed_in_the_clients_order():
    request = upgrade(headers=[(b"sec-websocket-protocol", b"chat.v2, chat.v1")])
    assert scope_of(request)["subprotocols"] == ["chat.v2", "chat.v1"]


def test_state_is_a_copy_for_each_socket():
    state = {"pool": object()}
    seen = scope_of(state=state)["state"]
    assert seen == state
    assert seen is not state


def test_without_a_lifespan_there_is_no_state():
    assert "state" not in scope_of()


def test_an_asgi_2_application_has_websockets():
    def double(scope):
        async def instance(receive, send):
            await echo(scope, receive, send)

        return instance

    played = outcome(
        as_asgi3(double), masked(TEXT, b"hi"), closing(1000), version="2.0", request=upgrade()
    )
    assert played.wire.frames[0] == (TEXT, b"hi")


def test_contextvars_are_reset_if_asked():
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="empty")
    seen = []

    async def app(scope, receive, send):
        seen.append(variable.get())
        await send({"type": "websocket.close"})

    async def steps():
        variable.set("the server's")
        await Play(app, reset_contextvars=True).end()
        await Play(app).end()

    play(steps)
    assert seen == ["empty", "the server's"]


# --- which requests are WebSockets -----------------------------------------------------------------


def test_without_sessions_an_upgrade_is_a_plain_request():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["type"].encode()})

    played = outcome(app, sessions=None)
    assert (played.wire.status, played.wire.body) == (200, b"http")


def test_a_plain_request_is_none():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["type"].encode()})

    assert outcome(app, request=head()).wire.body == b"http"


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (upgrade(headers=[(b"sec-websocket-protocol", b"\x80\xff")]), 400),
        (upgrade(headers=[(b"sec-websocket-key", b"again")]), 400),
        (head("GET", "/", headers=[(b"upgrade", b"websocket")], upgrade=b"websocket"), 400),
        (upgrade(headers=[(b"origin", b"https://evil.example")]), 403),
    ],
    ids=["not ASCII", "two keys", "no key", "origin"],
)
def test_a_malformed_handshake_never_reaches_the_application(request_head, status):
    called = []

    async def app(scope, receive, send):
        called.append(scope)

    played = outcome(app, request=request_head, origins=("https://example.com",))
    assert called == []
    assert (played.wire.status, played.ended) == (status, 1)
    assert not played.interface.calls


def test_another_version_is_told_the_right_one():
    request = upgrade()
    request.headers[:] = [
        (name, b"8" if name == b"sec-websocket-version" else value)
        for name, value in request.headers
    ]
    wire = outcome(echo, request=request).wire
    assert (wire.status, wire.header(b"sec-websocket-version")) == (426, b"13")


def test_the_origins_of_the_mount_are_let_in():
    request = upgrade(headers=[(b"origin", b"https://example.com")])
    played = outcome(echo, closing(1000), request=request, origins=("https://example.com",))
    assert played.wire.status == 101


# --- accept ---------------------------------------------------------------------------------------


def test_the_first_event_is_connect():
    seen = []

    async def app(scope, receive, send):
        seen.append(await receive())
        await send({"type": "websocket.close"})

    outcome(app)
    assert seen == [{"type": "websocket.connect"}]


def test_an_accept_carries_headers_and_the_subprotocol():
    async def app(scope, receive, send):
        await receive()
        await send({**ACCEPT, "subprotocol": "chat", "headers": [[b"X-Room", b"7"]]})

    wire = outcome(app, request=upgrade(headers=[(b"sec-websocket-protocol", b"chat")])).wire
    assert wire.status == 101
    assert wire.header(b"sec-websocket-accept") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert wire.header(b"sec-websocket-protocol") == b"chat"
    assert wire.header(b"x-room") == b"7"


def test_an_accept_may_come_before_the_connect_is_received():
    async def app(scope, receive, send):
        await send(ACCEPT)
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.send", "text": "hi"})

    assert outcome(app).wire.frames[0] == (TEXT, b"hi")


@pytest.mark.parametrize(
    "accept",
    [
        {"subprotocol": "not offered"},
        {"subprotocol": b"chat"},
        {"headers": [(b"x", b"a\r\nb")]},
        {"headers": [("x", "str")]},
        {"headers": 5},
    ],
    ids=["foreign subprotocol", "bytes", "control character", "text", "number"],
)
def test_a_wrong_accept_raises_and_is_a_500(accept, caplog):
    raised = []

    async def app(scope, receive, send):
        try:
            await send({**ACCEPT, **accept})
        except ResponseError as error:
            raised.append(error)
            raise

    request = upgrade(headers=[(b"sec-websocket-protocol", b"chat")])
    assert outcome(app, request=request).wire.status == 500
    assert failures(caplog) == [str(error) for error in raised]
    assert len(raised) == 1


# --- messages -------------------------------------------------------------------------------------


def test_a_message_has_text_or_bytes_and_not_both():
    seen = []

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        seen.extend([await receive(), await receive(), await receive()])

    outcome(app, masked(TEXT, "ü".encode()), masked(BINARY, b"\x00"), masked(TEXT, b""))
    assert seen == [
        {"type": "websocket.receive", "text": "ü"},
        {"type": "websocket.receive", "bytes": b"\x00"},
        {"type": "websocket.receive", "text": ""},
    ]


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        ({"text": "ü"}, (TEXT, "ü".encode())),
        ({"text": "", "bytes": None}, (TEXT, b"")),
        ({"bytes": b"\x00"}, (BINARY, b"\x00")),
        ({"text": None, "bytes": b""}, (BINARY, b"")),
        ({"bytes": bytearray(b"a")}, (BINARY, b"a")),
        ({"bytes": memoryview(b"a")}, (BINARY, b"a")),
    ],
)
def test_a_message_is_one_frame(message, sent):
    async def app(scope, receive, send):
        await send(ACCEPT)
        await send({"type": "websocket.send", **message})

    assert outcome(app).wire.frames[0] == sent


@pytest.mark.parametrize(
    "message",
    [{}, {"text": None}, {"text": b"bytes"}, {"bytes": "text"}, {"text": "a", "bytes": b"a"}],
)
def test_what_is_no_message_raises_and_closes_with_1011(message, caplog):
    async def app(scope, receive, send):
        await send(ACCEPT)
        with pytest.raises(ResponseError):
            await send({"type": "websocket.send", **message})
        await send({"type": "websocket.send", **message})

    assert outcome(app).wire.close_code == 1011
    assert len(failures(caplog)) == 1


def test_messages_that_came_before_the_close_are_given_first():
    seen = []

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        while not seen or seen[-1]["type"] != "websocket.disconnect":
            seen.append(await receive())

    outcome(app, masked(TEXT, b"last") + closing(1001, "bye"))
    assert seen == [
        {"type": "websocket.receive", "text": "last"},
        {"type": "websocket.disconnect", "code": 1001, "reason": "bye"},
    ]


def test_a_message_that_is_there_is_received_without_waiting():
    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await receive()
        coroutine = receive()
        with pytest.raises(StopIteration) as done:
            coroutine.send(None)
        assert done.value.value == {"type": "websocket.receive", "text": "b"}
        coroutine = send({"type": "websocket.send", "text": "c"})
        with pytest.raises(StopIteration):
            coroutine.send(None)

    played = outcome(app, masked(TEXT, b"a") + masked(TEXT, b"b"))
    assert played.wire.frames == [(TEXT, b"c"), (CLOSE, struct.pack("!H", 1000))]


def test_no_message_is_lost_to_a_task_that_was_cancelled():
    seen = []

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        impatient = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        impatient.cancel()
        seen.append((await receive())["text"])

    outcome(app, masked(TEXT, b"a"))
    assert seen == ["a"]


def test_several_tasks_may_receive():
    seen = []

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        both = await asyncio.gather(receive(), receive())
        seen.extend(message["text"] for message in both)

    outcome(app, masked(TEXT, b"a"), masked(TEXT, b"b"))
    assert seen == ["a", "b"]


def test_reading_stops_where_the_application_does_not_receive():
    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await asyncio.Event().wait()

    async def steps():
        played = Play(app, sessions={"max_queue": 2})
        await played.turn()
        one = masked(TEXT, b"x")
        await played.peer(one, one, one, one)
        assert played.wire.consumed_bytes == 2 * len(one)
        played.interface.cancel()
        await played.end()

    play(steps)


# --- send waits -----------------------------------------------------------------------------------


def test_send_waits_while_the_peer_does_not_read():
    notes = []

    async def app(scope, receive, send):
        await send(ACCEPT)
        await send({"type": "websocket.send", "text": "a"})
        notes.append("sent")

    async def steps():
        played = Play(app)
        played.exchange.set_writable(False)
        await played.turn()
        assert (notes, played.wire.frames) == ([], [(TEXT, b"a")])
        played.exchange.set_writable(True)
        await played.end()

    play(steps)
    assert notes == ["sent"]


def test_a_send_that_waits_raises_when_the_peer_is_lost(caplog):
    async def app(scope, receive, send):
        await send(ACCEPT)
        await send({"type": "websocket.send", "text": "a"})

    async def steps():
        played = Play(app)
        played.exchange.set_writable(False)
        await played.turn()
        (call,) = played.interface.calls
        played.exchange.lost()
        await played.end()
        assert call.task.exception() is None

    play(steps)
    assert failures(caplog) == []


def test_others_have_a_turn_while_an_application_sends_without_end():
    async def app(scope, receive, send):
        await send(ACCEPT)
        for _ in range(5000):
            await send({"type": "websocket.send", "text": "x"})

    async def steps():
        played, turns = Play(app), 0
        while played.interface.calls:
            await asyncio.sleep(0)
            turns += 1
        assert 4 <= turns <= 20

    play(steps)


# --- disconnect -----------------------------------------------------------------------------------


def disconnect_of(*data: bytes, lost=False):
    """The event of an application that accepts and receives until the end."""
    seen = []

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        while not seen or seen[-1]["type"] != "websocket.disconnect":
            seen.append(await receive())

    async def steps():
        played = Play(app)
        await played.turn()
        await played.peer(*data)
        if lost:
            played.exchange.lost()
        await played.end()

    play(steps)
    return seen[-1]["code"], seen[-1]["reason"]


def test_a_disconnect_has_the_peers_code_and_reason():
    assert disconnect_of(closing(4001, "bored")) == (4001, "bored")


def test_a_close_frame_without_a_code_is_1005():
    assert disconnect_of(masked(CLOSE, b"")) == (1005, "")


def test_a_lost_connection_is_1006():
    assert disconnect_of(lost=True) == (1006, "")


def test_a_broken_rule_is_told_with_its_code():
    assert disconnect_of(masked(TEXT, b"\xff"))[0] == 1007


def test_an_own_close_is_told_with_its_code():
    seen = []

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await send({"type": "websocket.close", "code": 3000, "reason": "done"})
        seen.append(await receive())

    played = outcome(app)
    assert seen == [{"type": "websocket.disconnect", "code": 3000, "reason": "done"}]
    assert played.wire.frames == [(CLOSE, struct.pack("!H", 3000) + b"done")]


def test_a_task_that_waits_hears_of_an_own_close():
    seen = []

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        other = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await send({"type": "websocket.close"})
        seen.append(await other)

    outcome(app)
    assert seen[0]["type"] == "websocket.disconnect"


def test_a_client_that_leaves_before_the_accept_is_a_disconnect():
    seen = []

    async def app(scope, receive, send):
        seen.append(await receive())
        seen.append(await receive())
        with pytest.raises(OSError, match="closed"):
            await send(ACCEPT)

    async def steps():
        played = Play(app)
        await played.turn()
        played.exchange.lost()
        await played.end()
        return played

    played = play(steps)
    assert seen[1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    assert played.ended == 1


def test_receive_after_the_disconnect_raises(caplog):
    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        while True:  # an application that does not look at the type
            await receive()

    played = outcome(app, closing(1000))
    assert not played.interface.calls
    assert failures(caplog) == []


@pytest.mark.parametrize("message", [{"type": "websocket.send", "text": "x"}, ACCEPT])
def test_send_after_a_disconnect_raises_an_os_error(message, caplog):
    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await receive()
        with pytest.raises(OSError):
            await send(message)
        await send({"type": "websocket.close"})

    played = outcome(app, closing(1000))
    assert (failures(caplog), played.ended) == ([], 1)


@pytest.mark.parametrize("kind", ["websocket.send", "websocket.close"])
def test_send_after_an_own_close_raises_an_os_error(kind, caplog):
    raised = []

    async def app(scope, receive, send):
        await send(ACCEPT)
        await send({"type": "websocket.close"})
        try:
            await send({"type": kind, "text": "late"})
        except OSError as error:
            raised.append(error)
            raise RuntimeError("a framework's own") from error

    assert outcome(app).wire.close_code == 1000
    assert len(raised) == 1
    assert failures(caplog) == []


# --- refusing -------------------------------------------------------------------------------------


def test_a_close_before_the_accept_is_an_empty_403():
    seen = []

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.close", "code": 4000})
        seen.append(await receive())
        with pytest.raises(OSError):
            await send(ACCEPT)

    played = outcome(app)
    assert (played.wire.status, played.wire.body, played.wire.ended) == (403, b"", True)
    assert seen == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]
    assert (played.ended, played.exchange.tunnel) == (1, None)


def denial(status=401, headers=((b"x-why", b"login"),)):
    return {"type": "websocket.http.response.start", "status": status, "headers": headers}


def chunk(body, more=False):
    return {"type": "websocket.http.response.body", "body": body, "more_body": more}


def test_a_denial_is_a_response_of_the_applications_own():
    async def app(scope, receive, send):
        await receive()
        await send(denial())
        await send(chunk(b"log in first"))

    played = outcome(app)
    assert (played.wire.status, played.wire.body) == (401, b"log in first")
    assert played.wire.header(b"x-why") == b"login"
    assert (played.ended, played.exchange.tunnel) == (1, None)


def test_the_body_of_a_denial_is_streamed_with_backpressure():
    notes = []

    async def app(scope, receive, send):
        await send(denial())
        await send(chunk(b"a", more=True))
        await send(chunk(b"b", more=True))
        notes.append("sent")
        await send(chunk(b"c"))

    async def steps():
        played = Play(app)
        played.exchange.set_writable(False)
        await played.turn()
        assert (played.wire.body, notes) == (b"a", [])
        played.exchange.set_writable(True)
        await played.end()
        assert (played.wire.body, played.wire.ended) == (b"abc", True)

    play(steps)


def test_a_denial_may_take_longer_than_the_handshake():
    async def app(scope, receive, send):
        await receive()
        await send(denial())
        await receive()

    async def steps():
        played = Play(app)
        assert played.wire.deadline == 30.0
        await played.turn()
        assert played.wire.deadline is None
        played.exchange.lost()
        await played.end()

    play(steps)


def test_a_client_that_leaves_within_a_denial_is_a_disconnect(caplog):
    seen = []

    async def app(scope, receive, send):
        await receive()
        await send(denial())
        await send(chunk(b"a", more=True))
        seen.append(await receive())
        await send(chunk(b"b"))

    async def steps():
        played = Play(app)
        await played.turn()
        played.exchange.lost()
        await played.end()

    play(steps)
    assert seen == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]
    assert failures(caplog) == []


@pytest.mark.parametrize(
    ("parts", "status", "cut"),
    [([denial()], 500, False), ([denial(), chunk(b"a", more=True)], 401, True)],
    ids=["without a body", "without its end"],
)
def test_a_denial_that_is_not_completed_is_logged_and_ended(parts, status, cut, caplog):
    async def app(scope, receive, send):
        for part in parts:
            await send(part)

    played = outcome(app)
    assert (played.wire.status, played.wire.aborted) == (status, cut)
    assert failures(caplog) == ["the application returned without completing its response"]


# --- order ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ([{"type": "websocket.send", "text": "x"}], "before the accept"),
        ([chunk(b"x")], "before the accept"),
        ([{"type": "http.response.start", "status": 200}], "before the accept"),
        ([ACCEPT, ACCEPT], "after the accept"),
        ([ACCEPT, denial()], "after the accept"),
        ([ACCEPT, chunk(b"x")], "after the accept"),
        ([ACCEPT, {"type": "websocket.sent"}], "after the accept"),
        ([denial(), ACCEPT], "in a denial"),
        ([denial(), denial()], "in a denial"),
        ([denial(), {"type": "websocket.send", "text": "x"}], "in a denial"),
    ],
)
def test_a_message_out_of_order_raises_and_is_logged(messages, place, caplog):
    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    played = outcome(app)
    kind = messages[-1]["type"]
    assert failures(caplog) == [f"{kind!r} is not a message to be sent {place}"]
    assert played.wire.close_code == 1011 if messages[0] == ACCEPT else played.wire.status == 500


@pytest.mark.parametrize(
    "close", [{"code": 1005}, {"code": "1000"}, {"code": 99}, {"reason": b"x"}]
)
def test_a_close_that_may_not_be_sent_raises(close, caplog):
    async def app(scope, receive, send):
        await send(ACCEPT)
        await send({"type": "websocket.close", **close})

    assert outcome(app).wire.close_code == 1011
    assert len(failures(caplog)) == 1


def test_a_close_without_a_reason_may_say_none():
    async def app(scope, receive, send):
        await send(ACCEPT)
        await send({"type": "websocket.close", "code": 1001, "reason": None})

    assert outcome(app).wire.frames == [(CLOSE, struct.pack("!H", 1001))]


# --- what the application leaves open --------------------------------------------------------------


def test_an_exception_before_the_accept_is_a_500(caplog):
    async def app(scope, receive, send):
        raise ZeroDivisionError("mine")

    played = outcome(app)
    assert (played.wire.status, played.ended) == (500, 1)
    assert failures(caplog) == ["mine"]


def test_an_exception_after_the_accept_closes_with_1011_and_is_logged_once(caplog):
    async def app(scope, receive, send):
        await send(ACCEPT)
        raise ZeroDivisionError("mine")

    played = outcome(app)
    assert played.wire.close_code == 1011
    assert failures(caplog) == ["mine"]
    assert '"GET /chat"' in caplog.text


def test_an_exception_after_the_disconnect_is_logged_too(caplog):
    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await receive()
        raise ZeroDivisionError("in its cleaning up")

    outcome(app, closing(1000))
    assert failures(caplog) == ["in its cleaning up"]


def test_a_group_of_os_errors_after_the_disconnect_is_nobodys_failure(caplog):
    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await receive()
        async with asyncio.TaskGroup() as group:
            group.create_task(send({"type": "websocket.send", "text": "x"}))

    outcome(app, closing(1000))
    assert failures(caplog) == []


def test_a_return_after_the_accept_closes_with_1000(caplog):
    async def app(scope, receive, send):
        await send(ACCEPT)

    assert outcome(app).wire.close_code == 1000
    assert failures(caplog) == []


def test_a_return_before_the_accept_is_a_500(caplog):
    async def app(scope, receive, send):
        await receive()

    assert outcome(app).wire.status == 500
    assert failures(caplog) == ["the application returned without accepting or closing"]


def test_the_closing_handshake_goes_on_after_the_application():
    async def app(scope, receive, send):
        await send(ACCEPT)

    played = outcome(app)
    assert not played.exchange.finished
    played.exchange.body_received(closing(1000))
    assert (played.wire.ended, played.ended) == (True, 1)


def test_a_task_left_behind_does_not_wait_for_ever():
    left = []

    async def app(scope, receive, send):
        await receive()
        left.append(asyncio.ensure_future(receive()))
        await asyncio.sleep(0)
        await send({"type": "websocket.close"})

    async def steps():
        await Play(app).end()
        return await asyncio.wait_for(left[0], 5)

    assert play(steps)["type"] == "websocket.disconnect"


# --- the end of a drain ----------------------------------------------------------------------------


def test_calls_are_counted_until_the_application_returns():
    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await receive()

    async def steps():
        played = Play(app)
        await played.turn()
        assert len(played.interface.calls) == 1
        await played.peer(closing(1000))
        assert not played.interface.calls

    play(steps)


@pytest.mark.parametrize("code", [1012, 1001])
def test_a_call_that_is_cancelled_closes_with_the_servers_code(code, caplog):
    async def app(scope, receive, send):
        await send(ACCEPT)
        await asyncio.Event().wait()

    async def steps():
        played = Play(app, sessions={"shutdown_code": code})
        await played.turn()
        assert played.interface.cancel() == 1
        await played.end()
        return played

    assert play(steps).wire.close_code == code
    assert failures(caplog) == []


def test_a_call_that_is_cancelled_before_its_accept_ends(caplog):
    async def app(scope, receive, send):
        await asyncio.Event().wait()

    async def steps():
        played = Play(app)
        await played.turn()
        played.interface.cancel()
        await played.end()
        return played

    assert play(steps).wire.status == 500
    assert failures(caplog) == []


def test_a_call_that_has_not_begun_is_cancelled_like_the_others(caplog):
    async def app(scope, receive, send):
        await asyncio.Event().wait()

    async def steps():
        played = Play(app)
        played.interface.cancel()
        await played.end()
        return played

    played = play(steps)
    assert (played.interface.calls, played.wire.status) == (set(), 500)
    assert failures(caplog) == []


def test_a_call_whose_socket_was_cut_already_ends_quietly(caplog):
    async def app(scope, receive, send):
        await send(ACCEPT)
        await asyncio.Event().wait()

    async def steps():
        played = Play(app)
        await played.turn()
        played.exchange.abort()
        played.interface.cancel()
        await played.end()
        return played

    assert play(steps).ended == 1
    assert failures(caplog) == []


def test_a_shutdown_is_a_disconnect_for_the_application():
    seen = []

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        seen.append(await receive())

    async def steps():
        played = Play(app)
        await played.turn()
        played.exchange.tunnel.on_shutdown()
        await played.end()

    play(steps)
    assert seen == [{"type": "websocket.disconnect", "code": 1012, "reason": ""}]


# --- trace ----------------------------------------------------------------------------------------


def test_messages_are_in_the_log_at_level_trace(caplog):
    caplog.set_level(TRACE, logger="gateway.error")
    outcome(traced(echo, "/chat"), masked(TEXT, b"secret"), masked(BINARY, b"\x00"), closing(1001))
    lines = [record.getMessage() for record in caplog.records if record.levelno == TRACE]
    assert lines[1:] == [
        "/chat ASGI [1] receive {'type': 'websocket.connect'}",
        "/chat ASGI [1] send {'type': 'websocket.accept'}",
        "/chat ASGI [1] receive {'type': 'websocket.receive', 'text': '<6 characters>'}",
        "/chat ASGI [1] send {'type': 'websocket.send', 'text': '<6 characters>'}",
        "/chat ASGI [1] receive {'type': 'websocket.receive', 'bytes': '<1 bytes>'}",
        "/chat ASGI [1] send {'type': 'websocket.send', 'bytes': '<1 bytes>'}",
        "/chat ASGI [1] receive {'type': 'websocket.disconnect', 'code': 1001, 'reason': ''}",
        "/chat ASGI [1] completed",
    ]
    assert all(record.levelno < logging.ERROR for record in caplog.records)
