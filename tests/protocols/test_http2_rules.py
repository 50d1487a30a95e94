"""Which HTTP/2 requests are taken: RFC 9113, sections 8.2, 8.3 and 8.5, RFC 8441, and the policy."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.head import Peer, RequestHead
from gateway.protocols.http2_rules import (
    Malformed,
    check_trailers,
    parse_h2c_settings,
    request_head,
)
from gateway.protocols.request_rules import BadRequest

from .corpus import Message, load

Fields = list[tuple[bytes, bytes]]

MALFORMED = "malformed"
PSEUDO = {
    b":method": b"GET",
    b":scheme": b"https",
    b":authority": b"example.com",
    b":path": b"/",
}


def peer() -> Peer:
    return Peer(("203.0.113.7", 50000), ("127.0.0.1", 8000), "http")


def fields(*regular: tuple[bytes, bytes], **pseudo: bytes | None) -> Fields:
    """A request: GET https://example.com/ with other pseudo-fields, or without (None)."""
    merged = PSEUDO | {b":" + name.encode(): value for name, value in pseudo.items()}
    return [(name, value) for name, value in merged.items() if value is not None] + [*regular]


def head(sent: Fields, *, ended: bool = True, limit_headers: int = 100) -> RequestHead:
    return request_head(sent, peer(), ended=ended, limit_headers=limit_headers)


def verdict(sent: Fields, *, ended: bool = True) -> int | str:
    try:
        head(sent, ended=ended)
    except Malformed:
        return MALFORMED
    except BadRequest as refusal:
        return refusal.status
    return 200


# --- what an application sees -------------------------------------------------------------------


def test_plain_request_becomes_a_head() -> None:
    made = head(fields((b"accept", b"*/*"), (b"x-own", b""), path=b"/a%20b/?q=%20"))
    assert (made.method, made.target, made.version) == ("GET", b"/a%20b/?q=%20", "2")
    assert (made.path, made.raw_path, made.query) == ("/a b/", b"/a%20b/", b"q=%20")
    assert made.headers == [(b"host", b"example.com"), (b"accept", b"*/*"), (b"x-own", b"")]
    assert (made.content_length, made.expect_continue, made.upgrade) == (0, False, None)
    assert (made.client, made.server) == (("203.0.113.7", 50000), ("127.0.0.1", 8000))


def test_scheme_is_that_of_the_connection() -> None:
    assert head(fields(scheme=b"https")).scheme == "http"


def test_pseudo_fields_may_come_in_any_order() -> None:
    assert head(fields()[::-1]).headers == [(b"host", b"example.com")]


def test_decoded_list_is_left_as_it_is() -> None:
    sent = fields((b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"host", b"example.com"))
    before = list(sent)
    head(sent)
    assert sent == before
    assert head(sent).headers is not head(sent).headers


def test_path_is_decoded_as_utf_8_once() -> None:
    assert head(fields(path=b"/%C3%A9%252e%00%ff")).path == "/é%2e\0\ufffd"


def test_asterisk_is_a_target_of_options() -> None:
    made = head(fields(method=b"OPTIONS", path=b"*"))
    assert (made.target, made.path) == (b"*", "*")


def test_host_alone_is_the_authority_and_comes_first() -> None:
    made = head(fields((b"accept", b"*/*"), (b"host", b"a.example"), authority=None))
    assert made.headers == [(b"host", b"a.example"), (b"accept", b"*/*")]


@pytest.mark.parametrize("host", [b"example.com", b"EXAMPLE.com"])
def test_host_that_says_the_same_is_left_out(host: bytes) -> None:
    made = head(fields((b"accept", b"*/*"), (b"host", host)))
    assert made.headers == [(b"host", b"example.com"), (b"accept", b"*/*")]


def test_crumbs_of_a_cookie_are_joined_in_the_place_of_the_first() -> None:
    made = head(
        fields((b"cookie", b"a=1"), (b"accept", b"*/*"), (b"cookie", b"b=2"), (b"cookie", b"c"))
    )
    assert made.headers[1:] == [(b"cookie", b"a=1; b=2; c"), (b"accept", b"*/*")]


def test_other_fields_that_repeat_stay_apart() -> None:
    pairs = [(b"accept", b"a"), (b"x-b", b"1"), (b"accept", b"c")]
    assert head(fields(*pairs)).headers[1:] == pairs


def test_te_trailers_is_seen() -> None:
    assert head(fields((b"te", b"trailers"))).accepts_trailers


