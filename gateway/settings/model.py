"""Every setting of the server, each declared once; one file, to be read from top to bottom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal, TypeAlias

from gateway.settings.bind import Bind, ProxyProtocol
from gateway.settings.certificates import ClientVerification, KeyPairs, LowestVersion, Secret
from gateway.settings.declare import Field, Seconds, Setting, declared
from gateway.settings.kinds import Automatic, Choice, Integer, PythonOnly
from gateway.settings.lists import (
    Binds,
    Directories,
    Fields,
    Listeners,
    Networks,
    Origins,
    Patterns,
)
from gateway.settings.mounts import Codec, Interface, Lifespan, Mount, MountTable, is_plain
from gateway.settings.quantities import Duration, Level, Mode, Size, WorkerCount
from gateway.settings.texts import (
    Account,
    FilePath,
    Host,
    ImportString,
    LogConfig,
    LogFile,
    NewFile,
    Reference,
    RootPath,
)
from gateway.tls.options import (
    INTERMEDIATE,
    ClientCertificates,
    KeyPair,
    TlsOptions,
    TlsVersion,
)

__all__ = ["GROUPS", "PARENTAL", "SETTINGS", "Settings"]

Limit: TypeAlias = Annotated[int | None, Integer(low=1, zero_is_none=True)]
Within: TypeAlias = Annotated[float | None, Duration(zero_is_none=True)]

_APPS: Final = "Applications"
_ADDRESS: Final = "Address"
_TLS: Final = "TLS"
_PROCESSES: Final = "Processes"
_DEVELOPMENT: Final = "Development"
_WORK: Final = "Serving"
_HTTP2: Final = "HTTP/2"
_LIMITS: Final = "Limits and timeouts"
_WEBSOCKET: Final = "WebSocket"
_LOGS: Final = "Logging"
_PROXY: Final = "Behind a proxy"

GROUPS: Final = (
    _APPS,
    _ADDRESS,
    _TLS,
    _PROCESSES,
    _DEVELOPMENT,
    _WORK,
    _LIMITS,
    _HTTP2,
    _WEBSOCKET,
    _LOGS,
    _PROXY,
)
"""The chapters of the help and the documentation, in order."""

PARENTAL: Final = (
    "workers",
    "reload",
    "preload",
    "health_bind",
    "limit_worker_age",
    "limit_worker_memory",
)
"""What only a process above the workers can do; `workers` when it is not 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one server; frozen, typed, and valid when they come from `load`.

    Times are in seconds, sizes in bytes. ``docs/settings.md`` is generated from this class.
    """

    app: Annotated[
        object,
        ImportString(),
        Setting(
            help="The application to serve, at the mount '/'.",
            why="Nothing can be guessed safely; a file with mounts needs none.",
            group=_APPS,
        ),
    ] = None
    mounts: Annotated[
        tuple[Mount, ...],
        MountTable(),
        Setting(
            help="Serve another application below a path, a host, or both.",
            why="APP alone is the mount '/'.",
            group=_APPS,
            flag="mount",
            metavar="[HOST]/PATH=MODULE:APP",
            common=True,
        ),
    ] = ()
    interface: Annotated[
        Interface,
        Setting(
            help="The interface APP speaks; with mounts only, that of every mount without its own.",
            why="A signature tells it without calling anything.",
            group=_APPS,
            common=True,
        ),
    ] = "auto"
    factory: Annotated[
        bool,
        Setting(
            help="APP is called without arguments and returns the application.",
            why="A WSGI or ASGI 2 application cannot be told from a factory by looking.",
            group=_APPS,
            common=True,
        ),
    ] = False
    app_dir: Annotated[
        str,
        FilePath(),
        Setting(
            help="Look for modules in this directory first.",
            why="Empty is the working directory: where the project lies on most machines.",
            group=_APPS,
            aliases=("pythonpath",),
            metavar="DIRECTORY",
            common=True,
        ),
    ] = ""
    env_file: Annotated[
        str | None,
        FilePath(),
        Setting(
            help="Load environment variables for the applications from this file "
            "(needs gateway[dotenv]; GATEWAY_* in it are not settings).",
            why="A file nobody named should not change what an application sees.",
            group=_APPS,
            aliases=("env-files",),
            common=True,
        ),
    ] = None
    lifespan: Annotated[
        Lifespan,
        Setting(
            help="Run the applications' startup and shutdown (ASGI lifespan).",
            why="auto accepts applications without one; on makes that an error.",
            group=_APPS,
            aliases=("asgi-lifespan",),
        ),
    ] = "auto"

    bind: Annotated[
        tuple[str, ...],
        Listeners(),
        Setting(
            help="Listen here: host:port, [::]:port, unix:/path, fd://N or systemd:NAME; "
            "repeatable. A later --host or --port changes the first host:port. Behind the address "
            "may stand tls=off, redirect=https or proxy-protocol=v2.",
            why="Empty means uds, fd, or host and port.",
            group=_ADDRESS,
            aliases=("b",),
            common=True,
        ),
    ] = ()
    host: Annotated[
        str,
        Host(),
        Setting(
            help="Listen on this host name or address.",
            why="A server that nobody configured is not reachable from outside; "
            "0.0.0.0 when the environment has PORT, as platforms expect.",
            group=_ADDRESS,
            common=True,
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Integer(low=0, high=65535),
        Setting(
            help="Listen on this port; 0 picks a free one and prints it.",
            why="uvicorn's, gunicorn's and Django's port. PORT in the environment replaces it.",
            group=_ADDRESS,
            metavar="PORT",
            common=True,
        ),
    ] = 8000
    uds: Annotated[
        str | None,
        Setting(help="Listen on this UNIX socket.", group=_ADDRESS, metavar="PATH", common=True),
    ] = None
    uds_permissions: Annotated[
        int,
        Mode(),
        Setting(
            help="Permissions of the UNIX sockets this server makes.",
            why="uvicorn's: a proxy under another account can connect. The directory decides who "
            "may reach it (gunicorn and hypercorn: what umask leaves).",
            group=_ADDRESS,
        ),
    ] = 0o666
    fd: Annotated[
        int | None,
        Setting(help="Listen on this inherited file descriptor.", group=_ADDRESS),
    ] = None
    backlog: Annotated[
        int,
        Integer(low=1),
        Setting(
            help="Connections the kernel holds before they are accepted.",
            why="uvicorn's and gunicorn's value: a burst must outlive one slow turn of the loop; "
            "the kernel's own limit (somaxconn, 4096) still applies.",
            group=_ADDRESS,
        ),
    ] = 2048
    reuse_port: Annotated[
        bool,
        Setting(
            help="Give every worker a TCP socket of its own (SO_REUSEPORT).",
            why="Evenly spread where clients connect anew for each request; but what waits at a "
            "worker that hangs waits until another takes its place. From one shared socket the "
            "less busy workers take more.",
            group=_ADDRESS,
        ),
    ] = False

    insecure_bind: Annotated[
        tuple[str, ...],
        Binds(),
        Setting(
            help="Listen here too, without TLS; written as bind, repeatable.",
            why="Empty is nowhere: with a certificate every other address speaks TLS.",
            group=_ADDRESS,
        ),
    ] = ()
    redirect_bind: Annotated[
        tuple[str, ...],
        Binds(),
        Setting(
            help="Listen here too, and send every request to the same place at https; written as "
            "bind, repeatable.",
            why="Empty is nowhere. The answer is a 308, which keeps the method and the body.",
            group=_ADDRESS,
        ),
    ] = ()
    redirect_port: Annotated[
        int | None,
        Integer(low=1, high=65535),
        Setting(
            help="The port that redirects name.",
            why="None is that of the first TCP listener with TLS. In a container, where another "
            "one is published, it is the published one.",
            group=_ADDRESS,
            metavar="PORT",
        ),
    ] = None

    redirect_acme: Annotated[
        bool,
        Setting(
            help="Where requests are redirected, hand /.well-known/acme-challenge/ to the mounts.",
            why="Only a site that answers ACME's HTTP-01 itself needs it.",
            group=_ADDRESS,
        ),
    ] = False

    ssl_certfile: Annotated[
        str | None,
        FilePath(),
        Setting(
            help="Speak TLS with this certificate: PEM, those that lead to its authority behind "
            "it. The file is watched; a new one is taken over without a restart.",
            group=_TLS,
            aliases=("certfile", "ssl-certificate"),
            common=True,
        ),
    ] = None
    ssl_keyfile: Annotated[
        str | None,
        FilePath(),
        Setting(
            help="The key of ssl-certfile, PEM.",
            why="None: it is in ssl-certfile too.",
            group=_TLS,
            aliases=("keyfile",),
            common=True,
        ),
    ] = None
    ssl_keyfile_password: Annotated[
        str | None,
        Secret(),
        Setting(
            help="The password of an encrypted ssl-keyfile. Give it in the environment, "
            "or as ${VAR} in the file: everybody on the machine sees arguments.",
            group=_TLS,
            aliases=("keyfile-password",),
        ),
    ] = None
    ssl_certificates: Annotated[
        tuple[KeyPair, ...],
        KeyPairs(),
        Setting(
            help="More certificates; the names in each say whom it is for. Tables with certfile, "
            "keyfile and keyfile-password, or CERTFILE,KEYFILE; repeatable.",
            why="Empty is ssl-certfile alone, which also serves clients that ask for an unknown "
            "name, or for none; without it the first one here does.",
            group=_TLS,
        ),
    ] = ()
    ssl_version: Annotated[
        TlsVersion,
        LowestVersion(),
        Setting(
            help="The lowest version of TLS. uvicorn's and gunicorn's numbers are read as such.",
            why="Mozilla's intermediate profile: every client of the last ten years.",
            group=_TLS,
            aliases=("ssl-protocol-min",),
        ),
    ] = "1.2"
    ssl_ciphers: Annotated[
        str,
        Setting(
            help="The cipher suites of TLS 1.2, in OpenSSL's words; those of TLS 1.3 are fixed.",
            why="Mozilla's intermediate profile, without its three suites with finite-field DH. "
            "OpenSSL's own list (uvicorn's, gunicorn's) has CBC suites beside them.",
            group=_TLS,
            aliases=("ciphers",),
        ),
    ] = INTERMEDIATE
    ssl_cert_reqs: Annotated[
        ClientCertificates,
        ClientVerification(),
        Setting(
            help="Ask clients for certificates: none, optional or required (0, 1, 2 in uvicorn).",
            why="Browsers have none to show.",
            group=_TLS,
            aliases=("cert-reqs", "verify-mode"),
        ),
    ] = "none"
    ssl_ca_certs: Annotated[
        str | None,
        FilePath(),
        Setting(
            help="The authorities that may have issued clients' certificates, PEM.",
            group=_TLS,
            aliases=("ca-certs", "ssl-ca"),
        ),
    ] = None
    ssl_handshake_timeout: Annotated[
        float,
        Duration(low=0.1),
        Setting(
            help="Time from the opening of a connection to the end of its TLS handshake.",
            why="Three round trips, and lost packets, over the slowest network that a page is "
            "usable on (nginx, uvicorn and hypercorn: 60 s).",
            group=_TLS,
        ),
    ] = 10.0

    workers: Annotated[
        int | Literal["auto"],
        WorkerCount(),
        Setting(
            help="Processes that serve; auto is one for each usable core (affinity, cgroup quota).",
            why="What every peer takes: one process needs no process above it and no import "
            "string. WEB_CONCURRENCY in the environment replaces it. With reload it is 1.",
            group=_PROCESSES,
            aliases=("w",),
            common=True,
        ),
    ] = 1
    supervise: Annotated[
        bool | None,
        Setting(
            help="Run the workers, even a single one, below a process that replaces them.",
            why="None does where something asks for it: several workers, reload, preload, "
            "health-bind, or a limit after which a worker is replaced. Under systemd or in a "
            "container that restarts, one process alone is less to watch.",
            group=_PROCESSES,
        ),
    ] = None
    preload: Annotated[
        bool,
        Setting(
            help="Import the applications once and fork the workers from there.",
            why="Saves memory and time per worker, but whatever an import opens or starts is "
            "shared or lost; a check refuses threads and open sockets (gunicorn has none).",
            group=_PROCESSES,
        ),
    ] = False
    timeout_worker: Annotated[
        float | None,
        Duration(low=1, zero_is_none=True),
        Setting(
            help="Replace a worker whose event loop is silent for this long, and log where it "
            "hangs; 0 never does.",
            why="A loop that answers nobody for 10 s is of no use to a client. Threads of a WSGI "
            "mount may take as long as they like. Below 1 s, twice the time between two reports of "
            "a healthy worker, it would replace those (gunicorn: 30 s; uvicorn's 5 s are answered "
            "by a thread, a blocked loop goes unseen).",
            group=_PROCESSES,
            aliases=("timeout", "timeout-worker-healthcheck", "t"),
        ),
    ] = 10.0
    limit_max_requests: Annotated[
        Limit,
        Setting(
            help="Replace a worker after this many requests; with supervise off the server stops.",
            why="Only useful for applications that leak.",
            group=_PROCESSES,
            aliases=("max-requests",),
        ),
    ] = None
    limit_max_requests_jitter: Annotated[
        int | None,
        Integer(low=0),
        Setting(
            help="Add a random number of requests up to this to limit-max-requests.",
            why="None is a tenth of it: workers that started together do not leave together "
            "(uvicorn and gunicorn: 0, so they do).",
            group=_PROCESSES,
            aliases=("max-requests-jitter",),
        ),
    ] = None
    limit_worker_age: Annotated[
        Within,
        Setting(
            help="Replace a worker after this time.",
            why="As limit-max-requests, for applications that leak without requests.",
            group=_PROCESSES,
            aliases=("workers-lifetime",),
        ),
    ] = None
    limit_worker_age_jitter: Annotated[
        float | None,
        Duration(),
        Setting(
            help="Add a random time up to this to limit-worker-age.",
            why="None is a tenth of it (granian has none).",
            group=_PROCESSES,
        ),
    ] = None
    limit_worker_memory: Annotated[
        int | None,
        Size(low=16 << 20, zero_is_none=True),
        Setting(
            help="Replace a worker that uses more memory (RSS) than this.",
            why="The right size depends on the application alone. At least 16MiB, which an empty "
            "interpreter takes: 512 without a unit is a slip (granian's workers-max-rss counts "
            "in MiB).",
            group=_PROCESSES,
        ),
    ] = None
    limit_worker_memory_jitter: Annotated[
        int | None,
        Size(),
        Setting(
            help="Add a random size up to this to limit-worker-memory.",
            why="None is a tenth of it.",
            group=_PROCESSES,
        ),
    ] = None
    health_bind: Annotated[
        tuple[str, ...],
        Binds(),
        Setting(
            help="Answer /live and /ready here, apart from the applications; written as bind, "
            "repeatable.",
            why="Empty is nowhere: one more open port is the operator's decision.",
            group=_PROCESSES,
        ),
    ] = ()
    drain_delay: Annotated[
        Seconds,
        Setting(
            help="When stopping, go on serving for this long after /ready says no.",
            why="Only a balancer that polls needs it. It comes before timeout-graceful-shutdown; "
            "Kubernetes kills 30 s after TERM, so both together should stay below.",
            group=_PROCESSES,
        ),
    ] = 0.0
    hooks: Annotated[
        str | None,
        Reference(),
        Setting(
            help="Import string of a module or object whose on_start, on_ready, on_worker_start, "
            "on_worker_exit, on_reload and on_stop, as far as it has them, are called then.",
            group=_PROCESSES,
        ),
    ] = None
    pid_file: Annotated[
        str | None,
        NewFile(),
        Setting(
            help="Write the process id to this file and remove it at the end.",
            group=_PROCESSES,
            aliases=("pid", "pidfile", "p"),
        ),
    ] = None
    user: Annotated[
        str | None,
        Account(),
        Setting(
            help="Bind as root, then run the applications as this user.",
            why="None keeps who started it. systemd's User= needs no root at all.",
            group=_PROCESSES,
            aliases=("u",),
        ),
    ] = None
    group: Annotated[
        str | None,
        Account(),
        Setting(
            help="Bind as root, then run the applications as this group.",
            why="None is the user's own.",
            group=_PROCESSES,
            aliases=("g",),
        ),
    ] = None
    umask: Annotated[
        int | None,
        Mode(),
        Setting(
            help="Permissions that new files do not get.",
            why="None keeps the one inherited (gunicorn: 0, so that every file is writable by "
            "all).",
            group=_PROCESSES,
            aliases=("m",),
        ),
    ] = None

    reload: Annotated[
        bool,
        Setting(
            help="Start the worker again when a file changes; one worker, whatever workers says.",
            why="gateway dev turns it on, and is for development.",
            group=_DEVELOPMENT,
            common=True,
        ),
    ] = False
    reload_dirs: Annotated[
        tuple[str, ...],
        Directories(),
        Setting(
            help="Watch this directory; repeatable.",
            why="Empty is the working directory, as in uvicorn.",
            group=_DEVELOPMENT,
            flag="reload-dir",
            aliases=("reload-paths",),
        ),
    ] = ()
    reload_includes: Annotated[
        tuple[str, ...],
        Patterns(),
        Setting(
            help="Watch files of this pattern as well; repeatable.",
            why="Empty is Python files alone (*.py), as in uvicorn.",
            group=_DEVELOPMENT,
            flag="reload-include",
        ),
    ] = ()
    reload_excludes: Annotated[
        tuple[str, ...],
        Patterns(),
        Setting(
            help="Leave out files and directories of this pattern; repeatable.",
            why="Hidden files, .py[cod], .sw.* and ~* are left out anyway, as in uvicorn.",
            group=_DEVELOPMENT,
            flag="reload-exclude",
        ),
    ] = ()
    reload_delay: Annotated[
        Seconds,
        Setting(
            help="Time between two looks at the files.",
            why="uvicorn's. A save that writes several files is one change.",
            group=_DEVELOPMENT,
        ),
    ] = 0.25

    loop: Annotated[
        Literal["auto", "asyncio", "uvloop"],
        Setting(
            help="Event loop.",
            why="auto takes uvloop where it is installed: twice asyncio's speed on plain requests.",
            group=_WORK,
            aliases=("asgi-loop",),
        ),
    ] = "auto"
    http: Annotated[
        Literal["auto", "httptools", "h11"],
        Setting(
            help="HTTP/1.1 parser.",
            why="auto takes httptools where it is installed; both give the same requests.",
            group=_WORK,
        ),
    ] = "auto"
    threads: Annotated[
        int,
        Integer(low=1, high=4096),
        Setting(
            help="Threads of a WSGI mount, at most; they are started on need.",
            why="Views that wait for a database for 50 ms make 160 requests a second with 8. "
            "More would rarely be faster under one interpreter lock and each may hold a "
            "database connection (waitress has 4, uvicorn 10, gunicorn 1).",
            group=_WORK,
            aliases=("blocking-threads",),
            common=True,
        ),
    ] = 8
    thread_queue: Annotated[
        int,
        Integer(low=0),
        Setting(
            help="Requests of a WSGI mount that may wait for a thread; the next one gets a 503 "
            "with Retry-After.",
            why="At 100 ms a request the last of 1000 waits 12 s for one of 8 threads: long, but "
            "less than the 30 to 60 s after which proxies give up. A burst of a few hundred "
            "connections on a fast application never meets it.",
            group=_WORK,
        ),
    ] = 1000
    server_header: Annotated[
        bool,
        Setting(help="Send the Server header.", why="As every peer does.", group=_WORK),
    ] = True
    date_header: Annotated[
        bool,
        Setting(
            help="Send the Date header.",
            why="RFC 9110, section 6.6.1, asks a server with a clock for it.",
            group=_WORK,
        ),
    ] = True
    header: Annotated[
        tuple[tuple[str, str], ...],
        Fields(),
        Setting(
            help="Add this header to every response; repeatable.", group=_WORK, aliases=("headers",)
        ),
    ] = ()
    reset_contextvars: Annotated[
        bool,
        Setting(
            help="Run each ASGI request in an empty context, without what was set at import.",
            why="A copy of the server's context is what other servers give and libraries expect.",
            group=_WORK,
        ),
    ] = False
    callback_notify: Annotated[
        Callable[[], Awaitable[None]] | None,
        PythonOnly(),
        Setting(help="Called, and awaited, every timeout_notify seconds.", group=_WORK),
    ] = None
    timeout_notify: Annotated[
        Seconds,
        Setting(
            help="Time between two calls of callback_notify.", why="As in uvicorn.", group=_WORK
        ),
    ] = 30.0

    timeout_keep_alive: Annotated[
        Seconds,
        Setting(
            help="Close a connection that has been idle between requests for this long.",
            why="nginx and AWS load balancers reuse an idle connection for 60 s: the side that "
            "closes first must be theirs, or the request on its way is lost as a 502. "
            "75 s is nginx's own (uvicorn, hypercorn and Node: 5 s, gunicorn: 2 s). "
            "An idle connection costs a few KiB and never delays a stop.",
            group=_LIMITS,
            aliases=("keep-alive", "keep-alive-timeout"),
            common=True,
        ),
    ] = 75.0
    timeout_graceful_shutdown: Annotated[
        Seconds,
        Setting(
            help="When stopping, let open requests run for at most this long.",
            why="Heroku, Kubernetes and ECS kill 30 s after TERM. uvicorn's and granian's "
            "endless wait is why an open stream makes Ctrl-C hang there.",
            group=_LIMITS,
            aliases=("graceful-timeout",),
            common=True,
        ),
    ] = 30.0
    timeout_head: Annotated[
        float,
        Duration(low=0.1),
        Setting(
            help="Time for a request head from its first byte to its last, and for the first byte "
            "of a connection.",
            why="hyper's and Unit's. nginx waits 60 s, hypercorn 5 s; uvicorn and gunicorn's ASGI "
            "worker wait for ever, so that silent clients take all descriptors.",
            group=_LIMITS,
            aliases=("client-header-timeout", "http-headers-timeout"),
        ),
    ] = 30.0
    timeout_body: Annotated[
        Within,
        Setting(
            help="How far a request body may be behind min-body-rate; a pause may last as long. "
            "Then it is a 408. 0 waits for ever.",
            why="A body that stops holds what waits for it, such as a WSGI thread. gunicorn's ASGI "
            "worker and Unit wait 30 s, nginx 60 s; uvicorn, granian and hypercorn for ever.",
            group=_LIMITS,
            aliases=("client-body-timeout",),
        ),
    ] = 30.0
    min_body_rate: Annotated[
        int | None,
        Size(low=1, zero_is_none=True),
        Setting(
            help="Bytes in a second that a request body has to bring while the application takes "
            "them; 0 asks for none.",
            why="Kestrel's. A byte every 2 s would otherwise never end; the slowest phones send "
            "ten times as much (Apache 500; nginx and the Python servers have none).",
            group=_LIMITS,
        ),
    ] = 240
    timeout_write: Annotated[
        Within,
        Setting(
            help="Cut a client that takes nothing of its response for this long; 0 waits for ever.",
            why="nginx's send_timeout. A reader that stops holds the thread or task that writes; "
            "the Python servers wait for ever.",
            group=_LIMITS,
            aliases=("send-timeout", "socket-send-timeout"),
        ),
    ] = 60.0
    timeout_request: Annotated[
        Within,
        Setting(
            help="Give up on an application that lets its client wait for this long: 504, or a cut "
            "in mid-response, its stack in the log, its task cancelled. Waiting for the client "
            "does not count; WebSockets and event streams are exempt. 0 waits for ever.",
            why="Long enough for what anybody waits for, and an end for what hangs; set it lower "
            "where you know the application. nginx and load balancers of AWS wait 60 s, Cloudflare "
            "100 s; of the Python servers only gunicorn's sync worker (30 s, it is killed).",
            group=_LIMITS,
            aliases=("http-timeout", "harakiri"),
        ),
    ] = 600.0
    limit_body: Annotated[
        int | None,
        Size(low=1, zero_is_none=True),
        Setting(
            help="Largest request body; a larger one is a 413, before the application where its "
            "length is declared, else as soon as it is too long.",
            why="None: bodies are streamed, so their size costs no memory here, and the "
            "application knows what is sensible. nginx's 1 MiB is what every upload meets first "
            "(Unit 8 MiB, waitress 1 GiB, uvicorn, gunicorn and granian none).",
            group=_LIMITS,
            aliases=(
                "client-max-body-size",
                "max-body-size",
                "max-request-body-size",
                "limit-post",
            ),
        ),
    ] = None
    limit_concurrency: Annotated[
        Limit,
        Setting(
            help="Answer 503 beyond this many requests in progress; idle connections do not count.",
            why="The right number depends on the application alone.",
            group=_LIMITS,
            aliases=("worker-connections",),
            common=True,
        ),
    ] = None
    limit_queue: Annotated[
        int,
        Integer(low=0),
        Setting(
            help="Requests that may wait for a place below limit-concurrency, first come, first "
            "served; of the server, and of each mount with a limit-concurrency.",
            why="0 answers 503 at once, as uvicorn does: a balancer that has another server asks "
            "that one. A queue is for a server that is alone.",
            group=_LIMITS,
            aliases=("maxqueue",),
        ),
    ] = 0
    timeout_queue: Annotated[
        float,
        Duration(low=0.1),
        Setting(
            help="Answer 503 to a request that has waited in limit-queue for this long.",
            why="A client that has waited for 10 s is about to give up, and its request would be "
            "work for nobody (HAProxy: that of a connect, mostly 5 s).",
            group=_LIMITS,
        ),
    ] = 10.0
    limit_connections: Annotated[
        Limit,
        Setting(
            help="Open connections of one process. Beyond them the longest idle ones are closed; "
            "where none is idle, nothing is accepted until one ends.",
            why="None: what the system allows (ulimit -n). Below that, the applications keep "
            "descriptors of their own (nginx 512 a worker, waitress 100, uvicorn none).",
            group=_LIMITS,
            aliases=("connection-limit",),
        ),
    ] = None
    limit_connections_per_address: Annotated[
        Limit,
        Setting(
            help="Open connections of one client in one process: an IPv4 address, or a /64 of "
            "IPv6. More are closed at once.",
            why="None: behind a proxy all clients have its address, and many people share one. "
            "Browsers open 6 (nginx limit_conn and the Python servers: none).",
            group=_LIMITS,
            aliases=("limit-conn",),
        ),
    ] = None
    limit_head_size: Annotated[
        int,
        Size(low=1024),
        Setting(
            help="Largest request head (request line and headers); larger ones get a 431.",
            why="h11 in uvicorn and hyper take 64 KiB, waitress 256, nginx 32. Large cookies and "
            "tokens fit; without a limit (uvicorn's httptools) 8 MB heads are buffered.",
            group=_LIMITS,
            aliases=("h11-max-incomplete-event-size", "h11-max-incomplete-size"),
        ),
    ] = 65536
    limit_headers: Annotated[
        int,
        Integer(low=1),
        Setting(
            help="Most headers in one request; more get a 431.",
            why="gunicorn's and hyper's value; HAProxy takes 101. Browsers send about 20.",
            group=_LIMITS,
            aliases=("limit-request-fields",),
        ),
    ] = 100

    http2: Annotated[
        bool,
        Automatic(),
        Setting(
            help="Speak HTTP/2 with clients that ask for it: by ALPN over TLS, else by its preface "
            "or an Upgrade.",
            why="Clients that do not ask get HTTP/1.1, so there is nothing to lose.",
            group=_HTTP2,
        ),
    ] = True
    http2_max_concurrent_streams: Annotated[
        int,
        Integer(low=1, high=0x7FFFFFFF),
        Setting(
            help="Requests at a time on one connection; more are refused, and may be repeated.",
            why="nginx's. The RFC asks for 100 at least; granian 200, Go 250.",
            group=_HTTP2,
            aliases=("h2-max-concurrent-streams",),
        ),
    ] = 128
    http2_initial_window_size: Annotated[
        int,
        Size(low=1, high=0x7FFFFFFF),
        Setting(
            help="Bytes of a request's body that may be on their way before the application takes "
            "them.",
            why="256 KiB are 20 Mbit/s at 100 ms. A connection whose bodies nobody reads may hold "
            "this much for each of its requests (gunicorn and Go's clients 64 KiB, granian 1 MiB).",
            group=_HTTP2,
            aliases=("http2-initial-stream-window-size",),
        ),
    ] = 256 << 10
    http2_max_frame_size: Annotated[
        int,
        Size(low=16 << 10, high=0xFFFFFF),
        Setting(
            help="Largest frame received.",
            why="The smallest the RFC allows: what sends keeps the others waiting for one frame.",
            group=_HTTP2,
            aliases=("h2-max-inbound-frame-size",),
        ),
    ] = 16 << 10
    http2_max_header_list_size: Annotated[
        int,
        Size(low=1024),
        Setting(
            help="Largest header section received, each field counted with 32 bytes more; larger "
            "ones get a 431.",
            why="As limit-head-size; granian takes 16 MiB.",
            group=_HTTP2,
            aliases=("http2-max-headers-size", "h2-max-header-list-size"),
        ),
    ] = 65536
    ws: Annotated[
        Codec,
        Choice(("auto", "websockets", "wsproto", "none"), {"websockets-sansio": "websockets"}),
        Setting(
            help="Who reads WebSocket frames; none serves the request as if it did not ask for an "
            "upgrade.",
            why="auto is gateway's own, the fastest; the others are the libraries of that name. "
            "All keep the same rules (websockets-sansio, in uvicorn, is websockets).",
            group=_WEBSOCKET,
        ),
    ] = "auto"
    ws_max_size: Annotated[
        int,
        Size(low=1),
        Setting(
            help="Largest message received, inflated; a larger one closes with 1009.",
            why="uvicorn's and gunicorn's. A client that sends small messages needs less: one of "
            "this size is held in memory whole (websockets and daphne: 1 MiB).",
            group=_WEBSOCKET,
            aliases=("websocket-max-message-size",),
        ),
    ] = 16 << 20
    ws_max_queue: Annotated[
        int,
        Integer(low=1),
        Setting(
            help="Messages that wait for the application; then the client is held back.",
            why="uvicorn's: enough that an application rarely waits for the next one "
            "(websockets: 16).",
            group=_WEBSOCKET,
        ),
    ] = 32
    ws_ping_interval: Annotated[
        Within,
        Setting(
            help="Time between two pings; 0 sends none.",
            why="uvicorn's, daphne's and websockets'. Below the 60 s after which nginx and load "
            "balancers end a silent connection (gunicorn and granian: none).",
            group=_WEBSOCKET,
            aliases=("websocket-ping-interval", "ping-interval"),
        ),
    ] = 20.0
    ws_ping_timeout: Annotated[
        Within,
        Setting(
            help="Close a connection that has not answered a ping for this long; 0 never does.",
            why="uvicorn's and websockets': a client that has vanished is noticed within 40 s "
            "(daphne: 30 s; hypercorn, gunicorn and granian: none).",
            group=_WEBSOCKET,
            aliases=("ping-timeout",),
        ),
    ] = 20.0
    ws_per_message_deflate: Annotated[
        bool,
        Setting(
            help="Compress messages for clients that offer it (permessage-deflate, RFC 7692).",
            why="As uvicorn and hypercorn: text becomes a third or less. It costs time, and "
            "memory per connection (gunicorn, daphne and granian have none).",
            group=_WEBSOCKET,
        ),
    ] = True
    ws_handshake_timeout: Annotated[
        Within,
        Setting(
            help="Time for the application to accept or deny a connection; then it gets a 503.",
            why="Longer than a login check against a slow database takes (daphne: 5 s; the others "
            "wait without end).",
            group=_WEBSOCKET,
            aliases=("websocket-connect-timeout",),
        ),
    ] = 30.0
    ws_max_lifetime: Annotated[
        Within,
        Setting(
            help="Close a connection after this time; its client may open another one.",
            why="Only an operator knows: it ends sessions whose login has run out, and spreads "
            "clients over new servers (daphne: 24 h; the others have none).",
            group=_WEBSOCKET,
            aliases=("websocket-timeout",),
        ),
    ] = None
    ws_origins: Annotated[
        tuple[str, ...],
        Origins(),
        Setting(
            help="Only clients with this Origin may connect, the others get a 403; none stands for "
            "clients that send none, which browsers never are; repeatable.",
            why="Empty is anybody, as everywhere else: frameworks have checks of their own "
            "(Channels' OriginValidator). Where a cookie logs in, name the origins: browsers send "
            "it from any page.",
            group=_WEBSOCKET,
            flag="ws-origin",
        ),
    ] = ()

    log_level: Annotated[
        Annotated[int, Level()] | None,
        Setting(
            help="Lowest level logged: a name or a number; info if neither this nor log-config "
            "says.",
            why="None leaves the levels of a log-config as they are.",
            group=_LOGS,
            metavar="LEVEL",
            common=True,
        ),
    ] = None
    access_log: Annotated[
        bool,
        Setting(
            help="Log every request, to stdout or access-log-file.",
            why="The first thing asked for when something goes wrong; written in batches.",
            group=_LOGS,
            common=True,
        ),
    ] = True
    access_log_format: Annotated[
        str,
        Setting(
            help="default, common, combined, dev, json, or a format of gunicorn's atoms.",
            why="default is for people: one short line with status, duration and size.",
            group=_LOGS,
            aliases=("access-logformat", "access-log-fmt"),
            metavar="FORMAT",
            common=True,
        ),
    ] = "default"
    log_file: Annotated[
        str | None,
        LogFile(),
        Setting(
            help="Append the server's log to this file; '-' is stderr.",
            why="None is stderr, where service managers and containers collect it. "
            "USR1 opens the file anew, for logrotate.",
            group=_LOGS,
            aliases=("error-logfile", "errorlog"),
        ),
    ] = None
    access_log_file: Annotated[
        str | None,
        LogFile(),
        Setting(
            help="Append the access log to this file; '-' is stdout.",
            why="None is stdout. USR1 opens the file anew, for logrotate.",
            group=_LOGS,
            aliases=("access-logfile", "accesslog"),
        ),
    ] = None
    log_config: Annotated[
        str | Mapping[str, object] | None,
        LogConfig(),
        Setting(
            help="Logging configuration: an .ini, .json, .yaml (needs gateway[yaml]) or .toml "
            "file; in TOML and Python also the dictionary itself.",
            group=_LOGS,
        ),
    ] = None
    use_colors: Annotated[
        bool | None,
        Setting(
            help="Color the log.",
            why="None looks: a terminal, and neither NO_COLOR nor FORCE_COLOR set.",
            group=_LOGS,
        ),
    ] = None

    proxy_headers: Annotated[
        bool,
        Setting(
            help="Take client, scheme, host and prefix from X-Forwarded-* and Forwarded of "
            "trusted peers.",
            why="Safe, as only forwarded-allow-ips are believed.",
            group=_PROXY,
        ),
    ] = True
    forwarded_allow_ips: Annotated[
        tuple[str, ...],
        Networks(),
        Setting(
            help="Peers whose forwarded headers are believed: addresses, networks, or '*'; "
            "UNIX sockets always are.",
            why="A proxy on the same machine. FORWARDED_ALLOW_IPS in the environment replaces it.",
            group=_PROXY,
            common=True,
        ),
    ] = ("127.0.0.1", "::1")
    proxy_protocol: Annotated[
        ProxyProtocol,
        Setting(
            help="Take the client's address from the PROXY protocol, which a balancer speaks in "
            "front of each connection: v1 and v2 ask everybody for a header of that version; auto "
            "asks trusted peers for one of either version, and the others are plain clients. "
            "Behind an address in bind it says the same for that one.",
            why="Who is asked for a header and sends none is turned away.",
            group=_PROXY,
        ),
    ] = "off"
    proxy_protocol_allow_ips: Annotated[
        tuple[str, ...],
        Networks(),
        Setting(
            help="The balancers whose PROXY headers are believed: addresses, networks, or '*'; "
            "UNIX sockets always are.",
            why="gunicorn's. A list of its own: a balancer that tells addresses is not one whose "
            "clients' X-Forwarded-For is to be believed.",
            group=_PROXY,
            aliases=("proxy-allow-from", "proxy-allow-ips"),
        ),
    ] = ("127.0.0.1", "::1")
    root_path: Annotated[
        str,
        RootPath(),
        Setting(
            help="The path a proxy in front strips; prepended to every request's path.",
            why="As in uvicorn: frameworks build their links from it.",
            group=_PROXY,
            common=True,
        ),
    ] = ""

    @property
    def addresses(self) -> tuple[Bind, ...]:
        """Where to listen: `bind`, else `uds`, else `fd`, else `host` and `port`.

        Behind it comes what `insecure_bind` and `redirect_bind` add.
        """
        beside = (
            *(replace(Bind.parse(text), tls=False) for text in self.insecure_bind),
            *(replace(Bind.parse(text), tls=False, redirect=True) for text in self.redirect_bind),
        )
        if self.bind:
            return (*map(Bind.parse, self.bind), *beside)
        if self.uds is not None:
            return (Bind(path=self.uds), *beside)
        if self.fd is not None:
            return (Bind(fd=self.fd), *beside)
        return (Bind(host=self.host.strip("[]"), port=self.port), *beside)

    @property
    def tls(self) -> TlsOptions | None:
        """How TLS is spoken; None where there is no certificate."""
        pairs = self.ssl_certificates
        if self.ssl_certfile is not None:
            first = KeyPair(
                certfile=self.ssl_certfile,
                keyfile=self.ssl_keyfile,
                password=self.ssl_keyfile_password,
            )
            pairs = (first, *pairs)
        if not pairs:
            return None
        return TlsOptions(
            pairs=pairs,
            version=self.ssl_version,
            ciphers=self.ssl_ciphers,
            clients=self.ssl_cert_reqs,
            ca_certs=self.ssl_ca_certs,
            handshake_timeout=self.ssl_handshake_timeout,
        )

    def encrypts(self, bind: Bind) -> bool:
        """Whether TLS is spoken at an address."""
        return bind.tls is not False and self.tls is not None

    def proxied(self, bind: Bind) -> ProxyProtocol:
        """Which PROXY header connections to an address have in front."""
        return bind.proxy_protocol or self.proxy_protocol

    @property
    def health_addresses(self) -> tuple[Bind, ...]:
        """Where /live and /ready answer: `health_bind`."""
        return tuple(map(Bind.parse, self.health_bind))

    @property
    def objects(self) -> tuple[str, ...]:
        """What is given as a Python object: "app", "mounts./api", "callback_notify".

        No other process can have it: a worker is a fresh interpreter, which imports by name.
        """
        found = [name for name in ("app", "callback_notify") if not is_plain(getattr(self, name))]
        for mount in self.mounts:
            if not (mount.key == "/" and "app" in found) and not mount.is_plain:
                found.append(f"mounts.{mount.key}")
        if not is_plain(self.log_config):
            found.append("log_config")
        return tuple(found)

    @property
    def parental(self) -> tuple[str, ...]:
        """The settings among `PARENTAL` that ask for a process above the workers."""
        return tuple(name for name in PARENTAL if getattr(self, name) != SETTINGS[name].default)

    @property
    def supervised(self) -> bool:
        """Whether a process above the workers starts and replaces them.

        limit_max_requests alone asks for it too, or the server would just be gone at the limit
        (uvicorn's single process is); but not for what is given as an object, which only this
        process has.
        """
        if self.supervise is not None:
            return self.supervise
        if self.limit_max_requests is not None and not self.objects:
            return True
        return bool(self.parental)


SETTINGS: Final[Mapping[str, Field]] = declared(Settings)
