"""`clickmap train-classifier` as a shell sees it: which task runs, exit codes, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from clickmap_cli.app import app
from clickmap_cli.clickmaps.simulation.reading_study import ReadingStudy
from tests.services.classifier.test_run import EASY, PLAIN, words_for


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in ("train-classifier", *words)])


@pytest.fixture
def study(tmp_path) -> Path:
    """A configuration, and beside it its maps."""
    ReadingStudy(**EASY).write(tmp_path / "maps")
    config = tmp_path / "study.yaml"
    config.write_text(
        f"task: classifier\ndata: {{root: {tmp_path / 'maps'}}}\nmodel: {{in_size: 2}}\n"
        "training: {num_epochs: 1, batch_size: 4}\ncv: {outer_kfolds: 2, inner_kfolds: 2}\n"
        f"permutations: 10\ninterpretation: {{n_images: 1, n_samples: 1}}\n"
        f"output_dir: {tmp_path / 'out'}\n"
    )
    return config


def test_from_a_file_to_json(study, tmp_path) -> None:
    done = invoke("-c", study, "--json", "-o", tmp_path / "there", "--seed", 4, "-j", 2,
                  "--device", "cpu")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary == json.loads((tmp_path / "there/summary.json").read_text())
    assert "28 maps (20 x 20) of 7 participants, 2 test folds, positive class P" in done.stderr
    assert "logistic regression" in done.stderr
    config = json.loads((tmp_path / "there/manifest.json").read_text())["config"]
    assert (config["seed"], config["n_jobs"], config["device"]) == (4, 2, "cpu")
    assert len(list((tmp_path / "there/interpretation").rglob("*.png"))) == 5
    words = ("-c", study, "-o", tmp_path / "there", "--seed", 4)
    again = invoke(*words)
    assert again.exit_code == 2
    assert "--resume" in again.stderr
    resumed = invoke(*words, "--resume", "--json")
    assert (resumed.exit_code, json.loads(resumed.stdout)) == (0, summary)
    over = invoke(*words, "--overwrite", "training.num_epochs=2", "--quiet")
    assert (over.exit_code, over.stdout, over.stderr) == (0, "", "")


def test_a_dry_run_says_so(study, tmp_path) -> None:
    done = invoke("-c", study, "--dry-run")
    assert done.exit_code == 0
    assert "Fold 2: tests" in done.stderr
    assert "nothing was written" in done.stderr
    assert not (tmp_path / "out").exists()


def test_maps_that_cannot_be_read_are_reported_before_and_make_the_exit_1(study, tmp_path) -> None:
    bad = next((tmp_path / "maps/P/p02").glob("*.png"))
    bad.write_bytes(b"no picture")
    done = invoke("-c", study, *PLAIN)
    assert done.exit_code == 1
    lines = done.stderr.splitlines()
    said = [at for at, line in enumerate(lines) if f"P/p02/{bad.stem}:" in line]
    table = next(at for at, line in enumerate(lines) if "27 maps" in line)
    assert said[0] < table < said[-1]
    assert (tmp_path / "out/manifest.json").is_file()
    assert invoke("-c", study, *PLAIN, "--resume").exit_code == 1


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("task=classifiers",), 2, "Did you mean 'classifier'?"),
        (("task=saliency",), 2, "one of `clickmap finetune`"),
        ((), 2, "data has no root"),
        (("task=classifier", "data.root=nowhere"), 1, "data.root: no folder at nowhere"),
        (("task=classifier", "blur_size=3"), 2, "unknown key 'blur_size'"),
    ],
)
def test_mistakes_are_sentences(words, code, says) -> None:
    done = invoke(*words)
    assert (done.exit_code, done.stdout) == (code, "")
    assert says in done.stderr


def test_studies_that_cannot_be_are_the_datas_fault(tmp_path) -> None:
    ReadingStudy(**EASY).write(tmp_path / "maps")
    done = invoke(*words_for(tmp_path / "maps", tmp_path / "out", "cv.outer_kfolds=8"))
    assert done.exit_code == 1
    assert "7 participants cannot be divided into 8 test folds" in done.stderr
