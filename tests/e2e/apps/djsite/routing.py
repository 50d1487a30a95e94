"""Channels in front of Django, as its tutorial has it."""

from __future__ import annotations

from channels.routing import ProtocolTypeRouter

from e2e.apps.djsite.asgi import application as django

application = ProtocolTypeRouter({"http": django})
