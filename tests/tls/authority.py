"""Certificates for tests: an authority of one's own, files as an operator has them, handshakes."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

trustme = pytest.importorskip("trustme")

__all__ = ["Authority", "first_flight", "shake_hands"]


class Authority:
    """Issues certificates into `directory`; ``ca.pem`` is its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self.ca.cert_pem.write_to_path(self.ca_file)

    def issue(self, *names: str, stem: str = "site", days: float = 90) -> tuple[str, str]:
        """The paths of certificate and key, each replaced at once as certbot does it."""
        now = datetime.now(UTC)
        issued = self.ca.issue_cert(
            *names, not_before=now - timedelta(days=100), not_after=now + timedelta(days=days)
        )
        chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
        return self.write(f"{stem}.pem", chain), self.write(
            f"{stem}.key", issued.private_key_pem.bytes()
        )

    def write(self, name: str, content: bytes) -> str:
        draft = self.directory / f"{name}.draft"
        draft.write_bytes(content)
        return str(draft.replace(self.directory / name))

    def client(self) -> ssl.SSLContext:
        """A context that believes this authority."""
        return ssl.create_default_context(cafile=self.ca_file)


def first_flight(client: ssl.SSLContext, name: str | None = None) -> bytes:
    """What it says first: a record with its hello."""
    out = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        client.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name).do_handshake()
    return out.read()


def shake_hands(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = None
) -> ssl.SSLObject:
    """A handshake in memory; the client's side of it. Raises `ssl.SSLError`."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(down, up, server_hostname=name)
    theirs = server.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for each in (ours, theirs):
            try:
                each.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ours
