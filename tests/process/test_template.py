"""Preload: a template that imports once, refuses what cannot be forked, and forks."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.errors import ConfigError, GatewayError, StartError
from gateway.process.channel import Channel
from gateway.process.launcher import Order
from gateway.process.tasks import Tasks
from gateway.process.template_launcher import TemplateLauncher, _TemplateProcess

from .fakes import LIMIT, on_loop, turns, until
from .test_launcher import directory, get, listening, settings

__all__ = ["directory", "listening"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="preload is tried on Linux")


class Preloaded:
    """A template's launcher, and the workers it was told of.

    ends: (pid, exit code), as they were told. templates: those that run, zombies too.
    """

    def __init__(self, directory: Path, **values) -> None:
        self.workers = {}
        self.ends: list[tuple[int, int]] = []
        self.settings = settings(directory, preload="true", **values)
        self.listening = Tasks()
        self.launcher = TemplateLauncher(
            self.settings, str(directory), on_exit=self._ended, tasks=self.listening
        )
        self._burials: set[asyncio.Task] = set()
        self._others = _children()

    def _ended(self, pid: int, code: int) -> None:
        self.ends.append((pid, code))
        if pid in self.workers:
            task = asyncio.ensure_future(self.workers[pid].exited(code))
            self._burials.add(task)

    def _launched(self, worker) -> None:
        self.workers[worker.pid] = worker

    @property
    def templates(self) -> set[int]:
        return _children() - self._others

    def order(self, sockets=(), index: int = 0) -> Order:
        return Order(
            self.settings,
            index,
            sockets,
            on_launch=self._launched,
            on_change=lambda worker: None,
        )

    async def worker(self, sockets=(), index: int = 0):
        """One that serves."""
        worker = await self.launcher.launch(self.order(sockets, index))
        await asyncio.wait_for(worker.started(), LIMIT)
        return worker

    async def tidy(self) -> None:
        for worker in self.workers.values():
            worker.kill()
        await until(lambda: all(each.exit_code is not None for each in self.workers.values()))
        await asyncio.gather(*self._burials)
        await self.launcher.close()
        await until(lambda: not self.templates, "a template is left, or its zombie")


def _children() -> set[int]:
    """The children of this process, zombies too."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        found |= {int(each) for each in (task / "children").read_text().split()}
    return found


def parent_of(pid: int) -> int:
    return int(_stat(pid)[1])


async def stopped(pid: int) -> None:
    """Stop a process, and return when it has."""
    os.kill(pid, signal.SIGSTOP)
    await until(lambda: _stat(pid)[0] == "T")


