"""`--output DIR`: every command writes into DIR itself, and DIR is a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clickmap_cli.app import app
from clickmap_cli.config.loading import load_experiment
from clickmap_cli.runtime.errors import ConfigError
from tests.datasets.scenes import picture
from tests.helpers.studies import random_rows, write_csv


def invoke(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def config(tmp_path) -> Path:
    data = write_csv(tmp_path / "trials.csv", random_rows(0, images=4, users=4))
    path = tmp_path / "experiment.yaml"
    path.write_text(
        f"experiment_name: small\nclickme_data: {data}\nassets: {tmp_path / 'assets'}\n"
        "image_shape: [32, 32]\nmin_subjects: 2\nblur_size: 5\ndisplay_image_keys: null\n"
        "n_jobs: 1\nrandomization_iters: 2\nnull_iterations: 2\n"
    )
    return path


def test_an_experiment_lives_in_the_folder_that_is_named(config, tmp_path) -> None:
    out = tmp_path / "assets" / "clicks"
    assert invoke("prepare", "-c", config, "-o", out).exit_code == 0
    assert (out / "maps.h5").is_file()
    assert invoke("ceiling", "split-half", "-c", config, "-o", out).exit_code == 0
    assert (out / "ceiling/split-half-spearman/summary.json").is_file()
    assert invoke("visualize", "-c", config, "-o", out, "--figures", "overlay").exit_code == 0
    assert (out / "figures/images.csv").is_file()
    assert invoke("visualize", "-c", config, "-o", out, "--html").exit_code == 0
    assert (out / "gallery.html").is_file()
    note = tmp_path / "viewer.ipynb"
    assert invoke("visualize", "-c", config, "-o", out, "--notebook", note).exit_code == 0
    assert str(out) in note.read_text()
    assert [path.name for path in (tmp_path / "assets").iterdir()] == ["clicks"]
    prepared = tmp_path / "of_prepared"
    words = ("ceiling", "split-half", "-c", config, f"clickme_data={out}", "-o", prepared)
    assert invoke(*words).exit_code == 0
    assert (prepared / "ceiling/split-half-spearman/summary.json").is_file()
    assert invoke("verify", out).exit_code == 0


def test_without_it_the_folder_is_named_by_the_config(config, tmp_path) -> None:
    assert load_experiment(config).config.folder == tmp_path / "assets" / "small"
    assert load_experiment(config, ["output_dir=x/y"]).config.folder == Path("x/y")
    assert load_experiment(config, [], {"output_dir": "z"}).config.folder == Path("z")
    with pytest.raises(ConfigError, match="assets is a, and results go to z; name one"):
        load_experiment(config, ["assets=a"], {"output_dir": "z"})


def test_doctor_looks_at_the_same_folder(config, tmp_path) -> None:
    out = tmp_path / "there"
    assert invoke("prepare", "-c", config, "-o", out).exit_code == 0
    found = invoke("doctor", "-c", config, "-o", out, "--json")
    assert f"{out} already holds a finished prepare run" in found.output
    assert json.loads(found.stdout)["config"]["output"] == str(out)


CALLS = {
    "prepare": ["prepare"], "ceiling": ["ceiling", "split-half"], "visualize": ["visualize"],
    "benchmark": ["benchmark"], "finetune": ["finetune"], "classifier": ["train-classifier"],
    "demo": ["demo"], "doctor": ["doctor"], "toy": ["data", "toy"],
    "simulate": ["data", "simulate"], "split": ["data", "split", "name=folder", "root=x"],
    "gt-mean": ["data", "gt-mean", "name=folder", "root=x"],
    "export": ["data", "export-pysaliency", "name=folder", "root=x"],
    "import": ["data", "import-scores", "x.npy"], "crop": ["data", "crop-heatmaps", "x"],
    "reading": ["data", "reading-study"],
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_what_looks_like_a_file_is_refused(call, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text("mine")
    for name, said in (
        ("maps.h5", "maps.h5 looks like a file (.h5)"), ("a/b.YAML", "a/b.YAML looks like a file"),
        ("there", "there is a file"),
    ):  # fmt: skip
        done = invoke(*CALLS[call], "--output", name)
        assert done.exit_code == 2
        assert f"error --output: {said}" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_names_with_dots_and_folders_that_are_there_are_taken(config, tmp_path) -> None:
    for name in ("run_v1.5", "sub-01.v2", "old.csv"):
        (tmp_path / "old.csv").mkdir(exist_ok=True)
        assert invoke("prepare", "-c", config, "-o", tmp_path / name).exit_code == 0


@pytest.mark.parametrize("key", ["prepare", "benchmark"])
def test_the_key_is_held_to_the_same(key, tmp_path) -> None:
    done = invoke(key, "output_dir=a.json", "datasets=[folder]", "models=[uniform]")
    assert done.exit_code == 2
    if key == "benchmark":
        assert "command line: output_dir a.json looks like a file (.json)" in done.output


def test_tools_write_into_the_folder_itself(tmp_path) -> None:
    assert invoke("data", "toy", "-o", tmp_path / "t", "--images", 2).exit_code == 0
    assert (tmp_path / "t/benchmark.yaml").is_file()
    folder = ["name=folder", f"root={tmp_path / 't'}"]
    assert invoke("data", "split", *folder, "--test-count", 1, "-o", tmp_path / "s").exit_code == 0
    assert (tmp_path / "s/train.txt").is_file()
    assert invoke("data", "export-pysaliency", *folder, "-o", tmp_path / "e").exit_code == 0
    assert (tmp_path / "e/stimuli.hdf5").is_file()
    picture(tmp_path / "raw/x/p1/a.png", (20, 30), 0)
    assert invoke("data", "crop-heatmaps", tmp_path / "raw", "-o", tmp_path / "c").exit_code == 0
    assert (tmp_path / "c/x/p1/a.png").is_file()
    words = ["benchmark", "-c", tmp_path / "t/benchmark.yaml", "models=[uniform]", "metrics=CC"]
    assert invoke(*words, "-o", tmp_path / "b").exit_code == 0
    assert (tmp_path / "b/summary.json").is_file()
