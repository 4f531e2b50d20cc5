"""Ceilings and nulls of images that have several shapes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from scipy.stats import pearsonr, spearmanr

from clickmap_cli.clickmaps.agreement import OtherImages, random_halves
from clickmap_cli.config.loading import load_experiment
from clickmap_cli.reports.ceiling import draw_ceiling, draw_curve
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.services.ceiling import run as ceiling
from clickmap_cli.services.ceiling.results import CeilingFigures
from tests.helpers.studies import random_rows, write_csv

SHAPES = ((20, 28), (28, 20), (20, 20))  # height, width
SEED, SPLITS, DRAWS = 7, 3, 4


@pytest.fixture
def study(tmp_path) -> tuple[Path, dict[str, tuple[int, int]], list]:
    """Images of three shapes whose short side is that of image_shape, so that none is scaled."""
    rows = random_rows(2, images=6, users=5, side=20)
    keys = sorted({row[0] for row in rows})
    shapes = {key: SHAPES[at % 3] for at, key in enumerate(keys)}
    sizes = {key: [w, h] for key, (h, w) in shapes.items()}
    (tmp_path / "sizes.json").write_text(json.dumps(sizes))
    write_csv(tmp_path / "trials.csv", rows)
    return tmp_path, shapes, rows


def run(folder: Path, method: str, *words: str, told=None):
    config = load_experiment(None, [
        f"clickme_data={folder / 'trials.csv'}", f"metadata_file={folder / 'sizes.json'}",
        f"assets={folder / 'assets'}", "image_shape=[20,20]", "min_subjects=1", "blur_size=3",
        f"randomization_iters={SPLITS}", f"null_iterations={DRAWS}", "n_jobs=1", f"seed={SEED}",
        "duplicate_maps=keep_all", *words,
    ]).config  # fmt: skip
    return ceiling.run(config, method, told or Silent(), CeilingFigures(draw_ceiling, draw_curve))


def blurred(clicks, shape) -> np.ndarray:
    """Two passes of a flat disk of radius 1, zero outside: DESIGN section 3."""
    counts = np.zeros(shape)
    for x, y in clicks:
        counts[y, x] += 1
    disk = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]]) / 5
    return convolve(convolve(counts, disk, mode="constant"), disk, mode="constant")


def resized(values, shape) -> np.ndarray:
    planes = torch.from_numpy(values)[None, None]
    return torch.nn.functional.interpolate(
        planes, size=shape, mode="bilinear", antialias=True
    )[0, 0].numpy()  # fmt: skip


@pytest.mark.parametrize("method", ["split-half", "hold-one-out"])
def test_another_images_map_comes_to_this_images_shape(study, method) -> None:
    folder, shapes, rows = study
    told = Silent()
    found = run(folder, method, "metric=pearson", told=told)
    assert sum("Maps have 3 shapes" in text for text in told.notices) == 1
    keys = sorted(shapes)
    categories = np.array([int(key[3]) for key in keys], dtype=np.int32)
    others = OtherImages(keys, categories, np.ones(len(keys), dtype=np.bool_), SEED)
    trials = {
        key: [blurred(clicks, shapes[key]) for image, _, clicks in rows if image == key]
        for key in keys
    }
    halves = {key: random_halves(np.arange(5, dtype=np.int32), SPLITS, SEED, key) for key in keys}
    with (found[0].folder / "per_image.csv").open(newline="") as file:
        table = {row["image_path"]: row for row in csv.DictReader(file)}
    for code, key in enumerate(keys):
        rng = generator(SEED, key, "null participants")
        scores = []
        for draw, other in enumerate(others.draw(code, DRAWS)):
            maps = np.array(trials[keys[other]])
            if method == "split-half":
                prediction = maps[halves[keys[other]][0][0]].mean(axis=0)
                target = np.array(trials[key])[halves[key][draw % SPLITS][1]].mean(axis=0)
            else:
                prediction = maps.mean(axis=0)
                target = trials[key][int(rng.integers(5))]
            there = resized(prediction, shapes[key])
            scores.append(pearsonr(there.ravel(), target.ravel())[0])
        assert float(table[key]["null"]) == pytest.approx(np.mean(scores), abs=1e-5)


def test_shapes_change_nothing_of_the_ceiling_itself(study) -> None:
    folder, shapes, rows = study
    found = run(folder, "hold-one-out", "metric=spearman")
    with (found[0].folder / "per_image.csv").open(newline="") as file:
        table = {row["image_path"]: row for row in csv.DictReader(file)}
    for key, shape in shapes.items():
        maps = np.array([blurred(clicks, shape) for image, _, clicks in rows if image == key])
        exact = [
            spearmanr(
                np.delete(maps, at, 0).mean(axis=0).round(12).ravel(), maps[at].round(12).ravel()
            )[0]
            for at in range(len(maps))
        ]
        assert float(table[key]["ceiling"]) == pytest.approx(np.mean(exact), abs=1e-6)


@pytest.mark.parametrize("method", ["split-half", "hold-one-out"])
def test_rsa_of_several_shapes_is_finite_and_one_shape_needs_no_notice(study, method) -> None:
    folder, _, _ = study
    summary = run(folder, method, "metric=rsa")[0].summary.summary.as_json()
    assert -1 <= summary["ceiling_mean"] <= 1
    told = Silent()
    run(folder, method, "metric=rsa", "center_crop=[18,18]", "experiment_name=one", told=told)
    assert not any("shapes" in text for text in told.notices)
