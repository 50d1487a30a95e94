from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import pytest

from gateway.errors import ConfigError
from gateway.importer.discover import Found, discover

FASTAPI = "from fastapi import FastAPI\n\n{0} = FastAPI()\n"
FLASK = "from flask import Flask\n\n{0} = Flask(__name__)\n"
FACTORY = """
    from flask import Flask

    def {0}:
        return Flask(__name__)
"""
MANAGE = """
    import os
    import sys

    def main():
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
        from django.core.management import execute_from_command_line
        execute_from_command_line(sys.argv)
"""
WSGI = "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n"


class Project:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))

    def found(self, files: dict[str, str], **environ: str) -> Found:
        self.write(files)
        return discover(self.directory, environ)

    def app(self, files: dict[str, str], **environ: str) -> str:
        return self.found(files, **environ).app

    def error(self, files: dict[str, str], **environ: str) -> str:
        with pytest.raises(ConfigError) as caught:
            self.found(files, **environ)
        return str(caught.value)


@pytest.fixture
def project(tmp_path):
    """A project whose modules must not be imported."""
    before = set(sys.modules)
    yield Project(tmp_path)
    assert not {name.partition(".")[0] for name in set(sys.modules) - before} & {
        "main",
        "hello",
        "mysite",
        "shop",
        "wsgi",
        "manage",
    }


# --- FastAPI ------------------------------------------------------------------------------------


def test_a_fastapi_instance_in_main(project):
    found = project.found({"main.py": FASTAPI.format("app")})

    assert found == Found("main:app", False, "FastAPI instance `app` in main.py", project.directory)


@pytest.mark.parametrize("file", ["main.py", "app.py", "api.py"])
def test_the_files_of_the_fastapi_command(project, file):
    assert project.app({file: FASTAPI.format("app")}) == f"{file[:-3]}:app"


def test_main_goes_before_app_and_api(project):
    texts = {name: FASTAPI.format("app") for name in ("api.py", "main.py", "app.py")}

    assert project.app(texts) == "main:app"


def test_a_file_without_an_instance_is_passed_over(project):
    assert project.app({"main.py": "x = 1\n", "api.py": FASTAPI.format("api")}) == "api:api"


def test_app_goes_before_api_and_api_before_others(project):
    names = "from fastapi import FastAPI\nadmin = FastAPI()\napi = FastAPI()\n"

    assert project.app({"main.py": names}) == "main:api"
    assert project.app({"main.py": f"{names}app = FastAPI()\n"}) == "main:app"


def test_an_instance_of_another_name(project):
    assert project.app({"main.py": FASTAPI.format("shop")}) == "main:shop"


def test_a_package_is_named_whole(project):
    found = project.found({"app/__init__.py": "", "app/main.py": FASTAPI.format("app")})

    assert (found.app, found.app_dir) == ("app.main:app", project.directory)
    assert found.why == "FastAPI instance `app` in app/main.py"


def test_a_directory_that_is_no_package_is_the_app_dir(project):
    found = project.found({"app/main.py": FASTAPI.format("app")})

    assert (found.app, found.app_dir) == ("main:app", project.directory / "app")


def test_a_project_inside_of_a_package_is_imported_from_above_it(project):
    found = project.found({"__init__.py": "", "main.py": FASTAPI.format("app")})

    assert found.app == f"{project.directory.name}.main:app"
    assert found.app_dir == project.directory.parent


def test_the_entrypoint_of_pyproject(project):
    found = project.found(
        {
            "pyproject.toml": '[tool.fastapi]\nentrypoint = "shop.web:api"\n',
            "main.py": FASTAPI.format("app"),
        }
    )

    assert found.app == "shop.web:api"
    assert found.why == "[tool.fastapi] entrypoint in pyproject.toml"


@pytest.mark.parametrize("value", ['"shop"', "3", '":app"'])
def test_an_entrypoint_that_is_no_import_string(project, value):
    text = project.error({"pyproject.toml": f"[tool.fastapi]\nentrypoint = {value}\n"})

    assert text.startswith("pyproject.toml: entrypoint in [tool.fastapi]")
    assert 'write "package.module:attribute"' in text


@pytest.mark.parametrize("table", ["", "tool = 3\n", "[tool.fastapi]\n", "[tool]\nfastapi = 1\n"])
def test_a_pyproject_without_an_entrypoint_says_nothing(project, table):
    files = {"pyproject.toml": table, "main.py": FASTAPI.format("app")}

    assert project.app(files) == "main:app"


