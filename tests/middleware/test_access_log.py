from __future__ import annotations

import json
import logging
import os
import re
from base64 import b64encode

import pytest
from fakes import exchange, head
from hypothesis import given, settings
from hypothesis import strategies as st
from websocket.fakes import TunnelWire

from gateway.errors import ConfigError
from gateway.exchange import Exchange
from gateway.middleware.access_atoms import ATOMS
from gateway.middleware.access_format import PRESETS, compile_format
from gateway.middleware.access_log import access_log, access_records
from gateway.middleware.proxy_headers import proxy_headers
from gateway.middleware.trusted_peers import TrustedPeers

FORMATS = [*PRESETS, "json"]


def answer(request: Exchange) -> None:
    request.start(200, [(b"content-type", b"text/html")], b"x" * 1234)


def logged(request: Exchange, layout: str = "default", app=answer, **options) -> list[str]:
    lines: list[str] = []
    access_log(app, lines.append, format=layout, **options)(request)
    return lines


def line(layout: str, *args, app=answer, **facts) -> str:
    (only,) = logged(exchange(head(*args, **facts)), layout, app)
    return only


# --- presets -------------------------------------------------------------------------------------


def test_default_tells_client_request_status_bytes_and_duration():
    text = line("default", "GET", "/path?q=1", client=("127.0.0.1", 51234))

    assert re.fullmatch(
        r'127\.0\.0\.1:51234 - "GET /path\?q=1 HTTP/1\.1" 200 OK 1234B \d+\.\dms', text
    )


@pytest.mark.parametrize(
    ("client", "text"),
    [
        (("::1", 80), "[::1]:80"),
        (("203.0.113.9", 0), "203.0.113.9"),
        (None, "unix"),
    ],
)
def test_default_writes_any_client(client, text):
    assert line("default", client=client).startswith(f'{text} - "GET')


def test_combined_is_what_log_readers_expect():
    text = line(
        "combined",
        "GET",
        "/x",
        headers=[
            (b"referer", b"http://r/"),
            (b"user-agent", b"curl/8"),
            (b"authorization", b"Basic " + b64encode(b"ann:secret")),
        ],
    )

    assert re.fullmatch(
        r"127\.0\.0\.1 - ann \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "
        r'"GET /x HTTP/1\.1" 200 1234 "http://r/" "curl/8"',
        text,
    )


def test_common_writes_a_dash_for_what_is_missing():
    text = line("common", client=None, app=lambda request: request.start(204, []))

    assert text.startswith("- - - [")
    assert text.endswith('"GET / HTTP/1.1" 204 -')


def test_json_is_one_object_with_the_facts():
    text = line("json", "POST", "/caf%C3%A9?a=1", headers=[(b"user-agent", b'say "hi"\\')])

    facts = json.loads(text)
    assert facts["path"] == "/café"
    assert facts["query"] == "a=1"
    assert facts["user_agent"] == 'say "hi"\\'
    assert facts["referer"] is None
    assert facts["mount"] is None
    assert (facts["status"], facts["bytes"], facts["bytes_in"]) == (200, 1234, 0)
    assert facts["client_gone"] is False
    assert facts["queue_ms"] is None
    assert facts["duration_ms"] >= 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", facts["ts"])


@pytest.mark.parametrize(
    ("variable", "atom", "value"), [("3", "3", 3), ("", "-", None), ("three", "-", None)]
)
def test_a_worker_tells_its_index(monkeypatch, variable, atom, value):
    monkeypatch.setenv("GATEWAY_WORKER_ID", variable)

    assert line("%(worker)s") == atom
    assert json.loads(line("json"))["worker"] == value


@pytest.mark.parametrize("color", [True, False])
def test_dev_is_colored_if_asked(color):
    (text,) = logged(exchange(), "dev", color=color)

    assert text.startswith("\x1b[32m200\x1b[0m GET / " if color else "200 GET / ")


# --- WebSocket -----------------------------------------------------------------------------------


class Talk:
    """A tunnel of two messages in, three out; refused with `status` if that is not 101."""

    messages_received = 2
    messages_sent = 3

    def __init__(self, status: int = 101) -> None:
        self._status = status

    def __call__(self, request: Exchange) -> None:
        request.tunnel = self
        if self._status != 101:
            request.refuse(self._status, "no")
            return
        request.open_tunnel(101, [])
        request.body_received(b"x" * 40)
        request.write(b"y" * 50, False)

    def on_deadline(self) -> None: ...
    def on_shutdown(self) -> None: ...


def talk(layout: str, status: int = 101) -> str:
    request = exchange(head("GET", "/chat", client=("127.0.0.1", 51234)), TunnelWire())
    (only,) = logged(request, layout, Talk(status))
    return only


def test_default_tells_messages_and_bytes_of_a_websocket_at_its_end():
    assert re.fullmatch(
        r'127\.0\.0\.1:51234 - "GET /chat HTTP/1\.1" 101 Switching Protocols 50B \d+\.\dms'
        r", in 2/40B, out 3/50B",
        talk("default"),
    )


