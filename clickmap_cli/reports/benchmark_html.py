"""A benchmark's page: one HTML file that is opened from disk and loads no other file."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.metrics.ranks import best_and_worst
from clickmap_cli.metrics.saliency import SALIENCY_SCORES
from clickmap_cli.reports.html_parts import build_page, encode_jpeg, json_text, source
from clickmap_cli.reports.overlays import colour_map, scale_map, to_bytes
from clickmap_cli.reports.style import HEAT
from clickmap_cli.scoring.results import BenchmarkResult, ModelResult, Pictures
from clickmap_cli.scoring.summaries import RANDOM_DRAWS

MOST_PICTURES = 20_000
"""Most pictures in one page; beyond this, those of the least extreme images are left out."""

SIGNIFICANT = 5
"""Significant digits of an image's score in the page."""

_SCRIPTS = (
    "dom.js", "model.js", "tables.js", "charts.js", "leaderboard.js", "images.js", "report.js",
)  # fmt: skip

_MEANINGS = {
    "AUC": "Area under the ROC of fixated pixels against all pixels, ties half; chance is 0.5.",
    "AUC_Judd": "Area under the ROC of fixated against unfixated pixels, thresholds at fixated "
    "values; chance is 0.5.",
    "sAUC": "Area under the ROC of fixated pixels against other images' fixations, which a centre "
    "bias cannot win; chance is 0.5.",
    "NSS": "Mean over fixations of the prediction in standard deviations from its mean; "
    "chance is 0.",
    "IG": "Information gain: bits per fixation that the prediction gains over a centre bias.",
    "CC": "Pearson's correlation of prediction and ground-truth map.",
    "CC_mask": "Pearson's correlation where either min-max scaled map exceeds 0.0001.",
    "KL": "Kullback-Leibler divergence of the ground-truth density from the prediction, in nats.",
    "SIM": "Histogram intersection of both densities: 1 where they are equal.",
    "EMD": "Earth mover's distance between both densities, in image diagonals.",
    "MAE": "Mean absolute difference of both maps.",
    "MSE": "Mean squared difference of both maps.",
    "Spearman": "Rank correlation of the two maps.",
}

PHOTO_SIDE = 200
"""Longest side of an image's thumbnail, in pixels."""

MAP_SIDE = 160
"""Longest side of a map's thumbnail, in pixels; a browser may enlarge maps, which are smooth."""

_QUALITY = 70

Score = float | None


def write_report(result: BenchmarkResult, pictures: Pictures, path: Path, n_images: int) -> None:
    """Write the page; equal results and pictures give equal bytes.

    Args:
        result: result of the benchmark.
        pictures: source of pictures; each picture is requested at most once.
        path: the file.
        n_images: number of best and of worst images shown per data set, model and metric.
    """
    data = _data(result, n_images)
    page = build_page(
        "page", "report", [source("page", name) for name in _SCRIPTS],
        title=result.experiment, notices=result.notices, images="data:",
        data=json_text(data), pictures=json_text(_pictures(data, result.metrics, pictures)),
        **{name: f"{count:,}" for name, count in RANDOM_DRAWS.items()},
    )  # fmt: skip
    path.write_bytes(page)


def _data(result: BenchmarkResult, n_images: int) -> dict[str, Any]:
    """Return all data of the page except pictures."""
    return {
        "experiment": result.experiment,
        "n_shown": n_images,
        "metrics": [
            {
                "name": metric,
                "higher": SALIENCY_SCORES[metric].higher_is_better,
                "signed": SALIENCY_SCORES[metric].range[0] < 0,
                "meaning": _MEANINGS.get(metric, ""),
                "reference": SALIENCY_SCORES[metric].reference,
            }
            for metric in result.metrics
        ],
        "datasets": [
            _dataset(label, result)
            for label in dict.fromkeys(model.dataset for model in result.models)
        ],
        "dives": [_finite(asdict(row)) for row in result.dives],
        "comparisons": [_finite(asdict(row)) for row in result.comparisons],
        "failures": [asdict(row) for row in result.failures],
    }


def _dataset(label: str, result: BenchmarkResult) -> dict[str, Any]:
    """Return the columns of a data set, with one entry for each image of which there are scores."""
    models = [model for model in result.models if model.dataset == label]
    category = {row.image_id: row.category for model in models for row in model.images}
    images = sorted(category)
    categories = sorted(set(category.values()))
    code = {name: at for at, name in enumerate(categories)}
    n_people = {row.image_id: row.n_people for row in result.people.get(label, ())}
    return {
        "name": label,
        "images": images,
        "categories": categories,
        "category_of": [code[category[image]] for image in images],
        "n_people": [n_people.get(image, 0) for image in images],
        "models": [_model(model, images, result.metrics) for model in models],
    }


