"""Ceilings against the plain dense implementation, on the real OSIE mouse trials.

Run it with: python -m tests.benchmarks.ceiling
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clickmap_cli.config.experiment import METHODS
from clickmap_cli.config.loading import load_experiment
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.ceiling import run as ceiling
from clickmap_cli.services.ceiling.results import CeilingFigures, CeilingResult
from clickmap_cli.services.job import Outcome
from tests.benchmarks import common

SPLITS = NULLS = 10
TARGETS = {("split-half", "spearman"): 40, ("hold-one-out", "spearman"): 20}
Score = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


def spearman(prediction: np.ndarray, target: np.ndarray, clicks: np.ndarray) -> float:
    """SciPy's, as the scripts call it."""
    from scipy.stats import spearmanr

    return float(spearmanr(prediction.ravel(), target.ravel())[0])


def auc(prediction: np.ndarray, target: np.ndarray, clicks: np.ndarray) -> float:
    """Mean rank of clicked pixels, by SciPy's ranks."""
    from scipy.stats import rankdata

    ranks = rankdata(prediction.ravel())
    weight = clicks.ravel()
    return float(((ranks * weight).sum() / weight.sum() - 0.5) / ranks.size)


def iou_auc(prediction: np.ndarray, target: np.ndarray, clicks: np.ndarray) -> float:
    """One pass a pair of thresholds, as the scripts do."""
    p = (prediction - prediction.min()) / np.ptp(prediction)
    t = (target - target.min()) / np.ptp(target)
    levels = np.linspace(0, 1, 21)
    areas = []
    for cut in np.linspace(0.25, 0.75, 9):
        on = t >= cut
        iou = [np.logical_and(p >= s, on).sum() / np.logical_or(p >= s, on).sum() for s in levels]
        areas.append(np.trapezoid(iou, levels))
    return float(np.mean(areas))


SCORES: dict[str, Score] = {"spearman": spearman, "auc": auc, "iou_auc": iou_auc}


def dense_ceiling(source: Path, method: str, score: Score, images: int) -> float:
    """CSV to the mean ceiling over images (and its null), the scripts' way."""
    rng = np.random.default_rng(0)
    kernel = common.disk_kernel()
    trials = common.dense_trials(source)
    keys = sorted(trials)[:images]
    counts = {key: [np.zeros((256, 256)) for _ in trials[key]] for key in keys}
    maps = {}
    for key in keys:
        maps[key] = common.dense_maps(trials[key], kernel).numpy()
        for plane, clicks in zip(counts[key], trials[key], strict=True):
            for x, y in clicks:
                plane[y, x] += 1
    ceilings, nulls = [], []
    for key in keys:
        mine, points = maps[key], counts[key]
        n = len(mine)
        if method == "split-half":
            for _ in range(SPLITS):
                order = rng.permutation(n)
                a, b = order[: n // 2], order[n // 2 :]
                clicks = sum(points[i] for i in b)
                ceilings.append(score(mine[a].mean(0), mine[b].mean(0), clicks))
        else:
            for i in range(n):
                others = np.delete(mine, i, axis=0).mean(0)
                ceilings.append(score(others, mine[i], points[i]))
        for _ in range(NULLS):
            other = maps[keys[rng.integers(len(keys))]]
            if method == "split-half":
                half = rng.permutation(n)[: n // 2]
                far = other[rng.permutation(len(other))[: len(other) // 2]].mean(0)
                nulls.append(score(far, mine[half].mean(0), sum(points[i] for i in half)))
            else:
                i = int(rng.integers(n))
                nulls.append(score(other.mean(0), mine[i], points[i]))
    return float(np.mean(ceilings))


def main() -> None:
    """Print both times and their ratio for each method and metric."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--metrics", default="spearman,auc,iou_auc")
    parser.add_argument("--dense-images", type=int, default=0, help="of the slow metrics; 0 = all")
    given = parser.parse_args()
    torch.set_num_threads(common.THREADS)
    source = common.require_osie()
    for method in METHODS:
        for metric in given.metrics.split(","):
            with tempfile.TemporaryDirectory() as name:
                words = [
                    f"clickme_data={source}", f"assets={name}", "max_clicks=null",
                    f"metric={metric}", f"n_jobs={common.THREADS}", "duplicate_maps=keep_all",
                    f"randomization_iters={SPLITS}", f"null_iterations={NULLS}",
                ]  # fmt: skip
                config = load_experiment(None, words).config
                found: list[list[Outcome[CeilingResult]]] = []

                def ours(
                    config=config, method=method, name=name, found=found
                ) -> None:  # bound now, called in this turn of the loop
                    shutil.rmtree(Path(name) / "experiment", ignore_errors=True)
                    found.append(ceiling.run(config, method, Silent(), _blank()))

                ours()  # start-up (imports, worker processes) is excluded
                fast = common.seconds(ours, repeats=3)
            few = given.dense_images and metric == "iou_auc"
            n = given.dense_images if few else given.images
            means: list[float] = []
            slow = common.seconds(
                lambda method=method, metric=metric, n=n, means=means: means.append(
                    dense_ceiling(source, method, SCORES[metric], n)
                )
            )
            slow *= given.images / n
            target = TARGETS.get((method, metric))
            scaled = "" if n == given.images else " (scaled up)"
            sys.stdout.write(
                f"{method} {metric}: dense {slow:.1f} s{scaled}"
                f", clickmap {fast:.2f} s, {slow / fast:.0f}x"
                f"{f' (target {target}x)' if target else ''}; ceilings {means[0]:.4f} and "
                f"{found[0][0].summary.summary.as_json()['ceiling_mean']:.4f}\n"
            )
            sys.stdout.flush()


def _blank() -> CeilingFigures:
    """Figures are not part of the comparison; a byte replaces each."""

    def draw(_: CeilingResult, path: Path) -> None:
        path.write_bytes(b"-")

    return CeilingFigures(draw, draw)


if __name__ == "__main__":
    main()
