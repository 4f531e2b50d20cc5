"""What is wanted of other packages is what the project file says."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import tomllib
from pathlib import Path

import clickmap_cli
from clickmap_cli.runtime import packages
from clickmap_cli.runtime.packages import Package, wanted_packages

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
    monkeypatch.setattr(packages.clickmap_cli, "__file__", str(site / "clickmap_cli/__init__.py"))
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
