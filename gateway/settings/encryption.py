"""What the settings say together about TLS (rule 10 of `load`)."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.settings.bind import Bind
from gateway.settings.layers import Given, Problems
from gateway.settings.model import Settings

__all__ = ["check_encryption"]

_BESIDE = ("ssl_keyfile", "ssl_keyfile_password")


def check_encryption(settings: Settings, given: Mapping[str, Given], problems: Problems) -> None:
    """Note what cannot be together. The files themselves are read when the server starts.

    given: what was given for each setting, by whichever source won.
    """

    def note(name: str, text: str, hint: str) -> None:
        each = given[name]
        said = each.source.name(each.path)
        problems.add(each.source, f"{said} {text}", hint, each.path, on_key=True)

    if settings.ssl_certfile is None:
        for name in _BESIDE:
            if getattr(settings, name) is not None:
                note(name, "has no effect without ssl-certfile", "add ssl-certfile")
    if settings.ssl_cert_reqs != "none" and settings.ssl_ca_certs is None:
        note("ssl_cert_reqs", "needs the authorities to believe", "add ssl-ca-certs")
    if settings.tls is None and any(each.tls for each in settings.addresses):
        note("bind", "has an address with TLS, and there is no certificate", "add ssl-certfile")
    first: dict[Bind, Bind] = {}
    for each in settings.addresses:
        other = first.setdefault(each, each)
        same = settings.encrypts(other) == settings.encrypts(each)
        same = same and settings.proxied(other) == settings.proxied(each)
        if not (same and other.redirect == each.redirect):
            name = "redirect_bind" if settings.redirect_bind else "insecure_bind"
            name = name if getattr(settings, name) else "bind"
            note(name, f"has {each}, which is an address of another kind too", "give it once")
