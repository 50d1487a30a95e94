"""One certificate with its key: loaded, tried out, and what it says about itself."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.errors import ConfigError
from gateway.tls.client_hello import ClientHello
from gateway.tls.context import accept_clients, read_file, server_context
from gateway.tls.options import KeyPair, TlsOptions
from gateway.tls.served import ServedContext

__all__ = ["Certificate"]

_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_KEY: Final = "PRIVATE KEY-----"
# What OpenSSL says of another certificate's key; of one of another kind, the last.
_MISMATCH: Final = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
# OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python has no name for: facts are wanted of a
# certificate that has expired, too.
_NO_CHECK_TIME: Final = 0x200000
# Messages of a handshake go to and fro twice; more would be a loop without end.
_ROUNDS: Final = 4

# Mozilla's intermediate curves (5.7), the best one first: TLS's number and OpenSSL's name.
_CURVES: Final = {29: "X25519", 23: "prime256v1", 24: "secp384r1"}
_X25519MLKEM768: Final = 0x11EC
_HAS_MLKEM: Final = ssl.OPENSSL_VERSION_INFO >= (3, 5)


class Certificate:
    """A pair that is good to serve.

    context: for a handshake of which nothing is known: with any of OpenSSL's groups.
    names: DNS names of its subjectAltName in lower case, "*.example.com" among them.
    expires: seconds since the epoch.
    der: the certificate itself.

    Made by `load`, which has done a whole handshake with it, in memory: whether the key belongs to
    it and the ciphers suit it OpenSSL says best. That is also how its names are read. Python
    decodes certificates that it has verified, and nothing else in the standard library can (a
    private function of `ssl` aside); 1.3 ms, where a DER reader would be our own to keep right.

    There is a context for each curve, too. Mozilla's profile has three, OpenSSL's defaults more
    (secp521r1, X448, finite fields), and Python before 3.15 can set a single one for a context. The
    client's hello, looked at before OpenSSL reads it, says which one it gets.
    """

    __slots__ = ("_by_curve", "context", "der", "expires", "names")

    def __init__(
        self,
        context: ssl.SSLContext,
        by_curve: Mapping[int, ssl.SSLContext],
        names: tuple[str, ...],
        expires: float,
        der: bytes,
    ) -> None:
        """by_curve: contexts by the number of the one group they do."""
        self.context = context
        self._by_curve = by_curve
        self.names = names
        self.expires = expires
        self.der = der

    @classmethod
    def load(cls, pair: KeyPair, options: TlsOptions, alpn: Sequence[str] = ()) -> Certificate:
        """Read and try it. Raises `ConfigError`, with what is wrong in which file."""
        found = _PEM.search(read_file(pair.certfile, "ssl-certfile"))
        if found is None:
            raise ConfigError(
                f"ssl-certfile: {pair.certfile} holds no certificate in PEM form\n"
                f"  openssl x509 -inform der -in {pair.certfile}  writes one, if it is DER"
            )
        context = server_context(options, alpn)
        _load_chain(context, pair)
        try:
            der = ssl.PEM_cert_to_DER_cert(found[0])
            names, expires = _facts(context, der)
        except (ssl.SSLError, ValueError) as error:
            reason = _reason(error)
            raise ConfigError(
                f"ssl-certfile: no client could connect with {pair.certfile}: {reason}"
            ) from None
        by_curve: dict[int, ServedContext] = {}
        for number, curve in _CURVES.items():
            by_curve[number] = server_context(options, alpn)
            by_curve[number].set_ecdh_curve(curve)
            _load_chain(by_curve[number], pair)
        for each in (context, *by_curve.values()):
            each.pem = ssl.DER_cert_to_PEM_cert(der)
            accept_clients(each, options)
        return cls(context, by_curve, names, expires, der)

    def context_for(self, hello: ClientHello) -> ssl.SSLContext:
        """That of the best curve the client has sent a key for, or else can do.

        Any of OpenSSL's groups have a hello without groups, and

        * one with a key for X25519MLKEM768 where OpenSSL has it: Mozilla's list is older than the
          hybrid that the browsers prefer by now;
        * one of TLS 1.2, where clients may show a certificate: there OpenSSL takes no other than of
          a curve that is enabled (RFC 8422, section 5.3), and X25519 is no certificate's.
        """
        if (
            not hello.groups
            or (_HAS_MLKEM and _X25519MLKEM768 in hello.shares)
            or (self.context.verify_mode != ssl.CERT_NONE and not hello.tls13)
        ):
            return self.context
        for offered in (hello.shares, hello.groups):
            for number, context in self._by_curve.items():
                if number in offered:
                    return context
        return self._by_curve[29]  # which the client refuses

    def __str__(self) -> str:
        """``example.com, *.example.com until 2027-01-31``."""
        names = ", ".join(self.names) or "without names"
        return f"{names} until {time.strftime('%Y-%m-%d', time.gmtime(self.expires))}"


def _load_chain(context: ssl.SSLContext, pair: KeyPair) -> None:
    if _KEY not in read_file(pair.key, "ssl-keyfile"):
        hint = "add ssl-keyfile" if pair.keyfile is None else "it begins with BEGIN PRIVATE KEY"
        raise ConfigError(f"ssl-keyfile: {pair.key} holds no private key in PEM form\n  {hint}")
    asked = False

    def password() -> str:
        # Called for an encrypted key alone; without a callback OpenSSL asks at the terminal.
        nonlocal asked
        asked = True
        if pair.password is None:
            raise ConfigError(f"ssl-keyfile: {pair.key} is encrypted\n  add ssl-keyfile-password")
        return pair.password

    try:
        context.load_cert_chain(pair.certfile, pair.keyfile, password)
    except (ssl.SSLError, ValueError) as error:
        if getattr(error, "reason", None) in _MISMATCH:
            text = f"{pair.key} is not the key of {pair.certfile}"
        elif asked:
            text = f"ssl-keyfile-password does not open {pair.key}"
        else:
            text = f"{pair.certfile} with {pair.key}: {_reason(error)}"
        raise ConfigError(f"ssl-keyfile: {text}") from None
    except OSError as error:
        raise ConfigError(f"ssl-keyfile: {pair.key}: {error.strerror}") from None


def _facts(server: ssl.SSLContext, der: bytes) -> tuple[tuple[str, ...], float]:
    """Names and end of a certificate, as a client that trusts it alone reads them."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.set_ciphers("ALL:@SECLEVEL=0")  # how weak a key may be is the server's choice
    client.load_verify_locations(cadata=der)
    client.verify_flags = ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(down, up)
    theirs = server.wrap_bio(up, down, server_side=True)
    for _ in range(_ROUNDS):
        for each in (ours, theirs):
            try:
                each.do_handshake()
            except ssl.SSLWantReadError:
                continue
    facts: dict[str, Any] = ours.getpeercert() or {}
    alternatives: tuple[tuple[str, str], ...] = facts.get("subjectAltName", ())
    names = [name.lower() for kind, name in alternatives if kind == "DNS"]
    return tuple(dict.fromkeys(names)), ssl.cert_time_to_seconds(facts["notAfter"])


def _reason(error: Exception) -> str:
    """What OpenSSL has against it, in its words but without its line numbers."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    reason: str | None = getattr(error, "reason", None)
    return reason.replace("_", " ").lower() if reason else re.sub(r" \(_ssl.*", "", str(error))
