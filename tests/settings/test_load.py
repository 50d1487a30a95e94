"""Merging the sources: who wins, where a value came from, and every problem at once."""

import pytest

from gateway.errors import ConfigError
from gateway.settings import Bind, Mount, Settings, load
from gateway.settings.drafts import MOUNT_SETTINGS


@pytest.fixture
def place(tmp_path):
    """Loads from a directory of its own and an empty environment."""

    def place(text=None, *, environ=None, name="gateway.toml", **arguments):
        if text is not None:
            (tmp_path / name).write_text(text)
        return load(environ=environ or {}, cwd=tmp_path, **arguments)

    place.path = tmp_path
    return place


def _problem(place, *arguments, **keywords):
    with pytest.raises(ConfigError) as caught:
        place(*arguments, **keywords)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_without_any_source_everything_is_default(place):
    loaded = place()

    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.file is None


def test_each_source_wins_over_the_ones_before_it(place):
    file = "port = 1\nbacklog = 1\nthreads = 1\nlimit-headers = 1\n"
    environ = {"GATEWAY_BACKLOG": "2", "GATEWAY_THREADS": "2", "GATEWAY_LIMIT_HEADERS": "2"}
    flags = {"threads": "3", "limit_headers": "3"}

    loaded = place(file, environ=environ, argv_values=flags, overrides={"limit_headers": 4})

    settings, origins = loaded.settings, loaded.origins
    assert (settings.port, settings.backlog, settings.threads, settings.limit_headers) == (
        1,
        2,
        3,
        4,
    )
    assert origins["port"] == "gateway.toml:1"
    assert origins["backlog"] == "environment GATEWAY_BACKLOG"
    assert origins["threads"] == "flag --threads"
    assert origins["limit_headers"] == "Python"
    assert origins["loop"] == "default"


def test_forwarded_allow_ips_stands_below_the_file(place):
    environ = {"FORWARDED_ALLOW_IPS": "10.0.0.0/8,::1"}

    assert place(environ=environ).settings.forwarded_allow_ips == ("10.0.0.0/8", "::1")
    assert place("forwarded-allow-ips = '*'", environ=environ).settings.forwarded_allow_ips == (
        "*",
    )


def test_pyproject_is_read_where_there_is_no_gateway_toml(place):
    loaded = place(
        "[tool.gateway]\nport = 1\n[tool.gateway.mounts]\n'/' = 'a:b'\n", name="pyproject.toml"
    )

    assert loaded.settings.port == 1
    assert loaded.origins["mounts./"] == "pyproject.toml:4"
    assert place("port = 2").settings.port == 2


def test_a_pyproject_of_others_is_no_file_of_ours(place):
    assert place("[tool.ruff]\nx = 1", name="pyproject.toml").file is None


def test_a_named_file_is_the_only_one_read(place):
    (place.path / "other.toml").write_text("threads = 3")

    loaded = place("port = 1", config="other.toml")

    assert (loaded.settings.port, loaded.settings.threads) == (8000, 3)
    assert loaded.file == place.path / "other.toml"


def test_no_search_reads_no_file(place):
    assert place("port = 1", search=False).settings.port == 8000


def test_a_missing_file_is_named(place):
    assert _problem(place, config="none.toml") == "none.toml: no such file or directory"


def test_snake_case_and_other_servers_names_are_accepted(place):
    settings = place("access_log = false\nkeep-alive = 3\nmax_requests = 10").settings

    assert (settings.access_log, settings.timeout_keep_alive, settings.limit_max_requests) == (
        False,
        3.0,
        10,
    )


def test_a_setting_under_two_names_is_a_problem(place):
    text = _problem(place, "keep-alive = 3\ntimeout-keep-alive = 4\n")

    assert text.startswith(
        "gateway.toml:2:1: 'timeout-keep-alive' sets timeout-keep-alive, which is set already"
    )


