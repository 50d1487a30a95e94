"""The command line: what is passed on, what is printed, and the exit codes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway import __version__
from gateway.cli import main
from gateway.cli.command import parse
from gateway.errors import StartError
from gateway.settings import Bind
from gateway.settings.absent import ABSENT_FLAGS
from gateway.settings.model import SETTINGS


@pytest.fixture(autouse=True)
def _clean_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in (
        "PORT",
        "FORWARDED_ALLOW_IPS",
        "WEB_CONCURRENCY",
        *(name for name in os.environ if name.startswith("GATEWAY_")),
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def served():
    """Run a command line; gives the settings that reach the server."""

    def served(*argv):
        reached = []
        code = main(argv, serve=lambda loaded: reached.append(loaded) or 0)
        assert code == 0
        return reached[0].settings

    return served


@pytest.fixture
def refused(capsys):
    """Run a command line that must fail; gives what it prints to stderr."""

    def refused(*argv, code=2, **arguments):
        assert main(argv, **{"serve": _never, "build": _never, **arguments}) == code
        out, err = capsys.readouterr()
        assert out == ""
        return err

    return refused


def _never(_):
    pytest.fail("this command line must not get so far")


def _mounted(mount, **values):
    return SimpleNamespace(
        **{
            "key": mount.key,
            "app_name": mount.app_name,
            "framework": "",
            "interface": "asgi3",
            "threads": 0,
            "notes": "",
            **values,
        }
    )


def _build(settings):
    for mount in settings.mounts:
        if "broken" in mount.app_name:
            raise StartError(f"{mount.app_name} could not be imported")
    return SimpleNamespace(mounts=[_mounted(mount) for mount in settings.mounts])


# --- uvicorn's command lines ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--host 0.0.0.0", "host", "0.0.0.0"),
        ("--host=::", "host", "::"),
        ("--port 0", "port", 0),
        ("--uds /tmp/x.sock", "uds", "/tmp/x.sock"),
        ("--fd 3", "fd", 3),
        ("--workers 4", "workers", 4),
        ("--reload", "reload", True),
        ("--reload-dir src --reload-dir .", "reload_dirs", ("src", ".")),
        ("--reload-include *.html", "reload_includes", ("*.html",)),
        (
            "--reload-exclude build/* --reload-exclude *.tmp",
            "reload_excludes",
            ("build/*", "*.tmp"),
        ),
        ("--reload-delay 1.5", "reload_delay", 1.5),
        ("--timeout-worker-healthcheck 7", "timeout_worker", 7.0),
        ("--limit-max-requests-jitter 5", "limit_max_requests_jitter", 5),
        ("--loop asyncio", "loop", "asyncio"),
        ("--http h11", "http", "h11"),
        ("--lifespan off", "lifespan", "off"),
        ("--interface wsgi", "interface", "wsgi"),
        ("--env-file .env", "env_file", ".env"),
        ("--log-config log.yaml", "log_config", "log.yaml"),
        ("--log-level trace", "log_level", 5),
        ("--access-log", "access_log", True),
        ("--no-access-log", "access_log", False),
        ("--use-colors", "use_colors", True),
        ("--no-use-colors", "use_colors", False),
        ("--no-proxy-headers", "proxy_headers", False),
        ("--no-server-header", "server_header", False),
        ("--no-date-header", "date_header", False),
        ("--forwarded-allow-ips *", "forwarded_allow_ips", ("*",)),
        ("--forwarded-allow-ips 10.0.0.0/8,::1", "forwarded_allow_ips", ("10.0.0.0/8", "::1")),
        ("--root-path /api", "root_path", "/api"),
        ("--limit-concurrency 10", "limit_concurrency", 10),
        ("--backlog 10", "backlog", 10),
        ("--limit-max-requests 10", "limit_max_requests", 10),
        ("--timeout-keep-alive 5", "timeout_keep_alive", 5.0),
        ("--timeout-graceful-shutdown 5", "timeout_graceful_shutdown", 5.0),
        ("--header X-A:b --header Y:c:d", "header", (("X-A", "b"), ("Y", "c:d"))),
        ("--app-dir src", "app_dir", "src"),
        ("--h11-max-incomplete-event-size 9000", "limit_head_size", 9000),
        ("--reset-contextvars", "reset_contextvars", True),
        ("--factory", "factory", True),
        ("--ws wsproto", "ws", "wsproto"),
        ("--ws websockets-sansio", "ws", "websockets"),
        ("--ws none", "ws", "none"),
        ("--ws-max-size 1024", "ws_max_size", 1024),
        ("--ws-max-queue 5", "ws_max_queue", 5),
        ("--ws-ping-interval 3.5", "ws_ping_interval", 3.5),
        ("--ws-ping-timeout 7", "ws_ping_timeout", 7.0),
        ("--ws-per-message-deflate false", "ws_per_message_deflate", False),
        ("--ws-per-message-deflate=0", "ws_per_message_deflate", False),
        ("--ws-per-message-deflate True", "ws_per_message_deflate", True),
        ("--ws-per-message-deflate", "ws_per_message_deflate", True),
        ("--ssl-certfile cert.pem", "ssl_certfile", "cert.pem"),
        ("--ssl-certfile cert.pem --ssl-keyfile key.pem", "ssl_keyfile", "key.pem"),
        (
            "--ssl-certfile cert.pem --ssl-keyfile-password secret",
            "ssl_keyfile_password",
            "secret",
        ),
        ("--ssl-version 17", "ssl_version", "1.2"),
        ("--ssl-cert-reqs 2 --ssl-ca-certs cert.pem", "ssl_cert_reqs", "required"),
        ("--ssl-cert-reqs 0", "ssl_cert_reqs", "none"),
        ("--ssl-ca-certs cert.pem", "ssl_ca_certs", "cert.pem"),
        ("--ssl-ciphers ECDHE+AESGCM", "ssl_ciphers", "ECDHE+AESGCM"),
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["app first", "app last"])
def test_uvicorns_flags(served, words, name, value, first):
    Path("src").mkdir()
    for file in (".env", "log.yaml", "cert.pem", "key.pem"):
        Path(file).touch()
    argv = ["main:app", *words.split()] if first else [*words.split(), "main:app"]

    assert getattr(served(*argv), name) == value


def test_every_flag_of_uvicorn_is_known_or_refused_by_name():
    click = pytest.importorskip("click")
    uvicorn = pytest.importorskip("uvicorn.main")
    ours = {f"--{key}" for each in SETTINGS.values() for key in (*each.keys, f"no-{each.key}")}
    theirs = {
        flag
        for option in uvicorn.main.params
        if isinstance(option, click.Option)
        for flag in (*option.opts, *option.secondary_opts)
    }

    assert theirs - ours - ABSENT_FLAGS - {"--version"} == set()


def test_a_flag_of_uvicorns_that_is_missing_here_is_named(refused):
    text = refused("--ssl-context-factory=x", "main:app")

    assert text.startswith("error: --ssl-context-factory is a ")
    assert text.endswith("of uvicorn's that this version of gateway does not support\n")


# --- other servers' words -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (
            "-b 0.0.0.0:80 -b [::]:80",
            "addresses",
            (Bind(host="0.0.0.0", port=80), Bind(host="::", port=80)),
        ),
        ("-w 3", "workers", 3),
        ("-w auto", "workers", "auto"),
        ("--timeout 60", "timeout_worker", 60.0),
        ("-t 0", "timeout_worker", None),
        ("--preload", "preload", True),
        ("-p /run/x.pid", "pid_file", "/run/x.pid"),
        ("--pid x.pid", "pid_file", "x.pid"),
        ("--pid-file x.pid", "pid_file", "x.pid"),
        ("-u www-data -g 33", "user", "www-data"),
        ("-u www-data -g 33", "group", "33"),
        ("-m 022", "umask", 0o22),
        ("-m 0", "umask", 0),
        ("--uds-permissions 660", "uds_permissions", 0o660),
        ("--max-requests-jitter 50", "limit_max_requests_jitter", 50),
        ("--workers-lifetime 1h", "limit_worker_age", 3600.0),
        ("--error-logfile x.log", "log_file", "x.log"),
        ("--log-file -", "log_file", None),
        ("--access-logfile x.log", "access_log_file", "x.log"),
        ("--reload-paths .", "reload_dirs", (".",)),
        ("--keep-alive 2", "timeout_keep_alive", 2.0),
        ("--graceful-timeout 2", "timeout_graceful_shutdown", 2.0),
        ("--max-requests 0", "limit_max_requests", None),
        ("--worker-connections 5", "limit_concurrency", 5),
        ("--client-max-body-size 1m", "limit_body", 1 << 20),
        ("--limit-post 0", "limit_body", None),
        ("--client-header-timeout 5", "timeout_head", 5.0),
        ("--client-body-timeout 0", "timeout_body", None),
        ("--send-timeout 5", "timeout_write", 5.0),
        ("--http-timeout 5", "timeout_request", 5.0),
        ("--harakiri 0", "timeout_request", None),
        ("--maxqueue 5", "limit_queue", 5),
        ("--connection-limit 5", "limit_connections", 5),
        ("--blocking-threads 3", "threads", 3),
        ("--access-logformat %(h)s", "access_log_format", "%(h)s"),
        ("--access-logfile -", "access_log_file", None),
        ("--pythonpath .", "app_dir", "."),
        ("--asgi-loop uvloop", "loop", "uvloop"),
        ("--websocket-ping-interval 5", "ws_ping_interval", 5.0),
        ("--ping-interval 5 --ping-timeout 9", "ws_ping_timeout", 9.0),
        ("--websocket-max-message-size 64k", "ws_max_size", 65536),
        ("--certfile x.pem", "ssl_certfile", "x.pem"),
        ("--ssl-certificate x.pem", "ssl_certfile", "x.pem"),
        ("--certfile x.pem --keyfile x.pem", "ssl_keyfile", "x.pem"),
        ("--certfile x.pem --keyfile-password x", "ssl_keyfile_password", "x"),
        ("--cert-reqs 1 --ca-certs x.pem", "ssl_cert_reqs", "optional"),
        ("--verify-mode CERT_REQUIRED --ssl-ca x.pem", "ssl_cert_reqs", "required"),
        ("--ciphers ECDHE+AESGCM", "ssl_ciphers", "ECDHE+AESGCM"),
        ("--ssl-version TLSv1_2", "ssl_version", "1.2"),
        ("--ssl-protocol-min tls1.3", "ssl_version", "1.3"),
        ("--insecure-bind 0.0.0.0:80", "insecure_bind", ("0.0.0.0:80",)),
    ],
)
def test_gunicorns_hypercorns_and_granians_names(served, words, name, value):
    Path("x.pem").touch()
    assert getattr(served(*words.split(), "main:app"), name) == value


@pytest.mark.parametrize("worker", ["uvicorn.workers.UvicornWorker", "asgi", "gthread"])
def test_a_worker_class_is_not_needed(served, capsys, worker):
    served("-k", worker, "main:app")

    assert (
        capsys.readouterr().err
        == "note: --worker-class is not needed: gateway sees what an application is\n"
    )


def test_a_worker_class_without_counterpart_is_refused(refused):
    assert refused("-k", "gevent", "main:app").startswith(
        "error: --worker-class gevent has no counterpart here\n"
    )


def test_another_directory_is_entered_before_its_file_is_read(served):
    Path("site").mkdir()
    Path("site/gateway.toml").write_text("port = 5\n[mounts]\n'/' = 'a:b'")

    assert served("--chdir", "site").port == 5


@pytest.mark.parametrize("flag", ["-D", "--daemon"])
def test_the_background_is_systemds_business(refused, flag):
    text = refused(flag, "main:app")

    assert text.startswith("error: --daemon is not supported: let systemd start it")
    assert text.count("\n") == 1


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--prot", "3"], "no such option --prot; did you mean '--port'?"),
        (["--zzz"], "no such option --zzz; gateway --help-all lists them"),
        (["--port"], "--port needs a value"),
        (["--factory=yes", "a:b"], "--factory takes no value"),
        (["--port", "80000", "a:b"], "--port must be a whole number from 0 to 65535, not '80000'"),
        (["chekc"], "'chekc' is neither an application nor a command\n  did you mean 'check'?"),
        (
            ["main"],
            "'main' is neither an application nor a command\n  an application is module:attribute, try:  gateway main:app",
        ),
        (
            ["site/wsgi.py"],
            "'site/wsgi.py' is neither an application nor a command\n  an application is module:attribute, try:  gateway site.wsgi:application",
        ),
        (
            ["a:b", "c:d"],
            "one application at a time, not a:b and c:d\n  mount the other one:  gateway a:b --mount /path=c:d",
        ),
        (
            ["dev", "main.py"],
            "'main.py' is neither an application nor a command\n  an application is module:attribute, try:  gateway dev main:app",
        ),
        (["--json", "a:b"], "--json is for gateway config and gateway routes"),
        (["-c", "none.toml"], "none.toml: no such file or directory"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(refused, argv, text):
    assert refused(*argv) == f"error: {text}\n"


@pytest.mark.parametrize("action", [[], ["check"], ["routes"]])
def test_nothing_to_serve_tells_what_to_type(refused, action):
    lines = refused(*action).splitlines()

    assert lines[0] == "error: nothing to serve: no application and no mounts"
    assert len(lines) == 4


def test_a_wrong_file_shows_the_place(refused):
    Path("gateway.toml").write_text("prot = 3\n")

    assert refused("main:app") == (
        "error: gateway.toml:1:1: unknown setting 'prot'\n"
        "     1 | prot = 3\n"
        "       | ^^^^ did you mean 'port'?\n"
        "1 problem in gateway.toml; nothing was started.\n"
    )


def test_a_failed_start_has_its_exit_code(refused):
    def serve(loaded):
        raise StartError("127.0.0.1:8000 is taken")

    assert refused("main:app", serve=serve, code=3) == "error: 127.0.0.1:8000 is taken\n"


def test_an_interrupted_start_is_quiet(refused):
    def serve(loaded):
        raise KeyboardInterrupt

    assert refused("main:app", serve=serve, code=0) == ""


def test_the_servers_exit_code_is_passed_on():
    assert main(["main:app"], serve=lambda loaded: 7) == 7


# --- commands -------------------------------------------------------------------------------------


def test_run_may_be_said(served):
    assert served("run", "main:app", "--port", "1").port == 1


@pytest.mark.parametrize(
    ("argv", "app"), [(["dev", "main:app", "-w", "2"], "main:app"), (["-w", "2", "dev"], None)]
)
def test_dev_is_a_command_of_its_own(argv, app):
    line = parse(argv)

    assert line.action == "dev"
    assert line.values == {"workers": "2"} | ({"app": app} if app else {})


@pytest.mark.parametrize("action", ["check", "routes"])
def test_the_application_directory_comes_first_on_the_path(action, tmp_path):
    (tmp_path / "src").mkdir()

    assert main([action, "main:app", "--app-dir", "src"], build=_build) == 0

    assert sys.path[0] == str(tmp_path / "src")


@pytest.mark.parametrize("action", ["check", "routes"])
def test_the_env_file_is_for_the_application(action, monkeypatch):
    monkeypatch.setenv("GATEWAY_TEST_SECRET", "")
    monkeypatch.delenv("GATEWAY_TEST_SECRET")
    Path(".env").write_text("GATEWAY_TEST_SECRET=9\n")

    assert main([action, "main:app", "--env-file", ".env"], build=_build) == 0

    assert os.environ["GATEWAY_TEST_SECRET"] == "9"


def test_settings_in_the_env_file_have_no_effect(served):
    Path(".env").write_text("GATEWAY_PORT=9\n")

    assert served("main:app", "--env-file", ".env").port == 8000


def test_config_prints_values_with_their_origins(capsys, monkeypatch):
    monkeypatch.setenv("GATEWAY_THREADS", "3")
    Path("gateway.toml").write_text("port = 5\n[mounts]\n'/a' = { app = 'a:b', threads = 9 }\n")

    assert main(["config", "--loop", "asyncio"]) == 0

    lines = capsys.readouterr().out.splitlines()
    rows = {re.split(r"\s{2,}", line)[0]: re.split(r"\s{2,}", line)[1:] for line in lines}
    assert rows["port"] == ["5", "gateway.toml:1"]
    assert rows["threads"] == ["3", "environment GATEWAY_THREADS"]
    assert rows["loop"] == ["asyncio", "flag --loop"]
    assert rows["backlog"] == ["2048", "default"]
    assert rows["mount /a"] == ["a:b threads=9", "gateway.toml:3"]
    assert len({line.rindex("  ") for line in lines if line.endswith("  default")}) == 1


def test_config_in_json(capsys):
    assert main(["config", "--json", "main:app", "--keep-alive", "5s"]) == 0

    data = json.loads(capsys.readouterr().out)
    assert data["settings"]["timeout-keep-alive"] == {
        "value": 5.0,
        "shown": "5s",
        "origin": "flag --timeout-keep-alive",
    }
    assert data["mounts"] == {"/": {"app": "main:app", "options": {}, "origin": "command line"}}


def test_routes_lists_every_mount(capsys):
    def build(settings):
        first, second = settings.mounts
        return SimpleNamespace(
            mounts=[
                _mounted(first, framework="Django 5.2", interface="wsgi", threads=8),
                _mounted(second, notes="same as /"),
            ]
        )

    assert main(["routes", "main:app", "--mount", "/api=api:app"], build=build) == 0

    assert capsys.readouterr().out == (
        "/     main:app  Django 5.2  wsgi, 8 threads\n"
        "/api  api:app   -           asgi3            same as /\n"
    )


def test_routes_in_json(capsys):
    assert main(["routes", "--json", "main:app"], build=_build) == 0

    assert json.loads(capsys.readouterr().out)[0]["app_name"] == "main:app"


def test_check_reports_every_mount(capsys):
    Path("gateway.toml").write_text("[mounts]\n'/' = 'a:b'\n'/c' = 'c:d'\n")

    assert main(["check"], build=_build) == 0

    assert (
        capsys.readouterr().out
        == "/   a:b  -  asgi3\n/c  c:d  -  asgi3\ngateway.toml: 2 mounts, ready\n"
    )


def test_check_goes_on_after_a_failure(capsys):
    Path("gateway.toml").write_text("[mounts]\n'/' = 'broken:a'\n'/b' = 'b:b'\n'/c' = 'broken:c'\n")

    assert main(["check"], build=_build) == 3

    out, err = capsys.readouterr()
    assert out == "/b  b:b  -  asgi3\n"
    assert err == (
        "error: /: broken:a could not be imported\n"
        "error: /c: broken:c could not be imported\n"
        "2 of 3 mounts failed\n"
    )


def test_check_reports_mounts_that_cannot_live_together(capsys):
    def build(settings):
        if len(settings.mounts) > 1:
            raise StartError("two Django projects")
        return SimpleNamespace(mounts=[])

    code = main(["check", "a:b", "--mount", "/c=c:d"], build=build)

    assert code == 3
    assert capsys.readouterr().err == "error: two Django projects\n"


# --- help -----------------------------------------------------------------------------------------


def test_help_is_short_and_shows_defaults_and_variables(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["--help"]) == 0

    text = capsys.readouterr().out
    assert len(re.findall(r"^  (-\w, )?--", text, re.MULTILINE)) <= 26
    assert re.search(r"--port PORT .*\[8000\] \[GATEWAY_PORT\]", text)
    assert re.search(
        r"-w, --workers N\|auto [^\[]*\[1\] \[GATEWAY_WORKERS\]", " ".join(text.split())
    )
    assert "\nProcesses:\n" in text
    assert "\nDevelopment:\n" in text
    assert "--backlog" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_whole_help_has_every_setting(capsys):
    assert main(["main:app", "--help-all"]) == 0

    text = capsys.readouterr().out
    for each in SETTINGS.values():
        assert (f"[{each.variable}]" in re.sub(r"\s+", " ", text)) is (
            each.name != "app" and not each.python_only
        )
    assert "--keep-alive " not in text


def test_version_names_gateway_python_and_platform(capsys):
    assert main(["--version"]) == 0

    assert re.fullmatch(
        rf"Running gateway {re.escape(__version__)} with \w+ 3\.\d+\.\d+\w* on \w+\n",
        capsys.readouterr().out,
    )


def test_the_module_runs_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "config", "--prot"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: no such option --prot; did you mean '--port'?\n"


@pytest.mark.slow
@pytest.mark.parametrize("action", ["config", "--help-all"])
def test_a_reader_that_has_enough_is_no_news(action):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "gateway", action],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=20,
            check=False,
        )
    finally:
        os.close(writing)

    assert (done.returncode, done.stderr) == (1, "")


def test_a_broken_pipe_of_the_server_is_not_hidden():
    def serve(_):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        main(["main:app"], serve=serve)
