"""What real clients are shown: which version they speak, and what they sent."""

from __future__ import annotations

import hashlib
import json

__all__ = ["app"]

PAGE = b"""<!doctype html><title>gateway</title><link rel="icon" href="data:,"><script>
async function versions(count) {
  const asked = Array.from({length: count}, (_, each) => fetch(`/show?${each}`));
  const shown = await Promise.all((await Promise.all(asked)).map((got) => got.json()));
  return shown.map((each) => each.version).join(" ");
}
async function sum(size) {
  const body = new Uint8Array(size).fill(120);
  return (await (await fetch("/sum", {method: "POST", body})).json()).size;
}
function socket(path) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`wss://${location.host}${path}`, ["one", "two"]);
    const got = [];
    socket.onopen = () => { socket.send("caf\\u00e9"); socket.send("x".repeat(100000)); };
    socket.onmessage = (event) => {
      got.push(event.data);
      if (got.length === 3) socket.close(1000, "done");
    };
    socket.onclose = (event) => resolve({
      hello: got[0], text: got[1], size: got[2]?.length, code: event.code,
      clean: event.wasClean, protocol: socket.protocol, extensions: socket.extensions,
    });
  });
}
</script>"""


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][0]})
        await send({"type": "websocket.send", "text": f"HTTP/{scope['http_version']}"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    if scope["type"] != "http":
        raise RuntimeError("no lifespan here")
    digest, size, more = hashlib.sha256(), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        digest.update(message["body"])
        size += len(message["body"])
        more = message["more_body"]
    seen = {
        "version": scope["http_version"],
        "scheme": scope["scheme"],
        "method": scope["method"],
        "client": scope["client"][0],
        "size": size,
        "sha256": digest.hexdigest(),
        "headers": [
            [name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]
        ],
    }
    page = scope["path"] == "/"
    kind = b"text/html" if page else b"application/json"
    trailers = scope["path"] == "/trailers"
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", kind), (b"x-version", scope["http_version"].encode())],
            "trailers": trailers,
        }
    )
    body = PAGE if page else json.dumps(seen).encode()
    if scope["path"] == "/large":
        body = b"l" * 3_000_000
    await send({"type": "http.response.body", "body": body})
    if trailers:
        await send({"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]})
