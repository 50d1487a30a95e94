"""Whose word about the client is believed."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple

from gateway.errors import ConfigError
from gateway.head import Address

__all__ = ["Hop", "TrustedPeers"]

_LOCALHOST: Final = ("127.0.0.0/8", "::1")
# Entries of forwarding fields are what clients send: a full memo starts again.
_MEMO_TEXT: Final = 64  # characters; an IPv6 address with zone and port has fewer
_MEMO_SIZE: Final = 4096


class Hop(NamedTuple):
    """One address a request came through.

    host: in canonical text; an IPv4-mapped IPv6 address is written as IPv4.
    port: 0 where it is not known.
    """

    host: str
    port: int
    trusted: bool


class TrustedPeers:
    """The proxies in front, as ``--forwarded-allow-ips`` and the like name them.

    trusted: addresses ("10.0.0.7", "::1"), networks ("10.0.0.0/8"), "localhost", or "*" for
        everybody. "unix" and paths are accepted and change nothing: whoever can open a UNIX socket
        has passed its file permissions and is always believed, as in gunicorn.
    setting: who names them, for the message of an error.

    Raises `ConfigError` for anything else; names are not resolved.
    """

    __slots__ = ("_everybody", "_memo", "_networks")

    def __init__(self, trusted: Iterable[str], *, setting: str = "forwarded-allow-ips") -> None:
        self._everybody = False
        self._networks: list[IPv4Network | IPv6Network] = []
        self._memo: dict[str, Hop | None] = {}
        for item in map(str.strip, trusted):
            if item == "*":
                self._everybody = True
            elif item == "localhost":
                self._networks += map(ip_network, _LOCALHOST)
            elif item and item != "unix" and not item.startswith(("/", "unix:")):
                self._networks.append(_network(item, setting))

    def trusts(self, client: Address | None) -> bool:
        """Whether `client`, an end of a connection, is trusted; one without a port is UNIX."""
        if self._everybody or client is None or client[1] is None:
            return True
        hop = self.hop(client[0])
        return hop is not None and hop.trusted

    def hop(self, node: str) -> Hop | None:
        """Read "10.0.0.7", "10.0.0.7:80", "::1" or "[::1]:80"; None if it is no address."""
        try:
            return self._memo[node]
        except KeyError:
            hop = self._read(node)
            # Bounded in entries and in bytes: the text is a client's, up to a whole head long.
            if len(node) <= _MEMO_TEXT:
                if len(self._memo) >= _MEMO_SIZE:
                    self._memo.clear()
                self._memo[node] = hop
            return hop

    def _read(self, node: str) -> Hop | None:
        host, port = _split_port(node)
        try:
            address = ip_address(host)
        except ValueError:
            return None
        if isinstance(address, IPv6Address):
            if address.scope_id is not None:  # says nothing outside the proxy, and is free text
                return None
            address = address.ipv4_mapped or address
        trusted = self._everybody or any(address in network for network in self._networks)
        return Hop(str(address), port, trusted)


def _split_port(node: str) -> tuple[str, int]:
    if node.startswith("["):
        host, bracket, rest = node[1:].partition("]")
        if not bracket or (rest and rest[0] != ":"):
            return "", 0
        port = rest[1:]
    elif node.count(":") == 1:
        host, _, port = node.partition(":")
    else:
        host, port = node, ""
    known = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535
    return host, int(port) if known else 0


def _network(item: str, setting: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(item)
    except ValueError as error:
        try:
            hint = f"did you mean {ip_network(item, strict=False)}?"
        except ValueError:
            hint = "an address, a network such as 10.0.0.0/8, localhost, unix or * is expected"
        raise ConfigError(f"{setting}: {error}\n  {hint}") from None
