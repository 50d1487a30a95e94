"""The documentation says what is true: its examples load, its links lead somewhere."""

from __future__ import annotations

import re
import textwrap
import tomllib
from pathlib import Path

import pytest

from gateway.cli.command import _COMMAND
from gateway.middleware.access_atoms import ATOMS
from gateway.settings import load

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "examples/README.md"])
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
# A line may name another program's flag, or one that is missing here if it says so.
FOREIGN = re.compile(r"not supported|^(mypy|uvicorn|gunicorn|hypercorn|granian) ")


def blocks(language: str) -> list[object]:
    return [
        pytest.param(textwrap.dedent(match[3]), id=f"{page.name}-{number}")
        for page in PAGES
        for number, match in enumerate(FENCE.finditer(page.read_text()))
        if match[2] == language
    ]


def anchors(page: Path) -> set[str]:
    """Those of its headings, as GitHub and MkDocs make them."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("text", blocks("toml"))
def test_a_configuration_loads(text: str, tmp_path: Path) -> None:
    name = "pyproject.toml" if "tool" in tomllib.loads(text) else "gateway.toml"
    (tmp_path / name).write_text(text)
    assert load(environ={}, cwd=tmp_path).settings.mounts


@pytest.mark.parametrize("text", blocks("python"))
def test_a_python_example_compiles(text: str) -> None:
    compile(text, "example", "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_flags_exist(page: Path) -> None:
    known = {name for each in _COMMAND.params for name in (*each.opts, *each.secondary_opts)}
    lines = [line for line in page.read_text().splitlines() if not FOREIGN.search(line)]
    assert {flag for line in lines for flag in FLAG.findall(line)} <= known


def test_every_atom_of_the_access_log_is_described() -> None:
    text = (ROOT / "docs/logging.md").read_text()
    assert [name for name in ATOMS if f"| `%({name})s` |" not in text] == []


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    assert [page.name for page in ROOT.glob("docs/*.md") if page.name not in text] == []
