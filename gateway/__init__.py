"""gateway: one server core in front of many ASGI and WSGI applications.

    import gateway

    gateway.run("main:app", port=8000)                      # blocks, like the command line
    await gateway.serve(app)                                # inside a running loop
    with gateway.Server(gateway.Settings(app=app, port=0)) as server:
        httpx.get(server.url)                               # from a thread, for tests

The names below are the public API; everything else may change between versions.
"""

from __future__ import annotations

from gateway.api import as_asgi, run, serve
from gateway.errors import ConfigError, GatewayError, StartError
from gateway.process.server import Server
from gateway.settings import Settings
from gateway.version import __version__

__all__ = [
    "ConfigError",
    "GatewayError",
    "Server",
    "Settings",
    "StartError",
    "__version__",
    "as_asgi",
    "run",
    "serve",
]
