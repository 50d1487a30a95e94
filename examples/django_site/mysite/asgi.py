"""The ASGI entry point: ``gateway mysite.asgi:application``, for sites with async views.

Every page works here too. But Django runs a synchronous view in a thread that is handed to and fro,
and reads a FileResponse whole before it sends it (a warning in the log says so).
"""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

application = get_asgi_application()
