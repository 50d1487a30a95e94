"""What a test asks of a WebSocket, by path, as an ASGI 3 application and as an ASGI 2 one."""

from __future__ import annotations

import asyncio
import json
import os
from urllib.parse import parse_qs

from e2e.apps.board import BOARD

__all__ = ["app2", "app3", "echo"]

CHUNK = b"c" * 16384


async def echo(scope, receive, send):
    """The conformance suite's: every message comes back."""
    if scope["type"] != "websocket":
        raise RuntimeError("no lifespan here")
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        if text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


async def app3(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["shared"] = "from the lifespan"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"plain"})
    else:
        await Scenario(scope, receive, send).run()


def app2(scope):
    async def instance(receive, send):
        await app3(scope, receive, send)

    return instance


class Scenario:
    def __init__(self, scope, receive, send):
        self.scope, self.receive, self.send = scope, receive, send
        query = parse_qs(scope["query_string"].decode("latin-1"))
        self.query = {name: values[0] for name, values in query.items()}
        self.key = self.query.get("key", "")

    async def run(self):
        path = self.scope["path"].removeprefix(self.scope["root_path"])
        name = path.strip("/").partition("/")[0].replace("-", "_") or "echo"
        message = await self.receive()
        assert message == {"type": "websocket.connect"}, message
        await getattr(self, name)()

    # --- helpers --------------------------------------------------------------------------------

    async def accept(self, **more):
        await self.send({"type": "websocket.accept", **more})

    async def text(self, text):
        await self.send({"type": "websocket.send", "text": text})

    async def opened(self):
        """Wait for the test without holding up the loop."""
        await asyncio.get_running_loop().run_in_executor(None, BOARD.gate(self.key).wait, 20)

    def note(self, text):
        BOARD.note(self.key, text)

    async def note_errors(self, message):
        """Send `message`; the name of what that raised is noted."""
        try:
            await self.send(message)
        except Exception as error:
            self.note(f"OSError: {isinstance(error, OSError)} {type(error).__name__}")
        else:
            self.note("sent")

    async def note_disconnect(self):
        """Receive until the end, note it, and whether more comes."""
        while (message := await self.receive())["type"] == "websocket.receive":
            BOARD.count(self.key, len(message.get("bytes") or message.get("text") or ""))
        assert message["type"] == "websocket.disconnect", message
        self.note(f"disconnect {message['code']} {message.get('reason') or ''}".strip())

    # --- handshakes -----------------------------------------------------------------------------

    async def echo(self):
        await self.accept()
        while (message := await self.receive())["type"] == "websocket.receive":
            text = message.get("text")
            if text is not None:
                await self.text(text)
            else:
                await self.send({"type": "websocket.send", "bytes": message["bytes"]})

    async def show(self):
        """The scope as JSON, then the echo."""
        scope = {
            name: value
            for name, value in self.scope.items()
            if isinstance(value, (str, int, list, tuple, dict, type(None))) and name != "headers"
        }
        scope["headers"] = [
            [name.decode(), value.decode("latin-1")] for name, value in self.scope["headers"]
        ]
        scope["raw_path"] = self.scope["raw_path"].decode("latin-1")
        scope["query_string"] = self.scope["query_string"].decode("latin-1")
        await self.accept()
        await self.text(json.dumps(scope, default=repr))
        await self.receive()

    async def choose(self):
        await self.accept(subprotocol=self.query["name"])
        await self.text("chosen")
        await self.receive()

    async def headers(self):
        await self.accept(
            headers=[(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-latin", b"caf\xe9")]
        )
        await self.receive()

    async def bad_header(self):
        await self.note_errors(
            {"type": "websocket.accept", "headers": [(b"x-evil", b"a\r\nset-cookie: evil=1")]}
        )
        raise ValueError("evil header")

    async def late_accept(self):
        self.note("called")
        await self.opened()
        await self.accept()
        await self.note_disconnect()

    async def never_accept(self):
        self.note("called")
        await self.note_disconnect()

    # --- refusals -------------------------------------------------------------------------------

    async def refuse(self):
        await self.send({"type": "websocket.close", "code": 4001})
        await self.note_errors({"type": "websocket.accept"})

    async def deny(self):
        await self.send(
            {
                "type": "websocket.http.response.start",
                "status": 401,
                "headers": [(b"www-authenticate", b"Basic"), (b"content-type", b"text/plain")],
            }
        )
        await self.send(
            {"type": "websocket.http.response.body", "body": b"first ", "more_body": True}
        )
        await self.opened()
        await self.send({"type": "websocket.http.response.body", "body": b"second"})
        self.note("denied")

    async def deny_shortly(self):
        await self.send(
            {
                "type": "websocket.http.response.start",
                "status": 418,
                "headers": [(b"content-length", b"5")],
            }
        )
        await self.send({"type": "websocket.http.response.body", "body": b"short"})

    async def deny_half(self):
        await self.send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await self.send(
            {"type": "websocket.http.response.body", "body": b"part", "more_body": True}
        )
        raise ValueError("denial trouble")

    async def deny_flood(self):
        await self.send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        try:
            while True:
                await self.send(
                    {"type": "websocket.http.response.body", "body": CHUNK, "more_body": True}
                )
                BOARD.count(self.key, len(CHUNK))
        finally:
            self.note("ended")

    async def early_error(self):
        raise ValueError("early trouble")

    async def silence(self):
        """Ends without an answer."""

    # --- ends -----------------------------------------------------------------------------------

    async def late_error(self):
        await self.accept()
        await self.text("before")
        raise ValueError("late trouble")

    async def leave(self):
        """Ends without a close."""
        await self.accept()
        await self.text("before")

    async def close(self):
        await self.accept()
        message = {"type": "websocket.close"}
        if "code" in self.query:
            message["code"] = int(self.query["code"])
        if "reason" in self.query:
            message["reason"] = self.query["reason"]
        await self.send(message)
        await self.note_errors({"type": "websocket.send", "text": "late"})

    async def close_when_told(self):
        await self.accept()
        message = await self.receive()
        assert message["text"] == "close", message
        await self.send({"type": "websocket.close", "code": 4000, "reason": "told"})
        await self.note_disconnect()

    async def watch(self):
        """Receives until the end; then tries to send."""
        await self.accept()
        self.note("accepted")
        await self.note_disconnect()
        await self.note_errors({"type": "websocket.send", "text": "late"})

    async def twice(self):
        """Asks once more after the disconnect, for as long as its gate is closed."""
        await self.accept()
        await self.note_disconnect()
        again = asyncio.ensure_future(self.receive())
        await self.opened()
        if not again.done():
            self.note("nothing")
            again.cancel()
            return
        error = again.exception()
        self.note(type(error).__name__ if error else again.result()["type"])

    async def cancelled(self):
        """Waits for something that never happens."""
        await self.accept()
        self.note("accepted")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.note("cancelled")
            raise

    # --- much data ------------------------------------------------------------------------------

    async def deaf(self):
        """Receives nothing until its gate opens."""
        await self.accept()
        self.note("accepted")
        await self.opened()
        await self.note_disconnect()

    async def count(self):
        """Says how long each message was."""
        await self.accept()
        while (message := await self.receive())["type"] == "websocket.receive":
            data = message.get("bytes")
            await self.text(str(len(message["text"] if data is None else data)))

    async def flood(self):
        await self.accept()
        try:
            while True:
                await self.send({"type": "websocket.send", "bytes": CHUNK})
                BOARD.count(self.key, len(CHUNK))
        except OSError:
            self.note("OSError")
        finally:
            self.note("ended")

    async def push(self):
        """Sends a few messages at once, then waits for the end."""
        await self.accept()
        for number in range(int(self.query["n"])):
            await self.text(f"push {number}")
        await self.note_disconnect()

    async def pid(self):
        """Which process this is, then the echo's silence until the end."""
        await self.accept()
        await self.text(str(os.getpid()))
        while (await self.receive())["type"] == "websocket.receive":
            pass

    async def stubborn(self):
        """Goes on for ever, whatever happens to its socket."""
        await self.accept()
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if self.query.get("cancel") != "ignore":
                    raise

    async def state(self):
        await self.accept()
        await self.text(str(self.scope["state"].get("shared")))
        self.scope["state"]["shared"] = "changed by a socket"
        await self.receive()
