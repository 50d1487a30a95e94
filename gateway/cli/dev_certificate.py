"""A certificate for ``gateway dev --https``: made once, by mkcert or trustme, and kept."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Protocol

import click

from gateway.errors import ConfigError
from gateway.tls.certificate import Certificate
from gateway.tls.options import KeyPair, TlsOptions

__all__ = ["DevelopmentCertificates"]

_ALWAYS: Final = ("localhost", "127.0.0.1", "::1")
_DAY: Final = 86400.0
# Browsers take no longer ones than 825 days, some 398; a year is mkcert's order of magnitude.
_DAYS: Final = 365
_RENEWED: Final = 30 * _DAY

_NEITHER: Final = (
    "--https: there is nothing here to make a certificate with\n"
    "  install mkcert, which browsers believe, or pip install 'gateway[https]'"
)


class _Maker(Protocol):
    """name: of the program. Makes a certificate that browsers do or do not believe."""

    name: str

    def make(self, names: Sequence[str], pair: Path, authority: Path) -> str:
        """Write certificate and key to `pair`; give what the developer has yet to know, or "".

        authority: where its certificate is to stay, if it is nowhere else.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class DevelopmentCertificates:
    """Those of one user, in ``$XDG_CACHE_HOME/gateway/certificates``; nobody else may read them.

    directory: where they are kept. mkcert: the program's path; None is to do without.

    mkcert has an authority for the machine, which it enters with the browsers (``mkcert
    -install``). trustme is the way without a program to install: its authority is made for one
    certificate and thrown away, so that nothing is left which could issue another one.
    """

    directory: Path
    mkcert: str | None = None

    @classmethod
    def of_user(cls, environ: Mapping[str, str]) -> DevelopmentCertificates:
        """The user's own. Raises `ConfigError` where there is no home for them."""
        cache = Path(environ.get("XDG_CACHE_HOME", ""))
        if not cache.is_absolute():  # "" and others are to be ignored (XDG Base Directory, 0.8)
            try:
                cache = Path.home() / ".cache"
            except RuntimeError:
                raise ConfigError(
                    "--https: there is no home directory to keep certificates in\n"
                    "  set HOME or XDG_CACHE_HOME"
                ) from None
        directory = cache / "gateway" / "certificates"
        return cls(directory=directory, mkcert=shutil.which("mkcert", path=environ.get("PATH")))

    def get(self, hosts: Iterable[str] = ()) -> Path:
        """The file with a certificate for this machine, and its key.

        hosts: more names and addresses. The same ones get the same file until 30 days before its
        end; a new one is announced in one line. Raises `ConfigError`.
        """
        maker = self._maker()
        names = tuple(dict.fromkeys((*_ALWAYS, *hosts)))
        digest = hashlib.sha256(" ".join(sorted(names)).encode()).hexdigest()[:16]
        path = self.directory / f"{maker.name}-{digest}.pem"
        if _left(path) < _RENEWED:
            try:
                self._make(maker, names, path)
            except (OSError, ValueError) as error:
                raise ConfigError(f"--https: {error}") from None
        return path

    def _maker(self) -> _Maker:
        if self.mkcert is not None:
            return _Mkcert(self.mkcert)
        if importlib.util.find_spec("trustme") is None:
            raise ConfigError(_NEITHER)
        return _Trustme()

    def _make(self, maker: _Maker, names: Sequence[str], path: Path) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        # One file for both, so that nobody meets the key of another certificate.
        with TemporaryDirectory(dir=self.directory) as name:
            draft = Path(name) / "pair.pem"
            draft.touch(0o600)
            note = maker.make(names, draft, path.with_suffix(".ca.pem"))
            draft.replace(path)
        click.echo(f"{maker.name} made a certificate for {', '.join(names)}{note}", err=True)


class _Mkcert:
    name = "mkcert"

    def __init__(self, program: str) -> None:
        self._program = program

    def make(self, names: Sequence[str], pair: Path, authority: Path) -> str:
        certfile, keyfile = pair.with_name("certificate"), pair.with_name("key")
        files = ("-cert-file", str(certfile), "-key-file", str(keyfile))
        done = subprocess.run(  # noqa: S603 - the developer's own program
            [self._program, *files, *names],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            raise ConfigError(f"--https: mkcert failed: {done.stdout.strip()}")
        pair.write_bytes(certfile.read_bytes() + keyfile.read_bytes())
        # It says so itself where its authority is unknown to the system or to a browser.
        return "; browsers believe it after: mkcert -install" if "-install" in done.stdout else ""


class _Trustme:
    name = "trustme"

    def make(self, names: Sequence[str], pair: Path, authority: Path) -> str:
        import trustme

        ca = trustme.CA(organization_name="gateway dev --https")
        now = datetime.now(UTC)
        # Its own default begins in the year 2000, and browsers count from there. A day before now:
        # the clock of a virtual machine may be behind.
        issued = ca.issue_cert(
            *names,
            not_before=now - timedelta(days=1),
            not_after=now + timedelta(days=_DAYS),
        )
        pair.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
        ca.cert_pem.write_to_path(os.fspath(authority))
        return f"; browsers warn of it, not of mkcert's (curl --cacert {authority})"


def _left(path: Path) -> float:
    """Seconds until the certificate ends; 0 where it is not good, or not there."""
    pair = KeyPair(certfile=str(path))
    try:
        return Certificate.load(pair, TlsOptions(pairs=(pair,))).expires - time.time()
    except ConfigError:
        return 0.0
