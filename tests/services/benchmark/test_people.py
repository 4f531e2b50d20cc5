"""Models and people against the same people: clickmaps, the simulation's truth, real eyes."""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.simulation.people import Simulation, expected_map, format_clicks
from clickmap_cli.config.loading import BENCHMARK, load_config, load_experiment
from clickmap_cli.reports.benchmark_figures import draw_heatmap
from clickmap_cli.reports.ceiling import draw_ceiling, draw_curve
from clickmap_cli.reports.prepare import draw_example
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.scoring.tables import as_summary
from clickmap_cli.services.benchmark import run as benchmark
from clickmap_cli.services.benchmark.pictures import BenchmarkFigures
from clickmap_cli.services.ceiling import run as ceiling
from clickmap_cli.services.ceiling.results import CeilingFigures
from clickmap_cli.services.prepare import run as prepare
from tests.helpers.studies import random_rows, write_csv

SHARED = Path(os.environ.get("CLICKMAP_DATA", Path(__file__).parents[4] / "shared" / "data"))


def run(*words: str, progress=None) -> benchmark.BenchmarkRun:
    figures = BenchmarkFigures(draw_heatmap, lambda result, pictures, path, n: path.write_text("x"))
    config = load_config(BENCHMARK, None, words).config
    return benchmark.run(config, progress or Silent(), figures)


def scores_of(found: benchmark.BenchmarkRun, model: str) -> dict[str, dict]:
    return next(r["scores"] for r in as_summary(found.summary)["results"] if r["model"] == model)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def prepared(folder: Path, *words: str) -> Path:
    config = load_experiment(None, [f"assets={folder / 'assets'}", "n_jobs=1", *words]).config
    return prepare.run(config, Silent(), draw_example).folder


def test_the_ceiling_of_clickmaps_is_the_ceiling_commands(tmp_path) -> None:
    """Two halves of the project, one number: lower bound and null, image by image."""
    data = write_csv(tmp_path / "trials.csv", random_rows(0, images=6, users=7))
    words = [
        f"clickme_data={data}", f"assets={tmp_path / 'assets'}", "image_shape=[32,32]",
        "min_subjects=1", "blur_size=5", "null_iterations=4", "n_jobs=1",
    ]  # fmt: skip
    folder = prepared(tmp_path, *words)
    figures = CeilingFigures(draw_ceiling, draw_curve)
    config = load_experiment(None, [*words, "metric=[pearson,auc,kl,sim]"]).config
    ceiling.run(config, "hold-one-out", Silent(), figures)
    found = run(
        f"datasets=[{{name: clickmaps, root: {folder}}}]", "models=[uniform]",
        f"output_dir={tmp_path / 'out'}", "null_iterations=4",
    )  # fmt: skip
    people = read(tmp_path / "out/clickmaps__people.csv")
    for metric, name in (("CC", "pearson"), ("AUC", "auc"), ("KL", "kl"), ("SIM", "sim")):
        there = read(folder / f"ceiling/hold-one-out-{name}/per_image.csv")
        assert len(there) == len(people) == 6
        for row, other in zip(people, there, strict=True):
            assert float(row[f"{metric}_ceiling"]) == pytest.approx(
                float(other["ceiling"]), abs=1e-6
            )
            assert float(row[f"{metric}_null"]) == pytest.approx(float(other["null"]), abs=1e-6)
        summary = json.loads((folder / f"ceiling/hold-one-out-{name}/summary.json").read_text())
        score = scores_of(found, "uniform")[metric]
        assert score["ceiling"] == pytest.approx(summary["ceiling_mean"], abs=1e-6)


def test_unequal_maps_have_a_null_in_relative_coordinates(tmp_path) -> None:
    rows = random_rows(1, images=4, users=4, side=20)
    sizes = {key: (32, 24) if i % 2 else (24, 32) for i, key in enumerate({r[0]: 0 for r in rows})}
    (tmp_path / "sizes.json").write_text(json.dumps(sizes))
    data = write_csv(tmp_path / "trials.csv", rows)
    folder = prepared(
        tmp_path, f"clickme_data={data}", "image_shape=[24,24]", "min_subjects=1", "blur_size=5",
        f"metadata_file={tmp_path / 'sizes.json'}",
    )  # fmt: skip
    told = Silent()
    found = run(
        f"datasets=[{{name: clickmaps, root: {folder}}}]", "models=[center_bias]",
        f"output_dir={tmp_path / 'out'}", progress=told,
    )  # fmt: skip
    assert any("comes to the shape of this one" in text for text in told.notices)
    scores = scores_of(found, "center_bias")["CC"]
    assert scores["n_people_images"] == scores["n_images"] == 4
    assert all(math.isfinite(scores[part]) for part in ("mean", "ceiling", "null"))


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[Path, Path, Path]:
    """The simulation, prepared; its expected maps; and each image's from another category."""
    folder = tmp_path_factory.mktemp("simulation")
    simulation = Simulation(seed=3)
    rows = []
    settings = MapSettings.from_config(load_experiment(None, []).config)
    expected: dict[str, np.ndarray] = {}
    for image in simulation.images():
        path = folder / "images" / image.key
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.pixels).save(path)
        rows += [(image.key, user, clicks) for user, clicks in simulation.trials_of(image)]
        expected[image.key] = expected_map(image.density, settings)
    trials = folder / "trials.csv"
    with trials.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image_path", "clicks", "user_id"))
        writer.writerows((key, format_clicks(clicks), user) for key, user, clicks in rows)
    where = prepared(folder, f"clickme_data={trials}", f"image_dir={folder / 'images'}")
    keys = sorted(expected)
    rng = np.random.default_rng(0)
    for name in ("expected", "another"):
        (folder / name).mkdir()
    for key in keys:
        flat = key.replace("/", "_")
        np.save(folder / "expected" / f"{flat}.npy", expected[key])
        elsewhere = [k for k in keys if k.split("/")[0] != key.split("/")[0]]
        np.save(folder / "another" / f"{flat}.npy", expected[rng.choice(elsewhere)])
    return where, folder / "expected", folder / "another"


