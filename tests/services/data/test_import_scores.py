"""Scores that a study left in a pickled file: read without trusting it, and reported on."""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from clickmap_cli.app import app
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.scoring.tables import as_summary
from clickmap_cli.services.data import import_scores
from clickmap_cli.services.data.import_scores import FolderPictures
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import damaged_outputs, load_manifest
from clickmap_cli.storage.safe_arrays import read_npy
from tests.datasets.scenes import shared
from tests.helpers.payloads import Call

TODAY = {
    "CC_mask": "CC_mask", "CC_standard": "CC", "NSS": "NSS", "AUC-Judd": "AUC_Judd", "KLD": "KL",
    "MAE": "MAE", "MSE": "MSE",
}  # fmt: skip
"""What the study calls a metric -> its name here."""

LOWER = ("KL", "MAE", "MSE")
SIGNED = ("CC", "CC_mask", "NSS")
COLUMNS = ["AUC_Judd", "NSS", "CC", "CC_mask", "KL", "MAE", "MSE"]


def scores_of(seed: int) -> dict[str, Any]:
    """One image's scores, in the types of the study."""
    values = np.random.default_rng(seed).uniform(-0.2, 0.9, 7)
    kinds = (np.float64, np.float64, np.float32, np.float64, np.float32, np.float32, np.float32)
    return {name: kind(v) for name, kind, v in zip(TODAY, kinds, values, strict=True)}


def study(n: int = 23) -> dict[str, Any]:
    """Keys are not in order, and paths are another machine's."""
    return {
        f"img_{i:03d}": [
            f"C:\\Users\\x\\val\\img_{i:03d}.jpg", f"C:\\Users\\x\\maps\\img_{i:03d}.png",
            [scores_of(i), scores_of(1000 + i)],
        ]
        for i in reversed(range(n))
    }  # fmt: skip


def write(path: Path, value: Any) -> Path:
    """As `np.save` writes a dict."""
    np.save(path, value, allow_pickle=True)
    return path


@pytest.fixture
def backup(tmp_path) -> Path:
    return write(tmp_path / "backup.npy", study())


def no_report(result, pictures, path, n_images) -> None:
    path.write_text("report")


