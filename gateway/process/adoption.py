"""Which inherited socket goes to which address, and what an adopted one has to be."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from gateway.errors import StartError
from gateway.process.inherit import InheritedSocket
from gateway.process.tcp_sockets import SocketAddress, format_address
from gateway.process.unix_sockets import readable_path
from gateway.settings.bind import Bind

__all__ = ["Adoption", "adopt"]

_Resolved: TypeAlias = Mapping[Bind, Sequence[tuple[int, SocketAddress]]]
_UNIX: Final = getattr(socket, "AF_UNIX", None)
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6, _UNIX)
_NAMING: Final = "  FileDescriptorName= of a .socket unit names its sockets; systemd: takes all"


class Adoption:
    """Gives inherited sockets to the addresses that ask for them, each to one.

    inherited: all of them; none is changed here.

    An address gets, in this order: the sockets a former gateway held for it, by its text (so that
    port 0 and a host name keep what they led to); those with the name it asks for; those bound to
    it. An IPv6 wildcard that takes IPv4 too, which ``ListenStream=8000`` makes, serves for 0.0.0.0.
    ``systemd:`` takes what is left of those that no gateway made.
    """

    def __init__(self, inherited: Sequence[InheritedSocket]) -> None:
        self._offers = [_Offer(each) for each in inherited]

    def knows(self, bind: Bind) -> bool:
        """Whether a former gateway held a socket for this very text."""
        return any(offer.is_held_for(bind) for offer in self._offers)

    @property
    def ipv4_ports(self) -> set[int]:
        """The ports that inherited IPv4 sockets are bound to."""
        return {
            offer.address[1]
            for offer in self._offers
            if offer.family == socket.AF_INET and isinstance(offer.address, tuple)
        }

    def claims(
        self, binds: Sequence[Bind], resolved: _Resolved
    ) -> dict[Bind, list[InheritedSocket]]:
        """What each address adopts. One that has no entry has to be bound.

        resolved: the addresses of the hosts. An entry without sockets: another address of `binds`
            has adopted the socket that serves for this one as well.

        Raises `StartError` for a name that was not passed; it lists those that were.
        """
        claims: dict[Bind, list[InheritedSocket]] = {}

        def give(matches: Callable[[_Offer, Bind], bool]) -> None:
            for bind in binds:
                if bind in claims:
                    continue
                if found := [each for each in self._offers if matches(each, bind)]:
                    claims[bind] = [each.inherited for each in found if not each.taken]
                    for each in found:
                        each.taken = True

        give(lambda offer, bind: not offer.taken and offer.is_held_for(bind))
        give(lambda offer, bind: not offer.taken and offer.is_named_by(bind))
        give(lambda offer, bind: not offer.taken and offer.is_at(bind, resolved.get(bind, ())))
        give(lambda offer, bind: offer.serves_for(resolved.get(bind, ())))
        give(lambda offer, bind: not (offer.taken or offer.inherited.owned) and bind.name == "")
        for bind in binds:
            if bind.name is not None and bind not in claims:
                raise StartError(self._not_passed(bind))
        return claims

    def close_unclaimed(self) -> list[str]:
        """Close what no address has claimed; returns their descriptions."""
        unclaimed = [offer for offer in self._offers if not offer.taken]
        for offer in unclaimed:
            with suppress(OSError):
                os.close(offer.inherited.fd)
        return [str(offer) for offer in unclaimed]

    def _not_passed(self, bind: Bind) -> str:
        passed = [offer for offer in self._offers if not offer.inherited.owned]
        if not passed:
            return (
                f"{bind} was not passed: this process inherited no sockets\n"
                "  start it by a systemd .socket unit, or name an address to bind"
            )
        names = ", ".join(dict.fromkeys(offer.inherited.name for offer in passed))
        return f"{bind} was not passed: the inherited sockets are {names}\n{_NAMING}"


def adopt(fd: int, backlog: int, *, name: str = "") -> socket.socket:
    """Take over a socket that a supervisor, systemd or a parent process has bound.

    name: for messages, beside the number.

    Raises `StartError`, and leaves the socket open: it belongs to somebody else until then.
    """
    label = f"fd://{fd} ({name})" if name else f"fd://{fd}"
    try:
        sock = socket.socket(fileno=fd)
    except (OSError, OverflowError) as error:
        problem = "is not a socket" if _is_open(fd) else "is not open in this process"
        raise StartError(
            f"{label} {problem}\n"
            "  the process that starts this one must bind it and pass it on (systemd: fd://3)"
        ) from error
    problem = _problem(sock)
    try:
        if not problem:
            sock.listen(backlog)
            sock.setblocking(False)
            sock.set_inheritable(False)
            return sock
    except OSError as error:
        problem = f"cannot listen: {error.strerror}"
    sock.detach()
    raise StartError(f"{label} {problem}")


class _Offer:
    """An inherited socket, looked at without taking it."""

    __slots__ = ("address", "family", "inherited", "is_dual_stack", "taken")

    def __init__(self, inherited: InheritedSocket) -> None:
        self.inherited = inherited
        self.taken = False
        self.family: int | None = None
        self.address: SocketAddress | str | bytes = ""
        self.is_dual_stack = False
        try:
            sock = socket.socket(fileno=inherited.fd)
        except (OSError, OverflowError):
            return  # told when an address asks for it
        if sock.family in _FAMILIES:
            self.family = sock.family
            self.address = sock.getsockname()
        if self.family == socket.AF_INET6:
            self.is_dual_stack = not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        sock.detach()

    def is_held_for(self, bind: Bind) -> bool:
        return self.inherited.name == str(bind)

    def is_named_by(self, bind: Bind) -> bool:
        if self.inherited.owned:
            return False
        return bool(bind.name) and self.inherited.name == bind.name

    def is_at(self, bind: Bind, resolved: Iterable[tuple[int, SocketAddress]]) -> bool:
        if bind.fd is not None:
            # --fd 3 is how uvicorn's users take a socket of systemd.
            return self.inherited.fd == bind.fd and not self.inherited.owned
        if bind.path is not None:
            return self.family == _UNIX and _same_path(self.address, bind.path)
        return any((self.family, self.address) == each for each in resolved)

    def serves_for(self, resolved: Iterable[tuple[int, SocketAddress]]) -> bool:
        if not (self.is_dual_stack and self.address[0] == "::"):
            return False
        return any(
            family == socket.AF_INET and address[:2] == ("0.0.0.0", self.address[1])
            for family, address in resolved
        )

    def __str__(self) -> str:
        where = format_address(self.address) if isinstance(self.address, tuple) else ""
        if self.family == _UNIX and not isinstance(self.address, tuple):
            where = readable_path(self.address)
        return f"{self.inherited.name} (fd {self.inherited.fd}{where and ', '}{where})"


def _same_path(address: SocketAddress | str | bytes, path: str) -> bool:
    return (
        isinstance(address, str)
        and bool(address)
        and Path(address).absolute()
        == (
            Path(os.path.abspath(path))  # noqa: PTH100 - as listen_unix reads it
        )
    )


def _problem(sock: socket.socket) -> str:
    if sock.type != socket.SOCK_STREAM or sock.family not in _FAMILIES:
        return f"is a {sock.family.name} {sock.type.name} socket, not a TCP or UNIX stream"
    try:
        sock.getpeername()
    except OSError:  # not connected: what is hoped for
        name = sock.getsockname()
        is_bound = name[1] != 0 if isinstance(name, tuple) else bool(name)
        return "" if is_bound else "is not bound to an address"
    return "is a connection, not a socket to listen on"


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except (OSError, OverflowError):
        return False
    return True
