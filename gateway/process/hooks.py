"""Code of the operator that is called when the server, or a worker of it, starts or ends."""

from __future__ import annotations

import asyncio
import difflib
import inspect
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import ClassVar, Final, Literal, TypeAlias, get_args

from gateway.errors import ConfigError, GatewayError, StartError
from gateway.importer import explain, import_object

__all__ = ["HookEvent", "HookName", "Hooks"]

logger = logging.getLogger("gateway.error")

HookName: TypeAlias = Literal[
    "on_start", "on_ready", "on_worker_start", "on_worker_exit", "on_reload", "on_stop"
]

_NAMES: Final[tuple[HookName, ...]] = get_args(HookName)
_PREPARING: Final = frozenset(("on_start", "on_worker_start"))
_PATIENCE: Final = 10.0

_Hook: TypeAlias = "Callable[[HookEvent], object]"


@dataclass(frozen=True, slots=True, kw_only=True)
class HookEvent:
    """What a hook is told; its only argument.

    name: of the hook, for one function behind several.
    pid: of the process the hook runs in.
    worker: index of the worker it is about, 0..n-1, kept over restarts; None if it is about none.
    worker_pid: the process id of that worker, also when it is gone.
    exit_code: on_worker_exit: its exit code, minus the number of the signal that ended it.
    reason: on_worker_exit, on_reload, on_stop: why, in words for a log; else "".
    urls: where the server listens, "http://127.0.0.1:8000"; empty until it is bound.
    """

    name: HookName
    pid: int = field(default_factory=os.getpid)
    worker: int | None = None
    worker_pid: int | None = None
    exit_code: int | None = None
    reason: str = ""
    urls: tuple[str, ...] = ()


class Hooks:
    """The hooks of a server.

    Every hook may be a function or a coroutine function, with the event as its argument or without
    any. They are called one at a time. Plain functions run in a thread, so that a slow one keeps
    nobody from being answered, replaced or stopped; only ``on_worker_start`` runs on the main
    thread, where signal handlers may be set: nothing else has begun in that process.

    What takes longer than `patience` seconds is told in the log. ``on_start`` and
    ``on_worker_start`` are waited for even so: they prepare what comes next. The others are left to
    themselves then, and the server goes on.

    empty: no hooks, for a server that has none.
    """

    empty: ClassVar[Hooks]

    def __init__(
        self, spec: str, hooks: Mapping[HookName, _Hook], *, patience: float = _PATIENCE
    ) -> None:
        self._spec = spec
        self._hooks = hooks
        self._patience = patience
        self._turn = asyncio.Lock()
        self._left_behind: set[asyncio.Task[None]] = set()

    @staticmethod
    def load(spec: str | None, *, patience: float = _PATIENCE) -> Hooks:
        """The hooks of the module or object that `spec` names; `Hooks.empty` for None.

        spec: "package.module", or "package.module:attribute". A class is called to get an object.

        Raises `StartError` if it cannot be imported, `ConfigError` if it has no hook, one that
        cannot be called so, or a name that only looks like one ("on_woker_start").
        """
        if spec is None:
            return Hooks.empty
        source = _import(spec)
        _check_names(spec, source)
        hooks: dict[HookName, _Hook] = {}
        for name in _NAMES:
            hook = getattr(source, name, None)
            if hook is not None:
                hooks[name] = _with_event(spec, name, hook)
        if not hooks:
            raise ConfigError(f"hooks: {spec} has none\n  known are {', '.join(_NAMES)}")
        return Hooks(spec, hooks, patience=patience)

    async def call(self, event: HookEvent) -> None:
        """Call the hook that `event` names, if there is one.

        Raises `StartError` if it is ``on_start`` and fails. Any other that fails is logged with its
        traceback, and that is all.
        """
        hook = self._hooks.get(event.name)
        if hook is None:
            return
        async with self._turn:
            task = asyncio.ensure_future(self._run(hook, event))
            try:
                if event.name in _PREPARING:
                    with self._watched(event.name):
                        await asyncio.wait({task})
                else:
                    await asyncio.wait({task}, timeout=self._patience)
            except asyncio.CancelledError:
                task.cancel()
                raise
            if not task.done():
                self._late(event.name, "; the server goes on without it")
                self._left_behind.add(task)
                task.add_done_callback(self._left_behind.discard)
            elif not task.cancelled():  # by itself: not the cancellation of whoever waits here
                task.result()

    async def _run(self, hook: _Hook, event: HookEvent) -> None:
        error = await _outcome(hook, event)
        if error is None:
            return
        if event.name != "on_start":
            logger.error("hook %s of %s failed", event.name, self._spec, exc_info=error)
        elif isinstance(error, GatewayError):  # says itself what the operator has to know
            raise error
        else:
            text = explain(error, _package(self._spec))
            raise StartError(f"hook on_start of {self._spec} failed\n{text}") from error

    @contextmanager
    def _watched(self, name: HookName) -> Iterator[None]:
        """Say that the hook takes long, from a thread: it may hold the loop."""
        timer = threading.Timer(self._patience, self._late, (name, " and is waited for"))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _late(self, name: HookName, rest: str) -> None:
        logger.warning(
            "hook %s of %s still runs after %g s%s", name, self._spec, self._patience, rest
        )


