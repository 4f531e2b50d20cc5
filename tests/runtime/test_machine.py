"""What is read of a machine, from files as systems write them."""

from __future__ import annotations

import os
from collections import namedtuple
from pathlib import Path

import pytest

from clickmap_cli.runtime import machine

GIB = 1 << 30


def system(root: Path, **files: str) -> Path:
    """A `/proc` and a `/sys`; `__` in a name stands for a slash, `DOT` for a dot."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = f"MemTotal: {32 * GIB // 1024} kB\nMemFree: 1 kB\nMemAvailable: {20 * GIB // 1024} kB\n"


def test_no_limit_where_the_system_states_none(tmp_path) -> None:
    root = system(tmp_path, proc__meminfo=MEMINFO, proc__self__cgroup="0::/\n")
    assert machine.memory(root) == machine.Memory(32 * GIB, 20 * GIB, None)
    found = machine.cores(root)
    assert found.quota is None
    assert 1 <= found.usable == found.allowed <= found.total
    assert machine.memory(tmp_path / "none").limit is None


def test_the_tightest_control_group_above_counts(tmp_path) -> None:
    root = system(
        tmp_path,
        proc__meminfo=MEMINFO,
        proc__self__cgroup="0::/job/step\n",
        sys__fs__cgroup__job__step__cpuDOTmax="max 100000\n",
        sys__fs__cgroup__job__cpuDOTmax="150000 100000\n",
        sys__fs__cgroup__job__step__memoryDOTmax=f"{8 * GIB}\n",
        sys__fs__cgroup__job__step__memoryDOTcurrent=f"{5 * GIB}\n",
        sys__fs__cgroup__job__step__memoryDOTstat=f"anon 3\ninactive_file {2 * GIB}\n",
        sys__fs__cgroup__job__memoryDOTmax="max\n",
    )
    assert machine.cores(root).quota == 1.5
    assert machine.cores(root).usable <= 2
    # of the 5 GiB used, 2 may be dropped
    assert machine.memory(root) == machine.Memory(32 * GIB, 5 * GIB, 8 * GIB)


def test_the_first_version_of_control_groups(tmp_path) -> None:
    root = system(
        tmp_path,
        proc__meminfo=MEMINFO,
        proc__self__cgroup="4:memory:/box\n3:cpu,cpuacct:/box\n",
        **{
            "sys__fs__cgroup__cpu,cpuacct__box__cpuDOTcfs_quota_us": "50000\n",
            "sys__fs__cgroup__cpu,cpuacct__box__cpuDOTcfs_period_us": "100000\n",
            "sys__fs__cgroup__cpu,cpuacct__cpuDOTcfs_quota_us": "-1\n",
            "sys__fs__cgroup__cpu,cpuacct__cpuDOTcfs_period_us": "100000\n",
            "sys__fs__cgroup__memory__box__memoryDOTlimit_in_bytes": f"{4 * GIB}\n",
            "sys__fs__cgroup__memory__box__memoryDOTusage_in_bytes": f"{1 * GIB}\n",
            "sys__fs__cgroup__memory__memoryDOTlimit_in_bytes": "9223372036854771712\n",
        },
    )
    found = machine.cores(root)
    assert (found.quota, found.usable) == (0.5, 1)
    assert machine.memory(root) == machine.Memory(32 * GIB, 3 * GIB, 4 * GIB)


@pytest.mark.parametrize("text", ["", "max", "a b", "1 0", "0 100000"])
def test_a_quota_that_says_nothing_is_none(tmp_path, text) -> None:
    root = system(tmp_path, proc__self__cgroup="0::/", sys__fs__cgroup__cpuDOTmax=text)
    assert machine.cores(root).quota is None


def test_usable_cores_are_whole_and_at_least_one() -> None:
    assert machine.Cores(64, 16, None).usable == 16
    assert machine.Cores(64, 16, 3.2).usable == 4
    assert machine.Cores(64, 2, 3.2).usable == 2
    assert machine.Cores(64, 16, 0.01).usable == 1


def test_this_machine_says_something() -> None:
    memory = machine.memory()
    assert memory.total is None or memory.total > 1 << 28
    assert machine.cores().total >= 1


def test_a_disk_is_measured_and_nothing_is_left(tmp_path) -> None:
    found = machine.disk(tmp_path, 1 << 20)
    assert (found.folder, found.problem) == (tmp_path, "")
    assert found.write > 0
    assert found.read > 0
    assert found.free > 0
    assert list(tmp_path.iterdir()) == []
    below = machine.disk(tmp_path / "not" / "there", 1 << 20)
    assert below.folder == tmp_path
    assert not (tmp_path / "not").exists()


def test_a_full_disk_is_not_filled(tmp_path, monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage(100, 1, 99))
    found = machine.disk(tmp_path, 50)
    assert (found.free, found.write, found.read, found.problem) == (99, None, None, "")
    assert machine.disk(tmp_path, 49).write is not None


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="this system has no /proc")
def test_a_folder_nobody_can_write_is_said_to_be_so() -> None:
    assert "cannot be written" in machine.disk(Path("/proc/self")).problem


def test_the_nearest_folder_is_never_a_file(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("x")
    assert machine.nearest_folder(tmp_path / "file" / "below") == tmp_path
    monkeypatch.chdir(tmp_path)
    assert machine.nearest_folder(Path("a/b")) == Path(os.getcwd())
