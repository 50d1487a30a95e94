"""ASGI 2, the form before 2019: called with the scope, then with receive and send.

    gateway --app-dir examples raw_asgi.asgi2:app

A class is a double callable: the first call makes an instance, the second runs it. gateway sees it
in the signature. New code takes ASGI 3 (asgi3.py); Channels 2 and its kin were written like this.
"""

from html import escape


class Receipt:
    """Says how large a request's body is. One instance serves one request, so self is its state."""

    def __init__(self, scope):
        if scope["type"] != "http":
            # Also for the lifespan: the server takes it as "has none".
            raise ValueError(f"this application does not speak {scope['type']}")
        self.scope = scope
        self.size = 0

    async def __call__(self, receive, send):
        more = True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            self.size += len(event.get("body", b""))
            more = event.get("more_body", False)
        body = self.page().encode()
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def page(self):
        return PAGE.format(
            method=escape(self.scope["method"]),
            path=escape(self.scope["path"]),
            root=escape(self.scope.get("root_path", "")) or "/",
            size=self.size,
        )


app = Receipt

PAGE = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>ASGI 2 under gateway</title>
    <link rel="icon" href="data:,">
    <style>
      :root {{ color-scheme: light dark; font: 100%/1.55 system-ui, sans-serif }}
      body {{ max-width: 44rem; margin: 0 auto; padding: 1rem }}
      a {{ color: light-dark(#a3324f, #ff9fb5) }}
    </style>
  </head>
  <body>
    <main>
      <h1>ASGI 2, still served</h1>
      <p>{method} <code>{path}</code>, mounted at <code>{root}</code>: {size} bytes of body.</p>
      <form method="post" enctype="text/plain">
        <label for="text">Text</label>
        <input id="text" name="text">
        <button>Weigh it</button>
      </form>
      <p><a href="/">All applications</a></p>
    </main>
  </body>
</html>
"""