Hooks.empty = Hooks("", {})


async def _outcome(hook: _Hook, event: HookEvent) -> BaseException | None:
    """Call `hook`, wait for what it returns if that can be waited for; the error if it fails."""
    try:
        if event.name == "on_worker_start":
            result = hook(event)
        else:
            result = await asyncio.wrap_future(_in_thread(hook, event))
        if isinstance(result, _Failure):
            return result.error
        if inspect.isawaitable(result):
            await result
    # sys.exit() in a hook is a failure like others: exit codes are the server's.
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the operator's code may raise anything
        return error
    return None


@dataclass(frozen=True, slots=True)
class _Failure:
    # A result, because a future refuses StopIteration and lets SystemExit end the loop.
    error: BaseException


def _in_thread(hook: _Hook, event: HookEvent) -> Future[object]:
    """Call `hook` in a daemon thread of its own: one that hangs does not keep the process."""
    future: Future[object] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = hook(event)
        except BaseException as error:  # noqa: BLE001 - handed to the loop
            result = _Failure(error)
        future.set_result(result)

    threading.Thread(target=run, name=event.name, daemon=True).start()
    return future


def _import(spec: str) -> object:
    module = ":" not in spec
    try:
        source = import_object(f"{spec}:__name__" if module else spec)
    except GatewayError as error:
        text = str(error).replace(f"{spec}:__name__", spec) if module else str(error)
        raise type(error)(f"hooks: {text}") from error.__cause__
    if module:
        return sys.modules[spec]
    if not inspect.isclass(source):
        return source
    try:
        made: object = source()
    except Exception as error:
        text = explain(error, _package(spec))
        raise StartError(f"hooks: {spec} could not be made an object\n{text}") from error
    return made


def _package(spec: str) -> str:
    return spec.partition(":")[0].partition(".")[0]


def _check_names(spec: str, source: object) -> None:
    """Refuse a misspelled hook; a module may have imported functions whose names begin so."""
    for name in dir(source):
        if not name.startswith("on_") or name in _NAMES:
            continue
        value = getattr(source, name)
        place = getattr(value, "__module__", None)
        if not callable(value) or (isinstance(source, ModuleType) and place != source.__name__):
            continue
        near = difflib.get_close_matches(name, _NAMES, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(_NAMES)}"
        raise ConfigError(f'hooks: {spec}: "{name}" is no hook\n  {hint}')


def _with_event(spec: str, name: HookName, hook: object) -> _Hook:
    """`hook` as a function of the event, also where it takes nothing."""
    if not callable(hook):
        raise ConfigError(f"hooks: {spec}: {name} is a {type(hook).__name__}, not a function")
    try:
        signature = inspect.signature(hook)
    except ValueError:
        return hook  # a builtin without one: the call itself will tell
    if _takes(signature, "event"):
        return hook
    if _takes(signature):
        plain: Callable[[], object] = hook
        return lambda _: plain()
    raise ConfigError(
        f"hooks: {spec}: {name}{signature} cannot be called\n"
        "  a hook takes one argument, the event, or none"
    )


def _takes(signature: inspect.Signature, *arguments: str) -> bool:
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True
