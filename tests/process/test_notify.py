from __future__ import annotations

import logging
import os
import socket
import time
from contextlib import suppress

import pytest

from gateway.process import notify
from gateway.process.notify import Notifier

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="systemd is on Linux")


class Manager:
    """The end of the socket where systemd listens."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(5)

    def heard(self):
        return self.socket.recv(4096).decode()


def fill(address):
    """Send to a socket until its queue is full."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                sock.sendto(b"x", address)


@pytest.fixture
def manager(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manager = Manager("n")
    yield manager
    manager.socket.close()


@pytest.fixture
def notifier(manager, tmp_path):
    return Notifier({"NOTIFY_SOCKET": f"{tmp_path}/n"})


class TestMessages:
    def test_ready(self, manager, notifier):
        notifier.ready()
        assert manager.heard() == "READY=1"

    def test_ready_with_a_status(self, manager, notifier):
        notifier.ready("2 workers")
        assert manager.heard() == "READY=1\nSTATUS=2 workers"

    def test_reloading_has_the_monotonic_time_in_microseconds(self, manager, notifier):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        notifier.reloading()
        first, second = manager.heard().split("\n")
        name, _, value = second.partition("=")
        assert (first, name) == ("RELOADING=1", "MONOTONIC_USEC")
        assert before <= int(value) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000

    def test_stopping(self, manager, notifier):
        notifier.stopping("3 requests left")
        assert manager.heard() == "STOPPING=1\nSTATUS=3 requests left"

    def test_status(self, manager, notifier):
        notifier.status("serving")
        assert manager.heard() == "STATUS=serving"

    def test_status_in_any_language(self, manager, notifier):
        notifier.status("läuft")
        assert manager.heard() == "STATUS=läuft"

    def test_lines_of_a_status_cannot_be_fields(self, manager, notifier):
        notifier.status("failed:\nREADY=1\r\nMAINPID=1")
        assert manager.heard() == "STATUS=failed: READY=1 MAINPID=1"

    def test_watchdog(self, manager, notifier):
        notifier.watchdog()
        assert manager.heard() == "WATCHDOG=1"

    def test_main_pid(self, manager, notifier):
        notifier.main_pid(4321)
        assert manager.heard() == "MAINPID=4321"

    def test_extended_timeout_is_in_microseconds(self, manager, notifier):
        notifier.extend_timeout(2.5)
        assert manager.heard() == "EXTEND_TIMEOUT_USEC=2500000"

    def test_other_fields(self, manager, notifier):
        notifier.send(ERRNO=2, EXIT_STATUS=3, STATUS="")
        assert manager.heard() == "ERRNO=2\nEXIT_STATUS=3"

    @pytest.mark.skipif(not os.path.exists("/proc"), reason="only Linux has abstract sockets")
    def test_abstract_socket(self):
        name = f"gateway-notify-{os.getpid()}"
        manager = Manager(f"\0{name}")
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert manager.heard() == "READY=1"
        manager.socket.close()


class TestStatus:
    def test_one_that_systemd_has_is_not_sent_again(self, manager, notifier):
        for text in ("2 workers", "2 workers", "3 workers", "2 workers"):
            notifier.status(text)
        notifier.watchdog()
        assert [manager.heard() for _ in range(4)] == [
            "STATUS=2 workers", "STATUS=3 workers", "STATUS=2 workers", "WATCHDOG=1"
        ]  # fmt: skip

    def test_one_that_came_with_something_else_is_there_too(self, manager, notifier):
        notifier.ready("2 workers")
        notifier.watchdog()
        notifier.status("2 workers")
        notifier.ready("2 workers")
        assert [manager.heard() for _ in range(3)] == [
            "READY=1\nSTATUS=2 workers", "WATCHDOG=1", "READY=1\nSTATUS=2 workers"
        ]  # fmt: skip

    def test_one_that_could_not_be_sent_is_sent_again(self, tmp_path):
        notifier = Notifier({"NOTIFY_SOCKET": f"{tmp_path}/n"})
        notifier.status("2 workers")
        manager = Manager(f"{tmp_path}/n")
        notifier.status("2 workers")
        assert manager.heard() == "STATUS=2 workers"
        manager.socket.close()


class TestSilence:
    def test_without_a_manager_nothing_happens(self, caplog):
        caplog.set_level(logging.DEBUG)
        notifier = Notifier({})
        notifier.ready()
        notifier.extend_timeout(1)
        assert not notifier.active
        assert not caplog.records

    def test_failure_is_one_line_for_debugging(self, tmp_path, caplog):
        caplog.set_level(logging.DEBUG)
        notifier = Notifier({"NOTIFY_SOCKET": f"{tmp_path}/gone"})
        notifier.ready("two\nlines")
        [record] = caplog.records
        assert record.levelno == logging.DEBUG
        assert record.getMessage() == (
            "systemd was not told READY=1 STATUS=two lines: [Errno 2] No such file or directory"
        )

    def test_manager_that_reads_nothing_does_not_stop_the_caller(
        self, manager, notifier, tmp_path, caplog, monkeypatch
    ):
        monkeypatch.setattr(notify, "_PATIENCE", 0.02)
        caplog.set_level(logging.DEBUG)
        fill(f"{tmp_path}/n")
        notifier.ready()
        assert caplog.messages == ["systemd was not told READY=1: timed out"]

    def test_address_of_another_kind_is_told(self, caplog):
        caplog.set_level(logging.DEBUG)
        assert not Notifier({"NOTIFY_SOCKET": "vsock:2:1234"}).active
        assert "NOTIFY_SOCKET=vsock:2:1234 is no UNIX socket" in caplog.text


class TestEnvironment:
    def test_variables_are_taken_out(self):
        environ = {
            "NOTIFY_SOCKET": "/run/n",
            "WATCHDOG_USEC": "1",
            "WATCHDOG_PID": "7",
            "HOME": "/",
        }
        Notifier(environ)
        assert environ == {"HOME": "/"}

    def test_socket_is_handed_on(self):
        assert Notifier({"NOTIFY_SOCKET": "@n"}).environment == {"NOTIFY_SOCKET": "@n"}

    def test_watchdog_is_handed_on_to_any_process(self):
        environ = {
            "NOTIFY_SOCKET": "@n",
            "WATCHDOG_USEC": "20000000",
            "WATCHDOG_PID": str(os.getpid()),
        }
        handed = Notifier(environ).environment
        assert handed == {"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "20000000"}

    def test_nothing_is_handed_on_where_nobody_listens(self):
        assert Notifier({}).environment == {}


class TestWatchdog:
    def interval(self, **variables):
        return Notifier({"NOTIFY_SOCKET": "@n", **variables}).watchdog_interval

    def test_is_half_of_the_limit(self):
        assert self.interval(WATCHDOG_USEC="30000000") == 15

    def test_for_this_process(self):
        assert self.interval(WATCHDOG_USEC="3000000", WATCHDOG_PID=str(os.getpid())) == 1.5

    def test_for_another_process_is_none(self):
        assert self.interval(WATCHDOG_USEC="3000000", WATCHDOG_PID="1") is None

    @pytest.mark.parametrize("text", ["", "0", "soon", "-1"])
    def test_without_a_limit_is_none(self, text):
        assert self.interval(WATCHDOG_USEC=text) is None

    def test_without_a_manager_is_none(self):
        assert Notifier({"WATCHDOG_USEC": "3000000"}).watchdog_interval is None
