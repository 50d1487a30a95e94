"""The ASGI entry point: ``gateway mysite.asgi:application``, for WebSockets and async views.

Every page works here too. But Django runs a synchronous view in a thread that is handed to and fro,
and reads a FileResponse whole before it sends it (a warning in the log says so). gateway.toml
therefore mounts this one at /ws only, beside wsgi.py.
"""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

# Before the consumers, whose models need what this sets up.
pages = get_asgi_application()

from guestbook.routing import websocket_urlpatterns  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": pages,
        # A browser sends this site's cookies along even if the page that connects is another
        # site's: the Origin tells, as the token does in a form.
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter(websocket_urlpatterns))
        ),
    }
)
