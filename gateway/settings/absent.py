"""uvicorn's settings that this version does not have: a command line or call that carries one is
told so, unless it asks for what happens anyway (``--workers 1``, ``reload=False``).
"""

from __future__ import annotations

from typing import Final

__all__ = ["ABSENT_FLAGS", "is_absent", "refusal"]

_NAMES: Final = frozenset(
    """
    workers reload reload-dir reload-dirs reload-include reload-includes reload-exclude
    reload-excludes reload-delay timeout-worker-healthcheck limit-max-requests-jitter http2
    ws ws-max-size ws-max-queue ws-ping-interval ws-ping-timeout ws-per-message-deflate
    ssl-keyfile ssl-certfile ssl-keyfile-password ssl-version ssl-cert-reqs ssl-ca-certs
    ssl-ciphers ssl-context-factory
    """.split()
)

ABSENT_FLAGS: Final = frozenset(f"--{name}" for name in _NAMES)


def is_absent(key: str) -> bool:
    return key in _NAMES


def refusal(key: str, value: object, name: str) -> str:
    """The message for a setting of uvicorn's; "" when the value asks for nothing more."""
    if not value or (key == "workers" and str(value) == "1"):
        return ""
    return f"{name} is a setting of uvicorn's that this version of gateway does not support"
