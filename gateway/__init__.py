"""gateway: one server core in front of many ASGI and WSGI applications."""

from __future__ import annotations

__version__ = "0.1.0"
