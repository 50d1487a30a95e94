"""Workers for gunicorn: ``gunicorn -k gateway.workers.GatewayWorker main:app``.

gunicorn keeps what its users have it for: configuration, processes, sockets, reload, log files,
hooks. A worker serves the application on an event loop of this package.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from types import FrameType
from typing import ClassVar, Final, Literal

from gateway.errors import ConfigError, GatewayError
from gateway.process.loop import calm_collector, loop_factory, run_on_loop
from gateway.settings import Settings, load
from gateway.settings.model import SETTINGS as DECLARED
from gateway.worker import Worker

try:
    from gunicorn.arbiter import Arbiter
    from gunicorn.config import Config
    from gunicorn.glogging import Logger
    from gunicorn.workers.base import Worker as GunicornWorker
except ImportError as error:
    raise ImportError(f"gateway.workers: {error}\n  pip install gunicorn") from error

__all__ = ["GatewayH11Worker", "GatewayWorker"]

# What SETTINGS may not say: gunicorn does it, or has a setting for it.
_THEIR_GROUPS: Final = frozenset({"Address", "Processes", "Development", "Logging"})
_THEIR_NAMES: Final = frozenset({"app", "app_dir", "env_file"})
_OUR_NAMES: Final = frozenset({"access_log", "access_log_format", "limit_max_requests"})

# Settings of gunicorn that change what is on the wire, and the values we can live with.
_REFUSED: Final[Mapping[str, tuple[tuple[object, ...], str]]] = {
    "certfile": (("",), "TLS ends in a proxy in front: nginx, Caddy, HAProxy"),
    "proxy_protocol": (("off", False), "have the proxy send X-Forwarded-For instead"),
    "protocol": (("http",), "have the proxy speak HTTP: proxy_pass, not uwsgi_pass"),
    "http2_cleartext": (("off",), "have the proxy speak HTTP/1.1"),
}

# Seconds an immediate stop may take; the arbiter kills after as many when a stop becomes one.
_QUICK: Final = 2.0
# The arbiter kills this long after a TERM that stops it all: lifespans come before that.
_LIFESPANS: Final = 2.0
# Fields of the largest size that fit into one head; at gunicorn's defaults 68 KiB, as ours is 64.
_LARGE_FIELDS: Final = 8
_MOST_FIELDS: Final = 32768  # what gunicorn makes of 0


class GatewayWorker(GunicornWorker):
    """A gunicorn worker that serves ASGI 3, ASGI 2 and WSGI applications.

    SETTINGS: settings of docs/settings.md with underscores, for what gunicorn has no setting for.
        They win over gunicorn's, and a subclass's over those of its base::

            class ShopWorker(GatewayWorker):
                SETTINGS = {"loop": "asyncio", "header": {"X-Shop": "1"}}

    The loop is made after the fork. It stamps gunicorn's heartbeat itself, so that a loop that is
    blocked for ``timeout`` seconds is seen, logged with the line that holds it, and replaced.
    An application that cannot start ends the worker with gunicorn's exit code for that, 3.
    """

    SETTINGS: ClassVar[Mapping[str, object]] = {}

    _worker: Worker | None = None
    _asked: Literal["", "drain", "quick"] = ""
    _reopen = False

    @classmethod
    def check_config(cls, cfg: Config, log: Logger) -> None:
        """Warn, once, about hooks that will not be called; gunicorn calls this before it forks."""
        for name in ("pre_request", "post_request"):
            if cfg.settings[name].get() is not cfg.settings[name].default:
                log.warning("%s is not called by %s: it has no request of gunicorn's", name, cls)

    def init_process(self) -> None:
        """Serve, until told to stop; gunicorn's own code loads the application on the way."""
        logs = {"gateway.error": self.log.error_log, "gateway.access": self.log.access_log}
        for name, theirs in logs.items():
            ours = logging.getLogger(name)
            if not ours.handlers:  # else a logconfig speaks of it
                ours.handlers = theirs.handlers
                ours.propagate = theirs.propagate
                ours.setLevel(theirs.level)
        super().init_process()

    def run(self) -> None:
        """The life of the process, from the loaded application to the end of the drain."""
        try:
            settings = self._settings()
            run_on_loop(loop_factory(settings.loop), lambda: self._serve(settings))
        except GatewayError as error:
            self.log.error("%s", error)
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """TERM: drain. Handlers only take notes; `_obey` acts on them, on the loop."""
        self.alive = False
        self._asked = self._asked or "drain"
        self._wake()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """INT and QUIT: stop now, whatever the application does."""
        if self._asked == "quick":
            return
        self.alive = False
        self._asked = "quick"
        self.cfg.worker_int(self)
        if self._worker is None:
            sys.exit(0)
        # A loop that is blocked hears of nothing, and the interpreter waits for every thread.
        signal.signal(signal.SIGALRM, self._give_up)
        signal.setitimer(signal.ITIMER_REAL, _QUICK)
        self._wake()

    def handle_usr1(self, sig: int, frame: FrameType | None) -> None:
        """USR1: open the log files again, between two lines."""
        self._reopen = True
        self._wake()

    def handle_abort(self, sig: int, frame: FrameType | None) -> None:
        """ABRT, the arbiter's: no heartbeat came. The stack names the culprit."""
        # The exception ends the call that blocks, and may go no further than that.
        self._asked = "quick"
        self._wake()
        stack = "".join(traceback.format_stack(frame))
        self.log.critical("no heartbeat for %s s; this was running:\n%s", self.cfg.timeout, stack)
        super().handle_abort(sig, frame)

    async def _serve(self, settings: Settings) -> None:
        # The stubs say socket.socket; gunicorn has a wrapper around each.
        sockets = [each.sock for each in self.sockets]  # type: ignore[attr-defined]
        worker = self._worker = Worker(settings, sockets, shared=settings.workers != 1)
        loop = asyncio.get_running_loop()
        loop.add_reader(self.PIPE[0], self._obey)
        heart = loop.create_task(self._beat())
        try:
            if await worker.start_unless_stopped():
                calm_collector()
                for each in worker.site.mounts if worker.site else ():
                    name = each.framework or each.app_name
                    self.log.info("Serving %s at %s (%s)", name, each.key, each.interface)
                await worker.serve_until_stopped()
                if self.alive:
                    self.log.info("Restarting after %s requests", settings.limit_max_requests)
        finally:
            await worker.stop()
            heart.cancel()

    async def _beat(self) -> None:
        # As long as the drain lasts, too: the arbiter would take it for a hang.
        while True:
            self.notify()
            if self.alive and self.ppid != os.getppid():
                self.log.info("Parent changed, shutting down: %s", self)
                self.alive = False
                self._wake()
            await asyncio.sleep(min(1.0, self.timeout / 2) or 1.0)

    def _obey(self) -> None:
        os.read(self.PIPE[0], 4096)
        if self._reopen:
            self._reopen = False
            self.log.reopen_files()
        worker = self._worker
        if self.alive or worker is None:
            return
        worker.request_stop()
        # Nobody asked: a file has changed, and a developer waits for the answer of the new code.
        if self._asked == "quick" or (self.cfg.reload and not self._asked):
            worker.force()

    def _wake(self) -> None:  # gunicorn's reloader does the same, from its thread
        with suppress(BlockingIOError):
            os.write(self.PIPE[1], b".")

    def _give_up(self, _sig: int, _frame: FrameType | None) -> None:
        self.log.warning("not waited for: the application was still busy")
        os._exit(0)

    def _settings(self) -> Settings:
        """What gunicorn was told, in our names; raises `ConfigError`."""
        cfg = self.cfg
        for name, (accepted, advice) in _REFUSED.items():
            value = getattr(cfg, name, None)
            if value is not None and value not in accepted:
                who = type(self).__name__
                raise ConfigError(f"{name} = {value!r} is not supported by {who}\n  {advice}")
        graceful = cfg.graceful_timeout
        given: dict[str, object] = {
            "app": self.wsgi,
            "access_log_format": cfg.access_log_format,
            "backlog": cfg.backlog,
            "forwarded_allow_ips": cfg.forwarded_allow_ips,
            "lifespan": getattr(cfg, "asgi_lifespan", None),
            "limit_concurrency": _said(cfg, "worker_connections"),
            "limit_head_size": _head_size(cfg),
            "limit_headers": cfg.limit_request_fields or _MOST_FIELDS,
            "limit_max_requests": self.max_requests if cfg.max_requests else None,
            "limit_max_requests_jitter": 0,
            "loop": getattr(cfg, "asgi_loop", None),
            "root_path": getattr(cfg, "root_path", None) or None,
            "threads": _said(cfg, "threads"),
            "timeout_graceful_shutdown": graceful - min(_LIFESPANS, graceful / 4),
            "timeout_keep_alive": cfg.keepalive,
            "workers": cfg.workers,
        }
        overrides = {**given, **self._own_settings()}
        return load(overrides=overrides, environ={}, search=False, embedded=True).settings

    def _own_settings(self) -> dict[str, object]:
        """SETTINGS of the class and its bases."""
        found: dict[str, object] = {}
        for cls in reversed(type(self).__mro__):
            found.update(vars(cls).get("SETTINGS", {}))
        for name in found:
            theirs = name in DECLARED and DECLARED[name].setting.group in _THEIR_GROUPS
            if name in _THEIR_NAMES or (theirs and name not in _OUR_NAMES):
                where = f"{type(self).__name__}.SETTINGS"
                raise ConfigError(f"{where}: {name} is gunicorn's to say\n  see docs/gunicorn.md")
        return found


class GatewayH11Worker(GatewayWorker):
    """`GatewayWorker` without compiled code: the h11 parser on asyncio's loop."""

    SETTINGS: ClassVar[Mapping[str, object]] = {"http": "h11", "loop": "asyncio"}


def _said(cfg: Config, name: str) -> object:
    """A setting's value, None where it is gunicorn's default: one thread, 1000 connections.

    Those are the right numbers for gunicorn's workers, and do not mean that somebody chose them.
    """
    value = cfg.settings[name].get()
    return None if value == cfg.settings[name].default else value


def _head_size(cfg: Config) -> int:
    """One limit for a whole head from gunicorn's two, each for a line (0: a MiB; the default)."""
    line = cfg.limit_request_line or 1 << 20
    field = cfg.limit_request_field_size or 8190
    return max(int(line + _LARGE_FIELDS * field), 1024)
