"""wsgi.input: collected when short, streamed on demand when long."""

from __future__ import annotations

import asyncio
import io

import pytest

from gateway.exchange import ClientGone
from gateway.interfaces import wsgi_call

from .wsgi_fakes import get, make_head, open_exchange, serving, until

KIB = 1024


def reading(environ, start_response):
    data = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [data]


class Upload:
    """A client that keeps at most one window of bytes on the way, as a transport does."""

    def __init__(self, exchange, wire, total, window=64 * KIB, piece=16 * KIB):
        self.exchange, self.wire = exchange, wire
        self.left, self.window, self.piece = total, window, piece
        self.most_unread = 0
        self.unread = 0
        self.waiting = False
        wire.on_consumed = self.consumed

    def consumed(self, size):
        self.unread -= size
        if not self.waiting:
            self.waiting = True
            asyncio.get_running_loop().call_soon(self.send)

    def send(self):
        self.waiting = False
        while self.left and self.unread < self.window:
            data = b"x" * min(self.piece, self.left)
            self.left -= len(data)
            self.unread += len(data)
            self.most_unread = max(self.most_unread, self.unread)
            self.exchange.body_received(data)
        if not self.left and not self.exchange.body_complete:
            self.exchange.body_ended()


def test_no_body_needs_no_stream():
    def app(environ, start_response):
        assert isinstance(environ["wsgi.input"], io.BytesIO)
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    assert get(app).body == b""


@pytest.mark.parametrize("content_length", [-1, None])
def test_short_body_is_there_before_a_thread_is_taken(content_length):
    async def main():
        async with serving(reading) as interface:
            head = make_head(method="POST", body=b"in pieces", content_length=content_length)
            exchange, wire = open_exchange(head)
            interface(exchange)
            for piece in (b"in ", b"pie", b"ces"):
                exchange.body_received(piece)
                await asyncio.sleep(0)
                assert interface.pool.size == 0
            exchange.body_ended()
            await wire.finished.wait()
        return wire.body

    assert asyncio.run(main()) == b"in pieces"


def test_collected_chunked_body_has_a_content_length():
    def app(environ, start_response):
        start_response("200 OK", [])
        return [environ["CONTENT_LENGTH"].encode()]

    assert get(app, method="POST", body=b"1234567", content_length=None).body == b"7"


@pytest.mark.parametrize("content_length", [-1, None])
def test_long_body_is_streamed(content_length):
    async def main():
        body = bytes(range(256)) * 4 * KIB
        async with serving(reading) as interface:
            head = make_head(method="POST", body=body, content_length=content_length)
            exchange, wire = open_exchange(head)
            interface(exchange)
            for start in range(0, len(body), 50_000):
                exchange.body_received(body[start : start + 50_000])
                await asyncio.sleep(0)
            exchange.body_ended()
            await wire.finished.wait()
        return wire.body == body

    assert asyncio.run(main())


def test_slow_body_of_unknown_length_reaches_the_application(monkeypatch):
    monkeypatch.setattr(wsgi_call, "_LINGER", 0.001)

    def app(environ, start_response):
        start_response("200 OK", [])
        yield environ["wsgi.input"].readline()
        yield environ["wsgi.input"].readline()

    async def main():
        async with serving(app) as interface:
            exchange, wire = open_exchange(make_head(method="POST", content_length=None))
            interface(exchange)
            exchange.body_received(b"ping\n")
            await until(lambda: wire.body == b"ping\n")
            exchange.body_received(b"pong\n")
            exchange.body_ended()
            await wire.finished.wait()
        return wire.body

    assert asyncio.run(main()) == b"ping\npong\n"


def test_upload_is_taken_only_as_the_application_reads_it():
    total = 4 * 1024 * KIB
    reads = []

    def app(environ, start_response):
        size = 0
        while data := environ["wsgi.input"].read(10_000):
            size += len(data)
            reads.append(size)
        start_response("200 OK", [])
        return [b"%d" % size]

    async def main():
        async with serving(app) as interface:
            exchange, wire = open_exchange(make_head(method="POST", content_length=total))
            upload = Upload(exchange, wire, total)
            worst = 0

            def watch(size):
                nonlocal worst
                worst = max(worst, wire.consumed_bytes - (reads[-1] if reads else 0))
                upload.consumed(size)

            wire.on_consumed = watch
            interface(exchange)
            upload.send()
            await wire.finished.wait()
        assert wire.body == b"%d" % total
        assert worst <= 128 * KIB
        assert upload.most_unread <= 80 * KIB

    asyncio.run(main())


def test_unread_upload_is_not_taken():
    async def main():
        go_on = asyncio.Event()
        loop = asyncio.get_running_loop()

        def app(environ, start_response):
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
            start_response("200 OK", [])
            return [b"ignored it"]

        async with serving(app) as interface:
            exchange, wire = open_exchange(make_head(method="POST", content_length=KIB * KIB))
            interface(exchange)
            exchange.body_received(b"x" * 100 * KIB)
            await until(lambda: interface.pool.busy)
            assert wire.consumed_bytes == 0
            go_on.set()
            await wire.finished.wait()
        assert wire.body == b"ignored it"
        assert wire.consumed_bytes == 0

    asyncio.run(main())


