"""Servers of the end-to-end tests: in threads, each started once and shared; and processes."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from e2e.client import Client, Http1Client
from e2e.http2_wire import Http2WireClient
from e2e.process import Gateway
from gateway import Server
from gateway.settings import load


@dataclass(frozen=True)
class WireCase:
    """One way to reach an application: settings of the server, and who speaks to it."""

    name: str
    client: type[Client]
    settings: tuple[tuple[str, object], ...]


# Each parser on a loop of its own: the pairs are in `test_process`, at less cost.
WIRES = [
    WireCase("http1-httptools", Http1Client, (("http", "httptools"), ("loop", "uvloop"))),
    WireCase("http1-h11", Http1Client, (("http", "h11"), ("loop", "asyncio"))),
]
HTTP2 = WireCase("http2", Http2WireClient, (("loop", "uvloop"),))
APPS = {
    "asgi3": "e2e.apps.scenarios_asgi:app3",
    "asgi2": "e2e.apps.scenarios_asgi:app2",
    "wsgi": "e2e.apps.scenarios_wsgi:app",
}

# The tests look at records where they arise; nothing is configured, nothing is written.
QUIET = {"port": 0, "log_config": {}, "access_log": False, "timeout_graceful_shutdown": 3}


def make_server(app: object = None, **settings: object) -> Server:
    """A server of `app`, or of ``mounts``, on a free port; not started."""
    given = {**QUIET, **settings}
    if app is not None:
        given["app"] = app
    return Server(load(overrides=given, environ={}, search=False).settings)


class Log:
    """The records of ``gateway.error`` during one test."""

    def __init__(self) -> None:
        self.records: list[logging.LogRecord] = []
        self._changed = threading.Condition()

    def add(self, record: logging.LogRecord) -> None:
        with self._changed:
            self.records.append(record)
            self._changed.notify_all()

    def wait(self, text: str, timeout: float = 5.0) -> logging.LogRecord:
        """The first record with `text` in its message or exception."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._find(text), timeout):
                raise AssertionError(f"no {text!r} in {[r.getMessage() for r in self.records]}")
            found = self._find(text)
            assert found is not None
            return found

    def _find(self, text: str) -> logging.LogRecord | None:
        for record in self.records:
            error = record.exc_info[1] if record.exc_info else None
            if text in record.getMessage() or text in f"{error!r} {error}":
                return record
        return None

    @property
    def errors(self) -> list[str]:
        return [record.getMessage() for record in self.records if record.levelno >= logging.ERROR]


@pytest.fixture
def log() -> Iterator[Log]:
    seen = Log()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.add(record)

    handler = Handler()
    logger = logging.getLogger("gateway.error")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield seen
    logger.removeHandler(handler)
    logger.setLevel(level)


_keys = itertools.count(1)


@pytest.fixture
def key() -> str:
    """A name no other test has, for the board."""
    return f"k{next(_keys)}"


@pytest.fixture(scope="session")
def shared() -> Iterator[Callable[..., Server]]:
    """Started servers by their settings; they stop at the end of the session."""
    known: dict[str, Server] = {}
    with ExitStack() as stack:

        def get(app: object = None, **settings: object) -> Server:
            name = repr((app, sorted(settings.items(), key=lambda item: item[0])))
            if name not in known:
                known[name] = stack.enter_context(make_server(app, **settings))
            return known[name]

        yield get


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Servers of one test."""
    with ExitStack() as stack:
        yield lambda app=None, **settings: stack.enter_context(make_server(app, **settings))


@pytest.fixture(params=[*WIRES, HTTP2], ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> WireCase:
    case: WireCase = request.param
    return case


@pytest.fixture(params=list(APPS))
def interface(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(wire: WireCase, interface: str, shared: Callable[..., Server]) -> Server:
    """The scenarios, at / and at /sub, in one interface over one wire."""
    app = APPS[interface]
    return shared(mounts={"/": app, "/sub": app}, interface=interface, **dict(wire.settings))


@pytest.fixture
def client(wire: WireCase, server: Server) -> Iterator[Client]:
    with wire.client(("127.0.0.1", server.port)) as client:
        yield client


@pytest.fixture
def gateway(tmp_path) -> Iterator[Callable[..., Gateway]]:
    """Start ``python -m gateway`` in an empty directory; killed at the end if it still runs."""
    with ExitStack() as stack:

        def start(*args: object, **options: object) -> Gateway:
            return stack.enter_context(Gateway([str(arg) for arg in args], tmp_path, **options))

        yield start
