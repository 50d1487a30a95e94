"""What is read of a ClientHello before OpenSSL reads it."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tls.client_hello import LARGEST_HELLO, ClientHello, is_tls
from tls.authority import first_flight

X25519, P256 = 29, 23


def hello(name=None, curve=None, version=None):
    """The first bytes of a real client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if curve:
        context.set_ecdh_curve(curve)
    if version:
        context.maximum_version = version
    return first_flight(context, name)


def cut(data, size):
    """The same message in records of `size` bytes."""
    pieces = [data[at : at + size] for at in range(5, len(data), size)]
    return b"".join(data[:3] + len(each).to_bytes(2, "big") + each for each in pieces)


def test_groups_and_shares_of_a_client_are_read():
    found = ClientHello.parse(hello())

    assert {X25519, P256} <= found.groups
    assert found.shares <= found.groups
    assert found.shares


def test_a_client_with_one_curve_has_one_group():
    assert ClientHello.parse(hello(curve="prime256v1")).groups == {P256}


def test_the_name_asked_for_is_read():
    assert ClientHello.parse(hello("www.example.com")).server_name == b"www.example.com"
    assert ClientHello.parse(hello()).server_name == b""


def test_the_versions_of_a_client_are_read():
    assert ClientHello.parse(hello()).tls13
    assert not ClientHello.parse(hello(version=ssl.TLSVersion.TLSv1_2)).tls13


@pytest.mark.parametrize("size", [50, 100, 400])
def test_a_hello_in_several_records_is_read(size):
    data = hello("www.example.com")
    records = cut(data, size)

    assert ClientHello.parse(records) == ClientHello.parse(data)
    assert all(ClientHello.parse(records[:end]) is None for end in range(len(records)))


def test_a_hello_in_records_without_end_asks_for_nothing():
    """Each of them would have it read anew."""
    assert ClientHello.parse(cut(hello("www.example.com"), 1)[:100]) == ClientHello()


@pytest.mark.parametrize("size", [LARGEST_HELLO - 4, 0xFFFF])
def test_a_hello_that_is_too_large_is_not_waited_for(size):
    assert ClientHello.parse(b"\x16\x03\x01" + size.to_bytes(2, "big")) == ClientHello()


def test_a_hello_in_pieces_is_none_until_it_is_complete():
    data = hello("www.example.com")

    assert all(ClientHello.parse(data[:end]) is None for end in range(len(data)))
    assert ClientHello.parse(data + b"more") == ClientHello.parse(data)


@pytest.mark.parametrize("body", [b"", b"\x02hello", b"\x01" * 4, b"\x01" * 60])
def test_what_is_no_hello_asks_for_nothing(body):
    record = b"\x16\x03\x01" + len(body).to_bytes(2, "big") + body

    assert ClientHello.parse(record) == ClientHello()


@given(st.binary(max_size=200), st.integers(min_value=0, max_value=250))
def test_no_bytes_make_it_fail(noise, at):
    data = bytearray(_SAMPLE)
    data[at : at + len(noise)] = noise

    ClientHello.parse(bytes(data))


_SAMPLE = hello("www.example.com")


def test_tls_is_told_from_plain_text():
    assert is_tls(hello())
    assert is_tls(b"\x16")
    assert not is_tls(b"GET / HTTP/1.1\r\n")
    assert not is_tls(b"\x80\x2e\x01")
