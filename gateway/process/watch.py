"""Waits for changes of source files, so that development mode can start the application again."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from gateway.errors import ConfigError
from gateway.process.watch_filter import WatchFilter
from gateway.process.watch_polling import Snapshot, look

if TYPE_CHECKING:
    from watchfiles.main import FileChange

__all__ = ["Engine", "Watcher"]

Engine: TypeAlias = Literal["auto", "watchfiles", "polling"]

_log: Final = logging.getLogger("gateway.error")

_LEAST_INTERVAL: Final = 0.1  # seconds between two polls: 22 ms of one core each in a large project
_LONGEST_BATCH: Final = 2.0  # seconds; a file that is written all the time must not hold a batch up
_TURN: Final = 0.2  # seconds a thread waits in watchfiles before it looks up
_IDLE_TURNS: Final = 25  # then a look all the same


class Watcher:
    """Watches directories for files that are created, changed or deleted.

    dirs, includes, excludes: see `WatchFilter`.
    delay: seconds without a further change before a batch is complete, and between two polls
        (0.1 at least). A batch is complete after 2 s, or `delay` if that is longer, in any case.
    engine: "watchfiles" for the system's notifications, "polling" for a look at all files every
        `delay` seconds; "auto" takes watchfiles where it is installed.

    The first look is taken here, and blocks: what changes from now on is reported. All later ones
    run in the loop's default executor. A poll of 5,000 files in 500 directories costs 22 ms, about
    a tenth of a core at the default delay of 0.25 s; with watchfiles that is paid for a change, and
    once every 5 s: container mounts and network file systems send no notifications, and a full
    queue loses some.

    Notifications only say when to look; what has changed is always told by comparing two looks.
    So both engines report the same, nothing is reported for a file that was written and removed
    again, and a directory may go and come back. A file counts as changed when its time, its size
    or its inode is different: a ``touch`` is a change, reading is none.

    engine_name: "watchfiles" or "polling", for the banner. Where the system has no notifications
        left, a warning says so and polling takes over.
    dirs: the watched directories, absolute.

    Raises `ConfigError` as `WatchFilter` does, and where engine "watchfiles" cannot be imported.
    """

    def __init__(
        self,
        dirs: Sequence[str],
        includes: Sequence[str] = (),
        excludes: Sequence[str] = (),
        *,
        delay: float,
        engine: Engine = "auto",
    ) -> None:
        self._rules = WatchFilter(dirs, includes, excludes)
        self._delay = delay
        self._closed = asyncio.Event()
        self._last = look(self._rules)
        self._notifications: _Notifications | None = None
        if engine != "polling":
            try:
                self._notifications = _Notifications(self._rules)
            except ImportError as error:
                if engine == "watchfiles":
                    raise ConfigError(f"watchfiles: {error}\n  pip install watchfiles") from error

    @property
    def engine_name(self) -> str:
        return "polling" if self._notifications is None else "watchfiles"

    @property
    def dirs(self) -> tuple[Path, ...]:
        return tuple(Path(path) for path in self._rules.roots)

    async def changes(self) -> AsyncIterator[tuple[Path, ...]]:
        """Batches of changed files, absolute paths in order, until `close`.

        One iteration at a time. When it ends, however it does, the watcher is closed.
        """
        try:
            while await self._wait():
                before = self._last
                now = await self._look()
                if now.files != before.files:
                    now = await self._settled(now)
                self._last = now
                if (changed := before.changed(now)) and not self._closed.is_set():
                    yield changed
        finally:
            self.close()

    def close(self) -> None:
        """End `changes` and what waits for notifications; again is harmless.

        To be called on the loop. A thread of the executor that waits for notifications ends within
        0.1 s.
        """
        self._closed.set()
        if self._notifications is not None:
            self._notifications.close()

    async def _wait(self) -> bool:
        """Wait until a look is worth its cost. False when the watcher is closed."""
        if self._notifications is not None:
            try:
                await self._notifications.wait(self._last)
                return not self._closed.is_set()
            except FileNotFoundError:
                pass  # a directory has gone since the last look; the next one sees that
            except (OSError, RuntimeError) as error:
                _log.warning("reload: no notifications of changes (%s); polling instead", error)
                self._notifications.close()
                self._notifications = None
        return not await self._closes_within(max(self._delay, _LEAST_INTERVAL))

    async def _look(self) -> Snapshot:
        return await asyncio.get_running_loop().run_in_executor(None, look, self._rules)

    async def _settled(self, now: Snapshot) -> Snapshot:
        """The look after which nothing changed for `delay` seconds."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + max(_LONGEST_BATCH, self._delay)
        while not await self._closes_within(self._delay):
            before, now = now, await self._look()
            if now.files == before.files or clock() >= deadline:
                break
        return now

    async def _closes_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return False
        return True


