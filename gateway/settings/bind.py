"""One address to listen on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from typing import Final, Literal, TypeAlias, cast, get_args

__all__ = ["Bind", "ProxyProtocol"]

ProxyProtocol: TypeAlias = Literal["off", "v1", "v2", "auto"]

_TCP: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]]*)(?::(?P<port>\d{1,5}))?")
# What FileDescriptorName= may be: printable ASCII without the colon that separates LISTEN_FDNAMES.
_NAME: Final = re.compile(r"[!-9;-~]{0,255}")
_DEFAULT_PORT: Final = 8000
_OPTION: Final = re.compile(r"[ \t]+(?=(?:tls|redirect|proxy-protocol)=)")
_ON: Final = {"on": True, "true": True, "off": False, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """``host:port``, ``[::]:port``, ``unix:/path``, ``fd://N`` or ``systemd:NAME``.

    Behind it may stand ``tls=on``, ``tls=off``, ``redirect=https``, and ``proxy-protocol=`` with
    off, v1, v2 or auto.

    host, port: for TCP; the host is without brackets, "" and "*" are read as 0.0.0.0, a missing
        port is 8000 (gunicorn's and hypercorn's readings), 0 lets the system choose.
    path: of a UNIX socket. fd: the number of an inherited, bound socket.
    name: of the sockets systemd passes, FileDescriptorName= in their unit (systemd.socket(5)):
        that of the unit if it says none; "" is every socket.
    Exactly one of host, path, fd and name is set.
    tls: whether TLS is spoken; None is wherever there is a certificate.
    redirect: every request is sent to the same place at https; tls is False then.
    proxy_protocol: None is what the setting of that name says.

    Two that differ in these three alone are equal: it is the same socket.
    """

    host: str | None = None
    port: int = 0
    path: str | None = None
    fd: int | None = None
    name: str | None = None
    tls: bool | None = field(default=None, compare=False)
    redirect: bool = field(default=False, compare=False)
    proxy_protocol: ProxyProtocol | None = field(default=None, compare=False)

    @classmethod
    def parse(cls, text: str) -> Bind:
        """Read one address. Raises ValueError, which says what to write instead ("" if unknown)."""
        address, *options = _OPTION.split(text)
        bind = cls._address(address)
        for option in options:
            name, _, value = option.partition("=")
            if name == "tls" and value in _ON:
                bind = replace(bind, tls=_ON[value])
            elif name == "redirect" and value == "https":
                bind = replace(bind, redirect=True)
            elif name == "proxy-protocol" and value in get_args(ProxyProtocol):
                bind = replace(bind, proxy_protocol=cast("ProxyProtocol", value))
            elif name == "proxy-protocol":
                raise ValueError("write proxy-protocol=off, v1, v2 or auto")
            else:
                raise ValueError("write tls=on, tls=off or redirect=https")
        if bind.redirect:
            if bind.tls:
                raise ValueError("what redirects to https speaks plain HTTP: leave tls out")
            bind = replace(bind, tls=False)
        return bind

    @classmethod
    def _address(cls, text: str) -> Bind:
        if text.startswith("unix:"):
            path = re.sub(r"^//(?=/)", "", text[5:])
            if not path or "\0" in path:
                raise ValueError("write unix:/path")
            return cls(path=path)
        if text.startswith("fd://"):
            if not text[5:].isdecimal():
                raise ValueError("write fd:// and a number")
            return cls(fd=int(text[5:]))
        if text.startswith("systemd:"):
            name = text[8:]
            if name.startswith("//"):
                raise ValueError(f"write 'systemd:{name[2:]}'")
            if not _NAME.fullmatch(name):
                raise ValueError("write systemd: and the FileDescriptorName= of the socket unit")
            return cls(name=name)
        if text.isdecimal():
            raise ValueError(f"write '127.0.0.1:{text}', or ':{text}' for all interfaces")
        if text.startswith("/"):
            raise ValueError(f"write 'unix:{text}'")
        if text.count(":") > 1 and not text.startswith("["):
            raise ValueError(_bracketed(text))
        match = _TCP.fullmatch(text)
        if match is None or not text:
            bare = re.sub(r"^\w+://", "", text).rstrip("/")
            raise ValueError(f"write '{bare}'" if bare != text and _TCP.fullmatch(bare) else "")
        port = int(match["port"]) if match["port"] else _DEFAULT_PORT
        if port > 65535:
            raise ValueError("a port is a whole number from 0 to 65535")
        host = match["host"].strip("[]")
        return cls(host="0.0.0.0" if host in ("", "*") else host, port=port)

    @property
    def text(self) -> str:
        """What `parse` reads as this, with the options."""
        text = str(self)
        if self.redirect:
            text += " redirect=https"
        elif self.tls is not None:
            text += f" tls={'on' if self.tls else 'off'}"
        if self.proxy_protocol is not None:
            text += f" proxy-protocol={self.proxy_protocol}"
        return text

    @property
    def plain(self) -> bool:
        """Whether it is an address alone."""
        return self.text == str(self)

    def __str__(self) -> str:
        """The address alone."""
        if self.path is not None:
            return f"unix:{self.path}"
        if self.name is not None:
            return f"systemd:{self.name}"
        if self.host is None:
            return f"fd://{self.fd}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _bracketed(text: str) -> str:
    """The hint for an IPv6 address without brackets: what it may have meant, "" for nothing."""
    if "//" in text:
        return re.sub(r"^\w+://([^/]+).*$", r"write '\1'", text)
    readings = ", or ".join(f"'{each}'" for each in _readings(text))
    return f"write {readings}" if readings else ""


def _readings(text: str) -> Iterator[str]:
    host, _, port = text.rpartition(":")
    # "::1:80" may be either; a last group as short as "::1:2" hardly is a port.
    if _is_ipv6(host) and re.fullmatch(r"\d{2,5}", port):
        yield f"[{host}]:{port}"
    if _is_ipv6(text):
        yield f"[{text}]:{_DEFAULT_PORT}"


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
