from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest

from gateway.importer.static_files import with_static_files

# Django is configured once per process, so each case has one of its own.
SETTINGS = """
    import django
    from django.conf import settings

    settings.configure(
        DEBUG={debug},
        INSTALLED_APPS={apps},
        STATIC_URL="/static/",
        STATICFILES_DIRS=[{directory!r}],
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="x",
        ROOT_URLCONF="urls",
    )
    django.setup()

    import sys, types
    sys.modules["urls"] = types.ModuleType("urls")
    from django.http import HttpResponse
    from django.urls import path
    sys.modules["urls"].urlpatterns = [path("view", lambda request: HttpResponse("made"))]

    from gateway.importer.static_files import with_static_files
"""
ON = {"debug": True, "apps": ["django.contrib.staticfiles"]}

WSGI = """
    from wsgiref.util import setup_testing_defaults
    from django.core.wsgi import get_wsgi_application

    app = get_wsgi_application()
    wrapped = with_static_files(app)

    def get(path):
        environ = {"PATH_INFO": path}
        setup_testing_defaults(environ)
        answer = []
        body = wrapped(environ, lambda status, headers: answer.append(status))
        return answer[0], b"".join(body)
"""
ASGI = """
    import asyncio
    from django.core.asgi import get_asgi_application

    app = get_asgi_application()
    wrapped = with_static_files(app)

    def get(path):
        scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": path,
                 "raw_path": path.encode(), "query_string": b"", "headers": [], "root_path": ""}
        sent = []

        async def receive():
            if len(received) == 0:
                received.append(1)
                return {"type": "http.request", "body": b"", "more_body": False}
            await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        received = []
        asyncio.run(wrapped(scope, receive, send))
        return str(sent[0]["status"]), b"".join(each.get("body", b"") for each in sent)
"""
SERVED = """
    status, body = get("/static/hello.txt")
    assert status.startswith("200") and body == b"hello", (status, body)
    assert get("/static/none.txt")[0].startswith("404")
    status, body = get("/view")
    assert status.startswith("200") and body == b"made", (status, body)
    assert with_static_files(wrapped) is wrapped
"""
UNCHANGED = "assert wrapped is app\n"


def run(directory, *parts: str, **options) -> None:
    (directory / "hello.txt").write_text("hello")
    settings = dedent(SETTINGS).format(directory=str(directory), **options)
    code = settings + "\n".join(map(dedent, parts))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("app", [WSGI, ASGI], ids=["wsgi", "asgi"])
def test_django_serves_static_files_in_front_of_its_handlers(tmp_path, app):
    run(tmp_path, app, SERVED, **ON)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{**ON, "debug": False}, {**ON, "apps": []}],
    ids=["without DEBUG", "not installed"],
)
def test_runserver_would_not_serve_them_so_nothing_is_wrapped(tmp_path, options):
    run(tmp_path, WSGI, UNCHANGED, **options)


@pytest.mark.slow
def test_the_router_of_channels_is_wrapped(tmp_path):
    router = """
        from channels.routing import ProtocolTypeRouter
        from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

        wrapped = with_static_files(ProtocolTypeRouter({}))
        assert isinstance(wrapped, ASGIStaticFilesHandler)
    """
    run(tmp_path, router, **ON)


@pytest.mark.slow
def test_a_project_without_static_url_is_told(tmp_path):
    missing = """
        from gateway.errors import StartError

        settings.STATIC_URL = None
        from django.core.wsgi import get_wsgi_application
        try:
            with_static_files(get_wsgi_application())
        except StartError as error:
            assert "STATIC_URL" in str(error)
        else:
            raise AssertionError("served")
    """
    run(tmp_path, missing, **ON)


@pytest.mark.slow
def test_other_applications_are_unchanged_and_django_is_not_imported():
    code = (
        "import sys\n"
        "from gateway.importer.static_files import with_static_files\n"
        "assert with_static_files(print) is print\n"
        "assert 'django' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=20, check=False)
    assert done.returncode == 0


def test_another_application_beside_django_is_unchanged():
    import django.core.handlers.wsgi  # noqa: F401

    def app(environ, start_response): ...

    assert with_static_files(app) is app
