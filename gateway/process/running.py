"""Which process serves: this one, or workers of it."""

from __future__ import annotations

import os

from gateway.process.mounted import require_mounts
from gateway.process.server import Server
from gateway.settings import Loaded

__all__ = ["run"]


def run(loaded: Loaded) -> int:
    """Serve until told to stop; the exit code. Raises `StartError` or `ConfigError`."""
    settings = loaded.settings
    require_mounts(settings)
    # As process 1, a container's first, somebody must wait for processes whose parents have ended.
    # In a process that runs applications that would take the ends of their own children from them.
    is_init = os.getpid() == 1 and settings.supervise is None and not settings.objects
    if settings.supervised or is_init:
        from gateway.process.supervisor import Supervisor  # a server alone needs none of it

        return Supervisor(loaded).run()
    return Server(loaded.settings, origins=loaded.origins).run()
