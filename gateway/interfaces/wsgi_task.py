"""One request to a WSGI application, on the application's side (PEP 3333).

What is here runs in a thread of the pool, and asks the loop's half, `wsgi_call`, by posting to
the mailbox.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextvars import Context
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, BinaryIO, Final

from gateway.exchange import ClientGone, ResponseError
from gateway.head import Headers, RequestHead
from gateway.interfaces.wsgi_body import BodyStream
from gateway.interfaces.wsgi_file import FileWrapper
from gateway.interfaces.wsgi_mount import WsgiMount
from gateway.interfaces.wsgi_response import check_chunk, encode_fields, parse_status
from gateway.log import log_app_error

if TYPE_CHECKING:
    from _typeshed import OptExcInfo

__all__ = ["WsgiTask"]

# Response bytes a thread may be ahead of the client. With the 64 KiB a transport buffers, an
# application is asked for at most 128 KiB, and the chunk that exceeded it, nobody reads.
_AHEAD: Final = 64 * 1024
_LENGTH_DIGITS: Final = 18


class WsgiTask(ABC):
    """Job of the pool: one call of the application, with its ``start_response``.

    head: of the request; both halves read it.
    queued_at, queue_seconds: when it was queued, and how long it waited for a thread, as the pool
        has measured; negative until then.

    What crosses between the threads, each with the one side that writes it:

    ===================  ==============  ==========================================================
    before `run`         loop → thread   ``_body``, ``_body_length``
    at any time          loop → thread   ``_disconnected``, ``_gone``, ``_stopped``, ``_problem``,
                                         ``_credited``
    before a `_post`     thread → loop   ``_status``, ``_fields``, ``_file``, ``_hints``, then
                                         ``_ended`` or ``_failed`` (``_left`` before it)
    at any time          thread → loop   ``_waiting`` (``_gate`` before it): wake me
    never                thread only     ``_handed``, ``_mount``'s response field names
    ===================  ==============  ==========================================================

    What has two writers: ``_out`` and ``_hints``, where the thread appends and the loop takes from
    the front (one operation on a list is never half done); ``_posted``, set by the thread and
    cleared by the loop before it looks, in the manner that `Mailbox` proves; ``_file``, which the
    loop takes away once it is sent or the exchange is over. `WsgiCall` adds what is the loop's.
    """

    __slots__ = (
        "_body",
        "_body_length",
        "_credited",
        "_disconnected",
        "_ended",
        "_failed",
        "_fields",
        "_file",
        "_gate",
        "_gone",
        "_handed",
        "_hints",
        "_left",
        "_mount",
        "_out",
        "_posted",
        "_problem",
        "_status",
        "_stopped",
        "_waiting",
        "head",
        "queue_seconds",
        "queued_at",
    )

    def __init__(self, head: RequestHead, mount: WsgiMount) -> None:
        self.head = head
        self._mount = mount
        self.queued_at = self.queue_seconds = -1.0
        self._posted = False
        # Written by the loop's half.
        self._body: io.BytesIO | BodyStream = io.BytesIO()
        self._body_length: int | None = None  # of a collected body that declared none
        self._disconnected = self._gone = False
        self._stopped = False  # nothing that may follow is wanted
        self._problem: ResponseError | None = None
        self._credited = 0  # response bytes the client has made room for
        # Written by this half.
        self._status: int | None = None
        self._fields: Headers = []
        self._out: list[bytes] = []
        self._handed = 0  # response bytes put into `_out` so far
        self._file: tuple[BinaryIO, int, int] | None = None
        self._hints: list[Headers] | None = None
        self._ended = self._failed = False
        self._left = False  # it failed because the client had left
        self._gate: SimpleQueue[None] | None = None
        self._waiting = False

    @property
    def queued(self) -> float | None:
        """Seconds it waited for a thread, so far if it still does; None before it was queued.

        The access log asks ``exchange.listener`` for this when the exchange finishes.
        """
        waited, since = self.queue_seconds, self.queued_at
        return waited if waited >= 0 else monotonic() - since if since >= 0 else None

    # --- what the loop does when asked ----------------------------------------------------------

    @abstractmethod
    def _flush(self) -> None:
        """Send what has been handed over since the last time."""

    @abstractmethod
    def _feed(self) -> None:
        """Answer the `BodyStream` that asked."""

    def _post(self) -> None:
        if not self._posted:
            self._posted = True
            self._mount.mailbox.post(self._flush)

    def _ask(self) -> None:
        self._mount.mailbox.post(self._feed)

    # --- the call -------------------------------------------------------------------------------

    def run(self) -> None:
        """Job: call the application and hand its response over."""
        # A context of its own, 0.1 µs: what one request sets the next must not see.
        Context().run(self._run)

    def _run(self) -> None:
        mount, body = self._mount, self._body
        result: Iterable[bytes] = ()
        try:
            try:
                environ = mount.environs.build(
                    self.head,
                    body if isinstance(body, io.BytesIO) else io.BufferedReader(body),
                    self._body_length,
                    self.client_disconnected,
                    self.early_hints,
                )
                result = mount.app(environ, self.start_response)
                self._respond(result)
            finally:
                # PEP 3333: "upon completion of the current request, whether the request was
                # completed normally, or terminated early".
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        except BaseException as error:  # noqa: BLE001 - SystemExit ends the request, not the server
            self._fail(error)
        finally:
            mount.errors.flush()

    def _respond(self, result: Iterable[bytes]) -> None:
        if isinstance(result, (list, tuple)) and len(result) == 1:
            # Nothing can follow: head, data and end cross the border together.
            chunk = result[0]
            if chunk.__class__ is not bytes:
                check_chunk(chunk)
            self._out.append(chunk)
        elif not (isinstance(result, FileWrapper) and self._respond_file(result)):
            for chunk in result:
                if chunk.__class__ is not bytes:
                    check_chunk(chunk)
                if chunk:
                    self._hand_over(chunk)
                if self._stopped:
                    break
        if self._status is None:
            if self._disconnected:  # the application has seen it, and has nobody to answer
                raise ClientGone("the client disconnected")
            raise RuntimeError("the application returned without calling start_response")
        self._ended = True
        self._post()

    def _respond_file(self, wrapper: FileWrapper) -> bool:
        """Have the kernel send a regular file, as much of it as Content-Length declares."""
        if self._handed or (regular := wrapper.regular()) is None:
            return False
        file, offset, count = regular
        for name, value in self._fields:
            if name == b"content-length":
                # What is no length the exchange refuses; `int` would, beyond 4,300 digits.
                if value.isdigit() and len(value) <= _LENGTH_DIGITS:
                    count = min(count, int(value))
                break
        else:
            self._fields.append((b"content-length", b"%d" % count))
        self._file = (file, offset, count)
        return True

    def _hand_over(self, chunk: bytes) -> None:
        """Give one chunk to the loop; wait while the client is too far behind."""
        if self._status is None:
            raise RuntimeError("the application sent data without calling start_response")
        self._out.append(chunk)
        self._handed += len(chunk)
        self._post()
        if self._handed - self._credited <= _AHEAD:
            return
        if self._gate is None:
            self._gate = SimpleQueue()
        while self._handed - self._credited > _AHEAD and not self._stopped:
            # Announced before the second look: a loop that missed it has already changed what is
            # looked at. A token too many only has this loop look once more.
            self._waiting = True
            if self._handed - self._credited > _AHEAD and not self._stopped:
                self._gate.get()
            self._waiting = False

    def _fail(self, error: BaseException) -> None:
        self._left = self._disconnected and _caused_by_client(error)
        if not self._left and error is not self._problem:
            log_app_error(self, error)
        if not self._ended:
            self._failed = True
            self._post()

    # --- what the application may call ----------------------------------------------------------

    def start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: OptExcInfo | None = None,
        /,
    ) -> Callable[[bytes], None]:
        """PEP 3333: the server's callable that takes status and fields, or replaces them."""
        if exc_info is not None:
            try:
                if self._handed and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # its traceback refers to this frame
        elif self._status is not None:
            raise RuntimeError("start_response was called twice without exc_info")
        code = parse_status(status)
        self._fields = encode_fields(headers, self._mount.names)
        self._status = code
        return self.write

    def write(self, data: bytes) -> None:
        """PEP 3333: the imperative way to send. Raises `ClientGone` when nobody is there."""
        check_chunk(data)
        if data and not self._stopped:
            self._hand_over(data)
        if self._gone:
            raise ClientGone("the client disconnected")
        if self._problem is not None:
            raise self._problem

    def early_hints(self, headers: list[tuple[str, str]]) -> None:
        """``wsgi.early_hints``: send a 103 with these fields; nothing once the response began."""
        if not self._handed:
            if self._hints is None:
                self._hints = []
            self._hints.append(encode_fields(headers, self._mount.names))
            self._post()

    def client_disconnected(self) -> bool:
        """``gateway.client_disconnected``: the client has closed its side, or is gone."""
        return self._disconnected


def _caused_by_client(error: BaseException | None) -> bool:
    return error is not None and (
        isinstance(error, ClientGone) or _caused_by_client(error.__cause__ or error.__context__)
    )
