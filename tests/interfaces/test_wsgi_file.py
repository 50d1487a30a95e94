from __future__ import annotations

import asyncio
import gzip
import io
import os
import tempfile

import pytest

from gateway.interfaces.wsgi_file import FileWrapper

from .wsgi_fakes import get, make_head, open_exchange, serving

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    return path


def wrapping(make, headers=(), status="200 OK"):
    def app(environ, start_response):
        start_response(status, list(headers))
        return environ["wsgi.file_wrapper"](make(), 4096)

    return app


def test_regular_file_is_sent_by_the_kernel_with_its_length(path):
    wire = get(wrapping(lambda: path.open("rb")))
    assert wire.body == CONTENT
    assert len(wire.files) == 1
    assert wire.headers[b"content-length"] == b"%d" % len(CONTENT)


def test_file_is_sent_from_its_position(path):
    def make():
        file = path.open("rb")
        file.seek(1000)
        return file

    wire = get(wrapping(make))
    assert wire.body == CONTENT[1000:]


def test_declared_length_limits_what_is_sent(path):
    wire = get(wrapping(lambda: path.open("rb"), [("Content-Length", "10")]))
    assert wire.body == CONTENT[:10]
    assert [name for name, _ in wire.header_list].count(b"content-length") == 1


def test_file_shorter_than_declared_is_cut_and_logged(path, caplog):
    wire = get(wrapping(lambda: path.open("rb"), [("Content-Length", "1000000")]))
    assert wire.aborted
    assert "shorter than its Content-Length" in caplog.text


def test_file_is_closed_by_the_application_and_by_the_exchange(path):
    closed = []

    def make():
        file = path.open("rb")
        close = file.close
        file.close = lambda: (closed.append(1), close())
        return file

    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    wire = get(wrapping(make))
    assert closed == [1]
    assert wire.files[0][0].closed
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before


def test_head_of_a_file(path):
    wire = get(wrapping(lambda: path.open("rb")), method="HEAD")
    assert (wire.body, wire.files) == (b"", [])
    assert wire.headers[b"content-length"] == b"%d" % len(CONTENT)


def test_client_gone_before_the_file_is_sent_leaves_no_descriptor(path):
    files = []

    async def main():
        go_on = asyncio.Event()
        loop = asyncio.get_running_loop()

        def app(environ, start_response):
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
            start_response("200 OK", [])
            wrapper = environ["wsgi.file_wrapper"](path.open("rb"))
            regular = wrapper.regular
            wrapper.regular = lambda: files.append(regular()) or files[0]
            return wrapper

        async with serving(app) as interface:
            exchange, wire = open_exchange(make_head())
            interface(exchange)
            exchange.lost()
            go_on.set()
        assert wire.files == []

    asyncio.run(main())
    assert all(file.closed for file, _, _ in files)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: io.BytesIO(CONTENT),
        lambda path: gzip.open(path.with_suffix(".gz")),  # noqa: SIM115 - the wrapper closes it
        lambda path: _Reader(io.BytesIO(CONTENT)),
        lambda path: os.fdopen(_pipe(), "rb"),
    ],
    ids=["memory", "gzip", "reader", "pipe"],
)
def test_other_files_are_read_in_blocks(path, make):
    with gzip.open(path.with_suffix(".gz"), "wb") as file:
        file.write(CONTENT)
    wire = get(wrapping(lambda: make(path)))
    assert wire.files == []
    assert wire.body in (CONTENT, b"through a pipe")


def test_named_temporary_file_is_a_regular_file():
    def make():
        file = tempfile.NamedTemporaryFile()  # noqa: SIM115
        file.write(CONTENT)
        file.seek(0)
        return file

    wire = get(wrapping(make))
    assert wire.body == CONTENT
    assert len(wire.files) == 1


def test_file_after_written_data_is_read_in_blocks(path):
    def app(environ, start_response):
        start_response("200 OK", [])(b"first ")
        return environ["wsgi.file_wrapper"](path.open("rb"))

    wire = get(app)
    assert wire.body == b"first " + CONTENT
    assert wire.files == []


def test_empty_file(tmp_path):
    (tmp_path / "empty").touch()
    wire = get(wrapping(lambda: (tmp_path / "empty").open("rb")))
    assert (wire.status, wire.body) == (200, b"")


def test_wrapper_closes_only_what_can_be_closed():
    assert not hasattr(FileWrapper(_Reader(io.BytesIO())), "close")
    memory = io.BytesIO()
    FileWrapper(memory).close()
    assert memory.closed


def test_wrapper_inside_middleware_is_an_iterable(path):
    def app(environ, start_response):
        start_response("200 OK", [])
        with path.open("rb") as file:
            yield from (block.lower() for block in environ["wsgi.file_wrapper"](file))

    wire = get(app)
    assert wire.body == CONTENT.lower()


class _Reader:
    def __init__(self, file):
        self.read = file.read


def _pipe():
    reading, writing = os.pipe()
    os.write(writing, b"through a pipe")
    os.close(writing)
    return reading
