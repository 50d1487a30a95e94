"""PROXY headers, versions 1 and 2: what they say, and that nothing is guessed."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.proxy_protocol import ProxyHeader, ProxyProtocolError
from gateway.protocols.proxy_tlvs import crc32c
from protocols.proxy_headers import CLIENT, SERVER, SIGNATURE, V1, V2, binary, checked, ssl, tlv

BOTH = (1, 2)


def parse(data: bytes, versions=BOTH) -> ProxyHeader:
    found = ProxyHeader.parse(data, versions)
    assert found is not None
    header, length = found
    assert length == len(data)
    return header


def refusal(data: bytes, versions=BOTH) -> str:
    with pytest.raises(ProxyProtocolError) as caught:
        ProxyHeader.parse(data, versions)
    return str(caught.value)


# --- version 1 -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "client", "server"),
    [
        (b"TCP4 203.0.113.9 192.0.2.1 51234 443", CLIENT, SERVER),
        (
            b"TCP4 255.255.255.255 255.255.255.255 65535 65535",
            ("255.255.255.255", 65535),
            ("255.255.255.255", 65535),
        ),
        (b"TCP4 0.0.0.0 0.0.0.0 0 0", ("0.0.0.0", 0), ("0.0.0.0", 0)),
        (b"TCP6 2001:db8::9 2001:DB8:0:0::1 1 2", ("2001:db8::9", 1), ("2001:db8::1", 2)),
        (b"TCP6 ::ffff:203.0.113.9 ::1 1 2", ("::ffff:203.0.113.9", 1), ("::1", 2)),
    ],
)
def test_a_line_tells_both_ends(line, client, server):
    header = parse(b"PROXY " + line + b"\r\n")
    assert (header.known, header.client, header.server) == (True, client, server)
    assert header.facts == {
        "version": 1,
        "command": "proxy",
        "protocol": line[:4].decode(),
        "source": client,
        "destination": server,
    }


@pytest.mark.parametrize("rest", [b"", b" ", b" ffff::1 nonsense \xff\0\r 99999", b" " + b"x" * 91])
def test_what_follows_unknown_does_not_count(rest):
    header = parse(b"PROXY UNKNOWN" + rest + b"\r\n")
    assert (header.known, header.client, header.server) == (False, None, None)
    assert header.facts["protocol"] == "UNKNOWN"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"TCP4",
        b"TCP5 203.0.113.9 192.0.2.1 1 2",
        b"tcp4 203.0.113.9 192.0.2.1 1 2",
        b"UNKNOWNS",
        b" TCP4 203.0.113.9 192.0.2.1 1 2",
        b"TCP4  203.0.113.9 192.0.2.1 1 2",
        b"TCP4\t203.0.113.9 192.0.2.1 1 2",
        b"TCP4 203.0.113.9 192.0.2.1 1 2 ",
        b"TCP4 203.0.113.9 192.0.2.1 1 2 3",
        b"TCP4 203.0.113.9 192.0.2.1 1",
        b"TCP4 203.0.113.9 192.0.2.1 1 2\r",
        b"TCP4 203.0.113.09 192.0.2.1 1 2",
        b"TCP4 203.0.113 192.0.2.1 1 2",
        b"TCP4 203.0.113.256 192.0.2.1 1 2",
        b"TCP4 0xcb.0.113.9 192.0.2.1 1 2",
        b"TCP4 3405803785 192.0.2.1 1 2",
        b"TCP4 2001:db8::9 192.0.2.1 1 2",
        b"TCP4 \xd9\xa1.0.113.9 192.0.2.1 1 2",
        b"TCP4 203.0.113.9\0 192.0.2.1 1 2",
        b"TCP6 203.0.113.9 ::1 1 2",
        b"TCP6 [::1] ::1 1 2",
        b"TCP6 fe80::1%eth0 ::1 1 2",
        b"TCP6 1:2:3:4:5:6:7 ::1 1 2",
        b"TCP6 1::2::3 ::1 1 2",
        b"TCP6 12345::1 ::1 1 2",
        b"TCP4 203.0.113.9 192.0.2.1 65536 2",
        b"TCP4 203.0.113.9 192.0.2.1 01 2",
        b"TCP4 203.0.113.9 192.0.2.1 +1 2",
        b"TCP4 203.0.113.9 192.0.2.1 -1 2",
        b"TCP4 203.0.113.9 192.0.2.1 1_0 2",
        b"TCP4 203.0.113.9 192.0.2.1 1 2.0",
        b"TCP4 203.0.113.9 192.0.2.1 1 99999999",
        b"TCP4 203.0.113.9 192.0.2.1 \xd9\xa1 2",
    ],
)
def test_a_line_that_is_not_to_the_letter_is_refused(line):
    assert refusal(b"PROXY " + line + b"\r\n")


def test_a_line_ends_with_cr_and_lf():
    assert "CR" in refusal(V1.replace(b"\r", b""))
    assert "CR" in refusal(b"PROXY UNKNOWN\n")


def test_a_line_has_107_bytes_at_most():
    longest = b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n"
    assert len(longest) == 107
    assert parse(longest).known is False
    longer = b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n"
    assert ProxyHeader.parse(longer[:106], BOTH) is None
    assert "107" in refusal(longer[:107])
    assert "107" in refusal(longer)


# --- version 2 -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "protocol", "source", "destination"),
    [
        (0x11, "TCP4", CLIENT, SERVER),
        (0x12, "UDP4", CLIENT, SERVER),
        (0x21, "TCP6", ("2001:db8::9", 65535), ("::ffff:192.0.2.1", 0)),
        (0x22, "UDP6", ("2001:db8::9", 1), ("::", 2)),
    ],
)
def test_a_block_tells_both_ends(family, protocol, source, destination):
    header = parse(binary(family=family, source=source, destination=destination))
    assert (header.known, header.client, header.server) == (True, source, destination)
    assert header.encrypted is False
    assert header.facts == {
        "version": 2,
        "command": "proxy",
        "protocol": protocol,
        "source": source,
        "destination": destination,
        "tlvs": [],
    }


@pytest.mark.parametrize("family", [0x31, 0x32])
@pytest.mark.parametrize(
    ("source", "destination", "client_path", "server_path"),
    [
        (b"/run/a", b"/run/b", "/run/a", "/run/b"),
        (b"", b"/run/b\0rest of a buffer", None, "/run/b"),
        (b"\0abstract", b"/" + b"x" * 107, "\0abstract", "/" + "x" * 107),
        (b"", b"", None, None),
    ],
)
def test_a_unix_socket_has_paths_and_no_client(
    family, source, destination, client_path, server_path
):
    block = source.ljust(108, b"\0") + destination.ljust(108, b"\0")
    header = parse(binary(family=family, block=block))
    assert header.known is True
    assert header.client is None
    assert header.server == (server_path and (server_path, None))
    assert header.facts["source"] == (client_path and (client_path, None))


@pytest.mark.parametrize(
    "data",
    [
        binary(command=0x20, family=0x00, block=b""),
        binary(command=0x20, family=0x11),
        binary(command=0x20, family=0xFF, block=b"anything"),
        binary(command=0x21, family=0x00, block=b""),
        binary(command=0x21, family=0x00, block=b"no TLV at all"),
    ],
)
def test_local_and_unspecified_leave_the_sockets_own_addresses(data):
    header = parse(data)
    assert (header.known, header.client, header.server) == (False, None, None)
    assert header.facts == {
        "version": 2,
        "command": "proxy" if data[12] & 1 else "local",
        "protocol": "UNKNOWN",
        "source": None,
        "destination": None,
    }


@pytest.mark.parametrize(
    "data",
    [
        binary(command=0x11),
        binary(command=0x31),
        binary(command=0x22),
        binary(command=0x2F),
        *(binary(family=family, block=bytes(300)) for family in (0x01, 0x10, 0x13, 0x33, 0x41)),
        binary(block=bytes(11)),
        binary(family=0x21, block=bytes(35)),
        binary(family=0x31, block=bytes(215)),
        binary(tlv(4, bytes(4082))),
        SIGNATURE[:-1] + b"\r" + V2[12:],
    ],
)
def test_a_block_that_is_not_to_the_letter_is_refused(data):
    assert refusal(data)


def test_a_block_has_4_kib_at_most():
    largest = binary(tlv(4, bytes(4096 - 12 - 3)))
    assert len(largest) == 16 + 4096
    assert parse(largest).client == CLIENT
    assert "4 KiB" in refusal(binary(length=4097)[:16])


# --- TLVs ----------------------------------------------------------------------------------------


def test_tlvs_are_told_by_name_and_as_they_came():
    tlvs = [
        (0x01, b"h2"),
        (0x02, "bücher.example".encode()),
        (0x04, b"padding"),
        (0x05, b"\x00\xff id"),
        (0x30, b"blue"),
        (0xE0, (2**63 + 5).to_bytes(8, "big")),
        (0xEA, b"\x01vpce-08d2bf15fac5001c9"),
        (0xEE, b"\x01\x05\0\0\x10"),
        (0xE7, b"ours"),
        (0xE7, b"and ours"),
    ]
    facts = parse(binary(b"".join(tlv(*each) for each in tlvs))).facts
    assert {name: facts[name] for name in list(facts)[5:]} == {
        "alpn": b"h2",
        "authority": "bücher.example",
        "unique_id": b"\x00\xff id",
        "netns": "blue",
        "gcp_psc_connection_id": 2**63 + 5,
        "aws_vpc_endpoint_id": "vpce-08d2bf15fac5001c9",
        "azure_private_endpoint_linkid": 0x10000005,
        "tlvs": tlvs,
    }


def test_ssl_has_tlvs_of_its_own():
    inner = [
        tlv(0x21, b"TLSv1.3"),
        tlv(0x22, "Käthe".encode()),
        tlv(0x23, b"TLS_AES_256_GCM_SHA384"),
        tlv(0x24, b"RSA-SHA256"),
        tlv(0x25, b"RSA2048"),
        tlv(0x26, b"x25519"),
        tlv(0x27, b"ecdsa_secp256r1_sha256"),
        tlv(0x28, b"0\x82"),
        tlv(0x2F, b"unknown"),
    ]
    header = parse(binary(ssl(7, 0, *inner)))
    assert header.encrypted is True
    assert header.facts["ssl"] == {
        "client_ssl": True,
        "client_cert_conn": True,
        "client_cert_sess": True,
        "verify": 0,
        "verified": True,
        "version": "TLSv1.3",
        "cn": "Käthe",
        "cipher": "TLS_AES_256_GCM_SHA384",
        "sig_alg": "RSA-SHA256",
        "key_alg": "RSA2048",
        "group": "x25519",
        "sig_scheme": "ecdsa_secp256r1_sha256",
        "client_cert": b"0\x82",
    }


@pytest.mark.parametrize(
    ("client", "verify", "encrypted", "verified"),
    [(0, 0, False, False), (1, 0, True, False), (3, 18, True, False), (5, 0, True, True)],
)
def test_who_shows_no_certificate_is_not_verified(client, verify, encrypted, verified):
    header = parse(binary(ssl(client, verify)))
    assert header.encrypted is encrypted
    assert header.facts["ssl"]["verified"] is verified


@pytest.mark.parametrize(
    ("kind", "value"),
    [(0xE0, b"seven b"), (0xEA, b"\x02x"), (0xEA, b"\x01\n"), (0xEE, b"\x01abc"), (0xEE, b"abcde")],
)
def test_what_is_no_cloud_s_form_is_left_as_it_came(kind, value):
    facts = parse(binary(tlv(kind, value) * 2)).facts
    assert list(facts)[5:] == ["tlvs"]
    assert facts["tlvs"] == [(kind, value)] * 2


@pytest.mark.parametrize(
    "tlvs",
    [
        b"\x01",
        b"\x01\x00",
        b"\x01\x00\x01",
        tlv(1, b"h2")[:-1],
        tlv(1, b"h2") + b"\0",
        tlv(1, b"h2") * 2,
        tlv(2, b"\xff"),
        tlv(2, b"a\nb"),
        tlv(2, "a\u0085b".encode()),
        tlv(5, bytes(129)),
        tlv(0x20, bytes(4)),
        ssl(1, 0, b"\x21\x00\x05TLS"),
        ssl(1, 0, tlv(0x21, "é".encode())),
        ssl(1, 0, tlv(0x21, b"TLSv1.3") * 2),
        ssl(1, 0) * 2,
        tlv(0x30, "é".encode()),
        tlv(0xE0, bytes(8)) * 2,
    ],
)
def test_tlvs_that_are_malformed_or_said_twice_are_refused(tlvs):
    assert refusal(binary(tlvs))


def test_a_checksum_is_checked():
    assert crc32c(b"123456789") == 0xE3069283  # the check value of the catalogues
    header = checked(tlv(1, b"h2"))
    assert parse(header).facts["alpn"] == b"h2"
    for position in (*range(16, 28), 31, 32, *range(36, 40)):
        wrong = bytearray(header)
        wrong[position] ^= 0x04
        assert refusal(bytes(wrong)) == "the checksum is wrong"
    assert "four bytes" in refusal(binary(tlv(3, bytes(3))))
    blank = binary(tlv(3, bytes(4)) * 2)
    twice = blank[:31] + crc32c(blank).to_bytes(4, "big") + blank[35:]
    assert refusal(twice) == "two checksums"


# --- what is accepted ----------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "versions"), [(V1, (2,)), (V2, (1,))])
def test_another_version_is_refused_at_its_first_byte(data, versions):
    assert "version" in refusal(data, versions)
    assert "version" in refusal(data[:1], versions)
    assert parse(data, BOTH).client == CLIENT


@pytest.mark.parametrize(
    "data",
    [b"G", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"PRI * HTTP/2.0", b"PROXY\t", b"\r\n\r\n\n"],
)
def test_what_begins_otherwise_is_no_header(data):
    assert refusal(data) == "no header"


# --- any bytes, any cut --------------------------------------------------------------------------

ports = st.integers(0, 65535)


@st.composite
def lines(draw) -> tuple[bytes, tuple[str, int], tuple[str, int]]:
    kind, strategy = draw(
        st.sampled_from([(b"TCP4", st.ip_addresses(v=4)), (b"TCP6", st.ip_addresses(v=6))])
    )
    client, server = (str(draw(strategy)), draw(ports)), (str(draw(strategy)), draw(ports))
    text = f"{client[0]} {server[0]} {client[1]} {server[1]}"
    return b"PROXY " + kind + b" " + text.encode() + b"\r\n", client, server


tlvs = st.lists(
    st.builds(
        tlv,
        st.sampled_from([0x01, 0x02, 0x04, 0x05, 0x20, 0x30, 0xE0, 0xEA]),
        st.binary(max_size=12),
    ),
    max_size=4,
).map(b"".join)
blocks = st.builds(
    binary,
    tlvs,
    command=st.sampled_from([0x20, 0x21, 0x21, 0x21]),
    family=st.sampled_from([0x11, 0x12]),
)
valid = st.one_of(lines().map(lambda each: each[0]), blocks)


@st.composite
def damaged(draw) -> bytes:
    data = bytearray(draw(valid) + draw(st.binary(max_size=20)))
    for _ in range(draw(st.integers(0, 2))):
        position = draw(st.integers(0, len(data) - 1))
        data[position] = draw(st.integers(0, 255))
    return bytes(data)


def outcome(data: bytes, versions) -> object:
    try:
        return ProxyHeader.parse(data, versions)
    except ProxyProtocolError:
        return "refused"


@given(lines())
def test_every_address_that_is_written_is_read(line):
    data, client, server = line
    header = parse(data)
    for told, said in ((header.client, client), (header.server, server)):
        assert told is not None
        assert ipaddress.ip_address(told[0]) == ipaddress.ip_address(said[0])
        assert told[1] == said[1]


@given(st.one_of(st.binary(max_size=200), damaged()), st.sampled_from([(1,), (2,), (1, 2)]))
def test_no_cut_changes_the_outcome(data, versions):
    """What a part decides the whole decides the same way; and nothing else is ever raised."""
    whole = outcome(data, versions)
    for end in range(1, len(data)):
        part = outcome(data[:end], versions)
        if part is not None:
            assert part == whole
            break


@given(valid, st.binary(max_size=50))
def test_nothing_behind_a_header_is_part_of_it(data, rest):
    assert outcome(data + rest, BOTH) == outcome(data, BOTH)
