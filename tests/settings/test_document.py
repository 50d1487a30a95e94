"""What is generated from the declarations is fresh and complete."""

import dataclasses
import json
import tomllib
import typing
from pathlib import Path

import pytest

from gateway.settings import Mount, Settings, load
from gateway.settings.document import generated, page, schema
from gateway.settings.drafts import MOUNT_SETTINGS
from gateway.settings.keywords import Keywords
from gateway.settings.model import GROUPS, SETTINGS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", generated())
def test_a_generated_file_is_fresh(name):
    assert (ROOT / name).read_text() == generated()[name], (
        "run: python -m gateway.settings.document"
    )


def test_every_field_is_declared():
    assert set(SETTINGS) == {each.name for each in dataclasses.fields(Settings)}
    assert set(MOUNT_SETTINGS) == {each.name for each in dataclasses.fields(Mount)} - {
        "key",
        "host",
        "path",
    }


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_explained(name):
    each = SETTINGS[name]

    assert each.setting.group in GROUPS
    assert each.setting.help.endswith(".")
    assert each.setting.why or each.default in (None, ())
    assert f"### {each.key}\n" in page()


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, each in SETTINGS.items()
        if name != "mounts" and each.default not in (None, ())
    ],
)
def test_a_shown_default_reads_as_the_default(name):
    each = SETTINGS[name]

    assert each.read(each.show(each.default), name) == each.default


def test_names_are_unambiguous():
    names = [key for each in SETTINGS.values() for key in {*each.keys, *each.setting.aliases}]

    assert len(names) == len(set(names))


def test_keywords_are_the_settings():
    assert set(typing.get_type_hints(Keywords)) == set(SETTINGS) - {"app"}


def test_the_schema_knows_exactly_the_keys_of_a_file():
    properties = schema()["properties"]

    keys = {each.key for each in SETTINGS.values() if not each.python_only}
    assert set(properties) == keys | {"dev"}
    json.dumps(properties)


def test_the_schema_knows_the_table_of_gateway_dev():
    layers = schema()["properties"]["dev"]["allOf"]

    assert layers == [{"$ref": "#"}, {"not": {"required": ["dev"]}}]


def test_the_mounts_in_the_page_can_be_loaded(tmp_path):
    block = page().split("```toml\n")[1].split("```")[0]
    (tmp_path / "gateway.toml").write_text(block)

    mounts = load(environ={}, cwd=tmp_path).settings.mounts

    assert [each.key for each in mounts] == [
        "*.example.com/api",
        "/",
        "/legacy",
        "admin.example.com/",
    ]
    assert len(tomllib.loads(block)["mounts"]) == 4
