"""RSA ceilings: agreement on a whole set of images at once."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.agreement import random_halves
from clickmap_cli.clickmaps.geometry import Size, resize
from clickmap_cli.clickmaps.maps import ClickStack, image_clicks
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.metrics.map_scores import rsa, similarity_matrix
from clickmap_cli.metrics.uncertainty import RESAMPLES
from clickmap_cli.metrics.views import MapView
from clickmap_cli.runtime.parallel import ordered_map
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.services.ceiling.results import CeilingResult
from clickmap_cli.services.ceiling.scores import Plan
from clickmap_cli.services.ceiling.summaries import summarise

Matrix = NDArray[np.float64]
_IN_MEMORY = 1 << 30


def rsa_ceiling(
    trials: Trials, settings: MapSettings, plan: Plan, n_jobs: int, progress: Progress
) -> CeilingResult:
    """Return the RSA ceiling of a set of images, which has no per-image table.

    Split halves: the similarity matrix within half A is compared with the one within half B.
    Hold-one-out: one random participant per image is compared with the means of the others. If
    maps have several shapes, all are resized to `image_shape`.
    """
    codes = np.flatnonzero(trials.people_per_image() >= 2)
    progress.stage(f"Scoring, {plan.method} rsa", plan.splits)
    pairs: list[tuple[Matrix, Matrix]] = []
    for split in range(plan.splits if len(codes) >= 3 else 0):
        pairs.append(_matrices(trials, settings, plan, codes, split, n_jobs))
        progress.advance()
    ceilings = np.array([rsa(a, b) for a, b in pairs])
    nulls = _nulls(pairs, plan)
    samples, null_samples = _bootstrap(pairs, plan)
    left_out = {
        "fewer than two participants": len(trials.images) - len(codes),
        "fewer than three images": 0 if pairs else len(codes),
    }
    summary = summarise(
        trials, codes.tolist() if pairs else [], plan, "rsa", (ceilings, samples),
        (nulls, null_samples), left_out, randomization_iters=plan.splits,
    )  # fmt: skip
    return CeilingResult(summary, (), (), raw_ceiling=(ceilings,), raw_null=(nulls,))


def _matrices(
    trials: Trials,
    settings: MapSettings,
    plan: Plan,
    codes: NDArray[np.intp],
    split: int,
    n_jobs: int,
) -> tuple[Matrix, Matrix]:
    """Return the two similarity matrices of one split, each (images, images)."""
    slices = trials.image_slices()
    # Pearson correlations between images need maps of one shape; maps that share one keep it
    finals = {settings.geometry((h, w)).final for h, w in trials.shape[codes].tolist()}
    shape = settings.image_shape if len(finals) > 1 else next(iter(finals))

    def sides(code: int) -> tuple[MapView, MapView]:
        users = trials.user[slices[code] : slices[code + 1]]
        stack = ClickStack(image_clicks(trials, slices, code), settings, users)
        key = str(trials.images[code])
        if plan.method == "split-half":
            halves = random_halves(stack.people, plan.splits, plan.seed, key)
            return stack.halves(*halves[split])
        chosen = generator(plan.seed, key, "rsa participant", str(split)).integers(len(stack))
        return stack.one(int(chosen)), stack.others(int(chosen))

    first: Any = None
    for at, (a, b) in enumerate(ordered_map(sides, codes.tolist(), n_jobs, "threading")):
        if first is None:
            first, second = (_store(len(codes), shape[0] * shape[1]) for _ in range(2))
        first[at], second[at] = _brought_to(a, shape).centred, _brought_to(b, shape).centred
    return similarity_matrix(first), similarity_matrix(second)


def _brought_to(view: MapView, shape: Size) -> MapView:
    """Return the map, resized if its shape differs."""
    if view.shape == shape:
        return view
    return MapView(resize(view.pixels.reshape(view.shape), shape))


def _store(rows: int, columns: int) -> Any:
    """Return a (rows, columns) array in memory, or in an unnamed file if it is too large."""
    if 8 * rows * columns <= _IN_MEMORY:
        return np.empty((rows, columns))
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.float64, "w+", shape=(rows, columns))


def _nulls(pairs: list[tuple[Matrix, Matrix]], plan: Plan) -> NDArray[np.float64]:
    """Return the null draws: RSA with the images of one side permuted."""
    rng = generator(plan.seed, "rsa null", plan.method)
    found = []
    for draw in range(plan.null_draws if pairs else 0):
        a, b = pairs[draw % len(pairs)]
        order = rng.permutation(len(b))
        found.append(rsa(a, b[np.ix_(order, order)]))
    return np.array(found, dtype=np.float64)


def _bootstrap(
    pairs: list[tuple[Matrix, Matrix]], plan: Plan
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return bootstrap samples of ceiling and null, resampling images and cycling through splits.

    Pairs of an image with its own copy are left out.
    """
    rng = generator(plan.seed, "bootstrap", plan.method, "rsa")
    ceiling, null = [], []
    for draw in range(RESAMPLES if pairs else 0):
        a, b = pairs[draw % len(pairs)]
        chosen = rng.integers(0, len(a), len(a))
        order = rng.permutation(len(a))
        apart = chosen[:, None] != chosen
        first = a[np.ix_(chosen, chosen)]
        ceiling.append(rsa(first, b[np.ix_(chosen, chosen)], apart))
        null.append(rsa(first, b[np.ix_(order[chosen], order[chosen])], apart))
    return np.array(ceiling, dtype=np.float64), np.array(null, dtype=np.float64)
