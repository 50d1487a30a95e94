"""Which settings ask for a process above the workers, and what cannot be had with one."""

import pytest

from gateway.errors import ConfigError
from gateway.settings import Bind, Settings, load


def app(environ, start_response): ...


async def notify(): ...


@pytest.fixture
def place(tmp_path):
    """Loads keywords, a file's text or flags, from an empty directory and environment."""

    def place(text="", *, environ=None, flags=None, embedded=False, **overrides):
        (tmp_path / "gateway.toml").write_text(text)
        return load(
            environ=environ or {},
            cwd=tmp_path,
            argv_values=flags or {},
            overrides=overrides,
            embedded=embedded,
        )

    return place


def _problem(place, *arguments, **keywords):
    with pytest.raises(ConfigError) as caught:
        place(*arguments, **keywords)
    return str(caught.value)


# --- who asks for it ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"workers": 2},
        {"workers": "auto"},
        {"reload": True},
        {"preload": True},
        {"health_bind": "127.0.0.1:9000"},
        {"limit_worker_age": "1h"},
        {"limit_worker_memory": "1GiB"},
        {"limit_max_requests": 1000},
        {"supervise": True},
    ],
    ids=lambda values: next(iter(values)),
)
def test_what_only_a_parent_can_do_is_supervised(place, values):
    assert place(app="main:app", **values).settings.supervised


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"workers": 1},
        {"timeout_worker": 60},
        {"drain_delay": 5},
        {"pid_file": "x.pid"},
        {"user": "www-data"},
        {"reuse_port": True},
        {"reload_delay": 1},
        {"limit_max_requests": 1000, "supervise": False},
    ],
    ids=", ".join,
)
def test_everything_else_is_one_process(place, values):
    assert not place(app="main:app", **values).settings.supervised


def test_an_object_with_a_limit_of_requests_stays_one_process_that_stops(place):
    assert not place(app=app, limit_max_requests=1000).settings.supervised


def test_the_health_addresses_are_written_as_bind(place):
    settings = place(health_bind="127.0.0.1:9000, unix:/run/health.sock").settings

    assert settings.health_addresses == (
        Bind(host="127.0.0.1", port=9000),
        Bind(path="/run/health.sock"),
    )


def test_reload_has_one_worker(place):
    loaded = place("workers = 4\n", flags={"reload": "true"})

    assert loaded.settings.workers == 1
    assert loaded.origins["workers"] == "gateway.toml:1, 1 because of reload (flag --reload)"


# --- what cannot be had ---------------------------------------------------------------------------


def test_workers_without_a_parent_are_shown_in_the_file(place):
    assert _problem(place, "workers = 4\nsupervise = false\n") == (
        "gateway.toml:1:1: 'workers' needs a process above the workers, which 'supervise' rules out\n"
        "     1 | workers = 4\n"
        "       | ^^^^^^^ set workers to 1, or leave 'supervise' out\n"
        "1 problem in gateway.toml; nothing was started."
    )


def test_all_that_needs_a_parent_is_listed(place):
    text = _problem(
        place,
        environ={"WEB_CONCURRENCY": "2"},
        flags={"preload": "true", "supervise": "false"},
    )

    assert text == (
        "WEB_CONCURRENCY needs a process above the workers, which --supervise rules out\n"
        "  set workers to 1, or leave --supervise out\n"
        "--preload needs a process above the workers, which --supervise rules out\n"
        "  leave --preload out, or leave --supervise out\n"
        "2 problems; nothing was started."
    )


@pytest.mark.parametrize(
    ("values", "name", "instead"),
    [
        ({"workers": 2}, "'workers'", "set workers to 1"),
        ({"reload": True}, "'reload'", "leave 'reload' out"),
        ({"supervise": True}, "'supervise'", "leave 'supervise' out"),
        ({"health_bind": ":9000"}, "'health_bind'", "leave 'health_bind' out"),
    ],
)
def test_an_application_object_needs_an_import_string_for_workers(place, values, name, instead):
    with pytest.raises(ConfigError) as caught:
        place(app=app, **values)

    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        f"{name} starts workers, each a fresh interpreter; "
        "none of them can have the application given as an object\n"
        f"  give an import string, 'module:attribute', or {instead}"
    )


def test_the_platforms_workers_are_named_too(place):
    text = _problem(place, app=app, environ={"WEB_CONCURRENCY": "2"})

    assert text.startswith("WEB_CONCURRENCY starts workers")
    assert text.endswith("or set workers to 1")


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"mounts": {"/": "a:b", "/api": app}}, "the application of mount /api"),
        (
            {"mounts": {"/": {"app": "a:b", "middleware": [{"use": "m:M", "call": notify}]}}},
            "the application of mount /",
        ),
        ({"app": "a:b", "callback_notify": notify}, "callback_notify"),
        ({"app": "a:b", "log_config": {"version": 1, "handlers": notify}}, "log_config"),
        ({"app": app, "mounts": {"/b": app}}, "the application, the application of mount /b"),
    ],
)
def test_every_object_is_named(place, values, what):
    assert f"none of them can have {what} given as an object" in _problem(
        place, workers=2, **values
    )


def test_a_server_inside_a_callers_loop_has_no_workers_to_complain_about(place):
    settings = place(app=app, workers=2, reload=False, embedded=True).settings

    assert settings.app is app


def test_a_health_address_of_its_own_is_asked_for(place):
    text = _problem(place, "bind = ':80'\nhealth-bind = '0.0.0.0:80'\n")

    assert "gateway.toml:2:15: 'health-bind' is 0.0.0.0:80, where the applications" in text
    assert "give it an address of its own" in text


def test_two_free_ports_are_two_addresses(place):
    assert place(port=0, health_bind="127.0.0.1:0").settings.health_addresses


def test_defaults_are_no_objects():
    assert Settings().objects == ()
    assert Settings().parental == ()
