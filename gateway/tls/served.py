"""A context that knows which certificate it serves."""

from __future__ import annotations

import ssl

__all__ = ["ServedContext"]


class ServedContext(ssl.SSLContext):
    """What Python cannot be asked: a connection knows its context, and no more of its own side.

    pem: the certificate of this side, without those that lead to its authority; None where there
        is none yet.
    """

    pem: str | None = None
