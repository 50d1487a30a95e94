from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from workers.gunicorn_process import Gunicorn, Start


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Start]:
    """Run gunicorn in a directory of the test's own, without waiting."""
    with ExitStack() as stack:
        yield lambda *args, **more: stack.enter_context(Gunicorn(tmp_path, *args, **more))


@pytest.fixture
def start(launch: Start) -> Start:
    """Run gunicorn; a worker serves when this returns."""
    return lambda *args, **more: launch(*args, **more).ready()
