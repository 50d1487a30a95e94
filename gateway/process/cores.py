"""How many workers are enough."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["usable_cores"]

_ROOT: Final = Path("/")


def usable_cores(*, root: Path = _ROOT) -> int:
    """The cores this process may use, at least 1: what ``workers = "auto"`` stands for.

    The smaller one of the processor affinity (sched_setaffinity(2), cpusets; on Python 3.13 also
    ``-X cpu_count``) and the quota of the process's own cgroup and those above it, of version 2 or
    1: ``docker run --cpus``, Kubernetes limits, systemd's ``CPUQuota=``. The cores of the host,
    which os.cpu_count() tells, would start 64 workers in a container that may use two.

    A quota is rounded up, as the JVM and Go 1.25 do: with 1.5 cores one worker would leave a third
    of them unused, whereas two share them, and the kernel sees to the limit.

    root: where /proc and /sys are looked for.
    """
    quota = min(_quotas(root), default=math.inf)
    return max(1, math.ceil(min(_affinity(), quota)))


def _affinity() -> int:
    if sys.version_info >= (3, 13):
        cores = os.process_cpu_count()
    elif sys.platform == "linux":
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count()
    return cores or 1


def _quotas(root: Path) -> Iterator[float]:
    """The limits, in cores, of every cgroup that this process is in."""
    mounts = list(_mounts(root))
    for line in _read(root / "proc/self/cgroup").splitlines():
        if line.count(":") < 2:
            continue
        _, controllers, path = line.split(":", 2)
        is_v2 = not controllers
        if not is_v2 and "cpu" not in controllers.split(","):
            continue
        for mount in mounts:
            if mount.is_v2 == is_v2:
                for directory in mount.directories(path):
                    yield from _quota_v2(directory) if is_v2 else _quota_v1(directory)


def _quota_v2(directory: Path) -> Iterator[float]:
    match _read(directory / "cpu.max").split():
        case [quota, period] if quota != "max":
            yield int(quota) / int(period)


def _quota_v1(directory: Path) -> Iterator[float]:
    quota = _read(directory / "cpu.cfs_quota_us").strip()
    period = _read(directory / "cpu.cfs_period_us").strip()
    if quota and period and int(quota) > 0:  # -1: none
        yield int(quota) / int(period)


class _Mount(NamedTuple):
    """Where a hierarchy of cgroups is seen, from its directory `top` downwards."""

    point: Path
    top: Path
    is_v2: bool

    def directories(self, path: str) -> Iterator[Path]:
        """The directory of cgroup `path` and those above it."""
        try:
            below = Path(path).relative_to(self.top)
        except ValueError:
            # A container that sees the host's paths, but has only its own cgroup mounted.
            below = Path()
        directory = self.point / below
        yield directory
        for _ in below.parts:
            directory = directory.parent
            yield directory


def _mounts(root: Path) -> Iterator[_Mount]:
    """The mounts of cgroup 2, and of cgroup 1 with its cpu controller (proc_pid_mountinfo(5))."""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        place, separator, kind = line.partition(" - ")
        if not separator:
            continue
        _, _, _, top, point, *_ = place.split()
        filesystem, _, options = kind.split(" ", 2)
        if filesystem == "cgroup2" or (filesystem == "cgroup" and "cpu" in options.split(",")):
            yield _Mount(root / point.lstrip("/"), Path(top), filesystem == "cgroup2")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
