"""What whoever starts the server hands to it: descriptors, a notification socket, names, rights."""

from __future__ import annotations

import grp
import os
import pwd
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest

from e2e.client import Http1Socket
from e2e.load import ask
from e2e.process import wait_for, wait_until, write_main

APP = "e2e.apps.processes:app"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the user")


# --- sd_notify ------------------------------------------------------------------------------------


class Systemd:
    """The other end of NOTIFY_SOCKET: datagrams of lines, sd_notify(3)."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(0.1)
        self.messages = []
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        while not self._ended:
            try:
                text = self.socket.recv(4096).decode()
            except TimeoutError:
                continue
            with self._changed:
                self.messages.append(dict(line.split("=", 1) for line in text.split("\n") if line))
                self._changed.notify_all()

    def wait(self, name, value=None, *, after=0, count=1, timeout=10.0):
        """The message with `name`, and its number among all."""

        def found():
            return [
                (number, message)
                for number, message in enumerate(self.messages[after:], after)
                if name in message and value in (None, message[name])
            ]

        with self._changed:
            if not self._changed.wait_for(lambda: len(found()) >= count, timeout):
                raise AssertionError(f"no {name}={value} in {self.messages}")
            return found()[count - 1]

    def close(self):
        self._ended = True
        self._thread.join()
        self.socket.close()


@pytest.fixture
def systemd(tmp_path):
    systemd = Systemd(tmp_path / "notify")
    yield systemd
    systemd.close()


@pytest.fixture
def notified(gateway, tmp_path):
    def start(*args, **env):
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), **env}
        return gateway(APP, "--port", "0", *args, env=env).ready()

    return start


@pytest.mark.parametrize("workers", ["1", "2"])
def test_systemd_is_told_of_readiness_and_of_the_end(notified, systemd, workers):
    process = notified("--workers", workers)
    number, message = systemd.wait("READY", "1")
    assert number == 0 or all("READY" not in each for each in systemd.messages[:number])
    systemd.wait("STATUS")
    assert process.stop() == 0
    systemd.wait("STOPPING", "1", after=number)
    assert [each for each in systemd.messages if "READY" in each] == [message]


def test_systemd_is_told_of_a_reload(notified, systemd):
    process = notified("--workers", "2")
    number, _ = systemd.wait("READY", "1")
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    process.signal(signal.SIGHUP)
    number, message = systemd.wait("RELOADING", "1", after=number + 1)
    assert before <= int(message["MONOTONIC_USEC"]) <= before + 5_000_000
    systemd.wait("READY", "1", after=number)


def test_systemd_is_told_that_a_failed_reload_is_over_too(gateway, systemd, tmp_path):
    write_main(tmp_path, "v1")
    env = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    process = gateway("main:app", "--workers", "2", "--port", "0", env=env).ready()
    number, _ = systemd.wait("READY", "1")
    write_main(tmp_path, "v2", "import nosuchlib")
    process.signal(signal.SIGHUP)
    number, _ = systemd.wait("RELOADING", "1", after=number + 1)
    systemd.wait("READY", "1", after=number)


def test_the_watchdog_is_fed_twice_in_its_time(notified, systemd):
    notified("--workers", "2", WATCHDOG_USEC="600000")
    first, _ = systemd.wait("WATCHDOG", "1")
    began = time.monotonic()
    systemd.wait("WATCHDOG", "1", after=first + 1, count=3)
    assert time.monotonic() - began < 1.8


def test_a_watchdog_of_another_process_is_not_fed(notified, systemd):
    process = notified("--workers", "2", WATCHDOG_USEC="200000", WATCHDOG_PID="1")
    process.answering(2)
    assert process.stop() == 0
    systemd.wait("STOPPING")
    assert not [each for each in systemd.messages if "WATCHDOG" in each]


@pytest.mark.slow
def test_the_watchdog_starves_when_a_single_process_hangs(notified, systemd, tmp_path):
    process = notified(WATCHDOG_USEC="400000")
    systemd.wait("WATCHDOG", "1")
    with process.connect() as connection:
        connection.send_request("GET", f"/block?seconds=1.2&mark={tmp_path / 'mark'}")
        wait_for(tmp_path / "mark")
        before = len(systemd.messages)
        connection.response()
        # What came while it hung: none, but for one that was on its way.
        assert len(systemd.messages) - before <= 2


@pytest.mark.parametrize("path", ["missing", "", "relative/path"])
def test_a_notification_socket_that_is_not_there_does_not_stop_the_server(gateway, tmp_path, path):
    name = str(tmp_path / path) if path == "missing" else path
    process = gateway(APP, "--workers", "2", "--port", "0", env={"NOTIFY_SOCKET": name}).ready()
    assert process.stop() == 0


def test_an_application_does_not_inherit_the_sockets_of_systemd(notified, systemd):
    process = notified("--workers", "2", WATCHDOG_USEC="1000000")
    for pid in process.workers():
        with open(f"/proc/{pid}/environ") as file:
            names = {each.partition("=")[0] for each in file.read().split("\0")}
        assert not names & {"NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID"}


# --- LISTEN_FDS -----------------------------------------------------------------------------------

# As systemd does: descriptors from 3 on, and the pid that they are meant for.
LAUNCHER = """
import os, sys
for number, fd in enumerate(map(int, sys.argv[1].split(",")), 3):
    os.dup2(fd, number + 100)
