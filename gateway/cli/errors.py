"""A wrong command line, in one sentence and a hint."""

from __future__ import annotations

import click

from gateway.cli.help import flags
from gateway.errors import ConfigError
from gateway.settings.absent import ABSENT_FLAGS
from gateway.settings.kinds import suggest

__all__ = ["usage_error"]


def usage_error(error: click.UsageError) -> ConfigError:
    """Say what click found in the words all other errors use."""
    if isinstance(error, click.NoSuchOption):
        return ConfigError(_unknown(error.option_name))
    if isinstance(error, click.BadOptionUsage):
        if "does not take" in error.message:
            return ConfigError(f"{error.option_name} takes no value")
        return ConfigError(f"{error.option_name} needs a value")
    return ConfigError(error.format_message())


def _unknown(name: str) -> str:
    if name in ABSENT_FLAGS:
        return f"{name} is a flag of uvicorn's that this version of gateway does not support"
    near = suggest(name, flags())
    return f"no such option {name}" + (f"; {near}" if near else "; gateway --help-all lists them")
