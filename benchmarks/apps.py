"""What the servers serve. The same few bytes from each, so that what differs is the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import flask

__all__ = ["asgi", "flask_app", "wsgi"]

BODY = b"Hello, world!"


async def asgi(
    scope: dict[str, Any],
    _receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] != "http":
        raise ValueError(f"no {scope['type']} here")
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


def wsgi(_environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [BODY]


PAGE = """<!doctype html>
<title>A page</title>
<ul>
{% for item in items %}  <li><a href="{{ url_for('page', item=item) }}">{{ item }}</a></li>
{% endfor %}</ul>
"""

flask_app = flask.Flask(__name__)
template = flask_app.jinja_env.from_string(PAGE)


@flask_app.get("/")
def page() -> str:
    return flask.render_template(template, items=["one", "two", "three"])
