"""Settings: each declared once, read from everywhere, every value with its origin."""

from __future__ import annotations

from gateway.settings.bind import Bind
from gateway.settings.load import Loaded, load
from gateway.settings.model import Settings
from gateway.settings.mounts import Middleware, Mount

__all__ = ["Bind", "Loaded", "Middleware", "Mount", "Settings", "load"]
