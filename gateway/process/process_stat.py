"""What the system says of a process: proc_pid_stat(5), so on Linux only."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

__all__ = ["ProcessStat"]


class ProcessStat(NamedTuple):
    """state: its letter, "Z" for a zombie. parent: a pid. started: clock ticks after the boot."""

    state: str
    parent: int
    started: int

    @classmethod
    def of(cls, pid: int) -> ProcessStat | None:
        """None where no process has this number, or nothing tells."""
        try:
            text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return None
        # The name in parentheses may hold anything, parentheses too.
        fields = text.rpartition(")")[2].split()
        return cls(fields[0], int(fields[1]), int(fields[19]))
