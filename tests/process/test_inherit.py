from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

from gateway.errors import StartError
from gateway.process.inherit import InheritedSocket, from_systemd

# Does as systemd does after its fork: descriptors from 3 on, the number of the process, exec.
ACTIVATE = """
import os, sys
python, code, *numbers = sys.argv[1:]
spare = [os.dup(int(number)) for number in numbers]
for target, number in enumerate(spare, 3):
    os.dup2(number, target)
    os.set_inheritable(target, True)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(python, [python, "-c", code])
"""

REPORT = """
import json, os
from gateway.errors import StartError
from gateway.process.inherit import from_systemd
try:
    passed = from_systemd(os.environ, os.getpid())
    report = {
        "passed": [(each.fd, each.name, each.owned) for each in passed],
        "inheritable": [os.get_inheritable(each.fd) for each in passed],
    }
except StartError as error:
    report = {"error": str(error)}
report["left"] = sorted(name for name in os.environ if name.startswith("LISTEN_"))
print(json.dumps(report))
"""


def activated(count=0, **variables):
    """Start a program with `count` sockets as systemd would; what `from_systemd` says there."""
    with ExitStack() as stack:
        numbers = []
        for _ in range(count):
            sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            # Far from 3, where they are to go.
            number = os.dup(sock.fileno())
            stack.callback(os.close, number)
            numbers.append(number)
        output = subprocess.check_output(
            [sys.executable, "-c", ACTIVATE, sys.executable, REPORT, *map(str, numbers)],
            env={**os.environ, **variables},
            pass_fds=numbers,
        )
    return json.loads(output)


class TestActivated:
    def test_sockets_have_numbers_from_three_and_the_units_names(self):
        report = activated(2, LISTEN_FDS="2", LISTEN_FDNAMES="web:admin")
        assert report["passed"] == [[3, "web", False], [4, "admin", False]]

    def test_sockets_without_names_are_unknown(self):
        report = activated(1, LISTEN_FDS="1")
        assert report["passed"] == [[3, "unknown", False]]

    def test_programs_started_from_here_do_not_inherit_them(self):
        report = activated(2, LISTEN_FDS="2")
        assert report["inheritable"] == [False, False]

    def test_variables_are_removed(self):
        report = activated(1, LISTEN_FDS="1", LISTEN_FDNAMES="web", LISTEN_PIDFDID="12")
        assert report["left"] == []

    def test_descriptor_that_is_not_open_is_told(self):
        report = activated(0, LISTEN_FDS="60000")
        assert "which is not open\n" in report["error"]
        assert report["error"].startswith("LISTEN_FDS=60000 promises descriptor ")


class TestEnvironment:
    def test_nothing_passed(self):
        environ = {"HOME": "/"}
        assert from_systemd(environ, 7) == ()
        assert environ == {"HOME": "/"}

    def test_sockets_of_another_process_are_none(self):
        environ = {"LISTEN_PID": "8", "LISTEN_FDS": "1"}
        assert from_systemd(environ, 7) == ()

    def test_variables_meant_for_another_process_are_removed_too(self):
        environ = {"LISTEN_PID": "8", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web", "HOME": "/"}
        from_systemd(environ, 7)
        assert environ == {"HOME": "/"}

    @pytest.mark.parametrize("variables", [{}, {"LISTEN_FDS": ""}, {"LISTEN_FDS": "0"}])
    def test_no_count_is_no_sockets(self, variables):
        assert from_systemd({"LISTEN_PID": "7", **variables}, 7) == ()

    @pytest.mark.parametrize("text", ["x", "-1", "1.5", "٣"])
    def test_count_that_is_no_number_is_told(self, text):
        with pytest.raises(StartError, match=f"^LISTEN_FDS={text} is not a number\n  systemd"):
            from_systemd({"LISTEN_PID": "7", "LISTEN_FDS": text}, 7)

    def test_process_that_is_no_number_is_told(self):
        with pytest.raises(StartError, match=r"^LISTEN_PID=self is not a number\n"):
            from_systemd({"LISTEN_PID": "self", "LISTEN_FDS": "1"}, 7)

    def test_names_that_do_not_match_the_count_are_told(self):
        environ = {"LISTEN_PID": "7", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a:b"}
        with pytest.raises(StartError, match=r"^LISTEN_FDNAMES=a:b names 2 sockets, LISTEN_FDS=1 "):
            from_systemd(environ, 7)

    def test_variables_are_removed_where_they_are_wrong(self):
        environ = {"LISTEN_PID": "7", "LISTEN_FDS": "x", "HOME": "/"}
        with pytest.raises(StartError):
            from_systemd(environ, 7)
        assert environ == {"HOME": "/"}

    def test_a_socket_is_not_owned_unless_said(self):
        assert not InheritedSocket(3, "web").owned
