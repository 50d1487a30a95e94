"""The applications of a server: imported, told apart, wrapped, started and stopped."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from textwrap import dedent

import pytest
from fakes import FakeWire, exchange, head

from gateway.errors import StartError
from gateway.settings import load
from gateway.site import Site


async def plain(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan here")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["root_path"].encode()})


def double(scope):
    async def instance(receive, send):
        await plain(scope, receive, send)

    return instance


def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [environ["SCRIPT_NAME"].encode()]


class Recorder:
    """Notes its lifespan in a list of all; may fail to start."""

    def __init__(self, name, notes, *, fail=False):
        self.name, self.notes, self.fail = name, notes, fail

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            await plain(scope, receive, send)
            return
        for event in ("startup", "shutdown"):
            await receive()
            self.notes.append(f"{self.name} {event}")
            if self.fail:
                await send({"type": "lifespan.startup.failed", "message": "not today"})
                return
            await send({"type": f"lifespan.{event}.complete"})


def build(mounts=None, **settings) -> Site:
    given = {"mounts": mounts, **settings}
    return Site.build(load(overrides=given, environ={}, search=False).settings)


_numbers = itertools.count(1)


@pytest.fixture
def module(tmp_path: Path, monkeypatch):
    """Write a module of the test's own; its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(code: str) -> str:
        name = f"site_module_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(dedent(code))
        return name

    return write


# --- build ----------------------------------------------------------------------------------------


def test_the_interface_of_each_mount_is_recognized():
    site = build({"/a": plain, "/b": double, "/c": wsgi})
    assert [(each.key, each.interface, each.threads) for each in site.mounts] == [
        ("/a", "asgi3", 0),
        ("/b", "asgi2", 0),
        ("/c", "wsgi", 8),
    ]


def test_an_interface_that_was_given_is_not_judged():
    def odd(*args):
        raise AssertionError

    site = build({"/": {"app": odd, "interface": "wsgi"}})
    assert site.mounts[0].interface == "wsgi"


def test_an_application_that_cannot_be_recognized_names_its_mount():
    def odd(*args):
        raise AssertionError

    with pytest.raises(StartError, match=r"(?s)^/odd: .*--interface|^/odd: .*interface"):
        build({"/odd": odd})


def test_one_string_is_one_application(module):
    name = module("async def app(scope, receive, send): ...")
    one, two = build({"/a": f"{name}:app", "/b": f"{name}:app"}).mounts
    assert one.application is two.application


def test_one_object_is_one_application():
    one, two = build({"/a": plain, "/b": plain}).mounts
    assert one.application is two.application


@pytest.mark.parametrize(
    "option", [{"threads": 3}, {"reset-contextvars": True}, {"interface": "asgi3"}]
)
def test_options_of_a_mount_do_not_make_another_application(option):
    one, two = build({"/a": plain, "/b": {"app": plain, **option}}).mounts
    assert one.application is two.application


def test_two_names_of_one_object_are_one_application(module):
    name = module("async def app(scope, receive, send): ...\nalias = app")
    one, two = build({"/a": f"{name}:app", "/b": f"{name}:alias"}).mounts
    assert one.application is two.application


def test_one_application_cannot_have_two_lifespans():
    with pytest.raises(StartError, match=r"^/b: the same application is mounted at /a"):
        build({"/a": plain, "/b": {"app": plain, "lifespan": "off"}})


def test_other_middleware_is_another_application(module):
    name = module("def wrap(app):\n    async def app(scope, receive, send): ...\n    return app")
    one, two = build({"/a": plain, "/b": {"app": plain, "middleware": [f"{name}:wrap"]}}).mounts
    assert one.application is not two.application


def test_a_factory_is_called_once_per_application(module):
    name = module(
        """
        calls = []
        def create():
            calls.append(1)
            async def app(scope, receive, send): ...
            return app
        """
    )
    build(
        {
            "/a": {"app": f"{name}:create", "factory": True},
            "/b": {"app": f"{name}:create", "factory": True},
        }
    )
    assert __import__(name).calls == [1]


def test_a_factory_that_is_an_object():
    site = build({"/": {"app": lambda: wsgi, "factory": True}})
    assert site.mounts[0].interface == "wsgi"


def test_the_framework_and_its_docs_are_told():
    fastapi = pytest.importorskip("fastapi")
    (mounted,) = build({"/api": fastapi.FastAPI()}).mounts
    assert mounted.framework.startswith("FastAPI ")
    assert mounted.notes == "docs at /api/docs"


def test_a_module_that_is_missing_stops_the_build():
    with pytest.raises(StartError, match='no module "nowhere_at_all"'):
        build({"/": "nowhere_at_all:app"})


# --- middleware -----------------------------------------------------------------------------------

MIDDLEWARE = """
class Asgi:
    def __init__(self, app, mark=""):
        self.app, self.mark = app, mark
    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)
class Wsgi:
    def __init__(self, app):
        self.app = app
    def __call__(self, environ, start_response):
        return self.app(environ, start_response)
def picky(app, *, needed):
    return app
"""


