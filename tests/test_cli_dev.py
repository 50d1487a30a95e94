"""``gateway dev``: what is found, which port is taken, and who has the last word."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from gateway.cli import main

APP = "async def app(scope, receive, send): ...\n"


@pytest.fixture(autouse=True)
def _clean_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in list(os.environ):
        if name.startswith(("GATEWAY_", "FLASK_", "DJANGO_")) or name in (
            "PORT",
            "WEB_CONCURRENCY",
            "FORWARDED_ALLOW_IPS",
        ):
            monkeypatch.delenv(name)


@pytest.fixture
def served():
    """Run a command line; gives the settings that reach the server."""

    def served(*argv):
        reached = []
        assert main(argv, serve=lambda loaded: reached.append(loaded) or 0) == 0
        return reached[0].settings

    return served


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


@pytest.fixture
def usual_port(monkeypatch, tmp_path):
    """A listener at the port that is the default; the real one may be anybody's."""
    import gateway.cli.dev as dev

    taken = set()

    def is_taken(settings, port: int) -> bool:
        return port in taken

    monkeypatch.setattr(dev, "_is_taken", is_taken)
    return taken


# --- the application -----------------------------------------------------------------------------


@pytest.mark.usefixtures("usual_port")
def test_the_application_is_found_and_told(served, tmp_path, capsys):
    (tmp_path / "main.py").write_text("from fastapi import FastAPI\n\nweb = FastAPI()\n")
    settings = served("dev")
    (mount,) = settings.mounts
    assert (mount.key, mount.app, mount.factory) == ("/", "main:web", False)
    err = capsys.readouterr().err
    assert err.startswith("found ")
    assert "main.py" in err
    assert err.endswith(": main:web\n")


@pytest.mark.usefixtures("usual_port")
def test_a_factory_is_found(served, tmp_path):
    (tmp_path / "app.py").write_text(
        "from flask import Flask\n\ndef create_app():\n    return Flask(__name__)\n"
    )
    (mount,) = served("dev").mounts
    assert (mount.app, mount.factory) == ("app:create_app", True)


@pytest.mark.usefixtures("usual_port")
def test_an_application_that_is_named_is_not_looked_for(served, tmp_path, capsys):
    (tmp_path / "main.py").write_text("from fastapi import FastAPI\n\nweb = FastAPI()\n")
    (mount,) = served("dev", "other:app").mounts
    assert mount.app == "other:app"
    assert "found" not in capsys.readouterr().err


@pytest.mark.usefixtures("usual_port")
def test_mounts_of_the_file_are_not_looked_for(served, tmp_path, capsys):
    (tmp_path / "main.py").write_text(APP)
    (tmp_path / "gateway.toml").write_text('[mounts]\n"/api" = "api:app"\n')
    (mount,) = served("dev").mounts
    assert mount.key == "/api"
    assert "found" not in capsys.readouterr().err


@pytest.mark.usefixtures("usual_port")
def test_the_application_is_looked_for_in_its_directory(served, tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.py").write_text("from fastapi import FastAPI\n\napp = FastAPI()\n")
    settings = served("dev", "--app-dir", "src")
    assert settings.mounts[0].app == "main:app"
    assert os.path.samefile(settings.app_dir, tmp_path / "src")


@pytest.mark.usefixtures("usual_port")
def test_a_django_project_gets_its_settings_module(served, tmp_path, monkeypatch):
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "")  # so that it is taken back
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE")
    (tmp_path / "manage.py").write_text(
        "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site1.settings')\n"
    )
    (tmp_path / "site1").mkdir()
    for name in ("__init__", "settings"):
        (tmp_path / "site1" / f"{name}.py").touch()
    (mount,) = served("dev").mounts
    assert (mount.app, mount.factory) == ("django.core.wsgi:get_wsgi_application", True)
    assert os.environ["DJANGO_SETTINGS_MODULE"] == "site1.settings"


def test_without_an_application_the_message_says_what_to_type(tmp_path, capsys):
    assert main(["dev"], serve=lambda loaded: pytest.fail("nothing to serve")) == 2
    assert capsys.readouterr().err.startswith("error: ")


# --- the defaults --------------------------------------------------------------------------------


@pytest.mark.usefixtures("usual_port")
def test_development_reloads_with_one_worker(served):
    settings = served("dev", "main:app")
    assert settings.reload
    assert settings.supervised


@pytest.mark.usefixtures("usual_port")
def test_a_flag_wins_over_the_defaults_of_development(served):
    assert not served("dev", "main:app", "--no-reload").reload


@pytest.mark.usefixtures("usual_port")
def test_the_files_table_for_development_is_in_force(served, tmp_path):
    (tmp_path / "gateway.toml").write_text("backlog = 5\n[dev]\nbacklog = 7\n")
    assert served("dev", "main:app").backlog == 7
    assert served("main:app").backlog == 5
    assert served("dev", "main:app", "--backlog", "9").backlog == 9


# --- the port ------------------------------------------------------------------------------------


def test_a_free_port_is_kept(served, usual_port, capsys):
    assert served("dev", "main:app").port == 8000
    assert "port" not in capsys.readouterr().err


def test_a_port_that_is_taken_is_passed_over_and_told(served, usual_port, capsys):
    usual_port |= {8000, 8001}
    assert served("dev", "main:app").port == 8002
    assert capsys.readouterr().err == "port 8000 is taken; using 8002\n"


def test_where_every_port_is_taken_the_usual_one_is_left_to_fail(served, usual_port):
    usual_port |= set(range(8000, 8100))
    assert served("dev", "main:app").port == 8000


def test_a_port_that_was_asked_for_is_not_moved(served, usual_port, tmp_path, monkeypatch):
    usual_port |= {8000, 9000}
    assert served("dev", "main:app", "--port", "8000").port == 8000
    monkeypatch.setenv("PORT", "9000")
    assert served("dev", "main:app").port == 9000
    monkeypatch.delenv("PORT")
    (tmp_path / "gateway.toml").write_text("port = 9000\n")
    assert served("dev", "main:app").port == 9000


@pytest.mark.parametrize(
    "address", [["--bind", "127.0.0.1:9000"], ["--uds", "s"], ["--fd", "3"]], ids=lambda x: x[0]
)
def test_another_kind_of_address_needs_no_port(served, usual_port, address):
    usual_port.add(8000)
    assert served("dev", "main:app", *address).port == 8000


def test_a_port_with_a_listener_is_taken(served, monkeypatch, free_port, capsys):
    import gateway.cli.dev as dev

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        settings = served("main:app", "--port", str(port))
        assert dev._is_taken(settings, port)
        assert not dev._is_taken(settings, free_port)


def test_a_host_that_does_not_exist_is_the_binds_to_complain_of(served, free_port):
    import gateway.cli.dev as dev

    settings = served("main:app", "--host", "192.0.2.1")
    assert not dev._is_taken(settings, free_port)
