"""THREAT_MODEL.md says the truth: each test it names is there, and names the advisory."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "THREAT_MODEL.md").read_text("utf-8")
FILES = dict(re.findall(r"`(\w+)` (?:is )?`(tests/\S+?\.py)`", TEXT)) | {
    "process": "tests/e2e/test_advisories.py"
}
TABLES = TEXT[TEXT.index("## Advisories of the field") :]
TESTED = re.findall(
    r"^\| ([^|]+?) \| [^|]+ \| ((?:\w+(?:, |; HTTP| \|))[^|]*)", TABLES, re.MULTILINE
)
ROWS = [
    (name.strip(), name_of_file)
    for name, where in TESTED
    for name_of_file in re.findall(r"\b(http1|http2|application|process|floods)\b", where)
]
_BATCH = range(54273, 54281)


def named(advisory: str, source: str) -> bool:
    """Whether `advisory` stands in a text: as it is, or as a part of a function's name."""
    number = advisory.partition("-")[2].replace("-", "_")
    if advisory.startswith("CVE-2026-542") and int(advisory[-5:]) in _BATCH:
        return "cve_2026_54273_to_2026_54280" in source
    if advisory.startswith("CVE"):
        return advisory in source or re.search(rf"def test_\w*{number}\w*\(", source) is not None
    words = advisory.replace(".", "_").replace(" ", "_")
    return advisory in source or f"{words}_" in source


@pytest.mark.parametrize(("advisory", "file"), ROWS, ids=lambda value: value)
def test_an_advisory_is_named_by_its_test(advisory: str, file: str) -> None:
    assert named(advisory, (ROOT / FILES[file]).read_text("utf-8"))


def test_the_table_is_whole() -> None:
    assert set(FILES) == {"http1", "http2", "application", "process", "floods"}
    assert len({advisory for advisory, _ in ROWS}) >= 95
    without = TABLES[TABLES.index("cannot have") :]
    assert len(re.findall(r"CVE-\d{4}-\d+|GHSA-\w+", without)) >= 25


@pytest.mark.parametrize("claim", sorted(set(re.findall(r"`(tests/[^`]+)`", TEXT))))
def test_a_test_that_is_named_is_there(claim: str) -> None:
    path, _, name = claim.partition("::")
    assert (ROOT / path).exists()
    if name:
        assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)", TEXT))))
def test_a_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
