"""A server as the system around it sees it: addresses, pid file, service manager, successor."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from gateway.process.identity import Identity, identity
from gateway.process.inherit import InheritedSocket, from_systemd
from gateway.process.notify import Notifier
from gateway.process.pid_file import PidFile
from gateway.process.sockets import BoundSocket, addresses, bind_all
from gateway.process.succession import Succession
from gateway.process.upgrade import Predecessor
from gateway.settings import Settings
from gateway.settings.bind import Bind

__all__ = ["Rebound", "Service"]

logger = logging.getLogger("gateway.error")

_ADDRESSES: Final = ("bind", "host", "port", "uds", "fd")
# Read once, at the start: what a HUP does not take over. `hooks` too, in the supervising process.
_FIXED: Final = ("health_bind", "hooks", "pid_file", "reload", "reuse_port")
# Seconds that a new process waits for the old one to name it to the service manager.
_HANDOVER: Final = 1.0
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
        self._first = settings
        self._origins = origins
        self._main = main
        self._environ = dict(os.environ) if main else {}
        self._predecessor = Predecessor.find(os.environ) if main else None
        self._notifier = Notifier(os.environ if main else {})
        self._pid_file: PidFile | None = None
        self._has_terminal = _has_terminal()
        self._succession = Succession()
        self._given = False

    @property
    def has_predecessor(self) -> bool:
        """Another process serves at these addresses, until `ready` has told it to leave."""
        return self._predecessor is not None

    # --- start ----------------------------------------------------------------------------------

    def open(self) -> None:
        """Bind the addresses and take the pid file. Raises `StartError` or `ConfigError`."""
        settings = self.settings
        if settings.umask is not None and self._main:
            os.umask(settings.umask)
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
        self.identity = identity(settings.user, settings.group)
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

        What else is new there, permissions and the like, goes for addresses that come. Settings
        that only a start takes over are named in a warning, each time, as long as they differ.

        Raises `StartError` or `ConfigError`, with nothing changed, where a new address cannot be
        had.
        """
        rebound = Rebound(self)
        former, before = self.settings, self.bound
        wanted = settings.addresses
        self.settings = settings
        try:
            self.identity = identity(settings.user, settings.group)
            # What nobody names is systemd's: it stays as long as nobody names anything.
            if wanted != former.addresses:
                kept = [each for each in before if each.bind in wanted]
                known = {each.bind for each in kept}
                missing = [bind for bind in wanted if bind not in known]
                self.bound = kept + self._bind(missing, beside=before)
        except BaseException:
            rebound.finish(taken=False)
            raise
        self._warn_of_fixed(settings)
        return rebound

    def settled(self, settings: Settings) -> Settings:
        """`settings` with the addresses that are bound: one for each socket, in their order.

        What `settings` say of an address goes with it, also where the socket is older.
        """
        said = {each: each for each in settings.addresses}
        binds = tuple(said.get(each.bind, each.bind).text for each in self.bound)
        return replace(settings, bind=binds, uds=None, fd=None, insecure_bind=(), redirect_bind=())

    def _warn_of_fixed(self, settings: Settings) -> None:
        changed = [
            name.replace("_", "-")
            for name in _FIXED
            if getattr(settings, name) != getattr(self._first, name)
        ]
        if changed:
            logger.warning(
                "not taken over by a reload: %s\n  send SIGUSR2, or start the server anew",
                ", ".join(changed),
            )

    def _bind(
        self,
        binds: Sequence[Bind],
        *,
        inherited: Sequence[InheritedSocket] = (),
        beside: Sequence[BoundSocket] = (),
    ) -> list[BoundSocket]:
        settings = self.settings
        owner = (self.identity.uid, self.identity.gid) if self.identity is not None else None
        return bind_all(
            binds,
            backlog=settings.backlog,
            inherited=inherited,
            unix_mode=settings.uds_permissions,
            owner=owner,
            reuse_port=self._first.reuse_port,
            beside=beside,
        )

    # --- what is said ---------------------------------------------------------------------------

    @property
    def urls(self) -> list[str]:
        """One per address: "http://127.0.0.1:8000", "unix:/run/app.sock"."""
        settings = self.settled(self.settings)
        return [
            each.url("https" if settings.encrypts(bind) else "http")
            for each, bind in zip(self.bound, settings.addresses, strict=False)
        ]

    def ready(self, status: str) -> None:
        """Applications serve. A process that this one replaces is told to leave."""
        former, self._predecessor = self._predecessor, None
        if former is not None:
            if self._pid_file is not None:
                self._pid_file.take_over()
            former.give_way(patience=_HANDOVER if self._notifier.active else 0.0)
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

    async def succeeded(self, queues: Sequence[InheritedSocket] = ()) -> int | None:
        """Start a new binary on the same sockets; its pid when it serves, None if it does not.

        queues: `WorkerSockets.as_inherited`. An upgrade that is under way is given up for this one.
        """
        own = {name: text for name, text in self._environ.items() if name not in _PERSONAL}
        environ = {**own, **self._notifier.environment}
        sockets = [each.as_inherited() for each in (*self.bound, *self.health)]
        return await self._succession.begin([*sockets, *queues], environ, self.directory)

    def give_way(self, successor: int) -> None:
        """Leave everything to process `successor`, which serves."""
        self._notifier.main_pid(successor)
        self._given = True
        self._succession.settle()

    def stop_listening(self) -> None:
        """Close this process's own descriptors; workers may have theirs."""
        for each in self.bound:
            if self._given:
                each.forget()
            else:
                each.close()

    def close(self) -> None:
        """Let go of everything. A new binary that does not serve yet is told to end."""
        if not self._succession.cancel():
            self._given = True
        self.bound += self.health
        self.stop_listening()
        if self._pid_file is not None:
            self._pid_file.release()


class Rebound:
    """A change of addresses that is to be taken or given up."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._settings = service.settings
        self._identity = service.identity
        self._bound = service.bound

    @property
    def leaves(self) -> bool:
        """Whether an address goes away with it."""
        return any(each not in self._service.bound for each in self._bound)

    def finish(self, *, taken: bool) -> None:
        """Close what is not needed any more, or was never: addresses that left, or were to come.

        Again, with the same answer, it does nothing.
        """
        service = self._service
        new, old = service.bound, self._bound
        if not taken:
            service.bound, service.settings = old, self._settings
            service.identity = self._identity
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
