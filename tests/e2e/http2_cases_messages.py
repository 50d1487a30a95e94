"""RFC 9113, section 8, and RFC 8441: frames of a message, lengths, CONNECT."""

from __future__ import annotations

from collections.abc import Iterator

from http2_client import (
    ErrorCode,
    Http2Client,
    Pair,
    Setting,
    Type,
    continuation,
    data,
    headers,
)

from e2e.http2_cases_model import (
    IGNORED,
    MALFORMED,
    OK,
    REFUSED,
    Case,
    Outcomes,
    Requests,
    Step,
    block,
    fails,
    refused,
)

__all__ = ["bodies", "connects", "exchanges"]


def exchanges(r: Requests) -> Iterator[Case]:
    """8.1: the order of frames in a message."""
    post, test = r.post(1), data(1, b"test")
    second = headers(1, r.block(method="POST"))
    yield Case("8.1/1 a second HEADERS that does not end the stream", (post, second), MALFORMED)
    trailers = headers(1, block([("x-test", "ok")]))
    steps = (post, test, trailers, data(1, end=True))
    yield Case("8.1 trailers that do not end the stream", steps, MALFORMED)
    ended = headers(1, block([("x-test", "ok")]), end=True)
    yield Case("8.1 trailers without a body", (post, ended), OK)
    parts = headers(1, b"", end=True, end_headers=False) + continuation(1, block([("x", "y")]))
    yield Case("8.1 trailers in CONTINUATION", (post, test, parts), OK)
    yield Case("8.1 empty trailers", (post, test, headers(1, b"", end=True)), OK)
    yield Case("8.1 an empty header block", (headers(1, b"", end=True),), MALFORMED)

    def head_has_no_body(client: Http2Client) -> None:
        response = client.request("HEAD", "/")
        assert (response.status, response.body) == (200, b"")
        assert response.header("content-length") == "5"

    yield Case("8.1 no DATA on HEAD", (head_has_no_body,), IGNORED)

    def crossing(client: Http2Client) -> None:
        """A long upload is answered when it ends; three others are answered meanwhile."""
        upload = client.open("POST", "/echo", end=False)
        client.send_body(upload, b"a" * 50_000, end=False)
        for _ in range(3):
            assert client.request("GET", "/").body == b"Hello"
        client.send_body(upload, b"b" * 50_000)
        assert client.response(upload).body == b"a" * 50_000 + b"b" * 50_000

    yield Case("8.1 exchanges side by side", (crossing,), IGNORED)

    def hundred(client: Http2Client) -> None:
        client.send(b"".join(r.get(stream) for stream in range(1, 101, 2)))
        for stream in range(1, 101, 2):
            assert client.response(stream).body == b"Hello"

    yield Case("8.1 fifty requests in one segment", (hundred,), IGNORED)

    def early(client: Http2Client) -> None:
        """An answer before the body has come: what is on its way is no error."""
        stream = client.open("POST", "/early", end=False)
        client.send(data(stream, b"x" * 100))
        assert client.response(stream).body == b"Hello"
        client.send(data(stream, b"x" * 100), data(stream, end=True))
        client.sync()
        assert client.request("GET", "/").body == b"Hello"

    yield Case("8.1 an answer before the end of the request", (early,), IGNORED)

    def waits(client: Http2Client) -> None:
        stream = client.open("POST", "/echo", ("expect", "100-continue"), end=False)
        client.until(Type.HEADERS)
        assert [status for status, _ in client.streams[stream].interim] == [100]
        client.send_body(stream, b"now")
        assert client.response(stream).body == b"now"

    yield Case("RFC 9110 10.1.1 an expectation is met", (waits,), IGNORED)


