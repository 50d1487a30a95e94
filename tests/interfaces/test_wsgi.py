"""What an application may do with start_response, write() and its iterable (PEP 3333)."""

from __future__ import annotations

import asyncio
import contextvars
import json
import re
import sys
import threading
from time import monotonic
from wsgiref.validate import validator

import pytest

from gateway.exchange import ClientGone
from gateway.interfaces.asgi3 import Asgi3Interface
from gateway.middleware.access_log import access_log

from .wsgi_fakes import get, make_head, open_exchange, serving, until

PLAIN = [("Content-Type", "text/plain")]


class Body:
    """An iterable that counts what is asked of it."""

    def __init__(self, chunks, error=None):
        self.chunks = iter(chunks)
        self.error = error
        self.asked = 0
        self.closed = 0
        self.closed_in = None

    def __iter__(self):
        return self

    def __next__(self):
        self.asked += 1
        for chunk in self.chunks:
            return chunk
        if self.error is not None:
            raise self.error
        raise StopIteration

    def close(self):
        self.closed += 1
        self.closed_in = threading.current_thread().name


def answering(body, status="200 OK", headers=PLAIN):
    def app(environ, start_response):
        start_response(status, list(headers))
        return body

    return app


def echo(environ, start_response):
    data = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or -1))
    start_response("200 OK", PLAIN)
    return [data]


# --- the ordinary case --------------------------------------------------------------------------


def test_one_chunk_leaves_in_one_write_with_its_length():
    wire = get(answering([b"Hello"]))
    assert (wire.status, wire.body, wire.writes) == (200, b"Hello", 1)
    assert wire.headers[b"content-length"] == b"5"
    assert wire.headers[b"content-type"] == b"text/plain"


@pytest.mark.parametrize("body", [(b"Hello",), [b"Hel", b"", b"lo"], iter([b"Hel", b"lo"])])
def test_iterables_of_all_kinds(body):
    assert get(answering(body)).body == b"Hello"


@pytest.mark.parametrize("body", [[], [b""], iter([]), (b"", b"")])
def test_empty_bodies(body):
    wire = get(answering(body))
    assert (wire.status, wire.body) == (200, b"")
    assert wire.headers[b"content-length"] == b"0"


def test_start_response_may_be_called_by_the_first_iteration():
    def app(environ, start_response):
        start_response("201 Created", PLAIN)
        yield b"made"

    wire = get(app)
    assert (wire.status, wire.body) == (201, b"made")


