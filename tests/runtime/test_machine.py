"""What is read of a machine and its packages, as systems and installers write it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import socket
import textwrap
import tomllib
from collections import namedtuple
from pathlib import Path

import pytest

import clickmap_cli
from clickmap_cli.runtime import machine
from clickmap_cli.runtime.machine import Gpus, Package, probe, wanted_packages, why_unreachable

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
    assert machine.memory(tmp_path / "none").limit is None


def test_the_tightest_control_group_above_counts(tmp_path) -> None:
    root = system(
        tmp_path,
        proc__meminfo=MEMINFO,
        proc__self__cgroup="0::/job/step\n",
        sys__fs__cgroup__job__step__memoryDOTmax=f"{8 * GIB}\n",
        sys__fs__cgroup__job__step__memoryDOTcurrent=f"{5 * GIB}\n",
        sys__fs__cgroup__job__step__memoryDOTstat=f"anon 3\ninactive_file {2 * GIB}\n",
        sys__fs__cgroup__job__memoryDOTmax="max\n",
    )
    # of the 5 GiB used, 2 may be dropped
    assert machine.memory(root) == machine.Memory(32 * GIB, 5 * GIB, 8 * GIB)


def test_the_first_version_of_control_groups(tmp_path) -> None:
    root = system(
        tmp_path,
        proc__meminfo=MEMINFO,
        proc__self__cgroup="4:memory:/box\n3:cpu:/box\n",
        sys__fs__cgroup__memory__box__memoryDOTlimit_in_bytes=f"{4 * GIB}\n",
        sys__fs__cgroup__memory__box__memoryDOTusage_in_bytes=f"{1 * GIB}\n",
        sys__fs__cgroup__memory__memoryDOTlimit_in_bytes="9223372036854771712\n",
    )
    assert machine.memory(root) == machine.Memory(32 * GIB, 3 * GIB, 4 * GIB)


def test_this_machine_says_something() -> None:
    memory = machine.memory()
    assert memory.total is None or memory.total > 1 << 28
    assert machine.cores().usable >= 1
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
def test_a_folder_nobody_can_write_is_reported() -> None:
    assert "cannot be written" in machine.disk(Path("/proc/self")).problem


def test_the_nearest_folder_is_never_a_file(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("x")
    assert machine.nearest_folder(tmp_path / "file" / "below") == tmp_path
    monkeypatch.chdir(tmp_path)
    assert machine.nearest_folder(Path("a/b")) == Path(os.getcwd())


PYPROJECT = Path(clickmap_cli.__file__).parents[1] / "pyproject.toml"


def test_needed_packages_are_all_there_and_fit() -> None:
    needed, extras = wanted_packages()
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    assert len(needed) == len(project["dependencies"])
    assert set(extras) == set(project["optional-dependencies"])
    assert [package.problem for package in needed if package.problem] == []
    for package in needed:
        assert package.version == importlib.metadata.version(package.name)
        assert importlib.util.find_spec(package.module) is not None


def test_an_installed_package_without_its_project_file_asks_its_metadata(
    tmp_path, monkeypatch
) -> None:
    site = tmp_path / "site"
    about = site / "clickmap-9.dist-info"
    about.mkdir(parents=True)
    lines = [
        "Metadata-Version: 2.1", "Name: clickmap", "Version: 9", "Provides-Extra: more",
        "Provides-Extra: none", "Requires-Dist: numpy>=1",
        "Requires-Dist: numpy<1; extra == 'more'",
        "Requires-Dist: no-such-package>=3; extra == 'more'",
        "Requires-Dist: pathlib2; python_version < '3'",
    ]  # fmt: skip
    (about / "METADATA").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(machine.clickmap_cli, "__file__", str(site / "clickmap_cli/__init__.py"))
    needed, extras = wanted_packages()
    assert [(package.name, package.fits) for package in needed] == [("numpy", True)]
    assert extras["none"] == ()
    old, absent = extras["more"]
    numpy = importlib.metadata.version("numpy")
    assert old.problem == f"numpy is {numpy}, and <1 is wanted"
    assert absent.problem == "no-such-package is not installed"


def test_modules_have_the_names_they_are_imported_by() -> None:
    def named(name: str) -> str:
        return Package(name, "", "1", True).module

    assert [named(name) for name in ("PyYAML", "Pillow", "scikit-learn", "POT", "h5py")] == [
        "yaml", "PIL", "sklearn", "ot", "h5py",
    ]  # fmt: skip


MODULES = {
    "well": "print('chatter'); import os; os.write(1, b'more chatter')",
    "raises": "raise ImportError('libfoo.so.6: cannot\\nopen shared object')",
    "exits": "raise SystemExit(3)",
    "dies": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "leaves": "import os; os._exit(7)",
}

TORCH = """
class _Each:
    def __init__(self, name, size):
        self.name, self.total_memory = name, size