def run(path: Path, label="imported", models=("raw", "smoothed"), report=no_report, **kwargs):
    return import_scores.run(
        path, path.parent / "out", label=label, models=models, draw_report=report,
        pictures=FolderPictures(None, None), **{"progress": Silent(), **kwargs},
    )  # fmt: skip


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def check_tables(folder: Path, value: dict[str, Any], names: tuple[str, ...], n: int) -> None:
    """Every table against the backup, recomputed plainly."""
    for which, model in enumerate(names):
        rows = read(folder / f"imported__{model}.csv")
        assert list(rows[0]) == ["image_id", *COLUMNS]
        assert [row["image_id"] for row in rows] == sorted(value)
        columns: dict[str, dict[str, float]] = {}
        for old, today in TODAY.items():
            columns[today] = {key: float(value[key][2][which][old]) for key in value}
            assert [float(row[today]) for row in rows] == [columns[today][k] for k in sorted(value)]
        summary = {row["metric"]: row for row in read(folder / f"imported__{model}_summary.csv")}
        deciles, extremes = read(folder / "deciles.csv"), read(folder / "extremes.csv")
        for metric, scores in columns.items():
            mean = math.fsum(scores.values()) / len(scores)
            assert float(summary[metric]["mean"]) == pytest.approx(mean, abs=1e-12)
            assert int(summary[metric]["n_images"]) == len(value)
            turn = -1 if metric in LOWER else 1
            worst = sorted(scores, key=lambda key: (turn * scores[key], key))
            mine = [r for r in deciles if (r["model"], r["metric"]) == (model, metric)]
            assert [int(r["decile"]) for r in mine] == list(range(1, 11))
            first = 0
            for row in mine:
                part = [scores[key] for key in worst[first : first + int(row["n_images"])]]
                first += len(part)
                assert len(part) in (len(value) // 10, -(-len(value) // 10))
                assert float(row["mean"]) == pytest.approx(math.fsum(part) / len(part), abs=1e-12)
                assert (float(row["low"]), float(row["high"])) == (min(part), max(part))
            assert first == len(value)
            half = math.ceil(len(worst) / 2)  # no image is among both
            groups = {"best": worst[::-1][:half], "worst": worst[: len(worst) - half]}
            if metric in SIGNED:
                groups["zero"] = sorted(scores, key=lambda key: (abs(scores[key]), key))
            found = [
                (r["group"], int(r["rank"]), r["image_id"], float(r["score"]))
                for r in extremes if (r["model"], r["metric"]) == (model, metric)
            ]  # fmt: skip
            assert found == [
                (group, rank, key, scores[key])
                for group, ordered in groups.items() for rank, key in enumerate(ordered[:n], 1)
            ]  # fmt: skip


def test_the_tables_are_what_the_scores_say(backup) -> None:
    found = run(backup)
    out = backup.parent / "out"
    check_tables(out, study(), ("raw", "smoothed"), 25)
    assert json.loads((out / "summary.json").read_text()) == as_summary(found.summary)
    assert list(found.summary.metrics) == COLUMNS
    comparison = next(r for r in read(out / "comparisons.csv") if r["metric"] == "NSS")
    assert (comparison["model_a"], comparison["model_b"]) == ("raw", "smoothed")
    differences = [
        float(e[2][0]["NSS"]) - float(e[2][1]["NSS"]) for e in study().values()
    ]  # fmt: skip
    assert float(comparison["difference"]) == pytest.approx(np.mean(differences), abs=1e-12)
    manifest = load_manifest(out)
    assert manifest is not None
    assert damaged_outputs(out, manifest.outputs) == []
    assert {"report.html", "deciles.csv", "extremes.csv", "imported__raw.csv"} <= set(
        manifest.outputs
    )
    assert [entry["size"] for entry in manifest.inputs.values()] == [backup.stat().st_size]


def test_equal_backups_give_equal_bytes(backup, tmp_path) -> None:
    run(backup)
    other = tmp_path / "other"
    other.mkdir()
    run(write(other / "backup.npy", dict(reversed(study().items()))))
    for path in (tmp_path / "out").glob("*.csv"):
        assert (other / "out" / path.name).read_bytes() == path.read_bytes(), path.name


def test_names_are_the_callers(backup) -> None:
    found = run(backup, "study", ("one", "two"))
    assert (backup.parent / "out/study__two.csv").is_file()
    assert [row.model for row in found.summary.models] == ["one", "two"]


@pytest.mark.parametrize(
    ("naming", "says"),
    [
        (("a", ("raw",)), "has 2 sets of scores an image and 1 names"),
        (("a", ()), "has 2 sets of scores an image and 0 names"),
        (("a", ("raw", "RAW")), "give each its own name"),
        (("../a",), "--label is '../a'"),
        (("a", ("x/y", "z")), "a name in --models is 'x/y'"),
    ],
)
def test_names_that_will_not_do(backup, naming, says) -> None:
    with pytest.raises(ConfigError, match=says):
        run(backup, *naming)
    assert not (backup.parent / "out").exists()


# --- what scores may be ----------------------------------------------------------------------


def test_unknown_metrics_are_left_out_and_named(tmp_path) -> None:
    value = study(4)
    for entry in value.values():
        entry[2][0] |= {"Sharpness": 3.0, "SSIM": 0.5}
        entry[2][1] |= {"SSIM": 0.1, "AUC-Borji": 0.7}
    progress = Silent()
    found = run(write(tmp_path / "b.npy", value), progress=progress)
    assert progress.notices == ["Metrics that are not known here: Sharpness, SSIM."]
    assert list(found.summary.metrics) == ["AUC", *COLUMNS]
    raw = read(tmp_path / "out/imported__raw.csv")
    assert {row["AUC"] for row in raw} == {""}  # only the second set has it
    assert {row["AUC"] for row in read(tmp_path / "out/imported__smoothed.csv")} == {"0.7"}
    assert "SSIM" not in raw[0]


def test_undefined_and_missing_scores_are_counted(tmp_path) -> None:
    value = study(12)
    value["img_003"][2][0]["NSS"] = float("nan")
    value["img_005"][2][0]["CC_standard"] = np.float32("nan")
    del value["img_007"][2][0]["CC_standard"]
    run(write(tmp_path / "b.npy", value))
    summary = {row["metric"]: row for row in read(tmp_path / "out/imported__raw_summary.csv")}
    for metric, old, gone in (("NSS", "NSS", [3]), ("CC", "CC_standard", [5, 7])):
        known = [float(scores_of(i)[old]) for i in range(12) if i not in gone]
        assert float(summary[metric]["mean"]) == pytest.approx(np.mean(known), abs=1e-12)
        assert int(summary[metric]["n_images"]) == len(known)
        assert int(summary[metric]["n_undefined"]) == len(gone)
        extremes = {
            row["image_id"] for row in read(tmp_path / "out/extremes.csv")
            if (row["model"], row["metric"]) == ("raw", metric)
        }  # fmt: skip
        assert not extremes & {f"img_{i:03d}" for i in gone}
        assert len(extremes) == len(known)


def test_one_set_of_scores_is_one_model(tmp_path) -> None:
    value = {key: [*entry[:2], entry[2][:1]] for key, entry in study(5).items()}
    found = run(write(tmp_path / "b.npy", value))
    assert [row.model for row in found.summary.models] == ["raw"]
    assert read(tmp_path / "out/comparisons.csv") == []


# --- what is no backup -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "holds no dict of images"),
        ([1, 2], "holds no dict of images"),
        (np.arange(4), "holds no dict of images"),
        ({"a": 3}, r"the entry 'a' is not \[image path, map path, \[scores, ...\]\]"),
        ({"a": ["i", "m"]}, "the entry 'a' is not"),
        ({"a": ["i", "m", {"CC": 1.0}]}, "the entry 'a' is not"),
        ({"a": ["i", "m", [0.5]]}, "the entry 'a' is not"),
        ({"a": ["i", "m", [{"NSS": "high"}]]}, "'a': NSS is 'high', not a number"),
        ({"a": ["i", "m", [{"NSS": None}]]}, "NSS is 'None', not a number"),
        ({"a": ["i", "m", [{"NSS": np.complex64(1j)}]]}, "not a number"),
        ({"a": ["i", "m", [{"NSS": np.array([1.0, 2.0])}]]}, "not a number"),
        ({"a": ["i", "m", []]}, "holds no scores"),
        ({"a": ["i", "m", [{}]]}, "holds no scores"),
        ({"a": ["i", "m", [{"SSIM": 0.5}]]}, "holds no scores but SSIM"),
    ],
)
def test_files_that_are_not_backup_are_a_sentence(tmp_path, value, says) -> None:
    path = write(tmp_path / "b.npy", value)
    with pytest.raises(DataError, match=says) as caught:
        run(path)
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).isprintable()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("cut", [0, 5, 200, -20])
def test_damaged_files_are_a_sentence(backup, cut) -> None:
    backup.write_bytes(backup.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"backup\.npy"):
        run(backup)
    assert not (backup.parent / "out").exists()


