"""One rule for every command: a path that is named and not there exits 1, a config file 2."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from clickmap_cli.app import app
from clickmap_cli.config.fields import default_of, keys_of
from clickmap_cli.config.loading import BENCHMARK, BY_TASK, EXPERIMENT
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.data import tools as data_tools
from tests.helpers.studies import random_rows, write_csv

EXPERIMENT_WORDS = ("clickme_data=trials.csv", "image_shape=[32,32]", "min_subjects=2")
FOLDER_SET = "datasets=[{name: folder, root: toy}]"
EYES = "datasets=[{name: fixations_csv, csv: toy/fixations.csv, images: toy/images}]"
READOUT = "model={name: readout, backbone: test_resnet, weights: none}"
TUNE = ("finetune", "task=saliency", "cv.folds=2", "cv.val_share=0", "device=cpu")
MAPS = ("task=classifier", "data.root=maps")
POINTS = ("task=keypoints", "train_csv_file=labels.csv", "train_data_dir=toy/images",
          "model_type=test_vit", "img_size=32")  # fmt: skip
PEOPLE = ("task=participant_quality", "data.experiment=experiment.yaml", "data.good_users=[u0]",
          "data.bad_users=[u1]")  # fmt: skip

MISSING = [
    *(
        (("prepare", *EXPERIMENT_WORDS), key)
        for key in (
            "clickme_data", "metadata_file", "class_filter_file", "participant_filter", "mask_dir",
        )
    ),
    (("ceiling", "split-half", *EXPERIMENT_WORDS), "clickme_data"),
    (("ceiling", "hold-one-out", *EXPERIMENT_WORDS), "mask_dir"),
    (("visualize", *EXPERIMENT_WORDS), "assets"),
    (("benchmark", FOLDER_SET, "models=[uniform]"), "datasets.0.root"),
    (("benchmark", FOLDER_SET, "models=[uniform]"), "datasets.0.ids"),
    (("benchmark", EYES, "models=[uniform]"), "datasets.0.csv"),
    (("benchmark", EYES, "models=[uniform]"), "datasets.0.images"),
    (("benchmark", "datasets=[{name: clickmaps}]", "models=[uniform]"), "datasets.0.root"),
    (("benchmark", FOLDER_SET, "models=[uniform]"), "plugins"),
    (("benchmark", FOLDER_SET, "models=[{name: precomputed}]"), "models.0.root"),
    *(
        (("benchmark", FOLDER_SET, f"models=[{{{entry}}}]"), "models.0.weights_path")
        for entry in (
            "name: torchscript", "name: deepgaze_iii", "name: msi_net",
            "name: eigencam", "name: gradient, model: test_resnet",
        )
    ),
    (
        ("benchmark", FOLDER_SET, "models=[{name: deepgaze_iii, weights: none}]"),
        "models.0.centerbias",
    ),
    ((*TUNE, READOUT, FOLDER_SET), "datasets.0.root"),
    ((*TUNE, READOUT, EYES), "cv.holdout"),
    ((*TUNE, READOUT, EYES), "cv.fold_files"),
    ((*TUNE, READOUT, EYES), "gt_cache_dir"),
    ((*TUNE, READOUT, EYES), "plugins"),
    (
        (*TUNE, "model={name: readout, backbone: test_resnet}", EYES),
        "model.weights_path",
    ),
    *(
        (("finetune", *POINTS), key)
        for key in ("train_csv_file", "train_data_dir", "test_csv_file", "pretrained_dir")
    ),
    (("finetune", *POINTS, "test_csv_file=labels.csv"), "test_data_dir"),
    (("finetune", *POINTS, "--predict-only", "toy/images"), "output_dir"),
    (("train-classifier", *MAPS), "data.root"),
    (("train-classifier", "task=classifier", "data.root=prepared/experiment"), "data.labels"),
    (("train-classifier", *MAPS, "model.name=test_resnet"), "model.weights_path"),
    (("train-classifier", *PEOPLE), "data.good_users"),
    (("train-classifier", *PEOPLE), "data.bad_users"),
    (("data", "split", "name=folder"), "root"),
    (("data", "gt-mean", "name=clickmaps"), "root"),
    (("data", "export-pysaliency", "name=folder"), "root"),
]  # fmt: skip
"""A call that is right but for one key, which names what is not there."""

NO_KEY = [
    ("verify", "gone"),
    ("data", "import-scores", "gone"),
    ("data", "import-scores", "labels.csv", "--images", "gone"),
    ("data", "import-scores", "labels.csv", "--maps", "gone"),
    ("data", "crop-heatmaps", "gone"),
    ("data", "crop-heatmaps", "toy/images", "--sentences", "gone"),
    ("visualize", "--notebook", "viewer.ipynb", "--benchmark", "gone"),
    ("visualize", "assets=prepared", "--classes", "gone"),
    ("finetune", *POINTS, "output_dir=trained", "--predict-only", "gone"),
]
"""Calls that name it otherwise."""

NO_PATHS = {"datasets", "models", "active_models", "model_kwargs", "model", "root_directory"}
"""Keys of inputs that are no path themselves, or one that is only tried too."""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Everything that the calls name, but `gone`."""
    folder = tmp_path_factory.mktemp("inputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_csv(Path("trials.csv"), random_rows(0, images=3, users=3))
        Path("experiment.yaml").write_text("clickme_data: trials.csv\nkernel_type: circle\n")
        data_tools.toy(Path("toy"), 3, 0, Silent())
        names = sorted(path.name for path in Path("toy/images").iterdir())
        rows = "".join(f"{name},1,2,9,8\n" for name in names)
        Path("labels.csv").write_text(
            f"image,eye top x,eye top y,eye bottom x,eye bottom y\n{rows}"
        )
        for label in "CP":
            for person in range(6):
                path = Path(f"maps/{label}/p{person}/a.png")
                path.parent.mkdir(parents=True)
                Image.fromarray(np.full((16, 16), 9, np.uint8)).save(path)
        done = invoke("prepare", *EXPERIMENT_WORDS, "assets=prepared", "display_image_keys=null")
        assert done.exit_code == 0, done.stderr
        Path("trained").mkdir()
        done = invoke("finetune", *POINTS, "num_epochs=1", "test_share=0.5", "output_dir=trained",
                      "overlay_images=0", "attention_images=0", "device=cpu")  # fmt: skip
        assert done.exit_code == 0, done.stderr
    return folder


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def said(result: Result) -> str:
    assert "Traceback" not in result.stderr
    assert "defect of clickmap" not in result.stderr
    return " ".join(result.stderr.split())


@pytest.mark.parametrize(("call", "key"), MISSING, ids=lambda value: str(value)[:60])
def test_what_a_key_names_and_is_not_there_exits_1(place, monkeypatch, call, key) -> None:
    monkeypatch.chdir(place)
    before = files(place)
    ending = ".npy" if key.endswith("centerbias") else ".npz" if key == "pretrained_dir" else ""
    result = invoke(*call, f"{key}=gone{ending}")
    assert result.exit_code == 1, result.stderr
    assert f"gone{ending}" in said(result)
    assert files(place) == before


@pytest.mark.parametrize("call", NO_KEY, ids=lambda value: str(value)[:60])
def test_what_a_call_names_and_is_not_there_exits_1(place, monkeypatch, call) -> None:
    monkeypatch.chdir(place)
    before = files(place)
    result = invoke(*call)
    assert result.exit_code == 1, result.stderr
    assert "gone" in said(result)
    assert files(place) == before


@pytest.mark.parametrize(
    "call",
    [
        ("prepare",), ("ceiling", "split-half"), ("visualize",), ("benchmark",), ("finetune",),
        ("train-classifier",), ("config", "show"),
    ],
    ids=str,
)  # fmt: skip
def test_a_configuration_that_is_not_there_exits_2(tmp_path, monkeypatch, call) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(*call, "--config", "gone.yaml")
    assert result.exit_code == 2
    assert "No config file at gone.yaml" in said(result)
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_that_another_names_is_one_too(place, monkeypatch) -> None:
    monkeypatch.chdir(place)
    for words in (("config", "check", "gone.yaml"), ("config", "update", "gone.yaml"),
                  ("train-classifier", *PEOPLE, "data.experiment=gone.yaml")):  # fmt: skip
        result = invoke(*words)
        assert result.exit_code == 2
        assert "No config file at gone.yaml" in said(result)


def test_a_plugin_that_a_checked_configuration_names(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("datasets: [toy]\nmodels: [uniform]\nplugins: [gone.py]\n")
    Path("b.yaml").write_text("blur_sise: 3\n")
    assert invoke("config", "check", "a.yaml").exit_code == 1
    both = invoke("config", "check", "b.yaml", "a.yaml")
    assert both.exit_code == 2
    assert "plugins: no file at gone.py" in said(both)


def test_every_key_that_names_an_input_is_among_those_above() -> None:
    def names(schema: type, front: str = ""):
        for name, key in keys_of(schema).items():
            inner = default_of(schema, name)
            if dataclasses.is_dataclass(inner):
                yield from names(type(inner), f"{front}{name}.")
            elif key.scope == "input" and name not in NO_PATHS:
                yield f"{front}{name}"

    known = {key for _, key in MISSING} | {"data.experiment"}  # which is a configuration
    for schema in (EXPERIMENT, BENCHMARK, *BY_TASK.values()):
        assert set(names(schema.type)) <= known
