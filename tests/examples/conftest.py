"""The examples as a newcomer has them: imported with their folder as app-dir, and served."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.process import Gateway

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def examples() -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield EXAMPLES


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Iterator[Gateway]:
    """What `make demo` does, on a free port and with the site's data in a folder of its own."""
    root = EXAMPLES.parent
    env = {"DJANGO_DATA_DIR": str(tmp_path_factory.mktemp("site"))}
    setup = [sys.executable, "examples/django_site/manage.py", "setup_demo"]
    done = subprocess.run(
        setup, cwd=root, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with Gateway(["-c", "examples/gateway.toml", "--port", "0"], root, env=env) as process:
        yield process.ready()
