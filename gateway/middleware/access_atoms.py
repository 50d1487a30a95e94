"""What an access log can tell of an exchange: its atoms, in gunicorn's and Apache's names.

An atom is a Python expression over ``exchange``, ``head``, ``status``, ``elapsed`` (seconds) and
the names of `namespace`; `access_format` puts expressions together to one function.
"""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import Callable
from enum import Enum, auto
from http import HTTPStatus
from json.encoder import encode_basestring_ascii
from os import getpid
from time import gmtime, localtime, monotonic, strftime, time
from typing import Final, NamedTuple, TypeVar

from gateway.exchange import Exchange
from gateway.head import Headers, address_text
from gateway.log import escape

__all__ = ["ATOMS", "Atom", "Kind", "final_status", "find_atom", "messages", "namespace"]


class Kind(Enum):
    """Who wrote the value, and so what has to happen to it on the way into a line."""

    NUMBER = auto()
    OURS = auto()  # text that cannot hold anything but what this server put there
    THEIRS = auto()  # text of the client
    MAYBE = auto()  # text of the client, or None


class Atom(NamedTuple):
    kind: Kind
    expression: str
    help: str


_NUMBER, _OURS, _THEIRS, _MAYBE = Kind

ATOMS: Final[dict[str, Atom]] = {
    "h": Atom(_MAYBE, "head.client and head.client[0]", "client address"),
    "addr": Atom(_THEIRS, "address_text(head.client)", "client address and port"),
    "l": Atom(_OURS, "'-'", "always -"),
    "u": Atom(_MAYBE, "basic_user(head.headers)", "user name of Basic credentials"),
    "t": Atom(_OURS, "local_time()", "local time as [10/Oct/2000:13:55:36 -0700]"),
    "ts": Atom(_OURS, "utc_time()", "UTC time as 2000-10-10T20:55:36Z"),
    "r": Atom(
        _THEIRS,
        "head.method + ' ' + head.target.decode('latin-1') + ' HTTP/' + head.version",
        "request line",
    ),
    "m": Atom(_OURS, "head.method", "method"),
    "target": Atom(_THEIRS, "head.target.decode('latin-1')", "request target as received"),
    "U": Atom(_THEIRS, "head.path", "path, percent-decoded"),
    "q": Atom(_THEIRS, "head.query.decode('latin-1')", "query"),
    "H": Atom(_OURS, "'HTTP/' + head.version", "protocol"),
    "scheme": Atom(_OURS, "head.scheme", "http or https"),
    "s": Atom(_NUMBER, "status", "status; 499: client gone before it, 444: cut before it"),
    "status": Atom(_OURS, "status_texts.get(status) or str(status)", "status with its phrase"),
    "b": Atom(_OURS, "exchange.sent or '-'", "response body in bytes, - for none"),
    "B": Atom(_NUMBER, "exchange.sent", "response body, or all a WebSocket sent, in bytes"),
    "I": Atom(_NUMBER, "exchange.received", "request body, or all a WebSocket received, in bytes"),
    "f": Atom(_MAYBE, "field(head.headers, b'referer')", "Referer"),
    "a": Atom(_MAYBE, "field(head.headers, b'user-agent')", "User-Agent"),
    "T": Atom(_NUMBER, "int(elapsed)", "time taken in seconds"),
    "M": Atom(_NUMBER, "int(elapsed * 1e3)", "time taken in milliseconds"),
    "ms": Atom(_NUMBER, "elapsed * 1e3", "time taken in milliseconds, with fractions"),
    "D": Atom(_NUMBER, "int(elapsed * 1e6)", "time taken in microseconds"),
    "L": Atom(_OURS, "'%.6f' % elapsed", "time taken in seconds, as 0.001234"),
    "queue": Atom(_OURS, "queue_text(exchange)", "time waited for a thread in seconds (WSGI)"),
    "p": Atom(_OURS, "'<%d>' % getpid()", "process id as <1234>"),
    "worker": Atom(_OURS, "worker", "index of the worker, - in a server of one process"),
    "mount": Atom(_MAYBE, "head.mount or None", "mount that took the request"),
    "gone": Atom(
        _OURS,
        "', client gone' if exchange.gone else ', cut' if exchange.cut else ''",
        "said if it was not sent whole",
    ),
    "ws": Atom(
        _OURS,
        "websocket_text(exchange) if exchange.tunnel else ''",
        "messages and bytes both ways, of a WebSocket only",
    ),
    "ws_in": Atom(_OURS, "messages(exchange, '-')[0]", "messages received of a WebSocket"),
    "ws_out": Atom(_OURS, "messages(exchange, '-')[1]", "messages sent of a WebSocket"),
    "color": Atom(_OURS, "color(status)", "start of the status's color, if colors are on"),
    "plain": Atom(_OURS, "plain", "end of the color"),
}
"""The atoms with a fixed name; `find_atom` knows the others."""

# CGI variables (RFC 3875) that are not header fields.
_CGI: Final = {
    "PATH_INFO": "head.path.removeprefix(head.root_path)",
    "QUERY_STRING": "head.query.decode('latin-1')",
    "REMOTE_ADDR": "head.client and head.client[0]",
    "REQUEST_METHOD": "head.method",
    "SCRIPT_NAME": "head.root_path",
    "SERVER_PROTOCOL": "'HTTP/' + head.version",
    "CONTENT_TYPE": "field(head.headers, b'content-type')",
    "CONTENT_LENGTH": "field(head.headers, b'content-length')",
}

