"""HTTP/2 users that never stop asking while the operator restarts things; counted strictly."""

from __future__ import annotations

import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from http2_client import ErrorCode, Http2Client, StreamReset, Type, connect

from e2e.client import Address, ConnectionCut

__all__ = ["Http2Load"]

# A client is a thread of the test's own process: this pause leaves the servers the machine.
PAUSE = 0.002


class Http2Load:
    """`clients` threads, each with one connection and `streams` requests on it at a time.

    A client keeps to RFC 9113, section 6.8: after a GOAWAY it asks on a new connection; what the
    server says it has not touched is asked for again. Everything else is a failure: a request up to
    the last stream without a response, a reset, a connection that is refused or ends without GOAWAY.

    (h2load 1.52 cannot judge a roll: it opens no connection again after a GOAWAY, and counts requests
    that it had in mind, and could not send any more, as errors.)

    answers: by body. goaways: connections that ended in order. again: requests asked for twice.
    """

    def __init__(
        self,
        address: Address,
        *,
        tls: ssl.SSLContext | None = None,
        clients: int = 4,
        streams: int = 4,
    ) -> None:
        self.answers: Counter[bytes] = Counter()
        self.goaways = self.again = 0
        self.failures: list[str] = []
        self._address = address
        self._tls = tls
        self._streams = streams
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(clients)]

    @property
    def ok(self) -> int:
        return self.answers.total()

    def wait_until(self, true: Callable[[], object], timeout: float = 15.0) -> None:
        with self._changed:
            if not self._changed.wait_for(true, timeout):
                raise AssertionError(f"not within {timeout:g} s: {self!r}")

    def stop(self) -> None:
        """Let the requests under way finish."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(20)

    def lossless(self) -> bool:
        """Stop; whether something was answered and nothing failed. For ``assert``."""
        self.stop()
        return self.ok > 0 and not self.failures

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        kinds = f"{self.goaways} GOAWAY, {self.again} asked again"
        return f"<Http2Load {dict(self.answers)}, {kinds}, failed {self.failures[:5]}>"

    # --- what a client does ---------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                client = connect(self._address, tls=self._tls, timeout=10.0)
            except (OSError, ConnectionCut) as error:
                self._fail(f"connect: {error!r}")
                continue
            with client:
                # As h2load does: the first requests do not wait for the server's settings.
                client.start()
                self._use(client)

    def _use(self, client: Http2Client) -> None:
        waiting: set[int] = set()
        try:
            while not self._stopped.is_set():
                last = _last_stream(client)
                if last is not None:
                    self._finish(client, waiting, last)
                    return
                while len(waiting) < self._streams:
                    waiting.add(client.open("GET", "/"))
                client.read_frame()
                self._take(client, waiting)
                time.sleep(PAUSE)
            for stream in waiting:
                client.response(stream)
        except (OSError, ConnectionCut, StreamReset, AssertionError) as error:
            self._fail(f"{len(waiting)} streams: {error!r}")

    def _take(self, client: Http2Client, waiting: set[int]) -> None:
        """Count the responses that are complete."""
        for stream in list(waiting):
            state = client.streams[stream]
            if state.ended and state.response is not None:
                waiting.discard(stream)
                del client.streams[stream]
                self._count(state.response.status, state.response.body)
            elif state.reset == ErrorCode.REFUSED_STREAM:
                waiting.discard(stream)
                self.again += 1
            elif state.reset is not None:
                waiting.discard(stream)
                self._fail(f"reset with {state.reset}")
        del client.log[: -10 if _last_stream(client) is None else 0]

    def _finish(self, client: Http2Client, waiting: set[int], last: int) -> None:
        """Wait for what the server has taken, then for its end."""
        with suppress(ConnectionCut):
            while True:
                client.read_frame()
                self._take(client, waiting)
        last = _last_stream(client) or last
        lost = {stream for stream in waiting if stream <= last}
        if lost:
            self._fail(f"{len(lost)} streams up to {last} were not answered")
        with self._changed:
            self.again += len(waiting) - len(lost)
            self.goaways += 1
            self._changed.notify_all()

    def _count(self, status: int, body: bytes) -> None:
        if status != 200:
            self._fail(f"{status} {body!r}")
            return
        with self._changed:
            self.answers[body] += 1
            self._changed.notify_all()

    def _fail(self, what: str) -> None:
        with self._changed:
            self.failures.append(what)
            self._changed.notify_all()


def _last_stream(client: Http2Client) -> int | None:
    """Of the last GOAWAY that came; None before there is one."""
    said = [got for got in client.log if got.type == Type.GOAWAY]
    return int.from_bytes(said[-1].payload[:4], "big") if said else None
