"""A thread pool for blocking work that stays small while the work does not block.

1. A thread that is awake takes the next job. Waking another one for it costs two context
   switches and a fight for the interpreter: 6 µs of a 13 µs answer, measured with a hello-world.
2. For the same reason a sleeping thread is woken only when the loop has read all sockets that
   were ready (`_dispatch`): uvloop lets go of the interpreter after each, and a thread woken by
   the first request took it there, answered one, and slept again (21 µs instead of 16).
3. Whether more threads should be awake is judged by `Growth`, from samples a timer takes while
   jobs wait.
4. The thread that went to sleep last is woken first; the others end after `idle_timeout`.

`submit`, `discard` and `close` belong to the loop's thread, `_work` and what it calls to the
pool's own; what both touch is guarded by `_lock`, held for a microsecond at most.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic, process_time
from typing import Protocol

from gateway.interfaces.growth import PATIENCE, Growth

__all__ = ["Job", "ThreadPool"]

_log = logging.getLogger("gateway.error")


class Job(Protocol):
    """What the pool runs.

    queued_at: set by `ThreadPool.submit`, `time.monotonic` seconds.
    queue_seconds: set when a thread takes it: how long it waited.
    """

    queued_at: float
    queue_seconds: float

    def run(self) -> None:
        """Do the work, in a thread of the pool. Should not raise; the pool survives it."""


class _Worker:
    """One thread. `token` is its bed: held while it sleeps or works, released once to wake it."""

    __slots__ = ("thread", "token")

    def __init__(self, target: Callable[[_Worker], None], name: str) -> None:
        self.token = threading.Lock()
        self.token.acquire()
        # A daemon: a job that never ends must not keep the interpreter from exiting after the
        # drain gave up on it. `close` is what waits for the others.
        self.thread = threading.Thread(target=target, args=(self,), name=name, daemon=True)


class ThreadPool:
    """Runs jobs in up to `limit` threads; `queue` more may wait.

    loop: its thread is the only one that submits; its timer watches over the waiting.
    limit: threads at most, at least 1.
    queue: jobs that may wait while `limit` others run.
    name: threads are called "<name>-1", "<name>-2" and so on.
    idle_timeout: seconds after which a sleeping thread ends; the last one stays, with whatever
        the application keeps per thread (a database connection).
    queue_last, queue_max, queue_total: seconds jobs waited, for metrics; `taken` counts them.

    Nothing is forgotten. Under `_lock`, at any time:

    * A thread is either in `_idle` or counted in `_awake`, and moves from awake to idle only when
      it has seen `_jobs` empty; `_dispatch` follows each `submit` and wakes one when none is
      awake. So while a job waits, `_dispatch` is due or a thread will look before it sleeps.
    * Taking a worker out of `_idle` and releasing its token go together, once; the worker takes
      the token once per stay in `_idle`. So a wake-up that meets a thread on its way to bed, or
      whose `idle_timeout` has just passed, is kept by the token.
    * While a job waits and fewer than `limit` threads are awake, `_dispatch` is due, or as many
      threads are on their way as jobs wait, or the timer is armed.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        limit: int,
        queue: int,
        name: str,
        idle_timeout: float = 30.0,
    ) -> None:
        if limit < 1 or queue < 0:
            raise ValueError(f"a pool has at least 1 thread and 0 places, not {limit} and {queue}")
        self._loop = loop
        self._limit = limit
        self._capacity = limit + queue
        self._name = name
        self._idle_timeout = idle_timeout
        self._lock = threading.Lock()
        self._jobs: deque[Job] = deque()
        self._idle: list[_Worker] = []
        self._awake = 0
        self._unfinished = 0
        self._started = 0
        self._dispatching = False
        self._growth = Growth()
        self._closed = False
        self._ended: Callable[[], object] | None = None
        self._armed = False
        self._taken_at = 0.0
        self.taken = 0
        self.queue_last = self.queue_max = self.queue_total = 0.0

    @property
    def size(self) -> int:
        """Threads alive."""
        return self._awake + len(self._idle)

    @property
    def busy(self) -> int:
        """Jobs running."""
        return self._unfinished - len(self._jobs)

    @property
    def waiting(self) -> int:
        """Jobs no thread has taken yet."""
        return len(self._jobs)

    # --- the loop's thread ----------------------------------------------------------------------

    def submit(self, job: Job) -> bool:
        """Run `job` in a thread. False when all threads and places are taken, or after `close`."""
        job.queued_at = monotonic()
        with self._lock:
            if self._unfinished >= self._capacity or self._closed:
                return False
            self._unfinished += 1
            self._jobs.append(job)
            first = None if self._awake or self._idle else self._rouse()
        if first is not None and not self._wake(first):
            self.discard(job)
            return False
        if not self._dispatching:
            self._dispatching = True
            self._loop.call_soon(self._dispatch)
        return True

    def discard(self, job: Job) -> bool:
        """Take `job` back. False when a thread has it already."""
        with self._lock:
            try:
                self._jobs.remove(job)
            except ValueError:
                return False
            self._unfinished -= 1
            return True

    def close(self, ended: Callable[[], object] | None = None) -> None:
        """Take no more jobs; threads end when those taken so far are done.

        ended: called once, in any thread, when no thread is left.
        """
        with self._lock:
            self._closed = True
            self._ended = ended
            sleepers, self._idle = self._idle, []
            self._awake += len(sleepers)
            nobody = not self._awake
        for worker in sleepers:
            worker.token.release()
        if nobody and ended is not None:
            ended()

    def _dispatch(self) -> None:
        """See that what was submitted since the last time has a thread, or a timer."""
        self._dispatching = False
        with self._lock:
            waiting = len(self._jobs)
            eager = self._growth.eager
            woken = self._rouse_some(waiting if eager else min(waiting, 1 - self._awake))
            watch = waiting > len(woken) and self._awake < self._limit
        for worker in woken:
            self._wake(worker)
        if (watch or eager) and not self._armed:
            self._arm(monotonic(), process_time())

    def _arm(self, now: float, cpu: float) -> None:
        self._armed = True
        self._growth.begin(now, cpu, self.taken)
        self._loop.call_later(PATIENCE, self._check)

    def _check(self) -> None:
        self._armed = False
        now, cpu = monotonic(), process_time()
        with self._lock:
            more = self._growth.judge(
                now,
                cpu,
                self.taken,
                oldest=self._jobs[0].queued_at if self._jobs else now,
                latest=self._taken_at,
                awake=self._awake,
            )
            woken = self._rouse_some(more)
            watch = bool(self._jobs) and self._awake < self._limit
        for worker in woken:
            self._wake(worker)
        if watch:
            self._arm(now, cpu)

    def _rouse_some(self, wanted: int) -> list[_Worker]:
        count = min(wanted, len(self._jobs), self._limit - self._awake)
        return [self._rouse() for _ in range(count)]

    def _rouse(self) -> _Worker:
        """Choose a thread to wake, or a new one; under the lock, to be followed by `_wake`."""
        self._awake += 1
        if self._idle:
            return self._idle.pop()
        self._started += 1
        return _Worker(self._work, f"{self._name}-{self._started}")

    def _wake(self, worker: _Worker) -> bool:
        """False when the system has no thread to give; the pool stays at its size then."""
        if worker.thread.ident is not None:
            worker.token.release()
            return True
        try:
            worker.thread.start()
        except RuntimeError as error:
            with self._lock:
                self._awake -= 1
                self._limit = max(self.size, 1)
            _log.error("%s stays with %d threads: %s", self._name, self.size, error)
            return False
        return True

    # --- the pool's threads ---------------------------------------------------------------------

    def _work(self, worker: _Worker) -> None:
        job: Job | None = None
        while True:
            with self._lock:
                if job is not None:
                    self._unfinished -= 1
                job = self._take()
                if job is None:
                    self._awake -= 1
                    if self._closed:
                        ended = None if self._awake else self._ended
                        break
                    self._idle.append(worker)
            if job is None:
                if not self._sleep(worker):
                    return
                continue
            try:
                job.run()
            except BaseException:  # noqa: BLE001 - a job cannot end a thread, by SystemExit neither
                _log.exception("A job failed in %s", worker.thread.name)
        if ended is not None:
            ended()

    def _take(self) -> Job | None:
        if not self._jobs:
            return None
        job = self._jobs.popleft()
        now = self._taken_at = monotonic()
        waited = job.queue_seconds = self.queue_last = now - job.queued_at
        self.queue_total += waited
        self.queue_max = max(self.queue_max, waited)
        self.taken += 1
        return job

    def _sleep(self, worker: _Worker) -> bool:
        """Wait to be woken; False when this thread is to end."""
        if worker.token.acquire(timeout=self._idle_timeout):
            return True
        with self._lock:
            if worker in self._idle and self.size > 1:
                self._idle.remove(worker)
                return False
        # The last thread, or one that is being woken this very moment.
        return worker.token.acquire()
