"""A server as the system around it sees it: addresses, pid file, service manager, successor."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from gateway.errors import StartError
from gateway.process.identity import Identity, identity
from gateway.process.inherit import InheritedSocket, from_systemd
from gateway.process.notify import Notifier
from gateway.process.pid_file import PidFile
from gateway.process.sockets import BoundSocket, addresses, bind_all
from gateway.process.upgrade import Predecessor, Upgrade
from gateway.settings import Settings
from gateway.settings.bind import Bind

__all__ = ["Rebound", "Service"]

logger = logging.getLogger("gateway.error")

_ADDRESSES: Final = ("bind", "host", "port", "uds", "fd")
# What the environment had for this process alone, and not for another one in its place.
_PERSONAL: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID", "WATCHDOG_USEC")


class Service:
    """What the process that an operator has started holds.

    Life: `open`; `ready` when applications serve; `stopping`; `close`. In between `reloading` and
    `ready` again, or `succeeded` and `give_way`.

    main: the process is this server's: it takes what the environment has for it (sockets, the
        service manager, a predecessor). A server inside somebody's program leaves that alone.
    bound, health: the sockets for requests, and for the questions of `HealthListener`.
    identity: the user that applications run as; None for this process's own.
    directory: the working directory by the name it was called by.
    """

    def __init__(self, settings: Settings, origins: Mapping[str, str], *, main: bool) -> None:
        self.settings = settings
        self.bound: list[BoundSocket] = []
        self.health: list[BoundSocket] = []
        self.identity: Identity | None = None
        self.directory = _working_directory()
        self._origins = origins
        self._main = main
        self._environ = dict(os.environ) if main else {}
        self._predecessor = Predecessor.find(os.environ) if main else None
        self._notifier = Notifier(os.environ if main else {})
        self._pid_file: PidFile | None = None
        self._has_terminal = _has_terminal()
        self._given = False

    # --- start ----------------------------------------------------------------------------------

    def open(self) -> None:
        """Bind the addresses and take the pid file. Raises `StartError` or `ConfigError`."""
        settings = self.settings
        if settings.umask is not None:
            os.umask(settings.umask)
        self.identity = identity(settings.user, settings.group)
        if not self.bound:
            self.bind()
        if settings.pid_file:
            pid_file = PidFile(settings.pid_file)
            if self._predecessor is None:
                pid_file.take()
            self._pid_file = pid_file

    def bind(self) -> None:
        """Bind the addresses now; `open` does it otherwise."""
        settings = self.settings
        former = self._predecessor
        inherited = from_systemd(os.environ, os.getpid()) if self._main else ()
        if former is not None:
            inherited += former.sockets
        explicit = any(self._origins.get(name, "default") != "default" for name in _ADDRESSES)
        binds = addresses(settings.addresses, explicit, inherited)
        questions = [Bind.parse(text) for text in settings.health_bind]
        bound = self._bind((*binds, *questions), inherited=inherited)
        self.health = [each for each in bound if each.bind in questions]
        self.bound = [each for each in bound if each.bind not in questions]

    def rebind(self, settings: Settings) -> Rebound:
        """Change to the addresses of `settings`. An address that stays keeps its socket.

        Raises `StartError`, with nothing changed, where a new one cannot be had.
        """
        former, before = self.settings, self.bound
        wanted = settings.addresses
        # What nobody names is systemd's: it stays as long as nobody names anything.
        if wanted != former.addresses:
            kept = [each for each in before if each.bind in wanted]
            known = {each.bind for each in kept}
            self.bound = kept + self._bind([bind for bind in wanted if bind not in known])
        self.settings = settings
        return Rebound(self, former, before)

    def _bind(
        self, binds: Sequence[Bind], *, inherited: Sequence[InheritedSocket] = ()
    ) -> list[BoundSocket]:
        settings = self.settings
        owner = (self.identity.uid, self.identity.gid) if self.identity is not None else None
        return bind_all(
            binds,
            backlog=settings.backlog,
            inherited=inherited,
            unix_mode=settings.uds_permissions,
            owner=owner,
            reuse_port=settings.reuse_port,
        )

    # --- what is said ---------------------------------------------------------------------------

    @property
    def urls(self) -> list[str]:
        """One per address: "http://127.0.0.1:8000", "unix:/run/app.sock"."""
        return [each.url() for each in self.bound]

    def ready(self, status: str) -> None:
        """Applications serve. A process that this one replaces is told to leave."""
        former, self._predecessor = self._predecessor, None
        if former is not None:
            if self._pid_file is not None:
                self._pid_file.take_over()
            former.give_way()
            for each in (*self.bound, *self.health):
                each.take_over()
        self._notifier.ready(status)

    def status(self, text: str) -> None:
        self._notifier.status(text)

    def reloading(self) -> None:
        self._notifier.reloading("reloading")

    def stopping(self, seconds: float) -> None:
        """The end has begun, and may take `seconds`."""
        self._notifier.stopping("stopping")
        self._notifier.extend_timeout(seconds)

    @property
    def watchdog_interval(self) -> float | None:
        """Seconds between two calls of `watchdog`, where the service manager wants them."""
        return self._notifier.watchdog_interval

    async def watchdog(self) -> None:
        """Alive."""
        self._notifier.watchdog()

    def terminal_is_gone(self) -> bool:
        """The terminal that this process was started from has been closed.

        It sends the same SIGHUP that asks a server to read its configuration again.
        """
        return self._has_terminal and not _has_terminal()

    # --- end ------------------------------------------------------------------------------------

    async def succeeded(self) -> int | None:
        """Start a new binary on the same sockets; its pid when it serves, None if it does not."""
        own = {name: text for name, text in self._environ.items() if name not in _PERSONAL}
        environ = {**own, **self._notifier.environment}
        sockets = [each.as_inherited() for each in (*self.bound, *self.health)]
        try:
            upgrade = Upgrade.begin(sockets, environ, self.directory)
        except StartError as error:
            logger.error("%s", error)
            return None
        logger.info("started a new binary, pid %d", upgrade.pid)
        try:
            ready = await upgrade.is_ready()
        except asyncio.CancelledError:
            upgrade.cancel()
            raise
        if not ready:
            logger.error("the new binary (pid %d) did not come up; this one goes on", upgrade.pid)
            return None
        logger.info("the new binary (pid %d) serves; leaving", upgrade.pid)
        return upgrade.pid

    def give_way(self, successor: int) -> None:
        """Leave everything to process `successor`, which serves."""
        self._notifier.main_pid(successor)
        self._given = True

    def stop_listening(self) -> None:
        """Close this process's own descriptors; workers may have theirs."""
        for each in self.bound:
            if self._given:
                each.forget()
            else:
                each.close()

    def close(self) -> None:
        """Let go of everything."""
        self.bound += self.health
        self.stop_listening()
        if self._pid_file is not None:
            self._pid_file.release()


class Rebound:
    """A change of addresses that is to be taken or given up."""

    def __init__(self, service: Service, settings: Settings, bound: list[BoundSocket]) -> None:
        self._service = service
        self._settings = settings
        self._bound = bound

    def finish(self, *, taken: bool) -> None:
        """Close what is not needed any more, or was never: addresses that left, or were to come."""
        new, old = self._service.bound, self._bound
        if not taken:
            self._service.bound, self._service.settings = old, self._settings
            new, old = old, new
        for each in old:
            if each not in new:
                each.close()


def _working_directory() -> str:
    """The working directory as it was named, links and all.

    A deployment that switches a link "current" to its next release expects the next worker there;
    `os.getcwd` names the release that the link pointed to when this process started.
    """
    here = os.getcwd()  # noqa: PTH109
    named = os.environ.get("PWD", "")
    try:
        same = bool(named) and os.path.samefile(named, here)  # noqa: PTH121
    except OSError:
        same = False
    return named if same else here


def _has_terminal() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except (OSError, ValueError):
        return False