def test_a_pyproject_that_is_no_toml(project):
    assert project.error({"pyproject.toml": "[tool\n"}).startswith("pyproject.toml: ")


# --- how an instance is told ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "import fastapi\napp = fastapi.FastAPI()\n",
        "import fastapi as f\napp = f.FastAPI(title='x')\n",
        "from fastapi import FastAPI as F\napp: F = F()\n",
        "from fastapi.applications import FastAPI\nmade = app = FastAPI()\n",
        "from fastapi import FastAPI\nclass Mine(FastAPI):\n    pass\napp = Mine()\n",
        "from fastapi import FastAPI\nif True:\n    app = FastAPI()\n",
        "from fastapi import FastAPI\ntry:\n    pass\nfinally:\n    app = FastAPI()\n",
        "from fastapi import FastAPI\ndef make() -> FastAPI: ...\napp = make()\n",
        "from fastapi import FastAPI\ninner = FastAPI()\napp = inner\n",
        "from shop import app\n",
        "from shop import made as app\n",
        "from shop import *\n",
        "from shop.web import build\napp = build()\n",
        "from shop.web import Base\napp = Base()\n",
    ],
)
def test_an_instance_is_told_by_where_its_class_comes_from(project, text):
    found = project.found(
        {
            "main.py": text,
            "shop/__init__.py": "from .web import app\nfrom .web import app as made\n",
            "shop/web.py": """
                from fastapi import FastAPI

                class Base(FastAPI): ...

                def build():
                    app = FastAPI()
                    app.debug = True
                    return app

                app = build()
            """,
        }
    )

    assert found.why == "FastAPI instance `app` in main.py"


def test_a_class_of_the_same_name_is_not_taken_for_it(project):
    own = "class FastAPI: ...\nthing = FastAPI()\n"

    assert "no application found" in project.error({"main.py": own})


def test_what_only_a_script_does_is_not_seen(project):
    script = "from fastapi import FastAPI\nif __name__ == '__main__':\n    app = FastAPI()\n"

    assert "no application found" in project.error({"main.py": script})


def test_a_circle_of_imports_ends(project):
    files = {"main.py": "from shop import app\n", "shop.py": "from main import app\n"}

    assert project.found(files).why == "`app` in main.py"


def test_other_frameworks_are_found_too(project):
    text = "from starlette.applications import Starlette\nsite = Starlette()\n"

    assert project.found({"asgi.py": text}).why == "Starlette instance `site` in asgi.py"


@pytest.mark.parametrize(
    "text",
    [
        "async def app(scope, receive, send): ...\n",
        "def app(environ, start_response): ...\n",
        "from somewhere import app\n",
        "from somewhere import Wrapper, inner\napp = Wrapper(inner)\n",
    ],
)
def test_a_name_is_enough_where_no_framework_is_known(project, text):
    found = project.found({"main.py": text})

    assert (found.app, found.factory, found.why) == ("main:app", False, "`app` in main.py")


@pytest.mark.parametrize("text", ["app = 3\n", "import app\n", "class app: ...\n", "app = []\n"])
def test_what_is_evidently_no_application_is_passed_over(project, text):
    assert "no application found" in project.error({"main.py": text})


def test_a_file_that_is_no_python_is_taken_to_have_an_app(project):
    """Development mode starts, and shows the error where its author looks."""
    found = project.found({"main.py": "def broken(:\n"})

    assert (found.app, found.why) == ("main:app", "`app`, after the syntax error, in main.py")


# --- Flask --------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["wsgi", "app"])
@pytest.mark.parametrize("name", ["app", "application", "shop"])
def test_the_files_of_the_flask_command(project, file, name):
    found = project.found({f"{file}.py": FLASK.format(name)})

    assert (found.app, found.factory) == (f"{file}:{name}", False)
    assert found.why == f"Flask instance `{name}` in {file}.py"


def test_wsgi_goes_before_app(project):
    assert project.app({n: FLASK.format("app") for n in ("app.py", "wsgi.py")}) == "wsgi:app"


