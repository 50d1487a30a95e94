"""One line in the access log for each exchange, written when it is finished."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Final

from gateway.exchange import Exchange, Handler
from gateway.head import address_text
from gateway.log import escape
from gateway.middleware.access_atoms import final_status, messages
from gateway.middleware.access_format import compile_format

__all__ = ["access_log", "access_records"]

_log: Final = logging.getLogger("gateway.error")


def access_log(
    next: Handler,  # noqa: A002
    write: Callable[[str], None],
    *,
    format: str = "default",  # noqa: A002
    color: bool = False,
) -> Handler:
    """Pass exchanges to `next`; give `write` the line of each when it is finished.

    write: takes a line without its end and must not raise: `BufferedSink.write`.
    format, color: see `gateway.middleware.access_format.compile_format`.

    The line tells the client, host and mount as the handlers behind this one left them, so the
    log comes first in the chain. Exactly one line per exchange, refused and abandoned ones too.

    Raises `ConfigError` for a format that is none.
    """
    line = compile_format(format, color=color)

    def finished(exchange: Exchange) -> None:
        write(line(exchange))

    def logged(exchange: Exchange) -> None:
        exchange.on_finish.append(finished)
        next(exchange)

    return logged


def access_records(
    next: Handler,  # noqa: A002
    logger: logging.Logger,
    *,
    format: str = "default",  # noqa: A002
) -> Handler:
    """As `access_log`, through `logging`: for a user's own configuration of ``gateway.access``.

    Each record has ``method``, ``path`` (with the query), ``status``, ``duration_ms``, ``bytes``,
    ``bytes_in``, ``messages_in`` and ``messages_out`` (of a WebSocket, else None), ``client`` and
    ``mount`` as attributes. With the default format its message and arguments are
    uvicorn's (client, method, path, version, status), so that ``uvicorn.logging.AccessFormatter``
    and filters written for it work; with any other the message is the line.
    An exception that leaves a filter or handler is reported and stays away from the request.
    """
    line = None if format == "default" else compile_format(format)

    def finished(exchange: Exchange) -> None:
        if not logger.isEnabledFor(logging.INFO):
            return
        head = exchange.head
        status = final_status(exchange)
        client = escape(address_text(head.client))
        path = escape(head.target.decode("latin-1"))
        messages_in, messages_out = messages(exchange, None)
        facts = {
            "method": head.method,
            "path": path,
            "status": status,
            "duration_ms": round((monotonic() - exchange.started_at) * 1e3, 3),
            "bytes": exchange.sent,
            "bytes_in": exchange.received,
            "messages_in": messages_in,
            "messages_out": messages_out,
            "client": client,
            "mount": head.mount,
        }
        try:
            if line is None:
                logger.info(
                    '%s - "%s %s HTTP/%s" %d',
                    client,
                    head.method,
                    path,
                    head.version,
                    status,
                    extra=facts,
                )
            else:
                logger.info("%s", line(exchange), extra=facts)
        # A user's filter may raise anything, and on_finish has other callbacks to run.
        except Exception:  # noqa: BLE001
            _log.exception("The access log failed")

    def logged(exchange: Exchange) -> None:
        exchange.on_finish.append(finished)
        next(exchange)

    return logged
