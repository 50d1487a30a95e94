"""The real gunicorn as a process."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Self

from e2e.client import Response
from e2e.process import Gateway, write_main

__all__ = ["Gunicorn", "Start"]


class Gunicorn(Gateway):
    """``gunicorn -k gateway.workers.GatewayWorker ARGS``; main:app is a `Witness`, unless named."""

    def __init__(
        self,
        cwd: Path,
        *args: str,
        app: str = "main:app",
        worker: str = "gateway.workers.GatewayWorker",
        bind: str = "127.0.0.1:0",
    ) -> None:
        if app == "main:app" and not (cwd / "main.py").exists():
            write_main(cwd, "1")
        own = ["-k", worker, "-b", bind, "--no-control-socket", "--graceful-timeout", "8"]
        super().__init__([*own, *args, app], cwd, module="gunicorn")

    def ready(self, timeout: float = 15.0) -> Self:
        self.err.wait(r"Serving ", timeout)
        return self

    @property
    def port(self) -> int:
        return int(self.err.wait(r"Listening at: http://127\.0\.0\.1:(\d+)")[1])

    def get(self, target: str = "/", *lines: str) -> Response:
        with self.connect() as connection:
            connection.send_request("GET", target, *lines)
            return connection.response()

    def worker_pid(self) -> int:
        """Of the worker that answers now."""
        return int(self.get().text.split(" ")[0])

    def stop_with(self, number: signal.Signals) -> int:
        self.signal(number)
        return self.wait(15)

    def lines(self, pattern: str) -> list[re.Match[str]]:
        return [found for line in self.err.lines if (found := re.search(pattern, line))]


Start = Callable[..., Gunicorn]