@pytest.mark.parametrize(
    ("length", "ended", "expected"),
    [(None, True, 0), (None, False, None), (b"0", True, 0), (b"0", False, 0), (b"05", False, 5)],
)
def test_body_length_is_known_from_the_field_or_the_end(
    length: bytes | None, ended: bool, expected: int | None
) -> None:
    regular = [] if length is None else [(b"content-length", length)]
    assert head(fields(*regular, method=b"POST"), ended=ended).content_length == expected


@pytest.mark.parametrize(
    ("regular", "ended", "expected"),
    [
        ([], False, True),
        ([(b"content-length", b"5")], False, True),
        ([(b"content-length", b"0")], False, False),
        ([], True, False),
    ],
)
def test_continue_is_expected_only_with_a_body(
    regular: Fields, ended: bool, expected: bool
) -> None:
    sent = fields((b"expect", b"100-Continue"), *regular, method=b"POST")
    assert head(sent, ended=ended).expect_continue is expected


@pytest.mark.parametrize("protocol", [b"websocket", b"WebSocket"])
def test_extended_connect_is_a_websocket(protocol: bytes) -> None:
    sent = fields((b"origin", b"x"), method=b"CONNECT", protocol=protocol, path=b"/chat?a")
    made = head(sent, ended=False)
    assert (made.method, made.version, made.upgrade) == ("GET", "2", b"websocket")
    assert (made.path, made.query, made.content_length) == ("/chat", b"a", None)
    assert made.headers == [(b"host", b"example.com"), (b"origin", b"x")]


