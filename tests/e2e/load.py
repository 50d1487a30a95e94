"""Users that never stop asking while the operator restarts things, and their strict bookkeeping."""

from __future__ import annotations

import itertools
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from e2e.client import Address, ConnectionCut, Http1Socket

__all__ = ["Answer", "Failure", "Load", "ask"]

# A client is a thread of the test's own process: this pause leaves the servers the machine.
PAUSE = 0.005


@dataclass(frozen=True)
class Answer:
    """What `e2e.apps.processes` says about the process that answered.

    version: of the code, where a test has several; closing: it said ``Connection: close``.
    """

    pid: int
    index: int
    version: str = ""
    closing: bool = False


@dataclass(frozen=True)
class Failure:
    """A request without a full and correct response.

    pid: of the process that the connection was with; None on a connection that never had an answer.
    """

    at: float
    pid: int | None
    what: str


def ask(connection: Http1Socket, target: str = "/", *lines: str) -> Answer:
    """One request, and who answered. Raises `ValueError` for anything but a correct answer."""
    connection.send_request("GET", target, *lines)
    response = connection.response()
    if response.status != 200:
        raise ValueError(f"{response.status} {response.body[:80]!r}")
    pid, index, version = response.text.split(" ")
    return Answer(int(pid), int(index), version, response.header("connection") == "close")


class Load:
    """`clients` threads, each with one connection, ask for the `targets` in turn until `stop`.

    fresh: each request has a connection of its own; else they are kept alive.

    Strict: a request has failed unless a full, correct response came. A refused or reset connection
    is a failure, and so is one that ends after a request was sent. No failure is a connection that
    the server ended after ``Connection: close``, or in order while it was idle.

    answers: by pid. first, last: when a pid answered first and last, `time.monotonic`.
    slowest: seconds that the slowest answer took, its connect included.
    """

    def __init__(
        self, address: Address, *targets: str, clients: int = 4, fresh: bool = False
    ) -> None:
        self.answers: Counter[int] = Counter()
        self.indexes: set[int] = set()
        self.first: dict[int, float] = {}
        self.last: dict[int, float] = {}
        self.failures: list[Failure] = []
        self.slowest = 0.0
        self._address = address
        self._targets = targets or ("/",)
        self._fresh = fresh
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(clients)]

    @property
    def ok(self) -> int:
        return self.answers.total()

    @property
    def pids(self) -> set[int]:
        return set(self.answers)

    # --- what a test says -----------------------------------------------------------------------

    def wait_until(self, true: Callable[[], object], timeout: float = 15.0) -> None:
        """Return when `true` holds; it is asked after every request."""
        with self._changed:
            if not self._changed.wait_for(true, timeout):
                raise AssertionError(f"not within {timeout:g} s: {self!r}")

    def wait_more(self, count: int = 40) -> None:
        """Return when `count` more requests have been answered."""
        goal = self.ok + count
        self.wait_until(lambda: self.ok >= goal)

    def wait_for_pid_besides(self, known: set[int], *, count: int = 1) -> set[int]:
        """The pids of answers that are not `known`, once there are `count` of them."""
        self.wait_until(lambda: len(self.pids - known) >= count)
        return self.pids - known

    def stop(self) -> Self:
        """Let the requests under way finish."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(20)
        return self

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
        first = "".join(f"\n  {failure}" for failure in self.failures[:5])
        return f"<Load {dict(self.answers)} answers, {len(self.failures)} failed{first}>"

    # --- what a client does ---------------------------------------------------------------------

    def _work(self) -> None:
        kept: _Kept | None = None
        for target in itertools.cycle(self._targets):
            if self._stopped.wait(PAUSE):
                break
            began = time.monotonic()
            pid = None
            try:
                if kept is not None and kept.has_ended():
                    kept = kept.close()
                if kept is None:
                    kept = _Kept(Http1Socket(self._address))
                pid = kept.pid
                answer = ask(kept.connection, target, *(["connection: close"] * self._fresh))
                kept.pid = answer.pid
                self._count(answer, began)
                if answer.closing or self._fresh:
                    kept = kept.close()
            except (OSError, ConnectionCut, ValueError, AssertionError) as error:
                self._fail(Failure(time.monotonic(), pid, f"{target}: {error!r}"))
                kept = kept and kept.close()
        if kept is not None:
            kept.close()

    def _count(self, answer: Answer, began: float) -> None:
        now = time.monotonic()
        with self._changed:
            self.answers[answer.pid] += 1
            self.indexes.add(answer.index)
            self.first.setdefault(answer.pid, now)
            self.last[answer.pid] = now
            self.slowest = max(self.slowest, now - began)
            self._changed.notify_all()

    def _fail(self, failure: Failure) -> None:
        with self._changed:
            self.failures.append(failure)
            self._changed.notify_all()


@dataclass
class _Kept:
    """A connection between two requests, and the process it is with as far as is known."""

    connection: Http1Socket
    pid: int | None = None

    def has_ended(self) -> bool:
        """Whether the server closed it in order meanwhile. Raises what else came: it is wrong."""
        poll = select.poll()
        poll.register(self.connection.socket, select.POLLIN)
        if not poll.poll(0):
            return False
        if unasked := self.connection.socket.recv(1000, socket.MSG_PEEK):
            raise ValueError(f"nobody asked for {unasked!r}")
        return True

    def close(self) -> None:
        self.connection.close()
