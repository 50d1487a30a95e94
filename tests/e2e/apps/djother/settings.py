from __future__ import annotations

SECRET_KEY = "for tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "e2e.apps.djsite.urls"
USE_TZ = True
