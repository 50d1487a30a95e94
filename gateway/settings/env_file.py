"""Environment variables for the applications, from a file."""

from __future__ import annotations

from gateway.errors import ConfigError

__all__ = ["load_env_file"]


def load_env_file(path: str) -> None:
    """Set the variables of a ``.env`` file that the environment does not have yet.

    Call it after `load`: the file speaks to the applications, not to the server. Raises
    `ConfigError` without python-dotenv.
    """
    try:
        from dotenv import load_dotenv
    except ImportError:
        raise ConfigError(
            f"env-file {path} needs python-dotenv\n  pip install 'gateway[dotenv]'"
        ) from None
    load_dotenv(path)
