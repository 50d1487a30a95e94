"""Stand-ins for the neighbors of an exchange, for tests without sockets.

    wire = FakeWire()
    request = exchange(head("GET", "/api/x?q=1", host="example.com"), wire)
    handler(request)
    assert wire.status == 404

`FakeWire` implements `gateway.exchange.Wire`, `FakeListener` `gateway.exchange.Listener`.
Import as ``from fakes import ...``: pytest puts tests/ on the path.
"""

from __future__ import annotations

from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from gateway.exchange import Exchange
from gateway.head import Address, Headers, Peer, RequestHead


class FakeWire:
    """Records what an exchange asks for.

    calls: ("send_response", status, headers, data, more, length), ("send_data", data, more), … in
    order, the method's name first.
    finished: how often the exchange said that it sends no more; more than once is a fault.

    A file of `send_file` is read and closed at once; call `Exchange.file_sent` to let it leave.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.status: int | None = None
        self.headers: Headers = []
        self.body = b""
        self.trailers: Headers = []
        self.informational: list[tuple[int, Headers]] = []
        self.consumed_bytes = 0
        self.ended = False
        self.aborted = False
        self.finished = 0

    def names(self) -> list[object]:
        """The names of the calls so far."""
        return [call[0] for call in self.calls]

    def header(self, name: bytes) -> bytes | None:
        """The first value of a response field, None if it was not sent."""
        return next((value for key, value in self.headers if key == name), None)

    def send_response(
        self, status: int, headers: Headers, data: bytes, more: bool, length: int | None
    ) -> None:
        self.calls.append(("send_response", status, headers, data, more, length))
        self.status, self.headers, self.body, self.ended = status, headers, data, not more

    def send_data(self, data: bytes, more: bool) -> None:
        self.calls.append(("send_data", data, more))
        self.body += data
        self.ended = not more

    def send_file(self, file: BinaryIO, offset: int, count: int, more: bool) -> None:
        self.calls.append(("send_file", offset, count, more))
        with file:
            file.seek(offset)
            self.body += file.read(count)
        self.ended = not more

    def send_trailers(self, headers: Headers) -> None:
        self.calls.append(("send_trailers", headers))
        self.trailers, self.ended = headers, True

    def send_informational(self, status: int, headers: Headers) -> None:
        self.calls.append(("send_informational", status, headers))
        self.informational.append((status, headers))

    def limit_body(self, size: int) -> None:
        self.calls.append(("limit_body", size))

    def consumed(self, size: int) -> None:
        self.calls.append(("consumed", size))
        self.consumed_bytes += size

    def abort(self) -> None:
        self.calls.append(("abort",))
        self.aborted = True

    def exchange_finished(self) -> None:
        self.calls.append(("exchange_finished",))
        self.finished += 1


class FakeListener:
    """Records the news an exchange has for its interface: ["readable", "writable", "gone", …]."""

    def __init__(self) -> None:
        self.news: list[str] = []

    def on_readable(self) -> None:
        self.news.append("readable")

    def on_writable(self) -> None:
        self.news.append("writable")

    def on_gone(self) -> None:
        self.news.append("gone")


def head(
    method: str = "GET",
    target: str = "/",
    *,
    host: str | None = "testserver",
    headers: Headers | None = None,
    version: str = "1.1",
    client: Address | None = ("127.0.0.1", 50000),
    server: Address | None = ("127.0.0.1", 8000),
    scheme: str = "http",
    content_length: int | None = 0,
    expect_continue: bool = False,
    upgrade: bytes | None = None,
) -> RequestHead:
    """A request head as a parser would make it from an origin-form `target`.

    host: the Host field, put first; None leaves it out. `headers` follow it.
    """
    raw_target = target.encode("latin-1")
    raw_path, _, query = raw_target.partition(b"?")
    fields: Headers = [] if host is None else [(b"host", host.encode("latin-1"))]
    return RequestHead(
        method,
        raw_target,
        unquote_to_bytes(raw_path).decode("utf-8", "replace"),
        raw_path,
        query,
        version,
        fields + (headers or []),
        Peer(client, server, scheme),
        content_length,
        expect_continue,
        upgrade,
    )


def exchange(request: RequestHead | None = None, wire: FakeWire | None = None) -> Exchange:
    """An exchange of `request` (a plain ``GET /`` if None) on `wire` (a new `FakeWire` if None)."""
    return Exchange(request or head(), wire or FakeWire())