class _Notifications:
    """Says when to look, from the system's file notifications by way of watchfiles.

    Linux notifies per directory: those that were looked into are watched one by one, since a
    recursive watch would take node_modules and .venv along and run into the system's limit
    (fs.inotify.max_user_watches). macOS and Windows watch trees.
    """

    def __init__(self, rules: WatchFilter) -> None:
        from watchfiles import watch

        self._watch_paths = watch
        self._rules = rules
        self._trees = sys.platform in ("darwin", "win32")
        self._stop = threading.Event()
        self._watched: dict[str, int] = {}
        self._events: Generator[set[FileChange], None, None] | None = None

    async def wait(self, last: Snapshot) -> None:
        """Wait until something that may matter has changed since `last`, a while at most.

        Raises FileNotFoundError where a directory has gone, OSError or RuntimeError (watchfiles has
        both) where the system has no notifications to give.
        """
        wanted = self._wanted(last)
        if not wanted:
            self._watched = {}
            raise FileNotFoundError("none of the watched directories is there")
        fresh = wanted != self._watched
        if fresh:
            self._watched = wanted
            self._events = self._watch(list(wanted))
        loop = asyncio.get_running_loop()
        complete = last.dirs.keys() >= set(self._rules.roots)
        try:
            for _ in range(_IDLE_TURNS):
                events = await loop.run_in_executor(None, self._next)
                if any(path in wanted for change, path in events if change.name == "deleted"):
                    # It may be back already, with the same inode, but its watch is gone.
                    self._watched = {}
                # What changed between that look and the first turn has sent no notification. A
                # root that is gone sends none when it comes back.
                if fresh or not complete or self._stop.is_set():
                    return
                if any(self._may_matter(path, last) for _, path in events):
                    return
        except FileNotFoundError:
            self._watched = {}
            raise

    def close(self) -> None:
        self._stop.set()

    def _wanted(self, last: Snapshot) -> dict[str, int]:
        """Path to inode: what takes an old one's place has to be watched anew."""
        beside = {os.path.dirname(path): 0 for path in self._rules.files}  # noqa: PTH120
        if self._trees:
            roots = {path: last.dirs[path] for path in self._rules.roots if path in last.dirs}
            return (
                dict.fromkeys((path for path in self._rules.files if path in last.files), 0) | roots
            )
        return {path: 0 for path in beside if os.path.isdir(path)} | last.dirs  # noqa: PTH112

    def _watch(self, paths: list[str]) -> Generator[set[FileChange], None, None]:
        return self._watch_paths(
            *paths,
            watch_filter=None,
            step=50,  # ms between two looks at the queue of notifications
            rust_timeout=int(_TURN * 1000),
            yield_on_timeout=True,
            stop_event=self._stop,
            raise_interrupt=False,
            recursive=self._trees,
            ignore_permission_denied=True,
        )

    def _next(self) -> set[FileChange]:
        """In a thread: the next notifications; none after `_TURN`, and after `close`."""
        events = self._events
        return set() if events is None else next(events, set())

    def _may_matter(self, path: str, last: Snapshot) -> bool:
        name = os.path.basename(path)  # noqa: PTH119
        if path in last.dirs or path in self._rules.files or self._rules.includes(path, name):
            return True
        return os.path.isdir(path) and self._rules.walks(path, name)  # noqa: PTH112
