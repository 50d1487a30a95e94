"""RFC 9113 and RFC 7541, case by case, over prior knowledge and over TLS with ALPN.

A name begins with the section. With a number behind it (6.5.2/2, generic/5/14, hpack/4.2/1), it
is the case of that number in h2spec, whose sections are RFC 7540's, so that a report of either can
be read beside the other; the others are what RFC 9113 added, and what is stricter. "RFC 9110 5.1"
begins with another RFC.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest
import trustme
from http2_client import connect

from e2e import http2_cases_fields as fields
from e2e import http2_cases_flow as flow
from e2e import http2_cases_frames as frames
from e2e import http2_cases_framing as framing
from e2e import http2_cases_generic as generic
from e2e import http2_cases_hpack as hpack
from e2e import http2_cases_messages as messages
from e2e import http2_cases_streams as streams
from e2e import http2_cases_upgrade as upgrade
from e2e.client import Address
from e2e.http2_cases_model import Case, Requests, judge
from e2e.process import Gateway

APP = "e2e.http2_cases_app:app"
SECTIONS = (
    generic.works,
    framing.starts,
    framing.frames,
    streams.states,
    streams.identifiers,
    frames.payloads,
    frames.control,
    frames.settled,
    flow.flow,
    messages.exchanges,
    fields.fields,
    fields.pseudo_fields,
    messages.bodies,
    messages.connects,
    hpack.blocks,
    hpack.tables,
    hpack.broken,
    upgrade.upgrades,
)
SCHEMES = {"h2c": "http", "tls": "https"}


class Server(NamedTuple):
    address: Address
    tls: ssl.SSLContext | None


def cases() -> Iterator[object]:
    for wire, scheme in SCHEMES.items():
        for section in SECTIONS:
            for case in section(Requests(scheme)):
                yield pytest.param(wire, case, id=f"{wire} {case.name}")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """One server for each wire, with the same application; started when it is first asked for."""
    directory = tmp_path_factory.mktemp("http2")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    key, chain = directory / "key.pem", directory / "chain.pem"
    issued.private_key_pem.write_to_path(key)
    chain.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    client = ssl.create_default_context()
    authority.configure_trust(client)
    client.set_alpn_protocols(["h2"])
    flags = {"h2c": (), "tls": ("--ssl-keyfile", str(key), "--ssl-certfile", str(chain))}
    known: dict[str, Server] = {}
    with ExitStack() as stack:

        def get(wire: str) -> Server:
            if wire not in known:
                args = [APP, "--port", "0", "--no-access-log", *flags[wire]]
                process = stack.enter_context(Gateway(args, directory))
                port = int(process.err.wait(r"ready in .*? on https?://[^ ,]*:(\d+)")[1])
                known[wire] = Server(("127.0.0.1", port), client if wire == "tls" else None)
            return known[wire]

        yield get


@pytest.mark.parametrize(("wire", "case"), list(cases()))
def test_conforms(wire: str, case: Case, servers: Callable[[str], Server]) -> None:
    server = servers(wire)
    with connect(server.address, tls=server.tls) as client:
        outcome = judge(client, case)
    assert outcome in case.outcomes
