"""A client that shows what was on the wire: blocking sockets, timeouts, no cleverness.

A scenario speaks to a `Client`: `request` for a whole exchange, `open` for one in pieces. The
HTTP/1.1 client is here; one for another version needs the same two methods and `Call`'s.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, Self, TypeAlias

__all__ = ["Call", "Client", "ConnectionCut", "Fields", "Http1Client", "Http1Socket", "Response"]

Fields: TypeAlias = "list[tuple[str, str]]"
Address: TypeAlias = "tuple[str, int] | str"

TIMEOUT = 10.0


class ConnectionCut(Exception):
    """The connection ended before the message was complete."""


@dataclass
class Response:
    """status, headers (names lower-case, values as latin-1 text), body; interim answers before."""

    status: int
    headers: Fields
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    interim: list[tuple[int, Fields]] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    @property
    def text(self) -> str:
        return self.body.decode()


class Call(Protocol):
    """One exchange in pieces."""

    def send(self, data: bytes, *, more: bool = True) -> None:
        """Body bytes of a request that was opened with ``body=True``."""

    def send_available(self) -> int:
        """Push body bytes until the peer takes no more; how many it took."""

    def head(self) -> Response:
        """The response without its body."""

    def read(self, size: int) -> bytes:
        """At least one and at most `size` body bytes; b"" at the end."""

    def rest(self) -> bytes:
        """The body to its end. Raises `ConnectionCut`."""

    def leave(self) -> None:
        """Go away without reading on."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


class Client(Protocol):
    def request(
        self, method: str, target: str, headers: Fields = ..., body: bytes | None = ...
    ) -> Response: ...

    def open(
        self,
        method: str,
        target: str,
        headers: Fields = ...,
        *,
        body: bool = ...,
        window: int | None = ...,
    ) -> Call: ...


