"""What gunicorn was told, in our names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger

from gateway.errors import ConfigError
from gateway.settings import Settings
from gateway.workers import GatewayH11Worker, GatewayWorker
from workers import apps

Read = Callable[..., Settings]


@pytest.fixture
def read() -> Iterator[Read]:
    """The settings of a worker for gunicorn's settings."""
    made = []

    def read(worker: type[GatewayWorker] = GatewayWorker, **said: object) -> Settings:
        cfg = Config()
        for name, value in said.items():
            cfg.set(name, value)
        made.append(worker(1, os.getpid(), [], None, cfg.timeout / 2, cfg, Logger(cfg)))
        made[-1].wsgi = apps.asgi3
        return made[-1]._settings()

    yield read
    for each in made:
        each.tmp.close()


def test_the_loaded_application_is_mounted_at_the_root(read: Read) -> None:
    (mount,) = read().mounts
    assert (mount.key, mount.app) == ("/", apps.asgi3)


@pytest.mark.parametrize(
    ("theirs", "value", "ours", "expected"),
    [
        ("threads", 1, "threads", 8),
        ("threads", 4, "threads", 4),
        ("worker_connections", 1000, "limit_concurrency", None),
        ("worker_connections", 50, "limit_concurrency", 50),
        ("keepalive", 5, "timeout_keep_alive", 5.0),
        ("graceful_timeout", 30, "timeout_graceful_shutdown", 28.0),
        ("graceful_timeout", 4, "timeout_graceful_shutdown", 3.0),
        ("graceful_timeout", 0, "timeout_graceful_shutdown", 0.0),
        ("max_requests", 0, "limit_max_requests", None),
        ("max_requests", 100, "limit_max_requests", 100),
        ("limit_request_fields", 20, "limit_headers", 20),
        ("limit_request_fields", 0, "limit_headers", 32768),
        ("limit_request_line", 4094, "limit_head_size", 4094 + 8 * 8190),
        ("limit_request_line", 0, "limit_head_size", (1 << 20) + 8 * 8190),
        ("limit_request_field_size", 100, "limit_head_size", 4094 + 8 * 100),
        ("limit_request_field_size", 0, "limit_head_size", 4094 + 8 * 8190),
        ("forwarded_allow_ips", "10.0.0.0/8,::1", "forwarded_allow_ips", ("10.0.0.0/8", "::1")),
        ("forwarded_allow_ips", "*", "forwarded_allow_ips", ("*",)),
        ("forwarded_allow_ips", "", "forwarded_allow_ips", ()),
        ("access_log_format", "%(h)s", "access_log_format", "%(h)s"),
        ("backlog", 64, "backlog", 64),
        ("root_path", "/shop", "root_path", "/shop"),
        ("asgi_loop", "asyncio", "loop", "asyncio"),
        ("asgi_lifespan", "off", "lifespan", "off"),
    ],
)
def test_a_setting_of_gunicorn_is_honored(
    read: Read, theirs: str, value: object, ours: str, expected: object
) -> None:
    assert getattr(read(**{theirs: value}), ours) == expected


def test_jitter_is_added_once(read: Read) -> None:
    settings = read(max_requests=100, max_requests_jitter=50)
    assert 100 <= settings.limit_max_requests <= 150
    assert settings.limit_max_requests_jitter == 0


def test_the_environment_is_gunicorns(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_THREADS", "3")
    assert read().threads == 8


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("certfile", "/etc/cert.pem", "TLS ends in a proxy in front"),
        ("proxy_protocol", "v1", "X-Forwarded-For"),
        ("protocol", "uwsgi", "proxy_pass"),
        ("http2_cleartext", "prior-knowledge", "HTTP/1.1"),
    ],
)
def test_what_would_change_the_wire_is_refused(
    read: Read, name: str, value: str, advice: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} = .* is not supported by GatewayWorker\n  .*"):
        read(**{name: value})
    with pytest.raises(ConfigError, match=advice):
        read(**{name: value})


def test_settings_of_a_class_win_over_gunicorns(read: Read) -> None:
    assert read(apps.ShopWorker, threads=5).threads == 3


def test_settings_of_a_base_class_stay(read: Read) -> None:
    assert apps.ShopWorker.__mro__[1] is GatewayH11Worker
    assert read(apps.ShopWorker).http == "h11"


def test_settings_of_a_class_may_mount_more(read: Read) -> None:
    assert [each.key for each in read(apps.ShopWorker).mounts] == ["/", "/w"]


def test_what_gunicorn_decides_is_refused_in_a_class(read: Read) -> None:
    with pytest.raises(ConfigError, match=r"^BinderWorker\.SETTINGS: bind is gunicorn's to say"):
        read(apps.BinderWorker)


def test_an_unknown_setting_in_a_class_is_refused(read: Read) -> None:
    with pytest.raises(ConfigError, match="did you mean 'threads'"):
        read(apps.WrongWorker)


def test_without_gunicorn_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['gunicorn'] = None; import gateway.workers"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("\n  pip install gunicorn\n")
