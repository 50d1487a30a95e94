"""Static files of a Django project in development, as ``manage.py runserver`` serves them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Final, cast

from gateway.errors import StartError
from gateway.importer.crash import explain

__all__ = ["with_static_files"]

_HANDLERS: Final = "django.contrib.staticfiles.handlers"

# What may be wrapped, and in which class. Channels' router is what daphne's runserver wraps: the
# handler passes on what is not HTTP.
_WRAPPERS: Final = (
    ("django.core.handlers.wsgi", "WSGIHandler", "StaticFilesHandler"),
    ("django.core.handlers.asgi", "ASGIHandler", "ASGIStaticFilesHandler"),
    ("channels.routing", "ProtocolTypeRouter", "ASGIStaticFilesHandler"),
)


def with_static_files(app: object) -> object:
    """`app` in front of which Django serves STATIC_URL, if ``runserver`` would do so.

    That is: `app` is Django's WSGI or ASGI handler or Channels' router, DEBUG is on, and
    ``django.contrib.staticfiles`` is installed. Everything else comes back as it is, and Django is
    not imported for the question. For development only: files are looked up in every application
    on each request, and nothing is said about caching.

    Raises `StartError` where Django refuses, as it does without STATIC_URL.
    """
    wrapper = next((to for module, name, to in _WRAPPERS if _is_a(app, module, name)), None)
    if wrapper is None or getattr(app, "handles_files", False) or not _serves_static_files():
        return app
    wrap = cast("Callable[[object], object]", getattr(importlib.import_module(_HANDLERS), wrapper))
    try:
        return wrap(app)
    except Exception as error:
        raise StartError(f"static files cannot be served\n{explain(error)}") from error


def _is_a(app: object, module: str, name: str) -> bool:
    cls: object = getattr(sys.modules.get(module), name, None)
    return isinstance(cls, type) and isinstance(app, cls)


def _serves_static_files() -> bool:
    """DEBUG is on and the application installed; an unfinished setup counts as no."""
    settings = getattr(sys.modules.get("django.conf"), "settings", None)
    apps = getattr(sys.modules.get("django.apps"), "apps", None)
    if settings is None or apps is None or not settings.configured or not apps.ready:
        return False
    return bool(settings.DEBUG and apps.is_installed("django.contrib.staticfiles"))
