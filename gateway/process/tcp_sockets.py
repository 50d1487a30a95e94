"""TCP sockets that listen, and what to say where they cannot."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import Final, NoReturn, TypeAlias

from gateway.errors import StartError
from gateway.process.port_owner import describe_port_owner

__all__ = [
    "SocketAddress",
    "allow_siblings",
    "format_address",
    "listen_beside",
    "listen_tcp",
    "resolve",
]

SocketAddress: TypeAlias = "tuple[str, int] | tuple[str, int, int, int]"
"""(host, port) of IPv4; IPv6 adds flow information and the scope of a link-local address."""

_Resolved: TypeAlias = "tuple[int, SocketAddress]"

_NO_FAMILY: Final = frozenset((errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT))
_TRIES: Final = 16
_LOCAL: Final = "  use 127.0.0.1 for this machine alone, 0.0.0.0 for all its IPv4 interfaces"


def resolve(host: str, port: int) -> list[_Resolved]:
    """The (family, address) pairs of a host name, "" for all interfaces of IPv4 and IPv6.

    Raises `StartError` if it has none.
    """
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StartError(f'the host "{host}" has no address: {reason}\n{_LOCAL}') from error
    # typeshed's third form of an address, (int, bytes), is that of a Python without IPv6.
    return list(dict.fromkeys((int(family), address) for family, _, _, _, address in found))  # type: ignore[misc]


def listen_tcp(
    addresses: Sequence[_Resolved],
    *,
    dual_stack: bool,
    backlog: int,
    own: Sequence[socket.socket] = (),
) -> list[socket.socket]:
    """Listen at all `addresses` of one host name, at the same port even if the system chooses it.

    dual_stack: an IPv6 wildcard takes IPv4 too.
    own: TCP sockets of this process that listen, and may be in the way: 127.0.0.1:8000 and
        0.0.0.0:8000 exclude each other.

    Raises `StartError`, with nothing left open.
    """
    for _ in range(_TRIES):
        sockets: list[socket.socket] = []
        absent: tuple[SocketAddress, OSError] | None = None
        port = addresses[0][1][1]
        for family, address in addresses:
            wanted: SocketAddress = (address[0], port, *address[2:])
            try:
                sock = _listen_past(own, family, wanted, dual_stack, backlog)
            except OSError as error:
                if error.errno in _NO_FAMILY and len(addresses) > 1:
                    # "localhost" has an IPv6 address even on machines without IPv6 (bpo-30945).
                    absent = (wanted, error)
                    continue
                for each in sockets:
                    each.close()
                if error.errno == errno.EADDRINUSE and address[1] == 0 and sockets:
                    break  # what the system chose for the first address is taken at this one
                _explain(wanted, error)
            sockets.append(sock)
            port = sock.getsockname()[1]
        else:
            if absent and not sockets:
                _explain(*absent)
            return sockets
    hosts = ", ".join(address[0] for _, address in addresses)
    raise StartError(f"no port was found that is free at each of {hosts}\n  choose one by --port")


def allow_siblings(sock: socket.socket) -> None:
    """Let further sockets of this user listen at the same address (SO_REUSEPORT, socket(7)).

    sock: listens already. Set before bind(2), as is usual, the option would let a second server
    share the port without a word. Set now, whoever held the port has been found, two that start
    at once exclude each other, and Linux (seen on 6.18) still takes the socket into the group that
    it spreads connections over: 94, 104 and 102 of 300 went to it and two siblings.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def listen_beside(sock: socket.socket, backlog: int) -> socket.socket:
    """Another socket that listens where `sock` does, after `allow_siblings`.

    Raises OSError EADDRINUSE where that is not possible: the socket is another user's, or the
    system asks for the option before bind(2) (BSD, macOS).
    """
    dual_stack = sock.family == socket.AF_INET6 and not sock.getsockopt(
        socket.IPPROTO_IPV6, socket.IPV6_V6ONLY
    )
    return _listen(sock.family, sock.getsockname(), dual_stack, backlog, is_sibling=True)


def format_address(address: SocketAddress) -> str:
    """``127.0.0.1:8000`` or ``[::1]:8000``."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listen_past(
    own: Sequence[socket.socket],
    family: int,
    address: SocketAddress,
    dual_stack: bool,
    backlog: int,
) -> socket.socket:
    """Listen, also where only sockets of `own` are in the way.

    Closing those first would refuse connections until the new one is served. With SO_REUSEPORT,
    for the moment of bind(2), Linux has both, and gives connections to the one with the more
    precise address, or else to the newer one.
    """
    try:
        return _listen(family, address, dual_stack, backlog)
    except OSError as error:
        option = (socket.SOL_SOCKET, socket.SO_REUSEPORT)
        before = {
            each: each.getsockopt(*option) for each in own if each.getsockname()[1] == address[1]
        }
        if error.errno != errno.EADDRINUSE or not before:
            raise
        for each in before:
            allow_siblings(each)
        try:
            sock = _listen(family, address, dual_stack, backlog, is_sibling=True)
        finally:
            for each, value in before.items():
                each.setsockopt(*option, value)
        sock.setsockopt(*option, 0)
        return sock


def _listen(
    family: int,
    address: SocketAddress,
    dual_stack: bool,
    backlog: int,
    *,
    is_sibling: bool = False,
) -> socket.socket:
    # asyncio sets TCP_NODELAY only where it sees the protocol named; accepted sockets inherit it.
    # Without, small writes wait 40 ms for the peer's delayed acknowledgement.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            # A restart need not wait for TIME_WAIT. On Windows it would let two servers share.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_sibling:
            allow_siblings(sock)
        if address[0] == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual_stack)
        sock.bind(address)
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _explain(address: SocketAddress, error: OSError) -> NoReturn:
    name = format_address(address)
    host, port = address[:2]
    match error.errno:
        case errno.EADDRINUSE:
            free = _free_port_after(address)
            other = f"--port {free}, or --port 0" if free else "--port 0"
            text = (
                f"{name} is taken by {describe_port_owner(host, port)}\n"
                f"  use {other} for any free port"
            )
        case errno.EACCES:
            text = (
                f"{name} needs a permission: the first ports belong to the system\n"
                "  use a port from 1024 on, behind a proxy, or give this process the capability\n"
                "  CAP_NET_BIND_SERVICE (AmbientCapabilities= in systemd)"
            )
        case errno.EADDRNOTAVAIL:
            text = f"{name} is not an address of this machine\n{_LOCAL}"
        case errno.EAFNOSUPPORT:
            text = f"{name} cannot be bound: this machine has no IPv6\n{_LOCAL}"
        case _:
            text = f"{name} cannot be bound: {error.strerror or error}"
    raise StartError(text) from error


def _free_port_after(address: SocketAddress) -> int | None:
    """A hint must be true: the next port is often taken as well."""
    host, port = address[:2]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port + 1, min(port + 1 + _TRIES, 65536)):
        try:
            _listen(family, (host, candidate), True, 1).close()
        except OSError:
            continue
        return candidate
    return None
