from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from gateway.errors import ConfigError, StartError
from gateway.importer import add_app_dir, explain, import_app, import_object


class Project:
    """A directory of application code, which is the working directory and the app-dir."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, **files: str) -> None:
        """Keyword names are paths: ``shop__main`` is shop/main.py."""
        for name, text in files.items():
            path = self.directory / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))

    def error(self, spec: str, **options: bool) -> str:
        with pytest.raises(StartError) as caught:
            import_app(spec, **options)
        return str(caught.value)


@pytest.fixture
def project(tmp_path, monkeypatch):
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    add_app_dir(".")
    yield Project(tmp_path)
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        if str(tmp_path) in str(
            getattr(module, "__file__", None) or getattr(module, "__path__", "")
        ):
            del sys.modules[name]


APP = "async def app(scope, receive, send): ...\n"


class TestAppDir:
    def test_is_absolute_and_first(self, project):
        (project.directory / "src").mkdir()
        add_app_dir("src")
        assert sys.path[0] == str(project.directory / "src")

    def test_again_adds_nothing(self, project):
        before = sys.path.copy()
        add_app_dir(str(project.directory))
        assert sys.path == before

    def test_goes_before_one_added_meanwhile(self, project):
        sys.path.insert(0, "/elsewhere")
        add_app_dir(".")
        assert sys.path[:2] == [str(project.directory), "/elsewhere"]

    def test_link_is_not_followed(self, project):
        (project.directory / "release1").mkdir()
        (project.directory / "current").symlink_to("release1")
        add_app_dir("current")
        assert sys.path[0] == str(project.directory / "current")

    def test_missing_directory_is_told(self, project):
        with pytest.raises(ConfigError, match=r"app-dir: there is no directory .*/nowhere"):
            add_app_dir("nowhere")


class TestImport:
    def test_attribute_of_a_module(self, project):
        project.write(main=APP)
        assert import_app("main:app") is sys.modules["main"].app

    def test_attribute_of_a_module_in_a_package(self, project):
        project.write(shop__api__main=APP)
        assert import_app("shop.api.main:app") is sys.modules["shop.api.main"].app

    def test_dotted_attribute(self, project):
        project.write(main=APP + "class box:\n  class inner:\n    app = app\n")
        assert import_app("main:box.inner.app") is sys.modules["main"].app

    def test_object_need_not_be_callable(self, project):
        project.write(hooks="settings = {'a': 1}")
        assert import_object("hooks:settings") == {"a": 1}

    def test_keyboard_interrupt_passes(self, project):
        project.write(main="raise KeyboardInterrupt")
        with pytest.raises(KeyboardInterrupt):
            import_app("main:app")


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("main", "try:  gateway main:app"),
        ("main:", "try:  gateway main:app"),
        ("main.py", "try:  gateway main:app"),
        ("src/shop/main.py:api", "try:  gateway src.shop.main:api"),
        ("./main.py:app", "try:  gateway main:app"),
        (":app", 'an import string is "package.module:attribute"'),
        ("", 'an import string is "package.module:attribute"'),
        ("main:app or None", "neither an attribute nor a call with literal arguments"),
        ("main:make(os.environ)", "neither an attribute nor a call with literal arguments"),
        ("main:make(*'ab')", "neither an attribute nor a call with literal arguments"),
        ("main:make(**{'a': 1})", "neither an attribute nor a call with literal arguments"),
        ("main:make()()", "neither an attribute nor a call with literal arguments"),
        ("main:make(", "neither an attribute nor a call with literal arguments"),
    ],
)
def test_malformed_string_is_told(spec, hint):
    with pytest.raises(ConfigError, match=re.escape(hint)):
        import_app(spec)


def test_call_is_refused_for_a_plain_object():
    with pytest.raises(ConfigError, match="is a call, but an object is wanted"):
        import_object("main:make()")


class TestMissingModule:
    def test_near_name_is_suggested(self, project):
        project.write(main=APP)
        assert project.error("mian:app") == (
            f'no module "mian" in {project.directory}\n  did you mean "main" (main.py)?'
        )

    def test_near_package_is_suggested(self, project):
        project.write(shop__main=APP)
        assert project.error("shpo.main:app").endswith('did you mean "shop" (shop/)?')

    def test_near_name_in_a_package_is_suggested(self, project):
        project.write(shop____init__="", shop__main=APP)
        assert project.error("shop.mian:app") == (
            f'no module "shop.mian" in {project.directory}/shop\n'
            '  did you mean "shop.main" (main.py)?'
        )

    def test_directory_below_is_found(self, project):
        project.write(src__orders=APP)
        assert project.error("orders:app").endswith(
            f"\n  there is one in {project.directory}/src; try:  --app-dir src"
        )

    def test_directory_above_is_found(self, project, monkeypatch):
        project.write(orders__app=APP)
        monkeypatch.chdir("orders")
        sys.path.remove(str(project.directory))
        add_app_dir(".")
        assert project.error("orders.app:app").endswith("try:  --app-dir ..")

    def test_app_dir_is_named_where_nothing_is_near(self, project):
        assert project.error("zzz.app:app") == (
            f'no module "zzz" in {project.directory}\n'
            "  start in the directory of the code, or name it with --app-dir"
        )

    def test_module_used_as_a_package_is_told(self, project):
        project.write(main=APP)
        assert project.error("main.app:app") == (
            'no module "main.app": main.py is not a package\n  try:  gateway main:app'
        )

    def test_no_traceback_is_lost(self, project):
        with pytest.raises(StartError) as caught:
            import_app("zzz:app")
        assert isinstance(caught.value.__cause__, ModuleNotFoundError)


class TestMissingAttribute:
    def test_apps_of_the_module_are_listed(self, project):
        project.write(
            main="""
            from fastapi import FastAPI
            from flask import Flask
            api = FastAPI()
            site = Flask("site")
            """
        )
        assert project.error("main:nope") == (
            'main has no attribute "nope"\n'
            "  main.py defines these apps: api (FastAPI), site (Flask)\n"
            "  try:  gateway main:api"
        )

    def test_nearest_app_is_tried_first(self, project):
        project.write(
            main=APP + "async def other(scope, receive, send): ...\nfrom flask import request\n"
        )
        assert project.error("main:othr").endswith("try:  gateway main:other")

    def test_wsgi_functions_are_listed(self, project):
        project.write(main="def application(environ, start_response): ...\n")
        assert "apps: application (function)" in project.error("main:app")

    def test_imported_functions_and_classes_are_not_listed(self, project):
        project.write(
            main="""
            from wsgiref.simple_server import demo_app
            class Middleware:
                def __call__(self, environ, start_response): ...
            """
        )
        assert project.error("main:app").endswith("\n  main.py defines no application")

    def test_factory_is_suggested(self, project):
        project.write(main="def create_app(debug=False): ...\n")
        assert project.error("main:app") == (
            'main has no attribute "app"\n'
            "  main.py defines no app but a factory: create_app\n"
            "  try:  gateway --factory main:create_app"
        )

    def test_submodule_is_suggested(self, project):
        project.write(shop____init__="", shop__wsgi="")
        assert project.error("shop:wsgi") == (
            'shop has no attribute "wsgi"\n  shop.wsgi is a module; try:  gateway shop.wsgi:app'
        )

    def test_dotted_attribute_says_where_it_ends(self, project):
        project.write(main="class box: app = None\n")
        assert project.error("main:box.nope").startswith('main:box has no attribute "nope"')

    def test_near_name_of_an_object_is_suggested(self, project):
        project.write(timing_middleware="class Timing: ...\n")
        with pytest.raises(StartError, match='did you mean "timing_middleware:Timing"'):
            import_object("timing_middleware:Timin")

    def test_crash_of_a_lazy_module_is_told(self, project):
        project.write(main="def __getattr__(name): raise RuntimeError('not now')\n")
        assert project.error("main:app").splitlines() == [
            "main:app could not be read",
            "  main.py:1   def __getattr__(name): raise RuntimeError('not now')",
            "  RuntimeError: not now",
        ]


class TestNoApplication:
    def test_kind_and_apps_are_told(self, project):
        project.write(main=APP + "config = {}\n")
        assert project.error("main:config") == (
            "main:config is not an application but a dict\n"
            "  main.py defines these apps: app (function)\n"
            "  try:  gateway main:app"
        )

    def test_apps_of_an_imported_module_are_told(self, project):
        project.write(shop____init__="from shop import api", shop__api=APP)
        assert project.error("shop:api").endswith("try:  gateway shop.api:app")

    @pytest.mark.parametrize(
        "factory",
        [
            "def make(): ...",
            "def make(debug=False): ...",
            "async def make(): ...",
            "class make: ...",
        ],
    )
    def test_factory_without_the_option_is_told(self, project, factory):
        project.write(main=factory)
        assert project.error("main:make") == (
            "main:make needs no arguments, so it is not an application\n"
            "  if it returns one, try:  gateway --factory main:make"
        )

    @pytest.mark.parametrize(
        "app",
        [
            "def app(*args): ...",
            "def app(scope=None): ...",
            "def app(environ=None, start_response=None): ...",
            "app = print",
        ],
    )
    def test_what_may_be_an_application_is_taken(self, project, app):
        project.write(main=app)
        assert import_app("main:app") is sys.modules["main"].app


class TestFactory:
    MAKE = APP + "def make(name='plain', debug=False):\n  app.made = (name, debug)\n  return app\n"

    def test_is_called(self, project):
        project.write(main=self.MAKE)
        assert import_app("main:make", factory=True).made == ("plain", False)

    @pytest.mark.parametrize(
        ("call", "made"),
        [
            ("make()", ("plain", False)),
            ("make('prod')", ("prod", False)),
            ("make('a:b', debug=True)", ("a:b", True)),
            ("make(name=['x', 1])", (["x", 1], False)),
        ],
    )
    def test_call_form_passes_literals(self, project, call, made):
        project.write(main=self.MAKE)
        assert import_app(f"main:{call}").made == made

    def test_failure_shows_own_frames(self, project):
        project.write(main="def make():\n  return load()\ndef load():\n  raise OSError('disk')\n")
        assert project.error("main:make", factory=True).splitlines() == [
            "main:make failed to make an application",
            "  main.py:2   return load()",
            "  main.py:4   raise OSError('disk')",
            "  OSError: disk",
        ]

    def test_exit_is_a_failure(self, project):
        project.write(main="def make(): raise SystemExit(0)\n")
        assert "SystemExit: 0   the code calls sys.exit()" in project.error("main:make()")

    def test_missing_argument_is_told(self, project):
        project.write(main="def make(config): ...\n")
        assert project.error("main:make", factory=True) == (
            "main:make(config) cannot be called so: missing a required argument: 'config'\n"
            "  arguments are written as literals:  gateway 'main:make(\"prod\", debug=True)'"
        )

    def test_none_is_told(self, project):
        project.write(main="def make(): ...\n")
        assert project.error("main:make()") == (
            "the factory main:make returned no application but None: is there a return?"
        )

    def test_result_that_is_not_callable_is_told(self, project):
        project.write(main="def make(): return 'app'\n")
        assert project.error("main:make()").endswith("returned no application but a str")

    def test_coroutine_function_is_told(self, project):
        project.write(main="async def make(): ...\n")
        assert "is a coroutine function" in project.error("main:make", factory=True)

    def test_object_that_is_not_callable_is_told(self, project):
        project.write(main="make = {}\n")
        assert "main:make is a dict, not a function" in project.error("main:make", factory=True)


class TestCrash:
    def test_missing_dependency_asks_for_the_environment(self, project):
        project.write(main="import nosuchlib\n")
        assert project.error("main:app") == (
            "main:app could not be imported\n"
            "  main.py:1   import nosuchlib\n"
            "  ModuleNotFoundError: No module named 'nosuchlib'"
            f"   is it installed in {sys.prefix} ?"
        )

    def test_missing_own_module_gets_its_neighbor(self, project):
        project.write(shop____init__="", shop__main="import shop.modles\n", shop__models="")
        assert project.error("shop.main:app").endswith('   did you mean "shop.models"?')

    def test_places_are_aligned(self, project):
        project.write(main="\n\nimport shop.deep\n", shop__deep="1 / 0\n")
        assert project.error("main:app").splitlines()[1:] == [
            "  main.py:3        import shop.deep",
            "  shop/deep.py:1   1 / 0",
            "  ZeroDivisionError: division by zero",
        ]

    def test_library_frames_are_folded(self, project):
        project.write(
            main="import flask\napp = flask.Flask('main')\napp.add_url_rule('x', 'x', print)\n"
        )
        lines = project.error("main:app").splitlines()
        assert lines[1] == "  main.py:3   app.add_url_rule('x', 'x', print)"
        assert re.fullmatch(r"  … \d+ frames in flask, werkzeug", lines[2])
        assert lines[3].startswith("  ValueError: ")
        assert len(lines) == 4

    def test_standard_library_frames_are_folded(self, project):
        project.write(main="import json\njson.loads('{')\n")
        assert "\n  … 3 frames in json\n" in project.error("main:app")

    def test_own_package_in_site_packages_is_shown(self, project):
        project.write(**{"site-packages__shop__main": "1 / 0\n"})
        add_app_dir("site-packages")
        assert "site-packages/shop/main.py:1   1 / 0" in project.error("shop.main:app")

    def test_syntax_error_is_marked(self, project):
        project.write(main="import other\n", other="if x:\n    y = = 1\n")
        assert project.error("main:app").splitlines()[1:] == [
            "  main.py:1   import other",
            "  other.py:2   y = = 1",
            "                   ^",
            "  SyntaxError: invalid syntax",
        ]

    def test_exit_is_a_failure(self, project):
        project.write(main="import sys\nsys.exit(3)\n")
        assert project.error("main:app").splitlines()[1:] == [
            "  main.py:2   sys.exit(3)",
            "  SystemExit: 3   the code calls sys.exit()",
        ]

    def test_causes_are_told(self, project):
        project.write(
            main="""
            try:
                1 / 0
            except ZeroDivisionError as error:
                raise ValueError("no ratio") from error
            """
        )
        assert project.error("main:app").splitlines()[2:] == [
            "  ValueError: no ratio",
            "  caused by ZeroDivisionError: division by zero",
        ]

    def test_suppressed_context_is_not_told(self, project):
        project.write(main="try:\n  1 / 0\nexcept Exception:\n  raise ValueError('x') from None\n")
        assert "caused by" not in project.error("main:app")

    def test_endless_recursion_is_short(self, project):
        project.write(main="def again(n): return again(n + 1)\nagain(0)\n")
        assert len(project.error("main:app").splitlines()) < 25

    def test_full_traceback_is_kept(self, project):
        project.write(main="1 / 0\n")
        with pytest.raises(StartError) as caught:
            import_app("main:app")
        cause = caught.value.__cause__
        assert isinstance(cause, ZeroDivisionError)
        assert inspect.getinnerframes(cause.__traceback__)[-1].filename.endswith("main.py")

    def test_explains_an_exception_of_running_code(self):
        try:
            raise LookupError("no such shelf")
        except LookupError as error:
            text = explain(error)
        assert re.fullmatch(
            r"  tests/test_importer\.py:\d+   raise LookupError\(\"no such shelf\"\)\n"
            r"  LookupError: no such shelf",
            text,
        )

    def test_cycle_of_causes_ends(self):
        first, second = ValueError("1"), ValueError("2")
        first.__cause__, second.__cause__ = second, first
        assert explain(first) == "  ValueError: 1\n  caused by ValueError: 2"