for number, fd in enumerate(sys.argv[1].split(","), 3):
    os.dup2(number + 100, number)
    os.close(number + 100)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-m", "gateway", *sys.argv[2:]])
"""


def activated(gateway, sockets, *args, **env):
    fds = [each.fileno() for each in sockets]
    launch = ["-c", LAUNCHER, ",".join(map(str, fds)), *args]
    env = {"LISTEN_FDS": str(len(fds)), **env}
    return gateway(*launch, module=None, pass_fds=fds, env=env)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sockets_of_systemd_are_served(gateway, tmp_path, workers):
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as unix,
    ):
        unix.bind(str(tmp_path / "s"))
        unix.listen()
        process = activated(gateway, [tcp, unix], APP, "--workers", workers).ready()
        for address in (tcp.getsockname(), str(tmp_path / "s")):
            with Http1Socket(address) as connection:
                assert ask(connection)
        assert process.stop() == 0
        # The sockets are systemd's: a connection made now waits for the next start.
        Http1Socket(tcp.getsockname()).close()
        assert (tmp_path / "s").exists()


def test_a_socket_of_systemd_can_be_asked_for_by_name(gateway):
    with (
        socket.create_server(("127.0.0.1", 0)) as web,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        process = activated(
            gateway, [other, web], APP, "--bind", "systemd:web", LISTEN_FDNAMES="other:web"
        ).ready()
        with Http1Socket(web.getsockname()) as connection:
            assert ask(connection)
        assert process.port == web.getsockname()[1]
        # Nobody asked for the other one; whoever wrote the unit is told.
        process.err.wait("WARNING.*other")
        assert process.stop() == 0


def test_a_name_that_systemd_does_not_know_is_an_error(gateway):
    with socket.create_server(("127.0.0.1", 0)) as web:
        process = activated(gateway, [web], APP, "--bind", "systemd:wbe", LISTEN_FDNAMES="web")
        assert process.wait() == 3
    assert process.err.lines[0].startswith("error: ")
    assert "wbe" in process.err.text
    assert "web" in process.err.text


def test_sockets_for_another_process_are_left_alone(gateway):
    with socket.create_server(("127.0.0.1", 0)) as web:
        process = gateway(
            APP, "--port", "0", pass_fds=[web.fileno()],
            env={"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        ).ready()  # fmt: skip
        assert process.port != web.getsockname()[1]


# --- pid file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_pid_file_names_the_process_to_signal(gateway, tmp_path, workers):
    process = gateway(APP, "--workers", workers, "--port", "0", "--pid-file", "g.pid").ready()
    assert (tmp_path / "g.pid").read_text() == f"{process.pid}\n"
    assert process.stop() == 0
    assert not (tmp_path / "g.pid").exists()


def test_a_second_start_is_refused_by_the_pid_file(gateway, tmp_path):
    first = gateway(APP, "--workers", "2", "--port", "0", "--pid-file", "g.pid").ready()
    second = gateway(APP, "--workers", "2", "--port", "0", "--pid-file", "g.pid")
    assert second.wait() == 3
    assert second.err.lines[0].startswith("error: ")
    assert "g.pid" in second.err.text
    assert str(first.pid) in second.err.text
    assert (tmp_path / "g.pid").read_text() == f"{first.pid}\n"


def test_a_file_that_is_no_pid_file_is_not_overwritten(gateway, tmp_path):
    (tmp_path / "g.pid").write_text("precious")
    process = gateway(APP, "--workers", "2", "--port", "0", "--pid-file", "g.pid")
    assert process.wait() == 3
    assert "g.pid" in process.err.lines[0]
    assert process.err.text.count("g.pid") == 1
    assert (tmp_path / "g.pid").read_text() == "precious"


@pytest.mark.parametrize("text", ["4194999\n", ""])
def test_a_stale_pid_file_is_replaced(gateway, tmp_path, text):
    (tmp_path / "g.pid").write_text(text)
    process = gateway(APP, "--workers", "2", "--port", "0", "--pid-file", "g.pid").ready()
    assert (tmp_path / "g.pid").read_text() == f"{process.pid}\n"


def test_a_failed_start_leaves_no_pid_file(gateway, tmp_path):
    process = gateway("nosuch:app", "--workers", "2", "--port", "0", "--pid-file", "g.pid")
    assert process.wait() == 3
    assert not (tmp_path / "g.pid").exists()


# --- rights ---------------------------------------------------------------------------------------


def open_to_all(directory):
    """pytest's own directories are for the present user alone."""
    while directory.name.startswith(("test_", "popen-", "pytest-")):
        directory.chmod(0o755)
        directory = directory.parent


