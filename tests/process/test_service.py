"""A server as the system around it sees it: addresses that change, a terminal that goes away."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys

import pytest

from gateway.errors import ConfigError, StartError
from gateway.process.service import Service
from gateway.process.worker_sockets import WorkerSockets
from gateway.settings import Settings, load

from .fakes import LIMIT, until
from .listening import connects, free_port, listener, short_path

__all__ = ["short_path"]


LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a queue is shared")


def loaded(directory, **values):
    return load(argv_values=values, environ={}, cwd=directory, search=False)


@pytest.fixture
def serve(tmp_path):
    """An open service; `bind` and the like are what its operator has typed."""
    services = []

    def serve(**values) -> Service:
        read = loaded(tmp_path, app="main:app", **values)
        service = Service(read.settings, read.origins, main=False)
        services.append(service)
        service.open()
        return service

    yield serve
    for service in services:
        service.close()


def changed(service: Service, tmp_path, **values) -> Settings:
    return loaded(tmp_path, app="main:app", **values).settings


def tcp(port: int) -> str:
    return f"127.0.0.1:{port}"


def accepts(port: int) -> bool:
    return connects(socket.AF_INET, ("127.0.0.1", port))


# --- open and close ------------------------------------------------------------------------------


def test_an_open_service_listens_and_a_closed_one_does_not(serve):
    service = serve(bind=["127.0.0.1:0"])
    (bound,) = service.bound
    assert service.urls == [f"http://127.0.0.1:{bound.port}"]
    assert accepts(bound.port)
    service.close()
    assert not accepts(bound.port)


def test_questions_of_health_have_sockets_of_their_own(serve):
    service = serve(bind=["127.0.0.1:0"], health_bind=[tcp(free_port())])
    assert (len(service.bound), len(service.health)) == (1, 1)
    assert service.bound[0].port != service.health[0].port
    service.stop_listening()
    assert accepts(service.health[0].port)  # it says "draining" still
    service.close()
    assert not accepts(service.health[0].port)


def test_a_port_that_is_taken_leaves_nothing_bound(serve):
    port = free_port()
    with listener() as other:
        with pytest.raises(StartError, match=f"{other.getsockname()[1]}"):
            serve(bind=[tcp(port), tcp(other.getsockname()[1])])
        assert not accepts(port)


def test_a_pid_file_is_there_as_long_as_the_service(serve, tmp_path):
    path = tmp_path / "pid"
    service = serve(bind=["127.0.0.1:0"], pid_file=str(path))
    assert int(path.read_text()) == os.getpid()
    service.close()
    assert not path.exists()


def test_a_successor_keeps_the_pid_file_and_the_socket_file(serve, short_path, tmp_path):
    path = tmp_path / "pid"
    service = serve(bind=[f"unix:{short_path}"], pid_file=str(path))
    path.write_text("1\n")  # the successor has put its own number there
    service.give_way(1)
    service.close()
    assert path.read_text() == "1\n"
    assert short_path.exists()
    assert not connects(socket.AF_UNIX, str(short_path))


def test_a_socket_file_goes_with_the_service(serve, short_path):
    service = serve(bind=[f"unix:{short_path}"])
    assert short_path.exists()
    service.close()
    assert not short_path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_service_that_is_bound_before_it_is_opened_gives_its_socket_to_the_user(
    tmp_path, short_path
):
    read = loaded(tmp_path, app="main:app", bind=[f"unix:{short_path}"], user="1234", group="1235")
    service = Service(read.settings, read.origins, main=False)
    service.bind()
    assert (short_path.stat().st_uid, short_path.stat().st_gid) == (1234, 1235)
    service.open()
    service.close()


@pytest.mark.parametrize("main", [True, False])
def test_the_umask_of_somebody_elses_process_stays(tmp_path, main):
    read = loaded(tmp_path, app="main:app", bind=["127.0.0.1:0"], umask="027")
    before = os.umask(0o022)
    try:
        service = Service(read.settings, read.origins, main=main)
        service.open()
        service.close()
        assert os.umask(0o022) == (0o027 if main else 0o022)
    finally:
        os.umask(before)


# --- rebind --------------------------------------------------------------------------------------


def test_the_same_addresses_keep_their_sockets(serve, tmp_path):
    port = free_port()
    service = serve(bind=[tcp(port)])
    before = list(service.bound)
    settings = changed(service, tmp_path, bind=[tcp(port)], backlog="5")
    service.rebind(settings).finish(taken=True)
    assert service.bound == before
    assert service.settings is settings
    assert accepts(port)


def test_an_address_that_comes_is_bound_and_the_others_keep_their_sockets(serve, tmp_path):
    first, second = free_port(), free_port()
    service = serve(bind=[tcp(first)])
    (before,) = service.bound
    rebound = service.rebind(changed(service, tmp_path, bind=[tcp(second), tcp(first)]))
    assert before in service.bound
    assert accepts(second)
    rebound.finish(taken=True)
    assert accepts(first)
    assert accepts(second)
    assert len(service.bound) == 2


def test_an_address_that_goes_is_open_until_the_change_is_taken(serve, tmp_path):
    first, second = free_port(), free_port()
    service = serve(bind=[tcp(first), tcp(second)])
    rebound = service.rebind(changed(service, tmp_path, bind=[tcp(second)]))
    assert [each.port for each in service.bound] == [second]
    assert accepts(first)
    rebound.finish(taken=True)
    assert not accepts(first)
    assert accepts(second)


@LINUX_ONLY
@pytest.mark.parametrize("hosts", [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1"),
                                   ("localhost", "127.0.0.1")])  # fmt: skip
@pytest.mark.parametrize("reuse_port", ["true", "false"])
def test_an_address_that_excludes_the_one_before_comes_beside_it(
    serve, tmp_path, hosts, reuse_port
):
    port = free_port()
    service = serve(bind=[f"{hosts[0]}:{port}"], reuse_port=reuse_port)
    before = list(service.bound)
    rebound = service.rebind(
        changed(service, tmp_path, bind=[f"{hosts[1]}:{port}"], reuse_port=reuse_port)
    )
    assert rebound.leaves
    (after,) = service.bound
    rebound.finish(taken=True)
    assert {each.socket.fileno() for each in before} == {-1}
    with socket.create_connection(("127.0.0.1", port)):
        after.socket.setblocking(True)
        after.socket.settimeout(LIMIT)
        after.socket.accept()[0].close()


@LINUX_ONLY
def test_an_address_that_excludes_the_one_before_may_be_given_up(serve, tmp_path):
    port = free_port()
    service = serve(bind=[tcp(port)])
    (before,) = service.bound
    service.rebind(changed(service, tmp_path, bind=[f"0.0.0.0:{port}"])).finish(taken=False)
    assert service.bound == [before]
    assert accepts(port)
    # And nobody else may share the port because of it.
    with pytest.raises(StartError, match="is taken by"):
        serve(bind=[f"0.0.0.0:{port}"])


@LINUX_ONLY
def test_an_address_that_somebody_else_excludes_is_refused(serve, tmp_path):
    with listener() as other:
        port = other.getsockname()[1]
        service = serve(bind=[f"127.0.0.2:{port}"])
        with pytest.raises(StartError, match="is taken by"):
            service.rebind(changed(service, tmp_path, bind=[f"0.0.0.0:{port}"]))
        assert connects(socket.AF_INET, ("127.0.0.2", port))


def test_a_change_that_adds_an_address_lets_none_go(serve, tmp_path):
    first, second = free_port(), free_port()
    service = serve(bind=[tcp(first)])
    rebound = service.rebind(changed(service, tmp_path, bind=[tcp(first), tcp(second)]))
    assert not rebound.leaves
    rebound.finish(taken=True)


def test_a_change_that_is_not_taken_is_undone(serve, tmp_path):
    first, second = free_port(), free_port()
    service = serve(bind=[tcp(first)])
    before, settings = list(service.bound), service.settings
    service.rebind(changed(service, tmp_path, bind=[tcp(second)])).finish(taken=False)
    assert service.bound == before
    assert service.settings is settings
    assert accepts(first)
    assert not accepts(second)


def test_an_address_that_cannot_be_had_changes_nothing(serve, tmp_path):
    first, second = free_port(), free_port()
    service = serve(bind=[tcp(first)])
    before, settings = list(service.bound), service.settings
    with listener() as other:
        taken = other.getsockname()[1]
        with pytest.raises(StartError):
            service.rebind(changed(service, tmp_path, bind=[tcp(second), tcp(taken)]))
    assert (service.bound, service.settings) == (before, settings)
    assert accepts(first)
    assert not accepts(second)


def test_an_address_may_go_and_come_again(serve, tmp_path, short_path):
    port = free_port()
    both, one = [tcp(port), f"unix:{short_path}"], [tcp(port)]
    service = serve(bind=both)
    service.rebind(changed(service, tmp_path, bind=one)).finish(taken=True)
    assert not short_path.exists()
    service.rebind(changed(service, tmp_path, bind=both)).finish(taken=True)
    assert connects(socket.AF_UNIX, str(short_path))


def test_undoing_removes_the_socket_file_that_was_made(serve, tmp_path, short_path):
    port = free_port()
    service = serve(bind=[tcp(port)])
    service.rebind(changed(service, tmp_path, bind=[f"unix:{short_path}"])).finish(taken=False)
    assert not short_path.exists()
    assert accepts(port)


def test_an_address_that_comes_has_the_new_permissions(serve, tmp_path, short_path):
    service = serve(bind=[tcp(free_port())])
    wanted = changed(service, tmp_path, bind=[f"unix:{short_path}"], uds_permissions="600")
    service.rebind(wanted).finish(taken=True)
    assert stat.S_IMODE(short_path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_an_address_that_comes_belongs_to_the_new_user(serve, tmp_path, short_path):
    service = serve(bind=[tcp(free_port())])
    wanted = changed(service, tmp_path, bind=[f"unix:{short_path}"], user="1234", group="1235")
    rebound = service.rebind(wanted)
    assert (short_path.stat().st_uid, short_path.stat().st_gid) == (1234, 1235)
    rebound.finish(taken=False)
    assert service.identity is None


def test_a_user_that_does_not_exist_changes_nothing(serve, tmp_path):
    port = free_port()
    service = serve(bind=[tcp(port)])
    before, settings = list(service.bound), service.settings
    with pytest.raises(ConfigError, match="nosuchuser"):
        service.rebind(changed(service, tmp_path, bind=[tcp(port)], user="nosuchuser"))
    assert (service.bound, service.settings) == (before, settings)


def test_what_only_a_start_takes_over_is_named(serve, tmp_path, caplog):
    bind = [tcp(free_port())]
    service = serve(bind=bind, pid_file=str(tmp_path / "one"))
    wanted = changed(
        service,
        tmp_path,
        bind=bind,
        pid_file=str(tmp_path / "two"),
        hooks="myhooks",
        health_bind=[tcp(free_port())],
        reuse_port="true",
        backlog="5",
    )
    for _ in range(2):  # the second HUP does not take them over either
        service.rebind(wanted).finish(taken=True)
    text = "not taken over by a reload: health-bind, hooks, pid-file, reuse-port\n"
    assert [each.startswith(text) for each in caplog.messages] == [True, True]


def test_where_nothing_of_that_changed_nothing_is_said(serve, tmp_path, caplog):
    bind = [tcp(free_port())]
    service = serve(bind=bind, pid_file=str(tmp_path / "one"), hooks="myhooks")
    same = changed(
        service, tmp_path, bind=bind, pid_file=str(tmp_path / "one"), hooks="myhooks", backlog="5"
    )
    service.rebind(same).finish(taken=True)
    assert caplog.messages == []


@LINUX_ONLY
def test_reuse_port_stays_as_it_was_for_addresses_that_come(serve, tmp_path):
    first, second = free_port(), free_port()
    service = serve(bind=[tcp(first)])
    wanted = changed(service, tmp_path, bind=[tcp(second)], reuse_port="true")
    service.rebind(wanted).finish(taken=True)
    (bound,) = service.bound
    with bound.sibling() as sibling:
        assert os.fstat(sibling.fileno()).st_ino == os.fstat(bound.socket.fileno()).st_ino


# --- the terminal --------------------------------------------------------------------------------


def test_a_terminal_that_is_closed_is_gone(serve, monkeypatch):
    master, slave = os.openpty()
    # Not in a fixture: pytest changes stderr after those.
    with os.fdopen(slave, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        service = serve(bind=["127.0.0.1:0"])
        before = service.terminal_is_gone()
        os.close(master)
        after = service.terminal_is_gone()
    assert (before, after) == (False, True)


def test_a_server_without_a_terminal_has_none_to_lose(serve, monkeypatch, tmp_path):
    with (tmp_path / "log").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        assert not serve(bind=["127.0.0.1:0"]).terminal_is_gone()
        monkeypatch.undo()


@pytest.mark.parametrize("stream", [None, "closed"])
def test_a_server_without_stderr_has_no_terminal_to_lose(serve, monkeypatch, tmp_path, stream):
    if stream == "closed":
        stream = (tmp_path / "log").open("w")
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    gone = serve(bind=["127.0.0.1:0"]).terminal_is_gone()
    monkeypatch.undo()
    assert not gone


# --- the directory, and a successor --------------------------------------------------------------


def test_the_directory_is_known_by_the_name_it_was_called_by(tmp_path, monkeypatch):
    release, current = tmp_path / "release-1", tmp_path / "current"
    release.mkdir()
    current.symlink_to(release)
    monkeypatch.chdir(release)
    monkeypatch.setenv("PWD", str(current))
    assert Service(Settings(), {}, main=False).directory == str(current)


@pytest.mark.parametrize("pwd", ["/", "/nonexistent", "", None])
def test_a_name_that_leads_elsewhere_is_not_believed(tmp_path, monkeypatch, pwd):
    monkeypatch.chdir(tmp_path)
    if pwd is None:
        monkeypatch.delenv("PWD", raising=False)
    else:
        monkeypatch.setenv("PWD", pwd)
    assert Service(Settings(), {}, main=False).directory == str(tmp_path)


def test_a_successor_that_does_not_come_up_is_told(serve, monkeypatch, caplog):
    monkeypatch.setattr(sys, "orig_argv", ["python", "-S", "-c", "raise SystemExit(3)"])
    service = serve(bind=["127.0.0.1:0"])

    async def scenario() -> int | None:
        return await asyncio.wait_for(service.succeeded(), 10)

    assert asyncio.run(scenario()) is None
    assert "did not come up; this one goes on" in caplog.messages[-1]
    assert accepts(service.bound[0].port)


def test_a_successor_that_cannot_be_started_is_told(serve, caplog, tmp_path, monkeypatch):
    service = serve(bind=["127.0.0.1:0"])
    monkeypatch.setattr(service, "directory", str(tmp_path / "gone"))
    assert asyncio.run(service.succeeded()) is None
    assert "the new binary cannot be started" in caplog.messages[-1]


def test_a_successor_gets_the_sockets_and_not_what_was_meant_for_this_process(
    serve, monkeypatch, tmp_path
):
    port = free_port()
    code = (
        "import os\n"
        "from gateway.process.upgrade import Predecessor\n"
        "found = Predecessor.find(os.environ)\n"
        f"assert [each.name for each in found.sockets] == ['127.0.0.1:{port}']\n"
        "assert 'LISTEN_PID' not in os.environ and 'WATCHDOG_PID' not in os.environ\n"
        "assert os.environ['FLAVOR'] == 'sweet'\n"
        "found.give_way()"
    )
    monkeypatch.setenv("FLAVOR", "sweet")
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    monkeypatch.setattr(sys, "orig_argv", ["python", "-c", code])
    read = loaded(tmp_path, app="main:app", bind=[tcp(port)])
    service = Service(read.settings, read.origins, main=True)
    service.open()
    try:
        pid = asyncio.run(asyncio.wait_for(service.succeeded(), 10))
        assert pid is not None
        os.waitpid(pid, 0)
    finally:
        service.close()


@LINUX_ONLY
def test_a_successor_gets_the_queues_of_workers(monkeypatch, tmp_path):
    read = loaded(tmp_path, app="main:app", bind=["127.0.0.1:0"], reuse_port="true")
    service = Service(read.settings, read.origins, main=True)
    service.open()
    sockets = WorkerSockets(lambda: service.bound, own=True)
    inodes = [os.fstat(sockets.of(index)[0].fileno()).st_ino for index in (0, 1)]
    code = (
        "import os\n"
        "from gateway.process.service import Service\n"
        "from gateway.process.worker_sockets import WorkerSockets\n"
        "from gateway.settings import Settings\n"
        "service = Service(Settings(port=0, reuse_port=True), {'port': 'flag'}, main=True)\n"
        "assert service.has_predecessor\n"
        "service.open()\n"
        "sockets = WorkerSockets(lambda: service.bound, own=True)\n"
        "inodes = [os.fstat(sockets.of(index)[0].fileno()).st_ino for index in (0, 1)]\n"
        f"assert inodes == {inodes}\n"
        "service.ready('')\n"
        "assert not service.has_predecessor\n"
    )
    monkeypatch.setattr(sys, "orig_argv", ["python", "-c", code])
    try:
        pid = asyncio.run(asyncio.wait_for(service.succeeded(sockets.as_inherited()), 10))
        assert pid is not None
        service.give_way(pid)
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        sockets.keep(0)
        service.close()


def test_a_successor_that_does_not_serve_yet_ends_with_this_process(monkeypatch, tmp_path):
    here = tmp_path / "here"
    code = f"open({str(here)!r}, 'w').close(); import time; time.sleep(60)"
    monkeypatch.setattr(sys, "orig_argv", ["python", "-c", code])
    read = loaded(tmp_path, app="main:app", bind=["127.0.0.1:0"])
    service = Service(read.settings, read.origins, main=True)

    async def scenario() -> None:
        service.open()
        succeeded = asyncio.ensure_future(service.succeeded())
        await until(here.exists)
        service.close()
        assert await asyncio.wait_for(succeeded, LIMIT) is None

    asyncio.run(scenario())


def test_a_process_that_was_started_by_nobody_has_no_predecessor(serve):
    assert not serve(bind=["127.0.0.1:0"]).has_predecessor