def test_websocket_says_what_body_it_has_for_the_handshake_to_refuse() -> None:
    plain = fields(method=b"CONNECT", protocol=b"websocket")
    sized = fields((b"content-length", b"5"), method=b"CONNECT", protocol=b"websocket")
    assert head(plain, ended=False).content_length is None
    assert head(sized, ended=False).content_length == 5
    assert head(plain, ended=True).content_length == 0


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        # Section 8.3: pseudo-fields.
        pytest.param([], MALFORMED, id="nothing"),
        pytest.param(fields(method=None), MALFORMED, id="no-method"),
        pytest.param(fields(scheme=None), MALFORMED, id="no-scheme"),
        pytest.param(fields(path=None), MALFORMED, id="no-path"),
        pytest.param(fields(method=b""), MALFORMED, id="empty-method"),
        pytest.param(fields(scheme=b""), MALFORMED, id="empty-scheme"),
        pytest.param(fields(path=b""), MALFORMED, id="empty-path"),
        pytest.param(fields(authority=b""), MALFORMED, id="empty-authority"),
        pytest.param(fields(protocol=b""), MALFORMED, id="empty-protocol"),
        pytest.param(
            fields((b"host", b"a"), authority=b""), MALFORMED, id="empty-authority-beside-host"
        ),
        *(
            pytest.param(
                [(name, PSEUDO[name]), *fields()], MALFORMED, id=f"{name[1:].decode()}-twice"
            )
            for name in PSEUDO
        ),
        pytest.param([(b":path", b""), *fields()], MALFORMED, id="path-twice-first-empty"),
        pytest.param(
            [(b":method", b"GET"), *fields(authority=None)], MALFORMED, id="twice-and-one-missing"
        ),
        pytest.param([*fields(), (b":path", b"")], MALFORMED, id="path-twice-last-empty"),
        pytest.param([(b":status", b"200"), *fields()], MALFORMED, id="pseudo-of-a-response"),
        pytest.param([(b":unknown", b"1"), *fields()], MALFORMED, id="unknown-pseudo"),
        pytest.param([(b":", b"1"), *fields()], MALFORMED, id="colon-alone"),
        pytest.param([(b":Path", b"/"), *fields(path=None)], MALFORMED, id="pseudo-in-capitals"),
        pytest.param([(b"accept", b"a"), *fields()], MALFORMED, id="field-before-pseudo"),
        pytest.param([(b"x-own", b"a"), *fields()], MALFORMED, id="unknown-field-before-pseudo"),
        pytest.param([(b"cookie", b"a"), *fields()], MALFORMED, id="special-field-before-pseudo"),
        pytest.param(
            [*fields(path=None), (b"accept", b"a"), (b":path", b"/")], MALFORMED, id="late-pseudo"
        ),
        pytest.param(fields(path=b"a"), MALFORMED, id="relative-path"),
        pytest.param(fields(path=b"?a"), MALFORMED, id="query-alone"),
        pytest.param(fields(path=b"http://example.com/"), MALFORMED, id="absolute-form"),
        pytest.param(fields(path=b"*"), MALFORMED, id="asterisk-of-get"),
        pytest.param(fields(method=b"OPTIONS", path=b"*a"), MALFORMED, id="asterisk-and-more"),
        pytest.param(fields(path=b"/a#b"), 400, id="fragment"),
        pytest.param(fields(path=b"/a b"), 400, id="blank-in-path"),
        pytest.param(fields(path=b"/a\tb"), 400, id="tab-in-path"),
        pytest.param(fields(path=b"/\xc3\xa9"), 400, id="non-ascii-path"),
        pytest.param(fields(path=b"/a\nb"), MALFORMED, id="lf-in-path"),
        pytest.param(fields(path=b"/a "), MALFORMED, id="blank-behind-path"),
        pytest.param(fields(scheme=b"ftp"), 400, id="other-scheme"),
        pytest.param(fields(scheme=b"HTTPS"), 400, id="scheme-in-capitals"),
        pytest.param(fields(scheme=b"https://a/?"), 400, id="url-in-scheme"),
        pytest.param(fields(method=b"BREW"), 501, id="unknown-method"),
        pytest.param(fields(method=b"get"), 400, id="method-in-small-letters"),
        pytest.param(fields(method=b"G T"), MALFORMED, id="method-no-token"),
        pytest.param(fields(method=b"GET\r"), MALFORMED, id="cr-in-method"),
        pytest.param(fields(method=b"PRI"), 501, id="preface-as-method"),
        # Section 8.3.1: the authority.
        pytest.param(fields(authority=None), 400, id="no-authority-no-host"),
        pytest.param(fields((b"host", b""), authority=None), 400, id="empty-host-alone"),
        pytest.param(fields((b"host", b"other.com")), MALFORMED, id="host-differs"),
        pytest.param(fields((b"host", b"")), MALFORMED, id="host-empty-beside-authority"),
        pytest.param(fields((b"host", b"example.com:443")), MALFORMED, id="host-with-a-port"),
        pytest.param(fields(*[(b"host", b"example.com")] * 2), MALFORMED, id="host-twice"),
        pytest.param(
            fields((b"host", b"a"), (b"host", b"b"), authority=None), MALFORMED, id="two-hosts"
        ),
        pytest.param(fields(authority=b"user@example.com"), 400, id="userinfo"),
        pytest.param(fields(authority=b"a/b"), 400, id="path-in-authority"),
        pytest.param(fields(authority=b"a?b"), 400, id="query-in-authority"),
        pytest.param(fields(authority=b"a:70000"), 400, id="port-too-large"),
        pytest.param(fields(authority=b"[::x]"), 400, id="no-ipv6"),
        pytest.param(fields((b"host", b"a b"), authority=None), 400, id="blank-in-host"),
        # Section 8.2: names and values.
        pytest.param(fields((b"Accept", b"a")), MALFORMED, id="known-name-in-capitals"),
        pytest.param(fields((b"X", b"a")), MALFORMED, id="name-in-capitals"),
        pytest.param(fields((b"", b"a")), MALFORMED, id="empty-name"),
        pytest.param(fields((b"a b", b"a")), MALFORMED, id="blank-in-name"),
        pytest.param(fields((b"a:b", b"a")), MALFORMED, id="colon-in-name"),
        pytest.param(fields((b"a\x00", b"a")), MALFORMED, id="nul-in-name"),
        pytest.param(fields((b"\xe9", b"a")), MALFORMED, id="non-ascii-name"),
        pytest.param(fields((b"x", b"a\r\nb")), MALFORMED, id="crlf-in-value: CVE-2025-57804"),
        pytest.param(fields((b"x", b" a")), MALFORMED, id="blank-before-value"),
        pytest.param(fields((b"x", b"a\t")), MALFORMED, id="tab-behind-value"),
        pytest.param(fields((b"x", b"a "), (b"y", b"b")), MALFORMED, id="blank-behind-value"),
        pytest.param(fields((b"x", b" ")), MALFORMED, id="blank-value"),
        pytest.param(fields((b"x", b"a \t b"), (b"y", b"")), 200, id="blanks-within"),
        pytest.param(fields((b"x", b"\x80\xff")), 200, id="obs-text"),
        pytest.param(fields((b"x_y", b"1")), 200, id="underscore"),
        # Section 8.2.2: fields of a connection.
        *(
            pytest.param(fields((name, b"x")), MALFORMED, id=name.decode())
            for name in [
                b"connection",
                b"keep-alive",
                b"proxy-connection",
                b"transfer-encoding",
                b"upgrade",
            ]
        ),
        pytest.param(fields((b"te", b"gzip")), MALFORMED, id="te-gzip"),
        pytest.param(fields((b"te", b"trailers, gzip")), MALFORMED, id="te-trailers-and-more"),
        pytest.param(fields((b"te", b"")), MALFORMED, id="te-empty"),
        # Sections 8.5 and RFC 8441.
        pytest.param(
            fields(method=b"CONNECT", scheme=None, path=None), 501, id="connect-is-for-proxies"
        ),
        pytest.param(fields(method=b"CONNECT"), MALFORMED, id="connect-with-path"),
        pytest.param(fields(method=b"CONNECT", scheme=None), MALFORMED, id="connect-half"),
        pytest.param(fields(protocol=b"websocket"), MALFORMED, id="protocol-without-connect"),
        pytest.param(
            fields(method=b"CONNECT", protocol=b"websocket", path=None),
            MALFORMED,
            id="no-path-8441",
        ),
        pytest.param(
            fields(method=b"CONNECT", protocol=b"websocket", scheme=None),
            MALFORMED,
            id="no-scheme-8441",
        ),
        pytest.param(
            fields(method=b"CONNECT", protocol=b"websocket", authority=None),
            400,
            id="no-authority-8441",
        ),
        pytest.param(fields(method=b"CONNECT", protocol=b"masque"), 501, id="other-protocol"),
        # Policy.
        pytest.param(fields((b"expect", b"tea")), 417, id="other-expectation"),
        pytest.param(fields((b"expect", b"tea"), method=b"get"), 400, id="bad-before-417"),
        pytest.param(fields((b"expect", b"tea"), (b"X", b"")), MALFORMED, id="malformed-first"),
    ],
)
def test_request_has_its_verdict(sent: Fields, expected: int | str) -> None:
    assert verdict(sent) == expected


