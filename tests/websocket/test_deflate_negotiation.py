"""Which offers of permessage-deflate are taken, and what is answered (RFC 7692, section 7.1)."""

from __future__ import annotations

import pytest

from gateway.websocket.deflate import Deflate
from gateway.websocket.extensions import parse_offers

from .samples import agreed

ACCEPTED = [
    (b"permessage-deflate", b"permessage-deflate; server_max_window_bits=12"),
    (
        b"permessage-deflate; client_max_window_bits",
        b"permessage-deflate; client_max_window_bits=12; server_max_window_bits=12",
    ),
    (
        b"permessage-deflate; client_max_window_bits=15",
        b"permessage-deflate; client_max_window_bits=12; server_max_window_bits=12",
    ),
    (
        b"permessage-deflate; client_max_window_bits=10",
        b"permessage-deflate; client_max_window_bits=10; server_max_window_bits=12",
    ),
    (
        b"permessage-deflate; client_max_window_bits=8",
        b"permessage-deflate; client_max_window_bits=8; server_max_window_bits=12",
    ),
    (
        b"permessage-deflate; server_max_window_bits=15",
        b"permessage-deflate; server_max_window_bits=12",
    ),
    (
        b"permessage-deflate; server_max_window_bits=9",
        b"permessage-deflate; server_max_window_bits=9",
    ),
    (
        b"permessage-deflate; server_max_window_bits=8",
        b"permessage-deflate; server_max_window_bits=8",
    ),
    (
        b'permessage-deflate; server_max_window_bits="10"',
        b"permessage-deflate; server_max_window_bits=10",
    ),
    (
        b'permessage-deflate; server_max_window_bits="1\\0"',
        b"permessage-deflate; server_max_window_bits=10",
    ),
    (
        b"permessage-deflate; server_no_context_takeover",
        b"permessage-deflate; server_no_context_takeover; server_max_window_bits=12",
    ),
    (
        b"permessage-deflate; client_no_context_takeover",
        b"permessage-deflate; client_no_context_takeover; server_max_window_bits=12",
    ),
    (
        b"permessage-deflate;client_no_context_takeover;client_max_window_bits = 9",
        b"permessage-deflate; client_no_context_takeover; client_max_window_bits=9; server_max_window_bits=12",
    ),
    # another extension, or an offer that is declined, before one that is not
    (b"x-other; a=1, permessage-deflate", b"permessage-deflate; server_max_window_bits=12"),
    (b"permessage-deflate; mode=best, permessage-deflate", b"permessage-deflate; server_max_window_bits=12"),
    (
        b"permessage-deflate; server_max_window_bits=10, permessage-deflate",
        b"permessage-deflate; server_max_window_bits=10",
    ),
    (b", ,permessage-deflate , ,", b"permessage-deflate; server_max_window_bits=12"),
]  # fmt: skip

DECLINED = [
    b"",
    b" , ",
    b"x-webkit-deflate-frame",
    b"permessage-bzip2; client_max_window_bits",
    b"Permessage-Deflate",
    b"permessage-deflate; unknown",
    b"permessage-deflate; unknown=1",
    b"permessage-deflate; server_no_context_takeover=1",
    b"permessage-deflate; client_no_context_takeover=true",
    b"permessage-deflate; server_max_window_bits",
    b"permessage-deflate; server_max_window_bits=7",
    b"permessage-deflate; server_max_window_bits=16",
    b"permessage-deflate; server_max_window_bits=08",
    b"permessage-deflate; server_max_window_bits=+9",
    b"permessage-deflate; server_max_window_bits=ten",
    b"permessage-deflate; client_max_window_bits=7",
    b"permessage-deflate; client_max_window_bits=16",
    b"permessage-deflate; client_max_window_bits=010",
    b"permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    b"permessage-deflate; client_no_context_takeover; client_no_context_takeover",
    b"permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
    b"permessage-deflate; client_max_window_bits; client_max_window_bits=10",
]

MALFORMED = [
    b";",
    b"permessage-deflate;",
    b"permessage-deflate; ;a",
    b"permessage-deflate; =1",
    b"permessage-deflate; a=",
    b"permessage-deflate a",
    b"permessage-deflate; a=1 2",
    b'permessage-deflate; a="1',
    b'permessage-deflate; a=""',
    b'permessage-deflate; a="1 2"',
    b'permessage-deflate; a="1"2',
    b"permessage-deflate; a=b=c",
    b"permessage-deflate/1",
    b"permessage-deflate, \xff",
    b"\x00",
    b"(x)",
]


@pytest.mark.parametrize(("offer", "response"), ACCEPTED)
def test_offer_is_accepted_with_this_response(offer: bytes, response: bytes) -> None:
    assert agreed(offer).response == response


@pytest.mark.parametrize("offer", DECLINED)
def test_offer_is_declined(offer: bytes) -> None:
    assert Deflate.negotiate(parse_offers([offer])) is None


@pytest.mark.parametrize("offer", MALFORMED)
def test_malformed_field_is_an_error(offer: bytes) -> None:
    with pytest.raises(ValueError):
        parse_offers([offer])
    with pytest.raises(ValueError):
        parse_offers([b"permessage-deflate", offer])


def test_no_field_is_no_compression() -> None:
    assert Deflate.negotiate([]) is None


def test_several_fields_are_one_list_in_order() -> None:
    deflate = agreed(
        b"x-a, x-b", b"permessage-deflate; server_max_window_bits=9", b"permessage-deflate"
    )
    assert deflate.response == b"permessage-deflate; server_max_window_bits=9"


def test_long_malformed_field_is_refused_in_linear_time() -> None:
    for piece in (b'a; b="\\\\', b"a;b=", b"a; ", b", ", b'";', b"a ;"):
        data = piece * 10_000 + b'"'
        with pytest.raises(ValueError):
            parse_offers([data])
