"""What a server has mounted, for those who print it; and what to say where that is nothing."""

from __future__ import annotations

from typing import Final, Protocol

from gateway.errors import ConfigError
from gateway.settings import Settings

__all__ = ["Mounted", "require_mounts"]

_NOTHING_TO_SERVE: Final = """\
nothing to serve: no application and no mounts
  one application:       gateway main:app
  several, side by side: gateway --mount /=main:app --mount /api=api:app
  from a file:           gateway.toml with [mounts], then gateway"""


class Mounted(Protocol):
    """The facts of one mount: of a `gateway.site.MountedApp`, or what a worker has told of it.

    key: "/api", "admin.example.com/". app_name: the import string. framework: "" if unknown.
    threads: of a WSGI mount, 0 else. notes: such as "docs at /api/docs".
    """

    @property
    def key(self) -> str: ...
    @property
    def app_name(self) -> str: ...
    @property
    def framework(self) -> str: ...
    @property
    def interface(self) -> str: ...
    @property
    def threads(self) -> int: ...
    @property
    def notes(self) -> str: ...


def require_mounts(settings: Settings) -> None:
    """Raise `ConfigError`, with what to type, where there is no application at all."""
    if not settings.mounts:
        raise ConfigError(_NOTHING_TO_SERVE)
