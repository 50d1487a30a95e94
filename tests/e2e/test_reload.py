"""Development: the code changes while the server runs. Both ways to notice: watchfiles, polling."""

from __future__ import annotations

import re
import signal
import socket

import pytest

from e2e.client import ConnectionCut, Http1Socket
from e2e.load import ask
from e2e.process import TESTS, wait_for, wait_until, write_main

WATCHERS = ["watchfiles", "polling"]


@pytest.fixture
def start(gateway, tmp_path):
    """Start gateway in the directory of its application; with "polling" watchfiles is missing."""

    def start(*args, watcher="watchfiles"):
        env = {}
        if watcher == "polling":
            stub = tmp_path / ".stub"
            stub.mkdir()
            (stub / "watchfiles.py").write_text("raise ImportError('not installed')\n")
            env["PYTHONPATH"] = f"{stub}:{TESTS}"
        return gateway(*args, env=env)

    return start


def get(address, target="/"):
    with Http1Socket(address) as connection:
        connection.send_request("GET", target, "connection: close")
        return connection.response()


def version(address):
    """Of the code that answers; its status where it is not 200."""
    response = get(address)
    return response.text.split(" ")[2] if response.status == 200 else response.status


def free_address():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return "127.0.0.1", int(probe.getsockname()[1])


@pytest.mark.parametrize("watcher", WATCHERS)
def test_changed_code_answers(start, tmp_path, watcher):
    write_main(tmp_path, "v1")
    process = start("main:app", "--reload", "--port", "0", watcher=watcher).ready()
    address = process.address
    assert version(address) == "v1"
    write_main(tmp_path, "v2")
    process.err.wait(r"main\.py")
    wait_until(lambda: version(address) == "v2", "the new code answers")
    assert process.stop() == 0
    assert process.alive() == set()


def test_an_imported_module_counts_too(start, tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "words.py").write_text("VERSION = 'v1'\n")
    (tmp_path / "main.py").write_text(
        "from e2e.apps.processes import Witness\nfrom inner import words\n"
        "app = Witness(words.VERSION)\n"
    )
    process = start("main:app", "--reload", "--port", "0").ready()
    assert version(process.address) == "v1"
    (tmp_path / "inner" / "words.py").write_text("VERSION = 'v2'\n")
    wait_until(lambda: version(process.address) == "v2", "the new code answers")


def test_a_connection_made_during_the_reload_is_answered_by_the_new_code(start, tmp_path):
    write_main(tmp_path, "v1")
    process = start("main:app", "--reload", "--port", "0").ready()
    address = process.address
    write_main(tmp_path, "v2", "note_pid('imports')", "wait_for_file('go')")
    wait_for(tmp_path / "imports")
    with Http1Socket(address) as connection:
        connection.send_request("GET", "/")
        (tmp_path / "go").touch()
        assert connection.response().text.split(" ")[2] == "v2"


def test_an_open_event_stream_ends_at_once(start, tmp_path):
    write_main(tmp_path, "v1")
    process = start("main:app", "--reload", "--port", "0").ready()
    with process.connect() as connection:
        connection.send_request("GET", "/events")
        connection.response_head()
        assert b"hello" in connection.some(100)
        connection.socket.settimeout(3)  # from the change on, with what the watcher needs
        write_main(tmp_path, "v2")
        connection.until_closed()
    wait_until(lambda: version(process.address) == "v2", "the new code answers")


@pytest.mark.parametrize("watcher", WATCHERS)
def test_a_syntax_error_is_shown_until_it_is_mended(start, tmp_path, watcher):
    write_main(tmp_path, "v1")
    process = start("main:app", "--reload", "--port", "0", watcher=watcher).ready()
    address = process.address
    (tmp_path / "main.py").write_text("app = (\n")
    wait_until(lambda: version(address) == 500, "the error is shown")
    page = get(address, "/any/where").text
    assert "main.py" in page
    assert "SyntaxError" in page
    process.err.wait("SyntaxError")
    assert version(address) == 500  # again and again
    write_main(tmp_path, "v2")
    wait_until(lambda: version(address) == "v2", "the mended code answers")
    assert process.stop() == 0


