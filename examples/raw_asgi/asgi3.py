"""ASGI 3 without a framework: one coroutine, three arguments, dictionaries both ways.

    gateway --app-dir examples raw_asgi.asgi3:app

scope says what was asked, ``await receive()`` gives the next event from the client and ``await
send()`` takes the next one for it. The server calls ``app`` once per request, and once for its
lifespan. The specification is short: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

import asyncio
import base64
import hashlib
import json
import time
from urllib.parse import quote

PAUSE = 0.5  # seconds
LINES = 5


async def app(scope, receive, send):
    match scope["type"]:
        case "http":
            await answer(scope, receive, send)
        case "lifespan":
            await lifespan(scope, receive, send)
        case other:
            # What an application does not know it refuses: the server answers a WebSocket with 403.
            raise ValueError(f"this application does not speak {other}")


async def lifespan(scope, receive, send):
    """Start and stop: one call that lives as long as the server's process.

    What is put into scope["state"] here, each request finds in its own scope["state"].
    """
    await receive()  # lifespan.startup
    scope["state"]["started"] = time.monotonic()
    await send({"type": "lifespan.startup.complete"})
    await receive()  # lifespan.shutdown, after the last request
    await send({"type": "lifespan.shutdown.complete"})


async def answer(scope, receive, send):
    # The path is always the full one and starts with the place this application is mounted at.
    path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
    match path:
        case "/":
            await page(scope, send)
        case "/style.css":
            await respond(send, 200, b"text/css", STYLE)
        case "/scope":
            await show_scope(scope, send)
        case "/stream":
            await stream(receive, send)
        case "/echo" if scope["method"] == "POST":
            await echo(scope, receive, send)
        case "/echo":
            await respond(send, 405, b"text/plain", b"POST something\n", [(b"allow", b"POST")])
        case _:
            await respond(send, 404, b"text/plain", b"no such page\n")


async def respond(send, status, content_type, body, headers=()):
    """A whole answer: the start, then the body. Header names are lower-case bytes."""
    headers = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def page(scope, send):
    root = quote(scope.get("root_path", ""))
    # An extension is there when the server offers it. This one sends 103 (Early Hints), so that the
    # browser fetches the style sheet while the page is still being made.
    if "http.response.early_hint" in scope.get("extensions", {}):
        links = [f"<{root}/style.css>; rel=preload; as=style".encode()]
        await send({"type": "http.response.early_hint", "links": links})
    started = scope.get("state", {}).get("started")
    uptime = f"{time.monotonic() - started:.1f} s" if started is not None else "no lifespan ran"
    html = PAGE.format(root=root, uptime=uptime)
    await respond(send, 200, b"text/html; charset=utf-8", html.encode())


async def show_scope(scope, send):
    body = json.dumps(scope, indent=2, default=repr).encode()
    await respond(send, 200, b"application/json", body)


async def stream(receive, send):
    """A body in pieces: no content-length, so the server frames it (chunked on HTTP/1.1).

    Sending and waiting for the client to leave go on at once; whichever ends first ends the other.
    """
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    gone = asyncio.create_task(left(receive))
    try:
        for number in range(1, LINES + 1):
            body = b"line %d of %d\n" % (number, LINES)
            # Returns when the server has room again: a slow client slows this loop down.
            await send({"type": "http.response.body", "body": body, "more_body": number < LINES})
            if number < LINES and (await asyncio.wait([gone], timeout=PAUSE))[0]:
                break
    except OSError:
        pass  # the client left while we were sending
    finally:
        gone.cancel()


async def left(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


async def echo(scope, receive, send):
    """Send the request's body back while it is still coming in, in memory for one piece only.

    Its digest is known at the end: what a trailer is for (RFC 9530, where the server offers them).
    """
    trailers = "http.response.trailers" in scope.get("extensions", {})
    headers = [(b"content-type", b"application/octet-stream")]
    if trailers:
        headers.append((b"trailer", b"repr-digest"))
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    await send({**start, "trailers": True} if trailers else start)
    digest = hashlib.sha256()
    more = True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return  # in the middle of the upload: there is nobody to answer
        body = event.get("body", b"")
        more = event.get("more_body", False)
        digest.update(body)
        await send({"type": "http.response.body", "body": body, "more_body": more})
    if trailers:
        value = b"sha-256=:%s:" % base64.b64encode(digest.digest())
        await send({"type": "http.response.trailers", "headers": [(b"repr-digest", value)]})


STYLE = b"""
:root { color-scheme: light dark; font: 100%/1.55 system-ui, sans-serif }
body { max-width: 44rem; margin: 0 auto; padding: 1rem }
a { color: light-dark(#8a4b00, #f0b46a) }
"""

PAGE = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Raw ASGI 3 under gateway</title>
    <link rel="icon" href="data:,">
    <link rel="stylesheet" href="{root}/style.css">
  </head>
  <body>
    <main>
      <h1>ASGI 3, nothing else</h1>
      <p>Up for: {uptime}</p>
      <ul>
        <li><a href="{root}/scope">What the server says about a request</a></li>
        <li><a href="{root}/stream">A body in pieces</a></li>
        <li>An echo: <code>curl --data-binary @FILE http://127.0.0.1:8000{root}/echo</code></li>
      </ul>
      <p><a href="/">All applications</a></p>
    </main>
  </body>
</html>
"""
