"""Errors an operator sees. Each says what is wrong, where, and what to do, and carries
the exit code of the process: 0 stopped as asked, 2 usage or configuration, 3 could not start,
1 the rest.
"""

from __future__ import annotations

__all__ = ["ConfigError", "GatewayError", "StartError"]


class GatewayError(Exception):
    """A failure explained to the operator.

    ``str(error)`` is the whole text as printed after ``error: ``: the first line says what and
    where, indented lines below it add evidence (source lines, frames) and what to do next.
    """

    exit_code = 1


class ConfigError(GatewayError):
    """The command line, environment or a file asks for something that cannot be (exit code 2)."""

    exit_code = 2


class StartError(GatewayError):
    """The configuration is sound but the start fails: import, bind, lifespan (exit code 3)."""

    exit_code = 3
