from __future__ import annotations

import contextlib
import io
import os
import select
from collections.abc import Callable

import pytest

from gateway.middleware.buffered_sink import BufferedSink


class Timers:
    """A loop's call_later that fires when told."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, delay: float, callback: Callable[[], None]) -> None:
        self.waiting.append((delay, callback))

    def fire(self) -> None:
        waiting, self.waiting = self.waiting, []
        for _, callback in waiting:
            callback()


@pytest.fixture
def timers():
    return Timers()


@pytest.fixture
def pipe():
    read_end, write_end = os.pipe()
    reader, writer = os.fdopen(read_end, "rb", 0), os.fdopen(write_end, "w")
    yield reader, writer
    reader.close()
    with contextlib.suppress(BrokenPipeError):
        writer.close()


def test_lines_wait_for_one_timer_and_leave_together(timers):
    stream = io.StringIO()
    sink = BufferedSink(stream, schedule=timers, delay=0.1)
    sink.write("one")
    sink.write("two")
    assert stream.getvalue() == ""
    assert [delay for delay, _ in timers.waiting] == [0.1]

    timers.fire()

    assert stream.getvalue() == "one\ntwo\n"
    assert timers.waiting == []


def test_a_later_line_gets_a_timer_of_its_own(timers):
    stream = io.StringIO()
    sink = BufferedSink(stream, schedule=timers)
    sink.write("one")
    timers.fire()
    sink.write("two")
    timers.fire()

    assert stream.getvalue() == "one\ntwo\n"


def test_a_large_batch_does_not_wait(timers):
    stream = io.StringIO()
    sink = BufferedSink(stream, schedule=timers)
    for _ in range(70):
        sink.write("x" * 1000)

    assert len(stream.getvalue()) > 60_000


def test_close_writes_what_waits_and_later_lines_at_once(timers):
    stream = io.StringIO()
    sink = BufferedSink(stream, schedule=timers)
    sink.write("one")
    sink.close()
    assert stream.getvalue() == "one\n"
    before = len(timers.waiting)

    sink.write("late")

    assert stream.getvalue() == "one\nlate\n"
    assert len(timers.waiting) == before


def test_lines_go_through_a_pipe(timers, pipe):
    reader, writer = pipe
    sink = BufferedSink(writer, schedule=timers)
    sink.write("grüße \udcff")
    sink.flush()

    assert reader.read(100) == "grüße \\udcff\n".encode()


def test_lines_go_to_a_file(timers, tmp_path):
    path = tmp_path / "access.log"
    lines = [f"{number} {'x' * 50}" for number in range(2000)]
    with path.open("w") as stream:
        sink = BufferedSink(stream, schedule=timers)
        for text in lines:
            sink.write(text)
        sink.close()

    assert path.read_text().splitlines() == lines
    assert sink.dropped == 0


def test_a_slow_reader_never_blocks_and_loses_nothing_within_the_backlog(timers, pipe):
    reader, writer = pipe
    sink = BufferedSink(writer, schedule=timers)
    lines = [f"{number:06} {'x' * 93}" for number in range(10_000)]  # 1 MB into a pipe of 64 KiB
    for text in lines:
        sink.write(text)
    received = b""
    while timers.waiting:
        timers.fire()
        while select.select([reader], [], [], 0)[0]:
            received += reader.read(65536)

    assert received.decode().splitlines() == lines
    assert sink.dropped == 0


def test_a_reader_that_stopped_costs_whole_lines_and_they_are_counted(timers, pipe):
    reader, writer = pipe
    sink = BufferedSink(writer, schedule=timers)
    count = 60_000
    for number in range(count):  # 6 MB: more than pipe and backlog
        sink.write(f"{number:06} {'x' * 93}")
    timers.fire()
    received = b""
    while timers.waiting:
        while select.select([reader], [], [], 0)[0]:
            received += reader.read(65536)
        timers.fire()
    while select.select([reader], [], [], 0)[0]:
        received += reader.read(65536)

    lines = received.decode().splitlines()
    assert {len(text) for text in lines} == {100}
    assert 0 < sink.dropped == count - len(lines)


def test_pieces_for_a_pipe_end_with_a_line(timers, pipe):
    """So that the kernel keeps the lines of several workers whole."""
    reader, writer = pipe
    sink = BufferedSink(writer, schedule=timers)
    os.set_blocking(writer.fileno(), False)
    for _ in range(3000):
        sink.write("x" * 99)
    sink.flush()

    filled = reader.read(1 << 20)

    assert len(filled) > select.PIPE_BUF
    assert filled.endswith(b"\n")


def test_a_broken_pipe_is_counted_not_raised(timers, pipe):
    reader, writer = pipe
    sink = BufferedSink(writer, schedule=timers)
    reader.close()
    for _ in range(10):
        sink.write("lost")
        sink.flush()
    sink.close()

    assert sink.dropped == 10


def test_a_closed_stream_is_counted_not_raised(timers):
    stream = io.StringIO()
    sink = BufferedSink(stream, schedule=timers)
    stream.close()
    sink.write("lost")
    sink.close()

    assert sink.dropped == 1


def test_no_stream_takes_everything(timers):
    sink = BufferedSink(None, schedule=timers)
    sink.write("nowhere")
    sink.close()

    assert sink.dropped == 0


def test_close_gives_a_slow_reader_a_second_at_most(timers, pipe, monkeypatch):
    monkeypatch.setattr("gateway.middleware.buffered_sink._PATIENCE", 0.05)
    _, writer = pipe
    sink = BufferedSink(writer, schedule=timers)
    for _ in range(3000):
        sink.write("x" * 99)

    sink.close()

    assert 0 < sink.dropped < 3000
