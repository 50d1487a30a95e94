"""The settings of ``gateway dev``: what nobody has named is looked for."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from gateway.cli.command import CommandLine
from gateway.importer.discover import discover
from gateway.settings import Loaded, Settings, load

__all__ = ["load_for_development"]

_PORTS: Final = 20
_ANYWHERE: Final = ("0.0.0.0", "::")


def load_for_development(line: CommandLine) -> Loaded:
    """Load with the defaults of development; the application is found, and so is a free port.

    With ``--https`` a certificate is there, too, unless one is configured. Raises `ConfigError`,
    also where no application is found.
    """
    values = dict(line.values)
    loaded = load(argv_values=values, config=line.config, dev=True)
    if not loaded.settings.mounts:
        found = discover(Path(loaded.settings.app_dir or os.curdir), os.environ)
        click.echo(f"found {found.why}: {found.app}", err=True)
        for name, text in found.environ.items():
            os.environ.setdefault(name, text)
        values |= {"app": found.app, "factory": found.factory, "app_dir": str(found.app_dir)}
        loaded = load(argv_values=values, config=line.config, dev=True)
    port = _another_port(loaded)
    if port is not None:
        click.echo(f"port {loaded.settings.port} is taken; using {port}", err=True)
        values["port"] = str(port)
        loaded = load(argv_values=values, config=line.config, dev=True)
    if line.https and loaded.settings.tls is None:
        from gateway.cli.dev_certificate import DevelopmentCertificates  # OpenSSL takes 10 ms

        certificates = DevelopmentCertificates.of_user(os.environ)
        values["ssl_certfile"] = str(certificates.get(_hosts(loaded.settings)))
        loaded = load(argv_values=values, config=line.config, dev=True)
    return loaded


def _hosts(settings: Settings) -> Iterator[str]:
    """What else the server is called: where it listens, and the hosts of mounts."""
    for bind in settings.addresses:
        if bind.host is not None and bind.host not in _ANYWHERE:
            yield bind.host.partition("%")[0]  # a zone is nobody's name
    for mount in settings.mounts:
        if mount.host:
            yield mount.host


def _another_port(loaded: Loaded) -> int | None:
    """The next free port where the usual one is taken; None where it is free, or was asked for."""
    settings = loaded.settings
    addressed = settings.bind or settings.uds is not None or settings.fd is not None
    if addressed or loaded.origins["port"] != "default" or not _is_taken(settings, settings.port):
        return None
    return next(
        (
            port
            for port in range(settings.port + 1, settings.port + _PORTS)
            if not _is_taken(settings, port)
        ),
        None,
    )


def _is_taken(settings: Settings, port: int) -> bool:
    host = settings.host.strip("[]")
    try:
        socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        ).close()
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False
