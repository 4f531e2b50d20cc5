"""Key points from labels to scores: numbers, pictures, stops, and what is refused."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clickmap_cli.config.loading import KEYPOINTS, load_config
from clickmap_cli.datasets.keypoint_tables import read_labels
from clickmap_cli.reports import keypoints as report
from clickmap_cli.runtime.errors import ConfigError, DataError, RunError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services import verify
from clickmap_cli.services.job import Outcome
from clickmap_cli.services.keypoints import predictions as keypoint_predictions
from clickmap_cli.services.keypoints import run as keypoints
from clickmap_cli.services.training_views import TrainingViews
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import damaged_outputs, load_manifest
from tests.helpers.studies import read_csv

NAMES = ("eye top", "eye bottom", "nose")
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
WIDTH, HEIGHT = 80, 60
VIEWS = TrainingViews(lambda title, rows: None, lambda text: None)


def write_faces(folder: Path, n: int = 12, seed: int = 0) -> np.ndarray:
    """Images with a coloured square at each key point, and their labels; one label is missing."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    points = np.empty((n, 3, 2))
    rows = [["image", *(f"{name} {axis}" for name in NAMES for axis in "xy")]]
    for at in range(n):
        pixels = rng.integers(0, 40, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        for k, colour in enumerate(COLOURS):
            x, y = rng.integers(8, WIDTH - 8), rng.integers(8, HEIGHT - 8)
            pixels[y - 5 : y + 6, x - 5 : x + 6] = colour
            points[at, k] = x, y
        Image.fromarray(pixels).save(folder / "images" / f"f{at:02d}.png")
        cells = [str(value) for value in points[at].ravel()]
        if at == 3:
            points[at, 2] = math.nan
            cells[4:] = ["", ""]
        rows.append([f"f{at:02d}.png", *cells])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return points


@pytest.fixture
def faces(tmp_path) -> Path:
    write_faces(tmp_path / "faces")
    return tmp_path / "faces"


def words_for(faces: Path, *more: str) -> list[str]:
    return [
        f"train_csv_file={faces / 'labels.csv'}", f"train_data_dir={faces / 'images'}",
        f"output_dir={faces / 'out'}", "model_type=test_vit", "img_size=32", "train_batch_size=4",
        "num_epochs=3", "learning_rate=0.002", "overlay_images=1", "attention_images=1",
        "device=cpu", "n_jobs=1", *more,
    ]  # fmt: skip


def run(faces: Path, *more: str, progress=None, figures=report, views=VIEWS, **kwargs):
    config = load_config(KEYPOINTS, None, words_for(faces, *more)).config
    return keypoints.run(config, progress or Silent(), views, figures, **kwargs)


def test_scores_are_those_of_the_tables(faces) -> None:
    found = run(faces, "augment={rotate: 5, noise: 0.02}").summary
    out = faces / "out"
    predicted, true = read_labels(out / "predictions.csv"), read_labels(out / "labels.csv")
    assert predicted.names == true.names == NAMES
    assert predicted.images == true.images
    assert np.array_equal(read_labels(out / "predictions_dlc.csv").points, predicted.points)
    assert found.n_test == len(true.images) == 3
    assert found.n_train == 9
    names = [
        name for kind in ("train", "test") for name in (out / f"{kind}.txt").read_text().split()
    ]
    assert sorted(names) == [f"f{at:02d}.png" for at in range(12)]
    shares, squares = [], []
    for at, row in enumerate(read_csv(out / "per_image.csv")):
        assert row["image"] == true.images[at]
        distances = {
            name: math.dist(predicted.points[at, k], true.points[at, k])
            for k, name in enumerate(NAMES)
            if not math.isnan(true.points[at, k, 0])
        }
        near = 0.1 * math.dist(true.points[at, 0], true.points[at, 1])
        wrong = [name for name, distance in distances.items() if distance > near]
        shares.append(1 - len(wrong) / len(distances))
        squares.append(math.sqrt(sum(d * d for d in distances.values()) / len(distances)))
        assert row["wrong"] == ";".join(wrong)
        assert float(row["pck"]) == pytest.approx(shares[-1])
        assert float(row["rmse"]) == pytest.approx(squares[-1])
    assert found.pck == pytest.approx(sum(shares) / 3)
    assert found.rmse == pytest.approx(sum(squares) / 3)
    assert found.rmse_ci[0] <= found.rmse <= found.rmse_ci[1]
    # the network's pixels: 32 of 80 across, 32 of 60 down
    scale = np.array([32 / WIDTH, 32 / HEIGHT])
    small = [
        math.sqrt(np.nanmean((((p - t) * scale) ** 2).sum(-1)))
        for p, t in zip(predicted.points, true.points, strict=True)
    ]
    assert found.rmse_network == pytest.approx(sum(small) / 3)
    manifest = load_manifest(out)
    assert manifest is not None
    assert not damaged_outputs(out, manifest.outputs)
    pictures = {name for name in manifest.outputs if name.endswith(".png")}
    assert {name.split("/")[0] for name in pictures} == {
        "augmentation.png", "loss_curve.png", "overlays", "attention",
    }  # fmt: skip
    history = read_csv(out / "history.csv")
    assert len(history) == 3
    best = min(range(3), key=lambda at: float(history[at]["val_rmse"]))
    assert found.best_epoch == best + 1
    assert float(history[best]["val_rmse"]) == pytest.approx(found.rmse_network, rel=1e-5)


def test_points_are_learnt(tmp_path) -> None:
    """A small transformer from scratch learns eight images, better than always saying the mean."""
    points = write_faces(tmp_path / "faces", 9)
    found = run(
        tmp_path / "faces", "test_share=0.1", "num_epochs=250", "train_batch_size=8",
        "eval_every_epochs=250", "warmup_steps=25", "weight_decay=0", "monitor=loss",
        "overlay_images=0", "attention_images=0",
    )  # fmt: skip
    history = read_csv(tmp_path / "faces/out/history.csv")
    rmse = 32 * math.sqrt(2 * float(history[-1]["train_loss"]))
    assert found.summary.n_train == 8
    spread = (points - np.nanmean(points, axis=0)) * (32 / WIDTH, 32 / HEIGHT)
    constant = math.sqrt(np.nanmean((spread**2).sum(-1)))
    assert rmse < 3
    assert rmse < constant / 2


class Killed(Silent):
    """Interrupts at a step of the training."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def live(self, text: str) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_a_killed_run_goes_on_with_the_same_numbers(faces) -> None:
    augment = "augment={rotate: 10, translate: 0.1}"
    whole = run(faces, augment, f"output_dir={faces / 'whole'}")
    killed = Killed(5)
    with pytest.raises(KeyboardInterrupt):
        run(faces, augment, views=TrainingViews(lambda title, rows: None, killed.live))
    with pytest.raises(ConfigError, match="--resume"):
        run(faces, augment)
    resumed = run(faces, augment, when=WhenPresent.RESUME)
    assert resumed.summary == whole.summary
    for name in ("history.csv", "predictions.csv", "per_image.csv", "per_keypoint.csv"):
        assert (faces / "out" / name).read_bytes() == (faces / "whole" / name).read_bytes()
    again = run(faces, augment, when=WhenPresent.RESUME)
    assert again.summary == whole.summary
    with pytest.raises(ConfigError, match="other settings"):
        run(faces, augment, "seed=3", when=WhenPresent.RESUME)


def finite(folder: Path, column: str) -> list[int]:
    """Return the rows of a history that have a validation, by the numbers of a column."""
    rows = read_csv(folder / "history.csv")
    return [int(row[column]) for row in rows if row["val_rmse"]]


def test_eval_every_counts_steps_and_eval_every_epochs_epochs(faces) -> None:
    told = Silent()
    # nine images, four a step: three steps an epoch
    by_steps = run(
        faces, "num_epochs=5", "eval_every=4", f"output_dir={faces / 's'}", progress=told
    )
    assert finite(faces / "s", "step") == [4, 8, 12, 15]
    (text,) = [text for text in told.notices if "eval_every" in text]
    assert text == (
        "eval_every is 4 optimiser steps, and an epoch has 3; eval_every_epochs counts epochs."
    )
    steps = {row["step"]: row for row in read_csv(faces / "s/history.csv")}
    best = min(
        (row for row in steps.values() if row["val_rmse"]), key=lambda r: float(r["val_rmse"])
    )
    assert by_steps.summary.best_step == int(best["step"])
    assert by_steps.summary.best_epoch == int(best["epoch"])
    said = report.summary_lines(by_steps)[0]
    assert f"Best epoch {best['epoch']}, step {best['step']}." in said
    by_epochs = run(faces, "num_epochs=5", "eval_every_epochs=2", f"output_dir={faces / 'e'}")
    assert finite(faces / "e", "epoch") == [2, 4, 5]
    assert by_epochs.summary.best_step is None
    run(faces, "num_epochs=5", f"output_dir={faces / 'd'}")
    assert finite(faces / "d", "epoch") == [1, 2, 3, 4, 5]
    assert "step" not in read_csv(faces / "d/history.csv")[0]
    # what is learnt does not depend on when it is evaluated
    losses = [
        [row["train_loss"] for row in read_csv(faces / name / "history.csv")] for name in "ed"
    ]
    assert losses[0] == losses[1]
    ends = [row["train_loss"] for row in steps.values() if int(row["step"]) % 3 == 0]
    assert ends == losses[0]


def test_a_run_shorter_than_eval_every_is_evaluated_at_its_end(faces) -> None:
    run(faces, "eval_every=100")
    assert finite(faces / "out", "step") == [9]


@pytest.mark.parametrize("after", [4, 5, 8])
def test_a_run_that_is_killed_within_an_epoch_ends_with_the_same_bytes(faces, after) -> None:
    words = ("eval_every=2", "augment={rotate: 10, translate: 0.1}")
    whole = run(faces, *words, f"output_dir={faces / 'whole'}")
    killed = Killed(after)
    with pytest.raises(KeyboardInterrupt):
        run(faces, *words, views=TrainingViews(lambda title, rows: None, killed.live))
    resumed = run(faces, *words, when=WhenPresent.RESUME)
    assert resumed.summary == whole.summary
    for name in ("best.pth", "final.pth", "history.csv", "predictions.csv", "per_image.csv"):
        assert (faces / "out" / name).read_bytes() == (faces / "whole" / name).read_bytes(), name


def test_two_tables_and_images_that_choose(faces) -> None:
    lines = (faces / "labels.csv").read_text().splitlines()
    (faces / "a.csv").write_text("\n".join(lines[:9]) + "\n")
    (faces / "b.csv").write_text("\n".join([lines[0], *lines[9:]]) + "\n")
    two = (f"train_csv_file={faces / 'a.csv'}", f"test_csv_file={faces / 'b.csv'}",
           f"test_data_dir={faces / 'images'}")  # fmt: skip
    told = Silent()
    found = run(faces, *two, "val_share=0.25", "save_every=2", progress=told)
    counts = {name: getattr(found.summary, f"n_{name}") for name in ("train", "validation", "test")}
    assert counts == {"train": 6, "validation": 2, "test": 4}
    assert not any("choose best.pth" in text for text in told.notices)
    assert not any("no label" in text for text in told.notices)
    assert (faces / "out/epoch_2.pth").is_file()
    (faces / "b.csv").write_text("\n".join([lines[0], *lines[8:]]) + "\n")
    with pytest.raises(DataError, match=r"f07\.png"):
        run(faces, *two, when=WhenPresent.OVERWRITE)


def test_what_does_not_belong_together_is_listed(faces) -> None:
    (faces / "images/f02.png").unlink()
    Image.new("RGB", (9, 9)).save(faces / "images/stray.png")
    told = Silent()
    run(faces, "num_epochs=1", progress=told)
    rows = {(row["name"], row["what"]) for row in read_csv(faces / "out/unmatched.csv")}
    assert rows == {("f02.png", "no file"), ("stray.png", "no label")}
    assert any("f02.png" in text for text in told.notices)


def test_what_a_person_is_reported(faces) -> None:
    told = Silent()
    run(faces, "fp16=true", "fp16_opt_level=O2", "reference_points=[0, 2]", progress=told)
    text = "\n".join(told.notices)
    assert "warmup_steps is 500, more than a tenth of the 9 steps; 0 are used" in text
    assert "fp16_opt_level (O2)" in text
    assert "random weights" in text
    assert "The test images choose best.pth" in text
    summary = json.loads((faces / "out/summary.json").read_text())
    assert summary["reference_points"] == ["eye top", "nose"]


def test_an_image_without_a_reference_point_has_no_pck(faces) -> None:
    lines = (faces / "labels.csv").read_text().splitlines()
    for at in range(1, 13):  # nobody's first point
        cells = lines[at].split(",")
        cells[1:3] = ["", ""] if at % 2 else cells[1:3]
        lines[at] = ",".join(cells)
    (faces / "labels.csv").write_text("\n".join(lines) + "\n")
    found = run(faces).summary
    rows = read_csv(faces / "out/per_image.csv")
    without = [row for row in rows if row["pck"] == ""]
    assert found.images_without_pck == len(without) > 0
    assert all(row["rmse"] and not row["wrong"] for row in without)


def test_a_dry_run_writes_nothing(faces) -> None:
    assert not run(faces, dry_run=True).written
    assert not (faces / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("train_csv_file=null",), "train_csv_file names no labels"),
        (("reference_points=[0, 7]",), "counted from 0 to 2"),
        (("reference_points=[eye top, ear]",), "no key point 'ear'"),
        (("n_KPs=4",), "n_KPs is 4, and"),
        (("augment={flip: 0.5, pairs: [[ear, nose]]}",), "no key point 'ear'"),
        (("model_type=ViT-B_17",), "ViT-B_16"),
        (("img_size=33",), "img_size is"),
        (("train_batch_size=4", "gradient_accumulation_steps=3"), "must divide train_batch_size"),
    ],
)
def test_mistakes_are_sentences(faces, words, says) -> None:
    with pytest.raises(ConfigError, match=says):
        run(faces, *words)
    assert not (faces / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("train_csv_file=gone.csv",), r"train_csv_file: no file at gone\.csv \(looked from"),
        (
            ("train_csv_file=gone.csv", "root_directory=other"),
            r"train_csv_file: no file at gone\.csv, nor at other/gone\.csv \(looked from",
        ),
        (
            ("test_csv_file=/gone.csv", "root_directory=other"),
            r"test_csv_file: no file at /gone\.csv \(looked from",
        ),
        (
            ("train_data_dir=gone", "root_directory=other"),
            r"train_data_dir: no folder at gone, nor at other/gone \(looked from",
        ),
        (("pretrained_dir=nowhere.npz",), "no weights at nowhere.npz"),
    ],
)
def test_what_is_not_there_is_named_with_every_place_it_was_looked_for(faces, words, says) -> None:
    with pytest.raises(DataError, match=says):
        run(faces, *words)
    assert not (faces / "out").exists()


def test_paths_are_looked_for_below_the_root_directory_too(faces) -> None:
    words = (
        "train_csv_file=labels.csv", "train_data_dir=images", f"root_directory={faces}",
    )  # fmt: skip
    assert not run(faces, *words, dry_run=True).written


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "every image; overlays and attention beside it."),
        (("attention_images=0",), "every image; overlays beside it."),
        (("overlay_images=0", "attention_images=0"), "every image. "),
    ],
)
def test_the_end_names_the_pictures_that_there_are(faces, words, says) -> None:
    found = run(faces, "num_epochs=1", *words)
    assert says in report.summary_lines(found)[-1]
    for kind in ("overlays", "attention"):
        assert (faces / "out" / kind).exists() == (kind in says)


def test_reference_points_must_be_given_where_there_is_no_eye(faces) -> None:
    text = (faces / "labels.csv").read_text().replace("eye", "ear")
    (faces / "labels.csv").write_text(text)
    with pytest.raises(ConfigError, match="reference_points must be set"):
        run(faces)


# --- new pictures ------------------------------------------------------------------------------


def predict(
    faces: Path, source: Path, *more: str, when: WhenPresent = WhenPresent.STOP, progress=None
) -> Outcome:
    config = load_config(KEYPOINTS, None, words_for(faces, "eval_batch_size=5", *more)).config
    return keypoint_predictions.run(config, source, progress or Silent(), report, when)


def test_new_pictures_get_the_points_that_a_scored_image_got(faces) -> None:
    run(faces)
    before = {path: path.read_bytes() for path in (faces / "out").glob("*.*") if path.is_file()}
    found = predict(faces, faces / "images")
    assert found.summary.n_images == 12
    scored = read_labels(faces / "out/predictions.csv")
    new = read_labels(found.folder / "predictions.csv")
    assert new.names == NAMES
    for name, points in zip(scored.images, scored.points, strict=True):
        np.testing.assert_allclose(new.points[new.images.index(name)], points, atol=1e-3)
    assert before == {path: path.read_bytes() for path in before}
    with pytest.raises(ConfigError, match="already holds a finished finetune --predict-only run"):
        predict(faces, faces / "images")
    assert predict(faces, faces / "images", when=WhenPresent.OVERWRITE).summary.n_images == 12
    assert [path.name for path in (found.folder / "overlays").iterdir()] == ["001_f00.png"]
    first = Image.open(faces / "images/f00.png")
    others = [Image.open(faces / f"images/f{at:02d}.png") for at in (1, 2)]
    first.save(faces / "film.tif", save_all=True, append_images=others)
    film = predict(faces, faces / "film.tif")
    moved = read_labels(film.folder / "predictions.csv")
    assert moved.images == tuple(f"film_{at:06d}" for at in range(3))
    np.testing.assert_allclose(moved.points, new.points[:3], atol=1e-3)


def test_predictions_have_a_manifest_of_their_own(faces) -> None:
    run(faces, "num_epochs=1")
    found = predict(faces, faces / "images", "overlay_images=2")
    (whole,) = verify.run([faces / "out"], Silent())
    assert [(row.folder, row.command) for row in whole.manifests] == [
        (".", "finetune"), ("predictions/images", "finetune --predict-only"),
    ]  # fmt: skip
    assert (whole.damaged, whole.extra, whole.partial) == (False, (), ())
    (found.folder / "overlays/002_f01.png").write_bytes(b"other")
    (changed,) = verify.run([faces / "out"], Silent())
    assert [row.file for row in changed.damage] == ["predictions/images/overlays/002_f01.png"]
    # damaged files are made again; intact ones are kept, unless something else is asked for
    kept = predict(faces, faces / "images", "overlay_images=2", when=WhenPresent.RESUME)
    assert not verify.run([faces / "out"], Silent())[0].damaged
    before = (kept.folder / "manifest.json").read_bytes()
    again = predict(faces, faces / "images", "overlay_images=2", when=WhenPresent.RESUME)
    assert (again.summary.n_images, again.summary.keypoints, again.failures) == (12, NAMES, ())
    assert (kept.folder / "manifest.json").read_bytes() == before
    with pytest.raises(ConfigError, match="other settings or inputs"):
        predict(faces, faces / "images", "overlay_images=1", when=WhenPresent.RESUME)
    predict(faces, faces / "images", "overlay_images=1", when=WhenPresent.OVERWRITE)
    assert [path.name for path in (found.folder / "overlays").iterdir()] == ["001_f00.png"]


def test_a_picture_that_cannot_be_read_is_left_out_and_named(faces) -> None:
    run(faces, "num_epochs=1")
    whole = predict(faces, faces / "images")
    points = read_labels(whole.folder / "predictions.csv").points
    (faces / "images/f04.png").write_bytes(b"no picture")
    (faces / "images/f07.png").write_bytes((faces / "images/f07.png").read_bytes()[:60])
    found = predict(faces, faces / "images", when=WhenPresent.OVERWRITE)
    assert [row.image_id for row in found.summary.failures] == ["f04.png", "f07.png"]
    left = read_labels(found.folder / "predictions.csv")
    assert found.summary.n_images == len(left.images) == 10
    kept = [at for at in range(12) if at not in (4, 7)]
    assert left.images == tuple(f"f{at:02d}.png" for at in kept)
    np.testing.assert_allclose(left.points, points[kept], atol=1e-3)
    rows = read_csv(found.folder / "failures.csv")
    assert [row["image_id"] for row in rows] == ["f04.png", "f07.png"]
    assert "f04.png: not a readable image" in rows[0]["reason"]
    # a kept run says it again
    again = predict(faces, faces / "images", when=WhenPresent.RESUME)
    assert again.summary == found.summary


def test_a_film_is_predicted_as_far_as_it_can_be_read(faces) -> None:
    run(faces, "num_epochs=1")
    images = [Image.open(faces / f"images/f{at:02d}.png") for at in range(3)]
    images[0].save(faces / "film.tif", save_all=True, append_images=images[1:])
    path = faces / "film.tif"
    path.write_bytes(path.read_bytes()[:-6000])  # of the last frame
    found = predict(faces, path)
    assert found.summary.n_images == 2
    assert [row.image_id for row in found.summary.failures] == ["film.tif"]


def test_keys_that_the_trained_network_overrules_are_reported(faces) -> None:
    run(faces, "num_epochs=1")
    told = Silent()
    predict(faces, faces / "images", "n_KPs=3", progress=told)
    assert told.notices == []
    words = ("model_type=ViT-B_16", "img_size=224", "n_KPs=7")
    predict(faces, faces / "images", *words, progress=told, when=WhenPresent.OVERWRITE)
    (text,) = told.notices
    assert text == (
        f"{faces}/out/best.pth was trained with model_type test_vit, img_size 32, n_KPs 3; "
        "model_type ViT-B_16, img_size 224, n_KPs 7 is not used."
    )


def test_what_cannot_be_predicted_on(faces) -> None:
    with pytest.raises(DataError, match="no trained network"):
        predict(faces, faces / "images")
    run(faces)
    (faces / "film.mp4").write_bytes(b"no film at all")
    with pytest.raises(DataError, match=r"film\.mp4"):
        predict(faces, faces / "film.mp4")
    (faces / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        predict(faces, faces / "empty")
    (faces / "empty/a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"no picture that can be read; .*a\.png"):
        predict(faces, faces / "empty")
    assert not verify.run([faces / "out"], Silent())[0].unfinished
    (faces / "out/best.pth").write_bytes(b"x" * 100)
    with pytest.raises(RunError, match=r"best\.pth"):
        predict(faces, faces / "images")