def _stat(pid: int) -> list[str]:
    """State, parent and so on, of proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


@asynccontextmanager
async def a_template(directory: Path, **values):
    preloaded = Preloaded(directory, **values)
    try:
        yield preloaded
    finally:
        await preloaded.tidy()


async def refusal(directory: Path, code: str, **values) -> GatewayError:
    """Why an application of this code is not preloaded."""
    (directory / "main.py").write_text(code)
    async with a_template(directory, **values) as preloaded:
        with pytest.raises(GatewayError) as caught:
            await asyncio.wait_for(preloaded.launcher.start(), LIMIT)
        assert preloaded.workers == {}
    return caught.value


# --- what is refused -----------------------------------------------------------------------------


@on_loop
async def test_a_thread_at_import_is_refused_by_its_name(directory):
    error = await refusal(
        directory,
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), name='poller', daemon=True).start()\n"
        "async def app(scope, receive, send): ...\n",
    )
    assert isinstance(error, StartError)
    assert str(error).startswith("preload: main:app has started a thread at import, poller\n")


@on_loop
async def test_a_connection_at_import_is_refused_with_where_it_leads(directory, listening):
    port = listening.getsockname()[1]
    error = await refusal(
        directory,
        f"import socket\nsock = socket.create_connection(('127.0.0.1', {port}))\n"
        "async def app(scope, receive, send): ...\n",
    )
    assert isinstance(error, StartError)
    assert str(error).startswith("preload: main:app has opened a socket at import, fd ")
    assert f"to ('127.0.0.1', {port})" in str(error)


@on_loop
async def test_of_several_mounts_the_one_that_is_refused_is_named(directory):
    (directory / "api.py").write_text("async def app(scope, receive, send): ...\n")
    error = await refusal(
        directory,
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), name='poller', daemon=True).start()\n"
        "async def app(scope, receive, send): ...\n",
        app="api:app",
        mounts=["/b=main:app"],
    )
    assert str(error).startswith("/b: preload: main:app has started a thread at import, poller\n")


@on_loop
async def test_a_socket_that_was_closed_again_is_no_matter(directory, listening):
    main = directory / "main.py"
    main.write_text(
        f"import socket\nsocket.create_connection({listening.getsockname()!r}).close()\n"
        + main.read_text()
    )
    async with a_template(directory) as preloaded:
        await preloaded.launcher.start()


@on_loop
async def test_a_broken_application_is_the_error_of_the_start(directory):
    error = await refusal(directory, "import nothing_of_that_name\n")
    assert isinstance(error, StartError)
    assert "nothing_of_that_name" in str(error)


@on_loop
async def test_an_error_of_the_configuration_keeps_its_kind(directory):
    sources = directory / "src"
    sources.mkdir()
    async with a_template(directory, app_dir=str(sources)) as preloaded:
        sources.rmdir()
        with pytest.raises(ConfigError, match="app-dir: there is no directory"):
            await asyncio.wait_for(preloaded.launcher.start(), LIMIT)


@on_loop
async def test_a_template_that_dies_at_import_is_told(directory):
    error = await refusal(directory, "import os\nos._exit(9)\n")
    assert str(error) == "preload: the template process has died"


@on_loop
async def test_a_start_that_is_given_up_leaves_no_template(directory, tmp_path):
    marker = tmp_path / "importing"
    (directory / "main.py").write_text(
        f"import pathlib, time\npathlib.Path({str(marker)!r}).touch()\ntime.sleep(60)\n"
    )
    async with a_template(directory) as preloaded:
        start = asyncio.ensure_future(preloaded.launcher.start())
        await until(marker.exists)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
        await until(lambda: not preloaded.templates)


# --- workers -------------------------------------------------------------------------------------


@on_loop
async def test_workers_are_forked_from_what_was_imported_once(directory, listening, tmp_path):
    log = tmp_path / "imports"
    main = directory / "main.py"
    main.write_text(f"open({str(log)!r}, 'a').write('x')\n" + main.read_text())
    async with a_template(directory) as preloaded:
        await preloaded.launcher.start()
        first = await preloaded.worker([listening], index=4)
        assert await get(listening.getsockname()) == f"4 {first.pid}"
        second = await preloaded.worker([listening], index=1)
        assert parent_of(first.pid) == parent_of(second.pid) != os.getpid()
        assert log.read_text() == "x"


@on_loop
async def test_workers_asked_for_at_once_are_the_ones_that_were_asked_for(directory, listening):
    async with a_template(directory) as preloaded:
        await preloaded.launcher.start()
        workers = await asyncio.gather(
            *(preloaded.worker([listening], index) for index in (2, 0, 1))
        )
        assert [each.index for each in workers] == [2, 0, 1]
        assert len({each.pid for each in workers}) == 3


@on_loop
async def test_the_end_of_a_worker_is_told(directory, listening):
    async with a_template(directory) as preloaded:
        await preloaded.launcher.start()
        worker = await preloaded.worker([listening])
        other = await preloaded.worker([listening])
        worker.stop(limit=1, alone=False)
        await asyncio.wait_for(worker.gone(), LIMIT)
        os.kill(other.pid, signal.SIGKILL)
        await asyncio.wait_for(other.gone(), LIMIT)
        assert preloaded.ends == [(worker.pid, 0), (other.pid, -signal.SIGKILL)]


@on_loop
async def test_a_worker_told_to_stop_at_its_birth_ends(directory, listening):
    async with a_template(directory) as preloaded:
        await preloaded.launcher.start()
        worker = await preloaded.launcher.launch(preloaded.order([listening]))
        worker.stop(limit=0, alone=False)
        await asyncio.wait_for(worker.gone(), LIMIT)
        assert preloaded.ends == [(worker.pid, 0)]


@on_loop
async def test_signals_to_the_whole_group_leave_the_template_alone(directory, listening):
    async with a_template(directory) as preloaded:
        await preloaded.launcher.start()
        (template,) = preloaded.templates
        for number in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"):
            os.kill(template, getattr(signal, number))
        worker = await preloaded.worker([listening])
        assert parent_of(worker.pid) == template


@on_loop
async def test_a_closed_template_ends_with_its_last_worker(directory, listening):
    async with a_template(directory) as preloaded:
        await preloaded.launcher.start()
        (template,) = preloaded.templates
        worker = await preloaded.worker([listening])
        await preloaded.launcher.close()
        assert await get(listening.getsockname()) == f"0 {worker.pid}"
        assert preloaded.templates == {template}
        worker.stop(limit=1, alone=True)
        await asyncio.wait_for(worker.gone(), LIMIT)
        assert preloaded.ends == [(worker.pid, 0)]
        await until(lambda: not preloaded.templates)


@on_loop
async def test_a_template_closed_without_workers_ends_and_is_no_zombie(directory):
    async with a_template(directory) as preloaded:
        await preloaded.launcher.start()
        assert len(preloaded.templates) == 1
        await preloaded.launcher.close()
        await until(lambda: not preloaded.templates)


# --- a template that dies ------------------------------------------------------------------------


@on_loop
async def test_workers_of_a_template_that_dies_are_known_to_have_ended(directory, listening):
    async with a_template(directory) as preloaded:
        await preloaded.launcher.start()
        worker = await preloaded.worker([listening])
        os.kill(parent_of(worker.pid), signal.SIGKILL)
        await asyncio.wait_for(worker.gone(), LIMIT)
        assert preloaded.ends == [(worker.pid, -signal.SIGKILL)]


@on_loop
async def test_a_template_that_died_is_started_anew_once(directory, listening):
    async with a_template(directory) as preloaded:
        await preloaded.launcher.start()
        worker = await preloaded.worker([listening])
        os.kill(parent_of(worker.pid), signal.SIGKILL)
        await asyncio.wait_for(worker.gone(), LIMIT)
        # As when two slots are filled again at the same time.
        first, second = await asyncio.gather(
            preloaded.worker([listening], 0), preloaded.worker([listening], 1)
        )
        assert parent_of(first.pid) == parent_of(second.pid)
        assert len(preloaded.templates) == 1
        assert await get(listening.getsockname()) in {f"0 {first.pid}", f"1 {second.pid}"}


@pytest.fixture
def _collected():
    """What is left open is told of in this test, and not in the next."""
    yield
    gc.collect()


@pytest.mark.usefixtures("_collected")
@on_loop
async def test_every_launch_under_way_fails_when_the_template_dies(directory, listening):
    async with a_template(directory) as preloaded:
        await preloaded.launcher.start()
        (template,) = preloaded.templates
        await stopped(template)
        launches = [
            asyncio.ensure_future(preloaded.launcher.launch(preloaded.order([listening])))
            for _ in range(3)
        ]
        await turns()
        launches[0].cancel()  # a roll that was given up
        os.kill(template, signal.SIGKILL)
        results = await asyncio.wait_for(asyncio.gather(*launches, return_exceptions=True), LIMIT)
        assert isinstance(results[0], asyncio.CancelledError)
        assert [str(each) for each in results[1:]] == ["preload: the template process has died"] * 2


@on_loop
async def test_a_worker_nobody_waits_for_any_more_is_ended(directory, listening):
    async with a_template(directory) as preloaded:
        await preloaded.launcher.start()
        (template,) = preloaded.templates
        await stopped(template)
        launch = asyncio.ensure_future(preloaded.launcher.launch(preloaded.order([listening])))
        await turns()
        launch.cancel()
        await asyncio.gather(launch, return_exceptions=True)
        os.kill(template, signal.SIGCONT)
        await until(lambda: preloaded.ends)
        ((_, code),) = preloaded.ends
        assert code == -signal.SIGKILL


@on_loop
async def test_a_worker_given_up_in_the_moment_of_its_birth_is_ended(directory, listening):
    async with a_template(directory) as preloaded:
        await preloaded.launcher.start()

        def launched(worker) -> None:
            preloaded._launched(worker)
            asyncio.get_running_loop().call_soon(launch.cancel)

        order = Order(
            preloaded.settings, 0, [listening], on_launch=launched, on_change=lambda _: None
        )
        launch = asyncio.ensure_future(preloaded.launcher.launch(order))
        with pytest.raises(asyncio.CancelledError):
            await launch
        await until(lambda: preloaded.ends)
        ((_, code),) = preloaded.ends
        assert code == -signal.SIGKILL


# --- a template that was replaced ----------------------------------------------------------------


@on_loop
async def test_a_template_nobody_refers_to_lives_as_long_as_its_workers(directory, listening):
    async with a_template(directory) as preloaded:
        await preloaded.launcher.start()
        worker = await preloaded.worker([listening])
        await preloaded.launcher.close()
        # What a roll does: another launcher takes its place.
        preloaded.launcher = TemplateLauncher(
            preloaded.settings, str(directory), on_exit=preloaded._ended, tasks=preloaded.listening
        )
        for _ in range(3):
            gc.collect()
            await turns()
        assert await get(listening.getsockname()) == f"0 {worker.pid}"
        worker.stop(limit=1, alone=True)
        await asyncio.wait_for(worker.gone(), LIMIT)
        assert preloaded.ends == [(worker.pid, 0)]
        await asyncio.wait_for(preloaded.listening.wait(), LIMIT)
        assert not preloaded.templates


@on_loop
async def test_orders_that_arrive_together_are_told_apart(directory, listening):
    async with a_template(directory) as preloaded:
        await preloaded.launcher.start()
        (template,) = preloaded.templates
        await stopped(template)
        await preloaded.launcher.close()
        launches = [
            asyncio.ensure_future(preloaded.worker([listening], index)) for index in (11, 2)
        ]
        await turns()
        os.kill(template, signal.SIGCONT)
        workers = await asyncio.gather(*launches)
        assert [parent_of(each.pid) for each in workers] == [template, template]
        answers = {f"{each.index} {each.pid}" for each in workers}
        assert await get(listening.getsockname()) in answers


@on_loop
async def test_sockets_of_a_copy_are_not_inherited_by_its_programs(directory, listening):
    (directory / "main.py").write_text(INHERITABLE)
    async with a_template(directory) as preloaded:
        await preloaded.launcher.start()
        await preloaded.worker([listening])
        assert await get(listening.getsockname()) == "[]"


INHERITABLE = """
import os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    found = []
    for fd in range(3, 256):
        try:
            if os.get_inheritable(fd):
                found.append(fd)
        except OSError:
            continue
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": repr(found).encode()})
"""


# --- a template whose applications speak for it --------------------------------------------------


NOBODY = 2**22 + 1  # PID_MAX_LIMIT of Linux is 2**22


class Impostor:
    """A template that the test plays; its process only waits to be killed."""

    def __init__(self, sock: socket.socket, channel: Channel) -> None:
        self.process = subprocess.Popen(["sleep", "60"])
        self.ends: list[tuple[int, int]] = []
        self.sock = sock
        self.launched: list[object] = []
        ours = sock.dup()
        self.template = _TemplateProcess(
            self.process.pid, ours, channel, lambda pid, code: self.ends.append((pid, code))
        )

    def say(self, message: object) -> None:
        frame = json.dumps(message).encode()
        self.theirs.sendall(struct.pack("!I", len(frame)) + frame)

    theirs: socket.socket

    def was_killed(self) -> bool:
        """`listen` has waited for it."""
        self.process.returncode = 0
        return not Path(f"/proc/{self.process.pid}").exists()


@asynccontextmanager
async def an_impostor():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        impostor = Impostor(ours, await Channel.open(ours.dup()))
        impostor.theirs = theirs
        listening = asyncio.ensure_future(impostor.template.listen())
        try:
            yield impostor
            await asyncio.wait_for(listening, LIMIT)
        finally:
            impostor.template.kill()
            theirs.close()
            await asyncio.gather(listening, impostor.template.ready, return_exceptions=True)


@pytest.fixture
def bystander():
    """A process of ours that is none of the template's affair."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        assert process.poll() is None
        process.kill()


