"""The lifespan of one application: startup before the first request, shutdown after the last.

ASGI lifespan spec 2.0. Each application gets a task and a state of its own.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Literal, TypeAlias

from gateway.errors import StartError
from gateway.importer import explain
from gateway.interfaces.asgi3 import Asgi3Application, Message, Scope

__all__ = ["Lifespan", "LifespanMode"]

logger = logging.getLogger("gateway.error")

LifespanMode: TypeAlias = Literal["auto", "on", "off"]


class Lifespan:
    """Runs ``startup`` and ``shutdown`` of one application.

    mode: "auto" takes an exception before ``startup.complete`` for "this application has no
        lifespan" and goes on, as the spec asks; "on" makes it an error; "off" does nothing.
        Quietly where the application refused the scope, or answered it as if it were a request;
        one that had received ``lifespan.startup`` has a lifespan, and a fault in it: a warning.
    name: the mounts of the application, for messages.
    state: what the application put into ``scope["state"]``; requests get copies of it.
    """

    def __init__(
        self, app: Asgi3Application, *, mode: LifespanMode, name: str, version: str = "3.0"
    ) -> None:
        self.state: dict[str, object] = {}
        self._app = app
        self._mode = mode
        self._name = name
        self._version = version
        self._task: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._started: asyncio.Future[None] | None = None
        self._stopped: asyncio.Future[None] | None = None
        self._failed = False
        self._taken = False  # the application has received an event, as a lifespan

    async def startup(self) -> None:
        """Return when the application is ready, or has no lifespan.

        Raises StartError with the application's own message or frames.
        """
        if self._mode == "off":
            return
        loop = asyncio.get_running_loop()
        self._started = loop.create_future()
        self._stopped = loop.create_future()
        self._task = loop.create_task(self._run(), name=f"lifespan {self._name}")
        self._events.put_nowait({"type": "lifespan.startup"})
        try:
            await self._started
        except BaseException:
            self._failed = True
            await self._end()
            raise

    async def shutdown(self, timeout: float) -> None:
        """Tell the application to stop and wait for its answer, `timeout` seconds at most."""
        if self._task is None or self._stopped is None or self._failed:
            return
        try:
            if not self._task.done():
                self._events.put_nowait({"type": "lifespan.shutdown"})
                # Its answer, not its end: many loop on receive() without ever returning.
                done, _ = await asyncio.wait({self._stopped}, timeout=timeout)
                if not done:
                    logger.error("%s: its lifespan did not stop in %g s", self._name, timeout)
        except asyncio.CancelledError:  # the operator said "now"
            logger.warning("%s: its lifespan was not waited for", self._name)
            raise
        finally:
            await self._end()

    async def _end(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=1.0)

    async def _run(self) -> None:
        scope: Scope = {
            "type": "lifespan",
            "asgi": {"version": self._version, "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._receive, self._send)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever an application raises
            self._on_error(error)
        finally:
            for future in (self._started, self._stopped):
                if future is not None and not future.done():
                    future.set_result(None)

    def _on_error(self, error: BaseException) -> None:
        started = self._started
        if started is not None and not started.done():
            # An application that calls sys.exit() has decided; it does not "lack a lifespan".
            if self._mode == "on" or not isinstance(error, Exception):
                text = f"{self._name}: its lifespan failed\n{explain(error)}"
                failure = StartError(text)
                failure.__cause__ = error
                started.set_exception(failure)
                return
            self._failed = True
            if self._taken:
                logger.warning(
                    "%s: its lifespan failed, going on without (--lifespan on stops the start)\n%s",
                    self._name,
                    explain(error),
                )
            else:
                logger.debug("%s: no lifespan (%s)", self._name, error.__class__.__name__)
        elif not self._failed:
            logger.error("%s: its lifespan failed", self._name, exc_info=error)

    async def _receive(self) -> Message:
        self._taken = True
        return await self._events.get()

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if not kind.startswith("lifespan."):
            self._taken = False
        started, stopped = self._started, self._stopped
        if started is None or stopped is None:
            return
        if kind == "lifespan.startup.complete" and not started.done():
            started.set_result(None)
        elif kind == "lifespan.startup.failed" and not started.done():
            self._failed = True
            text = str(message.get("message", "")).strip()
            started.set_exception(
                StartError(f"{self._name}: its startup failed" + (_indent(text) if text else ""))
            )
        elif kind == "lifespan.shutdown.complete" and started.done() and not stopped.done():
            stopped.set_result(None)
        elif kind == "lifespan.shutdown.failed" and started.done() and not stopped.done():
            stopped.set_result(None)
            text = str(message.get("message", "")).strip()
            logger.error("%s: its shutdown failed%s", self._name, _indent(text) if text else "")
        else:
            raise RuntimeError(f"{kind!r} is not a lifespan message that may be sent now")


def _indent(text: str) -> str:
    return "".join(f"\n  {line}" for line in text.splitlines())
