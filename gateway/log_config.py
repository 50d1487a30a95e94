"""A user's own configuration of logging: a dictionary, or a file with one, for `logging.config`."""

from __future__ import annotations

import configparser
import json
import logging.config
import tomllib
from collections.abc import Mapping
from pathlib import Path

from gateway.errors import ConfigError

__all__ = ["apply_config"]


def apply_config(config: str | Mapping[str, object]) -> None:
    """Configure the library `logging`.

    config: a mapping for `logging.config.dictConfig`, or the path of a file holding one (.json,
        .yaml, .yml, .toml) or of an ini file for `logging.config.fileConfig` (.ini, .cfg, .conf).
        ``version = 1`` and ``disable_existing_loggers = false`` are filled in.

    Raises `ConfigError` naming the file or key and what is wrong with it.
    """
    if isinstance(config, str):
        _from_file(Path(config))
    else:
        _from_mapping(config, "log-config")


def _from_mapping(mapping: Mapping[str, object], where: str) -> None:
    config = {"version": 1, "disable_existing_loggers": False, **mapping}
    try:
        logging.config.dictConfig(config)
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        cause = f": {error.__cause__}" if error.__cause__ else ""
        raise ConfigError(f"{where}: {error}{cause}") from error


def _from_file(path: Path) -> None:
    where = f"log-config {path}"
    suffix = path.suffix.lower()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{where}: cannot be read: {reason}") from error
    try:
        match suffix:
            case ".json":
                content = json.loads(text)
            case ".toml":
                content = tomllib.loads(text)
            case ".yaml" | ".yml":
                content = _load_yaml(text, where)
            case ".ini" | ".cfg" | ".conf":
                _from_ini(path, where)
                return
            case _:
                raise ConfigError(
                    f"{where}: the format is told by the suffix, which must be one of "
                    ".ini .cfg .conf .json .yaml .yml .toml"
                )
    except ValueError as error:  # what json and tomllib raise
        raise ConfigError(f"{where}: not valid {suffix[1:]}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: a mapping for logging.config.dictConfig is expected")
    _from_mapping(content, where)


def _from_ini(path: Path, where: str) -> None:
    try:
        logging.config.fileConfig(path, disable_existing_loggers=False, encoding="utf-8")
    except KeyError as error:
        raise ConfigError(f"{where}: the section or key {error} is missing") from error
    except configparser.Error as error:
        raise ConfigError(f"{where}: {error}") from error
    # fileConfig evaluates class names and arguments: any mistake there has its own exception.
    except Exception as error:
        raise ConfigError(f"{where}: {type(error).__name__}: {error}") from error


def _load_yaml(text: str, where: str) -> object:
    try:
        import yaml
    except ImportError:
        raise ConfigError(f"{where}: YAML needs PyYAML\n  pip install 'gateway[yaml]'") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid yaml: {error}") from error
