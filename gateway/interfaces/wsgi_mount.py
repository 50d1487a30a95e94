"""What all requests of one WSGI mount share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.interfaces.environ import EnvironBuilder
from gateway.interfaces.mailbox import Mailbox
from gateway.interfaces.threads import ThreadPool
from gateway.interfaces.wsgi_errors import ErrorStream
from gateway.interfaces.wsgi_response import FieldNames

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["WsgiMount"]


class WsgiMount:
    """app, loop: as `WsgiInterface` has them.

    pool: runs the application.
    mailbox: from its threads back to the loop.
    environs: makes the environ of each request.
    errors: ``wsgi.errors`` of all of them.
    names: the response field names the application has used.
    """

    __slots__ = ("app", "environs", "errors", "loop", "mailbox", "names", "pool")

    def __init__(
        self,
        *,
        app: WSGIApplication,
        loop: asyncio.AbstractEventLoop,
        pool: ThreadPool,
        environs: EnvironBuilder,
        errors: ErrorStream,
    ) -> None:
        self.app = app
        self.loop = loop
        self.pool = pool
        self.environs = environs
        self.errors = errors
        self.mailbox = Mailbox(loop)
        self.names = FieldNames()
