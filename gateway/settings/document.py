"""What is written from the declarations: docs/settings.md, the JSON schema, the keywords of `run`.

``python -m gateway.settings.document`` writes them; a test fails when one is stale.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from gateway.settings.declare import Field
from gateway.settings.drafts import MOUNT_SETTINGS
from gateway.settings.kinds import Flag
from gateway.settings.model import GROUPS, SETTINGS

__all__ = ["generated", "keywords", "page", "schema", "write"]

_PAGE_HEAD: Final = """\
# Settings

<!-- Written by `python -m gateway.settings.document` from gateway/settings/model.py. -->

Every setting is a flag, a `GATEWAY_*` variable, a key of `gateway.toml` (or of `[tool.gateway]` in
`pyproject.toml`) and a keyword of `gateway.run()`. Keys may also be written in snake_case.

* **Who wins**: default < `FORWARDED_ALLOW_IPS`, `WEB_CONCURRENCY`, `PORT` < file < `GATEWAY_*` <
  flag < Python. `gateway config` prints every value with its origin.
* **The file**: `--config FILE`, else `./gateway.toml`, else `[tool.gateway]` in `./pyproject.toml`.
  Paths in it (`app-dir`, `env-file`, `log-config`, `log-file`, `pid-file`, `reload-dirs`, …) are
  relative to it.
* **Development**: `gateway dev` has other defaults (`reload`, `timeout-graceful-shutdown` 1s,
  `access-log-format` dev), and the table `[dev]` of the file (`[tool.gateway.dev]`), which has the
  same keys, is laid over the rest of the file. Other commands check it and do not apply it.
* **PORT** in the environment replaces the port of the file (of the first `host:port` of `bind`);
  without any address in the file it means `0.0.0.0:$PORT`. `GATEWAY_PORT`, `--port`, `--bind`,
  `--uds`, `--fd` and Python keywords win over it.
* **Addresses** replace one another: a `bind`, `uds` or `fd` that comes later in the order above
  takes the place of all earlier ones; a later `host` or `port` changes the first `host:port` of
  an earlier `bind`.
* **Mounts** of all sources are merged by key, the later one taking the place of the earlier one
  whole. `APP` is the mount `/`: `gateway main:app` beside a file keeps the file's settings and its
  other mounts, and replaces its `/`.
* **WEB_CONCURRENCY** in the environment is the number of `workers` where nothing else gives one.
* **Values**: durations are `30s`, `1m30s`, `500ms` or bare seconds; sizes are `16MiB`, `64k` or
  bare bytes; permissions are octal (`660`, `0o660`); `none` is no limit. Strings in a file may
  hold `${VAR}` and `${VAR:-default}`.
* **Names of other servers** (gunicorn's `--graceful-timeout`, …) are accepted everywhere.
* `env-file` is for the applications: it is loaded after the settings were read, so `GATEWAY_*` in
  it have no effect.
"""

_MOUNTS_HEAD: Final = """
## Mounts

```toml
[mounts]
"/"                  = "mysite.asgi:application"
"/legacy"            = { app = "legacy:app", threads = 16 }
"admin.example.com/" = "shop.wsgi:application"
"*.example.com/api"  = "tenants:app"
```

A key is a path, a host with a slash behind it, or both; a trailing slash of a path means nothing.
The host decides first (exact, then the longest `*.`, then none), then the longest path by whole
segments; the order in the file is irrelevant. On the command line: `--mount /api=api.main:app`.

| Key | Default | Meaning |
|---|---|---|
"""

_TYPES_HEAD: Final = '''\
"""The keywords of `gateway.run`, written by ``python -m gateway.settings.document``."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, TypedDict

__all__ = ["Keywords"]


class Keywords(TypedDict, total=False):
    """One key for each setting; None is the same as leaving it out."""

'''


def page() -> str:
    """docs/settings.md."""
    parts = [_PAGE_HEAD]
    for group in GROUPS:
        parts.append(f"\n## {group}\n")
        parts.extend(_chapter(each) for each in SETTINGS.values() if each.setting.group == group)
    parts.append(_MOUNTS_HEAD)
    for each in MOUNT_SETTINGS.values():
        default = _code(each) if not each.inherited else "the server's"
        default = "required" if each.required else default
        text = f"{each.setting.help} {each.setting.why}".strip()
        parts.append(f"| `{each.key}` | {default} | {_cell(text)} |\n")
    return "".join(parts)


def _chapter(each: Field) -> str:
    lines = [f"\n### {each.key}\n\n{each.setting.help}\n\n"]
    if each.python_only:
        lines.append(f"* Python only: `{each.name}`\n")
    else:
        switch = f"{each.flag} / --no-{each.key}" if isinstance(each.kind, Flag) else each.flag
        usage = switch if not each.metavar else f"{each.flag} {each.metavar}"
        if each.name == "app":
            usage = each.metavar  # an argument, not a flag
        lines.append(f"* `{usage}` · `{each.variable}`\n")
    lines.append(f"* Default: {_code(each)}. {each.setting.why}".rstrip() + "\n")
    if each.setting.aliases:
        names = [f"`-{name}`" if len(name) == 1 else f"`--{name}`" for name in each.setting.aliases]
        lines.append(f"* Also accepted: {', '.join(names)}\n")
    return "".join(lines)


def _code(each: Field) -> str:
    shown = each.show(each.default)
    return f"`{shown}`" if shown else "empty"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def schema() -> Mapping[str, object]:
    """The JSON schema of gateway.toml, for editors (``#:schema`` in Even Better TOML)."""
    mount = {
        "type": "object",
        "required": ["app"],
        "additionalProperties": False,
        "properties": _properties(MOUNT_SETTINGS.values()),
    }
    properties = _properties(each for each in SETTINGS.values() if not each.python_only)
    properties["mounts"] = {
        "description": SETTINGS["mounts"].setting.help,
        "type": "object",
        "additionalProperties": {"anyOf": [{"type": "string"}, mount]},
    }
    properties["dev"] = {
        "description": "Laid over the other settings by gateway dev.",
        "allOf": [{"$ref": "#"}, {"not": {"required": ["dev"]}}],
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "gateway.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _properties(fields: Iterable[Field]) -> dict[str, object]:
    properties: dict[str, object] = {}
    for each in fields:
        entry = {"description": each.setting.help, **each.kind.schema()}
        if each.default not in (None, ()) and not each.inherited:
            entry["default"] = each.show(each.default) if "anyOf" in entry else each.default
        properties[each.key] = entry
    return properties


def keywords() -> str:
    """gateway/settings/keywords.py."""
    lines = [_TYPES_HEAD]
    for each in SETTINGS.values():
        if each.name != "app":
            kind = each.kind.python
            lines.append(f"    {each.name}: {kind}{'' if kind == 'object' else ' | None'}\n")
    return "".join(lines)


def generated() -> dict[str, str]:
    """Every generated file: its path in the repository and its text."""
    return {
        "docs/settings.md": page(),
        "docs/gateway.schema.json": json.dumps(schema(), indent=2) + "\n",
        "gateway/settings/keywords.py": keywords(),
    }


def write(root: Path) -> None:
    """Write the generated files below the repository's root."""
    for name, text in generated().items():
        (root / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).parents[2])
