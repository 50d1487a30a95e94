"""Log files: opened, rotated, opened again, by one process and by many."""

from __future__ import annotations

import gc
import io
import logging
import os
import resource
import stat
import sys
import threading
from contextlib import contextmanager
from logging.handlers import MemoryHandler, RotatingFileHandler, WatchedFileHandler

import pytest

from gateway import log
from gateway.errors import ConfigError, StartError
from gateway.log_files import LogFileHandler
from gateway.middleware.buffered_sink import BufferedSink

LOGGERS = [logging.getLogger(name) for name in ("gateway", "gateway.error", "gateway.access")]
ERRORS, ACCESS = LOGGERS[1:]


@pytest.fixture(autouse=True)
def _restored_loggers():
    before = [(x.handlers[:], x.level, x.propagate) for x in LOGGERS]
    factory = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(factory)
    for logger, (handlers, level, propagate) in zip(LOGGERS, before, strict=True):
        for handler in logger.handlers:
            if handler not in handlers:
                handler.close()
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.fixture
def mine():
    """A logger of the application, with handlers for the time of the test."""
    logger = logging.getLogger("test_log_files.application")
    logger.setLevel("INFO")
    yield logger
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "error.log"


def rotated(path):
    """What logrotate does first."""
    old = path.with_suffix(".log.1")
    path.rename(old)
    return old


# --- where the logs go ---------------------------------------------------------------------------


def test_each_log_has_its_file(tmp_path, capfd):
    log.configure(log_file=str(tmp_path / "e.log"), access_log_file=str(tmp_path / "a.log"))
    ERRORS.info("started")
    ACCESS.info("GET /")

    assert (tmp_path / "e.log").read_text() == "INFO:     started\n"
    assert (tmp_path / "a.log").read_text() == "GET /\n"
    assert capfd.readouterr() == ("", "")


def test_a_file_is_appended_to(path):
    path.write_text("before\n")
    log.configure(log_file=str(path))
    ERRORS.info("after")

    assert path.read_text() == "before\nINFO:     after\n"


def test_a_relative_path_counts_from_the_directory_of_the_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log.configure(log_file="error.log")
    monkeypatch.chdir("/")
    log.reopen_logs()
    ERRORS.info("here")

    assert (tmp_path / "error.log").read_text() == "INFO:     here\n"


@pytest.mark.parametrize("name", [None, "-"])
def test_without_a_file_the_streams_are_used(name, capsys):
    log.configure(log_file=name, access_log_file=name)
    ERRORS.info("started")
    ACCESS.info("GET /")

    assert capsys.readouterr() == ("GET /\n", "INFO:     started\n")


def test_the_devices_of_the_streams_are_the_streams(capsys):
    """They need not be files that can be opened: under systemd they are sockets."""
    log.configure(log_file="/dev/stdout", access_log_file="/dev/stderr")
    ERRORS.info("started")
    ACCESS.info("GET /")

    assert capsys.readouterr() == ("INFO:     started\n", "GET /\n")


def test_access_lines_go_straight_to_their_file(path):
    log.configure(access_log_file=str(path))

    stream = log.access_stream()

    assert stream is not None
    assert os.path.samestat(os.fstat(stream.fileno()), path.stat())


def test_the_file_of_a_silenced_access_log_is_not_made(path):
    log.configure(access_log_file=str(path), access_log=False)

    assert not path.exists()
    assert not log.access_enabled()


def test_what_is_no_utf_8_leaves_as_an_escape(path):
    log.configure(log_file=str(path))
    ERRORS.info("grüße \udcff")

    assert path.read_bytes() == "INFO:     grüße \\udcff\n".encode()


def test_configuring_again_closes_the_files_of_before(tmp_path, path):
    log.configure(log_file=str(path), access_log_file=str(tmp_path / "access.log"))
    handlers = [*LOGGERS[0].handlers, *ACCESS.handlers]
    log.configure(log_file=str(path))
    ERRORS.info("once")

    assert [handler.stream for handler in handlers] == [None, None]
    assert path.read_text() == "INFO:     once\n"


# --- what cannot be opened -----------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["log-file", "access-log-file"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/error.log", "there is no directory {tmp_path}/missing"),
        (".", "Is a directory"),
    ],
)
def test_a_file_that_cannot_be_opened_ends_the_start(tmp_path, setting, name, reason):
    path = f"{tmp_path}/{name}"

    with pytest.raises(StartError) as caught:
        log.configure(**{setting.replace("-", "_"): path})

    text = f"{setting} {path} cannot be opened: {reason.format(tmp_path=tmp_path)}"
    assert str(caught.value) == text