@pytest.mark.parametrize("byte", [byte for byte in range(0x20) if byte != 0x09] + [0x7F])
def test_control_character_in_a_value_is_malformed(byte: int) -> None:
    value = b"a" + bytes((byte,)) + b"b"
    assert verdict(fields((b"x", value))) == MALFORMED
    assert verdict(fields((b"x", value[:2]))) == MALFORMED
    assert verdict(fields((b"cookie", value))) == MALFORMED


@pytest.mark.parametrize(
    "length", [b"", b"+5", b"-0", b"0x5", b"5_0", b"5.0", b"5, 5", b"4 2", b"\xb2", b"5" * 19]
)
def test_content_length_is_digits(length: bytes) -> None:
    assert verdict(fields((b"content-length", length)), ended=False) == MALFORMED


@pytest.mark.parametrize("second", [b"5", b"6"])
def test_two_content_lengths_are_malformed(second: bytes) -> None:
    sent = fields((b"content-length", b"5"), (b"content-length", second))
    assert verdict(sent, ended=False) == MALFORMED


def test_content_length_without_a_body_is_malformed() -> None:
    sent = fields((b"content-length", b"5"))
    assert verdict(sent, ended=True) == MALFORMED
    assert verdict(sent, ended=False) == 200


def test_number_of_fields_is_limited_after_everything_else() -> None:
    many = [(b"x", b"1")] * 9
    assert len(head(fields(*many), limit_headers=10).headers) == 10
    with pytest.raises(BadRequest) as caught:
        head(fields(*many, (b"x", b"1")), limit_headers=10)
    assert caught.value.status == 431
    with pytest.raises(BadRequest) as caught:
        head(fields(*many, (b"expect", b"tea")), limit_headers=10)
    assert caught.value.status == 417


def test_crumbs_of_a_cookie_count_as_one() -> None:
    crumbs = [(b"cookie", b"a=%d" % number) for number in range(200)]
    assert len(head(fields(*crumbs), limit_headers=2).headers) == 2


def test_refused_host_is_not_remembered() -> None:
    whose = peer()
    for _ in range(2):
        with pytest.raises(BadRequest):
            request_head(fields(authority=b"a/b"), whose, ended=True)
    assert whose.checked_host == b""
    request_head(fields(), whose, ended=True)
    assert whose.checked_host == b"example.com"


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*PSEUDO, b":protocol", b"host", b"te", b"content-length", b"cookie"])
            | st.binary(max_size=3),
            st.sampled_from([*PSEUDO.values(), b"CONNECT", b"websocket", b"*", b"5", b"trailers"])
            | st.binary(max_size=3),
        ),
        max_size=8,
    ),
    st.booleans(),
)
def test_any_fields_are_taken_or_refused(sent: Fields, ended: bool) -> None:
    try:
        made = head(sent, ended=ended)
    except (Malformed, BadRequest):
        return
    names = [name for name, _ in made.headers]
    assert names[0] == b"host"
    assert names.count(b"host") == 1
    assert names.count(b"cookie") <= 1
    assert not any(name.startswith(b":") for name in names)
    assert made.target[:1] in (b"/", b"*")
    written = b"".join(name + value for name, value in made.headers)
    assert not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", written)