def test_a_missing_file_is_a_sentence(tmp_path) -> None:
    with pytest.raises(DataError, match=r"No file at .*none\.npy"):
        run(tmp_path / "none.npy")


@pytest.mark.parametrize("where", ["entry", "score", "path", "key"])
def test_a_program_in_a_backup_is_refused_and_does_not_run(tmp_path, where) -> None:
    touched = tmp_path / "touched"
    call = Call(os.mkdir, [str(touched)])
    value = study(3)
    if where == "entry":
        value["img_001"] = call
    elif where == "score":
        value["img_001"][2][0]["NSS"] = call
    elif where == "path":
        value["img_001"][0] = call
    else:
        value[call] = value["img_001"]
    path = write(tmp_path / "b.npy", value)
    with pytest.raises(DataError, match="refused to load it"):
        run(path)
    assert not touched.exists()
    assert not (tmp_path / "out").exists()


# --- outputs that are there ------------------------------------------------------------------


def test_outputs_are_replaced_only_when_asked(backup) -> None:
    run(backup)
    out = backup.parent / "out"
    before = (out / "deciles.csv").read_bytes()
    write(backup, study(11))
    with pytest.raises(ConfigError, match="--overwrite"):
        run(backup)
    assert (out / "deciles.csv").read_bytes() == before
    run(backup, "imported", ("a", "b"), when=WhenPresent.OVERWRITE)
    assert len(read(out / "imported__a.csv")) == 11
    assert not (out / "imported__raw.csv").exists()  # a table of the run that it replaces


# --- pictures --------------------------------------------------------------------------------


