from __future__ import annotations

import pytest

from gateway.exchange import ResponseError
from gateway.head import Headers
from gateway.websocket.handshake import Handshake, HandshakeError

from .fakes import ACCEPT, KEY, opening, opening_on_http2


def refusal(head, **options) -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        Handshake.check(head, **options)
    return caught.value


def origin(value: bytes) -> Headers:
    return [(b"origin", value)]


def answer(
    handshake: Handshake,
    *,
    subprotocol: str | None = None,
    extension: bytes | None = None,
    extra: Headers | None = None,
) -> Headers:
    return handshake.accept_headers(subprotocol=subprotocol, extension=extension, extra=extra or [])


def test_the_key_of_the_rfc_gets_the_answer_of_the_rfc():
    assert answer(Handshake.check(opening())) == [(b"sec-websocket-accept", ACCEPT)]


def test_a_plain_request_has_no_offers():
    handshake = Handshake.check(opening())
    assert (handshake.subprotocols, handshake.extensions) == ([], [])


@pytest.mark.parametrize(
    "key",
    [
        None,
        b"",
        b"dGhlIHNhbXBsZQ==",
        KEY + b"AAAA",
        KEY[:-2] + b"AA",
        KEY[:-1],
        b"*" + KEY[1:],
        b" " + KEY,
    ],
)
def test_a_key_that_is_not_16_bytes_in_base64_is_refused(key):
    assert refusal(opening(key=key)).status == 400


@pytest.mark.parametrize("name", [b"sec-websocket-key", b"sec-websocket-version", b"origin"])
def test_a_field_that_may_come_once_is_refused_twice(name):
    extra = [(name, b"13")] if name != b"origin" else origin(b"http://a") * 2
    assert refusal(opening(extra=extra)).status == 400


@pytest.mark.parametrize("version", [b"8", b"14", b"13, 8", b"", b"013"])
def test_another_version_is_told_which_one_to_use(version):
    error = refusal(opening(version=version))
    assert error.status == 426
    assert (b"sec-websocket-version", b"13") in error.headers


def test_a_request_without_a_version_is_malformed():
    assert refusal(opening(version=None)).status == 400


def test_another_method_is_told_which_one_to_use():
    error = refusal(opening(method="POST"))
    assert error.status == 405
    assert error.headers == [(b"allow", b"GET")]


@pytest.mark.parametrize("upgrade", [None, b"h2c", b"websocket, h2c"])
def test_a_request_for_another_protocol_is_refused(upgrade):
    assert refusal(opening(upgrade=upgrade)).status == 400


@pytest.mark.parametrize("length", [1, None])
def test_a_request_with_a_body_is_refused(length):
    assert refusal(opening(content_length=length)).status == 400


@pytest.mark.parametrize("bad", [b"\x80\xff", b"\x00", b"\x1b[2J", b"\x7f", b"\x85", b"\x0b"])
@pytest.mark.parametrize(
    "name",
    [
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"sec-websocket-protocol",
        b"sec-websocket-extensions",
        b"sec-websocket-something",
        b"origin",
        b"connection",
        b"upgrade",
    ],
)
def test_a_byte_that_is_not_printable_is_refused_in_every_field_of_the_handshake(name, bad):
    assert refusal(opening(extra=[(name, b"chat" + bad)])).status == 400


def test_a_refusal_repeats_nothing_of_the_request():
    error = refusal(opening(extra=[(b"sec-websocket-protocol", b"<script>")]))
    assert "script" not in error.reason


# --- subprotocols and extensions ------------------------------------------------------------------


def test_subprotocols_are_read_from_all_lines_in_order():
    lines = [(b"sec-websocket-protocol", b"chat, superchat,"), (b"sec-websocket-protocol", b"mqtt")]
    assert Handshake.check(opening(extra=lines)).subprotocols == ["chat", "superchat", "mqtt"]


@pytest.mark.parametrize("value", [b"a b", b"a,b;c", b'"chat"', b"a/b"])
def test_a_subprotocol_that_is_no_token_is_refused(value):
    assert refusal(opening(extra=[(b"sec-websocket-protocol", value)])).status == 400


def test_an_offered_subprotocol_is_agreed_to():
    handshake = Handshake.check(opening(extra=[(b"sec-websocket-protocol", b"v1, v2")]))
    fields = answer(handshake, subprotocol="v2")
    assert (b"sec-websocket-protocol", b"v2") in fields


@pytest.mark.parametrize("chosen", ["v3", "V1", "", "v1, v2"])
def test_a_subprotocol_that_was_not_offered_is_an_error_of_the_application(chosen):
    handshake = Handshake.check(opening(extra=[(b"sec-websocket-protocol", b"v1, v2")]))
    with pytest.raises(ResponseError, match="did not offer"):
        answer(handshake, subprotocol=chosen)


