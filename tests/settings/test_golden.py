"""Files and what they mean: each ``NAME.toml`` beside ``NAME.txt``, the outcome.

The outcome is what `gateway config` prints of everything that is not default, or the error.
To accept a change: ``python tests/settings/test_golden.py`` and read the diff.
"""

import contextlib
import io
import shutil
from pathlib import Path

import pytest

from gateway.cli.actions import print_config
from gateway.errors import ConfigError
from gateway.settings import load

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = sorted(GOLDEN.glob("*.toml"))


def outcome(file, cwd):
    name = "pyproject.toml" if file.name.endswith("pyproject.toml") else file.name
    shutil.copy(file, cwd / name)
    printed = io.StringIO()
    try:
        loaded = load(config=name, environ={}, cwd=cwd)
    except ConfigError as error:
        return f"error: {error}\n".replace(str(cwd), "CWD")
    with contextlib.redirect_stdout(printed):
        print_config(loaded)
    lines = [line for line in printed.getvalue().splitlines() if not line.endswith("  default")]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_a_file_means_what_its_outcome_says(file, tmp_path):
    assert outcome(file, tmp_path) == file.with_suffix(".txt").read_text()


def test_every_outcome_has_its_file():
    assert {file.stem for file in GOLDEN.glob("*.txt")} == {file.stem for file in FILES}


if __name__ == "__main__":
    import tempfile

    for each in FILES:
        with tempfile.TemporaryDirectory() as directory:
            each.with_suffix(".txt").write_text(outcome(each, Path(directory)))