def test_repeated_response_fields_stay_apart():
    wire = get(answering([b""], headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=caf\xe9")]))
    assert [v for n, v in wire.header_list if n == b"set-cookie"] == [b"a=1", b"b=caf\xe9"]


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize(
    ("method", "fields", "expected"),
    [
        ("GET", {}, b""),
        ("HEAD", {}, b""),
        ("POST", {"body": b"name=value"}, b"name=value"),
        ("POST", {"body": b"chunked", "content_length": None}, b"chunked"),
    ],
)
def test_passes_the_validator(method, fields, expected, threads, caplog):
    wire = get(validator(echo), b"/a?b=c", method=method, threads=threads, **fields)
    assert (wire.status, wire.body) == (200, expected)
    assert not caplog.records


def test_validator_around_a_mounted_stream(caplog):
    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        return iter([environ["SCRIPT_NAME"].encode(), environ["PATH_INFO"].encode()])

    assert get(validator(app), b"/api/x", root_path="/api").body == b"/api/x"
    assert not caplog.records


def test_a_request_cannot_see_the_context_of_another():
    variable = contextvars.ContextVar("variable", default="unset")

    def app(environ, start_response):
        seen = variable.get()
        variable.set("leaked")
        start_response("200 OK", PLAIN)
        return [seen.encode()]

    async def main():
        async with serving(app, threads=1) as interface:
            for _ in range(2):
                exchange, wire = open_exchange(make_head())
                interface(exchange)
                await wire.finished.wait()
                yield_seen.append(wire.body)

    yield_seen: list[bytes] = []
    asyncio.run(main())
    assert yield_seen == [b"unset", b"unset"]


def test_threads_are_named_after_their_mount():
    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        return [threading.current_thread().name.encode()]

    assert get(app).body == b"gateway-wsgi-/-1"


def test_early_hints():
    def app(environ, start_response):
        environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
        start_response("200 OK", PLAIN)
        return [b""]

    assert get(app).informational == [(103, [(b"link", b"</a.css>; rel=preload")])]


def test_early_hints_after_the_first_chunk_are_ignored(caplog):
    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        yield b"a"
        environ["wsgi.early_hints"]([("Link", "</a.css>")])
        yield b"b"

    wire = get(app)
    assert (wire.body, wire.informational, caplog.records) == (b"ab", [], [])


# --- write() ------------------------------------------------------------------------------------


def test_written_data_precedes_the_iterable():
    def app(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"one ")
        write(b"two ")
        return [b"three"]

    assert get(app).body == b"one two three"


def test_write_refuses_text(caplog):
    def app(environ, start_response):
        start_response("200 OK", PLAIN)("text")
        return []

    assert get(app).status == 500
    assert "bytes, not str" in caplog.text


# --- exc_info -----------------------------------------------------------------------------------


def test_exc_info_replaces_a_response_that_has_not_begun():
    def app(environ, start_response):
        start_response("200 OK", [("X-First", "1")])
        try:
            raise ValueError("late")
        except ValueError:
            start_response("503 Sorry", PLAIN, sys.exc_info())
        return [b"sorry"]

    wire = get(app)
    assert (wire.status, wire.body) == (503, b"sorry")
    assert b"x-first" not in wire.headers


def test_exc_info_is_raised_once_the_response_has_begun(caplog):
    async def main():
        sent = threading.Event()

        def app(environ, start_response):
            write = start_response("200 OK", PLAIN)
            write(b"begun")
            sent.wait()
            try:
                raise ValueError("too late")
            except ValueError:
                start_response("500 Sorry", PLAIN, sys.exc_info())
            return [b"never"]

        async with serving(app) as interface:
            exchange, wire = open_exchange(make_head())
            interface(exchange)
            await until(lambda: wire.writes)
            sent.set()
            await wire.finished.wait()
        return wire

    wire = asyncio.run(main())
    assert (wire.status, wire.body, wire.aborted) == (200, b"begun", True)
    assert "ValueError: too late" in caplog.text


def test_start_response_twice_without_exc_info_fails(caplog):
    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        start_response("200 OK", PLAIN)
        return [b""]

    assert get(app).status == 500
    assert "twice" in caplog.text


# --- failures -----------------------------------------------------------------------------------


def failing(environ, start_response):
    raise LookupError("no such thing")


def test_exception_before_the_start_is_a_500_with_one_traceback(caplog):
    wire = get(failing, b"/a%0Ab")
    assert wire.status == 500
    assert b"no such thing" not in wire.body
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("gateway.error", "ERROR")
    assert record.getMessage() == r'Exception in the application at -: "GET /a\nb"'
    assert "LookupError: no such thing" in caplog.text


def test_exception_after_the_start_cuts_the_response(caplog):
    async def main():
        go_on = threading.Event()

        def app(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b"begun"
            go_on.wait()
            raise LookupError("no more")

        async with serving(app) as interface:
            exchange, wire = open_exchange(make_head())
            interface(exchange)
            await until(lambda: wire.writes)
            go_on.set()
            await wire.finished.wait()
        return wire

    wire = asyncio.run(main())
    assert (wire.status, wire.aborted) == (200, True)
    assert caplog.text.count("LookupError: no more") == 1


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_application_cannot_end_the_server(error, caplog):
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/exit":
            raise error
        start_response("200 OK", PLAIN)
        return [b"alive"]

    async def main():
        async with serving(app, threads=1) as interface:
            wires = []
            for target in (b"/exit", b"/"):
                exchange, wire = open_exchange(make_head(target))
                interface(exchange)
                await wire.finished.wait()
                wires.append(wire)
        return wires

    assert [wire.status for wire in asyncio.run(main())] == [500, 200]


@pytest.mark.parametrize(
    ("status", "headers", "problem"),
    [
        (200, PLAIN, "a status is a str"),
        ("200", PLAIN, "three digits, a space"),
        ("20 OK", PLAIN, "three digits, a space"),
        ("\u0662\u0660\u0660 OK", PLAIN, "three digits, a space"),
        ("100 Continue", PLAIN, "not a final status"),
        ("200 OK", [("X", 1)], "a pair of str"),
        ("200 OK", [(b"X", b"1")], "a pair of str"),
        ("200 OK", ["X: 1"], "a pair of str"),
        ("200 OK", [([], "1")], "a pair of str"),
        ("200 OK", [("X", "\u20ac")], "latin-1"),
        ("200 OK", [("X", "a\r\nSet-Cookie: b")], "control character"),
        ("200 OK", [("X Y", "a")], "not a header name"),
        ("200 OK", [("Content-Length", "five")], "Content-Length"),
    ],
)
def test_bad_status_and_fields_are_a_500_and_explained(status, headers, problem, caplog):
    def app(environ, start_response):
        start_response(status, headers)
        return [b"body"]

    assert get(app).status == 500
    assert len(caplog.records) == 1
    assert problem in caplog.text


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (["text"], "bytes, not str"),
        (iter(["text"]), "bytes, not str"),
        (b"data", "return [data]"),
        (None, "NoneType"),
        ([bytearray(b"x")], "bytes, not bytearray"),
    ],
)
def test_bodies_of_the_wrong_type_are_a_500_and_explained(body, problem, caplog):
    assert get(answering(body)).status == 500
    assert problem in caplog.text


@pytest.mark.parametrize("body", [[b"x"], iter([b"x"]), [], iter([])])
def test_application_that_never_calls_start_response(body, caplog):
    assert get(lambda environ, start_response: body).status == 500
    assert "without calling start_response" in caplog.text


@pytest.mark.parametrize(("body", "which"), [([b"too long"], "longer"), ([b""], "shorter")])
def test_wrong_length_in_one_chunk_is_a_500_and_logged_without_frames(body, which, caplog):
    wire = get(answering(body, headers=[("Content-Length", "3")]), b"/p")
    assert wire.status == 500
    (record,) = caplog.records
    assert record.getMessage() == 'Exception in the application at -: "GET /p"'
    assert f"the body is {which} than" in str(record.exc_info[1])
    assert record.exc_info[2] is None


def test_the_log_has_the_words_of_the_asgi_interface(caplog):
    def wsgi(environ, start_response):
        start_response("200 OK", [("Content-Length", "3")])
        return [b"too long"]

    async def asgi(scope, receive, send):
        headers = [(b"content-length", b"3")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"too long"})

    async def main():
        exchange, wire = open_exchange(make_head(b"/p"))
        Asgi3Interface(asgi, loop=asyncio.get_running_loop())(exchange)
        await wire.finished.wait()

    get(wsgi, b"/p")
    asyncio.run(main())
    first, second = caplog.records
    assert (first.name, first.levelname, first.getMessage()) == (
        second.name, second.levelname, second.getMessage(),
    )  # fmt: skip
    assert repr(first.exc_info[1]) == repr(second.exc_info[1])