@pytest.mark.parametrize("name", ["create_app", "make_app"])
def test_a_factory_that_needs_nothing(project, name):
    found = project.found({"app.py": FACTORY.format(f"{name}(config=None)")})

    assert (found.app, found.factory) == (f"app:{name}", True)
    assert found.why == f"Flask factory `{name}` in app.py"


def test_a_factory_that_needs_arguments_is_passed_over(project):
    assert "no application found" in project.error({"app.py": FACTORY.format("create_app(config)")})


def test_an_instance_goes_before_a_factory(project):
    text = dedent(FACTORY.format("create_app()")) + "shop = create_app()\n"

    assert project.app({"app.py": text}) == "app:shop"


@pytest.mark.parametrize(
    ("value", "app", "factory"),
    [
        ("hello", "hello:app", False),
        ("hello.py", "hello:app", False),
        ("hello:other", "hello:other", False),
        ("hello:create_app", "hello:create_app", True),
        ("hello:create_app('x', debug=True)", "hello:create_app('x', debug=True)", False),
        ("shop.web", "shop.web:app", False),
        ("shop/web.py", "shop.web:app", False),
        ("shop", "shop:create_app", True),
        ("shop:build", "shop:build", True),
    ],
)
def test_the_forms_of_flask_app(project, value, app, factory):
    found = project.found(
        {
            "hello.py": FLASK.format("app") + dedent(FACTORY.format("create_app(name='')")),
            "shop/__init__.py": "from shop.web import build\n"
            + dedent(FACTORY.format("create_app()")),
            "shop/web.py": FLASK.format("app") + dedent(FACTORY.format("build()")),
            "main.py": FASTAPI.format("app"),
        },
        FLASK_APP=value,
    )

    assert (found.app, found.factory, found.app_dir) == (app, factory, project.directory)
    assert found.why.startswith(f"FLASK_APP={value}")


def test_flask_app_in_another_directory(project):
    found = project.found({"src/web.py": FLASK.format("app")}, FLASK_APP="src/web.py")

    assert (found.app, found.app_dir) == ("web:app", project.directory / "src")


def test_flask_app_may_be_an_installed_module(project, tmp_path_factory, monkeypatch):
    site = tmp_path_factory.mktemp("site")
    (site / "shop.py").write_text(FLASK.format("application"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])

    assert project.app({}, FLASK_APP="shop") == "shop:application"


@pytest.mark.parametrize("file", [".env", ".flaskenv"])
def test_flask_app_in_a_file(project, file):
    found = project.found({file: "FLASK_APP=hello\n", "hello.py": FLASK.format("app")})

    assert found.why == f"FLASK_APP=hello in {file}, Flask instance `app`"


def test_flask_app_that_is_not_there(project):
    text = project.error({}, FLASK_APP="helo.py")

    assert text == (
        f"FLASK_APP=helo.py: no helo.py in {project.directory}\n"
        "  name the object:  FLASK_APP=helo.py:app"
    )


def test_flask_app_without_an_application(project):
    assert "hello.py has no Flask application" in project.error(
        {"hello.py": "x = 1\n"}, FLASK_APP="hello"
    )


# --- Django -------------------------------------------------------------------------------------


def site(settings: str, *doors: str) -> dict[str, str]:
    files = {"manage.py": MANAGE, "mysite/__init__.py": "", "mysite/settings.py": settings}
    return files | {f"mysite/{door}.py": WSGI for door in doors}


def test_a_project_as_startproject_makes_it_is_served_as_wsgi(project):
    found = project.found(site('WSGI_APPLICATION = "mysite.wsgi.application"\n', "wsgi", "asgi"))

    assert (found.app, found.factory, found.app_dir) == (
        "mysite.wsgi:application",
        False,
        project.directory,
    )
    assert found.why == "WSGI_APPLICATION of mysite.settings (manage.py)"
    assert found.environ == {"DJANGO_SETTINGS_MODULE": "mysite.settings"}


@pytest.mark.parametrize(
    "apps",
    [
        "INSTALLED_APPS = ['daphne', 'shop']",
        "INSTALLED_APPS = ['shop']\nINSTALLED_APPS += ['channels']",
        "THIRD_APPS = ('channels.apps.Config',)\nINSTALLED_APPS = [*THIRD_APPS]",
        "INSTALLED_APPS = []\nINSTALLED_APPS.insert(0, 'daphne')",
    ],
)
def test_channels_and_daphne_ask_for_asgi(project, apps):
    settings = f"{apps}\nWSGI_APPLICATION = 'mysite.wsgi.application'\n"
    settings += "ASGI_APPLICATION = 'mysite.routing.application'\n"
    found = project.found(site(settings, "wsgi", "asgi"))

    assert found.app == "mysite.routing:application"
    assert "is installed (manage.py)" in found.why


