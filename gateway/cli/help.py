"""``--help``, short, and ``--help-all``, complete; both from the declared settings."""

from __future__ import annotations

import shutil
from typing import Final

import click

from gateway.settings.declare import Field
from gateway.settings.kinds import Flag
from gateway.settings.model import GROUPS, SETTINGS

__all__ = ["flags", "print_help"]

_HEAD: Final = """\
Usage: gateway [OPTIONS] [MODULE:APP]
       gateway dev|check|routes|config [OPTIONS] [MODULE:APP]

Serve ASGI and WSGI applications side by side.

  gateway main:app      one application; its interface is recognized
  gateway               the mounts of ./gateway.toml
  gateway dev           serve for development: start again when a file changes (--https)
  gateway check         read the settings and import every application, without serving
  gateway routes        list every mount: what answers where
  gateway config        list every setting: its value and where it comes from (--json)
"""
_OTHERS: Final = (
    ("-c, --config FILE", "Read this file instead of ./gateway.toml or ./pyproject.toml."),
    ("--version", "Print the version and exit."),
    ("-h, --help", "Print the common options."),
    ("--help-all", "Print all options."),
)
_WIDTH: Final = 100
_FLAGS_WIDTH: Final = 38


def print_help(*, everything: bool) -> None:
    """Print the common settings, or every one."""
    width = min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns)
    formatter = click.HelpFormatter(width=width)
    for group in GROUPS:
        rows = [
            (_usage(each), _text(each))
            for each in SETTINGS.values()
            if each.setting.group == group
            and each.name != "app"
            and not each.python_only
            and (everything or each.setting.common)
        ]
        if rows:
            with formatter.section(group):
                formatter.write_dl(rows, col_max=_FLAGS_WIDTH)
    with formatter.section("General"):
        formatter.write_dl(_OTHERS, col_max=_FLAGS_WIDTH)
    click.echo(f"{_HEAD}\n{formatter.getvalue()}", nl=False)


def flags() -> list[str]:
    """Every flag the help knows, for "did you mean"."""
    names = ["--config", "--help", "--help-all", "--https", "--json", "--version"]
    for each in SETTINGS.values():
        if each.name != "app" and not each.python_only:
            names.append(each.flag)
            if isinstance(each.kind, Flag):
                names.append(f"--no-{each.key}")
    return names


def _usage(each: Field) -> str:
    shorts = [f"-{name}" for name in each.setting.aliases if len(name) == 1]
    names = ", ".join([*shorts, each.flag])
    if isinstance(each.kind, Flag):
        return f"{each.flag} / --no-{each.key}" if each.default is not False else each.flag
    return f"{names} {each.metavar}"


def _text(each: Field) -> str:
    default = "" if each.default in (None, False) else each.show(each.default)
    if each.default is True:
        default = "on"
    shown = f" [{default}]" if default else ""
    return f"{each.setting.help}{shown} [{each.variable}]"