def test_variables_in_strings_are_replaced(place):
    file = "host = '${H}'\nport = '${P:-9}'\nforwarded-allow-ips = ['${IP:-::1}']\n[mounts]\n'/' = '${APP}:x'"
    settings = place(file, environ={"H": "h", "P": "", "APP": "m"}).settings

    assert (settings.host, settings.port, settings.forwarded_allow_ips) == ("h", 9, ("::1",))
    assert settings.mounts[0].app == "m:x"


def test_a_variable_that_is_not_set_is_shown_in_its_place(place):
    assert "gateway.toml:1:13: the environment has no H" in _problem(place, "bind = ['', '${H}']")


def test_empty_variables_are_not_set(place):
    assert (
        place(
            environ=dict.fromkeys(
                ("GATEWAY_PORT", "PORT", "FORWARDED_ALLOW_IPS", "WEB_CONCURRENCY"), ""
            )
        ).settings
        == Settings()
    )


def test_web_concurrency_is_the_number_of_workers_where_nobody_says_it(place):
    environ = {"WEB_CONCURRENCY": "3"}

    loaded = place(environ=environ)

    assert (loaded.settings.workers, loaded.origins["workers"]) == (
        3,
        "environment WEB_CONCURRENCY",
    )
    assert place(environ=environ, argv_values={"workers": "1"}).settings.workers == 1
    assert place("workers = 'auto'", environ=environ).settings.workers == "auto"


def test_the_index_of_a_worker_is_no_slip(place):
    assert place(environ={"GATEWAY_WORKER_ID": "0"}).settings == Settings()


def test_what_kubernetes_and_cgi_set_is_not_ours(place):
    environ = {
        "GATEWAY_PORT": "tcp://10.0.0.1:80",
        "GATEWAY_PORT_80_TCP": "tcp://10.0.0.1:80",
        "GATEWAY_SERVICE_HOST": "10.0.0.1",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "GATEWAY_TIMEOUT_OF_ANOTHER_PROGRAM_ALTOGETHER": "1",
    }

    assert place(environ=environ).settings == Settings()


def test_a_slip_in_a_variable_is_a_problem(place):
    text = _problem(place, environ={"GATEWAY_BACKLOGS": "1"})

    assert text == "unknown setting GATEWAY_BACKLOGS\n  did you mean 'GATEWAY_BACKLOG'?"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"GATEWAY_PORT": "x"}, "GATEWAY_PORT must be a whole number from 0 to 65535, not 'x'"),
        ({"PORT": "x"}, "PORT must be a whole number from 0 to 65535, not 'x'"),
        (
            {"WEB_CONCURRENCY": "x"},
            "WEB_CONCURRENCY must be auto or a whole number of at least 1, not 'x'",
        ),
        (
            {"FORWARDED_ALLOW_IPS": "1.2.3/8"},
            "FORWARDED_ALLOW_IPS must be a list of IP addresses and networks, or '*', not '1.2.3/8'",
        ),
    ],
)
def test_a_bad_variable_is_named(place, environ, message):
    assert _problem(place, environ=environ).startswith(message)


def test_all_problems_of_all_sources_are_listed(place):
    text = _problem(
        place,
        "port = -1\nprot = 1\n",
        environ={"PORT": "x"},
        argv_values={"threads": "0"},
        overrides={"lop": 1},
    )

    assert "gateway.toml:1:8: 'port' must be a whole number from 0 to 65535, not -1" in text
    assert "gateway.toml:2:1: unknown setting 'prot'" in text
    assert "PORT must be" in text
    assert "--threads must be" in text
    assert "unknown setting 'lop'\n  did you mean 'loop'?" in text
    assert text.endswith("5 problems; nothing was started.")


# --- Python ---------------------------------------------------------------------------------------


def test_keywords_of_none_are_not_given(place):
    assert (
        place(overrides={"port": None, "log_level": None, "headers": None}).settings == Settings()
    )


