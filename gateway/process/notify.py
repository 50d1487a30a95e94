"""What systemd is told about this service."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

__all__ = ["Notifier"]

logger = logging.getLogger("gateway.error")

_PATIENCE: Final = 1.0
_MICROSECONDS: Final = 1_000_000


class Notifier:
    """Speaks sd_notify(3) to the service manager that started this process, if one listens.

    environ: NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are taken out of it, so that what
        applications start does not speak for the service.
    active: somebody listens. Otherwise every call does nothing.
    watchdog_interval: seconds between two calls of `watchdog`, half of what ``WatchdogSec=``
        allows, as sd_watchdog_enabled(3) advises; None where no watchdog waits for this process.
    environment: what a new binary needs in its own environment to speak on. Without WATCHDOG_PID,
        which names this process: without it, the watchdog waits for whoever is the main process.

    No call ever raises: a service must not stop because its manager cannot hear it.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        path = environ.pop("NOTIFY_SOCKET", "")
        limit = _watchdog_limit(
            environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "") or str(os.getpid())
        )
        self.environment: dict[str, str] = {}
        self._address: str | None = None
        self._status = ""
        if path:
            self.environment["NOTIFY_SOCKET"] = path
            if path[0] in "/@":
                # The abstract namespace is written with @ in the environment.
                self._address = "\0" + path[1:] if path[0] == "@" else path
            else:
                logger.debug("NOTIFY_SOCKET=%s is no UNIX socket: nobody is notified", path)
        if limit is not None:
            self.environment["WATCHDOG_USEC"] = str(limit)
        self.watchdog_interval = limit / _MICROSECONDS / 2 if limit and self.active else None

    @property
    def active(self) -> bool:
        return self._address is not None

    def ready(self, status: str = "") -> None:
        """The start, or a reload that `reloading` has announced, is done."""
        self.send(READY=1, STATUS=status)

    def reloading(self, status: str = "") -> None:
        """A reload begins; `ready` must follow. For units with ``Type=notify-reload`` as well."""
        # systemd tells this reload from the one before by the time, on the clock it uses itself.
        self.send(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000, STATUS=status)

    def stopping(self, status: str = "") -> None:
        """The way to the end has begun: what takes long from here on is not a failed start."""
        self.send(STOPPING=1, STATUS=status)

    def status(self, text: str) -> None:
        """One line for ``systemctl status``; nothing is sent where it is there already."""
        if text != self._status:
            self.send(STATUS=text)

    def watchdog(self) -> None:
        """Alive. To be said every `watchdog_interval` seconds."""
        self.send(WATCHDOG=1)

    def main_pid(self, pid: int) -> None:
        """Another process is the service from now on: a new binary, which this one gives way to.

        Only the main process is listened to (``NotifyAccess=main``), so the old one says it, and
        the new one waits for that before it says anything itself (`Predecessor.give_way`).
        """
        self.send(MAINPID=pid)

    def extend_timeout(self, seconds: float) -> None:
        """Starting, reloading or stopping takes longer: at least so many seconds from now on."""
        self.send(EXTEND_TIMEOUT_USEC=round(seconds * _MICROSECONDS))

    def send(self, **fields: str | int) -> None:
        """Send assignments as one message, named as in sd_notify(3). Empty ones are left out."""
        lines = (
            f"{name}={' '.join(str(value).splitlines())}"
            for name, value in fields.items()
            if value != ""
        )
        message = "\n".join(lines)
        if self._address is None or not message:
            return
        try:
            # A new socket each time, as sd_notify does: systemd may have made its own anew.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                # A manager that reads nothing for a while must not stop what runs on the loop.
                sock.settimeout(_PATIENCE)
                sock.sendto(message.encode(), self._address)
            self._status = str(fields.get("STATUS") or self._status)
        except OSError as error:
            logger.debug("systemd was not told %s: %s", message.replace("\n", " "), error)


def _watchdog_limit(usec: str, pid: str) -> int | None:
    """Microseconds that the watchdog allows between two signs of life, None without one."""
    if pid != str(os.getpid()) or not (usec.isascii() and usec.isdecimal()):
        return None
    return int(usec) or None