@pytest.mark.parametrize("named", ["a bystander", "ourselves", 1, 0, -1, True])
@on_loop
async def test_a_template_that_names_somebody_elses_process_is_killed_itself(
    named, bystander, directory, caplog
):
    pid = {"a bystander": bystander.pid, "ourselves": os.getpid()}.get(named, named)
    launched = []
    order = Order(
        settings(directory), 0, (), on_launch=launched.append, on_change=lambda worker: None
    )
    async with an_impostor() as impostor:
        launch = asyncio.ensure_future(impostor.template.fork(order))
        await turns()
        impostor.say({"kind": "forked", "pid": pid})
        with pytest.raises(StartError, match="the template process has died"):
            await asyncio.wait_for(launch, LIMIT)
    assert launched == []
    assert impostor.was_killed()
    assert "sent nonsense, killed" in caplog.messages[0]


@on_loop
async def test_a_number_without_a_process_is_a_worker_that_has_ended(directory):
    launched = []
    order = Order(
        settings(directory), 0, (), on_launch=launched.append, on_change=lambda worker: None
    )
    async with an_impostor() as impostor:
        launch = asyncio.ensure_future(impostor.template.fork(order))
        await turns()
        impostor.say({"kind": "forked", "pid": NOBODY})
        worker = await asyncio.wait_for(launch, LIMIT)
        assert launched == [worker]
        assert worker.reaped  # somebody may get this number: it is sent no signal
        impostor.say({"kind": "ended", "pid": NOBODY, "code": 3})
        await until(lambda: impostor.ends)
        assert impostor.ends == [(NOBODY, 3)]
        await worker.exited(3)
        with pytest.raises(StartError, match="exited with code 3 before it was ready"):
            await worker.started()
        impostor.template.kill()
        impostor.theirs.close()
    assert impostor.was_killed()


@on_loop
async def test_a_template_that_forks_unasked_is_killed(bystander):
    async with an_impostor() as impostor:
        impostor.say({"kind": "forked", "pid": bystander.pid})
    assert impostor.was_killed()


@on_loop
async def test_the_end_of_a_process_that_is_no_worker_is_no_news(bystander):
    async with an_impostor() as impostor:
        impostor.say({"kind": "ended", "pid": bystander.pid, "code": 0})
        impostor.say({"kind": "ready"})
        await asyncio.wait_for(impostor.template.ready, LIMIT)
        assert impostor.ends == []
        impostor.template.kill()
        impostor.theirs.close()
    assert impostor.was_killed()


@pytest.mark.parametrize("nonsense", [b"\0\0\0\1{", b"\xff\xff\xff\xff", b"\0\0\0\2\xff{"])
@on_loop
async def test_a_template_that_sends_nonsense_does_not_start(nonsense, caplog):
    async with an_impostor() as impostor:
        impostor.theirs.sendall(nonsense)
        with pytest.raises(StartError, match="the template process has died"):
            await asyncio.wait_for(impostor.template.ready, LIMIT)
    assert impostor.template.gone
    assert impostor.was_killed()
