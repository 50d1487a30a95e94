"""What an application is: its interface, told from its signature, and its framework.

Nothing of the application is called: a trial call is how a server dies at start on
``wsgiref.validate.validator(app)``, which answers it with an AssertionError.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.metadata
import inspect
import sys
from collections.abc import Iterator
from types import MethodType
from typing import Final, Literal, TypeAlias

from gateway.errors import StartError

__all__ = ["Interface", "describe", "detect", "notes"]

Interface: TypeAlias = Literal["asgi3", "asgi2", "wsgi"]

# The ASGI spec 2.0 and 3.0 and PEP 3333: scope | environ, start_response | scope, receive, send.
_BY_COUNT: Final[dict[int, Interface]] = {1: "asgi2", 2: "wsgi", 3: "asgi3"}
_MOST_LAYERS: Final = 32  # of functools.wraps or middleware; a cycle of them ends here

_FRAMEWORKS: Final = {
    "blacksheep": "BlackSheep",
    "bottle": "Bottle",
    "channels": "Channels",
    "connexion": "Connexion",
    "django": "Django",
    "falcon": "Falcon",
    "fastapi": "FastAPI",
    "flask": "Flask",
    "litestar": "Litestar",
    "pyramid": "Pyramid",
    "quart": "Quart",
    "sanic": "Sanic",
    "starlette": "Starlette",
}
_INNER: Final = ("app", "application", "wsgi_app", "asgi_app")  # where middleware keeps its next

# Before Python 3.12 only asyncio knew the mark that libraries set on a function which returns an
# awaitable; from 3.14 its test is deprecated.
if sys.version_info >= (3, 12):
    _is_coroutine_function = inspect.iscoroutinefunction
else:
    _is_coroutine_function = asyncio.iscoroutinefunction


def detect(app: object) -> Interface:
    """Tell the interface of `app`: the first of its layers whose signature is clear decides.

    1. A coroutine function is ASGI 3.
    2. A parameter named ``start_response`` makes it WSGI.
    3. The number of required positional parameters: 1 is ASGI 2, 2 is WSGI, 3 is ASGI 3. A class
       is called to construct: ``(scope)`` is ASGI 2 if its instances take ``(receive, send)``.
    4. ``*args`` says nothing: what the wrapper names in ``__wrapped__`` (functools.wraps) is next.

    Raises `StartError`, which names ``--interface``, if no layer is clear.
    """
    if not callable(app):
        raise StartError(f"an application is callable, {_name(app)} is not")
    for layer in _layers(app):
        interface = _interface(layer)
        if interface is not None:
            return interface
    raise StartError(
        f"the interface of {_name(app)} cannot be told from its signature {_signature_text(app)}\n"
        "  say which it is:  --interface asgi3, asgi2 or wsgi"
        '  (in a file: interface = "..." at the mount)'
    )


def describe(app: object) -> str:
    """Framework and version for the banner, ``"FastAPI 0.165.0"``; "" for one not known.

    Told by the package of the class, also through a subclass or middleware around it. The version
    comes from the metadata of the installed distribution.
    """
    found = _framework(app)
    if found is None:
        return ""
    package, _ = found
    try:
        return f"{_FRAMEWORKS[package]} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return _FRAMEWORKS[package]


def notes(app: object, prefix: str = "") -> str:
    """What the banner adds for `app` mounted at `prefix`: ``"docs at /api/docs"``, or ""."""
    found = _framework(app)
    if found is None or found[0] != "fastapi":
        return ""
    docs = getattr(found[1], "docs_url", None)
    if not docs or not getattr(found[1], "openapi_url", None):
        return ""
    return f"docs at {prefix.rstrip('/')}{docs}"


def _framework(app: object) -> tuple[str, object] | None:
    """The known package whose object answers in the end, and that object.

    A framework's own middleware (starlette.middleware.cors) says nothing about what it wraps.
    """
    inner: object = app
    for _ in range(_MOST_LAYERS):
        for cls in type(inner).__mro__:
            package = cls.__module__.partition(".")[0]
            if package in _FRAMEWORKS and ".middleware" not in cls.__module__:
                return package, inner
        if isinstance(inner, MethodType):
            inner = inner.__self__
        elif isinstance(inner, functools.partial):
            inner = inner.func
        else:
            attributes = getattr(inner, "__dict__", {})
            following = [
                attributes[name] for name in (*_INNER, "__wrapped__") if name in attributes
            ]
            if not following:
                return None
            inner = following[0]
    return None


def _layers(app: object) -> Iterator[object]:
    """What is called, then what that wraps, and so on inwards."""
    call: object = _called(app)
    for _ in range(_MOST_LAYERS):
        yield call
        inner = _wrapped(call)
        if inner is None and call is not app:
            inner = _wrapped(app)  # functools.update_wrapper(self, app) marks the instance
        if inner is None:
            return
        app, call = inner, _called(inner)


def _called(app: object) -> object:
    """The function or class behind a call of `app`: an instance gives its bound ``__call__``.

    Looked up as the interpreter does, on the type: a proxy's own attributes are not touched.
    """
    if inspect.isroutine(app) or inspect.isclass(app) or isinstance(app, functools.partial):
        return app
    call = _stored_call(type(app))
    return call.__get__(app, type(app)) if hasattr(call, "__get__") else _called(call)


def _wrapped(call: object) -> object | None:
    """One ``__wrapped__`` further in, with bound arguments kept bound."""
    if isinstance(call, functools.partial):
        inner = _wrapped(call.func)
        return functools.partial(inner, *call.args, **call.keywords) if callable(inner) else None
    if isinstance(call, MethodType):
        inner = _wrapped(call.__func__)
        return MethodType(inner, call.__self__) if callable(inner) else None
    inner = inspect.getattr_static(call, "__wrapped__", None)
    return inner if callable(inner) else None


def _interface(call: object) -> Interface | None:
    if _is_async(call):
        return "asgi3"
    parameters = _parameters(call)
    if parameters is None:
        return None
    if any(parameter.name == "start_response" for parameter in parameters):
        return "wsgi"
    required = 0
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            return None
        if parameter.default is parameter.empty:
            if parameter.kind is parameter.KEYWORD_ONLY:
                return None
            required += parameter.kind is not parameter.VAR_KEYWORD
    if required == 1 and inspect.isclass(call) and not _is_double(call):
        return None
    return _BY_COUNT.get(required)


def _is_async(call: object) -> bool:
    while isinstance(call, functools.partial):
        call = _called(call.func)
    return _is_coroutine_function(call)


def _is_double(cls: type) -> bool:
    """The instances of `cls` take (receive, send); a class of middleware takes more, or less."""
    call = _stored_call(cls)
    if not hasattr(call, "__get__"):
        return False
    required = [
        parameter
        for parameter in _parameters(call.__get__(None, cls)) or ()
        if parameter.default is parameter.empty
    ]
    return len(required) == (2 if isinstance(call, staticmethod | classmethod) else 3)


def _stored_call(cls: type) -> object:
    """``__call__`` as the class or a base stores it; never that of the metaclass."""
    return next((vars(base)["__call__"] for base in cls.__mro__ if "__call__" in vars(base)), None)


def _parameters(call: object) -> list[inspect.Parameter] | None:
    try:
        signature = inspect.signature(call, follow_wrapped=False)  # type: ignore[arg-type]
    except (TypeError, ValueError):  # compiled code may have none
        return None
    return list(signature.parameters.values())


def _name(app: object) -> str:
    return getattr(app, "__qualname__", None) or f"a {type(app).__qualname__}"


def _signature_text(app: object) -> str:
    parameters = _parameters(_called(app))
    return "(?)" if parameters is None else str(inspect.Signature(parameters))
