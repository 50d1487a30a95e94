"""The Django example: its own tests, its set-up, and both entry points mounted at a prefix.

In processes of their own: Django's settings belong to a process, and other tests have theirs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROBE = Path(__file__).with_name("django_probe.py")
INTERFACES = ["wsgi", "asgi"]


def python(*arguments, cwd, data, **environment) -> str:
    """Run Python on the site with its data in a folder of its own; returns what it printed."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "DJANGO_DATA_DIR": str(data), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def data(examples, tmp_path_factory) -> Path:
    """The site's data after the command that `make demo` runs."""
    data = tmp_path_factory.mktemp("site") / "data"
    output = python("django_site/manage.py", "setup_demo", cwd=examples, data=data)
    assert "user created: admin" in output
    return data


@pytest.fixture(scope="module")
def answers(examples, data) -> dict:
    return json.loads(python(PROBE, cwd=examples, data=data))


def test_its_own_tests_pass(examples, tmp_path):
    python("-W", "error", "manage.py", "test", cwd=examples / "django_site", data=tmp_path)


def test_its_migrations_are_complete(examples, tmp_path):
    python("django_site/manage.py", "makemigrations", "--check", cwd=examples, data=tmp_path)


def test_set_up_can_be_repeated(examples, data):
    output = python("django_site/manage.py", "setup_demo", cwd=examples, data=data)
    assert "user created" not in output


def test_data_stays_out_of_the_checkout(data):
    assert (data / "db.sqlite3").is_file()


@pytest.mark.parametrize("interface", INTERFACES)
def test_links_carry_the_prefix(answers, interface):
    status, _, page = answers[interface]["/"]
    assert status == 200
    assert 'href="/site/guestbook/"' in page
    assert 'href="/site/static/guestbook/style.css"' in page


def test_mount_without_a_slash_leads_to_the_home_page(answers):
    # Two ways of Django's own: WSGI takes "" for "/", ASGI sees a path without its slash.
    assert answers["wsgi"][""][0] == 200
    status, headers, _ = answers["asgi"][""]
    assert (status, headers["location"]) == (301, "/site/")


@pytest.mark.parametrize("interface", INTERFACES)
def test_style_sheet_is_served_under_the_prefix(answers, interface):
    status, headers, _ = answers[interface]["/static/guestbook/style.css"]
    assert (status, headers["content-type"]) == (200, "text/css")


@pytest.mark.parametrize("interface", INTERFACES)
def test_database_is_the_one_that_was_set_up(answers, interface):
    assert "Leave a line below." in answers[interface]["/guestbook/"][2]


@pytest.mark.parametrize("interface", INTERFACES)
def test_redirect_to_the_login_carries_the_prefix(answers, interface):
    status, headers, _ = answers[interface]["/admin/"]
    assert (status, headers["location"]) == (302, "/site/admin/login/?next=/site/admin/")


@pytest.mark.parametrize("interface", INTERFACES)
def test_stream_has_no_length(answers, interface):
    _, headers, text = answers[interface]["/countdown/0/"]
    assert text == "Liftoff!\n"
    assert "content-length" not in headers
