"""A stop in a bad moment: the loop blocked, connections waiting in the kernel, templates replaced."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from e2e.client import ConnectionCut, Http1Socket
from e2e.process import wait_for, write_main

APP = "e2e.apps.processes:app"
PACE = 0.02  # seconds between an answer and the next request of a client


def block(process, tmp_path, seconds, address=None):
    """A connection whose request blocks the loop from now on."""
    mark = tmp_path / "blocked"
    connection = Http1Socket(address or process.address)
    connection.send_request("GET", f"/block?seconds={seconds}&mark={mark}")
    wait_for(mark)
    return connection


def answered(connections):
    """How many of them get a whole answer."""
    count = 0
    for connection in connections:
        try:
            count += connection.response().status == 200
        except (OSError, ConnectionCut):
            continue
    return count


def ask_until_told_to_close(connection):
    """Whether every request was answered, from the one under way to one that said it is the last.

    In between it was kept: a connection that was just answered is not to be closed as an idle one.
    """
    try:
        while (response := connection.response()).status == 200:
            if response.header("connection") == "close":
                return True
            time.sleep(PACE)
            connection.send_request("GET", "/")
    except (OSError, ConnectionCut):
        pass
    return False


# --- connections that the kernel has accepted ----------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_every_connection_in_the_queue_behind_a_blocked_loop_is_answered(
    gateway, tmp_path, loop, family
):
    path = str(tmp_path / "s")
    args = ("--port", "0") if family == "tcp" else ("--uds", path)
    process = gateway(APP, "--loop", loop, *args).ready()
    address = process.address if family == "tcp" else path
    with ExitStack() as stack:
        stack.enter_context(block(process, tmp_path, 0.7, address))
        waiting = [stack.enter_context(Http1Socket(address)) for _ in range(50)]
        for each in waiting:
            each.send_request("GET", "/")
        process.signal(signal.SIGTERM)
        assert answered(waiting) == 50, process.err.text
    assert process.wait() == 0


# --- requests that came while the loop was blocked -----------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "args"),
    [(signal.SIGTERM, ("--supervise",)), (signal.SIGHUP, ("--supervise", "--loop", "asyncio"))],
    ids=["term", "hup"],
)
def test_what_kept_connections_have_sent_to_a_blocked_loop_is_answered(
    gateway, tmp_path, number, args
):
    process = gateway(APP, "--port", "0", *args).ready()
    with ExitStack() as stack:
        kept = [stack.enter_context(process.connect()) for _ in range(20)]
        for each in kept:
            each.send_request("GET", "/")
        assert answered(kept) == 20
        # Longer than any of them may stay idle in a drain.
        stack.enter_context(block(process, tmp_path, 3))
        for each in kept:
            each.send_request("GET", "/")
        process.signal(number)
        with ThreadPoolExecutor(20) as clients:
            assert list(clients.map(ask_until_told_to_close, kept)) == [True] * 20
    if number == signal.SIGHUP:
        process.err.wait("reloaded: 1 of 1")
        assert process.stop() == 0
    else:
        assert process.wait() == 0


STUBBORN = """
import time

async def app(scope, receive, send):
    if scope["type"] == "http":
        stubborn()

def stubborn():
    print("blocked", flush=True)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            time.sleep(0.05)
        except BaseException:
            pass
"""


@pytest.mark.slow
def test_now_means_now_though_the_loop_is_blocked_for_good(gateway, tmp_path):
    (tmp_path / "main.py").write_text(STUBBORN)
    both = [gateway("main:app", "--port", "0") for _ in range(2)]
    with ExitStack() as stack:
        for process in both:
            connection = stack.enter_context(process.ready().connect())
            connection.send_request("GET", "/")
            process.out.wait("blocked")
        quitting, interrupted = both
        began = time.monotonic()
        quitting.signal(signal.SIGQUIT)
        while interrupted.process.poll() is None and time.monotonic() - began < 1.0:
            interrupted.signal(signal.SIGINT)  # an operator who gets no answer
            time.sleep(0.3)
        for process in both:
            assert process.wait(timeout=8) == 1
            assert "in stubborn" in process.err.text  # whose fault it was
        assert 4 < time.monotonic() - began < 8


# --- templates -----------------------------------------------------------------------------------


def test_a_request_outlives_the_template_that_was_replaced_twice(gateway, tmp_path):
    write_main(tmp_path, "v1")
    # What nobody refers to any more is gone when the hook of the second HUP has run.
    (tmp_path / "hooks.py").write_text("import gc\n\ndef on_reload():\n    gc.collect()\n")
    process = gateway("main:app", "--preload", "--port", "0", "--hooks", "hooks").ready()
    mark = tmp_path / "held"
    with process.connect() as connection:
        connection.send_request("GET", f"/hold?mark={mark}")
        wait_for(mark)
        for count in (1, 2):
            process.signal(signal.SIGHUP)
            process.err.wait("reloaded: 1 of 1 workers ready", count=count)
        mark.with_suffix(".go").touch()
        assert connection.response().status == 200
    began = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - began < 5
    assert process.alive() == set()