def test_stream_longer_than_declared_is_cut_and_not_asked_for_more(caplog):
    body = Body(b"x" * 10 for _ in range(1_000_000))
    wire = get(answering(body, headers=[("Content-Length", "15")]))
    assert wire.aborted or wire.status == 500
    assert body.closed == 1
    assert body.asked < 1_000_000
    assert len(caplog.records) == 1


def test_writer_hears_that_it_broke_the_declared_length(caplog):
    heard = []

    def app(environ, start_response):
        write = start_response("200 OK", [("Content-Length", "3")])
        try:
            for _ in range(1_000_000):
                write(b"more")
        except RuntimeError as error:
            heard.append(str(error))
            raise
        return []

    get(app)
    assert "longer" in heard[0]
    assert len(caplog.records) == 1


# --- close() ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "method", "status"),
    [
        (Body([b"a"]), "GET", 200),
        (Body([]), "GET", 200),
        (Body([b"a"] * 100), "HEAD", 200),
        (Body([], LookupError()), "GET", 500),
        (Body(["text"]), "GET", 500),
    ],
)
def test_close_is_called_once_in_the_thread(body, method, status):
    wire = get(answering(body), method=method)
    assert wire.status == status
    assert body.closed == 1
    assert body.closed_in.startswith("gateway-wsgi-/")


def test_close_is_called_when_start_response_was_not():
    body = Body([b"a"])
    get(lambda environ, start_response: body)
    assert body.closed == 1


