"""All certificates of a listener: chosen by name, and changed when their files do."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Iterable, Iterator, Sequence
from time import time
from typing import Final, TypeAlias

from gateway.errors import ConfigError
from gateway.tls.certificate import Certificate
from gateway.tls.client_hello import ClientHello
from gateway.tls.options import KeyPair, TlsOptions

__all__ = ["Certificates"]

logger = logging.getLogger("gateway.error")

_DAY: Final = 86400.0
_SOON: Final = 14 * _DAY

_Stamp: TypeAlias = tuple[object, ...]


class _Served:
    """A pair of files, and what of them serves. stamp: of the files as they were looked at last."""

    __slots__ = ("certificate", "failing", "pair", "pending", "stamp")

    def __init__(self, pair: KeyPair, certificate: Certificate, stamp: _Stamp) -> None:
        self.pair = pair
        self.certificate = certificate
        self.stamp = stamp
        self.pending = stamp
        self.failing = False


class Certificates:
    """Gives each handshake its context.

    options: see `TlsOptions`. alpn: see `server_context`.
    reports: whether a change, and an end that is near, are logged here; one worker of many does.

    Raises `ConfigError` where a pair is not good. Later nothing raises: a pair that became bad is
    named in the log, and the one before stays. Connections keep what they began with.

    The name is that of the client's hello, looked at before OpenSSL reads it. In the callback that
    OpenSSL has for it Python writes a traceback for each name that is not ASCII.
    """

    def __init__(
        self, options: TlsOptions, *, alpn: Sequence[str] = (), reports: bool = True
    ) -> None:
        self.options = options
        self._alpn = tuple(alpn)
        self._reports = reports
        self._warned = 0.0
        self._served: list[_Served] = []
        for pair in options.pairs:
            stamp = _stamp(pair, options)
            certificate = Certificate.load(pair, options, alpn)
            self._served.append(_Served(pair, certificate, stamp))
        self._arrange()

    def __str__(self) -> str:
        return "; ".join(str(each.certificate) for each in self._served)

    # --- handshakes -----------------------------------------------------------------------------

    def context_for(self, hello: ClientHello) -> ssl.SSLContext:
        """That of the certificate with the name that is asked for, or of the first one."""
        name = hello.server_name.lower().rstrip(b".")
        wildcard = b"*." + name.partition(b".")[2]
        by_name = self._by_name
        certificate = by_name.get(name) or by_name.get(wildcard) or self._served[0].certificate
        return certificate.context_for(hello)

    def _arrange(self) -> None:
        """Take over what `_served` has now, for all handshakes that begin from here on."""
        by_name: dict[bytes, Certificate] = {}
        for each in self._served:
            for name in each.certificate.names:
                by_name.setdefault(name.encode(), each.certificate)
        self._by_name = by_name

    # --- change ---------------------------------------------------------------------------------

    def look(self) -> None:
        """Take over files that have changed; call it about once a second.

        Not at the first sight of a change: certificate and key are two files, and whoever writes
        them is given until the next look to be done. A link that leads elsewhere (Kubernetes'
        ``..data``, certbot's ``live``) is a change as well. What ends soon is named once a day.
        """
        due = []
        for each in self._served:
            stamp = _stamp(each.pair, self.options)
            if stamp != each.stamp and stamp == each.pending:
                due.append(each)
            each.pending = stamp
        self._reload(due)
        now = time()
        if self._reports and now - self._warned >= _DAY:
            self._warned = now
            for warning in self.endings():
                logger.warning("%s", warning)

    def reload(self) -> None:
        """Read everything again now, changed or not; for a HUP."""
        self._reload(self._served, asked=True)

    def _reload(self, due: Iterable[_Served], *, asked: bool = False) -> None:
        taken = False
        for each in due:
            taken |= self._renew(each, asked)
        if taken:
            self._arrange()

    def _renew(self, each: _Served, asked: bool) -> bool:
        """Load a pair again; whether it is good, and another one or asked for."""
        each.stamp = each.pending = _stamp(each.pair, self.options)
        try:
            certificate = Certificate.load(each.pair, self.options, self._alpn)
        except ConfigError as error:
            each.failing = True
            logger.warning("TLS: %s\n  still serving %s", error, each.certificate)
            return False
        mended, each.failing = each.failing, False
        changed = certificate.der != each.certificate.der
        each.certificate = certificate
        if changed or mended or asked:
            self._warned = 0.0
            level = logging.INFO if self._reports or mended else logging.DEBUG
            words = "changed to" if changed else "read again,"
            logger.log(level, "TLS: %s %s %s", each.pair.certfile, words, certificate)
        return True

    def endings(self) -> Iterator[str]:
        """A line for each certificate that ends within 14 days, or has ended."""
        for each in self._served:
            left = each.certificate.expires - time()
            if left < _SOON:
                days = int(left // _DAY)
                when = "has expired" if left <= 0 else f"expires in {days} days"
                yield f"TLS: {each.pair.certfile} {when}: {each.certificate}"


def _stamp(pair: KeyPair, options: TlsOptions) -> _Stamp:
    """What changes when one of the files does, or where a link to it leads."""
    paths = [pair.certfile, pair.key, *([options.ca_certs] if options.ca_certs else [])]
    return tuple(map(_file_stamp, paths))


def _file_stamp(path: str) -> _Stamp:
    try:
        found = os.stat(path)  # noqa: PTH116 - pathlib's costs three times as much, every second
    except OSError as error:
        return (error.errno,)
    # The time of the last change of mode or owner too: it may have mended what could not be read.
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
