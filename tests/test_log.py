from __future__ import annotations

import io
import json
import logging
import sys

import pytest
from fakes import exchange, head
from hypothesis import given
from hypothesis import strategies as st

from gateway import log
from gateway.errors import ConfigError

LOGGERS = [logging.getLogger(name) for name in ("", "gateway", "gateway.error", "gateway.access")]


@pytest.fixture(autouse=True)
def _restored_loggers():
    before = [(x.handlers[:], x.filters[:], x.level, x.propagate, x.disabled) for x in LOGGERS]
    factory = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(factory)
    for logger, (handlers, filters, level, propagate, disabled) in zip(
        LOGGERS, before, strict=True
    ):
        logger.handlers, logger.filters = handlers, filters
        logger.level, logger.propagate, logger.disabled = level, propagate, disabled
        logger.manager._clear_cache()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Written:
    """What went to stderr so far."""

    def __init__(self, capture) -> None:
        self._capture = capture
        self._text = ""

    def getvalue(self) -> str:
        self._text += self._capture.readouterr().err
        return self._text


@pytest.fixture
def errors(capsys, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    return Written(capsys)


def error_log() -> logging.Logger:
    return logging.getLogger("gateway.error")


# --- the default ---------------------------------------------------------------------------------


def test_errors_go_to_stderr_with_an_aligned_level(capsys):
    log.configure(level="info")
    error_log().info("Started")
    error_log().critical("Stopped")
    error_log().debug("unseen")

    written = capsys.readouterr()
    assert written.err == "INFO:     Started\nCRITICAL: Stopped\n"
    assert written.out == ""


def test_every_line_of_a_worker_tells_its_index(errors):
    log.configure(worker=2, use_colors=True)
    error_log().info("Started")

    assert errors.getvalue() == "\x1b[32mINFO\x1b[0m:     [2] Started\n"


def test_access_goes_to_stdout_as_it_is(capsys):
    log.configure()
    logging.getLogger("gateway.access").info("line")

    written = capsys.readouterr()
    assert (written.err, written.out) == ("", "line\n")


def test_configuring_twice_does_not_double_lines(errors):
    log.configure()
    log.configure()
    error_log().info("once")

    assert errors.getvalue() == "INFO:     once\n"


@pytest.mark.parametrize("level", ["trace", "TRACE", 5])
def test_trace_is_the_lowest_level(errors, level):
    log.configure(level=level)
    error_log().log(log.TRACE, "detail")

    assert errors.getvalue() == "TRACE:    detail\n"


def test_unknown_level_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="'loud' is not one of critical, error, warning, info"):
        log.configure(level="loud")


def test_level_above_info_silences_the_access_log():
    log.configure(level="warning")

    assert not log.access_enabled()


def test_access_log_can_be_left_out():
    log.configure(access_log=False)

    assert not log.access_enabled()
    assert log.access_stream() is None


def test_traceback_has_no_control_characters(errors):
    log.configure()
    try:
        raise ValueError("\x1b[2J\r of a client")
    except ValueError:
        error_log().exception("failed")

    assert r"ValueError: \x1b[2J\x0d of a client" in errors.getvalue()
    assert errors.getvalue().replace("\n", "").isprintable()


def test_a_message_keeps_its_lines_but_no_control_characters(errors):
    log.configure()
    error_log().error("Exception on /%s [GET]\n  a\thint", "\x1b[31mred\r\x00\x7f\x9b")

    assert errors.getvalue() == (
        "ERROR:    Exception on /\\x1b[31mred\\x0d\\x00\\x7f\\x9b [GET]\n  a\thint\n"
    )


def test_a_traceback_that_another_handler_formatted_has_no_control_characters(errors):
    log.configure()
    LOGGERS[1].handlers.insert(0, logging.StreamHandler(io.StringIO()))
    try:
        raise ValueError("\x1b[2J of a client")
    except ValueError:
        error_log().exception("failed")

    assert r"ValueError: \x1b[2J of a client" in errors.getvalue()


