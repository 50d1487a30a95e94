"""The load of the WebSocket benchmark: raw sockets, frames made in advance, replies only counted.

    python -m benchmarks.websocket_load PORT --size 64 --connections 16 --ahead 1 --seconds 3

It prints how many messages came back and how many seconds that took. One message costs it 5 µs,
which is less than any server takes for it; and where the server is the faster one, its CPU time
per message is still its own.
"""

# ruff: noqa: T201 - a program that prints

from __future__ import annotations

import argparse
import os
import re
import select
import socket
import time
import zlib
from collections.abc import Sequence

__all__ = ["Connection", "main", "message", "run"]

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
OFFER = "permessage-deflate; client_max_window_bits"  # as browsers do
READ = 1 << 18
TIMEOUT = 10.0  # seconds a server has for a handshake, and for a reply


def message(size: int) -> bytes:
    """Text as applications send it: JSON."""
    rows = (b'{"id": %d, "name": "visitor %d", "score": %d}, ' % (n, n, n * 7) for n in range(size))
    text = b""
    for row in rows:
        text += row
        if len(text) >= size:
            return text[:size]
    return text


def frame(payload: bytes, *, window: int) -> bytes:
    """A masked text frame (RFC 6455, section 5.2).

    window: bits of it, for a message compressed by itself (RFC 7692); 0 for a plain one.
    """
    first = 0x81
    if window:
        deflate = zlib.compressobj(wbits=-window)
        payload = (deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]
        first |= 0x40
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((first, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, 0x80 | 127)) + size.to_bytes(8, "big")
    key = os.urandom(4)
    pad = key * (size // 4 + 1)
    return head + key + bytes(a ^ b for a, b in zip(payload, pad, strict=False))


class Connection:
    """One open WebSocket. window: bits the client may use; 0 where no compression was agreed."""

    def __init__(self, port: int, *, offer: bool = False) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        extension = f"Sec-WebSocket-Extensions: {OFFER}\r\n" if offer else ""
        self.socket.sendall(
            "GET / HTTP/1.1\r\nHost: benchmark\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{extension}\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.socket.recv(4096)
            if not data:
                raise ConnectionError("closed in the handshake")
            head += data
        head, _, self._rest = head.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise ConnectionError(head.decode("latin-1"))
        agreed = b"permessage-deflate" in head
        bits = re.search(rb"client_max_window_bits=(\d+)", head)
        self.window = (int(bits[1]) if bits else 15) if agreed else 0

    def take(self) -> int:
        """Read once; the number of frames that are complete now."""
        data = self.socket.recv(READ)
        if not data:
            raise ConnectionError("closed by the server")
        if self._rest:
            data = self._rest + data
        count, at, end = 0, 0, len(data)
        while end - at >= 2:
            if data[at] & 0x0F == 8:
                raise ConnectionError(f"close frame: {data[at:]!r}")
            size, start = data[at + 1], at + 2
            if size == 126:
                size, start = int.from_bytes(data[start : start + 2], "big"), start + 2
            elif size == 127:
                size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
            if start + size > end:
                break
            count += data[at] & 0x0F == 1
            at = start + size
        self._rest = data[at:]
        return count


def run(
    port: int, *, size: int, connections: int, ahead: int, seconds: float, offer: bool
) -> tuple[int, float]:
    """Messages that came back, and seconds.

    size: bytes of a message before compression. ahead: messages a connection has under way.
    """
    payload = message(size)
    opened = [Connection(port, offer=offer) for _ in range(connections)]
    sent = frame(payload, window=opened[0].window)
    poll = select.epoll()
    known = {}
    for each in opened:
        known[each.socket.fileno()] = each
        poll.register(each.socket, select.EPOLLIN)
    batches = [sent * count for count in range(ahead + 1)]
    began = time.perf_counter()
    end = began + seconds
    for each in opened:
        each.socket.sendall(batches[ahead])
    total, now = 0, began
    while now < end:
        events = poll.poll(TIMEOUT)
        if not events:
            raise ConnectionError("no reply")
        for number, _ in events:
            each = known[number]
            count = each.take()
            total += count
            if count:
                each.socket.sendall(batches[count])
        now = time.perf_counter()
    for each in opened:
        each.socket.close()
    return total, now - began


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("port", type=int)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--ahead", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--offer", action="store_true", help="permessage-deflate")
    options = vars(parser.parse_args(arguments))
    total, seconds = run(options.pop("port"), **options)
    print(total, seconds)


if __name__ == "__main__":
    main()
