from __future__ import annotations

from e2e.apps.djsite.asgi import application as asgi3
from e2e.apps.frameworks import double_callable

application = double_callable(asgi3)
