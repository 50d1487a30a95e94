"""The two functions most programs need: `run` and `serve`."""

from __future__ import annotations

import sys
from typing import Unpack

from gateway.errors import GatewayError
from gateway.interfaces.bridge import as_asgi
from gateway.process.running import run as run_server
from gateway.process.server import Server
from gateway.settings import load
from gateway.settings.keywords import Keywords

__all__ = ["as_asgi", "run", "serve"]


def run(app: object = None, **settings: Unpack[Keywords]) -> None:
    """Serve until told to stop, as the command line does.

    app: an application, or its import string "package.module:attribute"; None where `mounts` or a
        gateway.toml name applications.
    settings: the names of docs/settings.md with underscores. They win over ``GATEWAY_*``, a
        gateway.toml in the working directory and the defaults. Times are in seconds or text such
        as "30s", sizes in bytes or text such as "64KiB".

    Returns after INT or TERM, when all requests were finished and the applications stopped. Where
    the server cannot start, the reason goes to stderr and SystemExit is raised: 2 for settings,
    3 for an application or an address.
    """
    try:
        loaded = load(overrides={"app": app, **settings})
        run_server(loaded)
    except GatewayError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - this is the command line's voice
        sys.exit(error.exit_code)


async def serve(app: object = None, **settings: Unpack[Keywords]) -> None:
    """Serve inside the running event loop until told to stop; arguments as `run`.

    INT and TERM stop it when called on the main thread; cancelling the task stops it too.
    Raises `ConfigError` or `StartError` where it cannot start.
    """
    loaded = load(overrides={"app": app, **settings}, embedded=True)
    await Server(loaded.settings, origins=loaded.origins).serve()
