"""RFC 9113, sections 8.2 and 8.3: fields and pseudo-fields, and what an application gets.

The sections after a slash are h2spec's, of RFC 7540: 8.1.2 is 8.2 and 8.3 of RFC 9113.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from http2_client import Http2Client, Pair, data, headers

from e2e.http2_cases_model import (
    MALFORMED,
    OK,
    REFUSED,
    Case,
    Outcomes,
    Requests,
    Step,
    block,
    refused,
)

__all__ = ["fields", "pseudo_fields"]


def sends(*pairs: Pair) -> bytes:
    return headers(1, block(pairs), end=True)


def told(*sent: bytes, stream: int = 1) -> Callable[[Callable[[list[list[str]]], bool]], Step]:
    """A step: send, and hold what the application was told against a test of its fields."""

    def wanted(test: Callable[[list[list[str]]], bool]) -> Step:
        def step(client: Http2Client) -> None:
            client.send(*sent)
            seen = json.loads(client.response(stream).body)["fields"]
            assert test(seen), seen

        return step

    return wanted


def fields(r: Requests) -> Iterator[Case]:
    """8.2: names and values."""

    def extra(name: str | bytes, value: str | bytes) -> tuple[Step, ...]:
        return (r.get(1, "/", (name, value)),)

    def trailer(name: str | bytes, value: str | bytes) -> tuple[Step, ...]:
        return (r.post(1), data(1, b"x"), headers(1, block([(name, value)]), end=True))

    yield Case("8.1.2/1 an upper-case name", extra("X-TEST", "ok"), MALFORMED)
    for byte in b"\x00\x01\n\r \x1fA\x7f\x80\xff:":
        yield Case(f"8.2.1 a name with 0x{byte:02x}", extra(b"x%cy" % byte, "ok"), MALFORMED)
    yield Case("8.2.1 an empty name", extra("", "ok"), MALFORMED)
    yield Case("8.2.1 a name that begins with a space", extra(" x", "ok"), MALFORMED)
    yield Case("8.2.1 a name that ends with a colon", extra("x:", "ok"), MALFORMED)
    for byte in b'"(),/;<=>?@[\\]{}':
        # RFC 9113 lets more pass than a token is; it is a token all the same (RFC 9110, 5.1).
        yield Case(f"RFC 9110 5.1 a name with {byte:c}", extra(b"x%c" % byte, "ok"), REFUSED)
    for byte in b"\x00\n\r":
        for place, form in (("within", b"a%cb"), ("first in", b"%cb"), ("last in", b"a%c")):
            title = f"8.2.1 0x{byte:02x} {place} a value"
            yield Case(title, extra("x-test", form % byte), MALFORMED)
    for title, value in (
        ("a space before", " a"),
        ("a space after", "a "),
        ("a tab before", "\ta"),
        ("a tab after", "a\t"),
        ("nothing but a space in", " "),
    ):
        yield Case(f"8.2.1 {title} a value", extra("x-test", value), MALFORMED)
    for byte in b"\x01\x1f\x7f":
        # RFC 9110, 5.5: may be kept or refused; as the listener does on HTTP/1.1.
        outcomes = REFUSED | OK
        yield Case(f"RFC 9110 5.5 0x{byte:02x} in a value", extra("x", b"a%cb" % byte), outcomes)
    yield Case("8.2.1 a tab within a value", extra("x-test", "a\tb"), OK)
    yield Case("8.2.1 bytes above 0x7f in a value", extra("x-test", b"caf\xc3\xa9\xff"), OK)
    yield Case("8.2.1 an empty value", extra("x-test", ""), OK)
    yield Case("8.2.1 every character of a token", extra("!#$%&'*+-.^_`|~09az", "ok"), OK)

    kept = told(r.get(1, "/head", ("x-a", "1"), ("x-b", b"\xe9"), ("x-a", "2"), ("x-c", "")))
    order = [["x-a", "1"], ["x-b", "\xe9"], ["x-a", "2"], ["x-c", ""]]
    step = kept(lambda seen: [pair for pair in seen if pair[0].startswith("x-")] == order)
    yield Case("8.2 fields in their order, with their bytes", (step,), OK)

    for name, value in (
        ("connection", "keep-alive"),
        ("proxy-connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("connection", "close"),
    ):
        number = "/1" if value == "keep-alive" and name == "connection" else ""
        case = f"8.1.2.2{number} {name}: {value}"
        yield Case(case, extra(name, value), MALFORMED)
        if not number:
            yield Case(f"{case}, in trailers", trailer(name, value), MALFORMED)
    yield Case("8.1.2.2/2 TE that is not trailers", extra("te", "trailers, deflate"), MALFORMED)
    yield Case("8.2.2 TE of another kind", extra("te", "gzip"), MALFORMED)
    yield Case("8.2.2 TE with trailers", extra("te", "trailers"), OK)

    for name, value in (("X-Upper", "x"), ("x\0", "x"), ("x", "a\nb"), ("x", " a"), ("", "x")):
        yield Case(f"8.2.1 {name!a}: {value!a} in trailers", trailer(name, value), MALFORMED)

    crumbs = r.get(1, "/head", ("cookie", "a=1"), ("x-between", "x"), ("cookie", "b=2; c=3"))
    step = told(crumbs)(
        lambda seen: [value for name, value in seen if name == "cookie"] == ["a=1; b=2; c=3"]
    )
    yield Case("8.2.3 crumbs of a cookie are one field", (step,), OK)


def pseudo_fields(r: Requests) -> Iterator[Case]:
    """8.3: what begins with a colon."""
    good = r.fields()
    method, scheme, path, authority = good

    def case(name: str, *pairs: Pair, outcomes: Outcomes = MALFORMED) -> Case:
        return Case(name, (sends(*pairs),), outcomes)

    yield case("8.1.2.1/1 an unknown pseudo-field", *good, (":test", "ok"))
    yield case("8.1.2.1/2 a pseudo-field of responses", *good, (":status", "200"))
    for name, pair in (
        ("8.1.2.1/3 a pseudo-field", (":method", "200")),
        ("8.3 :status", (":status", "200")),
        ("8.3 an unknown pseudo-field", (":test", "x")),
        ("8.3 :authority", authority),
    ):
        steps = (r.post(1), data(1, b"x"), headers(1, block([pair]), end=True))
        yield Case(f"{name} in trailers", steps, MALFORMED)
    yield case(
        "8.1.2.1/4 a pseudo-field after a field", method, scheme, authority, ("x", "y"), path
    )
    yield case("8.3 :authority after a field", method, scheme, path, ("x", "y"), authority)
    yield case("8.1.2.3/1 an empty :path", method, scheme, (":path", ""), authority)
    yield case("8.1.2.3/2 no :method", scheme, path, authority)
    yield case("8.1.2.3/3 no :scheme", method, path, authority)
    yield case("8.1.2.3/4 no :path", method, scheme, authority)
    yield case("8.1.2.3/5 two of :method", method, *good)
    yield case("8.1.2.3/6 two of :scheme", scheme, *good)
    yield case("8.1.2.3/7 two of :path", path, *good)
    yield case("8.3 two of :authority", authority, *good)
    yield case("8.3 another :authority", (":authority", "other"), *good)
    yield case("8.3 pseudo-fields in another order", authority, path, scheme, method, outcomes=OK)
    yield case("8.3 an empty pseudo-field name", *good, (":", "x"))
    yield case("8.3 a pseudo-field in upper case", *good, (":Method", "GET"))

    def changed(name: str, pair: Pair, outcomes: Outcomes = REFUSED) -> Case:
        pairs = [pair if known[0] == pair[0] else known for known in good]
        return Case(name, (sends(*pairs),), outcomes)

    for value in ("", "GE T", "GET\0", "GET\n", "G\xe9T", "GET:"):
        yield changed(f"8.3.1 a :method of {value!a}", (":method", value.encode("latin-1")))
    yield changed("8.3.1 a method nobody knows", (":method", "BREW"), OK | refused(501))
    for value in ("", "ht tp", "http\r", "1http"):
        yield changed(f"8.3.1 a :scheme of {value!a}", (":scheme", value))
    for value in ("test", "?x", "*", "/a b", "/\0", "/a\r\n", " /", "/ ", "http://localhost/"):
        yield changed(f"8.3.1 a :path of {value!a}", (":path", value))
    yield changed("8.3.1 a :path with a fragment", (":path", "/#x"), REFUSED | OK)
    yield changed("8.3.1 a :path with a query", (":path", "/?a=b&c=%20"), OK)
    options = [(":method", "OPTIONS"), scheme, (":path", "*"), authority]
    yield case("8.3.1 OPTIONS *", *options, outcomes=OK)
    for value in (
        "user@localhost",
        "u:p@localhost",
        "a b",
        "a/b",
        "a\0",
        "localhost:x",
        " a",
    ):
        yield changed(f"8.3.1 an :authority of {value!a}", (":authority", value))
    host = ("host", "localhost")
    rest = (method, scheme, path)
    yield case("8.3.1 Host as :authority", *good, host, outcomes=OK)
    yield case("8.3.1 Host that differs", *good, ("host", "other"), outcomes=REFUSED)
    yield case("8.3.1 Host without :authority", *rest, host, outcomes=OK)
    yield case("8.3.1 neither Host nor :authority", *rest, outcomes=REFUSED)
    empty = [*rest, (":authority", "")]
    yield case("8.3.1 an empty :authority", *empty, outcomes=REFUSED)
    yield case("8.3.1 two of Host", *rest, host, ("host", "other"), outcomes=REFUSED)
    yield case("8.3.1 Host twice", *rest, host, host, outcomes=REFUSED)

    for name, pairs in (
        (":authority", r.fields("/head")),
        ("Host", [method, scheme, (":path", "/head"), host]),
    ):
        step = told(sends(*pairs))(
            lambda seen: [value for key, value in seen if key == "host"] == ["localhost"]
        )
        yield Case(f"8.3.1 the application has one Host, of {name}", (step,), OK)
