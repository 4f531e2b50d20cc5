"""Packages that do not import, in every way there is, cost the asking process nothing."""

from __future__ import annotations

import os
import socket
import textwrap
from pathlib import Path

import pytest

from clickmap_cli.runtime.probes import Gpus, probe, unreachable

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
    found = probe(["well", "raises", "dies", "exits", "leaves", "absent", "json"])
    assert list(found.problems) == ["raises", "dies", "exits", "leaves", "absent"]
    assert found.problems["raises"] == "ImportError: libfoo.so.6: cannot open shared object"
    assert "SIGSEGV" in found.problems["dies"]
    assert found.problems["exits"] == "SystemExit: 3"
    assert "exit code 7" in found.problems["leaves"]
    assert "ModuleNotFoundError" in found.problems["absent"]
    assert found.gpus == Gpus(driver=found.gpus.driver)


def test_a_package_that_hangs_is_given_up(modules) -> None:
    (modules / "hangs.py").write_text("import time; time.sleep(600)")
    found = probe(["well", "hangs"], seconds=1.5)
    assert list(found.problems) == ["hangs"]
    assert "longer than 1.5 s" in found.problems["hangs"]


def test_files_of_the_current_folder_do_not_stand_in_for_packages(tmp_path, monkeypatch) -> None:
    (tmp_path / "json.py").write_text("raise ImportError('mine')")
    (tmp_path / "mine_alone.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert list(probe(["json", "mine_alone"]).problems) == ["mine_alone"]


def test_gpus_are_those_torch_names(modules, tmp_path, monkeypatch) -> None:
    (modules / "torch.py").write_text(TORCH.format(available=True, built="12.4", mps=False))
    driver(tmp_path, monkeypatch, "echo GPU 0; echo GPU 1")
    gpus = probe(["torch"]).gpus
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
    found = probe(["torch"])
    assert found.gpus.cuda == ()
    assert says in found.gpus.why_none
    assert found.gpus.mps is (available is False)


def test_hidden_gpus_and_a_broken_torch_are_said(modules, tmp_path, monkeypatch) -> None:
    (modules / "torch.py").write_text(TORCH.format(available=False, built="12.4", mps=False))
    driver(tmp_path, monkeypatch, "echo GPU A")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "hides the GPUs" in probe(["torch"]).gpus.why_none
    (modules / "torch.py").write_text(textwrap.dedent(MODULES["dies"]))
    found = probe(["torch", "json"])
    assert list(found.problems) == ["torch"]
    assert "torch does not work here" in found.gpus.why_none


def test_an_address_is_reached_or_it_is_said_why() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert unreachable(f"tcp://127.0.0.1:{port}") == ""
        assert unreachable(f"127.0.0.1:{port}") == ""
    assert unreachable(f"tcp://127.0.0.1:{port}") == "connection refused"
    for address in ("tcp://127.0.0.1", "", "tcp://[::1", "tcp://h:x", "tcp://h:99999"):
        assert unreachable(address)
