"""The examples as a newcomer has them: imported with their folder as app-dir, and served."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.process import Gateway

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="session")
def examples() -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield EXAMPLES


@pytest.fixture(scope="session")
def site_env(tmp_path_factory) -> dict[str, str]:
    """The environment of a Django site that is set up, with its data in a folder of its own."""
    env = {"DJANGO_DATA_DIR": str(tmp_path_factory.mktemp("site"))}
    setup = [sys.executable, "examples/django_site/manage.py", "setup_demo"]
    done = subprocess.run(
        setup, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return env


@pytest.fixture(scope="session")
def demo(site_env) -> Iterator[Gateway]:
    """What `make demo` does, on a free port."""
    with Gateway(["-c", "examples/gateway.toml", "--port", "0"], ROOT, env=site_env) as process:
        yield process.ready()


@pytest.fixture(scope="session")
def mounted(site_env) -> Iterator[Gateway]:
    """The Django site below prefixes: through ASGI at /site, and through WSGI alone at /wsgi."""
    apps = {"/site": "django_site.mysite.asgi", "/wsgi": "django_site.mysite.wsgi"}
    mounts = [word for at, app in apps.items() for word in ("--mount", f"{at}={app}:application")]
    args = [*mounts, "--app-dir", str(EXAMPLES), "--port", "0"]
    with Gateway(args, ROOT, env=site_env) as process:
        yield process.ready()