def test_a_path_that_no_file_can_have_is_told(tmp_path):
    with pytest.raises(StartError, match=r"cannot be opened: .*null"):
        log.configure(log_file=f"{tmp_path}/a\0b")


def test_where_one_file_cannot_be_opened_nothing_has_changed(tmp_path, path):
    log.configure()
    before = LOGGERS[0].handlers[:]

    with pytest.raises(StartError):
        log.configure(log_file=str(path), access_log_file=str(tmp_path))

    assert LOGGERS[0].handlers == before
    gc.collect()  # a file left open would be a ResourceWarning


@pytest.mark.parametrize("setting", ["log-file", "access-log-file"])
def test_a_log_config_says_itself_where_records_go(path, setting):
    with pytest.raises(ConfigError, match=f"^{setting}: not with a log-config"):
        log.configure(log_config={}, **{setting.replace("-", "_"): str(path)})


def test_a_log_config_may_stand_beside_a_dash():
    log.configure(log_config={}, log_file="-")


# --- opened again --------------------------------------------------------------------------------


def test_a_file_that_was_moved_is_made_again(path):
    log.configure(log_file=str(path))
    ERRORS.info("one")
    old = rotated(path)
    ERRORS.info("two")

    log.reopen_logs()

    ERRORS.info("three")
    assert old.read_text() == "INFO:     one\nINFO:     two\n"
    assert path.read_text() == "INFO:     three\n"


def test_a_file_that_was_removed_is_made_again(path):
    log.configure(log_file=str(path))
    path.unlink()
    log.reopen_logs()
    ERRORS.info("here")

    assert path.read_text() == "INFO:     here\n"


def test_a_file_that_is_still_there_keeps_what_it_has(path):
    log.configure(log_file=str(path))
    ERRORS.info("one")
    log.reopen_logs()
    ERRORS.info("two")

    assert path.read_text() == "INFO:     one\nINFO:     two\n"


def test_a_file_that_cannot_be_opened_again_stays_in_use(path):
    log.configure(log_file=str(path))
    old = rotated(path)
    path.mkdir()

    log.reopen_logs()

    ERRORS.info("here")
    assert old.read_text() == (
        f"ERROR:    log file {path} cannot be opened again: Is a directory\n"
        "  the old one stays in use\n"
        "INFO:     here\n"
    )


def test_opening_again_leaves_no_descriptor_behind(path):
    log.configure(log_file=str(path))
    before = os.listdir("/dev/fd")
    for _ in range(3):
        log.reopen_logs()

    assert os.listdir("/dev/fd") == before


def test_a_descriptor_opened_again_is_not_inherited(path):
    log.configure(log_file=str(path))
    log.reopen_logs()
    (handler,) = LOGGERS[0].handlers

    assert not os.get_inheritable(handler.stream.fileno())


def test_lines_that_wait_to_be_written_go_to_the_new_file(path):
    log.configure(access_log_file=str(path))
    sink = BufferedSink(log.access_stream(), schedule=lambda delay, callback: None)
    sink.write("one")
    sink.flush()
    sink.write("two")
    old = rotated(path)
    log.reopen_logs()
    sink.close()

    assert (old.read_text(), path.read_text()) == ("one\n", "two\n")


def test_no_line_is_lost_while_a_file_is_rotated_again_and_again(path):
    """One thread writes, as workers do; the other rotates."""
    log.configure(access_log_file=str(path))
    sink = BufferedSink(log.access_stream(), schedule=lambda delay, callback: None)
    rotated_enough = threading.Event()
    written = threading.Semaphore(0)
    lines: list[str] = []

    def write() -> None:
        while not rotated_enough.is_set():
            lines.append(f"{len(lines):05}")
            sink.write(lines[-1])
            sink.flush()
            written.release()

    writer = threading.Thread(target=write)
    writer.start()
    parts = []
    for number in range(50):
        assert written.acquire(timeout=5)
        parts.append(path.rename(path.with_suffix(f".{number}")))
        log.reopen_logs()
    rotated_enough.set()
    writer.join()
    sink.close()

    assert len(lines) >= 50
    assert "".join([part.read_text() for part in [*parts, path]]).split() == lines


