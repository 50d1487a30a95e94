"""From a request head to a WSGI environ (PEP 3333, "environ Variables"; RFC 3875 for the names).

Nothing here knows a thread or a loop; `EnvironBuilder.build` may be called in any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BufferedIOBase
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from gateway.head import Address, RequestHead
from gateway.interfaces.tls_facts import tls_variables

if TYPE_CHECKING:
    from _typeshed.wsgi import ErrorStream, WSGIEnvironment

__all__ = ["EnvironBuilder"]

# A client may invent names: what is kept for it is bounded, the rest is worked out each time.
_NAMES_KEPT: Final = 1024
_NAME_LENGTH_KEPT: Final = 64
# Peers of one mount: its addresses times two schemes. A wildcard bind may have some more.
_TEMPLATES_KEPT: Final = 64
_PROTOCOLS: Final = {"1.1": "HTTP/1.1", "1.0": "HTTP/1.0", "2": "HTTP/2"}


class _Keys(dict[bytes, str]):
    """Field name → environ key; "" for a field the application must not see.

    * A name with "_" would become the key of another field: ``X_Real_Ip`` forges ``X-Real-Ip``.
    * ``Proxy`` would become HTTP_PROXY, which CGI programs and HTTP clients take for their proxy
      (CVE-2016-5385, "httpoxy").
    * Content-Type and Content-Length have no HTTP_ in front (RFC 3875, section 4.1.18).
    """

    def __missing__(self, name: bytes) -> str:
        if b"_" in name or name == b"proxy":
            key = ""
        elif name in (b"content-type", b"content-length"):
            key = name.decode().upper().replace("-", "_")
        else:
            key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        if len(self) < _NAMES_KEPT and len(name) <= _NAME_LENGTH_KEPT:
            self[name] = key
        return key


class EnvironBuilder:
    """Builds the environ of each request of one mount.

    multithread, multiprocess: whether the same application object, or another process, may be
        called at the same time; what ``wsgi.multithread`` and ``wsgi.multiprocess`` say.
    errors: ``wsgi.errors``.
    file_wrapper: ``wsgi.file_wrapper``.
    """

    __slots__ = ("_constants", "_keys", "_templates")

    def __init__(
        self,
        *,
        multithread: bool,
        multiprocess: bool,
        errors: ErrorStream,
        file_wrapper: Callable[..., object],
    ) -> None:
        self._keys = _Keys()
        self._templates: dict[tuple[str, Address | None], WSGIEnvironment] = {}
        self._constants: WSGIEnvironment = {
            "wsgi.version": (1, 0),
            "wsgi.errors": errors,
            "wsgi.multithread": multithread,
            "wsgi.multiprocess": multiprocess,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": file_wrapper,
            "wsgi.input_terminated": True,
            "SERVER_SOFTWARE": "gateway",
            "SCRIPT_NAME": "",
            "REMOTE_ADDR": "",
        }

    def build(
        self,
        head: RequestHead,
        body: BufferedIOBase,
        body_length: int | None,
        client_disconnected: Callable[[], bool],
        early_hints: Callable[[list[tuple[str, str]]], None],
    ) -> WSGIEnvironment:
        """The environ of one request, a dict of its own.

        body: ``wsgi.input``; it ends by itself (``wsgi.input_terminated``).
        body_length: where the whole body was received, its length in bytes, so that applications
            that go by CONTENT_LENGTH (Django) see a chunked body too; else None.
        client_disconnected: ``gateway.client_disconnected``, to be asked during long work.
        early_hints: ``wsgi.early_hints``, as gunicorn has it: sends a 103 with these headers.

        Text is "bytes as latin-1" as PEP 3333 asks ("Unicode Issues"). REQUEST_URI and RAW_URI
        are the target as received. The peer of a UNIX socket has an empty REMOTE_ADDR, which
        Django and Flask take, and no REMOTE_PORT. SSL_*: see `tls_variables`.
        gateway.proxy_protocol: as `Peer.proxied` has it, where it has.
        """
        try:
            environ = self._templates[head.scheme, head.server].copy()
        except KeyError:
            environ = self._template(head.scheme, head.server).copy()
        environ["REQUEST_METHOD"] = head.method
        # The decoded path is the WSGI path where both are ASCII; else it is made of the bytes.
        path = head.path
        if not path.isascii() or b"%" in head.raw_path:
            path = unquote_to_bytes(head.raw_path).decode("latin-1")
        if head.root_path:
            script = head.root_path.encode().decode("latin-1")
            environ["SCRIPT_NAME"] = script
            path = path.removeprefix(script)
        # "OPTIONS *" asks the server as a whole: it has no path below the application's root.
        environ["PATH_INFO"] = path if path != "*" else ""
        environ["QUERY_STRING"] = head.query.decode("latin-1")
        environ["RAW_URI"] = environ["REQUEST_URI"] = head.target.decode("latin-1")
        environ["SERVER_PROTOCOL"] = _PROTOCOLS[head.version]
        if head.client is not None:
            environ["REMOTE_ADDR"], port = head.client
            if port is not None:
                environ["REMOTE_PORT"] = str(port)
        if head.tls is not None:
            environ.update(tls_variables(head.tls))
        if head.proxied is not None:
            environ["gateway.proxy_protocol"] = dict(head.proxied)
        environ["wsgi.input"] = body
        environ["wsgi.early_hints"] = early_hints
        environ["gateway.client_disconnected"] = client_disconnected
        keys = self._keys
        for name, value in head.headers:
            key = keys[name]
            if key in environ:
                # RFC 9110, section 5.3; cookies are the exception (RFC 9113, section 8.2.3), and
                # of what has one value only the first counts.
                if key.startswith("HTTP_"):
                    joint = "; " if key == "HTTP_COOKIE" else ", "
                    environ[key] += joint + value.decode("latin-1")
            elif key:
                environ[key] = value.decode("latin-1")
        if body_length is not None:
            environ["CONTENT_LENGTH"] = str(body_length)
        return environ

    def _template(self, scheme: str, server: Address | None) -> WSGIEnvironment:
        """What all requests that reach one address have in common.

        PEP 3333: SERVER_NAME and SERVER_PORT "can never be empty strings"; a UNIX socket has
        neither, and ``Host`` is what applications build URLs from. HTTPS is what CGI programs
        know for ``wsgi.url_scheme``, and says the same (`wsgiref.util.guess_scheme`).
        """
        name, port = server or ("", None)
        template = {
            "SERVER_NAME": name if name and port is not None else "localhost",
            "SERVER_PORT": str(port or (443 if scheme == "https" else 80)),
            "wsgi.url_scheme": scheme,
            **self._constants,
        }
        if scheme == "https":
            template["HTTPS"] = "on"
        if len(self._templates) < _TEMPLATES_KEPT:
            self._templates[scheme, server] = template
        return template
