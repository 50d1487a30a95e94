"""When a pool of threads needs another one awake: only if threads are what is missing.

The rules, each held here and nowhere else:

1. Another thread helps when a job has waited for `PATIENCE` while the processor had time to
   spare: the threads that are awake must be blocked. While the process uses a whole core, one
   more would only share the same interpreter.
2. Unless nothing moves at all for `_STUCK`: one long calculation must not hold up the rest.
3. Once rule 1 or 2 applied the pool is *eager*: each job gets a thread at once, as in an ordinary
   pool, until `_CALM` samples in a row show jobs moving on a busy processor. Without this,
   sixty-four clients of an application that sleeps 50 ms lost 1.5 ms per request to rule 1.

Nothing here knows a thread, a lock or a loop.
"""

from __future__ import annotations

from typing import Final

__all__ = ["PATIENCE", "Growth"]

# 1 ms: the finest step of the loops' timers, 20 times the wait for an awake thread to come round.
PATIENCE: Final = 0.001
# 5 ms: the interpreter's switch interval; a calculation shorter than that is not interrupted.
_STUCK: Final = 0.005
# Of one core. A saturated hello-world shows 0.95 and more, eight threads on a 1 ms query 0.3.
_SATURATED: Final = 0.8
# Samples, each 1 ms or more. Sixty-four sleepers that wake together keep a core busy for 4 ms.
_CALM: Final = 10


class Growth:
    """Judges samples, each from a `begin` to the next `judge`.

    eager: samples to go until the pool is calm again; 0 when it is.
    """

    __slots__ = ("_cpu", "_now", "_taken", "eager")

    def __init__(self) -> None:
        self.eager = 0
        self._now = self._cpu = 0.0
        self._taken = 0

    def begin(self, now: float, cpu: float, taken: int) -> None:
        """Start a sample.

        now, cpu: `time.monotonic` and `time.process_time`, seconds.
        taken: jobs that threads have taken so far.
        """
        self._now, self._cpu, self._taken = now, cpu, taken

    def judge(
        self, now: float, cpu: float, taken: int, *, oldest: float, latest: float, awake: int
    ) -> int:
        """End the sample: how many more threads should be awake.

        oldest: when the job that waits longest was queued; `now` if none waits.
        latest: when a job was last taken.
        awake: threads that are awake; doubled at most, so that sixty-four sleepers have their
            threads after six samples and one hiccup costs one thread.
        """
        saturated = cpu - self._cpu >= _SATURATED * (now - self._now)
        if self.eager:
            moving = saturated and taken != self._taken
            self.eager = self.eager - 1 if moving else _CALM
        if now - oldest < PATIENCE or (saturated and now - latest < _STUCK):
            return 0
        self.eager = _CALM
        return 1 if saturated else max(awake, 1)
