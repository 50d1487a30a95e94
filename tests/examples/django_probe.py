"""Asks both entry points of the Django example for some pages and prints the answers as JSON.

A program of its own, because Django's settings belong to a process: `test_django_site` runs it with
the examples folder as its working directory and the database of the environment.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from asgi_exchange import body_of, exchange

PREFIX = "/site"
PATHS = ["", "/", "/guestbook/", "/static/guestbook/style.css", "/admin/", "/countdown/0/"]

Answer = tuple[int, dict[str, str], str]


def ask_wsgi(path: str) -> Answer:
    app = import_module("django_site.mysite.wsgi").application
    environ: dict[str, Any] = {"SCRIPT_NAME": PREFIX, "PATH_INFO": path, "HTTP_HOST": "testserver"}
    setup_testing_defaults(environ)
    environ["wsgi.input"].close()
    environ["wsgi.input"] = sys.stdin.buffer
    environ["wsgi.errors"] = sys.stderr
    environ["QUERY_STRING"] = ""
    started: list[Any] = []

    def start_response(status: str, headers: list[Any], _exc_info: Any = None) -> Callable:
        started.extend((status, headers))
        return lambda _data: None

    body = validator(app)(environ, start_response)
    try:
        text = b"".join(body).decode()
    finally:
        body.close()
    status, headers = started
    return int(status.split()[0]), {name.lower(): value for name, value in headers}, text


def ask_asgi(path: str) -> Answer:
    app = import_module("django_site.mysite.asgi").application
    messages = asyncio.run(exchange(app, PREFIX + path, root_path=PREFIX))
    headers = {name.decode().lower(): value.decode() for name, value in messages[0]["headers"]}
    return messages[0]["status"], headers, body_of(messages).decode()


if __name__ == "__main__":
    sys.path.insert(0, "")
    asks = {"wsgi": ask_wsgi, "asgi": ask_asgi}
    json.dump({name: {path: ask(path) for path in PATHS} for name, ask in asks.items()}, sys.stdout)
