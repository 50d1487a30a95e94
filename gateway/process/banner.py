"""What the server says when it is ready: where it listens and what answers there."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import sys
from collections.abc import Mapping, Sequence

from gateway.log import wants_color
from gateway.log_format import counted
from gateway.process.mounted import Mounted
from gateway.settings.model import Settings
from gateway.version import __version__

__all__ = ["announce"]

logger = logging.getLogger("gateway.error")


def announce(
    mounts: Sequence[Mounted],
    urls: Sequence[str],
    settings: Settings,
    origins: Mapping[str, str],
    seconds: float,
    *,
    workers: int = 0,
) -> None:
    """Print the table of mounts: a page on a terminal, one record per line in a log.

    seconds: from the start of the process's work to its readiness.
    workers: how many there are; 0 where the process itself serves.
    """
    if not logger.isEnabledFor(logging.INFO):
        return
    if settings.log_config is None and sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(_page(mounts, urls, settings, origins, seconds, workers))
        sys.stderr.flush()
        return
    for mounted, url in _lines(mounts, urls):
        logger.info("%s -> %s (%s)", url, mounted.app_name, _facts(mounted))
    logger.info(
        "gateway %s ready in %.2f s on %s, %s%s, pid %d%s",
        __version__,
        seconds,
        ", ".join(urls),
        counted(len(mounts), "mount"),
        f", {counted(workers, 'worker')}" if workers else "",
        os.getpid(),
        _port_origin(origins),
    )


def _page(
    mounts: Sequence[Mounted],
    urls: Sequence[str],
    settings: Settings,
    origins: Mapping[str, str],
    seconds: float,
    workers: int,
) -> str:
    color = wants_color(sys.stderr, settings.use_colors)
    bold, dim, green, plain = ("\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[0m") if color else [""] * 4
    lines = list(_lines(mounts, urls))
    url_width = max((len(url) for _, url in lines), default=0)
    app_width = max((len(mounted.app_name) for mounted, _ in lines), default=0)
    rows = [
        f"  {green}➜{plain} {bold}{url:<{url_width}}{plain}   "
        f"{mounted.app_name:<{app_width}}   {dim}{_facts(mounted)}{plain}\n"
        for mounted, url in lines
    ]
    others = [f"  {green}➜{plain} {bold}{url}{plain}   the same\n" for url in urls[1:]]
    return "".join(
        [
            f"\n  {bold}gateway {__version__}{plain}   {dim}{_versions(settings)}{plain}\n\n",
            *rows,
            *others,
            f"\n  ready in {seconds * 1000:.0f} ms{_port_origin(origins)}",
            f" · {counted(workers, 'worker')}" if workers else "",
            f"   {dim}Ctrl-C stops{plain}\n\n",
        ]
    )


def _lines(mounts: Sequence[Mounted], urls: Sequence[str]) -> list[tuple[Mounted, str]]:
    """Each mount with the address a user would type."""
    base = urls[0] if urls else ""
    lines = []
    for mounted in mounts:
        host, _, path = mounted.key.partition("/")
        if base.startswith("unix:"):
            url = f"{base}:{host}/{path}"
        elif host:
            scheme, _, rest = base.partition("://")
            port = rest.rpartition(":")[2]
            url = f"{scheme}://{host}:{port}/{path}"
        else:
            url = f"{base}/{path}"
        lines.append((mounted, url))
    return lines


def _facts(mounted: Mounted) -> str:
    interface = mounted.interface
    if mounted.threads:
        interface += f", {counted(mounted.threads, 'thread')}"
    return " · ".join(part for part in (mounted.framework, interface, mounted.notes) if part)


def _versions(settings: Settings) -> str:
    names = [f"Python {platform.python_version()}"]
    wanted = {
        "uvloop": settings.loop != "asyncio",
        "httptools": settings.http != "h11",
        "h11": settings.http == "h11",
    }
    for name, used in wanted.items():
        if used:
            try:
                names.append(f"{name} {importlib.metadata.version(name)}")
            except importlib.metadata.PackageNotFoundError:
                continue
    return " · ".join(names)


def _port_origin(origins: Mapping[str, str]) -> str:
    """Say when the environment decided about the port: it overrides the file."""
    told = "environment PORT"
    decided = any(told in origins.get(name, "") for name in ("port", "bind"))
    return f", port from {told}" if decided else ""