@AS_ROOT
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_directory_that_the_user_may_not_enter_is_no_obstacle(gateway, workers):
    # The application is somewhere else on the path, as installed ones are.
    process = gateway(APP, "--workers", workers, "--port", "0", "--user", "nobody").ready()
    with process.connect() as connection:
        assert ask(connection)
    assert process.stop() == 0
    assert "Traceback" not in process.err.text


@AS_ROOT
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_socket_and_a_pid_file_in_a_directory_of_roots_are_no_failure_at_the_end(
    gateway, tmp_path, workers
):
    open_to_all(tmp_path)
    process = gateway(
        APP, "--workers", workers, "--uds", "g.sock", "--pid-file", "g.pid", "--user", "nobody"
    ).ready()  # fmt: skip
    with Http1Socket(str(tmp_path / "g.sock")) as connection:
        assert ask(connection)
    assert process.stop() == 0
    assert "Traceback" not in process.err.text
    assert "stopped" in process.err.text
    stays = workers == "1"  # the one process is not root any more
    assert ("g.sock stays: " in process.err.text) == stays
    assert (tmp_path / "g.sock").exists() == stays
    # The next start replaces it.
    again = gateway(APP, "--uds", "g.sock", "--pid-file", "g.pid").ready()
    with Http1Socket(str(tmp_path / "g.sock")) as connection:
        assert ask(connection)
    assert again.stop() == 0


@AS_ROOT
@pytest.mark.parametrize("workers", ["1", "2"])
def test_applications_run_as_user_and_group_with_the_umask(gateway, tmp_path, workers):
    open_to_all(tmp_path)
    user, group = pwd.getpwnam("nobody"), grp.getgrnam("nogroup")
    process = gateway(
        APP, "--workers", workers, "--port", "0",
        "--user", "nobody", "--group", "nogroup", "--umask", "027",
    ).ready()  # fmt: skip
    with process.connect() as connection:
        connection.send_request("GET", "/ids")
        uid, gid, groups, umask = re.split(r" (?![^\[]*\])", connection.response().text)
    assert (int(uid), int(gid), umask) == (user.pw_uid, group.gr_gid, "27")
    assert "0" not in re.findall(r"\d+", groups)
    assert process.stop() == 0