def test_the_page_with_an_error_does_not_let_the_application_write_html(start, tmp_path):
    write_main(tmp_path, "v1")
    process = start("main:app", "--reload", "--port", "0").ready()
    (tmp_path / "main.py").write_text("raise RuntimeError('<script>alert(1)</script>')\n")
    wait_until(lambda: version(process.address) == 500, "the error is shown")
    response = get(process.address)
    assert response.header("cache-control") == "no-store"
    if "html" in (response.header("content-type") or ""):
        assert "<script>alert" not in response.text
    assert "alert(1)" in response.text


def test_a_first_start_with_an_error_waits_for_the_next_change(start, tmp_path):
    (tmp_path / "main.py").write_text("import nosuchlib\n")
    host, port = address = free_address()
    process = start("main:app", "--reload", "--host", host, "--port", port)
    process.err.wait("nosuchlib")
    wait_until(lambda: not_refused(address) and version(address) == 500, "the error is shown")
    assert "nosuchlib" in get(address).text
    assert process.process.poll() is None
    write_main(tmp_path, "v1")
    wait_until(lambda: version(address) == "v1", "the mended code answers")
    assert process.stop() == 0


def not_refused(address):
    try:
        Http1Socket(address).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_worker_that_dies_while_code_is_written_comes_back(start, tmp_path):
    write_main(tmp_path, "v1")
    process = start("main:app", "--reload", "--port", "0").ready()
    with Http1Socket(process.address) as connection, pytest.raises(ConnectionCut):
        ask(connection, "/exit")
    wait_until(lambda: not_refused(process.address) and version(process.address) == "v1", "v1")


@pytest.mark.parametrize("broken", [False, True], ids=["serving", "error"])
def test_ctrl_c_ends_everything(start, tmp_path, broken):
    write_main(tmp_path, "v1")
    process = start("main:app", "--reload", "--port", "0").ready()
    if broken:
        (tmp_path / "main.py").write_text("app = (\n")
        wait_until(lambda: version(process.address) == 500, "the error is shown")
    process.signal_group(signal.SIGINT)
    assert process.wait(timeout=5) == 0
    assert process.alive() == set()
    assert "Traceback" not in re.sub("(?s)error: .*?SyntaxError", "", process.err.text)


def test_one_worker_is_enough_while_code_is_written(start, tmp_path):
    write_main(tmp_path, "v1")
    process = start("main:app", "--reload", "--workers", "2", "--port", "0")
    process.err.wait(r"ready in .* 1 worker, pid")
    write_main(tmp_path, "v2")
    wait_until(lambda: version(process.address) == "v2", "the new code answers")
    assert len(process.workers()) == 1


# --- gateway dev ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("main.py", "from fastapi import FastAPI\napp = FastAPI()\n@app.get('/')\ndef f(): return '{}'\n", "main:app"),
        ("app.py", "from flask import Flask\napp = Flask('a')\n@app.get('/')\ndef f(): return '{}'\n", "app:app"),
    ],
    ids=["fastapi", "flask"],
)  # fmt: skip
def test_dev_finds_the_application_and_reloads_it(start, tmp_path, name, text, said):
    (tmp_path / name).write_text(text.format("one"))
    process = start("dev", "--port", "0").ready()
    process.err.wait(f"-> {said} ")
    address = process.address
    assert get(address).text.strip('"') == "one"
    (tmp_path / name).write_text(text.format("two"))
    wait_until(lambda: get(address).text.strip('"') == "two", "the new code answers")
    assert process.stop() == 0
    assert process.alive() == set()


def test_dev_takes_an_application_too(start, tmp_path):
    write_main(tmp_path, "v1")
    process = start("dev", "main:app", "--port", "0").ready()
    assert version(process.address) == "v1"
    write_main(tmp_path, "v2")
    wait_until(lambda: version(process.address) == "v2", "the new code answers")
