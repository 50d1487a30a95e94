"""The scenarios of the matrix as an ASGI 3 application and as an ASGI 2 one.

`scenarios_wsgi` answers the same paths in the same way.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from urllib.parse import parse_qs

from e2e.apps.board import BOARD

__all__ = ["app2", "app3"]

CHUNK = b"c" * 16384


async def app3(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan here")
    await Scenario(scope, receive, send).run()


def app2(scope):
    async def instance(receive, send):
        await app3(scope, receive, send)

    return instance


class Scenario:
    def __init__(self, scope, receive, send):
        self.scope, self.receive, self.send = scope, receive, send
        query = parse_qs(scope["query_string"].decode())
        self.query = {name: values[0] for name, values in query.items()}
        self.key = self.query.get("key", "")

    async def run(self):
        path = self.scope["path"].removeprefix(self.scope["root_path"])
        name = path.strip("/").partition("/")[0].replace("-", "_") or "hello"
        await getattr(self, name, self.missing)()

    # --- helpers --------------------------------------------------------------------------------

    async def start(self, status=200, headers=()):
        await self.send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def body(self, data=b"", more=False):
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def answer(self, data, status=200, headers=()):
        await self.start(status, [*headers, (b"content-length", b"%d" % len(data))])
        await self.body(data)

    async def chunks(self):
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError("the client left before its request was complete")
            if message["body"]:
                yield message["body"]
            if not message["more_body"]:
                return

    async def gate(self):
        await asyncio.get_running_loop().run_in_executor(None, BOARD.gate(self.key).wait, 20)

    # --- scenarios ------------------------------------------------------------------------------

    async def missing(self):
        await self.answer(b"missing", 404)

    async def hello(self):
        await self.answer(b"Hello", headers=[(b"content-type", b"text/plain")])

    async def path(self):
        await self.scope_of()

    async def scope_of(self):
        scope = self.scope
        seen = {
            "method": scope["method"],
            "scheme": scope["scheme"],
            "root_path": scope["root_path"],
            "path": scope["path"],
            "rest": scope["path"].removeprefix(scope["root_path"]),
            "query": scope["query_string"].decode("latin-1"),
            "client": scope["client"] and scope["client"][0],
            "server": list(scope["server"]),
            "version": scope["http_version"],
            "headers": [
                [name.decode("latin-1"), value.decode("latin-1")]
                for name, value in scope["headers"]
            ],
        }
        await self.answer(json.dumps(seen).encode())

    async def echo(self):
        await self.answer(b"".join([chunk async for chunk in self.chunks()]))

    async def echo_stream(self):
        await self.start()
        async for chunk in self.chunks():
            await self.body(chunk, more=True)
        await self.body()

    async def stream(self):
        await self.start()
        for number in range(int(self.query.get("n", 3))):
            await self.body(b"chunk %d\n" % number, more=True)
        await self.body()

    async def empty_chunks(self):
        await self.start()
        for data in (b"", b"a", b"", b"b", b""):
            await self.body(data, more=True)
        await self.body()

    async def status(self):
        code = int(self.query["code"])
        await self.start(code, [])
        await self.body()

    async def not_modified(self):
        await self.start(304, [(b"etag", b'"x"'), (b"content-length", b"5")])
        await self.body()

    async def fields(self):
        await self.answer(
            b"",
            headers=[
                (b"set-cookie", b"a=1; Path=/"),
                (b"set-cookie", b"b=2; Path=/"),
                (b"x-latin", "caf\xe9".encode("latin-1")),
                (b"x-empty", b""),
                (b"X-Mixed-Case", b"kept"),
            ],
        )

    async def own_fields(self):
        await self.start(
            200,
            [
                (b"Date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
                (b"Server", b"mine"),
                (b"Content-Length", b"2"),
                (b"Connection", b"close"),
                (b"Transfer-Encoding", b"chunked"),
            ],
        )
        await self.body(b"ok")

    async def bad_field(self):
        await self.answer(b"", headers=[(b"x-evil", b"a\r\nset-cookie: b=1")])

    async def early_error(self):
        raise ValueError("early trouble")

    async def late_error(self):
        await self.start()
        await self.body(b"part", more=True)
        await self.gate()
        raise ValueError("late trouble")

    async def two_parts(self):
        await self.start()
        await self.body(b"first", more=True)
        await self.gate()
        await self.body(b"second")

    async def silence(self):
        return

    async def too_short(self):
        await self.start(headers=[(b"content-length", b"10")])
        await self.body(b"short")

    async def too_long(self):
        await self.start(headers=[(b"content-length", b"4")])
        await self.body(b"four", more=True)
        await self.body(b"more", more=True)
        await self.body()

    async def upload(self):
        total, crc = 0, 0
        BOARD.note(self.key, "called")
        try:
            async for chunk in self.chunks():
                total += len(chunk)
                crc = zlib.crc32(chunk, crc)
        finally:
            BOARD.note(self.key, "ended")
        await self.answer(f"{total} {crc}".encode())

    async def download(self):
        left = int(self.query["size"])
        await self.start(headers=[(b"content-length", b"%d" % left)])
        while left:
            data = CHUNK[: min(left, len(CHUNK))]
            left -= len(data)
            await self.body(data, more=bool(left))

    async def flood(self):
        await self.start()
        try:
            while True:
                await self.body(CHUNK, more=True)
                BOARD.count(self.key, len(CHUNK))
        finally:
            BOARD.note(self.key, "ended")

    async def deaf(self):
        BOARD.note(self.key, "called")
        await self.gate()
        async for chunk in self.chunks():
            BOARD.count(self.key, len(chunk))
        await self.answer(b"heard")

    async def wait(self):
        BOARD.note(self.key, "called")
        await self.gate()
        await self.answer(b"waited")

    async def ticks(self):
        await self.start()
        try:
            while True:
                await self.body(b"tick\n", more=True)
                BOARD.note(self.key, "tick")
                await asyncio.sleep(0.02)
        finally:
            BOARD.note(self.key, "ended")

    async def unread(self):
        await self.answer(b"not read")
