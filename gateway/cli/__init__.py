"""The command line: argv → settings → run | dev | check | routes | config."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeAlias

import click

from gateway.cli.actions import (
    Build,
    SiteSeen,
    check,
    check_certificates,
    print_config,
    require_mounts,
    routes,
)
from gateway.cli.command import CommandLine, parse
from gateway.cli.errors import usage_error
from gateway.errors import GatewayError
from gateway.settings import Loaded, Settings, load
from gateway.settings.env_file import load_env_file

__all__ = ["main"]

Serve: TypeAlias = Callable[[Loaded], int]
"""Serves until told to stop; gives the exit code."""


def main(
    argv: Sequence[str] | None = None,
    *,
    serve: Serve | None = None,
    build: Build | None = None,
) -> int:
    """Run one command line and give the exit code of the process.

    argv: the arguments without the program's name; the process's own if None.
    serve, build: what runs the server and what imports the applications; the real ones if None.
    """
    try:
        line = parse(sys.argv[1:] if argv is None else argv)
        if isinstance(line, int):
            return line
        for note in line.notes:
            click.echo(f"note: {note}", err=True)
        return _act(line, serve or _serve, build or _build)
    except click.UsageError as error:
        return _fail(usage_error(error))
    except GatewayError as error:
        return _fail(error)
    except KeyboardInterrupt:
        return 0  # while applications were imported: stopped as asked


def _act(line: CommandLine, serve: Serve, build: Build) -> int:
    if line.action == "dev":
        from gateway.cli.dev import load_for_development

        return serve(load_for_development(line))
    loaded = load(argv_values=line.values, config=line.config)
    if line.action != "config":
        require_mounts(loaded)
    if line.action == "run":
        return serve(loaded)
    try:
        return _print(line, loaded, build)
    except BrokenPipeError:  # "gateway config | head": the reader has enough
        # What is still buffered has nowhere to go, and the interpreter writes it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _print(line: CommandLine, loaded: Loaded, build: Build) -> int:
    if line.action == "config":
        return print_config(loaded, as_json=line.as_json)
    _prepare(loaded)
    if line.action == "check":
        check_certificates(loaded.settings)
        return check(loaded, build)
    return routes(loaded, build, as_json=line.as_json)


def _prepare(loaded: Loaded) -> None:
    """What the server does itself before it imports applications."""
    from gateway.importer import add_app_dir

    if loaded.settings.env_file:
        load_env_file(loaded.settings.env_file)
    # A console script has its own directory on sys.path, not the one it was called from.
    add_app_dir(loaded.settings.app_dir or ".")


def _serve(loaded: Loaded) -> int:
    from gateway.process.running import run

    return run(loaded)


def _build(settings: Settings) -> SiteSeen:
    from gateway.chain import Chain
    from gateway.site import Site

    Chain.check(settings)
    return Site.build(settings)


def _fail(error: GatewayError) -> int:
    with suppress(OSError):  # nobody reads: the exit code is what is left to say
        click.echo(f"error: {error}", err=True)
    return error.exit_code
