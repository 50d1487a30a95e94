"""The examples in a browser: what only scripts and a real renderer can tell."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import pytest

CHROMIUM = shutil.which("chromium")
FLAGS = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --dump-dom
    --disable-background-networking --disable-component-update --disable-sync
    --virtual-time-budget=5000
""".split()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no browser: apt-get install chromium"),
]


@pytest.fixture
def dom(demo, tmp_path) -> Callable[[str], str]:
    """Load a page; its document after the scripts have run."""

    def load(path: str) -> str:
        done = subprocess.run(
            [
                CHROMIUM,
                *FLAGS,
                f"--user-data-dir={tmp_path}",
                f"http://127.0.0.1:{demo.port}{path}",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return load


def test_home_page_has_links_to_all_mounts(dom):
    page = dom("/")
    for link in ("/flask/", "/api/", "/raw/", "/legacy/"):
        assert f'<a href="{link}">' in page


def test_docs_page_shows_the_operations(dom):
    page = dom("/api/docs")
    # Swagger UI has run: it loaded itself and the schema from under the prefix.
    assert 'class="opblock opblock-post"' in page
    assert 'id="operations-default-create_note_notes_post"' in page
    assert '<option value="/api">/api</option>' in page


def test_admin_shows_its_login_form(dom):
    page = dom("/admin/")
    assert 'id="login-form"' in page
    assert 'name="next" value="/admin/"' in page
