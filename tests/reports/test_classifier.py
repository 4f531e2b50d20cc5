"""Tables and pictures of a classifier of attention maps: what stands where."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from clickmap_cli.reports.classifier import (
    draw_averages,
    draw_picture,
    score_tables,
    summary_lines,
)
from clickmap_cli.reports.overlays import palette
from clickmap_cli.services.classifier.interpretation import AverageRow
from clickmap_cli.services.classifier.results import ClassifierSummary
from clickmap_cli.services.job import Outcome


def read(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


METHODS = ("gradient", "smoothgrad", "gradcam")


def scores(f1: float | None) -> dict:
    one = {
        "f1": f1, "f1_pooled": f1, "f1_ci": [None, 0.75], "f1_folds": [f1], "f1_weighted": 0.5625,
        "accuracy": 0.6, "chance_f1": 0.5, "chance_f1_95": 0.6, "p": 0.0001,
    }  # fmt: skip
    return {**one, "auc": 0.8125}


def summary(**changes) -> ClassifierSummary:
    fold = {
        "fold": 1, "test_participants": [f"p{k}" for k in range(10)],
        "best": {"inner": 2, "epoch": 7, "val_accuracy": 0.75},
        "network": {"f1": 0.625}, "baseline": {"f1": None},
    }  # fmt: skip
    values = {
        "experiment": "study", "outer_kfolds": 2, "inner_kfolds": 3, "model": "base",
        "classes": ["C", "P"], "positive": "P", "size": [32, 48], "n_maps": 1920,
        "n_participants": 16, "inner_mode": "restart", "shuffle_labels": False,
        "results": {"network": scores(0.625), "baseline": scores(None)},
        "difference": {"f1": 0.1, "f1_pooled": 0.0625, "f1_ci": [-0.01, 0.2]}, "folds": [fold],
        "resamples": 1000, "permutations": 200,
        "failures": [{"image_id": f"C/p/{k}", "reason": "torn"} for k in range(12)], **changes,
    }  # fmt: skip
    return ClassifierSummary.from_json(values)


def run_of(**changes) -> Outcome[ClassifierSummary]:
    return Outcome(Path("out"), summary(**changes), (), 3.25)


def printed(*tables) -> str:
    out = io.StringIO()
    console = Console(file=out, width=160)
    for table in tables:
        console.print(table)
    return out.getvalue()


def test_the_tables_hold_what_the_summary_does() -> None:
    text = printed(*score_tables(summary()))
    assert "1,920 maps (32 x 48) of 16 participants, 1 test folds, positive class P" in text
    rows = [line.split() for line in text.splitlines()]
    heads = ["F1", "weighted", "chance", "p", "pooled", "95%", "interval", "accuracy", "AUC"]
    assert heads in rows
    assert [
        "base", "0.625", "0.562", "0.500", "1.0e-04", "0.625", "[-,", "0.750]", "0.600",
        "0.812",
    ] in rows  # fmt: skip
    assert any(row[:3] == ["logistic", "regression", "-"] for row in rows)
    assert any(row[:6] == ["1", "2", "7", "0.750", "0.625", "-"] for row in rows)
    assert "p7 and 2 more" in text


def test_what_must_be_known_is_reported() -> None:
    plain = summary_lines(run_of())
    assert "chance of 200 permutations are means over folds" in plain[0]
    assert "interval is from 1,000 resamples of all participants" in plain[0]
    assert plain[1] == "Network less baseline: pooled F1 +0.062 [-0.010, 0.200]."
    assert plain[-1].startswith(str(Path("out/per_image.csv")))
    assert len(plain) == 3
    both = summary_lines(run_of(inner_mode="sequential", shuffle_labels=True, difference=None))
    assert "optimistic" in both[1]
    assert "chance" in both[2]


def test_a_run_that_only_checks_says_who_is_tested() -> None:
    lines = summary_lines(replace(run_of(), written=False))
    first = "Fold 1: tests p0, p1, p2, p3, p4, p5, p6, p7 and 2 more; 3 trainings"
    assert lines == [first, "Would train into out; nothing was written."]


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3)])
def test_pictures_have_a_panel_for_each_kind(tmp_path, shape) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.random(shape).astype(np.float32)
    hot = np.zeros((20, 30), np.float32)
    hot[10:14, 20:26] = 3
    maps = {method: hot if method != "gradcam" else np.zeros_like(hot) for method in METHODS}
    path = tmp_path / "deep/one.png"
    draw_picture(path, "C/p$1/x_{: C", pixels, maps)
    first = path.read_bytes()
    draw_picture(path, "C/p$1/x_{: C", pixels, maps)
    assert path.read_bytes() == first
    drawn = np.array(read(path)).astype(int)
    assert drawn.shape[1] > 3 * drawn.shape[0]
    panels, below = np.split(drawn, [drawn.shape[0] - 50])
    # of four panels the second and the third have the hot spot, which inferno paints yellow
    yellow = (panels[..., 0] > 180) & (panels[..., 2] < panels[..., 1] - 40)
    hot = [bool(part.sum() > 20) for part in np.array_split(yellow, 4, axis=1)]
    # a coloured map has yellow of its own, which is not to be taken for saliency
    assert hot == [pixels.ndim == 3, True, True, False]
    # below the panels lies a bar of saliency's colours
    bar = palette("inferno").astype(int)
    rows = [np.abs(line[:, None] - bar).sum(axis=-1).min(axis=1) < 8 for line in below]
    widest = max(rows, key=np.count_nonzero)
    assert np.count_nonzero(widest) > drawn.shape[1] / 2


def test_averages_have_a_row_for_each_class(tmp_path) -> None:
    flat = np.full((20, 20), 0.5, np.float32)
    bump = flat.copy()
    bump[8:12, 8:12] = 0.6
    maps = dict.fromkeys(METHODS, bump)
    rows = [AverageRow("C", 9, flat, maps), AverageRow("P", 9, bump, maps)]
    draw_averages(tmp_path / "two.png", rows)
    draw_averages(tmp_path / "one.png", rows[:1])
    two, one = (np.array(read(tmp_path / f"{name}.png").convert("L")) for name in ("two", "one"))
    assert two.shape[1] == one.shape[1]
    assert len(two) > 1.5 * len(one)
    # stretched over both classes: C is as dark as can be, P's bump as bright
    left = two[:-60, 60 : two.shape[1] // 4 - 10]  # above the colour bar
    upper, lower = left[60 : len(left) // 2 - 20], left[len(left) // 2 + 20 : -20]
    assert (np.median(upper), np.median(lower)) == (0, 0)
    assert (upper.max(), lower.max()) == (0, 255)
