"""`clickmap finetune` as a shell sees it: which task runs, exit codes, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from clickmap_cli.app import app
from tests.services.benchmark.test_run import write_corpus
from tests.services.finetune.test_run import words_for as saliency_words
from tests.services.keypoints.test_run import words_for, write_faces


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in ("finetune", *words)])


@pytest.fixture
def faces(tmp_path) -> Path:
    write_faces(tmp_path / "faces", 6)
    return tmp_path / "faces"


def test_key_points_from_a_file_to_json_and_on_to_new_pictures(faces) -> None:
    config = faces / "keypoints.yaml"
    config.write_text("".join(f"{w.replace('=', ': ', 1)}\n" for w in words_for(faces)))
    done = invoke("-c", config, "num_epochs=1", "--json", "-o", faces / "there")
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (faces / "there/summary.json").is_file()
    assert summary == json.loads((faces / "there/summary.json").read_text())
    assert "mean over images" in done.stderr
    again = invoke("-c", config, "num_epochs=1", "-o", faces / "there")
    assert again.exit_code == 2
    assert "--resume" in again.stderr
    source = faces / "images"
    new = invoke("-c", config, "-o", faces / "there", "--predict-only", source, "--json", "-q")
    assert new.exit_code == 0, new.stderr
    assert json.loads(new.stdout)["n_images"] == 6
    assert Path(json.loads(new.stdout)["folder"]) == faces / "there/predictions/images"
    assert json.loads(new.stdout)["failures"] == []
    (source / "f02.png").write_bytes(b"no picture")
    words = ("-c", config, "-o", faces / "there", "--predict-only", source, "--overwrite")
    some = invoke(*words, "--json")
    assert some.exit_code == 1
    value = json.loads(some.stdout)
    assert (value["n_images"], value["failures"][0]["image_id"]) == (5, "f02.png")
    assert "f02.png: not a readable image" in some.stderr
    assert "5 pictures, 1 left out" in " ".join(some.stderr.split())


def test_without_a_trained_network_nothing_is_predicted(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke("task=keypoints", "--predict-only", ".")
    assert done.exit_code == 1
    assert "There is no trained network" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_so(faces) -> None:
    done = invoke(*words_for(faces), "task=keypoints", "--dry-run")
    assert done.exit_code == 0
    assert "nothing was written" in done.stderr
    assert not (faces / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("task=keypoint",), "Did you mean 'keypoints'?"),
        (("task=keypoints",), "train_csv_file names no labels"),
        (("model=readout", "datasets=[folder]", "--predict-only", "."), "is for task keypoints"),
        (("task=keypoints", "--predict-only", ".", "--dry-run"), "leave one out"),
        (("task=classifier", "data.root=."), "one of `clickmap train-classifier`"),
        (("--gather", "a", "b"), "--gather needs --output"),
        (("--gather", "a", "-o", "x", "--seed", "1"), "takes everything from its folders"),
        (("--gather", "a", "b", "-o", "x", "training.lr=1"), "'training.lr=1' changes nothing"),
        (("--gather", "a", "a", "-o", "x"), "a is named twice"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(tmp_path, monkeypatch, words, says) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke(*words)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_folds_of_several_folders_become_one_table(tmp_path) -> None:
    corpus = write_corpus(tmp_path / "c", n_images=4)
    folders = []
    for fold in (1, 2):
        folders.append(tmp_path / f"session_{fold}")
        words = saliency_words(corpus, folders[-1], "training.epochs=1", f"cv.only_folds=[{fold}]")
        assert invoke(*words, "-q").exit_code == 0
    done = invoke("--gather", *folders, "-o", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((tmp_path / "out/summary.json").read_text())
    assert "all scores of 2 folders" in " ".join(done.stderr.split())
    lacking = invoke("--gather", folders[1], "-o", tmp_path / "other")
    assert lacking.exit_code == 1
    assert "fold 1 of 2 is missing" in " ".join(lacking.stderr.split())
    assert not (tmp_path / "other").exists()
