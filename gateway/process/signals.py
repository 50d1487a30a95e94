"""What signals mean to a process that serves, while it runs."""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from types import MappingProxyType
from typing import Final, TypeAlias

from gateway.worker import Worker

__all__ = ["Actions", "nothing", "on_signals"]

Actions: TypeAlias = Mapping[signal.Signals, Callable[[], object]]
"""What to do on the loop's thread, by signal."""

_NONE: Final[Actions] = MappingProxyType({})
# A loop that has not heard of a signal for this long is blocked by the code of an application.
_TURN: Final = 0.2
# What "now" may take where the loop is not blocked: the lifespans' last second, and slack.
_NOW: Final = 5.0


@contextmanager
def on_signals(
    worker: Worker, loop: asyncio.AbstractEventLoop, *, others: Actions = _NONE
) -> Iterator[None]:
    """Let INT and TERM stop `worker`, and `others` do what they say, as long as the block runs.

    others: may name INT too, where it means something else. QUIT and a second INT mean "now": the
        process ends within 5 s, whatever its threads do. Outside the main thread, where Python
        has no signals, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    asked_at = 0.0

    def stop(number: int, _frame: object) -> None:
        nonlocal asked_at
        now = monotonic()
        blocked = 0 < asked_at < now - _TURN and not worker.stopping
        asked_at = asked_at or now
        if number == signal.SIGINT and (blocked or worker.stopping):
            end_by_force()
        if worker.importing or (blocked and number == signal.SIGINT):
            # The code of an application holds the loop; only an exception gets it out.
            raise KeyboardInterrupt
        worker.reason = worker.reason or signal.Signals(number).name
        # A second TERM must not cut a drain short: supervisors repeat it. A second INT must.
        loop.call_soon_threadsafe(
            worker.interrupt if number == signal.SIGINT else worker.request_stop
        )

    def act(number: int, _frame: object) -> None:
        if signal.Signals(number).name == "SIGQUIT":
            end_by_force()
        loop.call_soon_threadsafe(others[signal.Signals(number)])

    def end_by_force() -> None:
        # In C, in a thread of its own: neither a blocked loop nor a regular expression that keeps
        # the interpreter lock can hold it up; and the stacks tell which it was.
        faulthandler.dump_traceback_later(_NOW, exit=True)

    # Not SIG_IGN where nothing is to be done: programs that an application starts would inherit it.
    wanted = {signal.SIGINT: stop, signal.SIGTERM: stop} | dict.fromkeys(others, act)
    previous = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        for number, handler in previous.items():
            signal.signal(number, handler)


def nothing() -> None:
    """The action of a signal that is for somebody else."""