def test_dev_tells_messages_and_bytes_of_a_websocket():
    assert talk("dev").endswith("ms, in 2/40B, out 3/50B")


def test_json_has_the_messages_of_a_websocket():
    facts = json.loads(talk("json"))
    assert (facts["status"], facts["messages_in"], facts["messages_out"]) == (101, 2, 3)
    assert (facts["bytes_in"], facts["bytes"]) == (40, 50)
    assert json.loads(line("json"))["messages_in"] is None


@pytest.mark.parametrize(
    ("layout", "opened", "refused"),
    [
        ("%(ws_in)s %(ws_out)s", "2 3", "- -"),
        ("%(I)s %(B)s", "40 50", "0 3"),
        ("<%(ws)s>", "<, in 2/40B, out 3/50B>", "<>"),
    ],
)
def test_a_refused_websocket_is_a_plain_request(layout, opened, refused):
    assert talk(layout) == opened
    assert talk(layout, status=403) == refused


def test_a_record_has_the_messages_of_a_websocket():
    request = exchange(head(), TunnelWire())
    record = record_of(request, app=Talk())
    assert (record.status, record.messages_in, record.messages_out) == (101, 2, 3)
    assert (record.bytes_in, record.bytes) == (40, 50)


# --- atoms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("%(m)s %(U)s %(q)s %(H)s", "GET /a b x=%20 HTTP/1.1"),
        ("%(r)s", "GET /a%20b?x=%20 HTTP/1.1"),
        ("%(s)s %(s)d %(s)5d|%(B)s %(b)s %(I)s", "200 200   200|1234 1234 0"),
        ("%({X-Thing}i)s %({content-type}o)s %({nothing}i)s", "yes text/html -"),
        ("%({REQUEST_METHOD}e)s %({http_x_thing}e)s", "GET yes"),
        ("%({GATEWAY_TEST_VARIABLE}e)s %({NO_SUCH_VARIABLE}e)s", "from the environment -"),
        ("100%% %(l)s", "100% -"),
        ("%(scheme)s %(mount)s", "http -"),
        ("%(queue)s", "-"),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_atoms(layout, expected, monkeypatch):
    monkeypatch.setenv("GATEWAY_TEST_VARIABLE", "from the environment")

    assert line(layout, "GET", "/a%20b?x=%20", headers=[(b"x-thing", b"yes")]) == expected


def test_the_process_atom():
    assert line("%(p)s") == f"<{os.getpid()}>"


def test_times_agree():
    request = exchange()
    request.started_at -= 1.5
    (text,) = logged(request, "%(T)s %(M)s %(D)s %(L)s %(ms).1f")

    seconds, milliseconds, microseconds, decimal, fraction = text.split()
    assert seconds == "1"
    assert 1500 <= int(milliseconds) < 2500
    assert 1_500_000 <= int(microseconds) < 2_500_000
    assert 1.5 <= float(decimal) < 2.5
    assert re.fullmatch(r"\d\.\d{6}", decimal)
    assert 1500 <= float(fraction) < 2500


@pytest.mark.parametrize("name", ATOMS)
def test_every_atom_renders(name):
    assert isinstance(line(f"%({name})s"), str)


@pytest.mark.parametrize(
    "value", [b"Bearer x", b"Basic", b"Basic !!!", b"Basic " + b64encode(b"nocolon"), b"\xff"]
)
def test_user_is_a_dash_without_basic_credentials(value):
    assert line("%(u)s", headers=[(b"authorization", value)]) == "-"


@pytest.mark.parametrize(
    ("layout", "named"),
    [
        ("%(z)s", "'z'"),
        ("%({x}z)s", "'{x}z'"),
        ("%(h)d", "h is text"),
        ("%(t)d", "t is text"),
        ("50% of", "'% of'"),
        ("%(s)", "'%(s)'"),
        ("%s", "'%s'"),
        ("a\nb", "one line"),
    ],
)
def test_a_wrong_format_is_refused_by_name(layout, named):
    with pytest.raises(ConfigError) as caught:
        compile_format(layout)

    assert named in str(caught.value)


def test_an_unknown_atom_comes_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"known are h addr l u t .*\n  presets: default common"):
        compile_format("%(x)s")


# --- one line per exchange, however it ends ------------------------------------------------------


def test_the_line_is_written_when_the_exchange_ends_not_before():
    lines: list[str] = []
    request = exchange()
    access_log(lambda e: e.start(200, [], b"a", more=True), lines.append, format="%(B)s")(request)
    assert lines == []

    request.write(b"bc", more=False)
    request.lost()

    assert lines == ["3"]


def test_client_gone_before_the_response_is_499():
    text = logged(exchange(), app=lambda request: request.lost())[0]

    assert re.search(r'" 499 Client Closed Request 0B \d+\.\dms, client gone$', text)