def test_what_a_control_character_is_does_not_touch_letters(errors):
    log.configure()
    error_log().info("café \u00a0 € 日本")

    assert errors.getvalue() == "INFO:     café \u00a0 € 日本\n"


# --- colors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terminal", "environment", "wish", "expected"),
    [
        (False, {}, None, False),
        (True, {}, None, True),
        (True, {"NO_COLOR": "1"}, None, False),
        (True, {"NO_COLOR": ""}, None, True),
        (False, {"FORCE_COLOR": "1"}, None, True),
        (False, {"FORCE_COLOR": ""}, None, False),
        (True, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, None, False),
        (True, {"NO_COLOR": "1"}, True, True),
        (True, {"FORCE_COLOR": "1"}, False, False),
    ],
)
def test_color_is_the_wish_then_the_environment_then_the_terminal(
    terminal, environment, wish, expected, monkeypatch
):
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert log.wants_color(Terminal() if terminal else io.StringIO(), wish) is expected


def test_colored_level_keeps_its_alignment(errors):
    log.configure(use_colors=True)
    error_log().info("Started")

    assert errors.getvalue() == "\x1b[32mINFO\x1b[0m:     Started\n"


# --- the user's own configuration ----------------------------------------------------------------

CONFIG = {
    "version": 1,
    "formatters": {"mine": {"format": "mine %(name)s %(message)s"}},
    "handlers": {"mine": {"class": "logging.StreamHandler", "formatter": "mine"}},
    "loggers": {"gateway": {"handlers": ["mine"], "level": "INFO", "propagate": False}},
}
TOML = """
version = 1
formatters.mine.format = "mine %(name)s %(message)s"
handlers.mine = { class = "logging.StreamHandler", formatter = "mine" }
loggers.gateway = { handlers = ["mine"], level = "INFO", propagate = false }
"""
YAML = """
version: 1
formatters: {mine: {format: "mine %(name)s %(message)s"}}
handlers: {mine: {class: logging.StreamHandler, formatter: mine}}
loggers: {gateway: {handlers: [mine], level: INFO, propagate: false}}
"""
INI = """
[loggers]
keys = root, gateway
[handlers]
keys = mine
[formatters]
keys = mine
[logger_root]
handlers =
[logger_gateway]
qualname = gateway
handlers = mine
level = INFO
propagate = 0
[handler_mine]
class = StreamHandler
formatter = mine
[formatter_mine]
format = mine %(name)s %(message)s
"""
FILES = {
    "log.json": json.dumps(CONFIG),
    "log.toml": TOML,
    "log.yaml": YAML,
    "log.yml": YAML,
    "log.ini": INI,
    "log.conf": INI,
    "log.CFG": INI,
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_configures_logging(name, tmp_path, errors):
    (tmp_path / name).write_text(FILES[name])
    log.configure(log_config=str(tmp_path / name))
    error_log().info("hello")

    assert errors.getvalue() == "mine gateway.error hello\n"


def test_a_mapping_configures_logging(errors):
    log.configure(log_config=CONFIG)
    error_log().info("hello")

    assert errors.getvalue() == "mine gateway.error hello\n"


def test_existing_loggers_stay_enabled():
    other = logging.getLogger("some.library")
    log.configure(log_config=CONFIG)

    assert not other.disabled


def test_the_gateways_loggers_stay_enabled_whatever_the_configuration_says(errors):
    log.configure(log_config={"version": 1, "disable_existing_loggers": True})

    assert not error_log().disabled


def test_a_given_level_wins_over_the_configuration(errors):
    log.configure(log_config=CONFIG, level="error")
    error_log().info("unseen")

    assert errors.getvalue() == ""


def test_an_empty_mapping_leaves_logging_alone():
    mine = logging.NullHandler()
    LOGGERS[1].handlers = [mine]
    log.configure(log_config={})

    assert LOGGERS[1].handlers == [mine]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("log.json", "{", "not valid json: Expecting property name"),
        ("log.toml", "a = ", "not valid toml: Invalid value"),
        ("log.yaml", "{a", "not valid yaml: while parsing"),
        ("log.json", "[]", "a mapping for logging.config.dictConfig is expected"),
        ("log.json", '{"version": 2}', "Unsupported version"),
        ("log.ini", "[nothing]", ""),
        ("log.ini", "nothing", ""),
        ("log.txt", "", "the format is told by the suffix"),
        ("log.json", b"\xff", "it is not UTF-8 text"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_problem(name, text, problem, tmp_path):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(ConfigError) as caught:
        log.configure(log_config=str(path))

    assert str(caught.value).startswith(f"log-config {path}: ")
    assert problem in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"log-config .*none\.json: cannot be read: No such file"):
        log.configure(log_config=str(tmp_path / "none.json"))


def test_a_wrong_handler_is_named_with_its_cause():
    config = {"handlers": {"mine": {"class": "no.such.Handler"}}}

    with pytest.raises(ConfigError, match=r"log-config: .*handler 'mine'.*no\.such"):
        log.configure(log_config=config)


def test_missing_yaml_comes_with_its_install_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "log.yaml").write_text(YAML)

    with pytest.raises(ConfigError, match=r"pip install 'gateway\[yaml\]'"):
        log.configure(log_config=str(tmp_path / "log.yaml"))