def test_refusal_echoes_nothing_of_the_request() -> None:
    marked = b"zqz"
    for sent in (
        fields((b"x-ZQZ" + marked, b"")),
        fields(authority=b"/" + marked),
        fields(path=b"/ " + marked),
        fields(method=marked),
        fields((b"expect", marked)),
    ):
        with pytest.raises((Malformed, BadRequest)) as caught:
            head(sent)
        assert "zqz" not in str(caught.value).lower()


# --- trailers -----------------------------------------------------------------------------------


def test_trailers_are_checked_as_fields() -> None:
    check_trailers([(b"x-sum", b"1"), (b"server-timing", b"a b")])


@pytest.mark.parametrize(
    "field",
    [
        (b":path", b"/"),
        (b":status", b"200"),
        (b":x", b""),
        (b"X", b""),
        (b"", b""),
        (b"x", b"a\nb"),
        (b"x", b" a"),
        (b"connection", b"close"),
        (b"transfer-encoding", b"chunked"),
    ],
)
def test_trailers_that_are_none_are_malformed(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(Malformed):
        check_trailers([(b"x-sum", b"1"), field])


# --- HTTP2-Settings -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "payload"),
    [
        (b"", ""),
        (b"AAMAAABkAAQAAP__", "0003000000640004 0000ffff"),
        (b"AAMAAABkAARAAAAAAAIAAAAA", "000300000064 000440000000 000200000000"),
        (b"AAEAAA-_", "000100000fbf"),
    ],
)
def test_settings_of_an_upgrade_are_decoded(value: bytes, payload: str) -> None:
    assert parse_h2c_settings(value) == bytes.fromhex(payload)


@pytest.mark.parametrize(
    "value",
    [
        b"A",
        b"AAAAA",
        b"AAMAAABkA",
        b"AAMAAABk=",
        b"AAMAAABk\n",
        b"AA+/AABk",
        b"AAMAAA==",
        b"AAMA",
        b"AA MAAABk",
    ],
)
def test_settings_of_an_upgrade_that_are_none_are_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="HTTP2-Settings"):
        parse_h2c_settings(value)


# --- the same policy as over HTTP/1.1 -----------------------------------------------------------

LINE = re.compile(rb"([A-Z-]+) (\S+) HTTP/1\.1\r\n(.*?)\r\n\r\n(.*)", re.DOTALL)
OTHERWISE = {
    "host/empty": "RFC 9113 has no empty authority",
    "fields/too-large": "the decoder's limit",
    "targets/too-long-target": "the decoder's limit",
}


def same_over_http2(message: Message) -> tuple[Fields, bool] | None:
    """The fields a gateway would send for a message; None for what HTTP/2 cannot say."""
    match = LINE.fullmatch(message.data)
    if match is None or len(message.answers) != 1 or not match[2].startswith((b"/", b"*")):
        return None
    sent = [(b":method", match[1]), (b":scheme", b"http"), (b":path", match[2])]
    for line in match[3].split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if not colon or line[:1] in b" \t":
            return None
        sent.append((name.lower(), value.strip(b" \t")))
    return sent, not match[4]


CASES = {
    message.name: (message, *case)
    for message in load()
    if message.name.split("/")[0] in ("content-length", "fields", "host", "targets")
    and message.name not in OTHERWISE
    and (case := same_over_http2(message)) is not None
}


@pytest.mark.parametrize("name", CASES)
def test_policy_is_that_of_http_1(name: str) -> None:
    message, sent, ended = CASES[name]
    hosts = [value for key, value in sent if key == b"host"]
    if len(hosts) == 1:
        # As a client would: the authority is a pseudo-field.
        moved = (b":authority", hosts[0])
        sent = [*sent[:3], moved, *(field for field in sent[3:] if field[0] != b"host")]
    (answer,) = message.answers
    if answer.status != 200:
        assert verdict(sent, ended=ended) in (answer.status, MALFORMED)
        return
    made = head(sent, ended=ended)
    assert (made.method, made.target) == (answer.method, answer.target)
    for kind, text in answer.details:
        if kind == "path":
            assert made.path == text.decode()
        elif kind == "raw-path":
            assert made.raw_path == text
        elif kind == "query":
            assert made.query == text
        elif kind == "header":
            field, _, value = text.partition(b" ")
            assert made.header(field) == value


def test_corpus_has_cases_of_both_verdicts() -> None:
    statuses = [message.answers[0].status for message, _, _ in CASES.values()]
    assert len(statuses) > 100
    assert statuses.count(200) > 40
