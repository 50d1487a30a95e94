"""examples/gateway.toml names what is there."""

from __future__ import annotations

import tomllib
from importlib.util import find_spec

import pytest


@pytest.fixture
def settings(examples) -> dict:
    return tomllib.loads((examples / "gateway.toml").read_text(encoding="utf-8"))


def test_demo_is_served_to_this_machine_only(settings):
    assert settings["bind"] == "127.0.0.1:8000"


def test_every_example_is_mounted(settings):
    assert set(settings["mounts"]) == {"/", "/ws", "/flask", "/api", "/raw", "/legacy"}


def test_every_mount_names_a_module_that_is_there(settings, examples):
    for mount in settings["mounts"].values():
        target = mount if isinstance(mount, str) else mount["app"]
        spec = find_spec(target.partition(":")[0])
        assert spec is not None
        assert spec.origin.startswith(str(examples))
