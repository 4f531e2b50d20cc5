"""What a dry run and the doctor see before a run: no ground truth, no images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from clickmap_cli.app import app
from tests.datasets.scenes import picture


def invoke(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def said(result) -> str:
    return " ".join(result.stderr.split())


def photos(root: Path, n: int = 3) -> Path:
    for at in range(n):
        picture(root / "images" / f"p{at}.png", seed=at)
    return root


def table(root: Path) -> tuple[Path, Path]:
    rows = [f"p{at}.png,s{s},{k},{3 + s},{4 + k}\n"
            for at in range(3) for s in range(2) for k in range(2)]  # fmt: skip
    (root / "f.csv").write_text("image,subject,order,x,y\n" + "".join(rows))
    empty = root / "empty"
    empty.mkdir()
    return root / "f.csv", empty


def words(entry: dict[str, object], out: Path, models: str = "[uniform,blur_baseline]"):
    return [f"datasets=[{json.dumps(entry)}]", f"models={models}", "metrics=[CC,NSS]",
            f"output_dir={out}", "n_jobs=1"]  # fmt: skip


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_images_without_ground_truth_end_with_a_sentence(tmp_path, dry) -> None:
    root = photos(tmp_path / "photos")
    entry = {"name": "folder", "root": str(root)}
    done = invoke("benchmark", *words(entry, tmp_path / "out"), *dry)
    assert done.exit_code == 1
    assert "data set folder: none of its 3 images has fixations or a ground-truth map" in said(done)
    assert f"{root / 'gt_maps'}/<id>.npy" in said(done)
    assert f"{root / 'fixations'}/<id>.npy" in said(done)
    assert not (tmp_path / "out").exists()


def test_empty_fixations_are_not_ground_truth_either(tmp_path) -> None:
    root = photos(tmp_path / "photos")
    (root / "fixations").mkdir()
    for at in range(3):
        np.save(root / "fixations" / f"p{at}.npy", np.zeros((12, 16), dtype=int))
    done = invoke("benchmark", *words({"name": "folder", "root": str(root)}, tmp_path / "out"))
    assert done.exit_code == 1
    assert "none of its 3 images has fixations" in said(done)


def test_they_may_be_predicted_and_one_with_truth_is_enough(tmp_path) -> None:
    root = photos(tmp_path / "photos")
    entry = {"name": "folder", "root": str(root)}
    done = invoke("benchmark", *words(entry, tmp_path / "out"), "predict_only=true")
    assert done.exit_code == 0, done.output
    (root / "gt_maps").mkdir()
    np.save(root / "gt_maps" / "p1.npy", np.random.default_rng(0).random((12, 16)))
    assert invoke("benchmark", *words(entry, tmp_path / "scored")).exit_code == 0


def test_a_dry_run_sees_a_folder_without_the_images(tmp_path) -> None:
    csv, empty = table(tmp_path)
    entry = {"name": "fixations_csv", "csv": str(csv), "images": str(empty)}
    for dry in ([], ["--dry-run"]):
        stopped = invoke("benchmark", *words(entry, tmp_path / "out"), *dry)
        assert stopped.exit_code == 1
        assert "3 of 3 images cannot be used (100%)" in said(stopped)
    all_the_same = [*words(entry, tmp_path / "out"), "max_lost=1"]
    dry = invoke("benchmark", *all_the_same, "--dry-run", "--json")
    real = invoke("benchmark", *all_the_same)
    assert dry.exit_code == real.exit_code == 1
    assert f"{empty / 'p0.png'}: no such image" in said(dry)
    assert [row["image_id"] for row in json.loads(dry.stdout)["failures"]] == ["p0", "p1", "p2"]
    config = tmp_path / "b.yaml"
    config.write_text("\n".join(word.replace("=", ": ", 1) for word in
                                words(entry, tmp_path / "new")))  # fmt: skip
    found = invoke("doctor", "-c", config)
    assert found.exit_code == 1
    assert "3 of 3 images cannot be used" in said(found)


def test_images_that_only_some_models_need_are_foreseen_for_those(tmp_path) -> None:
    root = tmp_path / "maps"
    (root / "gt_maps").mkdir(parents=True)
    for at in range(2):
        np.save(root / "gt_maps" / f"p{at}.npy", np.random.default_rng(at).random((12, 16)))
    entry = {"name": "folder", "root": str(root)}
    line = words(entry, tmp_path / "out", "[uniform,{name: deepgaze_iie,weights: none}]")
    pytest.importorskip("torch")
    stopped = invoke("benchmark", *line, "--dry-run")
    assert stopped.exit_code == 1
    assert "2 of 2 images that deepgaze_iie must look at are missing" in said(stopped)
    dry = invoke("benchmark", *line, "max_lost=1", "--dry-run", "--json")
    assert dry.exit_code == 1
    rows = json.loads(dry.stdout)["failures"]
    assert [(row["model"], row["image_id"]) for row in rows] == [
        ("deepgaze_iie", "p0"), ("deepgaze_iie", "p1"),
    ]  # fmt: skip
    only = words(entry, tmp_path / "out", "[uniform]")
    assert invoke("benchmark", *only, "--dry-run").exit_code == 0


def test_a_fine_tuning_says_that_no_image_can_be_used(tmp_path) -> None:
    csv, empty = table(tmp_path)
    entry = {"name": "fixations_csv", "csv": str(csv), "images": str(empty)}
    model = "model={name: readout, backbone: test_resnet, layers: [layer1], weights: none}"
    line = ["finetune", f"datasets=[{json.dumps(entry)}]", model, "--dry-run"]
    stopped = invoke(*line)
    assert stopped.exit_code == 1
    assert "3 of 3 images cannot be used (100%)" in said(stopped)
    done = invoke(*line, "max_lost=1")
    assert done.exit_code == 1
    assert "data set fixations_csv: none of its 3 images can be used, p0 for one" in said(done)