def test_keywords_of_uvicorn_that_ask_for_nothing_are_accepted(place):
    assert (
        place(overrides={"workers": 1, "reload": False, "ssl_context_factory": None}).settings
        == Settings()
    )


def test_a_keyword_of_uvicorns_that_is_missing_here_is_refused(place):
    text = _problem(place, overrides={"ssl_context_factory": "x"})

    assert text == (
        "'ssl_context_factory' is a setting of uvicorn's "
        "that this version of gateway does not support"
    )


def test_files_of_certificates_are_looked_for_beside_the_settings(place):
    (place.path / "site").mkdir()
    text = "ssl-certificates = [{ certfile = 'a.pem', keyfile = 'a.key' }]\n"
    (place.path / "site" / "gateway.toml").write_text(text)

    (pair,) = place(config="site/gateway.toml").settings.ssl_certificates

    assert pair.certfile == str(place.path / "site" / "a.pem")
    assert pair.keyfile == str(place.path / "site" / "a.key")


def test_listeners_are_plain_tls_or_a_redirect(place):
    (place.path / "a.pem").touch()
    text = """
bind = ["0.0.0.0:443", { address = "0.0.0.0:80", redirect = "https" }, "[::1]:8000 tls=off"]
insecure-bind = "127.0.0.1:9000"
redirect-bind = "127.0.0.1:9001"
ssl-certfile = "a.pem"
"""
    settings = place(text).settings

    assert [(str(each), settings.encrypts(each), each.redirect) for each in settings.addresses] == [
        ("0.0.0.0:443", True, False),
        ("0.0.0.0:80", False, True),
        ("[::1]:8000", False, False),
        ("127.0.0.1:9000", False, False),
        ("127.0.0.1:9001", False, True),
    ]


def test_a_port_from_outside_leaves_what_else_is_said_of_an_address(place):
    bind = place('bind = "0.0.0.0:80 redirect=https"', environ={"PORT": "81"}).settings.bind

    assert bind == ("0.0.0.0:81 redirect=https",)


def test_a_first_certificate_stands_before_the_others(place):
    for name in ("a.pem", "b.pem"):
        (place.path / name).touch()
    text = "ssl-certificates = ['b.pem,b.key']\nssl-certfile = 'a.pem'\n"

    tls = place(text).settings.tls

    assert [each.certfile for each in tls.pairs] == ["a.pem", "b.pem"]


def test_without_a_certificate_there_is_no_tls(place):
    assert place().settings.tls is None


def test_uvicorns_headers_are_pairs(place):
    assert place(overrides={"headers": [("X-A", "b")]}).settings.header == (("X-A", "b"),)


def test_an_application_object_is_the_mount_of_everything(place):
    def app(environ, start_response): ...

    loaded = place(overrides={"app": app, "mounts": {"/api": "a:b"}})

    assert [(each.key, each.app) for each in loaded.settings.mounts] == [
        ("/", app),
        ("/api", "a:b"),
    ]


def test_callbacks_come_from_python_only(place):
    async def notify(): ...

    assert place(overrides={"callback_notify": notify}).settings.callback_notify is notify
    assert "unknown setting 'callback-notify'" in _problem(place, "callback-notify = 'a:b'")


# --- where to listen ------------------------------------------------------------------------------

_LOCAL = Bind(host="127.0.0.1", port=8000)