class Http1Socket:
    """One connection: bytes out, parsed responses in.

    window: SO_RCVBUF and SO_SNDBUF before the connect, so that little hides in this kernel.
    """

    def __init__(self, address: Address, *, window: int | None = None) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(TIMEOUT)
        if window is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, window)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        self._buffer = b""

    # --- out ------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_request(self, method: str, target: str, *lines: str, version: str = "1.1") -> None:
        """A head; ``host: test`` unless `lines` have one."""
        fields = list(lines)
        if not any(line.lower().startswith("host:") for line in fields):
            fields.insert(0, "host: test")
        text = "\r\n".join([f"{method} {target} HTTP/{version}", *fields, "", ""])
        self.send(text.encode("latin-1"))

    def send_available(self, data: bytes = b"x" * 65536, *, quiet: float = 0.25) -> int:
        """Send `data` again and again until nothing was taken for `quiet` seconds."""
        sent = 0
        self.socket.settimeout(quiet)
        try:
            while True:
                sent += self.socket.send(data)
        except TimeoutError:
            return sent
        finally:
            self.socket.settimeout(TIMEOUT)

    def end_sending(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    # --- in -------------------------------------------------------------------------------------

    def _more(self) -> bytes:
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            raise ConnectionCut("reset") from None
        if not data:
            raise ConnectionCut("closed")
        return data

    def line(self) -> str:
        while b"\r\n" not in self._buffer:
            self._buffer += self._more()
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line.decode("latin-1")

    def exactly(self, size: int) -> bytes:
        parts = [self._buffer[:size]]
        self._buffer = self._buffer[size:]
        missing = size - len(parts[0])
        while missing:
            data = self._more()
            parts.append(data[:missing])
            self._buffer = data[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)

    def some(self, size: int) -> bytes:
        if not self._buffer:
            self._buffer = self._more()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def until_closed(self) -> bytes:
        data, self._buffer = self._buffer, b""
        try:
            while True:
                data += self._more()
        except ConnectionCut:
            return data

    def fields(self) -> Fields:
        found: Fields = []
        while line := self.line():
            name, _, value = line.partition(":")
            found.append((name.lower(), value.strip()))
        return found

    def response_head(self) -> Response:
        interim: list[tuple[int, Fields]] = []
        while True:
            version, code, *_ = self.line().split(" ", 2)
            assert version == "HTTP/1.1"
            status, fields = int(code), self.fields()
            if status >= 200:
                return Response(status, fields, interim=interim)
            interim.append((status, fields))

    def response(self, method: str = "GET") -> Response:
        """A whole response; the connection is ready for the next one, or at its end."""
        response = self.response_head()
        body = Http1Body(self, response, method)
        response.body = body.rest()
        return response

    # --- the end --------------------------------------------------------------------------------

    def is_closed(self) -> bool:
        """Wait for the server to close; False if it sends something instead."""
        try:
            self._buffer += self._more()
        except ConnectionCut:
            return True
        return False

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Close with a RST, as a killed client does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Http1Body:
    """The framing of one response's body, RFC 9112, section 6.3."""

    def __init__(self, connection: Http1Socket, response: Response, method: str) -> None:
        self._connection = connection
        self._response = response
        self._chunked = response.header("transfer-encoding") == "chunked"
        self._ended = False
        length = response.header("content-length")
        self._left: int | None = 0 if self._chunked else None
        if method == "HEAD" or response.status in (204, 304):
            self._ended = True
        elif not self._chunked and length is not None:
            self._left = int(length)
            self._ended = self._left == 0

    def read(self, size: int) -> bytes:
        if self._ended:
            return b""
        if self._left is None:
            try:
                return self._connection.some(size)
            except ConnectionCut as cut:
                if str(cut) == "reset":
                    raise
                self._ended = True
                return b""
        if self._chunked and not self._left:
            self._left = int(self._connection.line(), 16)
            if not self._left:
                self._ended = True
                self._response.trailers = self._connection.fields()
                return b""
        data = self._connection.some(min(size, self._left))
        self._left -= len(data)
        if not self._left:
            if self._chunked:
                assert self._connection.line() == ""
            else:
                self._ended = True
        return data

    def rest(self) -> bytes:
        parts = []
        while data := self.read(1 << 20):
            parts.append(data)
        return b"".join(parts)


class Http1Call:
    """One exchange in pieces on a connection of its own."""

    def __init__(self, connection: Http1Socket, method: str, *, chunked: bool) -> None:
        self._connection = connection
        self._method = method
        self._chunked = chunked
        self._body: Http1Body | None = None

    def send(self, data: bytes, *, more: bool = True) -> None:
        if self._chunked:
            if data:
                self._connection.send(b"%x\r\n%b\r\n" % (len(data), data))
            if not more:
                self._connection.send(b"0\r\n\r\n")
        else:
            self._connection.send(data)

    def send_available(self) -> int:
        chunk = b"x" * 65536
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(chunk), chunk)
        return self._connection.send_available(chunk)

    def head(self) -> Response:
        response = self._connection.response_head()
        self._body = Http1Body(self._connection, response, self._method)
        return response

    def read(self, size: int) -> bytes:
        if self._body is None:
            self.head()
        assert self._body is not None
        return self._body.read(size)

    def rest(self) -> bytes:
        if self._body is None:
            self.head()
        assert self._body is not None
        return self._body.rest()

    def leave(self) -> None:
        self._connection.reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


class Http1Client:
    """`request` keeps one connection alive; `open` takes a new one each time."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._kept: Http1Socket | None = None

    def connect(self, *, window: int | None = None) -> Http1Socket:
        return Http1Socket(self.address, window=window)

    def request(
        self,
        method: str,
        target: str,
        headers: Fields | None = None,
        body: bytes | Iterable[bytes] | None = None,
    ) -> Response:
        lines = [f"{name}: {value}" for name, value in headers or []]
        if isinstance(body, bytes):
            lines.append(f"content-length: {len(body)}")
        elif body is not None:
            lines.append("transfer-encoding: chunked")
        connection = self._kept or self.connect()
        self._kept = None
        connection.send_request(method, target, *lines)
        if isinstance(body, bytes):
            connection.send(body)
        elif body is not None:
            connection.send(b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in body))
            connection.send(b"0\r\n\r\n")
        try:
            response = connection.response(method)
        except BaseException:
            connection.close()
            raise
        if response.header("connection") == "close":
            connection.close()
        else:
            self._kept = connection
        return response

    def open(
        self,
        method: str,
        target: str,
        headers: Fields | None = None,
        *,
        body: bool = False,
        window: int | None = None,
    ) -> Http1Call:
        connection = self.connect(window=window)
        lines = [f"{name}: {value}" for name, value in headers or []]
        declared = any(name == "content-length" for name, _ in headers or [])
        if body and not declared:
            lines.append("transfer-encoding: chunked")
        connection.send_request(method, target, *lines)
        return Http1Call(connection, method, chunked=body and not declared)

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
