from __future__ import annotations

import asyncio
import functools
import importlib.metadata
import inspect
import sys
from wsgiref.simple_server import demo_app
from wsgiref.validate import validator

import a2wsgi
import channels.routing
import django
import fastapi
import flask
import litestar
import pytest
import quart
import starlette.applications
import starlette.endpoints
import starlette.middleware.cors
import starlette.middleware.gzip
import starlette.responses
import starlette.routing
from django.conf import settings
from werkzeug.middleware.proxy_fix import ProxyFix

from gateway.errors import StartError
from gateway.interfaces.detect import describe, detect, notes

if not settings.configured:
    settings.configure(ROOT_URLCONF="", SECRET_KEY="test")
    django.setup()

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application


def wsgi(environ, start_response):
    raise AssertionError("detection called the application")


async def asgi3(scope, receive, send):
    raise AssertionError("detection called the application")


def asgi2(scope):
    raise AssertionError("detection called the application")


class Asgi2Class:
    def __init__(self, scope):
        raise AssertionError("detection called the application")

    async def __call__(self, receive, send):
        pass


class Asgi2StaticClass:
    def __init__(self, scope):
        pass

    @staticmethod
    async def __call__(receive, send):
        pass


class WsgiClass:
    def __init__(self, environ, start_response):
        raise AssertionError("detection called the application")

    def __iter__(self):
        yield b""


class Asgi3Instance:
    def __init__(self, app=None):
        self.app = app

    async def __call__(self, scope, receive, send):
        pass


class SyncAsgi3Instance:
    def __call__(self, scope, receive, send):
        return asgi3(scope, receive, send)


class WhiteNoiseLike:
    def __init__(self, application):
        self.application = application

    def __call__(self, environ, start_response):
        return self.application(environ, start_response)


class StaticCall:
    @staticmethod
    async def __call__(scope, receive, send):
        pass


class ClassCall:
    @classmethod
    def __call__(cls, environ, start_response):
        pass


class SlotCall:
    """How sentry-sdk chooses between two versions: the call sits in a slot."""

    __slots__ = ("__call__",)

    def __init__(self):
        self.__call__ = self._run

    async def _run(self, scope, receive, send):
        pass


class CallableCall:
    """`__call__` is an instance itself."""

    __call__ = Asgi3Instance()


class Methods:
    async def asgi3(self, scope, receive, send):
        pass

    def wsgi(self, environ, start_response):
        pass

    @staticmethod
    def static(environ, start_response):
        pass

    @classmethod
    async def of_class(cls, scope, receive, send):
        pass


class MarkedInstance:
    """functools.update_wrapper on an instance: what it wraps is said by the instance."""

    def __init__(self, app):
        functools.update_wrapper(self, app)

    def __call__(self, *args):
        pass


def loose(app):
    @functools.wraps(app)
    def wrapper(*args, **kwargs):
        return app(*args, **kwargs)

    return wrapper


class LooseMethod:
    @loose
    def __call__(self, environ, start_response):
        pass


def adapter(app):
    @functools.wraps(app)
    def wrapper(environ, start_response):
        pass

    return wrapper


async def with_config(config, scope, receive, send):
    pass


def configured(config, environ, respond):
    pass


def marked():
    def app(*args):
        return asgi3(*args)

    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(app)
    app._is_coroutine = asyncio.coroutines._is_coroutine
    return app


ASGI3 = {
    "function": asgi3,
    "instance": Asgi3Instance(),
    "plain method that returns an awaitable": SyncAsgi3Instance(),
    "static __call__": StaticCall(),
    "__call__ in a slot": SlotCall(),
    "__call__ that is an instance": CallableCall(),
    "bound method": Methods().asgi3,
    "class method": Methods.of_class,
    "lambda": lambda scope, receive, send: asyncio.sleep(0),
    "wraps": loose(asgi3),
    "wraps twice": loose(loose(asgi3)),
    "wraps with *args, then an instance": loose(Asgi3Instance()),
    "instance that wraps": MarkedInstance(asgi3),
    "coroutine function with *args": functools.partial(with_config, {}),
    "partial of an instance": functools.partial(Asgi3Instance()),
    "partial of wraps": functools.partial(loose(with_config), {}),
    "marked as coroutine function": marked(),
    "Django": get_asgi_application(),
    "FastAPI": fastapi.FastAPI(),
    "Starlette": starlette.applications.Starlette(),
    "Starlette's router": starlette.routing.Router(),
    "Starlette's response": starlette.responses.PlainTextResponse("x"),
    "Starlette's endpoint class": starlette.endpoints.HTTPEndpoint,
    "Starlette's middleware": starlette.middleware.gzip.GZipMiddleware(asgi3),
    "Quart": quart.Quart("quart_app"),
    "Litestar": litestar.Litestar(),
    "Channels": channels.routing.ProtocolTypeRouter({"http": asgi3}),
    "Channels' URLRouter": channels.routing.URLRouter([]),
    "a2wsgi around WSGI": a2wsgi.WSGIMiddleware(wsgi),
}
WSGI = {
    "function": wsgi,
    "class": WsgiClass,
    "instance": WhiteNoiseLike(wsgi),
    "class method __call__": ClassCall(),
    "bound method": Methods().wsgi,
    "static method": Methods.static,
    "lambda": lambda environ, start_response: [],
    "own parameter names": lambda e, s: [],
    "optional parameters": lambda environ, start_response=None, debug=False: [],
    "partial": functools.partial(configured, {}),
    "wraps": loose(wsgi),
    "decorated method": LooseMethod(),
    "adapter that wraps an ASGI app": adapter(asgi3),
    "Django": get_wsgi_application(),
    "Flask": flask.Flask("flask_app"),
    "Flask's own method": flask.Flask("flask_app").wsgi_app,
    "ProxyFix": ProxyFix(wsgi),
    "wsgiref": demo_app,
    "a2wsgi around ASGI": a2wsgi.ASGIMiddleware(asgi3, loop=asyncio.new_event_loop()),
}
ASGI2 = {
    "function": asgi2,
    "class": Asgi2Class,
    "class with a static __call__": Asgi2StaticClass,
    "lambda": lambda scope: asgi3,
    "wraps": loose(asgi2),
    "partial": functools.partial(lambda config, scope: None, {}),
}
UNCLEAR = {
    "*args": lambda *args: None,
    "**kwargs": lambda **kwargs: None,
    "nothing": lambda: None,
    "four": lambda a, b, c, d: None,
    "a required keyword": lambda scope, receive, send, *, config: None,
    "some and *args": lambda scope, *args: None,
    "a class of middleware": Asgi3Instance,
    "a class of one without a call": type("Page", (), {"__init__": lambda self, scope: None}),
    "a class of middleware with a required app": WhiteNoiseLike.__class__(
        "M",
        (),
        {
            "__init__": lambda self, app: None,
            "__call__": lambda self, scope, receive, send: None,
        },
    ),
    "compiled code without a signature": max,
}