def _model(model: ModelResult, images: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    """Return a model's summary, and for each metric one score per image, None without one."""
    scores = {row.image_id: row.scores for row in model.images}
    summary = {row.metric: _finite(asdict(row)) for row in model.summary}
    return {
        "name": model.model,
        "people": model.is_people,
        "n_failed": model.n_failed,
        "placement": model.placements,
        "scored": [int(image in scores) for image in images],
        "scores": [
            [
                _rounded(scores[image].get(metric, math.nan)) if image in scores else None
                for image in images
            ]
            for metric in metrics
        ],
        "summary": [summary[metric] for metric in metrics],
    }


def _pictures(
    data: Mapping[str, Any], metrics: Sequence[str], pictures: Pictures
) -> list[dict[str, Any]]:
    """Return thumbnails of the best and worst images, each once, by position of the image.

    A picture that does not exist is None; a picture that is left out has no entry.
    """
    datasets = data["datasets"]
    lists = [
        ((d, m), positions)
        for d, dataset in enumerate(datasets)
        for m, model in enumerate(dataset["models"])
        for scores, metric in zip(model["scores"], metrics, strict=True)
        for positions in _shown(scores, metric, data["n_shown"])
    ]
    store: list[dict[str, Any]] = [
        {"image": {}, "truth": {}, "predictions": [{} for _ in dataset["models"]]}
        for dataset in datasets
    ]
    n_drawn = 0
    for (d, m), at in interleave(lists):
        if n_drawn >= MOST_PICTURES:
            break
        held, dataset = store[d], datasets[d]["name"]
        image, model = datasets[d]["images"][at], datasets[d]["models"][m]["name"]
        if at not in held["image"]:
            held["image"][at] = photo(pictures.image(dataset, image))
            held["truth"][at] = heat(pictures.truth(dataset, image))
            n_drawn += 2
        if at not in held["predictions"][m]:
            held["predictions"][m][at] = heat(pictures.prediction(dataset, model, image))
            n_drawn += 1
    return store


def _shown(scores: Sequence[Score], metric: str, n_images: int) -> list[list[int]]:
    """Return positions of the best and worst images, and of those nearest to 0 if signed."""
    score = SALIENCY_SCORES[metric]
    best, worst = find_extremes(scores, score.higher_is_better, n_images)
    return [best, worst, *([find_nearest_zero(scores, n_images)] if score.range[0] < 0 else [])]


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: _finite(v) if isinstance(v, Mapping) else v for key, v in row.items()}
    return {key: _number(v) if isinstance(v, float) else v for key, v in plain.items()}


def _number(value: float) -> Score:
    """Return a number that JSON can hold: None for NaN, the largest number for infinity."""
    if math.isnan(value):
        return None
    return math.copysign(sys.float_info.max, value) if math.isinf(value) else float(value)


def _rounded(value: float) -> Score:
    return _number(float(f"{value:.{SIGNIFICANT}g}"))


def find_extremes(
    scores: Sequence[float | None], higher_is_better: bool, n: int
) -> tuple[list[int], list[int]]:
    """Return positions of the `n` best and the `n` worst scores, the most extreme first.

    No position is in both.

    Args:
        scores: one score per image; None is left out.
        higher_is_better: True if the largest score is the best.
        n: largest length of each list.

    Returns:
        The best and the worst; of equal scores the earlier position comes first in both.
    """
    known = [(score, at) for at, score in enumerate(scores) if score is not None]
    up = sorted(known)
    down = sorted(known, key=lambda pair: (-pair[0], pair[1]))
    best, worst = (down, up) if higher_is_better else (up, down)
    n_best, n_worst = best_and_worst(len(known), n)
    first = [at for _, at in best[:n_best]]
    return first, [at for _, at in worst if at not in first][:n_worst]


def find_nearest_zero(scores: Sequence[float | None], n: int) -> list[int]:
    """Return positions of the `n` scores nearest to zero; the earlier one first if equally near."""
    known = sorted((abs(score), at) for at, score in enumerate(scores) if score is not None)
    return [at for _, at in known[:n]]


def interleave(lists: Sequence[tuple[Any, Sequence[int]]]) -> Iterator[tuple[Any, int]]:
    """Yield (owner, position) of all first positions, then of all second ones, and so on."""
    for rank in range(max((len(positions) for _, positions in lists), default=0)):
        for owner, positions in lists:
            if rank < len(positions):
                yield owner, positions[rank]


def photo(image: NDArray[Any] | None) -> str | None:
    """Return an image as base64 of a small JPEG; None stays None.

    Args:
        image: (h, w, 3) RGB in 0..1.
    """
    from PIL import Image

    if image is None or not image.size:
        return None
    picture = Image.fromarray(to_bytes(image))
    return encode_jpeg(
        picture.resize(_fitted(picture.size, PHOTO_SIDE), Image.Resampling.BOX), _QUALITY
    )


def heat(values: NDArray[Any] | None) -> str | None:
    """Return a map as base64 of a small JPEG, coloured from least to greatest; None stays None.

    Args:
        values: (h, w), any scale; values that are not finite count as 0.
    """
    from PIL import Image

    if values is None or not values.size:
        return None
    known = np.nan_to_num(values.astype(np.float32, copy=False), posinf=0.0, neginf=0.0)
    if np.ptp(known) == 0:  # area means of a constant map might differ by rounding
        known = np.zeros_like(known)
    picture = Image.fromarray(known)
    small = np.asarray(picture.resize(_fitted(picture.size, MAP_SIDE), Image.Resampling.BOX))
    return encode_jpeg(Image.fromarray(colour_map(scale_map(small, "minmax"), HEAT)), _QUALITY)


def _fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return (width, height) that fits a square of this side, without enlarging."""
    scale = min(side / max(size), 1.0)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
