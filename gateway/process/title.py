"""What `ps` shows."""

from __future__ import annotations

__all__ = ["set_title"]


def set_title(text: str) -> None:
    """Show this process as `text` in ps, top and journalctl, where setproctitle is installed.

    Otherwise nothing: what Linux offers without it (PR_SET_NAME) holds 15 bytes, which tools that
    match a process by its name would get instead of "python", and still not say which worker.
    """
    try:
        from setproctitle import setproctitle
    except ImportError:
        return
    setproctitle(text)
