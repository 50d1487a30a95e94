from __future__ import annotations

import fcntl
import os
import threading

from gateway.process import directory_lock
from gateway.process.directory_lock import locked


def is_held(directory):
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class TestLocked:
    def test_is_held_inside(self, tmp_path):
        with locked(tmp_path):
            assert is_held(tmp_path)

    def test_is_let_go_after(self, tmp_path):
        with locked(tmp_path):
            pass
        assert not is_held(tmp_path)

    def test_leaves_no_file(self, tmp_path):
        with locked(tmp_path):
            assert list(tmp_path.iterdir()) == []

    def test_second_waits_for_the_first(self, tmp_path):
        order = []
        inside = threading.Event()

        def second():
            inside.wait(5)
            with locked(tmp_path):
                order.append("second")

        thread = threading.Thread(target=second)
        thread.start()
        with locked(tmp_path):
            inside.set()
            thread.join(0.05)
            order.append("first")
        thread.join(5)
        assert order == ["first", "second"]

    def test_what_is_held_for_long_does_not_stop_the_start(self, tmp_path, monkeypatch):
        monkeypatch.setattr(directory_lock, "_PATIENCE", 0.02)
        with locked(tmp_path), locked(tmp_path):
            assert is_held(tmp_path)

    def test_missing_directory_is_left_to_who_writes_there(self, tmp_path):
        with locked(tmp_path / "missing"):
            assert not (tmp_path / "missing").exists()
