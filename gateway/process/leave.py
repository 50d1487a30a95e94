"""The end of a process whose applications may have left threads behind."""

from __future__ import annotations

import logging
import os
import sys
import threading
from concurrent.futures import thread as executors
from time import monotonic
from typing import Final, NoReturn

__all__ = ["leave"]

_PATIENCE: Final = 1.0


def leave(code: int) -> NoReturn:
    """Exit, without waiting for ever for a thread that an application has left blocked.

    The interpreter joins every thread that is no daemon, those of executors included. The drain
    had a limit, and so has this: `_PATIENCE` seconds.
    """
    end = monotonic() + _PATIENCE
    _dismiss_idle()
    for thread in _unfinished():
        thread.join(max(end - monotonic(), 0))
    left = [thread.name for thread in _unfinished()]
    if left:
        logging.getLogger("gateway.error").warning(
            "not waited for: threads that are still running (%s)", ", ".join(left[:5])
        )
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(code)
    sys.exit(code)


def _dismiss_idle() -> None:
    """Let the threads of executors that have nothing to do end, as the interpreter would.

    asgiref keeps one for each Django application; to warn of it would be noise.
    """
    queues = getattr(executors, "_threads_queues", {})
    for queue in list(queues.values()):
        queue.put(None)


def _unfinished() -> list[threading.Thread]:
    main_thread = threading.main_thread()
    return [each for each in threading.enumerate() if not each.daemon and each is not main_thread]