@pytest.mark.parametrize(
    ("file", "environ", "flags", "addresses"),
    [
        ("", {}, {}, [_LOCAL]),
        ("port = 1", {}, {"host": "::1"}, [Bind(host="::1", port=1)]),
        ("", {"PORT": "5"}, {}, [Bind(host="0.0.0.0", port=5)]),
        ("host = 'h'\nport = 1", {"PORT": "5"}, {}, [Bind(host="h", port=5)]),
        (
            "bind = ['unix:/a', '127.0.0.1:1', 'b:2']",
            {"PORT": "5"},
            {},
            [Bind(path="/a"), Bind(host="127.0.0.1", port=5), Bind(host="b", port=2)],
        ),
        ("uds = '/a'", {"PORT": "5"}, {}, [Bind(path="/a")]),
        ("", {"PORT": "5", "GATEWAY_PORT": "6"}, {}, [Bind(host="0.0.0.0", port=6)]),
        ("", {"PORT": "5"}, {"port": "7"}, [Bind(host="0.0.0.0", port=7)]),
        ("", {"PORT": "5"}, {"host": "h"}, [Bind(host="h", port=5)]),
        ("", {"PORT": "5"}, {"bind": ("h:1",)}, [Bind(host="h", port=1)]),
        ("", {"PORT": "5"}, {"uds": "/a"}, [Bind(path="/a")]),
        ("bind = '[::1]:1'", {}, {"port": "7"}, [Bind(host="::1", port=7)]),
        ("bind = 'a:1'", {}, {"host": "b"}, [Bind(host="b", port=1)]),
        ("bind = 'unix:/a'", {}, {"port": "7"}, [Bind(host="127.0.0.1", port=7)]),
        ("uds = '/a'", {}, {"port": "7"}, [Bind(host="127.0.0.1", port=7)]),
        (
            "port = 1",
            {},
            {"bind": ("a:2", "b:3")},
            [Bind(host="a", port=2), Bind(host="b", port=3)],
        ),
        ("bind = 'a:1'", {}, {"fd": "3"}, [Bind(fd=3)]),
    ],
)
def test_addresses_of_later_sources_replace_earlier_ones(place, file, environ, flags, addresses):
    loaded = place(file, environ=environ, argv_values=flags)

    assert list(loaded.settings.addresses) == addresses


def test_the_origin_of_a_replaced_port_is_kept(place):
    loaded = place("bind = '127.0.0.1:1'", environ={"PORT": "5"})

    assert loaded.settings.bind == ("127.0.0.1:5",)
    assert loaded.origins["bind"] == "gateway.toml:1, port by environment PORT"


def test_bind_beside_a_port_in_one_source_is_a_problem(place):
    text = _problem(place, argv_values={"bind": ("a:1",), "port": "2"})

    assert text == "--port has no effect beside --bind\n  give one of them"


# --- mounts ---------------------------------------------------------------------------------------


def test_a_mount_has_the_servers_value_for_what_it_leaves_out(place):
    file = "threads = 5\n[mounts]\n'/a/' = { app = 'a:b', lifespan = 'off' }\n'x.org/' = { app = 'c:d', threads = 2 }"

    assert place(file).settings.mounts == (
        _mount(key="/a", path="/a", app="a:b", threads=5, lifespan="off"),
        _mount(key="x.org/", host="x.org", app="c:d", threads=2),
    )


def _mount(**values):
    defaults = Settings()
    inherited = [each.name for each in MOUNT_SETTINGS.values() if each.inherited]
    return Mount(**{**{name: getattr(defaults, name) for name in inherited}, **values})


def test_the_positional_application_replaces_only_the_files_root(place):
    file = "threads = 5\n[mounts]\n'/' = { app = 'a:b', threads = 1 }\n'/c' = 'c:d'"

    loaded = place(file, argv_values={"app": "main:app"})

    assert [(each.key, each.app, each.threads) for each in loaded.settings.mounts] == [
        ("/", "main:app", 5),
        ("/c", "c:d", 5),
    ]
    assert loaded.origins["mounts./"] == "command line"
    assert loaded.origins["mounts./c"] == "gateway.toml:4"


def test_interface_and_factory_speak_of_the_application_where_there_is_one(place):
    file = "[mounts]\n'/c' = 'c:d'"

    with_app = place(
        file, argv_values={"app": "a:b", "interface": "wsgi", "factory": True}
    ).settings
    without = place(file, argv_values={"interface": "wsgi"}).settings

    assert [(each.interface, each.factory) for each in with_app.mounts] == [
        ("wsgi", True),
        ("auto", False),
    ]
    assert without.mounts[0].interface == "wsgi"


