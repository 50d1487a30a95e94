"""The event loop of a process of our own, and the garbage collector beside it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from gateway.errors import ConfigError

__all__ = ["calm_collector", "loop_factory", "run_on_loop"]

_Result = TypeVar("_Result")

_THRESHOLDS: Final = gc.get_threshold()


def loop_factory(choice: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """The loop of `choice`; auto is uvloop where it is installed."""
    if choice == "asyncio":
        return asyncio.new_event_loop
    try:
        import uvloop
    except ImportError as error:
        if choice == "auto":
            return asyncio.new_event_loop
        raise ConfigError(
            f"loop = uvloop: {error}\n  pip install uvloop, or use --loop asyncio"
        ) from error
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def run_on_loop(
    factory: Callable[[], asyncio.AbstractEventLoop],
    main: Callable[[], Coroutine[object, object, _Result]],
) -> _Result:
    """Run `main` on a loop of `factory` that does not wait for the applications' threads."""
    with asyncio.Runner(loop_factory=factory) as runner:
        loop = runner.get_loop()
        # The applications' run_in_executor and to_thread. Runner.close would wait for it, for
        # ever on Python 3.11 and for five minutes on 3.12; it gets an empty one instead.
        executor = ThreadPoolExecutor(thread_name_prefix="asyncio")
        loop.set_default_executor(executor)
        try:
            return runner.run(main())
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            loop.set_default_executor(ThreadPoolExecutor(1))


def calm_collector() -> None:
    """Have the garbage collector look less often, and not at what the start has made.

    A request makes a dozen containers and frees them all by itself, so at the default of 700 the
    collector runs every few requests and finds nothing: 8 % of an ASGI hello at 64 connections.
    An application that has set thresholds of its own keeps them.
    """
    if gc.get_threshold() == _THRESHOLDS:
        gc.set_threshold(10_000, *_THRESHOLDS[1:])
    gc.collect()
    gc.freeze()
