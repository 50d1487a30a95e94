"""The WSGI entry point: ``gateway mysite.wsgi:application``, one thread per request.

The better one for this site, and for most Django sites: its views and its database calls are
synchronous, and here up to ``threads`` of them run at once.
"""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

application = get_wsgi_application()
