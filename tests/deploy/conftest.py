"""What every test of the files in deploy/ needs: a project to serve, an address to serve it at."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.program import TESTS

__all__ = ["FreePort", "Project"]

FreePort = Callable[[], int]
Project = Callable[..., Path]


@pytest.fixture
def free_port() -> FreePort:
    """Ports that nobody listens at, for programs that cannot ask for port 0."""

    def free() -> int:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            return int(sock.getsockname()[1])

    return free


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A directory in the place of /srv/app: a gateway.toml with `lines` before its mounts."""

    def write(*lines: str) -> Path:
        text = "\n".join(
            [f'app-dir = "{TESTS}"', *lines, "[mounts]", '"/" = "deploy.apps:app"', ""]
        )
        (tmp_path / "gateway.toml").write_text(text, encoding="utf-8")
        return tmp_path

    return write