def bodies(r: Requests) -> Iterator[Case]:
    """8.1.1: Content-Length against DATA."""

    def declared(value: str, *parts: bytes) -> tuple[Step, ...]:
        head = r.post(1, "/", ("content-length", value))
        body = [data(1, part, end=part is parts[-1]) for part in parts]
        return (head + b"".join(body),)

    def ended(value: str) -> tuple[Step, ...]:
        return (headers(1, r.block("/", ("content-length", value), method="POST"), end=True),)

    yield Case("8.1.2.6/1 Content-Length against one DATA", declared("1", b"test"), MALFORMED)
    yield Case("8.1.2.6/2 and against two", declared("1", b"te", b"st"), MALFORMED)
    yield Case("8.1.1 less than declared", declared("5", b"test"), MALFORMED)
    yield Case("8.1.1 less than declared, in two", declared("5", b"te", b"st"), MALFORMED)
    yield Case("8.1.1 declared, but no body", ended("4"), MALFORMED)
    yield Case("8.1.1 a length of 0 and no body", ended("0"), OK)
    yield Case("8.1.1 a length of 0 and empty DATA", declared("0", b""), OK)
    yield Case("8.1.1 a length of 0 and a body", declared("0", b"x"), MALFORMED)
    yield Case("8.1.1 as much as declared", declared("4", b"te", b"", b"st"), OK)
    part = headers(1, block([("x-test", "ok")]), end=True)
    steps = (r.post(1, "/", ("content-length", "4")) + data(1, b"te") + part,)
    yield Case("8.1.1 less than declared, then trailers", steps, MALFORMED)
    steps = (r.post(1, "/", ("content-length", "4")) + data(1, b"test") + part,)
    yield Case("8.1.1 as much as declared, then trailers", steps, OK)
    steps = (r.post(1, "/", ("content-length", "4")) + data(1, b"test", pad=9, end=True),)
    yield Case("8.1.1 padding is not counted", steps, OK)
    for value in ("", "x", "+4", "-4", "4.0", "0x4", "4 4", "4,4", "4, 5", "\xb2", "9" * 30):
        yield Case(f"8.1.1 a length of {value!a}", declared(value, b"test"), REFUSED)
    twice = [("content-length", "4"), ("content-length", "5")]
    steps = (r.post(1, "/", *twice) + data(1, b"test", end=True),)
    yield Case("8.1.1 two lengths", steps, REFUSED)
    same = [("content-length", "4")] * 2
    steps = (r.post(1, "/", *same) + data(1, b"test", end=True),)
    yield Case("8.1.1 a length twice", steps, REFUSED | OK)
    # Too much while the application does not read: judged as it arrives, not as it is read.
    steps = (r.post(1, "/deaf", ("content-length", "1")) + data(1, b"xx"),)
    yield Case("8.1.1 too much, and nobody reads", steps, MALFORMED)

    def over_the_limit(client: Http2Client) -> None:
        """10.5.1: a head larger than the server's limit; HPACK's state is kept."""
        limit = client.peer[Setting.MAX_HEADER_LIST_SIZE]
        large = r.block("/", *((f"x-{number}", "v" * 4000) for number in range(limit // 4000 + 1)))
        cuts = range(0, len(large), 16384)
        client.send(
            *(
                headers(1, large[at : at + 16384], end=True, end_headers=at == cuts[-1])
                if not at
                else continuation(1, large[at : at + 16384], end_headers=at == cuts[-1])
                for at in cuts
            )
        )

    outcomes = refused(431) | fails(ErrorCode.ENHANCE_YOUR_CALM, ErrorCode.REFUSED_STREAM)
    yield Case("10.5.1 a head above MAX_HEADER_LIST_SIZE", (over_the_limit,), outcomes)


def connects(r: Requests) -> Iterator[Case]:
    """8.5 CONNECT, and RFC 8441's."""
    _, scheme, path, authority = r.fields()
    connect, protocol = (":method", "CONNECT"), (":protocol", "websocket")
    no = refused(400, 403, 404, 405, 501)

    def case(name: str, *pairs: Pair, outcomes: Outcomes = REFUSED) -> Case:
        return Case(name, (headers(1, block(pairs)),), outcomes)

    yield case("8.5 CONNECT, which is no proxy's business here", connect, authority, outcomes=no)
    yield case("8.5 CONNECT with :path", connect, authority, path, outcomes=no | MALFORMED)
    yield case("8.5 CONNECT with :scheme", connect, authority, scheme, outcomes=no | MALFORMED)
    yield case("8.5 CONNECT without :authority", connect, outcomes=no | MALFORMED)

    def offered(client: Http2Client) -> None:
        assert client.peer[Setting.ENABLE_CONNECT_PROTOCOL] == 1

    yield Case("RFC 8441 3 the setting is sent", (offered,), IGNORED)
    get = (":method", "GET")
    yield case("RFC 8441 4 :protocol with GET", get, protocol, scheme, path, authority)
    yield case("RFC 8441 4 :protocol without :path", connect, protocol, scheme, authority)
    yield case("RFC 8441 4 :protocol without :scheme", connect, protocol, path, authority)
    yield case("RFC 8441 4 :protocol without :authority", connect, protocol, scheme, path)
    twice = (connect, protocol, protocol, scheme, path, authority)
    yield case("RFC 8441 4 :protocol twice", *twice)
    other = (connect, (":protocol", "gopher"), scheme, path, authority)
    yield case("RFC 8441 4 a protocol nobody speaks", *other, outcomes=no)
    empty = (connect, (":protocol", ""), scheme, path, authority)
    yield case("RFC 8441 4 an empty :protocol", *empty, outcomes=no)
