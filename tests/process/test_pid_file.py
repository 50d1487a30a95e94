from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager

import pytest

from gateway.errors import StartError
from gateway.process.pid_file import PidFile

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are read from /proc")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "gateway.pid"


@contextmanager
def process():
    """A process that lives until the end."""
    command = [sys.executable, "-S", "-c", "input('ready\\n')"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        try:
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.communicate("\n")


def refusal(path):
    with pytest.raises(StartError) as caught:
        PidFile(path).take()
    return str(caught.value)


def take_in_a_child(path, method="take"):
    code = (
        "import os, sys; from gateway.process.pid_file import PidFile;"
        "getattr(PidFile(sys.argv[1]), sys.argv[2])(); print(os.getpid())"
    )
    return subprocess.check_output([sys.executable, "-c", code, path, method], text=True)


class TestTake:
    def test_writes_the_number_of_this_process(self, path):
        PidFile(path).take()
        assert path.read_text() == f"{os.getpid()}\n"

    def test_link_in_its_place_by_then_leads_nowhere(self, path, monkeypatch):
        victim = path.with_name("victim")
        victim.touch(0o600)
        make = tempfile.mkstemp

        def mkstemp(**options):
            # Who owns the directory may do this at any moment, so also at this one.
            descriptor, name = make(**options)
            os.unlink(name)
            os.symlink(victim, name)
            return descriptor, name

        monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
        PidFile(path).take()
        assert stat.S_IMODE(victim.stat().st_mode) == 0o600
        assert victim.read_text() == ""

    def test_everybody_may_read_it_whatever_the_umask(self, path):
        before = os.umask(0o077)
        try:
            PidFile(path).take()
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o644

    def test_leaves_no_other_file(self, path):
        PidFile(path).take()
        assert os.listdir(path.parent) == ["gateway.pid"]

    def test_file_of_a_live_process_is_refused(self, path):
        with process() as child:
            path.write_text(f"{child.pid}\n")
            text = refusal(path)
            assert path.read_text() == f"{child.pid}\n"
        assert text.startswith(f"pid file {path} names a running process, pid {child.pid}")
        assert text.endswith("\n  stop it, or use another --pid-file")

    @on_linux
    def test_live_process_is_named_with_its_command(self, path):
        with process() as child:
            path.write_text(f"{child.pid}\n")
            python = os.path.basename(sys.executable)
            assert f"pid {child.pid}: {python} -S -c " in refusal(path)

    def test_file_of_a_process_that_ended_is_replaced(self, path):
        with process() as child:
            path.write_text(f"{child.pid}\n")
        PidFile(path).take()
        assert path.read_text() == f"{os.getpid()}\n"

    @on_linux
    def test_file_of_a_zombie_is_replaced(self, path):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        path.write_text(f"{child}\n")
        try:
            PidFile(path).take()
        finally:
            os.waitpid(child, 0)
        assert path.read_text() == f"{os.getpid()}\n"

    @on_linux
    def test_number_used_again_by_a_later_process_is_replaced(self, path):
        with process() as child:
            path.write_text(f"{child.pid}\n")
            yesterday = time.time() - 86400
            os.utime(path, (yesterday, yesterday))
            PidFile(path).take()
        assert path.read_text() == f"{os.getpid()}\n"

    def test_own_number_of_an_earlier_life_is_replaced(self, path):
        path.write_text(f"{os.getpid()}\n")
        PidFile(path).take()
        assert path.read_text() == f"{os.getpid()}\n"

    @pytest.mark.parametrize("text", ["", "\n", "0\n", "99999999999999999999"])
    def test_file_without_a_possible_number_is_replaced(self, path, text):
        path.write_text(text)
        PidFile(path).take()
        assert path.read_text() == f"{os.getpid()}\n"

    @pytest.mark.parametrize("text", ["[settings]\n", "-5\n", "12 34\n", "\xff" * 100])
    def test_file_of_something_else_is_kept(self, path, text):
        path.write_text(text)
        assert "holds something else than the number of a process\n" in refusal(path)
        assert path.read_text() == text

    def test_directory_is_told(self, path):
        path.mkdir()
        assert refusal(path).startswith(f"pid file {path} is not a regular file\n")

    def test_device_is_never_replaced(self):
        assert refusal(os.devnull).startswith("pid file /dev/null is not a regular file\n")

    def test_missing_directory_is_told(self, tmp_path):
        text = refusal(tmp_path / "run" / "x.pid")
        assert "run/x.pid cannot be written: No such file or directory\n" in text

    def test_starts_at_once_exclude_each_other(self, path):
        code = (
            "import sys; from gateway.process.pid_file import PidFile;"
            "from gateway.errors import StartError\n"
            "print('loaded', flush=True); sys.stdin.readline()\n"
            "try: PidFile(sys.argv[1]).take(); print('taken', flush=True)\n"
            "except StartError as error: print(error, flush=True)\n"
            "sys.stdin.readline()"
        )
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", code, path]
        starts = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(3)]
        try:
            for each in starts:
                assert each.stdout.readline() == "loaded\n"
            for each in starts:
                print("go", file=each.stdin, flush=True)
            answers = [each.stdout.readline() for each in starts]
        finally:
            for each in starts:
                each.communicate()
        assert answers.count("taken\n") == 1


class TestTakeOver:
    def test_new_process_replaces_the_number_of_a_live_one(self, path):
        PidFile(path).take()
        number = take_in_a_child(path, "take_over")
        assert path.read_text() == number

    def test_file_of_something_else_is_kept(self, path):
        path.write_text("precious")
        with pytest.raises(StartError):
            PidFile(path).take_over()
        assert path.read_text() == "precious"


class TestRelease:
    def test_removes_the_file(self, path):
        file = PidFile(path)
        file.take()
        file.release()
        assert not path.exists()

    def test_relative_path_is_of_the_directory_at_the_start(self, path, monkeypatch):
        monkeypatch.chdir(path.parent)
        file = PidFile("gateway.pid")
        monkeypatch.chdir("/")
        file.take()
        assert path.exists()
        file.release()
        assert not path.exists()

    def test_leaves_the_file_of_a_successor(self, path):
        file = PidFile(path)
        file.take()
        number = take_in_a_child(path, "take_over")
        file.release()
        assert path.read_text() == number

    def test_file_that_is_gone_is_no_problem(self, path, caplog):
        file = PidFile(path)
        file.take()
        path.unlink()
        file.release()
        assert not caplog.records

    def test_file_that_became_something_else_is_kept(self, path, caplog):
        file = PidFile(path)
        file.take()
        path.write_text("precious")
        file.release()
        assert path.read_text() == "precious"
        assert "holds something else" in caplog.text

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
    def test_file_out_of_reach_is_a_warning(self, path):
        code = (
            "import os, sys; from gateway.process.pid_file import PidFile;"
            "file = PidFile(sys.argv[1]); file.take(); os.chdir('/'); os.setuid(65534);"
            "file.release(); print('left')"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, check=False
        )
        assert done.stdout == "left\n"
        assert f"pid file {path} " in done.stderr
        assert "Permission denied" in done.stderr