def test_failing_close_does_not_spoil_a_complete_response(caplog):
    class Failing(Body):
        def close(self):
            super().close()
            raise OSError("cannot close")

    body = Failing([b"done"])
    wire = get(answering(body))
    assert (wire.status, wire.body, wire.aborted, body.closed) == (200, b"done", False, 1)
    assert "cannot close" in caplog.text


def test_endless_answer_to_head_ends():
    body = Body(iter(lambda: b"x" * 1000, None))
    assert get(answering(body), method="HEAD").body == b""
    assert body.closed == 1


# --- streaming ----------------------------------------------------------------------------------


def test_chunk_is_sent_while_the_next_is_being_made():
    async def main():
        go_on = threading.Event()

        def app(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b"first"
            go_on.wait()
            yield b"second"

        async with serving(app) as interface:
            exchange, wire = open_exchange(make_head())
            interface(exchange)
            await until(lambda: wire.body == b"first")
            go_on.set()
            await wire.finished.wait()
        return wire.body

    assert asyncio.run(main()) == b"firstsecond"


@pytest.mark.parametrize("size", [50, 1000, 16 * 1024, 100 * 1024])
@pytest.mark.parametrize("by", ["iterable", "write"])
def test_application_is_asked_for_128_kib_at_most_while_nobody_reads(by, size):
    asked = 0

    def chunks():
        nonlocal asked
        while asked < 1024 * 1024 + size:
            asked += size
            yield b"x" * size

    def iterating(environ, start_response):
        start_response("200 OK", PLAIN)
        return chunks()

    def writing(environ, start_response):
        write = start_response("200 OK", PLAIN)
        for chunk in chunks():
            write(chunk)
        return []

    async def main():
        app = iterating if by == "iterable" else writing
        async with serving(app) as interface:
            exchange, wire = open_exchange(make_head(), high_water=64 * 1024)
            interface(exchange)
            call = exchange.listener
            await until(lambda: not exchange.writable and call._waiting)
            assert wire.unread <= asked <= 128 * 1024 + size
            while not wire.finished.is_set():
                await until(lambda: not exchange.writable or wire.finished.is_set())
                wire.drain()
        return wire.body

    assert len(asyncio.run(main())) == asked


# --- the client goes away -----------------------------------------------------------------------


def test_gone_while_streaming_stops_the_iteration_and_closes(caplog):
    async def main():
        body = Body(iter(lambda: b"x" * 8192, None))
        async with serving(answering(body)) as interface:
            exchange, _ = open_exchange(make_head(), high_water=64 * 1024)
            interface(exchange)
            call = exchange.listener
            await until(lambda: call._waiting)
            asked = body.asked
            exchange.lost()
            await until(lambda: body.closed)
            assert body.asked == asked
        assert body.closed == 1

    asyncio.run(main())
    assert not caplog.records


def test_gone_while_writing_raises_in_the_application(caplog):
    raised = []

    def app(environ, start_response):
        write = start_response("200 OK", PLAIN)
        try:
            while True:
                write(b"x" * 8192)
        except OSError as error:
            raised.append(type(error))
            raise

    async def main():
        async with serving(app) as interface:
            exchange, _ = open_exchange(make_head(), high_water=64 * 1024)
            interface(exchange)
            call = exchange.listener
            await until(lambda: call._waiting)
            exchange.lost()
            await until(lambda: raised)

    asyncio.run(main())
    assert raised == [ClientGone]
    assert not caplog.records


def test_gone_while_the_application_works(caplog):
    async def main():
        go_on = threading.Event()
        told = []

        def app(environ, start_response):
            told.append(environ["gateway.client_disconnected"]())
            go_on.wait()
            told.append(environ["gateway.client_disconnected"]())
            start_response("200 OK", PLAIN)
            return [b"for nobody"]

        async with serving(app) as interface:
            exchange, wire = open_exchange(make_head())
            interface(exchange)
            await until(lambda: told)
            exchange.lost()
            go_on.set()
            await until(lambda: len(told) == 2)
        assert wire.status is None
        return told

    assert asyncio.run(main()) == [False, True]
    assert not caplog.records


def test_gone_while_waiting_for_a_thread_is_never_run():
    async def main():
        go_on = threading.Event()
        ran = []

        def app(environ, start_response):
            ran.append(environ["PATH_INFO"])
            go_on.wait()
            start_response("200 OK", PLAIN)
            return [b""]

        async with serving(app, threads=1) as interface:
            exchanges = [open_exchange(make_head(b"/%d" % n)) for n in range(3)]
            for exchange, _ in exchanges:
                interface(exchange)
            await until(lambda: ran)
            exchanges[1][0].lost()
            assert interface.pool.waiting == 1
            go_on.set()
            await exchanges[2][1].finished.wait()
        return ran

    assert asyncio.run(main()) == ["/0", "/2"]


def test_a_call_leaves_no_cycle_behind():
    async def main():
        exchange, wire = open_exchange(make_head())
        async with serving(answering([b""])) as interface:
            interface(exchange)
            await wire.finished.wait()
        return exchange.listener

    assert asyncio.run(main()) is None


# --- a full pool, and the end -------------------------------------------------------------------


def test_full_pool_answers_503_with_retry_after():
    async def main():
        go_on = threading.Event()

        def app(environ, start_response):
            go_on.wait()
            start_response("200 OK", PLAIN)
            return [b""]

        async with serving(app, threads=2, queue=3) as interface:
            wires = []
            for _ in range(6):
                exchange, wire = open_exchange(make_head())
                interface(exchange)
                wires.append(wire)
            assert [wire.status for wire in wires] == [None] * 5 + [503]
            go_on.set()
            for wire in wires:
                await wire.finished.wait()
        return wires

    wires = asyncio.run(main())
    assert [wire.status for wire in wires] == [200] * 5 + [503]
    assert wires[5].headers[b"retry-after"] == b"1"


def test_queue_time_is_known_when_the_exchange_finishes():
    async def main():
        go_on = threading.Event()
        waited = []

        def app(environ, start_response):
            go_on.wait()
            start_response("200 OK", PLAIN)
            return [b""]

        async with serving(app, threads=1) as interface:
            for _ in range(2):
                exchange, wire = open_exchange(make_head())
                exchange.on_finish.append(lambda e: waited.append(e.listener.queued))
                interface(exchange)
            await asyncio.sleep(0.01)
            go_on.set()
            await wire.finished.wait()
            pool = interface.pool
            assert (pool.queue_last, pool.queue_max) == (waited[1], max(waited))
            assert pool.queue_total == pytest.approx(sum(waited))
        return waited

    first, second = asyncio.run(main())
    assert 0 <= first < second
    assert second >= 0.01


def test_queue_time_of_a_client_that_left_the_queue_is_what_it_waited():
    async def main():
        go_on = threading.Event()
        waited = []

        def app(environ, start_response):
            go_on.wait()
            start_response("200 OK", PLAIN)
            return [b""]

        async with serving(app, threads=1) as interface:
            running, _ = open_exchange(make_head())
            interface(running)
            await until(lambda: interface.pool.taken)
            waiting, _ = open_exchange(make_head())
            waiting.on_finish.append(lambda e: waited.append(e.listener.queued))
            interface(waiting)
            began = monotonic()
            await until(lambda: monotonic() > began + 0.005)
            waiting.lost()
            go_on.set()
        return waited

    (waited,) = asyncio.run(main())
    assert waited >= 0.005


def test_queue_time_is_none_before_a_request_queues():
    async def main():
        async with serving(answering([b""])) as interface:
            exchange, wire = open_exchange(make_head(method="POST", content_length=3))
            interface(exchange)
            queued = exchange.listener.queued
            exchange.body_received(b"abc")
            exchange.body_ended()
            await wire.finished.wait()
        return queued

    assert asyncio.run(main()) is None


def test_queue_time_is_in_the_access_log():
    async def main():
        lines = []
        async with serving(answering([b""])) as interface:
            for layout in ("%(queue)s", "json"):
                exchange, wire = open_exchange(make_head())
                access_log(interface, lines.append, format=layout)(exchange)
                await wire.finished.wait()
        return lines

    text, facts = asyncio.run(main())
    assert re.fullmatch(r"0\.\d{6}", text)
    assert 0 <= json.loads(facts)["queue_ms"] < 1000


def test_shutdown_finishes_what_was_accepted_and_refuses_the_rest():
    async def main():
        go_on = threading.Event()

        def app(environ, start_response):
            go_on.wait()
            start_response("200 OK", PLAIN)
            return [b"done"]

        async with serving(app, threads=1) as interface:
            accepted = [open_exchange(make_head()) for _ in range(3)]
            for exchange, _ in accepted:
                interface(exchange)
            ending = asyncio.ensure_future(interface.shutdown(5))
            await asyncio.sleep(0)
            late, late_wire = open_exchange(make_head())
            interface(late)
            assert late_wire.status == 503
            go_on.set()
            assert await ending == 0
            assert interface.pool.size == 0
        return [wire.body for _, wire in accepted]

    assert asyncio.run(main()) == [b"done"] * 3


def test_shutdown_waits_for_close_of_the_iterable():
    async def main():
        body = Body([b"done"])
        closing, go_on = threading.Event(), threading.Event()

        def close():
            closing.set()
            go_on.wait()
            body.closed += 1

        body.close = close
        async with serving(answering(body)) as interface:
            exchange, wire = open_exchange(make_head())
            interface(exchange)
            await wire.finished.wait()
            ending = asyncio.ensure_future(interface.shutdown(5))
            await until(closing.is_set)
            assert not ending.done()
            go_on.set()
            assert await ending == 0
        assert body.closed == 1

    asyncio.run(main())


def test_shutdown_gives_up_and_says_what_is_left():
    async def main():
        go_on = threading.Event()

        def app(environ, start_response):
            go_on.wait()
            start_response("200 OK", PLAIN)
            return [b""]

        async with serving(app) as interface:
            exchange, wire = open_exchange(make_head())
            interface(exchange)
            left = await interface.shutdown(0.01)
            go_on.set()
            await wire.finished.wait()
        return left

    assert asyncio.run(main()) == 1


def test_wsgi_errors_reaches_the_error_log(caplog):
    def app(environ, start_response):
        print("watch", "out", file=environ["wsgi.errors"])
        environ["wsgi.errors"].writelines(["two\n", "lines"])
        environ["wsgi.errors"].flush()
        start_response("200 OK", PLAIN)
        return [b""]

    get(app)
    assert [record.getMessage() for record in caplog.records] == ["watch out", "two", "lines"]
    assert {record.name for record in caplog.records} == {"gateway.error"}


def test_wsgi_errors_does_not_carry_a_line_into_the_next_request(caplog):
    def app(environ, start_response):
        environ["wsgi.errors"].write(environ["PATH_INFO"])
        start_response("200 OK", PLAIN)
        return [b""]

    async def main():
        async with serving(app, threads=1) as interface:
            for target in (b"/first", b"/second"):
                exchange, wire = open_exchange(make_head(target))
                interface(exchange)
                await wire.finished.wait()

    asyncio.run(main())
    assert [record.getMessage() for record in caplog.records] == ["/first", "/second"]


@pytest.mark.parametrize("where", ["call", "close"])
def test_wsgi_errors_of_a_failed_request_are_logged(where, caplog):
    def app(environ, start_response):
        body = Body([b""])
        body.close = lambda: print("closing", end="", file=environ["wsgi.errors"])
        if where == "call":
            body.close()
            raise LookupError
        start_response("200 OK", PLAIN)
        return body

    get(app)
    assert "closing" in [record.getMessage() for record in caplog.records]


def test_wsgi_errors_keeps_64_kib_of_an_unfinished_line_at_most(caplog):
    def app(environ, start_response):
        for _ in range(20):
            environ["wsgi.errors"].write("x" * 8192)
        start_response("200 OK", PLAIN)
        return [b""]

    get(app)
    sizes = [len(record.getMessage()) for record in caplog.records]
    assert sizes == [64 * 1024, 64 * 1024, 32 * 1024]


def test_wsgi_errors_refuses_bytes(caplog):
    def app(environ, start_response):
        environ["wsgi.errors"].write(b"bytes")

    assert get(app).status == 500


def test_many_requests_at_once_each_get_their_own_answer():
    def app(environ, start_response):
        start_response("200 OK", PLAIN)
        return iter([environ["PATH_INFO"].encode(), environ["QUERY_STRING"].encode()])

    async def main():
        async with serving(app) as interface:
            wires = {}
            for number in range(500):
                exchange, wire = open_exchange(make_head(b"/%d?%d" % (number, number)))
                interface(exchange)
                wires[number] = wire
                if number % 50 == 0:
                    await asyncio.sleep(0)
            for number, wire in wires.items():
                await wire.finished.wait()
                assert wire.body == b"/%d%d" % (number, number)

    asyncio.run(main())
