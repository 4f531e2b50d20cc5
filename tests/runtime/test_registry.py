from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clickmap_cli.datasets.base import DATASETS
from clickmap_cli.models.base import MODELS, SaliencyModel
from clickmap_cli.models.baselines import CenterBias
from clickmap_cli.models.building import build_model
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.parallel import ordered_map
from clickmap_cli.runtime.registry import Registry, load_plugin
from tests.datasets.scenes import array

PLUGIN = '''
import numpy as np
from clickmap_cli.models.base import MODELS, SaliencyModel


@MODELS.register("NAME")
class Mine(SaliencyModel):
    """Always the same corner.

    More of it.
    """

    def __init__(self, corner: int = 1) -> None:
        self.corner = corner

    def predict(self, stimulus):
        values = np.zeros(stimulus.size)
        values[-1, -1] = self.corner
        return values


def corner_of(model):
    return type(model).__name__, model.corner
'''


@pytest.fixture
def models(monkeypatch):
    """The registry of models, as it was before once the test is over."""
    MODELS.entries()
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))
    return MODELS


def plugin(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(text)
    return path


def fresh(group: str = "nobody.adds.to.this") -> Registry:
    return Registry("thing", group)


def test_names_in_any_case() -> None:
    registry = fresh()
    registry.add("CAT2000", len, "a")
    registry.add("folder", max, "b")
    for name in ("CAT2000", "cat2000", "Cat2000"):
        assert registry.get(name) is len
    assert registry.get("FOLDER") is max
    assert [entry.name for entry in registry.entries()] == ["CAT2000", "folder"]
    assert DATASETS.get("cat2000") is DATASETS.get("CAT2000")


def test_what_is_not_there_is_reported_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"no model 'centre_bias'\. Did you mean 'center_bias'"):
        MODELS.get("centre_bias")
    with pytest.raises(ConfigError, match=r"no data set 'qqqq'\. Known: CAT2000, "):
        DATASETS.get("qqqq")


@pytest.mark.parametrize("again", ["one", "ONE"])
def test_a_name_stands_for_one_thing(again) -> None:
    registry = fresh()
    registry.add("one", len, "a", "first")
    registry.add("one", len, "a", "first")  # the same again is no second thing
    with pytest.raises(ConfigError, match=f"'{again}' is registered twice, by first and second"):
        registry.add(again, max, "b", "second")
    assert registry.get("one") is len


def test_targets_are_imported_when_they_are_asked_for() -> None:
    registry = fresh()
    registry.add("later", "clickmap_cli.nowhere:thing", "")
    registry.add("path", "pathlib:Path", "")
    assert registry.entries()[0].target == "clickmap_cli.nowhere:thing"
    assert registry.get("path") is Path
    with pytest.raises(ModuleNotFoundError):
        registry.get("later")


def test_listing_imports_neither_torch_nor_scipy() -> None:
    code = """
import sys
from clickmap_cli.datasets.base import DATASETS
from clickmap_cli.models.base import MODELS
print(*[entry.name for entry in (*DATASETS.entries(), *MODELS.entries())])
heavy = ("torch", "scipy", "h5py", "pandas", "PIL")
print("HEAVY", [name for name in heavy if name in sys.modules])
"""
    line = [sys.executable, "-c", code]
    out = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    assert {"clickmaps", "torchscript", "gold_standard", "salicon"} <= set(out.split())
    assert "HEAVY []" in out
    line = [sys.executable, "-X", "importtime", "-m", "clickmap_cli", "benchmark", "--list"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert "torchscript" in done.stdout
    imported = {row.rsplit("|", 1)[-1].strip() for row in done.stderr.splitlines()}
    assert "clickmap_cli.models.base" in imported
    assert not imported & {"torch", "scipy"}


def test_everything_that_is_listed_can_be_had() -> None:
    for registry in (DATASETS, MODELS):
        for entry in registry.entries():
            assert callable(registry.get(entry.name)), entry.name
            assert entry.summary, entry.name


# --- installed packages ------------------------------------------------------------------------


def installed(tmp_path: Path, monkeypatch, points: str, module: str = "value = len\n") -> None:
    """A package with entry points, on the path."""
    (tmp_path / "clickmap_test_package.py").write_text(module)
    about = tmp_path / "clickmap_test_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: clickmap-test-package\nVersion: 1.0\n"
    )
    (about / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "clickmap_test_package", raising=False)


