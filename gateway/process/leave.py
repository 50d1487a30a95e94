"""The end of a process whose applications may have left threads behind."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from concurrent.futures import thread as executors
from contextlib import suppress
from time import monotonic
from typing import Final, NoReturn

from gateway.errors import GatewayError
from gateway.process.channel import failure_message, send_message

__all__ = ["fail", "leave"]

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


def fail(sock: socket.socket, error: GatewayError) -> NoReturn:
    """Tell the parent, at the other side of `sock`, why this process does not start, and exit."""
    with suppress(OSError):  # it may be the parent's end that is the failure
        send_message(sock, failure_message(error))
    leave(error.exit_code)


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
