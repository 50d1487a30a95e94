"""The scenarios of the matrix as a WSGI application; `scenarios_asgi` says what each is for."""

from __future__ import annotations

import json
import time
import zlib
from http import HTTPStatus
from urllib.parse import parse_qs

from e2e.apps.board import BOARD

__all__ = ["app"]

CHUNK = b"c" * 16384


def app(environ, start_response):
    return Scenario(environ, start_response).run()


class Scenario:
    def __init__(self, environ, start_response):
        self.environ, self.start_response = environ, start_response
        query = parse_qs(environ["QUERY_STRING"])
        self.query = {name: values[0] for name, values in query.items()}
        self.key = self.query.get("key", "")

    def run(self):
        name = self.environ["PATH_INFO"].strip("/").partition("/")[0].replace("-", "_") or "hello"
        return getattr(self, name, self.missing)()

    # --- helpers --------------------------------------------------------------------------------

    def start(self, status=200, headers=()):
        return self.start_response(f"{status} {HTTPStatus(status).phrase}", list(headers))

    def answer(self, data, status=200, headers=()):
        self.start(status, [*headers, ("Content-Length", str(len(data)))])
        return [data]

    def chunks(self):
        while data := self.environ["wsgi.input"].read1(65536):
            yield data

    def gate(self):
        BOARD.gate(self.key).wait(20)

    # --- scenarios ------------------------------------------------------------------------------

    def missing(self):
        return self.answer(b"missing", 404)

    def hello(self):
        return self.answer(b"Hello", headers=[("Content-Type", "text/plain")])

    def path(self):
        return self.scope_of()

    def scope_of(self):
        environ = self.environ
        fields = [
            [name.removeprefix("HTTP_").lower().replace("_", "-"), value]
            for name, value in environ.items()
            if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")
        ]
        script = environ["SCRIPT_NAME"].encode("latin-1").decode()
        rest = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        seen = {
            "method": environ["REQUEST_METHOD"],
            "scheme": environ["wsgi.url_scheme"],
            "root_path": script,
            "path": script + rest,
            "rest": rest,
            "query": environ["QUERY_STRING"],
            "client": environ["REMOTE_ADDR"] or None,
            "server": [environ["SERVER_NAME"], int(environ["SERVER_PORT"])],
            "version": environ["SERVER_PROTOCOL"].removeprefix("HTTP/"),
            "headers": fields,
        }
        return self.answer(json.dumps(seen).encode())

    def echo(self):
        return self.answer(b"".join(self.chunks()))

    def echo_stream(self):
        self.start()
        yield from self.chunks()

    def stream(self):
        self.start()
        for number in range(int(self.query.get("n", 3))):
            yield b"chunk %d\n" % number

    def empty_chunks(self):
        self.start()
        yield from (b"", b"a", b"", b"b", b"")

    def status(self):
        self.start(int(self.query["code"]))
        return []

    def not_modified(self):
        self.start(304, [("ETag", '"x"'), ("Content-Length", "5")])
        return []

    def fields(self):
        return self.answer(
            b"",
            headers=[
                ("Set-Cookie", "a=1; Path=/"),
                ("Set-Cookie", "b=2; Path=/"),
                ("X-Latin", "caf\xe9"),
                ("X-Empty", ""),
                ("X-Mixed-Case", "kept"),
            ],
        )

    def own_fields(self):
        self.start(
            200,
            [
                ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
                ("Server", "mine"),
                ("Content-Length", "2"),
                ("Connection", "close"),
                ("Transfer-Encoding", "chunked"),
            ],
        )
        return [b"ok"]

    def bad_field(self):
        return self.answer(b"", headers=[("X-Evil", "a\r\nset-cookie: b=1")])

    def early_error(self):
        raise ValueError("early trouble")

    def late_error(self):
        self.start()
        yield b"part"
        self.gate()
        raise ValueError("late trouble")

    def two_parts(self):
        self.start()
        yield b"first"
        self.gate()
        yield b"second"

    def silence(self):
        return []

    def too_short(self):
        self.start(headers=[("Content-Length", "10")])
        return [b"short"]

    def too_long(self):
        self.start(headers=[("Content-Length", "4")])
        yield b"four"
        yield b"more"

    def upload(self):
        total, crc = 0, 0
        BOARD.note(self.key, "called")
        try:
            for chunk in self.chunks():
                total += len(chunk)
                crc = zlib.crc32(chunk, crc)
        finally:
            BOARD.note(self.key, "ended")
        return self.answer(f"{total} {crc}".encode())

    def download(self):
        left = int(self.query["size"])
        self.start(headers=[("Content-Length", str(left))])
        while left:
            data = CHUNK[: min(left, len(CHUNK))]
            left -= len(data)
            yield data

    def flood(self):
        self.start()
        try:
            while True:
                yield CHUNK
                BOARD.count(self.key, len(CHUNK))
        finally:
            BOARD.note(self.key, "ended")

    def deaf(self):
        BOARD.note(self.key, "called")
        self.gate()
        for chunk in self.chunks():
            BOARD.count(self.key, len(chunk))
        return self.answer(b"heard")

    def wait(self):
        BOARD.note(self.key, "called")
        self.gate()
        return self.answer(b"waited")

    def ticks(self):
        self.start()
        try:
            while True:
                yield b"tick\n"
                BOARD.note(self.key, "tick")
                time.sleep(0.02)
        finally:
            BOARD.note(self.key, "ended")

    def unread(self):
        return self.answer(b"not read")