def test_client_gone_within_the_response_keeps_its_status_and_says_so():
    def app(request: Exchange) -> None:
        request.start(200, [], b"abc", more=True)
        request.lost()

    (text,) = logged(exchange(), app=app)
    facts = json.loads(logged(exchange(), "json", app=app)[0])

    assert re.search(r'" 200 OK 3B \d+\.\dms, client gone$', text)
    assert (facts["status"], facts["client_gone"]) == (200, True)


def test_cut_before_the_response_is_444():
    assert line("%(s)s", app=lambda request: request.abort()) == "444"


def test_refusal_and_failure_are_logged():
    assert line("%(s)s", app=lambda request: request.refuse(404, "no")) == "404"
    assert line("%(status)s", app=lambda request: request.fail()) == "500 Internal Server Error"


def test_a_status_without_a_phrase_is_its_number():
    assert line("%(status)s", app=lambda request: request.start(599, [])) == "599"


def test_the_client_is_the_one_that_handlers_behind_the_log_found():
    request = exchange(head(headers=[(b"x-forwarded-for", b"203.0.113.9")]))

    lines = logged(request, "%(h)s", app=proxy_headers(answer, TrustedPeers(["127.0.0.1"])))

    assert lines == ["203.0.113.9"]


# --- nothing of the client breaks a line (CVE-2020-7694) -----------------------------------------

HOSTILE = '\x1b[2J\r\nGET /fake\x00\x7f\x85\x9b"\\'


@pytest.mark.parametrize("layout", FORMATS)
def test_control_characters_and_quotes_are_escaped(layout):
    request = exchange(
        head(
            "GET",
            '/%1b[2J%0d%0a"\\',
            headers=[
                (b"user-agent", HOSTILE.encode("latin-1")),
                (b"referer", HOSTILE.encode("latin-1")),
                (b"authorization", b"Basic " + b64encode(HOSTILE.encode() + b":x")),
                (b"host", HOSTILE.encode("latin-1")),
            ],
        )
    )
    request.head.target = b"/" + HOSTILE.encode("latin-1")

    (text,) = logged(request, layout)

    assert text.isprintable()
    if layout == "json":
        assert json.loads(text)["user_agent"] == HOSTILE
    else:
        assert len(re.findall(r'(?<!\\)"', text.replace("\\\\", ""))) % 2 == 0


ALL = (
    " ".join(f"%({name})s" for name in ATOMS) + " %({x}i)s %({x}o)s %({HTTP_X}e)s %({PATH_INFO}e)s"
)


@settings(max_examples=40)
@given(raw=st.binary(max_size=40), path=st.text(max_size=20), host=st.text(max_size=10))
@pytest.mark.parametrize("layout", [*FORMATS, ALL])
def test_any_request_makes_one_printable_line(layout, raw, path, host):
    request = exchange(head(headers=[(name, raw) for name in (b"x", b"referer", b"user-agent")]))
    request.head.target = request.head.query = raw
    request.head.path = path
    request.head.client = (host, 1)

    (text,) = logged(request, layout)

    assert text.isprintable()


# --- through logging -----------------------------------------------------------------------------


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def detached(level: int) -> logging.Logger:
    """A logger that nothing else knows."""
    return logging.Logger("gateway.access.test", level)  # noqa: LOG001


def record_of(request: Exchange, app=answer, **options) -> logging.LogRecord:
    logger = detached(logging.INFO)
    records = Records()
    logger.addHandler(records)
    access_records(app, logger, **options)(request)
    (record,) = records.records
    return record


def test_a_record_has_the_arguments_uvicorns_formatter_takes_apart():
    record = record_of(exchange(head("GET", "/x?q", client=("127.0.0.1", 1))))

    assert record.getMessage() == '127.0.0.1:1 - "GET /x?q HTTP/1.1" 200'
    client, method, path, version, status = record.args
    assert (client, method, path, version, status) == ("127.0.0.1:1", "GET", "/x?q", "1.1", 200)


def test_a_record_has_the_facts_as_attributes():
    record = record_of(exchange(head("GET", "/x?q", client=("127.0.0.1", 1))))

    assert (record.method, record.path, record.status) == ("GET", "/x?q", 200)
    assert (record.bytes, record.client, record.mount) == (1234, "127.0.0.1:1", "")
    assert record.duration_ms >= 0


def test_a_record_of_another_format_is_the_line():
    assert record_of(exchange(), format="%(m)s 100%%").getMessage() == "GET 100%"


def test_a_record_is_escaped():
    request = exchange()
    request.head.target = b"/" + HOSTILE.encode("latin-1")

    assert record_of(request).getMessage().isprintable()


def test_a_failing_filter_does_not_reach_the_request():
    def fail(_: logging.LogRecord) -> bool:
        raise ValueError("filter")

    logger = detached(logging.INFO)
    logger.addHandler(Records())
    logger.addFilter(fail)
    finished: list[Exchange] = []
    request = exchange()
    request.on_finish.append(finished.append)

    access_records(answer, logger)(request)

    assert finished == [request]


def test_a_silent_logger_is_not_called():
    logger = detached(logging.WARNING)
    records = Records()
    logger.addHandler(records)

    access_records(answer, logger)(exchange())

    assert records.records == []
