"""Live and ready, told by the supervising process on addresses of their own.

No application is asked and no worker, so the answer comes during overload too, whatever Host says
(a probe of a pod names its IP address, which Django's ALLOWED_HOSTS refuses).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from socket import socket
from typing import Final

from gateway.clock import Clock
from gateway.exchange import Exchange, Handler
from gateway.listener import Listener
from gateway.protocols.context import ConnectionContext
from gateway.protocols.default_fields import DefaultFields
from gateway.protocols.http1_h11 import H11HeadParser

__all__ = ["Health", "HealthListener", "health_handler"]

# Both spellings are in use: /healthz, /livez and /readyz are those of Kubernetes' own servers.
_LIVE: Final = frozenset(("/live", "/livez", "/healthz"))
_READY: Final = frozenset(("/ready", "/readyz"))

_FIELDS: Final = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"cache-control", b"no-store"),
]
_ALLOW: Final = (b"allow", b"GET, HEAD")

_TICK: Final = 1.0
# Seconds for a request head, for a body and for the reader of an answer. Probes give up after 1 to
# 5 s; the descriptors of a client that says nothing are those the supervisor starts workers with.
_PATIENCE: Final = 10.0
_KEEP_ALIVE: Final = 60.0  # HAProxy and Envoy ask on one connection, every 2 to 30 s
_HEAD_SIZE: Final = 8192
_BACKLOG: Final = 128


@dataclass(frozen=True, slots=True)
class Health:
    """What a server says of itself.

    live: a worker answers, or will; when it stays False, whoever asks starts the server anew.
    ready: a worker has done every lifespan and no stop was asked for; while it is False, no new
        requests are sent here.
    detail: why not, in a word or two: "starting", "draining"; not shown while all is well.
    """

    live: bool
    ready: bool
    detail: str = ""


def health_handler(look: Callable[[], Health]) -> Handler:
    """Answer ``/live`` and ``/ready``: 200, or 503 with the reason, from `look` at that moment.

    ``/livez`` and ``/healthz`` are ``/live``, ``/readyz`` is ``/ready``; any other path is a 404,
    any method but GET and HEAD a 405. A body is one line of text: "ready", "not ready: draining".
    """

    def answer(exchange: Exchange) -> None:
        path = exchange.head.path
        if path in _LIVE:
            name = "live"
        elif path in _READY:
            name = "ready"
        else:
            exchange.start(404, _FIELDS, b"there are /live and /ready\n")
            return
        if exchange.head.method not in ("GET", "HEAD"):
            exchange.start(405, [*_FIELDS, _ALLOW], b"GET and HEAD only\n")
            return
        health = look()
        good = health.live if name == "live" else health.ready
        text = name if good else f"not {name}: {health.detail}" if health.detail else f"not {name}"
        exchange.start(200 if good else 503, _FIELDS, f"{text}\n".encode())

    return answer


class HealthListener:
    """Serves a handler on sockets that are already bound, inside the running loop.

    It has a clock and connections of its own and knows nothing of a drain: it answers until
    `close`, so that "not ready" can be read while the last requests finish.

    Heads are read by h11, whatever ``http`` says: a few requests a second, in the one process that
    must not die of a fault in native code.
    """

    def __init__(self, sockets: Sequence[socket], handler: Handler) -> None:
        self._sockets = sockets
        self._handler = handler
        self._listeners: list[Listener] = []
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Begin to accept on every socket."""
        loop = asyncio.get_running_loop()
        clock = Clock()
        defaults = DefaultFields(clock, server=None, date=True)
        try:
            for sock in self._sockets:
                context = ConnectionContext(
                    loop=loop,
                    clock=clock,
                    handler=self._handler,
                    parser=H11HeadParser,
                    defaults=defaults,
                    keep_alive=_KEEP_ALIVE,
                    head_timeout=_PATIENCE,
                    body_timeout=_PATIENCE,
                    write_timeout=_PATIENCE,
                    limit_head=_HEAD_SIZE,
                )
                listener = Listener(sock, context, backlog=_BACKLOG)
                self._listeners.append(listener)
                await listener.open()
                clock.on_tick.append(listener.sweep)
        except BaseException:
            self.close()
            raise

        def tick() -> None:
            clock.tick()
            self._timer = loop.call_later(_TICK, tick)

        self._timer = loop.call_later(_TICK, tick)

    def close(self) -> None:
        """Stop accepting and close every connection. Never waits; again is harmless."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for listener in self._listeners:
            listener.close()
            listener.cut()
        self._listeners.clear()
