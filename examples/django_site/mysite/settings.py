"""Settings of the demo site, for Django 5.2 and later.

What differs between machines comes from the environment: DJANGO_SECRET_KEY, DJANGO_DEBUG (1 or 0),
DJANGO_ALLOWED_HOSTS (separated by spaces), DJANGO_DATA_DIR (the database and the uploads) and
REDIS_URL (redis://localhost:6379/0).
"""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("DJANGO_DATA_DIR", BASE_DIR))

# Sessions are signed with it: this one is public, so whoever reads it can forge them.
SECRET_KEY = os.environ.get(
    "DJANGO_SECRET_KEY", "django-insecure-for-the-demo-only-set-DJANGO_SECRET_KEY"
)
DEBUG = os.environ.get("DJANGO_DEBUG", "1") == "1"
ALLOWED_HOSTS = [
    "localhost",
    "127.0.0.1",
    "[::1]",
    "testserver",
    *os.environ.get("DJANGO_ALLOWED_HOSTS", "").split(),
]

INSTALLED_APPS = [
    "guestbook",
    "channels",  # it needs no entry here; with one, `gateway dev` takes asgi.py and not wsgi.py
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
ROOT_URLCONF = "mysite.urls"
WSGI_APPLICATION = "mysite.wsgi.application"
ASGI_APPLICATION = "mysite.asgi.application"

# How WebSockets reach one another: within this process, or through Redis, which several workers and
# machines need (pip install channels-redis). A view under WSGI can send into Redis too, with
# async_to_sync; the layer in memory belongs to the event loop.
REDIS_URL = os.environ.get("REDIS_URL")
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL]},
    }
    if REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
}

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "db.sqlite3",
        "OPTIONS": {
            # Requests come from many threads. A transaction that takes its lock when it begins
            # waits for the others; one that upgrades later fails with "database is locked".
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

# Without a leading slash: Django puts the prefix in front that the site is mounted at.
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
# Uploads have no URL of their own: views.download hands them out.
MEDIA_ROOT = DATA_DIR / "media"
UPLOAD_MAX_SIZE = 10 * 1024 * 1024  # bytes

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,  # True would silence the server's own log
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    # Django writes to the console only while DEBUG is on; errors should always be seen.
    "loggers": {"django": {"handlers": ["console"], "level": "WARNING", "propagate": False}},
}