class cuda:
    is_available = staticmethod(lambda: {available})
    device_count = staticmethod(lambda: 2)
    get_device_properties = staticmethod(lambda at: _Each(f"GPU {{at}}", 80 << 30))

class version:
    cuda = {built!r}

class backends:
    class mps:
        is_available = staticmethod(lambda: {mps})
"""


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A folder of modules that other processes import."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    for name, text in MODULES.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def driver(tmp_path: Path, monkeypatch, text: str) -> None:
    """An `nvidia-smi` of our own."""
    tool = tmp_path / "bin/nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\n{text}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")


def test_each_way_of_failing_is_a_clause_and_the_rest_is_still_asked(modules) -> None:
    problems, gpus = probe(["well", "raises", "dies", "exits", "leaves", "absent", "json"])
    assert list(problems) == ["raises", "dies", "exits", "leaves", "absent"]
    assert problems["raises"] == "ImportError: libfoo.so.6: cannot open shared object"
    assert "SIGSEGV" in problems["dies"]
    assert problems["exits"] == "SystemExit: 3"
    assert "exit code 7" in problems["leaves"]
    assert "ModuleNotFoundError" in problems["absent"]
    assert gpus == Gpus(driver=gpus.driver)


def test_a_package_that_hangs_is_given_up(modules) -> None:
    (modules / "hangs.py").write_text("import time; time.sleep(600)")
    problems, _ = probe(["well", "hangs"], seconds=1.5)
    assert list(problems) == ["hangs"]
    assert "longer than 1.5 s" in problems["hangs"]


def test_files_of_the_current_folder_do_not_stand_in_for_packages(tmp_path, monkeypatch) -> None:
    (tmp_path / "json.py").write_text("raise ImportError('mine')")
    (tmp_path / "mine_alone.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert list(probe(["json", "mine_alone"])[0]) == ["mine_alone"]


def test_gpus_are_those_torch_names(modules, tmp_path, monkeypatch) -> None:
    (modules / "torch.py").write_text(TORCH.format(available=True, built="12.4", mps=False))
    driver(tmp_path, monkeypatch, "echo GPU 0; echo GPU 1")
    _, gpus = probe(["torch"])
    assert gpus.cuda == (("GPU 0", 80 << 30), ("GPU 1", 80 << 30))
    assert (gpus.built, gpus.driver, gpus.why_none) == ("12.4", ("GPU 0", "GPU 1"), "")


@pytest.mark.parametrize(
    ("available", "built", "tool", "says"),
    [
        (False, None, "echo GPU A", "GPU A is here, but this torch is built without CUDA"),
        (False, "12.4", "echo GPU A", "the driver may be too old"),
        (False, "12.4", "exit 9", "no NVIDIA GPU"),
        ("1 / 0", "12.4", "echo GPU A", "ZeroDivisionError"),
    ],
)
def test_why_torch_has_no_gpu(modules, tmp_path, monkeypatch, available, built, tool, says) -> None:
    (modules / "torch.py").write_text(TORCH.format(available=available, built=built, mps=True))
    driver(tmp_path, monkeypatch, tool)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    _, gpus = probe(["torch"])
    assert gpus.cuda == ()
    assert says in gpus.why_none
    assert gpus.mps is (available is False)


def test_hidden_gpus_and_a_broken_torch_are_reported(modules, tmp_path, monkeypatch) -> None:
    (modules / "torch.py").write_text(TORCH.format(available=False, built="12.4", mps=False))
    driver(tmp_path, monkeypatch, "echo GPU A")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "hides the GPUs" in probe(["torch"])[1].why_none
    (modules / "torch.py").write_text(textwrap.dedent(MODULES["dies"]))
    problems, gpus = probe(["torch", "json"])
    assert list(problems) == ["torch"]
    assert "torch does not work here" in gpus.why_none


def test_an_address_is_reached_or_it_is_reported_why() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert why_unreachable(f"tcp://127.0.0.1:{port}") == ""
        assert why_unreachable(f"127.0.0.1:{port}") == ""
    assert why_unreachable(f"tcp://127.0.0.1:{port}") == "connection refused"
    for address in ("tcp://127.0.0.1", "", "tcp://[::1", "tcp://h:x", "tcp://h:99999"):
        assert why_unreachable(address)
