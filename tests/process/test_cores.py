from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gateway.process.cores import usable_cores

ROOT_MOUNT = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"
V2_MOUNT = "30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1_MOUNT = "31 22 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct"
V1_MEMORY = "32 22 0:28 / /sys/fs/cgroup/memory rw shared:6 - cgroup cgroup rw,memory"

on_linux = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system has no processor affinity"
)


class Machine:
    """The part of a machine's file tree that cgroups are read from."""

    def __init__(self, root):
        self.root = root
        self.write("proc/self/cgroup", "")
        self.write("proc/self/mountinfo", "")

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def mounts(self, *lines):
        self.write("proc/self/mountinfo", "\n".join((ROOT_MOUNT, *lines)))

    def cgroups(self, *lines):
        self.write("proc/self/cgroup", "\n".join(lines))

    def cores(self):
        return usable_cores(root=self.root)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """One whose processes may use 8 cores."""
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 8, raising=False)
    return Machine(tmp_path)


class TestQuota:
    def test_without_cgroups_the_affinity_counts(self, machine):
        assert machine.cores() == 8

    def test_without_proc_the_affinity_counts(self, machine, tmp_path):
        assert usable_cores(root=tmp_path / "missing") == 8

    @pytest.mark.parametrize(
        ("quota", "cores"),
        [
            ("max 100000", 8),
            ("200000 100000", 2),
            ("150000 100000", 2),
            ("50000 100000", 1),
            ("1000 100000", 1),
            ("1600000 100000", 8),
            ("60000 20000", 3),
        ],
    )
    def test_version_2_is_rounded_up(self, machine, quota, cores):
        machine.mounts(V2_MOUNT)
        machine.cgroups("0::/app.service")
        machine.write("sys/fs/cgroup/app.service/cpu.max", quota)
        assert machine.cores() == cores

    def test_version_2_of_a_parent_counts(self, machine):
        machine.mounts(V2_MOUNT)
        machine.cgroups("0::/apps.slice/app.service")
        machine.write("sys/fs/cgroup/apps.slice/app.service/cpu.max", "max 100000")
        machine.write("sys/fs/cgroup/apps.slice/cpu.max", "300000 100000")
        assert machine.cores() == 3

    def test_smallest_quota_counts(self, machine):
        machine.mounts(V2_MOUNT)
        machine.cgroups("0::/apps.slice/app.service")
        machine.write("sys/fs/cgroup/apps.slice/app.service/cpu.max", "200000 100000")
        machine.write("sys/fs/cgroup/apps.slice/cpu.max", "300000 100000")
        assert machine.cores() == 2

    def test_quota_of_a_neighbor_does_not_count(self, machine):
        machine.mounts(V2_MOUNT)
        machine.cgroups("0::/app.service")
        machine.write("sys/fs/cgroup/other.service/cpu.max", "100000 100000")
        assert machine.cores() == 8

    def test_version_2_of_a_container_is_at_the_mount(self, machine):
        machine.mounts(V2_MOUNT)
        machine.cgroups("0::/")
        machine.write("sys/fs/cgroup/cpu.max", "200000 100000")
        assert machine.cores() == 2

    @pytest.mark.parametrize(
        ("quota", "cores"), [("-1", 8), ("250000", 3), ("100000", 1), ("10000", 1)]
    )
    def test_version_1_is_rounded_up(self, machine, quota, cores):
        machine.mounts(V1_MEMORY, V1_MOUNT)
        machine.cgroups("3:memory:/app", "2:cpu,cpuacct:/app", "0::/app")
        machine.write("sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us", quota)
        machine.write("sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_period_us", "100000")
        assert machine.cores() == cores

    def test_version_1_of_a_container_without_its_own_paths_is_at_the_mount(self, machine):
        # docker run on a host of version 1: paths of the host, mounted from its own cgroup on.
        machine.mounts(V1_MOUNT.replace(" / /sys", " /docker/4f1 /sys"))
        machine.cgroups("2:cpu,cpuacct:/docker/4f1")
        machine.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000")
        machine.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000")
        assert machine.cores() == 2

    def test_path_outside_of_the_mount_is_read_at_the_mount(self, machine):
        machine.mounts(V2_MOUNT.replace(" / /sys", " /docker/4f1 /sys"))
        machine.cgroups("0::/")
        machine.write("sys/fs/cgroup/cpu.max", "300000 100000")
        assert machine.cores() == 3


class TestAffinity:
    @on_linux
    def test_bounds_the_cores(self):
        code = (
            "import os; from gateway.process.cores import usable_cores;"
            "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(usable_cores())"
        )
        assert subprocess.check_output([sys.executable, "-c", code], text=True) == "1\n"

    def test_is_at_least_one_here(self):
        assert 1 <= usable_cores() <= (os.cpu_count() or 1)
