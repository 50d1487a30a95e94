"""deploy/docker/*: what can be tried without a Docker daemon.

The Dockerfile is read, and its CMD, HEALTHCHECK and STOPSIGNAL are run as Docker would: the command
as it stands, in a directory with the shipped gateway.toml.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.client import Http1Socket
from e2e.load import ask

from deploy.conftest import FreePort
from deploy.program import DEPLOY, GATEWAY, TESTS, Program, edited


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """Of the last stage of the Dockerfile: name and rest, continued lines joined."""
    text = (DEPLOY / "docker/Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    found = [(name, rest) for name, rest in lines]
    start = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


@pytest.fixture(scope="module")
def shipped() -> dict[str, object]:
    return tomllib.loads((DEPLOY / "docker/gateway.toml").read_text())


def last(instructions: list[tuple[str, str]], name: str) -> str:
    return [rest for each, rest in instructions if each == name][-1]


def health_command(instructions: list[tuple[str, str]]) -> list[str]:
    command: list[str] = json.loads(last(instructions, "HEALTHCHECK").partition(" CMD ")[2])
    return command


def port_of(address: object) -> str:
    return str(address).rpartition(":")[2]


def test_what_is_started_is_process_1_without_a_shell(instructions: list[tuple[str, str]]) -> None:
    assert json.loads(last(instructions, "CMD")) == ["gateway", "-c", "gateway.toml"]
    assert not [name for name, _ in instructions if name in ("ENTRYPOINT", "SHELL")]


def test_it_does_not_run_as_root(instructions: list[tuple[str, str]]) -> None:
    user, group = last(instructions, "USER").split(":")
    assert min(int(user), int(group)) > 999


def test_the_exposed_port_is_the_one_it_binds(
    instructions: list[tuple[str, str]], shipped: dict[str, object]
) -> None:
    assert last(instructions, "EXPOSE") == port_of(shipped["bind"])


def test_the_health_check_asks_the_port_of_health_bind(
    instructions: list[tuple[str, str]], shipped: dict[str, object]
) -> None:
    assert f"'127.0.0.1', {port_of(shipped['health-bind'])}," in health_command(instructions)[-1]


def test_there_are_as_many_workers_as_the_quota_has_cores(shipped: dict[str, object]) -> None:
    assert shipped["workers"] == "auto"


@pytest.mark.parametrize("name", [".git", ".env", ".venv*", "*.pem"])
def test_secrets_and_environments_stay_out_of_the_image(name: str) -> None:
    assert name in (DEPLOY / "docker/.dockerignore").read_text().splitlines()


@pytest.fixture
def ports(free_port: FreePort) -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture
def container(
    instructions: list[tuple[str, str]], ports: tuple[int, int], tmp_path: Path
) -> Iterator[Program]:
    """Its CMD, in its working directory."""
    web, health = ports
    changes = {"0.0.0.0:8000": f"127.0.0.1:{web}", "0.0.0.0:9000": f"127.0.0.1:{health}"}
    (tmp_path / "gateway.toml").write_text(edited("docker/gateway.toml", changes))
    (tmp_path / "main.py").write_text("from deploy.apps import app\n")
    program, *arguments = json.loads(last(instructions, "CMD"))
    env = {"PYTHONPATH": str(TESTS)}
    command = [GATEWAY.with_name(program), *arguments]
    with Program(command, tmp_path, env=env) as process:
        process.wait_for("ready in")
        yield process


@pytest.mark.slow
def test_a_container_serves_is_healthy_and_stops_by_its_signal(
    container: Program, ports: tuple[int, int], instructions: list[tuple[str, str]]
) -> None:
    web, health = ports
    with Http1Socket(("127.0.0.1", web)) as connection:
        ask(connection)
    python, *arguments = health_command(instructions)
    command = [
        GATEWAY.with_name(python),
        *(each.replace("9000", str(health)) for each in arguments),
    ]
    assert subprocess.run(command, check=False).returncode == 0
    container.process.send_signal(signal.Signals[last(instructions, "STOPSIGNAL")])
    assert container.wait() == 0
    assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode != 0
