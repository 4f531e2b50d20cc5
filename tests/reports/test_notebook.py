"""The notebook that `visualize` writes: valid, thin, and it runs from anywhere."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from clickmap_cli.config.loading import BENCHMARK, load_config
from clickmap_cli.reports.viewer import write_notebook
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.benchmark import run as benchmark
from clickmap_cli.services.benchmark.pictures import BenchmarkFigures
from clickmap_cli.storage.folder import WhenPresent
from tests.helpers.galleries import SIDE, experiment
from tests.helpers.studies import random_rows


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder whose configurations name files as seen from it."""
    folder = tmp_path_factory.mktemp("notebook")
    before = Path.cwd()
    os.chdir(folder)
    try:
        experiment(Path(), random_rows(2, images=4, users=3, side=SIDE))
        words = [
            "datasets=[{name: clickmaps, label: toy, root: study}]", "models=[center_bias]",
            "output_dir=out", "n_jobs=1", "null_iterations=1", "metrics=[CC]",
        ]  # fmt: skip
        figures = BenchmarkFigures(lambda heatmap: None, lambda r, p, path, n: path.write_text("x"))
        benchmark.run(load_config(BENCHMARK, None, words).config, Silent(), figures)
    finally:
        os.chdir(before)
    return folder


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_notebook_is_valid_and_equal_calls_give_equal_bytes(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat = pytest.importorskip("nbformat", reason="the extra `notebook` is not installed")
    monkeypatch.chdir(place)
    path = Path("valid.ipynb")
    assert write_notebook(path, [Path("study"), Path("out")])
    nbformat.validate(nbformat.read(path, as_version=4))
    first = path.read_bytes()
    assert write_notebook(path, [Path("study"), Path("out")], WhenPresent.OVERWRITE)
    assert path.read_bytes() == first
    code = ["".join(c["source"]) for c in read(path)["cells"] if c["cell_type"] == "code"]
    assert code[1:] == ["view('study')", "view('out')"]


def test_a_notebook_that_is_there_is_kept_unless_told(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    path = Path("mine.ipynb")
    path.write_text("my work")
    with pytest.raises(ConfigError, match="--overwrite"):
        write_notebook(path, [Path("study")])
    assert not write_notebook(path, [Path("study")], WhenPresent.RESUME)
    assert path.read_text() == "my work"
    assert write_notebook(path, [Path("study")], WhenPresent.OVERWRITE)
    assert read(path)["nbformat"] == 4


def test_what_cannot_be_shown_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    with pytest.raises(ConfigError, match="ipynb"):
        write_notebook(Path("viewer.txt"), [Path("study")])
    with pytest.raises(ConfigError, match="folder"):
        write_notebook(Path("viewer.ipynb"), [])
    with pytest.raises(DataError, match="images holds no finished run"):
        write_notebook(Path("viewer.ipynb"), [Path("images")])
    assert not Path("viewer.ipynb").exists()


def test_odd_folder_names_stay_words(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    odd = Path("');import os#`\"\n")
    odd.mkdir()
    (odd / "manifest.json").write_bytes(Path("study/manifest.json").read_bytes())
    write_notebook(Path("odd.ipynb"), [odd])
    code = "".join(read(Path("odd.ipynb"))["cells"][-1]["source"])
    called: list[str] = []
    exec(code, {"view": called.append})
    assert called == [str(odd)]


@pytest.mark.filterwarnings("default")  # what Jupyter's own packages warn of is theirs
def test_every_cell_runs_from_another_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written for a folder below, run there, with names as seen from the working folder."""
    for name in ("ipywidgets", "ipykernel"):
        pytest.importorskip(name, reason="the extra `notebook` is not installed")
    nbclient = pytest.importorskip("nbclient", reason="the extra `notebook` is not installed")
    nbformat = pytest.importorskip("nbformat", reason="the extra `notebook` is not installed")
    monkeypatch.chdir(place)
    path = Path("notes/deep/viewer.ipynb")
    write_notebook(path, [Path("study"), Path("out")])
    notebook = nbformat.read(path, as_version=4)
    again = nbformat.v4.new_code_cell(
        "go_to('../..')\n"  # a second time is no harm
        "shown = view('study', 'out')\n"
        "shown.alpha.value, shown.colormap.value = 0.9, 'jet'\n"
        "shown.save.click()\n"
        "shown.source.value = 1\n"
        "shown.layer.value = 'center_bias'\n"
        "print(shown.said.value, shown.seen.heat.shape)"
    )
    notebook.cells.append(again)
    client = nbclient.NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent.absolute())}},
    )
    client.execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert [o for o in outputs if o.output_type == "error"] == []
    for cell in cells[1:3]:
        (output,) = [o for o in cell.outputs if o.output_type == "execute_result"]
        assert "application/vnd.jupyter.widget-view+json" in output.data
        assert output.data["image/png"]
    said = "".join(o.get("text", "") for o in cells[-1].outputs)
    assert f"({SIDE}, {SIDE})" in said
    assert len(list((place / "notes/deep/viewer_pictures").glob("*.png"))) == 1
