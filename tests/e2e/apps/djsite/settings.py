from __future__ import annotations

SECRET_KEY = "for tests"
ALLOWED_HOSTS = ["*"]
DEBUG = False
ROOT_URLCONF = "e2e.apps.djsite.urls"
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
INSTALLED_APPS: list[str] = []
USE_TZ = True