def test_lines_of_a_streamed_body():
    lines = [b"line %d\n" % n for n in range(20_000)] + [b"no end"]

    def app(environ, start_response):
        stream = environ["wsgi.input"]
        first = stream.readline()
        part = stream.readline(3)
        rest = stream.readline()
        few = stream.readlines(10)
        start_response("200 OK", [])
        assert [first, part + rest, *few, *stream] == lines
        assert stream.read() == stream.read(5) == stream.readline() == b""
        return [b"same"]

    async def main():
        async with serving(app) as interface:
            body = b"".join(lines)
            exchange, wire = open_exchange(make_head(method="POST", body=body))
            interface(exchange)
            for start in range(0, len(body), 30_000):
                exchange.body_received(body[start : start + 30_000])
            exchange.body_ended()
            await wire.finished.wait()
        return wire.body

    assert asyncio.run(main()) == b"same"


def test_body_in_pieces_of_one_byte():
    async def main():
        async with serving(reading) as interface:
            exchange, wire = open_exchange(make_head(method="POST", content_length=70_000))
            interface(exchange)
            for _ in range(70_000):
                exchange.body_received(b"x")
            exchange.body_ended()
            await wire.finished.wait()
        return len(wire.body)

    assert asyncio.run(main()) == 70_000


def test_100_continue_is_sent_when_the_application_reads_first():
    async def main():
        async with serving(reading) as interface:
            head = make_head(method="POST", body=b"waited", expect_continue=True)
            exchange, wire = open_exchange(head)
            interface(exchange)
            await until(lambda: wire.informational)
            assert wire.informational == [(100, [])]
            exchange.body_received(b"waited")
            exchange.body_ended()
            await wire.finished.wait()
        return wire.body, wire.informational

    assert asyncio.run(main()) == (b"waited", [(100, [])])


def test_no_100_continue_when_the_application_does_not_read():
    def app(environ, start_response):
        start_response("413 Content Too Large", [])
        return [b"no"]

    async def main():
        async with serving(app) as interface:
            head = make_head(method="POST", body=b"never sent", expect_continue=True)
            exchange, wire = open_exchange(head)
            interface(exchange)
            await wire.finished.wait()
        return wire.status, wire.informational

    assert asyncio.run(main()) == (413, [])


def test_wire_that_brings_more_while_it_hears_of_a_reading():
    async def main():
        async with serving(reading) as interface:
            exchange, wire = open_exchange(make_head(method="POST", content_length=26))
            pieces = [b"%c" % letter for letter in b"bcdefghijklmnopqrstuvwxyz"]

            def more(_size):
                if pieces:
                    exchange.body_received(pieces.pop(0))
                elif not exchange.body_complete:
                    exchange.body_ended()

            wire.on_consumed = more
            interface(exchange)
            exchange.body_received(b"a")
            await wire.finished.wait()
        return wire.body

    assert asyncio.run(main()) == b"abcdefghijklmnopqrstuvwxyz"


# --- the client goes away -----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["lost", "peer_closed"])
def test_gone_while_the_application_reads_raises_there(how, caplog):
    raised = []

    def app(environ, start_response):
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            raised.append(error)
            raise
        start_response("200 OK", [])
        return [b""]

    async def main():
        async with serving(app) as interface:
            exchange, _ = open_exchange(make_head(method="POST", content_length=KIB * KIB))
            interface(exchange)
            exchange.body_received(b"x" * 10)
            call = exchange.listener
            await until(lambda: call._hungry)
            getattr(exchange, how)()
            await until(lambda: raised)
            # The pool survives.
            exchange, wire = open_exchange(make_head(method="POST", body=b"next"))
            interface(exchange)
            exchange.body_received(b"next")
            exchange.body_ended()
            await wire.finished.wait()

    asyncio.run(main())
    (error,) = raised
    assert isinstance(error, ClientGone)
    if how == "lost":
        assert not caplog.records


def test_gone_before_the_application_reads(caplog):
    raised = []

    async def main():
        go_on = asyncio.Event()
        loop = asyncio.get_running_loop()

        def app(environ, start_response):
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
            try:
                environ["wsgi.input"].readline()
            except OSError as error:
                raised.append(type(error))
                raise ValueError("cannot parse the form") from error

        async with serving(app) as interface:
            exchange, _ = open_exchange(make_head(method="POST", content_length=KIB * KIB))
            interface(exchange)
            await until(lambda: interface.pool.busy)
            exchange.lost()
            go_on.set()

    asyncio.run(main())
    assert raised == [ClientGone]
    assert not caplog.records


@pytest.mark.parametrize("content_length", [100, None])
def test_gone_while_the_body_is_collected_takes_no_thread(content_length):
    async def main():
        async with serving(reading) as interface:
            head = make_head(method="POST", content_length=content_length)
            exchange, wire = open_exchange(head)
            interface(exchange)
            exchange.body_received(b"half")
            exchange.lost()
            assert interface.pool.taken == 0
        assert wire.finished.is_set()

    asyncio.run(main())


def test_half_closed_while_the_body_is_collected_is_cut():
    async def main():
        async with serving(reading) as interface:
            exchange, wire = open_exchange(make_head(method="POST", content_length=100))
            interface(exchange)
            exchange.body_received(b"half")
            exchange.peer_closed()
        return wire.aborted, interface.pool.taken

    assert asyncio.run(main()) == (True, 0)


def test_half_closed_after_the_body_still_gets_the_response():
    async def main():
        async with serving(reading) as interface:
            exchange, wire = open_exchange(make_head(method="POST", body=b"whole"))
            interface(exchange)
            exchange.body_received(b"whole")
            exchange.body_ended()
            exchange.peer_closed()
            await wire.finished.wait()
        return wire.body

    assert asyncio.run(main()) == b"whole"
