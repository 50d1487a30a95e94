"""Two Django projects cannot share a process; this notices when a mount table asks for it.

Every ``wsgi.py`` and ``asgi.py`` says ``os.environ.setdefault("DJANGO_SETTINGS_MODULE", …)``. The
second project's call does nothing, so its mount would answer 200 with the first one's pages.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from gateway.errors import StartError

__all__ = ["DjangoSettingsGuard"]

_VARIABLE: Final = "DJANGO_SETTINGS_MODULE"


class DjangoSettingsGuard:
    """Watches the imports of several mounts and refuses a second Django project.

    Settings named from outside, in the environment, do not change that: the two projects asked
    for different ones, so one of them would not get its own.
    """

    def __init__(self) -> None:
        self._wanted: dict[str, str] = {}  # settings module -> the mount that asked first

    @contextmanager
    def watching(self, mount: str) -> Iterator[None]:
        """Import the application of `mount` inside. Raises `StartError` after the import."""
        environ = os.environ
        wanted: list[str] = []
        plain = environ.setdefault

        def setdefault(key: str, value: str) -> str:
            if key == _VARIABLE:
                wanted.append(value)
            return plain(key, value)

        # An instance attribute shadows the method for as long as the import runs.
        vars(environ)["setdefault"] = setdefault
        try:
            yield
        finally:
            vars(environ).pop("setdefault", None)
        loaded = _loaded_settings()
        assigned = environ.get(_VARIABLE)
        if loaded and assigned and assigned != loaded:
            wanted.append(assigned)
        for module in wanted:
            self._wanted.setdefault(module, mount)
        if len(self._wanted) > 1:
            (first, first_mount), (second, second_mount) = list(self._wanted.items())[:2]
            raise StartError(
                f"two Django projects in one process: {first_mount} uses {first}, "
                f"{second_mount} uses {second}\n"
                f"  Django has one settings module per process, so {second_mount} would answer "
                f"with the pages of {first_mount}\n"
                "  serve each project by a gateway process of its own, behind one proxy"
            )


def _loaded_settings() -> str | None:
    """The settings module Django has really read, None if there is none yet."""
    conf = sys.modules.get("django.conf")
    settings = getattr(conf, "settings", None)
    if settings is None or not settings.configured:
        return None
    return getattr(settings, "SETTINGS_MODULE", None)
