"""Clients that make a TLS connection for each request.

Each thread makes a connection, asks for a page, reads to the end and goes on with the next one. A
handshake alone would not do: the tickets by which a session is resumed come with the first bytes.
"""

# ruff: noqa: T201 - a program that prints

from __future__ import annotations

import argparse
import socket
import ssl
import threading
import time

__all__ = ["Clients", "main", "trusting"]

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def trusting() -> ssl.SSLContext:
    """A context that believes everybody: what a client verifies is no business of the server's."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Clients:
    """Threads that connect, and what came of it.

    resume: each connection goes on with the session of the one before in its thread.
    done: connections; offered: those with a session to resume; resumed: where the server did.
    """

    def __init__(self, port: int, *, resume: bool) -> None:
        self.done = self.offered = self.resumed = 0
        self.error: Exception | None = None
        self._address = ("127.0.0.1", port)
        self._resume = resume
        self._context = trusting()
        self._lock = threading.Lock()

    def run(self, threads: int, seconds: float) -> float:
        """How long it took. Raises what a thread has met."""
        began = time.monotonic()
        running = [
            threading.Thread(target=self._work, args=(began + seconds,)) for _ in range(threads)
        ]
        for each in running:
            each.start()
        for each in running:
            each.join()
        if self.error is not None:
            raise self.error
        return time.monotonic() - began

    def _work(self, end: float) -> None:
        session: ssl.SSLSession | None = None
        done = offered = resumed = 0
        try:
            while time.monotonic() < end and self.error is None:
                former = session if self._resume else None
                reused, session = self._connect(former)
                done += 1
                offered += former is not None
                resumed += reused
        except (OSError, EOFError) as error:
            self.error = error
        with self._lock:
            self.done += done
            self.offered += offered
            self.resumed += resumed

    def _connect(self, session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
        with (
            socket.create_connection(self._address, timeout=10) as sock,
            self._context.wrap_socket(
                sock, server_hostname="localhost", session=session, suppress_ragged_eofs=True
            ) as tls,
        ):
            tls.sendall(REQUEST)
            answer = b""
            while data := tls.recv(65536):
                answer += data
            if not answer.startswith(b"HTTP/1.1 200"):
                raise EOFError(f"no answer: {answer[:100]!r}")
            return bool(tls.session_reused), tls.session


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("port", type=int)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    clients = Clients(options.port, resume=options.resume)
    try:
        took = clients.run(options.threads, options.seconds)
    except (OSError, EOFError) as error:
        parser.exit(3, f"error: {error}\n")
    print(clients.done, clients.offered, clients.resumed, took)


if __name__ == "__main__":
    main()
