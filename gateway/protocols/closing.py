"""The end of a transport."""

from __future__ import annotations

import asyncio

__all__ = ["close_once"]


def close_once(transport: asyncio.Transport) -> None:
    """Close it, if it is not closing already.

    asyncio's TLS transport forgets its connection when it is closed a second time: it cannot be
    aborted any more, and asked what is unsent it raises AttributeError.
    """
    if not transport.is_closing():
        transport.close()
