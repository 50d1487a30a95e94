"""`gateway dev`: other defaults, and a table [dev] over the rest of the file."""

import pytest

from gateway.errors import ConfigError
from gateway.settings import Bind, load


@pytest.fixture
def place(tmp_path):
    """Loads a file's text for development, unless told otherwise."""

    def place(text="", *, environ=None, name="gateway.toml", dev=True, **arguments):
        (tmp_path / name).write_text(text)
        return load(environ=environ or {}, cwd=tmp_path, dev=dev, **arguments)

    place.path = tmp_path
    return place


def _problem(place, *arguments, **keywords):
    with pytest.raises(ConfigError) as caught:
        place(*arguments, **keywords)
    return str(caught.value)


def test_development_has_defaults_of_its_own(place):
    loaded = place()

    settings = loaded.settings
    assert (settings.reload, settings.timeout_graceful_shutdown, settings.access_log_format) == (
        True,
        1.0,
        "dev",
    )
    assert loaded.origins["reload"] == "gateway dev"
    assert settings.supervised


def test_every_other_source_wins_over_these_defaults(place):
    settings = place(
        "timeout-graceful-shutdown = '5s'",
        environ={"GATEWAY_RELOAD": "no"},
        argv_values={"access_log_format": "json"},
    ).settings

    assert (settings.reload, settings.timeout_graceful_shutdown, settings.access_log_format) == (
        False,
        5.0,
        "json",
    )


def test_the_table_is_laid_over_the_rest_of_the_file(place):
    loaded = place(
        "port = 1\nthreads = 2\n[mounts]\n'/' = 'a:b'\n'/c' = 'c:d'\n"
        "[dev]\nport = 2\nlog-level = 'debug'\n[dev.mounts]\n'/c' = 'stub:app'\n"
    )

    settings = loaded.settings
    assert (settings.port, settings.threads, settings.log_level) == (2, 2, 10)
    assert [(each.key, each.app) for each in settings.mounts] == [("/", "a:b"), ("/c", "stub:app")]
    assert loaded.origins["port"] == "gateway.toml:7"
    assert loaded.origins["mounts./c"] == "gateway.toml:10"


def test_an_address_in_the_table_replaces_those_of_the_file(place):
    settings = place("bind = ['unix:/run/a.sock', ':80']\n[dev]\nport = 9\n").settings
    assert settings.addresses == (Bind(path="/run/a.sock"), Bind(host="0.0.0.0", port=9))

    settings = place("uds = '/run/a.sock'\n[dev]\nbind = ':9'\n").settings
    assert settings.addresses == (Bind(host="0.0.0.0", port=9),)


def test_pyproject_has_the_table_below_its_own(place):
    loaded = place(
        "[tool.gateway]\nthreads = 1\n[tool.gateway.dev]\nthreads = 2\n", name="pyproject.toml"
    )

    assert (loaded.settings.threads, loaded.origins["threads"]) == (2, "pyproject.toml:4")


def test_variables_and_flags_win_over_the_table(place):
    settings = place(
        "[dev]\nthreads = 2\nbacklog = 2\n",
        environ={"GATEWAY_THREADS": "3"},
        argv_values={"backlog": "4"},
    ).settings

    assert (settings.threads, settings.backlog) == (3, 4)


def test_without_dev_the_table_is_not_applied(place):
    settings = place("port = 1\n[dev]\nport = 2\nreload = true\n", dev=False).settings

    assert (settings.port, settings.reload) == (1, False)


def test_without_dev_the_table_is_checked(place):
    assert _problem(place, "[dev]\nprot = 2\nthreads = 'x'\n", dev=False) == (
        "gateway.toml:2:1: unknown setting 'prot'\n"
        "     2 | prot = 2\n"
        "       | ^^^^ did you mean 'port'?\n"
        "gateway.toml:3:11: 'threads' must be a whole number from 1 to 4096, not 'x'\n"
        "     3 | threads = 'x'\n"
        "       |           ^^^\n"
        "2 problems in gateway.toml; nothing was started."
    )


def test_what_only_a_developers_machine_has_is_not_missed_elsewhere(place):
    text = "[dev]\nenv-file = '.env.dev'\nlog-config = '${HOME_OF_DEV}/log.toml'\n"

    assert place(text, dev=False).settings.env_file is None
    assert "'.env.dev', which does not exist" in _problem(place, text)
    assert "the environment has no HOME_OF_DEV" in _problem(place, text)


def test_the_table_is_a_table(place):
    assert _problem(place, "dev = true\n", dev=False) == (
        "gateway.toml:1:7: 'dev' must be a table, not true\n"
        "     1 | dev = true\n"
        "       |       ^^^^ write [dev], then settings below\n"
        "1 problem in gateway.toml; nothing was started."
    )


def test_the_table_has_no_table_of_its_own(place):
    assert "gateway.toml:2:6: unknown setting 'dev'" in _problem(place, "[dev]\n[dev.dev]\n")


def test_a_setting_may_stand_in_both(place):
    assert place("keep-alive = 1\n[dev]\ntimeout-keep-alive = 2\n").settings.timeout_keep_alive == 2


def test_several_workers_are_one_in_development(place):
    loaded = place("workers = 'auto'\n")

    assert loaded.settings.workers == 1
    assert loaded.origins["workers"] == "gateway.toml:1, 1 because of reload (gateway dev)"
