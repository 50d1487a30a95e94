"""What a worker is told at its birth."""

from __future__ import annotations

import os
import pickle
import sys
from dataclasses import dataclass, field

from gateway.errors import ConfigError
from gateway.settings import Settings

__all__ = ["Handover"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """One worker's life in plain data.

    index: 0..n-1, the same for whoever takes its place.
    sockets: descriptors to listen on; bound by the parent, inherited by the worker.
    dump: descriptor of a file where the worker's C code writes its stacks on SIGUSR2.
    failure: serve nothing but this text; the applications of these settings do not start.
    parent, path, argv: the parent's pid, module search path and arguments.
    """

    settings: Settings
    index: int
    sockets: tuple[int, ...]
    dump: int
    failure: str = ""
    parent: int = field(default_factory=os.getpid)
    path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))
    argv: tuple[str, ...] = field(default_factory=lambda: tuple(sys.argv))

    def pack(self) -> bytes:
        """Raises `ConfigError` for a setting that cannot leave this process."""
        try:
            return pickle.dumps(self)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"workers are processes of their own, and a setting cannot go there: {error}\n"
                "  give import strings, text and numbers instead of Python objects"
            ) from error

    @staticmethod
    def unpack(frame: bytes) -> Handover:
        handover = pickle.loads(frame)  # noqa: S301 - from the process that started this one
        if not isinstance(handover, Handover):
            raise TypeError(handover)
        return handover