def test_extensions_are_kept_from_all_lines():
    lines = [
        (b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits"),
        (b"sec-websocket-extensions", b"x-other"),
    ]
    handshake = Handshake.check(opening(extra=lines))
    assert handshake.extensions == [
        (b"permessage-deflate", [(b"client_max_window_bits", None)]),
        (b"x-other", []),
    ]


@pytest.mark.parametrize("value", [b";", b"a; b=", b"a; b=c d", b"a=b", b'a; b="c', b"a b"])
def test_a_malformed_list_of_extensions_is_refused(value):
    assert refusal(opening(extra=[(b"sec-websocket-extensions", value)])).status == 400


def test_an_extension_is_agreed_to():
    fields = answer(Handshake.check(opening()), extension=b"permessage-deflate")
    assert (b"sec-websocket-extensions", b"permessage-deflate") in fields


# --- the application's own fields -----------------------------------------------------------------


def test_fields_of_the_application_follow_in_lower_case():
    fields = answer(Handshake.check(opening()), extra=[(b"Set-Cookie", b"a=1"), (b"X-B", b"2")])
    assert fields[1:] == [(b"set-cookie", b"a=1"), (b"x-b", b"2")]


@pytest.mark.parametrize(
    "name", [b"Connection", b"upgrade", b"Content-Length", b"transfer-encoding", b"keep-alive"]
)
def test_fields_of_a_connection_or_a_body_are_left_out(name):
    fields = answer(Handshake.check(opening()), extra=[(name, b"5"), (b"x-a", b"1")])
    assert fields[1:] == [(b"x-a", b"1")]


@pytest.mark.parametrize("what", [b"Accept", b"Extensions", b"Protocol"])
def test_what_is_negotiated_cannot_be_set_as_a_field(what):
    with pytest.raises(ResponseError, match="negotiated"):
        answer(Handshake.check(opening()), extra=[(b"Sec-WebSocket-" + what, b"x")])


def test_a_field_cannot_split_the_response():
    with pytest.raises(ResponseError):
        answer(Handshake.check(opening()), extra=[(b"x-a", b"1\r\nset-cookie: b")])


# --- origins --------------------------------------------------------------------------------------

ALLOWED = ("https://example.com", "http://Localhost:3000")


@pytest.mark.parametrize("allowed", [None, ()])
def test_without_a_list_every_origin_passes(allowed):
    Handshake.check(opening(extra=origin(b"https://evil.test")), origins=allowed)


@pytest.mark.parametrize(
    "value", [b"https://example.com", b"HTTPS://Example.COM", b"http://localhost:3000"]
)
def test_a_listed_origin_passes_in_any_case(value):
    Handshake.check(opening(extra=origin(value)), origins=ALLOWED)


@pytest.mark.parametrize(
    "value",
    [
        b"http://example.com",
        b"https://example.com:8443",
        b"https://example.com.evil.test",
        b"https://evil.test/https://example.com",
        b"https://www.example.com",
        b"null",
        b"",
    ],
)
def test_any_other_origin_is_forbidden(value):
    assert refusal(opening(extra=origin(value)), origins=ALLOWED).status == 403


def test_the_null_origin_passes_when_it_is_listed():
    Handshake.check(opening(extra=origin(b"null")), origins=["null"])


def test_a_request_without_origin_is_forbidden_by_a_list():
    assert refusal(opening(), origins=ALLOWED).status == 403


def test_a_request_without_origin_passes_when_that_is_listed():
    Handshake.check(opening(), origins=[*ALLOWED, ""])


# --- HTTP/2 ---------------------------------------------------------------------------------------


def test_http2_needs_no_key_and_is_answered_with_200_and_none():
    handshake = Handshake.check(opening_on_http2())
    assert (handshake.status, answer(handshake)) == (200, [])


def test_http1_is_answered_with_101():
    assert Handshake.check(opening()).status == 101


def test_a_key_over_http2_is_not_looked_at():
    head = opening_on_http2(extra=[(b"sec-websocket-key", b"?"), (b"sec-websocket-key", KEY)])
    assert answer(Handshake.check(head)) == []


def test_offers_over_http2_are_those_of_http1():
    offers = [
        (b"sec-websocket-protocol", b"chat"),
        (b"sec-websocket-extensions", b"permessage-deflate"),
    ]
    handshake = Handshake.check(opening_on_http2(extra=offers))
    assert answer(handshake, subprotocol="chat", extension=b"permessage-deflate") == offers


def test_another_version_over_http2_is_told_without_the_upgrade_field():
    error = refusal(opening_on_http2(version=b"8"))
    assert (error.status, error.headers) == (426, [(b"sec-websocket-version", b"13")])


def test_a_request_without_a_version_over_http2_is_malformed():
    assert refusal(opening_on_http2(version=None)).status == 400


@pytest.mark.parametrize("length", [0, 5])
def test_a_stream_that_has_ended_or_knows_its_length_is_refused(length):
    assert refusal(opening_on_http2(content_length=length)).status == 400


def test_the_origin_is_checked_over_http2():
    assert refusal(opening_on_http2(extra=origin(b"null")), origins=ALLOWED).status == 403


def test_http_1_0_has_no_websocket():
    head = opening()
    head.version = "1.0"
    assert refusal(head).status == 400
