"""Scores of saliency models against pysaliency's own functions, on images of 800 x 600.

Run it with: python -m tests.benchmarks.saliency
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from clickmap_cli.metrics.saliency import Places, Prediction, Target, score_prediction
from clickmap_cli.metrics.views import MapView
from tests.benchmarks import common

TARGET = 5
LARGEST_DIFFERENCE = 1e-9
IMAGES, SIZE, SIGMA = 20, (600, 800), 19
FIXATIONS = 140  # of some 15 people
NAMES = ["AUC", "AUC_Judd", "sAUC", "NSS", "CC", "KL", "SIM"]
"""The default set without IG: pysaliency has no such score of a map."""

Scores = dict[str, float]


def require_pysaliency() -> Any:
    """The reference; a benchmark without it says so and ends."""
    # compiled code of pysaliency calls what NumPy 2.4 has renamed
    if not hasattr(np, "trapz"):
        vars(np)["trapz"] = np.trapezoid
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pysaliency
    except ImportError:
        sys.exit("pysaliency is not installed; pip install 'clickmap[pysaliency]'")
    return pysaliency


class Study:
    """Images with everybody's fixations, their ground-truth maps and a network's predictions."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        height, width = SIZE
        self.predictions, self.truths, x, y, n = [], [], [], [], []
        for image in range(IMAGES):
            where = gaussian_filter(rng.standard_normal(SIZE), 40)
            chance = np.exp(3 * where / where.std()).ravel()
            pixels = rng.choice(chance.size, FIXATIONS, p=chance / chance.sum())
            rows, columns = np.divmod(pixels, width)
            counts = np.bincount(pixels, minlength=height * width).reshape(SIZE)
            self.truths.append(gaussian_filter(counts.astype(float), SIGMA).astype(np.float32))
            noise = gaussian_filter(rng.standard_normal(SIZE), 30)
            logit = where / where.std() + noise / noise.std()
            self.predictions.append((1 / (1 + np.exp(-logit))).astype(np.float32))
            x.append(columns)
            y.append(rows)
            n.append(np.full(FIXATIONS, image))
        self.x, self.y, self.n = (np.concatenate(part) for part in (x, y, n))


def ours(study: Study) -> list[Scores]:
    """From maps and fixations to scores."""
    flat = study.y * SIZE[1] + study.x

    def score(image: int) -> Scores:
        mine = study.n == image
        truth = MapView(study.truths[image])
        target = Target(_places(flat[mine]), truth, _places(flat[~mine]))
        return score_prediction(NAMES, Prediction(study.predictions[image]), target)

    return [score(image) for image in range(IMAGES)]


def _places(flat: np.ndarray) -> Places:
    places, counts = np.unique(flat, return_counts=True)
    return places, counts.astype(np.float64)


def reference(study: Study, pysaliency: Any) -> Callable[[], list[Scores]]:
    """The same by pysaliency; its objects, and maps in double precision, are made beforehand."""
    from pysaliency.metrics import CC, SIM, MIT_KLDiv

    class Given(pysaliency.SaliencyMapModel):
        def _saliency_map(self, stimulus: np.ndarray) -> np.ndarray:
            return maps[int(stimulus[0, 0, 0])]

    pictures = [np.full((*SIZE, 3), image, np.uint8) for image in range(IMAGES)]
    stimuli = pysaliency.Stimuli(pictures)
    fixations = pysaliency.Fixations.create_without_history(study.x, study.y, study.n)
    maps = [values.astype(np.float64) for values in study.predictions]
    truths = [truth.astype(np.float64) for truth in study.truths]
    model = Given(caching=False)

    def job() -> list[Scores]:
        judd = {"nonfixations": "unfixated", "thresholds": "fixations"}
        columns = {
            "AUC": model.AUC_per_image(stimuli, fixations, nonfixations="uniform"),
            "AUC_Judd": model.AUC_per_image(stimuli, fixations, **judd),
            "sAUC": model.AUC_per_image(stimuli, fixations, nonfixations="shuffled"),
        }
        nss = model.NSSs(stimuli, fixations)
        columns["NSS"] = [nss[study.n == image].mean() for image in range(IMAGES)]
        pairs = list(zip(maps, truths, strict=True))
        columns["CC"] = [CC(p, t) for p, t in pairs]
        with np.errstate(divide="ignore"):  # it takes the logarithm of 0
            columns["KL"] = [MIT_KLDiv(p, t) for p, t in pairs]
        columns["SIM"] = [SIM(p, t) for p, t in pairs]
        return [{name: float(columns[name][at]) for name in NAMES} for at in range(IMAGES)]

    return job


def main() -> None:
    """Print both times, their ratio and the largest difference, which may end the run with 1."""
    pysaliency = require_pysaliency()
    study = Study()
    theirs = reference(study, pysaliency)
    # start-up (imports, compilation, first pages of memory) is excluded
    wanted, found = theirs(), ours(study)
    slow = fast = float("inf")
    for _ in range(5):  # in turn, so that whatever else the machine does meets both
        slow = min(slow, common.seconds(theirs))
        fast = min(fast, common.seconds(lambda: ours(study)))
    worst = max(
        abs(mine[name] - other[name])
        for mine, other in zip(found, wanted, strict=True)
        for name in NAMES
    )
    slow, fast = (1000 * time / IMAGES for time in (slow, fast))
    sys.stdout.write(
        f"{', '.join(NAMES)} of an image of {SIZE[1]} x {SIZE[0]}: pysaliency {slow:.1f} ms, "
        f"clickmap {fast:.1f} ms, {slow / fast:.1f}x (target {TARGET}x); "
        f"largest difference {worst:.1e}\n"
    )
    if not worst <= LARGEST_DIFFERENCE:
        sys.exit(f"a value differs from pysaliency's by more than {LARGEST_DIFFERENCE:g}")


if __name__ == "__main__":
    main()
