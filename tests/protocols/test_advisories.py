"""The advisories of other servers about HTTP/1.1 messages, each as the test that would catch it.

Beside this module: test_advisories_http2.py, test_advisories_application.py (what an application
sends, WebSocket, logs), tests/e2e/test_advisories.py (processes). THREAT_MODEL.md has the table of
all of them. Most of these inputs are in tests/corpus again.
"""

from __future__ import annotations

import ast
import gzip
import socket
from importlib.metadata import version
from io import BytesIO
from itertools import product
from pathlib import Path
from time import process_time

import pytest

import gateway
from gateway.exchange import Exchange
from gateway.interfaces.environ import EnvironBuilder
from gateway.interfaces.wsgi_errors import ErrorStream
from gateway.protocols.context import HeadParser

from .harness import PARSERS, Conversation

pytestmark = pytest.mark.parametrize("parser", PARSERS)

NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"


def post(*fields: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"POST / HTTP/1.1", b"Host: a", *fields, b"", body])


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=body)


REFUSED: dict[str, list[bytes]] = {
    "CVE-2019-16785 waitress: a bare LF ends a line": [
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
    ],
    "CVE-2019-16786 waitress: only an exact chunked is known": [
        post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
        post(b"Transfer-Encoding: x", b"Content-Length: 5", body=b"hello"),
    ],
    "CVE-2019-16789 waitress: odd white space in Transfer-Encoding": [
        post(field.replace(b"@", space), b"Content-Length: 5", body=b"0\r\n\r\n")
        for space in (b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\x1f", b"\x85", b"\xa0",
                      b"\x00", b"\x01", b"\x7f", b"\r", b"\n")
        for field in (b"@Transfer-Encoding: chunked", b"Transfer-Encoding@: chunked",
                      b"Transfer-Encoding:@chunked", b"Transfer-Encoding: @chunked",
                      b"Transfer-Encoding: chunked@", b"Transfer-Encoding: chunk@ed",
                      b"X: y@Transfer-Encoding: chunked", b"X: y\r\n@Transfer-Encoding: chunked",
                      b"Transfer-@Encoding: chunked", b"Transfer-Encoding: chunked, @x")
        if not (field.startswith(b"X: y@") and space in b"\x85\xa0")  # obs-text, and legal
    ],
    "CVE-2019-16792 waitress: Content-Length twice": [
        post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
        post(b"Content-Length: 5", b"Content-Length: 0", body=b"hello"),
    ],
    "CVE-2020-5236 waitress: a bad byte behind 64 KiB": [
        post(b"X: " + b"x" * 60_000 + b"\x10"),
    ],
    "CVE-2022-24761 waitress, CVE-2022-24801 Twisted: numbers as int() reads them": [
        *(post(b"Content-Length: " + number, body=b"hello")
          for number in (b"+5", b"-0", b"0x5", b"5_0", b"5.", b"5e0", b"\xef\xbc\x95", b"\xb2")),
        *(chunked(number + b"\r\nhello\r\n0\r\n\r\n")
          for number in (b"+5", b"-0", b"0x5", b"5_0", b"\xef\xbc\x95", b" 5", b"5 ", b"5;\x01")),
    ],
    "gunicorn 19.10: Content-Length and Transfer-Encoding together": [
        post(*pair, body=b"0\r\n\r\n")
        for first, second in product(
            (b"Content-Length: 5", b"Content-Length: 0", b"content-length: 5", b"Content-Length:"),
            (b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity",
             b"transfer-encoding: CHUNKED", b"Transfer-Encoding: gzip, chunked"),
        )
        for pair in ((first, second), (second, first))
    ],
    "CVE-2024-1135 gunicorn: several Transfer-Encoding": [
        post(b"Transfer-Encoding: " + first, b"Transfer-Encoding: " + second, body=b"0\r\n\r\n")
        for first, second in product((b"chunked", b"identity", b"gzip"), repeat=2)
    ],
    "CVE-2024-6827 gunicorn: an unknown coding falls back to the length": [
        post(b"Transfer-Encoding: xchunked", b"Content-Length: 5", body=b"hello"),
        post(b"Transfer-Encoding: chunkedx", b"Content-Length: 5", body=b"hello"),
    ],
    "gunicorn 22 to 27: the notes": [
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        post(b": empty name"),
        post(b"Content-Length: 5, 5", body=b"hello"),
        b"GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
        chunked(b"5;" + b"x" * 100_000),
    ],
    "CVE-2025-43859 h11: two bytes behind a chunk": [
        chunked(b"5\r\nhelloXX0\r\n\r\n"),
        chunked(b"5\r\nhello\n\n0\r\n\r\n"),
    ],
    "httptools 142, 144: a long target is cut": [
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    "CVE-2018-12121 http-parser: a megabyte of head": [post(b"X: " + b"x" * 1_000_000)],
    "CVE-2018-7159 http-parser: spaces in a length": [post(b"Content-Length: 4 2", body=b"hello")],
    "CVE-2019-15605 http-parser: a malformed chunked": [
        post(b"Transfer-Encoding: chunked\x0b", body=b"0\r\n\r\n"),
        post(b"Transfer-Encoding: chunked,\x0bx", body=b"0\r\n\r\n"),
    ],
    "CVE-2020-10108, CVE-2020-10109 Twisted: two lengths, a length and a coding": [
        post(b"Content-Length: 1", b"Content-Length: 11", body=b"0\r\n\r\nGET / "),
        post(b"Content-Length: 11", b"Transfer-Encoding: chunked", body=b"0\r\n\r\nGET / "),
    ],
    "CVE-2021-22959 llhttp: a space before the colon": [
        post(b"Content-Length : 5", body=b"hello"),
    ],
    "CVE-2021-22960 llhttp: white space in a chunk extension": [
        chunked(b"5 ;a\r\nhello\r\n0\r\n\r\n"),
        chunked(b"5; a\r\nhello\r\n0\r\n\r\n"),
    ],
    "CVE-2022-32213 llhttp: chunked is not the last coding": [
        post(b"Transfer-Encoding: chunked, x", body=b"0\r\n\r\n"),
    ],
    "CVE-2022-32214 llhttp: LF alone": [
        post(b"X: y\nTransfer-Encoding: chunked", body=b"0\r\n\r\n"),
    ],
    "CVE-2022-32215 llhttp: Transfer-Encoding on several lines": [
        post(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n"),
        post(b"Transfer-Encoding: x\r\n , chunked", body=b"0\r\n\r\n"),
    ],
    "CVE-2022-35256 llhttp: a line not ended by CRLF": [
        post(b"X: y\rTransfer-Encoding: chunked", body=b"0\r\n\r\n"),
        post(b"Transfer-Encoding: chunked\r", body=b"0\r\n\r\n"),
    ],
    "CVE-2023-30589 llhttp: a lone CR ends a line": [post(b"A: b\rC: d")],
    "CVE-2024-27982 llhttp: Content-Length behind a fold": [
        post(b"A: b\r\n Content-Length: 5", body=b"hello"),
        post(b" Content-Length: 5", body=b"hello"),
    ],
    "CVE-2025-23167 llhttp: CRLF CR X ends the head": [
        b"GET / HTTP/1.1\r\nHost: a\r\n\rXGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    "CVE-2023-47627 aiohttp: three faults": [
        post(b"Content-Length: 0_5", body=b"hello"),
        post(b"X: a\x00b"),
        post(b"X : a"),
    ],
    "CVE-2023-47641 aiohttp: Content-Length and Transfer-Encoding": [
        post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    ],
    "CVE-2024-52304 aiohttp: LF in a chunk extension": [chunked(b"5;a\nb\r\nhello\r\n0\r\n\r\n")],
    "CVE-2025-69224, CVE-2025-69225 aiohttp: digits of other scripts": [
        post(b"Content-Length: \xef\xbc\x95", body=b"hello"),
        post("Content-Length: ٥".encode(), body=b"hello"),
        chunked("٥\r\nhello\r\n0\r\n\r\n".encode()),
    ],
    "CVE-2026-34520 aiohttp: control bytes in a field": [
        post(b"X: a" + bytes([byte]) + b"b") for byte in (*range(9), *range(10, 32), 127)
    ],
    "CVE-2026-34525 aiohttp: two Host": [post(b"Host: b"), post(b"Host: a")],
    "CVE-2026-22815 aiohttp: trailers without end": [
        chunked(b"0\r\n" + b"X: y\r\n" * 100_000),
        chunked(b"0\r\n" + b"X: y\r\n" * 101 + b"\r\n"),
    ],
    "CVE-2026-48710 Starlette: a Host that moves the path": [
        b"GET / HTTP/1.1\r\nHost: example.com" + tail + b"\r\n\r\n"
        for tail in (b"/?", b"?", b"#", b"/x", b"\\x", b"@evil", b" evil", b",evil")
    ],
    "CVE-2026-44546 daphne: what str.splitlines takes for the end of a line": [
        post(b"X: y" + byte + b"Z: 1") for byte in (b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e")
    ],
    "CVE-2026-54273 to CVE-2026-54280 aiohttp: limits of a line, of a chunk's size line": [
        b"GET /" + b"a" * 70_000,
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 70_000,
        chunked(b"5;" + b"a" * 2000),
        chunked(b"1;aaaaaaaa\r\nx\r\n" * 3000),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_once_and_nothing_behind_it(parser: type[HeadParser], name: str) -> None:
    for data in REFUSED[name]:
        for segments in ((data + NEXT,), (data, NEXT)):
            talk = Conversation(parser)
            talk.feed(*segments)
            outcome = talk.outcome()
            assert len(outcome.statuses) == 1, data[:200]
            assert outcome.statuses[0] in {400, 414, 431, 501}, data[:200]
            assert outcome.requests == ()
            assert outcome.state == "closed"


def test_gunicorn_3711_an_upgrade_does_not_lose_the_body(parser: type[HeadParser]) -> None:
    talk = Conversation(parser)
    upgrade = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAA")
    talk.feed(post(*upgrade, b"Content-Length: 7", body=b"hello=1") + NEXT)
    assert [request.body for request in talk.requests] == [b"hello=1", b""]


def test_gunicorn_3382_a_truncated_chunked_body_is_no_body(parser: type[HeadParser]) -> None:
    talk = Conversation(parser)
    talk.feed(chunked(b"5\r\nhello\r\n"))
    talk.eof()
    assert talk.requests == []
    assert talk.exchanges[0].gone


def test_cve_2019_15606_white_space_around_a_value_is_no_part_of_it(
    parser: type[HeadParser],
) -> None:
    talk = Conversation(parser)
    talk.feed(post(b"Transfer-Encoding: \tchunked \t", b"X:\ty\t", body=b"2\r\nhi\r\n0\r\n\r\n"))
    assert talk.requests[0].body == b"hi"
    assert talk.requests[0].header(b"x") == b"y"


def test_cve_2023_37276_llhttp_is_not_an_old_one(parser: type[HeadParser]) -> None:
    """aiohttp shipped a stale copy; here httptools' release says which llhttp it holds."""
    assert tuple(map(int, version("httptools").split(".")[:2])) >= (0, 7)
    assert tuple(map(int, version("h11").split(".")[:2])) >= (0, 16)


def test_cve_2021_21419_2023_41419_2025_53643_2025_58068_trailers_are_no_fields(
    parser: type[HeadParser],
) -> None:
    talk = Conversation(parser)
    trailers = b"Host: evil\r\nContent-Length: 30\r\nX-Forwarded-For: 6.6.6.6\r\n"
    talk.feed(chunked(b"2\r\nhi\r\n0\r\n" + trailers + b"\r\n") + NEXT)
    first, second = talk.requests
    assert first.headers == ((b"host", b"a"), (b"transfer-encoding", b"chunked"))
    assert first.body == b"hi"
    assert (second.target, second.headers) == (b"/next", ((b"host", b"a"),))


def test_cve_2022_29361_an_unread_body_is_not_the_next_request(parser: type[HeadParser]) -> None:
    talk = Conversation(parser, lambda exchange: exchange.start(200, [], b"unread"))
    talk.feed(post(b"Content-Length: %d" % len(NEXT), body=NEXT))
    assert len(talk.exchanges) == 1
    assert len(talk.responses()) == 1


def test_cve_2023_46137_2024_41671_responses_keep_their_order(parser: type[HeadParser]) -> None:
    waiting: list[Exchange] = []
    talk = Conversation(parser, waiting.append)
    talk.feed(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" + NEXT)
    assert [exchange.head.path for exchange in waiting] == ["/slow"]
    waiting[0].start(200, [], b"slow")
    waiting[1].start(200, [], b"fast")
    assert [response.body for response in talk.responses()] == [b"slow", b"fast"]


def test_cve_2024_49768_nothing_is_read_behind_an_error(parser: type[HeadParser]) -> None:
    talk = Conversation(parser)
    talk.feed(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n" + NEXT * 10, NEXT)
    assert talk.exchanges == []
    assert [response.status for response in talk.responses()] == [400]


def test_cve_2025_47287_2025_69230_a_bad_request_is_one_line_of_log(
    parser: type[HeadParser], caplog: pytest.LogCaptureFixture
) -> None:
    talk = Conversation(parser)
    talk.feed(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"\x1b[2J\nevil: x\r\n" * 1000 + b"\r\n", NEXT)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 1
    assert messages[0].isprintable()
    assert len(messages[0]) < 200
    assert "evil" not in messages[0]


def test_cve_2025_69223_a_request_body_is_never_inflated(parser: type[HeadParser]) -> None:
    bomb = gzip.compress(b"\0" * 1_000_000)
    talk = Conversation(parser)
    talk.feed(post(b"Content-Encoding: gzip", b"Content-Length: %d" % len(bomb), body=bomb))
    assert talk.requests[0].body == bomb


def test_cve_2025_69227_nothing_rests_on_assertions(parser: type[HeadParser]) -> None:
    """python -O takes them away."""
    home = Path(gateway.__file__).parent
    for path in (home / "exchange.py", home / "fields.py", *(home / "protocols").glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)], path


def test_cve_2022_39348_2024_41810_a_refusal_is_plain_text_and_echoes_nothing(
    parser: type[HeadParser],
) -> None:
    talk = Conversation(parser)
    talk.feed(b"GET /<script> HTTP/1.1\r\nHost: <script>\r\n\r\n")
    response = talk.responses()[0]
    assert response.header(b"content-type") == b"text/plain; charset=utf-8"
    assert b"script" not in talk.output


def test_cve_2020_35681_requests_share_nothing_mutable(parser: type[HeadParser]) -> None:
    talk = Conversation(parser)
    talk.feed(NEXT * 50)
    assert len({id(exchange.head) for exchange in talk.exchanges}) == 50
    assert len({id(exchange.head.headers) for exchange in talk.exchanges}) == 50


def test_cve_2026_54273_to_2026_54280_pipelined_requests_are_not_queued(
    parser: type[HeadParser],
) -> None:
    """aiohttp kept all of them; here what is not its turn stays in the socket."""
    waiting: list[Exchange] = []
    talk = Conversation(parser, waiting.append)
    for _ in range(100):
        talk.feed(NEXT * 1000)
    assert len(waiting) == 1
    assert talk.unread > 90 * 1000 * len(NEXT)


def test_cve_2026_54273_to_2026_54280_a_body_ends_with_its_connection(
    parser: type[HeadParser],
) -> None:
    waiting: list[Exchange] = []
    talk = Conversation(parser, waiting.append)
    talk.feed(post(b"Content-Length: 10", body=b"hello"))
    talk.lose()
    assert waiting[0].gone
    assert waiting[0].read() == b""


def test_cve_2025_69229_a_body_of_tiny_chunks_is_linear(parser: type[HeadParser]) -> None:
    """Also uvicorn before 0.42 and gunicorn before 27."""
    spent = []
    for count in (50_000, 200_000):
        talk = Conversation(parser)
        data = chunked(b"1\r\nx\r\n" * count + b"0\r\n\r\n")
        began = process_time()
        talk.feed(*(data[at : at + 4000] for at in range(0, len(data), 4000)))
        spent.append(process_time() - began)
        assert len(talk.requests[0].body) == count
    assert spent[1] < 12 * spent[0]  # four times the work; quadratic would be sixteen


def test_aiohttp_3_14_no_name_is_looked_up_on_the_way_of_a_request(
    parser: type[HeadParser], monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(*_: object) -> None:
        raise AssertionError("a name was looked up")

    for name in ("getfqdn", "gethostname", "gethostbyname", "gethostbyaddr", "getaddrinfo"):
        monkeypatch.setattr(socket, name, look_up)
    talk = Conversation(parser)
    talk.feed(b"GET / HTTP/1.0\r\n\r\n")
    environ = environ_of(talk.exchanges[0])
    assert environ["SERVER_NAME"] == "127.0.0.1"


def test_gunicorn_26_2_0_underscores_do_not_reach_an_environ(parser: type[HeadParser]) -> None:
    """Nor what names a variable of the server. The same over HTTP/2: test_advisories_http2.py."""
    talk = Conversation(parser)
    talk.feed(
        post(
            b"X-Forwarded-For: 192.0.2.1", b"X_Forwarded_For: 6.6.6.6", b"Script_Name: /evil",
            b"Content_Length: 7", b"Remote_Addr: 6.6.6.6", b"Proxy: http://evil",
        )
    )  # fmt: skip
    environ = environ_of(talk.exchanges[0])
    assert environ["HTTP_X_FORWARDED_FOR"] == "192.0.2.1"
    assert (environ["SCRIPT_NAME"], environ["REMOTE_ADDR"]) == ("", "203.0.113.7")
    assert not {"HTTP_PROXY", "CONTENT_LENGTH", "HTTP_SCRIPT_NAME"} & set(environ)


def environ_of(exchange: Exchange) -> dict[str, object]:
    builder = EnvironBuilder(
        multithread=False, multiprocess=False, errors=ErrorStream(), file_wrapper=list
    )
    return builder.build(exchange.head, BytesIO(), None, bool, lambda hints: None)
