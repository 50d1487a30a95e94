"""Puts the folder of manage.py on the import path, as ``python manage.py`` does.

gateway.toml imports this site from the folder above, as ``django_site.mysite.wsgi``; its own
modules know each other as ``mysite`` and ``guestbook``. A project of your own needs none of these
lines: run gateway in the folder of its manage.py, ``gateway mysite.wsgi:application``.
"""

import sys
from pathlib import Path

FOLDER = str(Path(__file__).resolve().parent.parent)
if FOLDER not in sys.path:
    sys.path.insert(0, FOLDER)
