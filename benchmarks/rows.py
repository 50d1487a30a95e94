"""What is measured: kinds of requests, and the command line of every server for each."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ROWS", "Row"]


class Row(NamedTuple):
    """One kind of request. `servers` are modules with arguments; the first is gateway.

    connections: 0 for as many as ``--connections`` says.
    streams: of HTTP/2, with prior knowledge, at a time on each connection; 0 is HTTP/1.1.
    """

    title: str
    servers: dict[str, str]
    headers: tuple[str, ...] = ()
    connections: int = 0
    streams: int = 0


ASGI = {
    "gateway": "gateway --no-access-log apps:asgi",
    "uvicorn (httptools)": "uvicorn --http httptools --no-access-log apps:asgi",
    "granian": "granian --interface asgi apps:asgi",
    "gunicorn (asgi)": "gunicorn -k asgi apps:asgi",
}
ASGI_LOGGED = {
    "gateway": "gateway apps:asgi",
    "uvicorn (httptools)": "uvicorn --http httptools apps:asgi",
    "granian": "granian --interface asgi --access-log apps:asgi",
    "gunicorn (asgi)": "gunicorn -k asgi --access-logfile - apps:asgi",
}
ASGI_H11 = {
    "gateway (h11)": "gateway --http h11 --no-access-log apps:asgi",
    "uvicorn (h11)": "uvicorn --http h11 --no-access-log apps:asgi",
}
HTTP2 = {
    "gateway": "gateway --no-access-log apps:asgi",
    "uvicorn (zttp)": "uvicorn --http zttp --http2 --no-access-log apps:asgi",
    "granian": "granian --interface asgi apps:asgi",
    "gunicorn (asgi)": "gunicorn -k asgi --http-protocols h2,h1 --http2-cleartext both apps:asgi",
    "hypercorn": "hypercorn apps:asgi",
}
# What Firefox sends, but for Host, which wrk writes itself.
BROWSER = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Connection: keep-alive",
    "Cookie: sessionid=0123456789abcdef0123456789abcdef; theme=dark",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Mode: navigate",
    "Priority: u=0, i",
)


def wsgi(app: str) -> dict[str, str]:
    return {
        "gateway": f"gateway --no-access-log {app}",
        "granian": f"granian --interface wsgi {app}",
        "gunicorn (gthread)": f"gunicorn -k gthread --threads 8 {app}",
        "uvicorn (a2wsgi)": f"uvicorn --interface wsgi --no-access-log {app}",
    }


ROWS = {
    "asgi": Row("ASGI hello", ASGI),
    # granian takes 29 µs with 16 connections and 17 with 64: to show one alone would mislead.
    "asgi64": Row("ASGI hello, 64 connections", ASGI, connections=64),
    "log": Row("ASGI hello, access log to a file", ASGI_LOGGED),
    "h11": Row("ASGI hello, h11", ASGI_H11),
    "headers": Row("ASGI hello, nine browser headers", ASGI, BROWSER),
    "http2": Row("ASGI hello, HTTP/2, 16 streams on each connection", HTTP2, streams=16),
    "wsgi": Row("WSGI hello", wsgi("apps:wsgi")),
    "wsgi64": Row("WSGI hello, 64 connections", wsgi("apps:wsgi"), connections=64),
    "flask": Row("Flask page", wsgi("apps:flask_app")),
}
