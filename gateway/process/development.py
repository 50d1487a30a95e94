"""Reload while code is written: watch files, end old workers, start new ones, show errors."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from gateway.errors import GatewayError
from gateway.process.fleet import Fleet
from gateway.process.slot import Plan
from gateway.process.tasks import Tasks
from gateway.process.watch import Watcher
from gateway.settings import Settings

__all__ = ["Development"]

logger = logging.getLogger("gateway.error")

# A reload ends what is still open so soon; event streams end at once.
_LIMIT: Final = 1.0


class Development:
    """Starts the workers of `fleet` again when a file changes.

    settings: what is watched. file: the configuration, which is watched too.
    read_again: gives a plan of what is written now; raises `GatewayError`.
    on_reload: called with the reason, before anything is done.

    Made before the first import, so that a change from then on is seen.
    """

    def __init__(
        self,
        fleet: Fleet,
        settings: Settings,
        file: Path | None,
        *,
        read_again: Callable[[], Awaitable[Plan]],
        on_reload: Callable[[str], Awaitable[None]],
    ) -> None:
        self._fleet = fleet
        self._read_again = read_again
        self._on_reload = on_reload
        self._reloads = Tasks()
        self._watching = Tasks()
        self._settled = asyncio.Event()
        self._watcher = Watcher(
            settings.reload_dirs or (settings.app_dir or os.curdir,),
            [*settings.reload_includes, *([str(file)] if file else [])],
            settings.reload_excludes,
            delay=settings.reload_delay,
        )

    async def start(self, begin: Callable[[], Awaitable[None]]) -> None:
        """Do `begin`, and reload on changes from then on, for ever.

        Returns when something serves: what was started, its error, or what a change has put in its
        place meanwhile. An import that never ends is mended like any other fault.
        """
        logger.info(
            "reloading on changes in %s (%s)",
            ", ".join(str(each) for each in self._watcher.dirs),
            self._watcher.engine_name,
        )
        self._reloads.add(self._attempt(begin))
        self._watching.add(self._watch())
        await self._settled.wait()

    async def _watch(self) -> None:
        async for files in self._watcher.changes():
            why = _changed(files)
            logger.info("%s; reloading", why)
            # Begun anew when more changes: what is starting now may never come up.
            await self._reloads.cancel()
            self._reloads.add(self._reload(why))

    async def _reload(self, why: str) -> None:
        await self._on_reload(why)
        if await self._attempt(self._restart):
            logger.info("reloaded")

    async def _restart(self) -> None:
        plan = await self._read_again()
        await self._fleet.restart(plan, limit=min(_LIMIT, plan.settings.timeout_graceful_shutdown))

    async def _attempt(self, action: Callable[[], Awaitable[None]]) -> bool:
        """Whether `action` was done; else every request is answered with why, until a change."""
        try:
            await action()
        except GatewayError as error:
            logger.error("%s", error)
            logger.error("waiting for a change; until then every request gets this error")
            await self._fleet.explain(str(error))
            return False
        finally:
            if not self._is_canceled():
                self._settled.set()
        return True

    def _is_canceled(self) -> bool:
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    async def close(self) -> None:
        self._watcher.close()
        await self._watching.cancel()
        await self._reloads.cancel()


def _changed(files: Sequence[Path]) -> str:
    names = [os.path.relpath(each) for each in files]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more} changed"