def test_mounts_of_several_sources_are_merged_by_key(place):
    loaded = place(
        "[mounts]\n'/a' = 'f:a'\n'/b' = 'f:b'",
        environ={"GATEWAY_MOUNTS": "/b=e:b /c=e:c"},
        argv_values={"mounts": ("/c/=l:c", "x.org/=l:x")},
    )

    assert [(each.key, each.app) for each in loaded.settings.mounts] == [
        ("/a", "f:a"),
        ("/b", "e:b"),
        ("/c", "l:c"),
        ("x.org/", "l:x"),
    ]


def test_a_mount_given_twice_in_one_source_is_a_problem(place):
    text = _problem(place, argv_values={"app": "a:b", "mounts": ("/=c:d",)})

    assert text == "'/' is mounted twice\n  first by command line"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("api", "--mount takes PATH=MODULE:APP, not 'api'"),
        ("api=a:b", "a mount key is a path or host/path, not 'api'"),
        ("/x=a", "'/x' must be an application written module:attribute, not 'a'"),
    ],
)
def test_a_wrong_mount_flag_is_explained(place, text, message):
    assert _problem(place, argv_values={"mounts": (text,)}).startswith(message)


def test_an_empty_root_path_of_a_mount_is_kept(place):
    assert (
        place("[mounts]\n'/ws' = { app = 'a:b', root-path = '' }").settings.mounts[0].root_path
        == ""
    )


# --- paths ----------------------------------------------------------------------------------------


def test_paths_in_a_file_are_relative_to_it(place):
    site = place.path / "site"
    (site / "src").mkdir(parents=True)
    (site / "gateway.toml").write_text("app-dir = 'src'")

    assert place(config="site/gateway.toml").settings.app_dir == str(site / "src")
    assert load(environ={}, cwd=site).settings.app_dir == "src"


def test_a_path_that_does_not_exist_is_a_problem(place):
    text = _problem(place, argv_values={"env_file": ".env"})

    assert text.startswith("--env-file is '.env', which does not exist")


@pytest.mark.parametrize("name", ["pid_file", "log_file", "access_log_file"])
def test_a_file_that_is_written_need_not_exist(place, name):
    (place.path / "site").mkdir()
    (place.path / "site/gateway.toml").write_text(f"{name} = 'run/x'")

    loaded = place(config="site/gateway.toml")

    assert getattr(loaded.settings, name) == str(place.path / "site/run/x")
    assert getattr(place(argv_values={name: "run/x"}).settings, name) == "run/x"


def test_a_dash_on_the_command_line_takes_back_the_log_file_of_the_file(place):
    assert place("log-file = 'x.log'", argv_values={"log_file": "-"}).settings.log_file is None


def test_watched_directories_are_relative_to_the_file(place):
    (place.path / "site/src").mkdir(parents=True)
    (place.path / "site/gateway.toml").write_text("reload-dirs = ['src', '.']")

    watched = place(config="site/gateway.toml").settings.reload_dirs

    assert watched == (str(place.path / "site/src"), str(place.path / "site"))


def test_a_watched_directory_that_does_not_exist_is_a_problem(place):
    text = _problem(place, argv_values={"reload_dirs": ("scr",)})

    assert text.startswith("--reload-dir is 'scr', which does not exist")


def test_permissions_in_a_file_are_read_as_they_are_written(place):
    settings = place("umask = 22\nuds-permissions = 0o660").settings

    assert (settings.umask, settings.uds_permissions) == (0o22, 0o660)


def test_a_file_is_read_again_by_every_load(place):
    assert place("workers = 2").settings.workers == 2
    assert place("workers = 3").settings.workers == 3