# --- who writes access lines ---------------------------------------------------------------------


def test_access_lines_go_straight_to_stdout_by_default():
    log.configure()

    assert log.access_enabled()
    assert log.access_stream() is sys.stdout


def test_access_records_go_through_logging_with_a_users_configuration():
    log.configure(log_config=CONFIG)

    assert log.access_enabled()
    assert log.access_stream() is None


def test_a_users_configuration_takes_over_from_the_default(errors):
    log.configure()
    log.configure(log_config=CONFIG)
    logging.getLogger("gateway.access").info("line")

    assert log.access_stream() is None
    assert errors.getvalue() == "mine gateway.access line\n"


@pytest.mark.parametrize("what", ["handler", "filter", "propagate"])
def test_access_records_go_through_logging_if_anything_was_added(what):
    log.configure()
    access = logging.getLogger("gateway.access")
    match what:
        case "handler":
            access.addHandler(logging.NullHandler())
        case "filter":
            access.addFilter(lambda record: True)
        case "propagate":
            access.propagate = True

    assert log.access_stream() is None


# --- escape --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/plain?é=1 2", "/plain?é=1 2"),
        ('"', r"\""),
        ("\\", r"\\"),
        ("\x1b[2J\r\n\t\x00", r"\x1b[2J\r\n\t\x00"),
        ("\x7f\x85\x9b", r"\x7f\x85\x9b"),
        ("\u2028\u202e\udcff", r"\u2028\u202e\udcff"),
    ],
)
def test_escape(text, expected):
    assert log.escape(text) == expected


@given(st.text())
def test_escaped_text_is_printable_and_keeps_inside_quotes(text):
    escaped = log.escape(text)

    assert escaped.isprintable()
    assert '"' not in escaped.replace("\\\\", "").replace('\\"', "")


# --- errors of applications ----------------------------------------------------------------------


def test_an_application_error_is_one_record_with_traceback_and_place(errors):
    log.configure()
    request = exchange(head("POST", "/a%0Ab"))
    request.head.mount = "/api"
    try:
        raise KeyError("missing")
    except KeyError as error:
        log.log_app_error(request, error)

    first, second, *_, last = errors.getvalue().splitlines()
    assert first == r'ERROR:    Exception in the application at /api: "POST /a\nb"'
    assert second == "  Traceback (most recent call last):"
    assert last == "  KeyError: 'missing'"


def test_no_line_of_an_exception_begins_where_a_record_does(errors):
    log.configure()
    try:
        raise ValueError("no /\nINFO:     forged\n\n\tdone")
    except ValueError as error:
        log.log_app_error(exchange(head("GET", "/")), error)

    at_margin = [line for line in errors.getvalue().splitlines() if line[:1].strip()]
    assert at_margin == ['ERROR:    Exception in the application at -: "GET /"']
