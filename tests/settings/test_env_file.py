import os
import sys

import pytest

from gateway.errors import ConfigError
from gateway.settings.env_file import load_env_file


@pytest.fixture
def env_file(tmp_path, monkeypatch):
    monkeypatch.setenv("GATEWAY_TEST_KEPT", "kept")
    monkeypatch.setenv("GATEWAY_TEST_NEW", "")
    monkeypatch.delenv("GATEWAY_TEST_NEW")
    file = tmp_path / ".env"
    file.write_text("GATEWAY_TEST_NEW='a b'\nGATEWAY_TEST_KEPT=other\n")
    return str(file)


def test_new_variables_are_set_and_old_ones_kept(env_file):
    load_env_file(env_file)

    assert os.environ["GATEWAY_TEST_NEW"] == "a b"
    assert os.environ["GATEWAY_TEST_KEPT"] == "kept"


def test_the_missing_library_is_named_with_its_command(env_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "dotenv", None)

    with pytest.raises(ConfigError, match=r"pip install 'gateway\[dotenv\]'"):
        load_env_file(env_file)
