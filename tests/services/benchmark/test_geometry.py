"""Predictions and photographs of several shapes: what is scored is what people clicked on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from clickmap_cli.config.loading import BENCHMARK, load_config, load_experiment
from clickmap_cli.reports.benchmark_figures import draw_heatmap
from clickmap_cli.reports.prepare import draw_example
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.scoring.tables import as_summary
from clickmap_cli.services.benchmark import run as benchmark
from clickmap_cli.services.benchmark.pictures import BenchmarkFigures
from clickmap_cli.services.prepare import run as prepare
from clickmap_cli.storage.manifest import load_manifest
from tests.helpers.studies import write_csv

ORIENTATIONS = ((48, 64), (64, 48))  # height, width of the photographs
MODELS = {"good": 0.0, "fair": 0.6, "poor": 1.5}
"""Model -> how much of another, random density is mixed into the true one."""


def density(rng, size) -> np.ndarray:
    """Two blobs, the second far from the middle, where a crop takes something away."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width]
    total = np.zeros(size)
    for _ in range(3):
        cy, cx = rng.uniform(0.1, 0.9, 2) * size
        total += np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 5.0**2))
    return total / total.sum()


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """Photographs of two orientations, clicks drawn from known densities, maps of three models."""
    folder = tmp_path_factory.mktemp("orientations")
    rng = np.random.default_rng(5)
    rows, sizes = [], {}
    for at in range(12):
        size = ORIENTATIONS[at % 2]
        key = f"i{at:02d}.png"
        sizes[key] = size[::-1]
        truth = density(rng, size)
        photo = np.uint8(255 * gaussian_filter(truth, 1) / truth.max())
        (folder / "images").mkdir(exist_ok=True)
        Image.fromarray(photo).save(folder / "images" / key)
        for name, share in MODELS.items():
            values = truth + share * density(rng, size)
            (folder / name).mkdir(exist_ok=True)
            np.save(folder / name / f"i{at:02d}.npy", values)
        for user in range(8):
            flat = rng.choice(truth.size, 40, p=truth.ravel())
            clicks = [(int(f % size[1]), int(f // size[1])) for f in flat]
            rows.append((key, f"u{user}", clicks))
    (folder / "sizes.json").write_text(json.dumps(sizes))
    write_csv(folder / "trials.csv", rows)
    return folder


def prepared(study: Path, out: Path, *words: str) -> Path:
    config = load_experiment(None, [
        f"clickme_data={study / 'trials.csv'}", f"metadata_file={study / 'sizes.json'}",
        f"image_dir={study / 'images'}", f"assets={out}", "image_shape=[32,32]", "blur_size=5",
        "min_subjects=2", "display_image_keys=null", *words,
    ]).config  # fmt: skip
    return prepare.run(config, Silent(), draw_example).folder


def no_report(result, pictures, path, n_images) -> None:
    path.write_text("report")


def scored(experiment: Path, out: Path, maps: Path, *words: str, told=None):
    models = ",".join(f"{{name: {m}, type: precomputed, root: {maps / m}}}" for m in MODELS)
    config = load_config(BENCHMARK, None, [
        f"datasets=[{{name: clickmaps, label: d, root: {experiment}}}]", f"models=[{models}]",
        f"output_dir={out}", "metrics=[AUC,NSS,CC,KL]", "null_iterations=3", "n_jobs=1", *words,
    ]).config  # fmt: skip
    figures = BenchmarkFigures(draw_heatmap, no_report)
    return benchmark.run(config, told or Silent(), figures)


def results(found) -> list[dict]:
    return as_summary(found.summary)["results"]


def order(found, metric: str) -> list[str]:
    sign = -1 if metric == "KL" else 1
    means = {row.model: sign * row.score(metric).mean for row in found.summary.models}
    return sorted(means, key=lambda name: -means[name])


CROPS = {"whole": (), "cropped": ("center_crop=[28,28]",), "wide crop": ("center_crop=[20,30]",)}


@pytest.mark.parametrize("crop", CROPS)
def test_maps_of_the_photographs_keep_the_true_order(study, tmp_path, crop) -> None:
    experiment = prepared(study, tmp_path / "assets", *CROPS[crop])
    told = Silent()
    found = scored(experiment, tmp_path / "out", study, told=told)
    assert len(found.failures) == 0
    for metric in ("AUC", "NSS", "CC", "KL"):
        assert order(found, metric) == list(MODELS), metric
    action = "scaled and cropped" if CROPS[crop] else "scaled"
    for row in as_summary(found.summary)["results"]:
        assert row["placement"] == {action: 12}
    table = (tmp_path / "out" / "d__good.csv").read_text().splitlines()
    assert table[0].endswith(",placement")
    assert all(line.endswith(f",{action}") for line in table[1:])
    manifest = load_manifest(tmp_path / "out")
    assert manifest is not None
    assert manifest.counts["placement"]["d"]["good"] == {action: 12}
    predicting = Silent()
    scored(experiment, tmp_path / "alone", study, "predict_only=true", told=predicting)
    said = [text for text in told.notices if "cropped like the clicks" in text]
    assert said == [text for text in predicting.notices if "cropped like the clicks" in text]
    assert len(said) == (len(MODELS) if CROPS[crop] else 0)
    assert all(text in manifest.notices for text in said)


def test_maps_cropped_by_their_owner_score_as_those_of_the_photographs(study, tmp_path) -> None:
    experiment = prepared(study, tmp_path / "assets", "center_crop=[28,28]")
    by_us = scored(experiment, tmp_path / "out", study)
    for name in MODELS:
        (tmp_path / "maps" / name).mkdir(parents=True)
        for path in sorted((study / name).glob("*.npy")):
            values = np.load(path)
            short = min(values.shape)
            size = tuple(int(side * 32 / short + 0.5) for side in values.shape)
            tall = np.array(
                Image.fromarray(values.astype(np.float32)).resize(
                    size[::-1], Image.Resampling.BILINEAR
                )
            )
            top, left = (round((side - 28) / 2) for side in size)
            np.save(tmp_path / "maps" / name / path.name, tall[top : top + 28, left : left + 28])
    told = Silent()
    by_owner = scored(experiment, tmp_path / "own", tmp_path / "maps", told=told)
    for ours, theirs in zip(results(by_us), results(by_owner), strict=True):
        assert theirs["placement"] == {"as it is": 12}
        for metric in ("AUC", "NSS", "CC"):
            wanted = ours["scores"][metric]["mean"]
            assert theirs["scores"][metric]["mean"] == pytest.approx(wanted, abs=2e-3)
    assert sum("taken as maps of the cropped image" in text for text in told.notices) == 3


@pytest.mark.parametrize("shape", [(40, 40), (28, 56)])
@pytest.mark.parametrize("crop", CROPS)
def test_a_map_of_any_other_shape_is_a_failure_that_names_both(
    study, tmp_path, crop, shape
) -> None:
    experiment = prepared(study, tmp_path / "assets", *CROPS[crop])
    for name in MODELS:
        (tmp_path / "maps" / name).mkdir(parents=True)
        for path in sorted((study / name).glob("*.npy")):
            picture = Image.fromarray(np.load(path).astype(np.float32))
            np.save(tmp_path / "maps" / name / path.name, np.array(picture.resize(shape[::-1])))
    found = scored(experiment, tmp_path / "out", tmp_path / "maps", "max_lost=1")
    assert len(found.failures) == 12 * len(MODELS)
    reason = as_summary(found.summary)["failures"][0]["reason"]
    assert f"{shape[0]} x {shape[1]}" in reason
    assert "48 x 64" in reason


def test_a_cached_prediction_is_of_its_own_geometry(study, tmp_path) -> None:
    """Crops of equal shape cut from maps of another scale are other predictions."""
    words = ("center_crop=[28,28]",)
    cache = f"prediction_cache_dir={tmp_path / 'cache'}"
    first = scored(prepared(study, tmp_path / "a", *words), tmp_path / "1", study, cache)
    wide = prepared(study, tmp_path / "b", *words, "image_shape=[40,40]")
    shared = scored(wide, tmp_path / "2", study, cache)
    fresh = scored(wide, tmp_path / "3", study)
    assert results(shared) == results(fresh) != results(first)
    again = scored(wide, tmp_path / "4", study, cache)  # now from the cache
    assert results(again) == results(fresh)


def test_photographs_with_another_aspect_ratio_than_their_clicks_are_refused(
    study, tmp_path
) -> None:
    experiment = prepared(study, tmp_path / "assets")
    turned = tmp_path / "images"
    turned.mkdir()
    for path in (study / "images").iterdir():
        Image.open(path).transpose(Image.Transpose.ROTATE_90).save(turned / path.name)
    config = load_config(BENCHMARK, None, [
        f"datasets=[{{name: clickmaps, root: {experiment}, image_dir: {turned}}}]",
        "models=[blur_baseline]", f"output_dir={tmp_path / 'out'}", "metrics=[NSS]", "n_jobs=1",
        "max_lost=1",
    ]).config  # fmt: skip
    found = benchmark.run(config, Silent(), BenchmarkFigures(draw_heatmap, no_report))
    assert len(found.failures) == 12
    assert "64 x 48 pixels" in as_summary(found.summary)["failures"][0]["reason"]
    assert "metadata_file" in as_summary(found.summary)["failures"][0]["reason"]