def test_installed_packages_add_theirs(tmp_path, monkeypatch) -> None:
    installed(
        tmp_path, monkeypatch,
        "[clickmap.models]\nMyNet = clickmap_test_package:value [gpu]\n"
        "[clickmap.datasets]\nmine = clickmap_test_package:value\n",
    )  # fmt: skip
    for kind, group, name in (
        ("model", "clickmap.models", "MyNet"),
        ("data set", "clickmap.datasets", "mine"),
    ):
        registry: Registry = Registry(kind, group)
        registry.add("own", max, "")
        found = {entry.name: entry for entry in registry.entries()}
        assert set(found) == {"own", name}
        assert found[name].origin == "clickmap-test-package"
        assert found[name].summary == "from clickmap-test-package"
        assert "clickmap_test_package" not in sys.modules  # not imported to be listed
        assert registry.get(name.lower()) is len
        del sys.modules["clickmap_test_package"]


def test_an_installed_package_that_takes_a_name_or_cannot_be_imported_is_named(
    tmp_path, monkeypatch
) -> None:
    installed(
        tmp_path, monkeypatch,
        "[clickmap.taken]\nUniform = clickmap_test_package:value\n"
        "[clickmap.broken]\nbroken = clickmap_test_package:value\n",
        "raise ValueError('no\\nlicence')\n",
    )  # fmt: skip
    taken: Registry = Registry("model", "clickmap.taken")
    taken.add("uniform", max, "")
    with pytest.raises(ConfigError, match="twice, by clickmap and clickmap-test-package"):
        taken.get("uniform")
    broken: Registry = Registry("model", "clickmap.broken")
    with pytest.raises(ConfigError, match=r"from clickmap-test-package cannot .* no licence"):
        broken.get("broken")


# --- a user's own file -------------------------------------------------------------------------


def test_a_plugin_registers_what_it_defines(tmp_path, models, monkeypatch) -> None:
    path = plugin(tmp_path, "mine_a", PLUGIN.replace("NAME", "mine"))
    load_plugin(path)
    monkeypatch.chdir(tmp_path)
    load_plugin(Path("mine_a.py"))  # again, called otherwise: it is the same file
    entry = next(entry for entry in models.entries() if entry.name == "mine")
    assert entry.summary == "Always the same corner."
    assert entry.origin == "clickmap_plugin_mine_a"
    built = build_model("x", "MINE", {"corner": 3}, "cpu")
    assert isinstance(built.model, SaliencyModel)
    assert dict(built.settings) == {"corner": 3}


def test_a_plugins_classes_reach_worker_processes(tmp_path, models) -> None:
    load_plugin(plugin(tmp_path, "mine_b", PLUGIN.replace("NAME", "mine")))
    module = sys.modules["clickmap_plugin_mine_b"]
    things = [models.get("mine")(corner) for corner in range(4)]
    found = list(ordered_map(module.corner_of, things, 2, "loky"))
    assert found == [("Mine", corner) for corner in range(4)]


def test_an_edited_plugin_is_another_model(tmp_path, models, monkeypatch) -> None:
    identities = []
    for at, text in enumerate((PLUGIN, PLUGIN, PLUGIN.replace("[-1, -1]", "[0, 0]"))):
        folder = tmp_path / str(at)
        folder.mkdir()
        monkeypatch.setattr(models, "_entries", {})
        load_plugin(plugin(folder, "mine_c", text.replace("NAME", "mine")))
        identities.append(build_model("x", "mine", {}, "cpu").identity)
    assert identities[0] == identities[1] != identities[2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("raise ValueError('one\\ntwo')", "raised ValueError: one two$"),
        ("def broken(:", "raised SyntaxError"),
        ("import clickmap_no_such_module", "raised ModuleNotFoundError"),
        ("raise SystemExit(0)", "raised SystemExit"),
        (PLUGIN.replace("NAME", "uniform"), "'uniform' is registered twice, by clickmap and"),
        (PLUGIN.replace("NAME", "Center_Bias"), "registered twice"),
    ],
)
def test_a_plugin_that_fails_is_a_sentence(tmp_path, models, text, says) -> None:
    path = plugin(tmp_path, "failing", text)
    for _ in range(2):  # what failed is not taken for loaded
        with pytest.raises(ConfigError, match=says):
            load_plugin(path)
    assert models.get("center_bias") is CenterBias


def test_a_plugin_that_is_not_there(tmp_path) -> None:
    for path in (tmp_path / "none.py", tmp_path):
        with pytest.raises(DataError, match="plugins: no file at"):
            load_plugin(path)
    array(tmp_path / "a.npy", [1])
    with pytest.raises(ConfigError, match="is not a Python file"):
        load_plugin(tmp_path / "a.npy")
