"""Turn raw scores of every image into the reported numbers: means, intervals, curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.trials import Trials
from clickmap_cli.metrics.map_scores import MapScore
from clickmap_cli.metrics.uncertainty import (
    RESAMPLES,
    bootstrap_grouped_means,
    bootstrap_means,
    known_mean,
    participants_needed,
    percentile_interval,
    robust_z,
    spearman_brown,
    spearman_brown_fit,
)
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.services.ceiling.results import (
    CategoryRow,
    CeilingResult,
    CeilingSummary,
    CurveRow,
    ImageRow,
    ParticipantRow,
    Scores,
    TrialRow,
)
from clickmap_cli.services.ceiling.scores import ImageScores, Plan

FLAGGED_BELOW = -3.0

LARGEST_RATIO = 100
"""A ratio of ceiling to null above this shows only that the null is almost 0."""


def ceiling_result(
    trials: Trials,
    scored: dict[int, ImageScores],
    score: MapScore,
    plan: Plan,
    bootstrap: str,
    target_reliability: float,
) -> CeilingResult:
    """Return the ceiling of one metric with everything that is reported.

    Args:
        trials: the trials that were scored.
        scored: image code -> raw scores.
        score: the metric.
        plan: the plan they were scored by.
        bootstrap: `images`, `participants` or `crossed`.
        target_reliability: target reliability for the subject curve.
    """
    slices = trials.image_slices()
    kept = {
        code: raw
        for code, raw in scored.items()
        if not math.isnan(known_mean(raw.ceiling[score.name]))
    }
    rows = tuple(_image_row(trials, slices, code, raw, score) for code, raw in kept.items())
    ceiling = np.array([row.ceiling for row in rows])
    null = np.array([row.null for row in rows])
    held: dict[str, Any] = {}
    more: dict[str, Any] = {}
    if plan.method == "hold-one-out":
        scores, image, user = _per_trial(trials, slices, kept, score.name)
        held["trials"] = tuple(
            TrialRow(str(trials.images[i]), str(trials.users[u]), float(s))
            for i, u, s in zip(image, user, scores, strict=True)
        )
        held["participants"] = _participants(trials, scores, image, user, score)
        more["n_flagged"] = sum(row.flagged for row in held["participants"])
        if score.pool is not None:
            more["upper_mean"] = known_mean([row.upper for row in rows])
    else:
        more["randomization_iters"] = plan.splits
        if score.is_correlation:
            more["spearman_brown_mean"] = known_mean([row.spearman_brown for row in rows])
    if plan.curve_sizes:
        held["curve"] = _curve(kept, score, plan)
        more |= _curve_summary(held["curve"], score, target_reliability)
    samples = _resamples(trials, slices, kept, score, plan, bootstrap, ceiling)
    left_out = {
        "fewer than two participants": len(trials.images) - len(scored),
        "no score (every target constant or empty)": len(scored) - len(kept),
    }
    return CeilingResult(
        summary=summarise(
            trials,
            list(kept),
            plan,
            score.name,
            (ceiling, samples),
            (null, bootstrap_means(null, _rng(plan, score, "null"))),
            left_out,
            higher_is_better=score.higher_is_better,
            bootstrap=bootstrap,
            **more,
        ),
        images=rows,
        categories=_categories(rows, plan, score),
        raw_ceiling=tuple(raw.ceiling[score.name] for raw in kept.values()),
        raw_null=tuple(raw.null[score.name] for raw in kept.values()),
        **held,
    )


def _image_row(
    trials: Trials, slices: NDArray[np.int64], code: int, raw: ImageScores, score: MapScore
) -> ImageRow:
    ceiling = known_mean(raw.ceiling[score.name])
    halves = not raw.upper and score.is_correlation
    users = trials.user[slices[code] : slices[code + 1]]
    return ImageRow(
        image_path=str(trials.images[code]),
        category=str(trials.categories[trials.category[code]]),
        n_participants=len(np.unique(users)),
        ceiling=ceiling,
        null=known_mean(raw.null[score.name]),
        upper=known_mean(raw.upper.get(score.name, np.empty(0))),
        spearman_brown=spearman_brown(ceiling) if halves else math.nan,
    )


def summarise(
    trials: Trials,
    codes: Sequence[int],
    plan: Plan,
    metric: str,
    ceiling: tuple[Scores, Scores],
    null: tuple[Scores, Scores],
    left_out: Mapping[str, int],
    *,
    higher_is_better: bool = True,
    bootstrap: str = "images",
    **more: Any,
) -> CeilingSummary:
    """Return a ceiling in numbers.

    Args:
        trials: the trials that were scored.
        codes: codes of the images that have a score.
        plan: the plan they were scored by.
        metric: its name.
        ceiling: scores, and bootstrap samples of their mean.
        null: the same of the null.
        left_out: reason -> number of images without a score.
        higher_is_better: whether higher scores mean more agreement.
        bootstrap: what the samples resample.
        more: numbers that only some methods and metrics have.
    """
    counted = np.isin(trials.image, codes)
    means = known_mean(ceiling[0]), known_mean(null[0])
    null_ci = percentile_interval(null[1])
    ratio, no_ratio = ratio_to_null(*means, null_ci[0], higher_is_better=higher_is_better)
    return CeilingSummary(
        method=plan.method, metric=metric, higher_is_better=higher_is_better,
        n_images=len(codes), n_maps=int(counted.sum()),
        n_participants=len(np.unique(trials.user[counted])),
        ceiling_mean=means[0], ceiling_ci=percentile_interval(ceiling[1]),
        null_mean=means[1], null_ci=null_ci, ratio=ratio, no_ratio=no_ratio,
        null_iterations=plan.null_draws, bootstrap=bootstrap, resamples=RESAMPLES, seed=plan.seed,
        left_out=left_out, **more,
    )  # fmt: skip


def ratio_to_null(
    ceiling: float, null: float, null_low: float, *, higher_is_better: bool
) -> tuple[float, str]:
    """Return ceiling / null and an empty text, or NaN and the reason.

    Args:
        ceiling: the mean ceiling.
        null: the mean null.
        null_low: lower end of the null's 95% interval.
        higher_is_better: whether higher scores mean more agreement.
    """
    if not higher_is_better:
        return math.nan, "lower scores are better"
    if math.isnan(ceiling) or math.isnan(null):
        return math.nan, f"there is no {'ceiling' if math.isnan(ceiling) else 'null'}"
    if null <= 0 or not null_low > 0:
        return math.nan, "the null is not above 0 throughout its 95% interval"
    if ceiling / null > LARGEST_RATIO:
        return math.nan, f"the ceiling is more than {LARGEST_RATIO} times the null"
    return ceiling / null, ""


def _resamples(
    trials: Trials,
    slices: NDArray[np.int64],
    kept: dict[int, ImageScores],
    score: MapScore,
    plan: Plan,
    bootstrap: str,
    ceiling: Scores,
) -> Scores:
    rng = _rng(plan, score, "ceiling")
    if bootstrap == "images":
        return bootstrap_means(ceiling, rng)
    scores, image, user = _per_trial(trials, slices, kept, score.name)
    return bootstrap_grouped_means(scores, image, user, rng, images=bootstrap == "crossed")


def _per_trial(
    trials: Trials, slices: NDArray[np.int64], kept: dict[int, ImageScores], name: str
) -> tuple[Scores, NDArray[np.int32], NDArray[np.int32]]:
    """Return the scores of all held-out participants with their image and user codes, (trials)."""
    if not kept:
        return np.empty(0), np.empty(0, np.int32), np.empty(0, np.int32)
    scores = np.concatenate([raw.ceiling[name] for raw in kept.values()])
    spans = [slice(slices[code], slices[code + 1]) for code in kept]
    return (
        scores,
        np.concatenate([trials.image[span] for span in spans]),
        np.concatenate([trials.user[span] for span in spans]),
    )


def _participants(
    trials: Trials,
    scores: Scores,
    image: NDArray[np.int32],
    user: NDArray[np.int32],
    score: MapScore,
) -> tuple[ParticipantRow, ...]:
    """Return a row per participant: mean score, and robust z of the distance from the median.

    The distance is the mean over trials of the score minus the median score of the same image; its
    sign is flipped if lower scores are better.
    """
    known = np.isfinite(scores)
    scores, image, user = scores[known], image[known], user[known]
    distance = np.empty(len(scores))
    bounds = np.flatnonzero(
        np.diff(image, prepend=-1, append=-1)
    )  # trials of an image are together
    for first, last in pairwise(bounds.tolist()):
        distance[first:last] = scores[first:last] - np.median(scores[first:last])
    if not score.higher_is_better:
        distance = -distance
    people, which = np.unique(user, return_inverse=True)
    n = np.bincount(which, minlength=len(people))
    z = robust_z(np.bincount(which, distance, minlength=len(people)) / n)
    means = np.bincount(which, scores, minlength=len(people)) / n
    return tuple(
        ParticipantRow(str(trials.users[person]), int(count), float(mean), float(value), bool(low))
        for person, count, mean, value, low in zip(
            people, n, means, z, z < FLAGGED_BELOW, strict=True
        )
    )


def _categories(rows: tuple[ImageRow, ...], plan: Plan, score: MapScore) -> tuple[CategoryRow, ...]:
    """Return a row per category, from the most to the least agreement between people."""
    found = []
    for name in sorted({row.category for row in rows}):
        mine = [row for row in rows if row.category == name]
        values = np.array([row.ceiling for row in mine])
        low, high = percentile_interval(
            bootstrap_means(values, _rng(plan, score, "category", name))
        )
        null = known_mean([row.null for row in mine])
        found.append(CategoryRow(name, len(mine), float(values.mean()), low, high, null))
    sign = -1 if score.higher_is_better else 1
    return tuple(sorted(found, key=lambda row: sign * row.ceiling))


def _curve(kept: dict[int, ImageScores], score: MapScore, plan: Plan) -> tuple[CurveRow, ...]:
    points = []
    for size in plan.curve_sizes:
        values = np.array(
            [known_mean(raw.curve[size][score.name]) for raw in kept.values() if size in raw.curve]
        )
        values = values[~np.isnan(values)]
        if len(values):
            samples = bootstrap_means(values, _rng(plan, score, "curve", str(size)))
            points.append((size, len(values), float(values.mean()), *percentile_interval(samples)))
    single = math.nan
    if score.is_correlation and points:
        single = spearman_brown_fit(
            np.array([p[0] for p in points]), np.array([p[2] for p in points])
        )
    return tuple(CurveRow(*point, fit=spearman_brown(single, point[0])) for point in points)


def _curve_summary(curve: tuple[CurveRow, ...], score: MapScore, target: float) -> dict[str, Any]:
    """Return the fit to the curve, and the participants needed for the target reliability."""
    if not score.is_correlation or not curve:
        names = ("single_participant_reliability", "participants_needed", "fit_error")
        return dict.fromkeys(names, math.nan)
    sizes = np.array([row.participants for row in curve])
    single = spearman_brown_fit(sizes, np.array([row.reliability for row in curve]))
    needed = participants_needed(single, target)
    return {
        "single_participant_reliability": single,
        "target_reliability": target,
        "participants_needed": int(needed) if math.isfinite(needed) else math.nan,
        # the theory holds for pearson and parallel halves; this is its largest error here
        "fit_error": max(abs(row.fit - row.reliability) for row in curve),
    }


def _rng(plan: Plan, score: MapScore, *purpose: str) -> np.random.Generator:
    return generator(plan.seed, "bootstrap", plan.method, score.name, *purpose)