def test_middleware_is_outermost_first(module):
    name = module(MIDDLEWARE)
    stack = [{"use": f"{name}:Asgi", "mark": "outer"}, {"use": f"{name}:Asgi", "mark": "inner"}]
    (mounted,) = build({"/": {"app": plain, "middleware": stack}}).mounts
    outer = mounted.application.app
    assert (outer.mark, outer.app.mark, outer.app.app) == ("outer", "inner", plain)


def test_asgi_middleware_turns_a_wsgi_mount_into_asgi(module):
    name = module(MIDDLEWARE)
    (mounted,) = build({"/": {"app": wsgi, "middleware": [f"{name}:Asgi"]}}).mounts
    assert mounted.interface == "asgi3"


def test_wsgi_middleware_around_asgi_is_refused(module):
    name = module(MIDDLEWARE)
    with pytest.raises(StartError, match=f"/x: {name}:Wsgi is WSGI middleware"):
        build({"/x": {"app": plain, "middleware": [f"{name}:Wsgi"]}})


def test_middleware_with_wrong_arguments_names_mount_and_middleware(module):
    name = module(MIDDLEWARE)
    with pytest.raises(StartError, match=rf"(?s)^/x: the middleware {name}:picky .*needed"):
        build({"/x": {"app": plain, "middleware": [f"{name}:picky"]}})


# --- start and stop -------------------------------------------------------------------------------


def run(site: Site, *steps):
    async def main():
        await site.start()
        try:
            for step in steps:
                await step()
        finally:
            await site.stop(1.0)

    asyncio.run(main())


async def ask(site: Site, target: str, host: str = "test") -> FakeWire:
    wire = FakeWire()
    request = exchange(head(target=target, host=host), wire)
    done = asyncio.Event()
    request.on_finish.append(lambda _: done.set())
    site.handler(request)
    await asyncio.wait_for(done.wait(), 5)
    return wire


def test_before_the_start_the_answer_is_503():
    wire = FakeWire()
    build({"/": plain}).handler(exchange(head(), wire))
    assert wire.status == 503


def test_every_interface_answers_below_its_mount():
    site = build({"/a": plain, "/b": double, "/c": wsgi}, root_path="/out")

    async def step():
        for path in ("/a", "/b", "/c"):
            assert (await ask(site, f"{path}/x")).body == f"/out{path}".encode()
        assert (await ask(site, "/d")).status == 404

    run(site, step)


def test_lifespans_start_and_stop_once_each_the_last_first():
    notes: list[str] = []
    app = Recorder("shared", notes)
    run(build({"/a": app, "/b": app, "/c": Recorder("c", notes)}))
    assert notes == ["shared startup", "c startup", "c shutdown", "shared shutdown"]


def test_a_failing_lifespan_stops_the_others_and_is_raised():
    notes: list[str] = []
    site = build({"/a": Recorder("a", notes), "/b": Recorder("b", notes, fail=True)})
    with pytest.raises(StartError, match=r"^/b: "):
        asyncio.run(site.start())
    assert notes == ["a startup", "b startup", "a shutdown"]


def test_a_failing_lifespan_of_a_shared_application_names_all_its_mounts():
    app = Recorder("x", [], fail=True)
    with pytest.raises(StartError, match=r"^/a, /b: "):
        asyncio.run(build({"/a": app, "/b": app}).start())


def test_the_calls_under_way_are_counted_and_cancelled():
    async def stuck(scope, receive, send):
        if scope["type"] == "http":
            await asyncio.Event().wait()

    site = build({"/": stuck})

    async def step():
        wire = FakeWire()
        site.handler(exchange(head(), wire))
        await asyncio.sleep(0)
        assert site.running() == {"/": 1}
        site.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert site.running() == {}
        assert wire.status in (500, 503)

    run(site, step)


def test_the_limit_of_a_mount_is_its_own():
    gate = asyncio.Event()

    async def waits(scope, receive, send):
        if scope["type"] != "http":
            raise RuntimeError("no lifespan here")
        await gate.wait()
        await plain(scope, receive, send)

    site = build({"/a": {"app": waits, "limit_concurrency": 1}, "/b": plain})

    async def step():
        first = asyncio.ensure_future(ask(site, "/a"))
        await asyncio.sleep(0)
        assert (await ask(site, "/a")).status == 503
        assert (await ask(site, "/b")).status == 200
        gate.set()
        assert (await first).status == 200

    run(site, step)


@pytest.mark.parametrize(("workers", "multiprocess"), [(1, False), (2, True), ("auto", True)])
def test_a_wsgi_application_is_told_of_other_processes(workers, multiprocess):
    def app(environ, start_response):
        start_response("200 OK", [])
        return [str(environ["wsgi.multiprocess"]).encode()]

    options = {"app": app, "workers": workers}
    settings = load(overrides=options, environ={}, search=False, embedded=True).settings

    async def main():
        site = Site.build(settings)
        await site.start()
        wire = await ask(site, "/")
        await site.stop(timeout=5)
        assert wire.body == str(multiprocess).encode()

    asyncio.run(main())
