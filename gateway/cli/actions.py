"""What the commands that do not serve print."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeAlias

import click

from gateway.errors import StartError
from gateway.log_format import counted
from gateway.process import mounted
from gateway.settings import Loaded, Mount, Settings
from gateway.settings.drafts import MOUNT_SETTINGS
from gateway.settings.model import SETTINGS

__all__ = [
    "Build",
    "SiteSeen",
    "check",
    "check_certificates",
    "print_config",
    "require_mounts",
    "routes",
]


class SiteSeen(Protocol):
    """What is printed of a site."""

    @property
    def mounts(self) -> Sequence[mounted.Mounted]: ...


Build: TypeAlias = Callable[[Settings], SiteSeen]
"""Imports the applications of the settings. Raises StartError."""


def require_mounts(loaded: Loaded) -> None:
    """Raise `ConfigError`, with what to type, where there is no application at all."""
    mounted.require_mounts(loaded.settings)


def check_certificates(settings: Settings) -> None:
    """Read every certificate and report it. Raises `ConfigError`."""
    if settings.tls is not None:
        from gateway.tls.certificates import Certificates  # OpenSSL takes 10 ms

        certificates = Certificates(settings.tls)
        click.echo(f"TLS: {certificates}")
        for warning in certificates.endings():
            click.echo(f"warning: {warning}", err=True)


def check(loaded: Loaded, build: Build) -> int:
    """Import every application and report each mount."""
    settings = loaded.settings
    try:
        site = build(settings)
    except StartError as error:
        failed = _check_singly(settings, build)
        if not failed:  # each mount is sound, but they cannot live together
            raise
        click.echo(f"{failed} of {counted(len(settings.mounts), 'mount')} failed", err=True)
        return error.exit_code
    _print_mounts(site.mounts)
    click.echo(
        f"{loaded.file.name if loaded.file else 'settings'}: "
        f"{counted(len(site.mounts), 'mount')}, ready"
    )
    return 0


def _check_singly(settings: Settings, build: Build) -> int:
    """Report every mount by itself; how many failed."""
    failed = 0
    for mount in settings.mounts:
        try:
            _print_mounts(build(_only(settings, mount)).mounts)
        except StartError as error:
            failed += 1
            click.echo(f"error: {mount.key}: {error}", err=True)
    return failed


def _only(settings: Settings, mount: Mount) -> Settings:
    return dataclasses.replace(settings, mounts=(mount,))


def routes(loaded: Loaded, build: Build, *, as_json: bool = False) -> int:
    """List what answers where, without listening."""
    mounts = build(loaded.settings).mounts
    if as_json:
        names = ("key", "app_name", "framework", "interface", "threads", "notes")
        click.echo(json.dumps([{name: getattr(each, name) for name in names} for each in mounts]))
    else:
        _print_mounts(mounts)
    return 0


def _print_mounts(mounts: Iterable[mounted.Mounted]) -> None:
    rows = [
        (
            each.key,
            each.app_name,
            each.framework or "-",
            f"{each.interface}, {counted(each.threads, 'thread')}"
            if each.threads
            else each.interface,
            each.notes,
        )
        for each in mounts
    ]
    click.echo(_table(rows))


def print_config(loaded: Loaded, *, as_json: bool = False) -> int:
    """List every setting with its value and origin, and every mount."""
    origins = loaded.origins
    shown = {
        name: each
        for name, each in SETTINGS.items()
        if name not in ("app", "mounts") and not each.python_only
    }
    mounts = loaded.settings.mounts
    if as_json:
        settings: dict[str, object] = {}
        for name, each in shown.items():
            value = getattr(loaded.settings, name)
            settings[each.key] = {
                "value": each.show(value) if each.kind.secret else value,
                "shown": each.show(value),
                "origin": origins[name],
            }
        table = {
            each.key: {
                "app": each.app_name,
                "options": _options(each, loaded.settings),
                "origin": origins[f"mounts.{each.key}"],
            }
            for each in mounts
        }
        file = str(loaded.file) if loaded.file else None
        click.echo(json.dumps({"file": file, "settings": settings, "mounts": table}, indent=2))
        return 0
    rows = [
        (each.key, each.show(getattr(loaded.settings, name)) or '""', origins[name])
        for name, each in shown.items()
    ]
    click.echo(_table(rows))
    if mounts:
        click.echo()
        click.echo(_table([_config_row(each, loaded) for each in mounts]))
    return 0


def _config_row(mount: Mount, loaded: Loaded) -> tuple[str, str, str]:
    options = _options(mount, loaded.settings)
    words = [mount.app_name, *(f"{name}={text}" for name, text in options.items())]
    return f"mount {mount.key}", " ".join(words), loaded.origins[f"mounts.{mount.key}"]


def _options(mount: Mount, settings: Settings) -> dict[str, str]:
    """What a mount says itself: the values that are not the server's, nor the default."""
    said = {}
    for name, each in MOUNT_SETTINGS.items():
        value = getattr(mount, name)
        usual = getattr(settings, name) if each.inherited else each.default
        if name != "app" and value != usual:
            said[each.key] = each.show(value) or '""'
    return said


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)