@AS_ROOT
def test_a_worker_as_another_user_imports_as_that_user(gateway, tmp_path):
    open_to_all(tmp_path)
    write_main(tmp_path, "v1", "import os", "os.write(1, b'import as %d\\n' % os.getuid())")
    process = gateway("main:app", "--workers", "2", "--port", "0", "--user", "nobody").ready()
    told = [each for each in process.out.lines if each.startswith("import")]
    assert told == [f"import as {pwd.getpwnam('nobody').pw_uid}"] * 2
    # A replacement can still be started.
    before = process.answering(2)
    os.kill(before[0], signal.SIGKILL)
    process.wait_gone([before[0]])
    assert set(process.answering(2)) == {0, 1}


def test_an_unknown_user_is_named(gateway):
    process = gateway(APP, "--workers", "2", "--port", "0", "--user", "nosuchuser")
    assert process.wait() == 2
    assert "nosuchuser" in process.err.lines[0]


@pytest.mark.parametrize(
    ("workers", "given", "mode"),
    [("1", [], 0o666), ("2", ["--uds-permissions", "0660"], 0o660)],
)
def test_the_permissions_of_a_unix_socket(gateway, tmp_path, workers, given, mode):
    process = gateway(APP, "--workers", workers, "--uds", "g.sock", *given).ready()
    assert stat.S_IMODE((tmp_path / "g.sock").stat().st_mode) == mode
    with Http1Socket(str(tmp_path / "g.sock")) as connection:
        assert ask(connection)
    assert process.stop() == 0
    assert not (tmp_path / "g.sock").exists()


def test_a_unix_socket_of_a_live_server_is_not_taken(gateway, tmp_path):
    first = gateway(APP, "--workers", "2", "--uds", "g.sock").ready()
    second = gateway(APP, "--workers", "2", "--uds", "g.sock")
    assert second.wait() == 3
    assert "g.sock" in second.err.lines[0]
    with Http1Socket(str(tmp_path / "g.sock")) as connection:
        assert ask(connection).pid in first.workers()


def test_a_unix_socket_left_by_a_killed_server_is_taken(gateway, tmp_path):
    first = gateway(APP, "--workers", "2", "--uds", "g.sock").ready()
    first.process.kill()
    first.process.wait()
    first.wait_gone()
    assert (tmp_path / "g.sock").exists()
    second = gateway(APP, "--workers", "2", "--uds", "g.sock").ready()
    with Http1Socket(str(tmp_path / "g.sock")) as connection:
        assert ask(connection).pid in second.workers()


# --- the first process of a container -------------------------------------------------------------


def needs_namespace(options):
    """Skip where nobody can make one; fail where CI is set, whose machines are ours."""
    attempt = subprocess.run(
        ["unshare", *options, "true"], capture_output=True, text=True, check=False
    )
    if attempt.returncode != 0:
        reason = f"no pid namespace can be made here: {attempt.stderr.strip()}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.mark.parametrize("workers", [("--workers", "2"), ()], ids=["workers", "default"])
def test_orphans_of_workers_are_not_left_as_zombies(gateway, tmp_path, workers):
    # What pid 1 of a container is for: `unshare` makes the server that.
    namespace = ["--pid", "--fork", "--kill-child", "--mount-proc"]
    needs_namespace(namespace)
    (tmp_path / "main.py").write_text(
        "import os, subprocess, sys\n"
        "from e2e.apps.processes import app\n"
        "subprocess.run([sys.executable, '-c', 'import os\\nif os.fork() == 0: os._exit(0)'])\n"
    )
    command = [*namespace, sys.executable, "-m", "gateway"]
    launcher = "import os, sys; os.execvp('unshare', ['unshare', *sys.argv[1:]])"
    process = gateway("-c", launcher, *command, "main:app", *workers, "--port", "0", module=None)
    process.ready()
    assert " pid 1" in process.err.text

    def zombies():
        found = []
        for pid in process.alive():
            try:
                with open(f"/proc/{pid}/task/{pid}/children") as file:
                    children = file.read().split()
                for child in children:
                    with open(f"/proc/{child}/stat") as file:
                        if file.read().rpartition(")")[2].split()[0] == "Z":
                            found.append(child)
            except OSError:
                continue
        return found

    wait_until(lambda: not zombies(), "every orphan is buried")