@pytest.mark.parametrize(
    "make",
    [
        logging.FileHandler,
        WatchedFileHandler,
        lambda path: RotatingFileHandler(path, maxBytes=10_000),
        lambda path: logging.FileHandler(path, mode="w"),
    ],
)
def test_files_of_the_application_are_opened_again(mine, path, make):
    mine.addHandler(make(path))
    mine.info("one")
    old = rotated(path)
    log.reopen_logs()
    mine.info("two")
    log.reopen_logs()
    mine.info("three")

    assert (old.read_text(), path.read_text()) == ("one\n", "two\nthree\n")


def test_files_of_a_log_config_are_opened_again(path):
    log.configure(
        log_config={
            "handlers": {"file": {"class": "logging.FileHandler", "filename": str(path)}},
            "loggers": {"gateway": {"handlers": ["file"], "level": "INFO"}},
        }
    )
    ERRORS.info("one")
    old = rotated(path)
    log.reopen_logs()
    ERRORS.info("two")

    assert (old.read_text(), path.read_text()) == ("one\n", "two\n")


def test_a_file_behind_a_buffer_is_opened_again(mine, path):
    target = logging.FileHandler(path)
    mine.addHandler(MemoryHandler(100, target=target))
    old = rotated(path)
    log.reopen_logs()
    mine.error("here")
    target.close()

    assert (old.read_text(), path.read_text()) == ("", "here\n")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="logging of 3.11 keeps no listener")
def test_a_file_behind_a_queue_is_opened_again(mine, path):
    from logging.handlers import QueueHandler, QueueListener
    from queue import Queue

    target = logging.FileHandler(path)
    handler = QueueHandler(Queue())
    handler.listener = QueueListener(handler.queue, target)
    mine.addHandler(handler)
    rotated(path)
    log.reopen_logs()
    target.close()

    assert path.exists()


def test_a_handler_of_two_loggers_is_told_of_once(mine, path, caplog):
    handler = logging.FileHandler(path)
    mine.addHandler(handler)
    ERRORS.addHandler(handler)
    rotated(path)
    path.mkdir()

    log.reopen_logs()

    assert caplog.text.count("cannot be opened again") == 1


def test_a_file_nobody_has_written_to_yet_is_left_to_its_handler(mine, path):
    mine.addHandler(logging.FileHandler(path, delay=True))

    log.reopen_logs()

    assert not path.exists()


def test_a_pipe_is_left_alone(mine, path):
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    mine.addHandler(logging.FileHandler(path))

    log.reopen_logs()

    mine.info("here")
    assert os.read(reader, 100) == b"here\n"
    os.close(reader)


def test_a_stream_without_a_descriptor_is_told_and_kept(mine, path, caplog):
    handler = logging.FileHandler(path)
    handler.stream.close()
    handler.stream = io.StringIO()
    mine.addHandler(handler)

    log.reopen_logs()

    mine.error("here")
    assert handler.stream.getvalue() == "here\n"
    assert f"log file {path} cannot be opened again: fileno" in caplog.text


# --- a disk that is full -------------------------------------------------------------------------


