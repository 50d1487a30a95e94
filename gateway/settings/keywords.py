"""The keywords of `gateway.run`, written by ``python -m gateway.settings.document``."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, TypedDict

__all__ = ["Keywords"]


class Keywords(TypedDict, total=False):
    """One key for each setting; None is the same as leaving it out."""

    mounts: Mapping[str, object] | None
    interface: Literal["auto", "asgi3", "asgi2", "wsgi"] | None
    factory: bool | None
    app_dir: str | os.PathLike[str] | None
    env_file: str | os.PathLike[str] | None
    lifespan: Literal["auto", "on", "off"] | None
    bind: str | Sequence[str | Mapping[str, object]] | None
    host: str | None
    port: int | None
    uds: str | None
    uds_permissions: int | str | None
    fd: int | None
    backlog: int | None
    reuse_port: bool | None
    insecure_bind: str | Sequence[str] | None
    redirect_bind: str | Sequence[str] | None
    redirect_port: int | None
    redirect_acme: bool | None
    ssl_certfile: str | os.PathLike[str] | None
    ssl_keyfile: str | os.PathLike[str] | None
    ssl_keyfile_password: str | None
    ssl_certificates: Sequence[str | Mapping[str, str]] | None
    ssl_version: str | float | None
    ssl_ciphers: str | None
    ssl_cert_reqs: str | float | None
    ssl_ca_certs: str | os.PathLike[str] | None
    ssl_handshake_timeout: float | str | None
    workers: int | Literal["auto"] | None
    supervise: bool | None
    preload: bool | None
    timeout_worker: float | str | None
    limit_max_requests: int | None
    limit_max_requests_jitter: int | None
    limit_worker_age: float | str | None
    limit_worker_age_jitter: float | str | None
    limit_worker_memory: int | str | None
    limit_worker_memory_jitter: int | str | None
    health_bind: str | Sequence[str] | None
    drain_delay: float | str | None
    hooks: str | None
    pid_file: str | os.PathLike[str] | None
    user: str | int | None
    group: str | int | None
    umask: int | str | None
    reload: bool | None
    reload_dirs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None
    reload_includes: str | Sequence[str] | None
    reload_excludes: str | Sequence[str] | None
    reload_delay: float | str | None
    loop: Literal["auto", "asyncio", "uvloop"] | None
    http: Literal["auto", "httptools", "h11"] | None
    threads: int | None
    thread_queue: int | None
    server_header: bool | None
    date_header: bool | None
    header: Sequence[str | tuple[str, str]] | Mapping[str, str] | None
    reset_contextvars: bool | None
    callback_notify: Callable[[], Awaitable[None]] | None
    timeout_notify: float | str | None
    timeout_keep_alive: float | str | None
    timeout_graceful_shutdown: float | str | None
    timeout_head: float | str | None
    timeout_body: float | str | None
    min_body_rate: int | str | None
    timeout_write: float | str | None
    timeout_request: float | str | None
    limit_body: int | str | None
    limit_concurrency: int | None
    limit_queue: int | None
    timeout_queue: float | str | None
    limit_connections: int | None
    limit_connections_per_address: int | None
    limit_head_size: int | str | None
    limit_headers: int | None
    http2: bool | Literal["auto", "off"] | None
    http2_max_concurrent_streams: int | None
    http2_initial_window_size: int | str | None
    http2_max_frame_size: int | str | None
    http2_max_header_list_size: int | str | None
    ws: Literal["auto", "websockets", "wsproto", "none", "websockets-sansio"] | None
    ws_max_size: int | str | None
    ws_max_queue: int | None
    ws_ping_interval: float | str | None
    ws_ping_timeout: float | str | None
    ws_per_message_deflate: bool | None
    ws_handshake_timeout: float | str | None
    ws_max_lifetime: float | str | None
    ws_origins: str | Sequence[str] | None
    log_level: str | int | None
    access_log: bool | None
    access_log_format: str | None
    log_file: str | os.PathLike[str] | None
    access_log_file: str | os.PathLike[str] | None
    log_config: str | os.PathLike[str] | Mapping[str, object] | None
    use_colors: bool | None
    proxy_headers: bool | None
    forwarded_allow_ips: str | Sequence[str] | None
    proxy_protocol: Literal["off", "v1", "v2", "auto"] | None
    proxy_protocol_allow_ips: str | Sequence[str] | None
    root_path: str | None
