"""The upgrades of one process: one at a time, and nothing left of those that come to nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from gateway.errors import StartError
from gateway.process.inherit import InheritedSocket
from gateway.process.tasks import Tasks
from gateway.process.upgrade import Upgrade

__all__ = ["Succession"]

logger = logging.getLogger("gateway.error")


class Succession:
    """Starts new binaries in the place of this one, until one of them serves."""

    def __init__(self) -> None:
        self._upgrade: Upgrade | None = None
        self._burials = Tasks()

    async def begin(
        self, sockets: Sequence[InheritedSocket], environ: Mapping[str, str], directory: str
    ) -> int | None:
        """Start one, as `Upgrade.begin` does; its pid when it serves, None if it does not.

        One that is under way is given up first. One that is given up, so or because this call is
        canceled, is waited for: it leaves no zombie. Canceled too late, when the new binary serves
        already, this returns its pid all the same.
        """
        while (former := self._upgrade) is not None:
            if not former.cancel():
                return None  # it serves, and this process is leaving
            await former.gone()
            if self._upgrade is former:
                self._upgrade = None
        try:
            upgrade = self._upgrade = Upgrade.begin(sockets, environ, directory)
        except StartError as error:
            logger.error("%s", error)
            return None
        logger.info("started a new binary, pid %d", upgrade.pid)
        try:
            await upgrade.is_ready()
        except asyncio.CancelledError:
            if upgrade.cancel():
                logger.warning("the new binary (pid %d) is given up", upgrade.pid)
                self._burials.add(self._bury(upgrade))
                raise
        if upgrade.serves:
            logger.info("the new binary (pid %d) serves; leaving", upgrade.pid)
            return upgrade.pid
        if upgrade.canceled:
            logger.warning("the new binary (pid %d) was given up", upgrade.pid)
        else:
            logger.error("the new binary (pid %d) did not come up; this one goes on", upgrade.pid)
        await asyncio.shield(self._burials.add(self._bury(upgrade)))
        return None

    def cancel(self) -> bool:
        """Have the one that is under way end, if there is one; False if it serves already."""
        return self._upgrade is None or self._upgrade.cancel()

    def settle(self) -> None:
        """Let the one that serves speak: it waits until others know whose turn it is."""
        if self._upgrade is not None:
            self._upgrade.close()

    async def _bury(self, upgrade: Upgrade) -> None:
        try:
            await upgrade.gone()
        finally:
            upgrade.close()
        if self._upgrade is upgrade:
            self._upgrade = None