@contextmanager
def a_full_disk(size: int):
    """Files of this process can grow to `size` bytes: a write beyond fails, as with ENOSPC."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize("setting", ["log_file", "access_log_file"])
def test_a_full_disk_is_one_line_on_stderr(capsys, setting):
    log.configure(**{setting: "/dev/full"})
    for _ in range(300):
        (ERRORS if setting == "log_file" else ACCESS).info("x" * 100)

    assert capsys.readouterr().err == (
        "ERROR:    log file /dev/full cannot be written: No space left on device; lines are lost\n"
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_disk_that_stays_full_is_told_of_again_after_a_minute(capsys, monkeypatch):
    times = iter([1000.0, 1059.0, 1060.0, 1119.0, 1121.0])
    monkeypatch.setattr("gateway.log_files.monotonic", times.__next__)
    log.configure(log_file="/dev/full")
    for _ in range(5):
        ERRORS.info("here")

    assert len(capsys.readouterr().err.splitlines()) == 3


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize("stream", [None, "closed"])
def test_a_full_disk_and_no_stderr_to_tell_of_it_is_no_failure(monkeypatch, stream):
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    log.configure(log_file="/dev/full")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        ERRORS.info("here")


def test_a_file_is_written_again_when_there_is_room(path, capsys):
    log.configure(log_file=str(path))
    ERRORS.info("before")
    with a_full_disk(path.stat().st_size + 3):
        for number in range(1000):
            ERRORS.info("lost or late %d", number)
    ERRORS.info("after")

    lines = path.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("INFO:     before", "INFO:     after")
    assert all(line.startswith("INFO:     ") for line in lines)
    assert len(lines) < 1000
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_file_that_is_full_can_be_rotated(path, capsys):
    log.configure(log_file=str(path))
    with a_full_disk(3):
        ERRORS.info("late")
        old = rotated(path)
        log.reopen_logs()
    ERRORS.info("after")

    assert old.read_text() + path.read_text() == "INFO:     late\nINFO:     after\n"
    assert "cannot be opened again" not in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_log_on_a_full_disk_can_be_set_up_anew(path):
    log.configure(log_file="/dev/full")
    ERRORS.info("lost")
    before = os.listdir("/dev/fd")
    log.configure(log_file=str(path))
    ERRORS.info("here")

    assert path.read_text() == "INFO:     here\n"
    assert len(os.listdir("/dev/fd")) == len(before)


def test_a_record_that_cannot_be_formatted_is_told_as_the_library_does(path, capsys):
    log.configure(log_file=str(path))
    ERRORS.info("%d", "one")

    assert "Traceback" in capsys.readouterr().err


# --- many processes ------------------------------------------------------------------------------


def test_records_of_many_writers_stay_whole(path):
    """Each with a descriptor of its own, as workers have; os.write lets the others run."""
    text = "".join([f"{number:04}" for number in range(5000)])  # more than any buffer on the way

    def write(index: int) -> None:
        handler = LogFileHandler("log-file", str(path))
        for _ in range(20):
            handler.handle(logging.makeLogRecord({"msg": f"{index} {text}"}))
        handler.close()

    threads = [threading.Thread(target=write, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    lines = path.read_text().splitlines()
    assert len(lines) == 80
    assert {line[1:] for line in lines} == {f" {text}"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_new_file_gets_its_owner_and_an_old_one_keeps_it(path):
    log.configure(log_file=str(path), file_owner=(1234, 1235))
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1235)
    rotated(path)
    path.touch()
    log.reopen_logs()
    assert path.stat().st_uid == 0
    rotated(path)
    log.reopen_logs()
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1235)


def test_a_link_in_a_directory_of_another_user_is_not_followed(tmp_path, path):
    victim = tmp_path / "victim"
    victim.touch()
    path.symlink_to(victim)

    with pytest.raises(StartError) as caught:
        log.configure(log_file=str(path), file_owner=(os.geteuid(), os.getegid()))

    assert str(caught.value) == (
        f"log-file {path} cannot be opened: it is a symbolic link, and root follows none where "
        "`user` is set\n  name the file itself"
    )


def test_a_link_that_was_put_there_is_not_followed_later(tmp_path, path):
    log.configure(log_file=str(path), file_owner=(os.geteuid(), os.getegid()))
    old, victim = rotated(path), tmp_path / "victim"
    victim.touch()
    path.symlink_to(victim)

    log.reopen_logs()

    ERRORS.info("here")
    assert victim.read_text() == ""
    assert "it is a symbolic link" in old.read_text()
    assert old.read_text().endswith("INFO:     here\n")


def test_a_link_is_followed_where_the_user_stays(tmp_path, path):
    path.symlink_to(tmp_path / "elsewhere.log")
    (tmp_path / "elsewhere.log").touch()
    log.configure(log_file=str(path))
    ERRORS.info("here")

    assert (tmp_path / "elsewhere.log").read_text() == "INFO:     here\n"


def test_a_new_file_has_the_mode_that_the_umask_leaves(path):
    before = os.umask(0o027)
    try:
        log.configure(log_file=str(path))
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o640


# --- the worker ----------------------------------------------------------------------------------


def test_lines_of_a_worker_tell_its_index(path):
    log.configure(log_file=str(path), worker=2)
    ERRORS.info("started")

    assert path.read_text() == "INFO:     [2] started\n"


@pytest.mark.parametrize(("worker", "text"), [(0, "0"), (3, "3"), (None, "-")])
def test_a_log_config_may_tell_the_worker_of_any_record(mine, path, worker, text):
    config = {
        "formatters": {"mine": {"format": "%(worker)s %(message)s"}},
        "handlers": {
            "file": {"class": "logging.FileHandler", "filename": str(path), "formatter": "mine"}
        },
        "loggers": {mine.name: {"handlers": ["file"]}},
    }
    log.configure(log_config=config, worker=7)
    log.configure(log_config=config, worker=worker)
    mine.info("of a library")

    assert path.read_text() == f"{text} of a library\n"


def test_an_empty_log_config_leaves_the_record_factory_alone():
    before = logging.getLogRecordFactory()
    log.configure(log_config={}, worker=1)

    assert logging.getLogRecordFactory() is before