@pytest.fixture(scope="module", autouse=True)
def _close_loop():
    yield
    WSGI["a2wsgi around ASGI"].loop.close()


@pytest.mark.parametrize("app", ASGI3.values(), ids=ASGI3)
def test_is_asgi3(app):
    assert detect(app) == "asgi3"


@pytest.mark.parametrize("app", WSGI.values(), ids=WSGI)
def test_is_wsgi(app):
    assert detect(app) == "wsgi"


@pytest.mark.parametrize("app", ASGI2.values(), ids=ASGI2)
def test_is_asgi2(app):
    assert detect(app) == "asgi2"


@pytest.mark.parametrize("app", UNCLEAR.values(), ids=UNCLEAR)
def test_unclear_signature_names_the_option(app):
    with pytest.raises(StartError, match="--interface asgi3, asgi2 or wsgi"):
        detect(app)


def test_validator_is_unclear_and_not_called():
    with pytest.raises(StartError, match=r"lint_app cannot be told from its signature \(\*args"):
        detect(validator(wsgi))


def test_not_callable_is_told():
    with pytest.raises(StartError, match="an application is callable, a dict is not"):
        detect({})


def test_wraps_around_itself_ends():
    def wrapper(*args):
        pass

    wrapper.__wrapped__ = wrapper
    with pytest.raises(StartError, match="--interface"):
        detect(wrapper)


def version(name):
    return importlib.metadata.version(name)


class Subclass(fastapi.FastAPI):
    pass


@pytest.mark.parametrize(
    ("app", "text"),
    [
        (ASGI3["FastAPI"], f"FastAPI {version('fastapi')}"),
        (Subclass(), f"FastAPI {version('fastapi')}"),
        (ASGI3["Django"], f"Django {django.__version__}"),
        (WSGI["Django"], f"Django {django.__version__}"),
        (WSGI["Flask"], f"Flask {version('flask')}"),
        (ASGI3["Starlette"], f"Starlette {version('starlette')}"),
        (ASGI3["Quart"], f"Quart {version('quart')}"),
        (ASGI3["Litestar"], f"Litestar {version('litestar')}"),
        (ASGI3["Channels"], f"Channels {version('channels')}"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_describes_framework_and_version(app, text):
    assert describe(app) == text


@pytest.mark.parametrize(
    "wrap",
    [
        WhiteNoiseLike,
        ProxyFix,
        Asgi3Instance,
        a2wsgi.WSGIMiddleware,
        loose,
        functools.partial,
        lambda app: ProxyFix(app.wsgi_app),
    ],
    ids=["whitenoise", "ProxyFix", "asgi", "a2wsgi", "wraps", "partial", "method"],
)
def test_describes_what_middleware_wraps(wrap):
    assert describe(wrap(WSGI["Flask"])) == f"Flask {version('flask')}"


def test_middleware_of_a_framework_is_not_the_framework():
    app = starlette.middleware.cors.CORSMiddleware(ASGI3["FastAPI"])
    assert describe(app) == f"FastAPI {version('fastapi')}"


@pytest.mark.parametrize("app", [asgi3, wsgi, Asgi2Class, Asgi3Instance(), demo_app])
def test_describes_nothing_of_the_unknown(app):
    assert describe(app) == ""


def test_middleware_around_itself_ends():
    app = Asgi3Instance()
    app.app = app
    assert describe(app) == ""


def test_notes_docs_of_fastapi_under_the_prefix():
    assert notes(fastapi.FastAPI(), "/api") == "docs at /api/docs"


def test_notes_docs_of_fastapi_at_the_root():
    assert notes(fastapi.FastAPI(docs_url="/help"), "/") == "docs at /help"


@pytest.mark.parametrize("app", [fastapi.FastAPI(docs_url=None), fastapi.FastAPI(openapi_url=None)])
def test_notes_nothing_where_docs_are_off(app):
    assert notes(app, "/api") == ""


def test_notes_nothing_for_others():
    assert notes(WSGI["Flask"], "/") == ""