def test_pictures_are_found_by_their_stem(backup, tmp_path) -> None:
    for name in ("images", "maps"):
        (tmp_path / name).mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "images/img_002.png")
    heat = np.random.default_rng(1).random((6, 8))
    np.save(tmp_path / "maps/img_002.npy", heat)
    pictures = FolderPictures(tmp_path / "images", tmp_path / "maps")
    np.testing.assert_allclose(pictures.image("x", "img_002"), pixels / 255, atol=1e-6)
    np.testing.assert_allclose(pictures.truth("x", "img_002"), heat, atol=1e-6)
    assert pictures.image("x", "img_001") is None
    assert pictures.truth("x", "img_001") is None
    assert pictures.prediction("x", "raw", "img_002") is None
    none = FolderPictures(None, None)
    assert none.image("x", "img_002") is None
    assert none.truth("x", "img_002") is None


# --- as a command ----------------------------------------------------------------------------


def invoke(*words: object):
    return CliRunner().invoke(app, ["data", "import-scores", *map(str, words)])


def test_the_command(tmp_path) -> None:
    value = study(23)
    value["img_000"][2][0]["SSIM"] = 0.5
    backup = write(tmp_path / "backup.npy", value)
    out = tmp_path / "published"
    done = invoke(backup, "--output", out, "--json")
    assert done.exit_code == 0, done.output
    assert "SSIM" in done.stderr
    printed = json.loads(done.stdout)
    assert printed == json.loads((out / "summary.json").read_text())
    check_tables(out, value, ("raw", "smoothed"), 25)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "img_022" in page
    assert "smoothed" in page
    again = invoke(backup, "--output", out)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    done = invoke(
        backup, "--output", out, "--overwrite", "--models", "a, b", "--label", "mine", "--quiet"
    )
    assert done.exit_code == 0, done.output
    assert (out / "mine__b.csv").is_file()


def test_the_command_says_what_is_wrong(tmp_path) -> None:
    for content in ({"a": 3}, Call(os.mkdir, [str(tmp_path / "touched")])):
        done = invoke(write(tmp_path / "b.npy", content), "--output", tmp_path / "out")
        assert done.exit_code == 1
        assert "b.npy" in done.stderr.replace("\n", "")
        assert done.stdout == ""
    assert not (tmp_path / "touched").exists()


# --- the real one ----------------------------------------------------------------------------


def test_the_published_study(tmp_path) -> None:
    """5,000 images of SALICON's validation set, two sets of scores each."""
    path = shared("eigencam_study") / "backup.npy"
    out = tmp_path / "published"
    progress = Silent()
    found = import_scores.run(
        path, out, label="salicon_val", models=("raw", "smoothed"), draw_report=no_report,
        pictures=FolderPictures(None, None), progress=progress,
    )  # fmt: skip
    value = read_npy(path)
    assert len(value) == 5000
    assert progress.notices == []
    for which, row in enumerate(as_summary(found.summary)["results"]):
        assert row["model"] == ("raw", "smoothed")[which]
        assert (row["n_images"], row["n_failed"]) == (5000, 0)
        for old, today in TODAY.items():
            mean = math.fsum(float(entry[2][which][old]) for entry in value.values()) / 5000
            score = row["scores"][today]
            assert score["mean"] == pytest.approx(mean, abs=1e-12)
            assert score["ci"][0] < mean < score["ci"][1]
            assert (score["n_images"], score["n_undefined"]) == (5000, 0)
    deciles = read(out / "deciles.csv")
    assert len(deciles) == 10 * 7 * 2
    assert {row["n_images"] for row in deciles} == {"500"}
    ordered = np.sort([float(entry[2][0]["CC_standard"]) for entry in value.values()])
    mine = [float(r["mean"]) for r in deciles if (r["model"], r["metric"]) == ("raw", "CC")]
    assert mine == pytest.approx(list(ordered.reshape(10, 500).mean(axis=1)), abs=1e-12)
    extremes = read(out / "extremes.csv")
    assert len(extremes) == 25 * 2 * (7 * 2 + 3)
    near = sorted(abs(float(entry[2][1]["NSS"])) for entry in value.values())[:25]
    assert [
        abs(float(r["score"])) for r in extremes
        if (r["model"], r["metric"], r["group"]) == ("smoothed", "NSS", "zero")
    ] == near  # fmt: skip
