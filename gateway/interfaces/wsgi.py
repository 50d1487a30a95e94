"""The WSGI interface: a handler that calls a WSGI application in a thread (PEP 3333).

No ASGI message exists on this path: `environ` makes the environ from the head, `threads` runs
the application, `wsgi_call` and `wsgi_task` are one request on either side of the border.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.exchange import Exchange
from gateway.interfaces.environ import EnvironBuilder
from gateway.interfaces.threads import ThreadPool
from gateway.interfaces.wsgi_call import WsgiCall
from gateway.interfaces.wsgi_errors import ErrorStream
from gateway.interfaces.wsgi_file import FileWrapper
from gateway.interfaces.wsgi_mount import WsgiMount

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["WsgiInterface"]


class WsgiInterface:
    """Serves one WSGI application; the last handler of its mount.

    app: the application, called in threads of its own pool.
    loop: the loop all exchanges of this mount live on.
    threads: applications running at the same time, at most. 8: enough to wait for a database on
        two cores, few enough for its connections; one thread does the work while none blocks.
    queue: requests that may wait for a thread; one more is answered 503 with Retry-After.
        1000: about 3 MiB, and with 8 threads of 50 ms a wait of 6 s, which a client bears.
    name: the mount, for the names of threads.
    multiprocess: other processes serve the same application (``wsgi.multiprocess``).
    idle_timeout: seconds after which a thread without work ends, but for the last.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        loop: asyncio.AbstractEventLoop,
        threads: int = 8,
        queue: int = 1000,
        name: str = "/",
        multiprocess: bool = False,
        idle_timeout: float = 30.0,
    ) -> None:
        self._loop = loop
        self._pool = ThreadPool(
            loop=loop,
            limit=threads,
            queue=queue,
            name=f"gateway-wsgi-{name}",
            idle_timeout=idle_timeout,
        )
        errors = ErrorStream()
        self._mount = WsgiMount(
            app=app,
            loop=loop,
            pool=self._pool,
            environs=EnvironBuilder(
                multithread=threads > 1,
                multiprocess=multiprocess,
                errors=errors,
                file_wrapper=FileWrapper,
            ),
            errors=errors,
        )
        self._open = 0
        self._closing = False
        self._nothing_open = asyncio.Event()
        self._nothing_open.set()

    @property
    def pool(self) -> ThreadPool:
        """For metrics: `size`, `busy`, `waiting`, `taken`, `queue_last`/`max`/`total`."""
        return self._pool

    def __call__(self, exchange: Exchange) -> None:
        """Handler: take the exchange; on the loop's thread."""
        if self._closing:
            exchange.refuse_for_now()
            return
        self._open += 1
        exchange.on_finish.append(self._finished)
        call = WsgiCall(exchange, self._mount)
        exchange.listener = call
        call.begin()

    def close(self) -> None:
        """Take no more requests; threads end when they have done those accepted."""
        self._closing = True
        self._pool.close()

    async def shutdown(self, timeout: float | None = None) -> int:
        """Drain: take no more requests, finish those accepted, end the threads.

        timeout: seconds to wait at most; None waits as long as it takes.
        Returns how many requests are still running or waiting, 0 after a complete drain.
        """
        self._closing = True
        ended = asyncio.Event()
        try:
            async with asyncio.timeout(timeout):
                while self._open:
                    self._nothing_open.clear()
                    await self._nothing_open.wait()
                self._pool.close(lambda: self._loop.call_soon_threadsafe(ended.set))
                await ended.wait()
        except TimeoutError:
            self._pool.close()
        return max(self._open, self._pool.busy + self._pool.waiting)

    def _finished(self, _exchange: Exchange) -> None:
        self._open -= 1
        if not self._open:
            self._nothing_open.set()
