"""What each signal means to a server with several workers, and that none kills one without."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time

import pytest

from e2e.client import Http1Socket
from e2e.load import Load, ask
from e2e.process import wait_for, wait_until, write_main

APP = "e2e.apps.processes:app"


def hold(process, tmp_path, name="mark"):
    """A connection whose request is in the application, and the file that lets it go."""
    mark = tmp_path / name
    connection = process.connect()
    connection.send_request("GET", f"/hold?mark={mark}")
    wait_for(mark)
    return connection, mark.with_suffix(".go")


def write_toml(directory, text):
    (directory / "gateway.toml").write_text(text)


# --- stop -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["term", "int", "int-to-all"])
def test_a_request_in_flight_is_answered_before_the_end(gateway, tmp_path, how):
    process = gateway(APP, "--workers", "2", "--port", "0").ready()
    address = process.address
    connection, go = hold(process, tmp_path)
    if how == "int-to-all":
        process.signal_group(signal.SIGINT)
    else:
        process.signal(signal.SIGTERM if how == "term" else signal.SIGINT)
    process.err.wait("stopping")
    wait_until(lambda: is_refused(address), "nobody accepts")
    go.touch()
    with connection:
        response = connection.response()
    assert (response.status, response.header("connection")) == (200, "close")
    assert process.wait() == 0
    assert process.alive() == set()
    assert process.err.lines[-1].endswith("stopped")
    assert "Traceback" not in process.err.text
    assert len([line for line in process.out.lines if "lifespan shutdown" in line]) == 2


def is_refused(address):
    try:
        Http1Socket(address).close()
    except ConnectionRefusedError:
        return True
    return False


def test_every_accepted_request_is_answered_under_load(gateway):
    process = gateway(APP, "--workers", "2", "--port", "0").ready()
    with Load(process.address, "/", "/slow?seconds=0.05") as load:
        load.wait_more(60)
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
        load.stop()
    # After the end a new connection is refused; nothing that was accepted is lost before.
    assert load.ok
    assert {failure.what.partition(": ")[2][:22] for failure in load.failures} <= {
        "ConnectionRefusedError"
    }, load


@pytest.mark.parametrize(
    "numbers",
    [(signal.SIGINT, signal.SIGINT), (signal.SIGQUIT,)],
    ids=["int-int", "quit"],
)
def test_an_end_at_once(gateway, tmp_path, numbers):
    process = gateway(APP, "--workers", "2", "--port", "0").ready()
    connection, _ = hold(process, tmp_path)
    began = time.monotonic()
    for number in numbers[:-1]:
        process.signal(number)
        process.err.wait("stopping")
    process.signal(numbers[-1])
    assert process.wait(timeout=5) == 0
    assert time.monotonic() - began < 4.0
    assert process.alive() == set()
    connection.close()


def test_a_second_term_does_not_cut_the_drain(gateway, tmp_path):
    process = gateway(APP, "--workers", "2", "--port", "0").ready()
    connection, go = hold(process, tmp_path)
    process.signal(signal.SIGTERM)
    process.err.wait("stopping")
    process.signal(signal.SIGTERM)
    go.touch()
    with connection:
        assert connection.response().status == 200
    assert process.wait() == 0


def test_term_to_one_worker_drains_it_and_it_is_replaced(gateway, tmp_path):
    process = gateway(APP, "--workers", "2", "--port", "0").ready()
    before = process.answering(2)
    mark = tmp_path / "mark"
    with process.connect() as connection, Load(process.address, fresh=True) as load:
        told = ask(connection)
        connection.send_request("GET", f"/hold?mark={mark}")
        wait_for(mark)
        os.kill(told.pid, signal.SIGTERM)
        load.wait_for_pid_besides(set(before.values()))
        mark.with_suffix(".go").touch()
        assert connection.response().status == 200
        process.wait_gone([told.pid])
    assert load.lossless(), load
    after = process.answering(2)
    assert after[told.index] != told.pid
    assert after[1 - told.index] == before[1 - told.index]


def test_term_during_a_roll_ends_old_and_new_workers(gateway, tmp_path):
    write_main(tmp_path, "v1")
    process = gateway("main:app", "--workers", "2", "--port", "0").ready()
    write_main(tmp_path, "v2", "note_pid('imports')", "wait_for_file('never')")
    process.signal(signal.SIGHUP)
    wait_for(tmp_path / "imports")
    process.signal(signal.SIGTERM)
    assert process.wait(timeout=5) == 0
    assert process.alive() == set()


def test_ctrl_c_while_workers_start_is_quiet(gateway):
    process = gateway(APP, "--workers", "2", "--port", "0").ready()
    before = process.alive()
    process.signal(signal.SIGHUP)
    wait_until(lambda: process.alive() - before, "a new worker's interpreter")
    process.signal_group(signal.SIGINT)
    assert process.wait(timeout=5) == 0
    assert process.alive() == set()
    assert "Traceback" not in process.err.text


def test_a_storm_of_signals_ends_in_order(gateway):
    process = gateway(APP, "--workers", "2", "--port", "0").ready()
    before = process.workers()
    with Load(process.address, "/", "/slow?seconds=0.05") as load:
        for number in (signal.SIGHUP, signal.SIGTTIN, signal.SIGHUP, signal.SIGTTOU) * 3:
            process.signal(number)
            load.wait_more(5)
        process.signal(signal.SIGHUP)
        process.wait_gone(before)
        wait_until(lambda: len(process.workers()) == 2, "two workers")
        load.wait_more()
    assert load.lossless(), load
    assert set(process.answering(2)) == {0, 1}
    assert process.stop() == 0


# --- HUP ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sockets", [[], ["--reuse-port"]], ids=["shared", "reuse-port"])
def test_three_hups_under_load_lose_nothing(gateway, sockets):
    process = gateway(APP, "--workers", "2", "--port", "0", *sockets).ready()
    with (
        Load(process.address, "/", "/slow?seconds=0.05") as kept,
        Load(process.address, "/", "/slow?seconds=0.05", fresh=True) as fresh,
    ):
        for _ in range(3):
            before = process.workers()
            process.signal(signal.SIGHUP)
            process.wait_gone(before, timeout=15)
            fresh.wait_more()
        kept.wait_more()
    assert kept.lossless(), kept
    assert fresh.lossless(), fresh
    assert len(fresh.pids | kept.pids) >= 4
    assert set(process.answering(2)) == {0, 1}
    assert process.stop() == 0


def test_hup_rolls_to_new_code_one_worker_at_a_time(gateway, tmp_path):
    write_main(tmp_path, "v1")
    process = gateway("main:app", "--workers", "2", "--port", "0").ready()
    before = process.workers()
    write_main(tmp_path, "v2", "note_pid('imports')", "wait_for_file('go')")
    process.signal(signal.SIGHUP)
    wait_for(tmp_path / "imports")
    # While the first new one imports, both old ones answer.
    assert set(process.answering(2).values()) == before
    (tmp_path / "go").touch()
    process.wait_gone(before)
    with process.connect() as connection:
        assert ask(connection).version == "v2"


def test_hup_reads_the_configuration_again(gateway, tmp_path):
    write_toml(tmp_path, f'bind = "127.0.0.1:0"\nworkers = 2\n[mounts]\n"/" = "{APP}"\n')
    process = gateway().ready()
    address = process.address
    before = set(process.answering(2).values())
    write_toml(
        tmp_path,
        'bind = "127.0.0.1:0"\nworkers = 3\n'
        f'[mounts]\n"/" = "{APP}"\n"/more" = "e2e.apps.processes:wsgi"\n',
    )
    process.signal(signal.SIGHUP)
    process.wait_gone(before)
    wait_until(lambda: len(process.workers()) == 3, "three workers")
    assert set(process.answering(3)) == {0, 1, 2}
    with Http1Socket(address) as connection:
        assert ask(connection, "/more").index in {0, 1, 2}
    # And back: the third one leaves.
    write_toml(tmp_path, f'bind = "127.0.0.1:0"\nworkers = 2\n[mounts]\n"/" = "{APP}"\n')
    process.signal(signal.SIGHUP)
    wait_until(lambda: len(process.workers()) == 2, "two workers")
    assert set(process.answering(2)) == {0, 1}
    assert process.stop() == 0


def test_hup_moves_to_other_addresses(gateway, tmp_path):
    def toml(*names):
        binds = [f"unix:{tmp_path / name}" for name in names]
        write_toml(tmp_path, f'bind = {binds}\nworkers = 2\n[mounts]\n"/" = "{APP}"\n')

    toml("a")
    process = gateway().ready()
    with Load(str(tmp_path / "a")) as first:
        before = process.workers()
        toml("a", "b")
        process.signal(signal.SIGHUP)
        process.wait_gone(before)
        with Load(str(tmp_path / "b"), fresh=True) as second:
            second.wait_more()
            first.wait_more()
            assert first.lossless(), first
            before = process.workers()
            toml("b")
            process.signal(signal.SIGHUP)
            process.wait_gone(before)
            wait_until(lambda: not (tmp_path / "a").exists(), "the old address is gone")
            second.wait_more()
        assert second.lossless(), second
    assert process.stop() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel may refuse it")
def test_hup_moves_to_an_address_that_excludes_the_old_one(gateway, tmp_path):
    def toml(host, workers):
        bind = f'bind = "{host}:{port}"\nworkers = {workers}\n'
        write_toml(tmp_path, f'{bind}[mounts]\n"/" = "{APP}"\n')

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    toml("127.0.0.1", 2)
    process = gateway().ready()
    address = ("127.0.0.1", port)
    with Load(address, fresh=True) as fresh, Load(address) as kept:
        for host, workers in (("0.0.0.0", 3), ("127.0.0.1", 2), ("0.0.0.0", 3)):
            before = process.workers()
            toml(host, workers)
            process.signal(signal.SIGHUP)
            process.wait_gone(before)
            wait_until(lambda n=workers: len(process.workers()) == n, "as many workers")
            fresh.wait_more()
            kept.wait_more()
    assert fresh.lossless(), fresh
    assert kept.lossless(), kept
    assert process.stop() == 0


def test_hup_to_an_address_that_is_taken_keeps_the_old_one(gateway, tmp_path):
    def toml(*ports):
        binds = [f"127.0.0.1:{port}" for port in ports]
        write_toml(tmp_path, f'bind = {binds}\nworkers = 2\n[mounts]\n"/" = "{APP}"\n')

    with socket.create_server(("127.0.0.1", 0)) as taken:
        toml(0)
        process = gateway().ready()
        address, before = process.address, process.workers()
        toml(0, taken.getsockname()[1])
        process.signal(signal.SIGHUP)
        process.err.wait(f":{taken.getsockname()[1]} is taken")
        with Http1Socket(address) as connection:
            assert ask(connection).pid in before
    assert process.workers() == before
    assert process.stop() == 0


@pytest.mark.parametrize("broken", ["import", "lifespan", "exit", "toml", "key", "empty"])
def test_hup_with_something_broken_keeps_the_old_workers(gateway, tmp_path, broken):
    sound = 'bind = "127.0.0.1:0"\nworkers = 2\n[mounts]\n"/" = "main:app"\n'
    write_main(tmp_path, "v1")
    write_toml(tmp_path, sound)
    process = gateway().ready()
    before = process.workers()
    write_main(
        tmp_path,
        "v2",
        *{"import": ["import nosuchlib"], "exit": ["import os; os._exit(7)"]}.get(broken, []),
    )
    if broken == "lifespan":
        (tmp_path / "main.py").write_text("from e2e.apps.operator import failing as app\n")
    if broken in ("toml", "key"):
        write_toml(tmp_path, sound + ("[mounts" if broken == "toml" else "wrokers = 3\n"))
    if broken == "empty":
        write_toml(tmp_path, sound.partition("[mounts]")[0])
    with Load(process.address) as load:
        process.signal(signal.SIGHUP)
        said = {
            "import": "nosuchlib", "lifespan": "the database is away", "exit": r"\b7\b",
            "toml": r"gateway\.toml:5", "key": "wrokers", "empty": "nothing to serve",
        }  # fmt: skip
        process.err.wait(said[broken])
        process.err.wait(
            "(?i)(old|running|same|present) (ones|workers)|workers? .*(stay|kept|keep|go on)"
        )
        wait_until(lambda: process.workers() == before, "the old workers alone")
        load.wait_more()
        assert load.pids <= before
        # Mended.
        write_toml(tmp_path, sound)
        write_main(tmp_path, "v3")
        process.signal(signal.SIGHUP)
        process.wait_gone(before)
    assert load.lossless(), load
    with process.connect() as connection:
        assert ask(connection).version == "v3"
    assert process.stop() == 0


def test_a_new_worker_killed_during_the_roll_costs_nothing(gateway, tmp_path):
    write_main(tmp_path, "v1")
    process = gateway("main:app", "--workers", "2", "--port", "0").ready()
    before = process.workers()
    write_main(tmp_path, "v2", "note_pid('imports')", "wait_for_file('go')")
    with Load(process.address) as load:
        process.signal(signal.SIGHUP)
        wait_for(tmp_path / "imports")
        new = int((tmp_path / "imports").read_text().split()[0])
        os.kill(new, signal.SIGKILL)
        process.wait_gone([new])
        (tmp_path / "go").touch()
        load.wait_more()
        assert load.pids <= before | process.workers()
    assert load.lossless(), load
    assert set(process.answering(2)) == {0, 1}
    assert process.stop() == 0


# --- the number of workers ------------------------------------------------------------------------


def test_ttin_and_ttou_change_the_number_of_workers(gateway):
    process = gateway(APP, "--workers", "2", "--port", "0").ready()
    with Load(process.address, fresh=True) as load:
        process.signal(signal.SIGTTIN)
        wait_until(lambda: len(process.workers()) == 3, "three workers")
        assert set(process.answering(3)) == {0, 1, 2}
        process.signal(signal.SIGTTOU)
        wait_until(lambda: len(process.workers()) == 2, "two workers")
        assert set(process.answering(2)) == {0, 1}
        process.signal(signal.SIGTTOU)
        wait_until(lambda: len(process.workers()) == 1, "one worker")
        assert set(process.answering(1)) == {0}
        # The last one stays.
        mark = process.err.length
        process.signal(signal.SIGTTOU)
        process.err.wait("worker", after=mark)
        load.wait_more()
        assert len(process.workers()) == 1
    assert load.lossless(), load
    assert process.stop() == 0


# --- logs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["1", "2"])
def test_usr1_opens_the_log_files_again(gateway, tmp_path, workers):
    process = gateway(
        APP, "--workers", workers, "--port", "0",
        "--access-log-file", "access.log", "--log-file", "error.log",
    )  # fmt: skip
    access, error = tmp_path / "access.log", tmp_path / "error.log"
    wait_until(lambda: error.exists() and "ready in" in error.read_text(), "it is ready")
    port = int(error.read_text().partition("on http://127.0.0.1:")[2].partition(",")[0])

    def get(target):
        with Http1Socket(("127.0.0.1", port)) as connection:
            ask(connection, target)

    get("/?first")
    wait_until(lambda: "first" in access.read_text(), "a line")
    access.rename(tmp_path / "access.1")
    error.rename(tmp_path / "error.1")
    process.signal(signal.SIGUSR1)
    wait_for(access)
    wait_for(error)

    def written():
        for _ in range(4):
            get("/?second")  # by whichever worker
        return "second" in access.read_text()

    wait_until(written, "a line in the new file")
    old = (tmp_path / "access.1").read_text()
    assert "first" in old
    # Soon nobody writes to the old file any more.
    wait_until(lambda: settled(tmp_path / "access.1", written), "the old file is left")
    assert process.stop() == 0
    assert "stopped" in error.read_text()


def settled(path, work):
    before = path.read_text()
    work()
    return path.read_text() == before


def test_logs_can_be_reopened_while_workers_start(gateway):
    process = gateway(APP, "--workers", "2", "--port", "0").ready()
    before = process.workers()
    process.signal(signal.SIGHUP)

    def rolled():
        process.signal(signal.SIGUSR1)  # it would end an interpreter that has no handler yet
        return not before & process.workers()

    wait_until(rolled, "new workers")
    process.err.wait("reloaded")
    assert "SIGUSR1" not in process.err.text
    assert process.stop() == 0


# --- one process ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HUP", "USR1", "TTIN", "TTOU", "WINCH"])
def test_no_signal_of_an_operator_kills_a_single_process(gateway, name):
    process = gateway(APP, "--port", "0").ready()
    with process.connect() as connection:
        assert ask(connection).pid == process.pid
        process.signal(signal.Signals[f"SIG{name}"])
        assert ask(connection).pid == process.pid
    assert process.process.poll() is None
    assert process.stop() == 0


def test_hup_to_a_single_process_says_what_it_would_take(gateway):
    process = gateway(APP, "--port", "0").ready()
    process.signal(signal.SIGHUP)
    process.err.wait("SIGHUP")
    process.err.wait("--supervise")


def test_quit_ends_a_single_process_at_once(gateway, tmp_path):
    process = gateway(APP, "--port", "0").ready()
    connection, _ = hold(process, tmp_path)
    process.signal(signal.SIGQUIT)
    assert process.wait(timeout=5) == 0
    connection.close()
