"""Hooks: what is found, what is refused, how each is called."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from gateway.errors import ConfigError, StartError
from gateway.process.hooks import HookEvent, HookName, Hooks

DOCS = Path(__file__).parents[2] / "docs" / "hooks.md"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module for the time of the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names = []

    def write(text: str, name: str = "myhooks") -> str:
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        names.append(name)
        return name

    yield write
    for name in names:
        sys.modules.pop(name, None)
        sys.modules.pop(name.partition(".")[0], None)


def call(hooks: Hooks, name: HookName, **facts) -> None:
    asyncio.run(asyncio.wait_for(hooks.call(HookEvent(name=name, **facts)), 5))


def messages(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records]


# --- what is found -------------------------------------------------------------------------------


def test_without_hooks_nothing_is_called():
    assert Hooks.load(None) is Hooks.empty
    call(Hooks.empty, "on_start")


@pytest.mark.parametrize(
    "spec", ["myhooks", "myhooks:functions", "myhooks:Methods", "myhooks:made"]
)
def test_a_module_an_object_and_a_class_may_have_hooks(module, spec):
    module("""
        from types import SimpleNamespace
        seen = []
        def on_start(event):
            seen.append(event)
        class Methods:
            def on_start(self, event):
                seen.append(event)
        functions = SimpleNamespace(on_start=on_start)
        made = Methods()
    """)
    event = HookEvent(name="on_start", urls=("http://127.0.0.1:8000",))

    asyncio.run(Hooks.load(spec).call(event))

    assert sys.modules["myhooks"].seen == [event]


def test_a_module_of_a_package_may_have_hooks(module):
    module("def on_start(): print('started')", "hookpackage.hooks")

    assert Hooks.load("hookpackage.hooks") is not Hooks.empty


@pytest.mark.parametrize(
    "definition",
    [
        "def on_stop(event): seen.append('event')",
        "def on_stop(event=None): seen.append('event' if event else 'none')",
        "def on_stop(*arguments): seen.append('event' if arguments else 'none')",
        "def on_stop(): seen.append('none')",
        "async def on_stop(event): seen.append('event')",
        "async def on_stop(): seen.append('none')",
        "on_stop = lambda event: seen.append('event')",
    ],
)
def test_a_hook_takes_the_event_or_nothing(module, definition):
    module(f"seen = []\n{definition}")

    call(Hooks.load("myhooks"), "on_stop")

    expected = "none" if "on_stop()" in definition else "event"
    assert sys.modules["myhooks"].seen == [expected]


def test_a_hook_that_is_not_there_is_not_missed(module):
    module("seen = []\ndef on_start(): seen.append(1)")

    call(Hooks.load("myhooks"), "on_stop")

    assert sys.modules["myhooks"].seen == []


def test_an_event_tells_the_process_of_its_hook():
    assert HookEvent(name="on_start").pid == os.getpid()


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "def on_woker_start(): print()",
            'hooks: myhooks: "on_woker_start" is no hook\n  did you mean "on_worker_start"?',
        ),
        (
            "def on_hiccups_of_db(): print()",
            'hooks: myhooks: "on_hiccups_of_db" is no hook\n  known are on_start, on_ready, ',
        ),
        ("seen = []", "hooks: myhooks has none\n  known are on_start, on_ready, "),
        ("on_start = 'main:start'", "hooks: myhooks: on_start is a str, not a function"),
        (
            "def on_start(event, server): print()",
            "hooks: myhooks: on_start(event, server) cannot be called\n  a hook takes one argument",
        ),
    ],
)
def test_what_is_no_hook_is_refused(module, text, problem):
    module(text)

    with pytest.raises(ConfigError) as caught:
        Hooks.load("myhooks")

    assert str(caught.value).startswith(problem)


def test_a_misspelled_method_is_refused(module):
    module("class Mine:\n    def on_stopp(self): print()")

    with pytest.raises(ConfigError, match=r'did you mean "on_stop"\?'):
        Hooks.load("myhooks:Mine")


def test_an_imported_function_may_have_a_name_like_a_hook(module):
    module("def on_exception(): print()", "retrying")
    module("from retrying import on_exception\ndef on_start(): print()")

    assert Hooks.load("myhooks") is not Hooks.empty


@pytest.mark.parametrize("spec", ["myhooks", "myhooks:mine"])
def test_a_module_that_crashes_is_told_with_its_lines(module, spec):
    module("import json\njson.loads('')")

    with pytest.raises(StartError) as caught:
        Hooks.load(spec)

    first, *rest = str(caught.value).splitlines()
    assert first == f"hooks: {spec} could not be imported"
    assert "json.loads('')" in rest[0]
    assert rest[-1].startswith("  json.decoder.JSONDecodeError")


@pytest.mark.parametrize(
    ("spec", "error", "problem"),
    [
        ("nohooks", StartError, 'hooks: no module "nohooks" in '),
        ("myhooks:none", StartError, 'hooks: myhooks has no attribute "none"'),
        ("my hooks", ConfigError, 'hooks: "my hooks" starts with no module name'),
    ],
)
def test_a_name_of_nothing_is_told_as_the_importer_does(module, spec, error, problem):
    module("def on_start(): print()")

    with pytest.raises(error) as caught:
        Hooks.load(spec)

    assert str(caught.value).startswith(problem)
    assert "__name__" not in str(caught.value)


def test_a_class_that_cannot_be_made_is_told(module):
    module("class Mine:\n    def __init__(self, server): print()\n    def on_start(self): print()")

    with pytest.raises(StartError, match="myhooks:Mine could not be made an object"):
        Hooks.load("myhooks:Mine")


# --- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("action", ["1 / 0", "raise SystemExit(1)", "raise KeyError"])
def test_a_failing_on_start_ends_the_start(module, kind, action):
    module(f"{kind} on_start():\n    {action}")

    with pytest.raises(StartError) as caught:
        call(Hooks.load("myhooks"), "on_start")

    first, *rest = str(caught.value).splitlines()
    assert first == "hook on_start of myhooks failed"
    assert f"myhooks.py:2   {action}" in rest[0]


def test_an_on_start_that_explains_itself_is_quoted(module):
    module("""
        from gateway.errors import StartError
        def on_start():
            raise StartError("the license has expired")
    """)

    with pytest.raises(StartError, match=r"^the license has expired$"):
        call(Hooks.load("myhooks"), "on_start")


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize(
    "name", ["on_ready", "on_worker_start", "on_worker_exit", "on_reload", "on_stop"]
)
@pytest.mark.parametrize("action", ["1 / 0", "raise SystemExit(1)"])
def test_any_other_failure_is_logged_with_its_traceback(module, caplog, kind, name, action):
    module(f"{kind} {name}():\n    {action}")

    call(Hooks.load("myhooks"), name)

    (record,) = caplog.records
    assert record.getMessage() == f"hook {name} of myhooks failed"
    assert record.levelno == logging.ERROR
    assert record.exc_info[2] is not None


def test_a_hook_whose_own_task_is_cancelled_does_not_cancel_the_server(module):
    module("import asyncio\nasync def on_ready():\n    asyncio.current_task().cancel()\n")

    call(Hooks.load("myhooks"), "on_ready")


def test_a_stop_iteration_is_a_failure_like_others(module):
    module("def on_start():\n    next(iter(()))")

    with pytest.raises(StartError, match="StopIteration"):
        call(Hooks.load("myhooks"), "on_start")


# --- threads and time ----------------------------------------------------------------------------


def test_a_slow_function_does_not_hold_the_loop(module):
    module("""
        import threading
        gate = threading.Event()
        def on_reload():
            assert gate.wait(5)
    """)

    async def main():
        hooks = Hooks.load("myhooks")
        asyncio.get_running_loop().call_soon(sys.modules["myhooks"].gate.set)
        await hooks.call(HookEvent(name="on_reload"))

    asyncio.run(asyncio.wait_for(main(), 5))


def test_on_worker_start_runs_where_signal_handlers_may_be_set(module):
    module("""
        import signal
        def on_worker_start():
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    """)
    before = signal.getsignal(signal.SIGUSR2)
    try:
        call(Hooks.load("myhooks"), "on_worker_start")
        assert signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_hooks_are_called_one_at_a_time_in_order(module):
    module("""
        import asyncio
        seen = []
        async def on_worker_exit(event):
            seen.append(event.worker)
            await asyncio.sleep(0)
            seen.append(event.worker)
    """)

    async def main():
        hooks = Hooks.load("myhooks")
        events = [HookEvent(name="on_worker_exit", worker=number) for number in range(3)]
        await asyncio.gather(*map(hooks.call, events))

    asyncio.run(main())

    assert sys.modules["myhooks"].seen == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    "definition",
    [
        "def on_stop():\n    assert gate.wait(5)\n    ended.set()",
        "async def on_stop():\n    await asyncio.to_thread(gate.wait, 5)\n    ended.set()",
    ],
)
def test_a_hook_that_takes_too_long_is_told_and_left(module, caplog, definition):
    module(
        "import asyncio, threading\n"
        "gate, ended = threading.Event(), threading.Event()\n"
        f"{definition}"
    )

    async def main():
        hooks = Hooks.load("myhooks", patience=0.02)
        mine = sys.modules["myhooks"]
        try:
            await hooks.call(HookEvent(name="on_stop"))
            assert not mine.ended.is_set()
        finally:
            mine.gate.set()
        # What is left to itself still comes to its end.
        assert await asyncio.to_thread(mine.ended.wait, 5)

    asyncio.run(main())

    assert messages(caplog) == [
        "hook on_stop of myhooks still runs after 0.02 s; the server goes on without it"
    ]


class Told(logging.Handler):
    """Keeps what is logged, and opens a gate then."""

    def __init__(self, gate) -> None:
        super().__init__()
        self.messages: list[str] = []
        self._gate = gate

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        self._gate.set()


@pytest.mark.parametrize("name", ["on_start", "on_worker_start"])
def test_what_prepares_is_told_and_waited_for(module, name):
    module(f"""
        import threading
        gate, seen = threading.Event(), []
        def {name}():
            assert gate.wait(5)
            seen.append(1)
    """)
    hooks = Hooks.load("myhooks", patience=0.02)
    mine = sys.modules["myhooks"]
    told = Told(mine.gate)
    logging.getLogger("gateway.error").addHandler(told)
    try:
        call(hooks, name)
    finally:
        logging.getLogger("gateway.error").removeHandler(told)

    assert mine.seen == [1]
    assert told.messages == [f"hook {name} of myhooks still runs after 0.02 s and is waited for"]


def test_a_start_that_is_given_up_does_not_wait_for_its_hook(module):
    module("""
        import threading
        gate, begun = threading.Event(), threading.Event()
        def on_start():
            begun.set()
            assert gate.wait(5)
    """)

    async def main():
        hooks = Hooks.load("myhooks")
        mine = sys.modules["myhooks"]
        task = asyncio.ensure_future(hooks.call(HookEvent(name="on_start")))
        try:
            assert await asyncio.to_thread(mine.begun.wait, 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        finally:
            mine.gate.set()

    asyncio.run(main())


# --- the documented example ----------------------------------------------------------------------


def test_the_example_for_prometheus_client_marks_workers_that_are_gone(
    module, tmp_path, monkeypatch
):
    module(
        "gone = []\ndef mark_process_dead(pid): gone.append(pid)", "prometheus_client.multiprocess"
    )
    (example,) = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    module(example)
    directory = tmp_path / "metrics"
    directory.mkdir()
    (directory / "counter_17.db").touch()
    (directory / "notes.txt").touch()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(directory))

    hooks = Hooks.load("myhooks")
    call(hooks, "on_start")
    call(hooks, "on_worker_exit", worker=1, worker_pid=4711, exit_code=-9, reason="killed")

    assert [path.name for path in directory.iterdir()] == ["notes.txt"]
    assert sys.modules["prometheus_client.multiprocess"].gone == [4711]