_STATUS_TEXTS: Final = {
    status.value: f"{status.value} {status.phrase}" for status in HTTPStatus
} | {
    499: "499 Client Closed Request",
    444: "444 No Response",
}
_STATUS_COLORS: Final = {2: "\x1b[32m", 3: "\x1b[36m", 4: "\x1b[33m", 5: "\x1b[31m"}
_MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def find_atom(name: str) -> Atom | None:
    """The atom of that name, None if there is none.

    Besides `ATOMS`: "{name}i" is a request field, "{name}o" a response field, and "{name}e" a CGI
    variable of the request or, if it is none, one of the environment at the start.
    """
    if name in ATOMS:
        return ATOMS[name]
    if name[:1] != "{" or name[-2:-1] != "}" or not name[1:-2]:
        return None
    inner = name[1:-2]
    encoded = inner.lower().encode()
    match name[-1]:
        case "i":
            return Atom(_MAYBE, f"field(head.headers, {encoded!r})", "")
        case "o":
            return Atom(_MAYBE, f"field(exchange.response_headers, {encoded!r})", "")
        case "e":
            return Atom(_MAYBE, _variable(inner), "")
    return None


def namespace(*, color: bool) -> dict[str, object]:
    """The globals of a compiled format; each has its own clocks."""
    index = os.environ.get("GATEWAY_WORKER_ID", "")  # set by whoever starts a worker
    return {
        "address_text": address_text,
        "basic_user": _basic_user,
        "color": _status_color if color else _no_color,
        "escape": escape,
        "field": _field,
        "final_status": final_status,
        "getpid": getpid,
        "local_time": _each_second(_local_time),
        "messages": messages,
        "monotonic": monotonic,
        "plain": "\x1b[0m" if color else "",
        "queue_milliseconds": _queue_milliseconds,
        "queue_text": _queue_text,
        "quote": _quote,
        "status_texts": _STATUS_TEXTS,
        "text": _text,
        "utc_time": _each_second(_utc_time),
        "websocket_text": _websocket_text,
        "worker": index if index.isdecimal() else "-",
    }


def final_status(exchange: Exchange) -> int:
    """The status for the log: the one sent, else nginx's 499 (client gone) or 444 (cut by us)."""
    return exchange.status or (499 if exchange.disconnected else 444)


_T = TypeVar("_T")


def messages(exchange: Exchange, none: _T) -> tuple[int | _T, int | _T]:
    """Messages received and sent; `none` twice unless the exchange became a WebSocket."""
    tunnel = exchange.tunnel
    # One that was refused has a status of its own; 200 is the 101 of HTTP/2 (RFC 8441).
    if tunnel is None or exchange.status not in (101, 200):
        return none, none
    return tunnel.messages_received, tunnel.messages_sent


def _websocket_text(exchange: Exchange) -> str:
    received, sent = messages(exchange, None)
    if received is None:
        return ""
    return f", in {received}/{exchange.received}B, out {sent}/{exchange.sent}B"


def _field(headers: Headers, name: bytes) -> str | None:
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None


def _queued(exchange: Exchange) -> float | None:
    # An interface that queues for threads says so with an attribute of its listener. Asked for
    # here, so that nobody pays for it who does not log it.
    queued: float | None = getattr(exchange.listener, "queued", None)
    return queued


def _queue_text(exchange: Exchange) -> str:
    seconds = _queued(exchange)
    return "-" if seconds is None else f"{seconds:.6f}"


def _queue_milliseconds(exchange: Exchange) -> str:
    seconds = _queued(exchange)
    return "null" if seconds is None else f"{seconds * 1e3:.3f}"


def _basic_user(headers: Headers) -> str | None:
    scheme, _, credentials = (_field(headers, b"authorization") or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, _ = b64decode(credentials.strip(), validate=True).partition(b":")
    except ValueError:
        return None
    return name.decode("utf-8", "replace") if colon and name else None


def _variable(name: str) -> str:
    upper = name.upper()
    if upper in _CGI:
        return _CGI[upper]
    if upper.startswith("HTTP_"):
        return f"field(head.headers, {upper[5:].lower().replace('_', '-').encode()!r})"
    return repr(os.environ.get(name))


def _text(value: str | None) -> str:
    return "-" if value is None else escape(value)


def _quote(value: str | None) -> str:
    if value is None:
        return "null"
    # JSON leaves DEL as it is; a terminal does not.
    return encode_basestring_ascii(value).replace("\x7f", "\\u007f")


def _status_color(status: int) -> str:
    return _STATUS_COLORS.get(status // 100, "")


def _no_color(_: int) -> str:
    return ""


def _each_second(render: Callable[[int], str]) -> Callable[[], str]:
    """`render` of the current second, called once for each."""
    second = 0
    text = ""

    def cached() -> str:
        nonlocal second, text
        now = int(time())
        if now != second:
            second, text = now, render(now)
        return text

    return cached


def _local_time(now: int) -> str:
    # Not strftime's %b: log readers expect English whatever the locale.
    moment = localtime(now)
    month = _MONTHS[moment.tm_mon - 1]
    return strftime(f"[%d/{month}/%Y:%H:%M:%S %z]", moment)


def _utc_time(now: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(now))
