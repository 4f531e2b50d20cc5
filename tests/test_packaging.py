"""What is installed: a wheel that holds everything, runs outside the checkout, has one version."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import clickmap_cli
from clickmap_cli.config.shipped import shipped_files

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGED = ("clickmap_cli", "configs")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with a wheel and an sdist, made from a copy so that the checkout stays clean."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in PACKAGED:
        rubbish = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(ROOT / name, source / name, ignore=rubbish)
    code = (
        "from setuptools import build_meta as b; import sys; out = sys.argv[1];"
        "b.build_sdist(out); b.build_wheel(out)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(out)],
        cwd=source, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # such as data folders that setuptools would rather see among the packages
    assert "eprecat" not in done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def run(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    line = [sys.executable, "-m", "clickmap_cli", *words]
    return subprocess.run(
        line, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_wheel_holds_every_file_of_the_package_and_every_configuration(wheel) -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGED
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    wanted = {re.sub("^configs/", "clickmap_cli/configs/", name) for name in files}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == wanted
    assert "clickmap_cli/py.typed" in held


def test_the_sdist_holds_what_a_wheel_is_made_of(built, wheel) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    made = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {re.sub("^clickmap_cli/configs/", "configs/", name) for name in made} <= held
    assert {"pyproject.toml", "README.md", "LICENSE"} <= held


def test_one_place_has_the_version(wheel, installed, tmp_path) -> None:
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    about = next(name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("METADATA"))
    metadata = email.message_from_bytes(zipfile.ZipFile(wheel).read(about))
    assert metadata["Version"] == clickmap_cli.__version__
    assert metadata["License-Expression"] == "MIT"
    said = run(installed, tmp_path, "--version").stdout
    assert said == f"clickmap {clickmap_cli.__version__}\n"
    literal = re.compile(rf"[\"']{re.escape(clickmap_cli.__version__)}[\"']")
    holders = [
        path for path in (ROOT / "clickmap_cli").rglob("*.py") if literal.search(path.read_text())
    ]
    assert holders == [ROOT / "clickmap_cli" / "__init__.py"]


def test_it_runs_outside_the_checkout(installed, tmp_path) -> None:
    shown = run(installed, tmp_path, "--help")
    assert shown.returncode == 0
    assert "clickmap demo" in shown.stdout
    listed = run(installed, tmp_path, "config", "list").stdout
    assert [line.split()[0] for line in listed.splitlines()] == [f.name for f in shipped_files()]
    copied = run(installed, tmp_path, "config", "copy", "benchmark_plugin")
    assert copied.returncode == 0, copied.stderr
    plugin = tmp_path / "configs" / "my_plugin.py"
    assert plugin.read_bytes() == (ROOT / "configs" / "my_plugin.py").read_bytes()
    ran = run(
        installed, tmp_path, "benchmark", "-c", "configs/benchmark_plugin.yaml",
        "limit_images=2", "n_jobs=1",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    # the page's own files came along too
    assert (tmp_path / "results" / "plugin" / "report.html").stat().st_size > 50_000
    assert not (tmp_path / "clickmap_cli").exists()


def test_the_code_that_ran_was_the_wheels(installed, tmp_path) -> None:
    code = "import clickmap_cli.config.shipped as s; print(s.shipped_folder())"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(installed)},
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(done.stdout.strip()) == installed / "clickmap_cli" / "configs"
