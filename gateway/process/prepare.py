"""What a process does before it imports an application."""

from __future__ import annotations

import logging
import os

from gateway import log
from gateway.importer import add_app_dir
from gateway.process.identity import identity
from gateway.settings import Settings
from gateway.settings.env_file import load_env_file
from gateway.tls.certificates import Certificates

__all__ = ["check_certificates", "configure_logs", "prepare_imports"]

logger = logging.getLogger("gateway.error")


def configure_logs(settings: Settings, *, worker: int | None = None) -> None:
    """Set up logging.

    worker: the index that lines of a worker carry.
    """
    # Files that root makes here are to be reopened by workers that are not root any more.
    user = identity(settings.user, settings.group)
    log.configure(
        level=settings.log_level,
        use_colors=settings.use_colors,
        log_config=settings.log_config,
        access_log=settings.access_log,
        worker=worker,
        log_file=settings.log_file,
        access_log_file=settings.access_log_file,
        file_owner=None if user is None else (user.uid, user.gid),
    )


def check_certificates(settings: Settings) -> None:
    """Read every certificate, before an address is bound, and say what there is.

    Workers read them again, each for itself. Raises `ConfigError`.
    """
    if settings.tls is not None:
        logger.info("TLS: %s", Certificates(settings.tls))


def prepare_imports(settings: Settings) -> None:
    """Load the env file and put the applications' directory on the path."""
    if settings.env_file:
        load_env_file(settings.env_file)
    # Root may have started the server in a directory that the applications' user may not enter;
    # they may be installed elsewhere.
    if settings.app_dir or os.access(os.curdir, os.X_OK):
        add_app_dir(settings.app_dir or os.curdir)
