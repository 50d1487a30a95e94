"""uvicorn's settings that this version does not have: a command line or call that carries one is
told so, unless it asks for what happens anyway (``http2=False``).
"""

from __future__ import annotations

from typing import Final

__all__ = ["ABSENT_FLAGS", "is_absent", "refusal"]

_NAMES: Final = frozenset({"ssl-context-factory"})

ABSENT_FLAGS: Final = frozenset(f"--{name}" for name in _NAMES)


def is_absent(key: str) -> bool:
    return key in _NAMES


def refusal(value: object, name: str) -> str:
    """The message for a setting of uvicorn's; "" when the value asks for nothing."""
    if not value:
        return ""
    return f"{name} is a setting of uvicorn's that this version of gateway does not support"
