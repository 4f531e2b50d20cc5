"""A benchmark's result made by hand, with names that try to act as markup."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from clickmap_cli.reports.benchmark_html import write_report
from clickmap_cli.scoring.results import (
    BenchmarkResult,
    ComparisonRow,
    Failure,
    ImageScore,
    MetricSummary,
    ModelResult,
    PeopleScore,
)

METRICS = ("NSS", "KL", "CC")
EVIL = '</script><script>alert("1")</script>'
EVIL_IMAGE = '"><img src=x onerror=alert(2)>'
EVIL_MODEL = "<!--<script>{{data}}&amp;\u2028__proto__"
MODELS = ("flat", "sharp", EVIL_MODEL)
CATEGORIES = ("animals", EVIL, "streets")
N_IMAGES = 30
NOT_KEPT = "flat"


class Drawn:
    """Pictures of one colour, and how often each was asked for."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, ...]] = Counter()

    def image(self, dataset: str, image_id: str) -> Any:
        self.asked["image", dataset, image_id] += 1
        return np.full((30, 40, 3), 0.5, dtype=np.float32) if dataset == "toy" else None

    def truth(self, dataset: str, image_id: str) -> Any:
        self.asked["truth", dataset, image_id] += 1
        return np.eye(30)

    def prediction(self, dataset: str, model: str, image_id: str) -> Any:
        self.asked["prediction", dataset, model, image_id] += 1
        return None if model == NOT_KEPT else np.arange(1200.0).reshape(30, 40)


def score_of(dataset: str, model: int, metric: str, at: int) -> float:
    """Some score; one image has none by one metric."""
    if metric == "CC" and at == 4:
        return math.nan
    seed = (len(dataset), model, METRICS.index(metric), at)
    value = float(np.random.default_rng(seed).uniform(0.1, 0.9))
    # the sharper, the better: KL falls where the others rise
    return round(value + (-0.2 if metric == "KL" else 0.2) * model, 3)


def image_id(at: int) -> str:
    return EVIL_IMAGE if at == 7 else f"image_{at:02d}"


def model_result(dataset: str, model: int, people: bool) -> ModelResult:
    images = tuple(
        ImageScore(
            image_id(at),
            CATEGORIES[at % 3],
            {metric: score_of(dataset, model, metric, at) for metric in METRICS},
        )
        for at in range(N_IMAGES)
    )
    summary = []
    for metric in METRICS:
        scores = np.array([row.scores[metric] for row in images])
        known = scores[~np.isnan(scores)]
        mean = float(known.mean())
        of_people = (
            (mean / 2, 0.6, 0.55, 0.65, 0.1, 0.05, 0.15, (mean / 2 - 0.1) / 0.5, 0.2, 0.9, 30)
            if people
            else (*[math.nan] * 10, 0)
        )
        summary.append(
            MetricSummary(
                metric,
                len(known),
                len(scores) - len(known),
                mean,
                mean - 0.05,
                mean + 0.05,
                *of_people,
            )
        )
    return ModelResult(dataset, MODELS[model], images, tuple(summary), 1 if model == 2 else 0)


def made_result() -> BenchmarkResult:
    return BenchmarkResult(
        EVIL,
        Path("nowhere"),
        METRICS,
        tuple(
            model_result(dataset, model, people=dataset == "toy")
            for dataset in ("toy", EVIL)
            for model in range(3)
        ),
        {"toy": tuple(PeopleScore(image_id(at), 12, {}, {}) for at in range(N_IMAGES))},
        (
            ComparisonRow(
                "toy", "NSS", "flat", "sharp", 30, 0.5, 0.7, -0.2, -0.3, -0.1, 1e-5, 3e-5
            ),
            ComparisonRow(EVIL, "KL", "flat", EVIL_MODEL, 30, 0.5, 0.1, 0.4, 0.3, 0.5, 0.04, 0.08),
        ),
        (Failure("toy", "", image_id(7), f"it says {EVIL}"),),
    )


def write(path: Path, result: BenchmarkResult, n_images: int = 5) -> str:
    write_report(result, Drawn(), path, n_images)
    return path.read_text(encoding="utf-8")