def test_the_truth_lies_between_ceiling_and_upper_bound_and_another_image_at_zero(
    study, tmp_path
) -> None:
    folder, expected, another = study
    found = run(
        f"datasets=[{{name: clickmaps, root: {folder}}}]", "metrics=[CC,NSS]",
        f"models=[{{name: truth, type: precomputed, root: {expected}}},"
        f"{{name: another, type: precomputed, root: {another}}},gold_standard]",
        f"output_dir={tmp_path / 'out'}", "cache_predictions=false",
    )  # fmt: skip
    config = load_experiment(None, [
        f"clickme_data={folder}", f"assets={tmp_path / 'assets'}", "metric=pearson",
    ]).config  # fmt: skip
    figures = CeilingFigures(draw_ceiling, draw_curve)
    people = ceiling.run(config, "hold-one-out", Silent(), figures)[0].summary.summary.as_json()
    truth = scores_of(found, "truth")["CC"]
    upper = (people["upper_mean"] - truth["null"]) / (truth["ceiling"] - truth["null"])
    low, high = truth["normalised_ci"]
    assert high >= 1
    assert low <= upper
    assert 1 - (high - low) <= truth["normalised"] <= upper + (high - low)
    # AUC is left out: a map that is nowhere constant orders what sparse maps leave tied
    for metric in ("CC", "NSS"):
        wrong = scores_of(found, "another")[metric]
        assert wrong["normalised_ci"][0] <= 0 <= wrong["normalised_ci"][1], metric
        gold = scores_of(found, "gold_standard")[metric]["normalised"]
        assert gold == pytest.approx(1, abs=1e-9)


OSIE = SHARED / "osie"


@pytest.mark.skipif(not OSIE.is_dir(), reason="the OSIE eye fixations are not on this machine")
def test_eyes_on_osie(tmp_path) -> None:
    found = run(
        f"datasets=[{{name: fixations_csv, label: osie, csv: {OSIE / 'fixations_eye.csv'}, "
        f"images: {OSIE}}}]",
        "models=[uniform,center_bias,gold_standard]", "metrics=[AUC,NSS,CC]", "limit_images=6",
        "null_iterations=2", f"output_dir={tmp_path / 'out'}", "cache_predictions=false",
    )  # fmt: skip
    for metric in ("AUC", "NSS", "CC"):
        gold, centre, uniform = (
            scores_of(found, model)[metric] for model in ("gold_standard", "center_bias", "uniform")
        )
        assert gold["mean"] > centre["mean"] > uniform["mean"], metric
        assert gold["normalised"] == pytest.approx(1, abs=1e-12), metric


SALICON = SHARED / "salicon"


@pytest.mark.skipif(not SALICON.is_dir(), reason="the SALICON examples are not on this machine")
def test_mice_on_salicon(tmp_path) -> None:
    found = run(
        f"datasets=[{{name: salicon, fixations: {SALICON / 'fixations_train2014examples.json'}, "
        f"images: {SALICON / 'images'}}}]",
        "models=[uniform,center_bias,gold_standard]", "metrics=[AUC,NSS,CC]", "limit_images=2",
        "null_iterations=2", f"output_dir={tmp_path / 'out'}", "cache_predictions=false",
    )  # fmt: skip
    models = ("gold_standard", "center_bias", "uniform")
    for metric in ("AUC", "NSS", "CC"):
        # held against the same single people: a row's CC has everybody's map for its target
        order = [scores_of(found, model)[metric]["people"] for model in models]
        assert order == sorted(order, reverse=True), metric
        score = scores_of(found, "uniform")[metric]
        assert score["ceiling"] > score["null"], metric