def test_a_project_that_has_only_asgi(project):
    found = project.found(site("DEBUG = True\n", "asgi"))

    assert found.app == "mysite.asgi:application"
    assert found.why == "mysite/asgi.py beside mysite.settings (manage.py)"


def test_a_file_stands_in_for_the_setting(project):
    assert project.app(site("", "wsgi", "asgi")) == "mysite.wsgi:application"


def test_settings_in_several_files(project):
    files = site("", "wsgi", "asgi") | {
        "manage.py": MANAGE.replace("mysite.settings", "mysite.settings.local"),
        "mysite/settings/__init__.py": "",
        "mysite/settings/local.py": "from .base import *\nDEBUG = True\n",
        "mysite/settings/base.py": """
            from .local import *
            INSTALLED_APPS = ["channels"]
            ASGI_APPLICATION = "mysite.asgi.application"
        """,
    }
    del files["mysite/settings.py"]
    found = project.found(files)

    assert found.app == "mysite.asgi:application"
    assert found.environ == {"DJANGO_SETTINGS_MODULE": "mysite.settings.local"}


def test_a_door_above_the_package_of_the_settings(project):
    files = {
        "manage.py": MANAGE.replace("mysite.settings", "mysite.settings.local"),
        "mysite/settings/local.py": "",
        "mysite/wsgi.py": WSGI,
    }

    assert project.app(files) == "mysite.wsgi:application"


def test_a_project_without_a_door_gets_djangos_own(project):
    found = project.found(site("DEBUG = True\n"))

    assert (found.app, found.factory) == ("django.core.wsgi:get_wsgi_application", True)
    assert found.environ == {"DJANGO_SETTINGS_MODULE": "mysite.settings"}


def test_settings_in_the_environment_go_first(project):
    files = site("", "wsgi") | {"other/settings.py": "WSGI_APPLICATION = 'other.web.app'\n"}
    found = project.found(files, DJANGO_SETTINGS_MODULE="other.settings")

    assert found.app == "other.web:app"
    assert found.environ == {}


@pytest.mark.parametrize(
    "statement",
    [
        'os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"',
        'os.environ.setdefault("DJANGO_SETTINGS_MODULE", os.getenv("S", "mysite.settings"))',
    ],
)
def test_other_ways_to_name_the_settings(project, statement):
    files = site("", "wsgi") | {"manage.py": f"import os\n{statement}\n"}

    assert project.app(files) == "mysite.wsgi:application"


def test_a_manage_script_that_is_not_djangos(project):
    files = {"manage.py": "print('flask-script')\n", "app.py": FLASK.format("app")}

    assert project.app(files) == "app:app"


def test_django_goes_before_the_files_of_others(project):
    files = site("", "wsgi") | {"main.py": FASTAPI.format("app")}

    assert project.app(files) == "mysite.wsgi:application"


# --- nothing ------------------------------------------------------------------------------------


def test_nothing_found_says_what_was_looked_for_and_what_to_type(project):
    text = project.error({"README.md": ""})

    assert text.splitlines()[0] == f"no application found in {project.directory}"
    for place in ("FLASK_APP", "[tool.fastapi]", "manage.py", "main.py", "wsgi.py", "create_app"):
        assert place in text
    assert text.endswith("name it:  gateway dev package.module:attribute")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (
            FASTAPI.format("app"),
            "FastAPI instance `app` in server.py; try:  gateway dev server:app",
        ),
        (
            dedent(FACTORY.format("create_app()")),
            "Flask factory `create_app` in server.py; try:  gateway dev --factory server:create_app",
        ),
    ],
)
def test_an_application_in_another_file_is_pointed_at(project, text, hint):
    assert project.error({"server.py": text}).endswith(f"there is a {hint}")


def test_an_application_in_a_directory_below_is_pointed_at(project):
    files = {f"backend/{name}": text for name, text in site("", "wsgi").items()}

    assert project.error(files).endswith("of backend/; try:  gateway dev --app-dir backend")
