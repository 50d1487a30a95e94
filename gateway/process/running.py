"""Which process serves: this one, or workers of it."""

from __future__ import annotations

from gateway.errors import ConfigError
from gateway.process.server import Server
from gateway.process.supervisor import Supervisor
from gateway.settings import Loaded

__all__ = ["run"]


def run(loaded: Loaded) -> int:
    """Serve until told to stop; the exit code. Raises `StartError` or `ConfigError`."""
    if not loaded.settings.mounts:
        raise ConfigError("nothing to serve: name an application\n  try  gateway main:app")
    if loaded.settings.supervised:
        return Supervisor(loaded).run()
    return Server(loaded.settings, origins=loaded.origins).run()
