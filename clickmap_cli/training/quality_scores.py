"""How well the participant-quality model does on people whom it has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.user_lists import BAD
from clickmap_cli.metrics.classification import Reliability, brier, reliability, roc_auc
from clickmap_cli.metrics.platt import fit_platt
from clickmap_cli.metrics.uncertainty import RESAMPLES, percentile_interval
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.training.quality_folds import NO_FOLD


@dataclass(frozen=True)
class HeldOutQuality:
    """Held-out participants, each judged by a network and a calibration that had not seen them.

    Attributes:
        user: (n) codes of the participants who were judged.
        bad: (n) which are careless or cheating.
        probability: (n) of being so.
        auc: area under the ROC curve of the probabilities.
        auc_ci: 95% percentile interval over participants, each kind resampled; of no width where
            no good participant comes near a bad one.
        accuracy: share on their own side of the threshold.
        brier: mean squared difference of probability and truth.
        reliability: how often what was foretold came about, in ten bins.
    """

    user: NDArray[np.int64]
    bad: NDArray[np.bool_]
    probability: NDArray[np.float64]
    auc: float
    auc_ci: tuple[float, float]
    accuracy: float
    brier: float
    reliability: Reliability


def held_out_quality(
    scores: NDArray[np.float64],
    labels: NDArray[np.int8],
    folds: NDArray[np.int64],
    threshold: float,
    seed: int,
) -> HeldOutQuality:
    """What held-out scores are worth.

    A fold's probabilities come from the calibration of the other folds' scores, so that nobody's
    label is in what they are judged by. (The calibration that a checkpoint carries takes all.)

    Args:
        scores: (users) mean logits of held-out participants, NaN where there is none.
        labels: (users) `GOOD`, `BAD` or unlisted.
        folds: (users) in which each was held out, or `NO_FOLD`.
        threshold: of the probability, from which on somebody is flagged.
        seed: of the bootstrap.

    Raises:
        ValueError: without one fold, the others lack a kind of participant.
    """
    user = np.flatnonzero((folds != NO_FOLD) & ~np.isnan(scores))
    score, bad, fold = scores[user], labels[user] == BAD, folds[user]
    probability = np.empty(len(user))
    for held in np.unique(fold):
        out = fold == held
        probability[out] = fit_platt(score[~out], bad[~out]).probabilities(score[out])
    drawn = _bootstrap_auc(probability, bad, generator(seed, "quality", "auc"))
    return HeldOutQuality(
        user=user,
        bad=bad,
        probability=probability,
        auc=roc_auc(probability, bad),
        auc_ci=percentile_interval(drawn),
        accuracy=float(np.mean((probability >= threshold) == bad)),
        brier=brier(probability, bad),
        reliability=reliability(probability, bad),
    )


def _bootstrap_auc(
    probability: NDArray[np.float64], bad: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float64]:
    """AUCs of resamples that have as many participants of each kind."""
    good_at, bad_at = np.flatnonzero(~bad), np.flatnonzero(bad)
    found = np.empty(RESAMPLES)
    for at in range(RESAMPLES):
        drawn = np.concatenate((rng.choice(good_at, len(good_at)), rng.choice(bad_at, len(bad_at))))
        found[at] = roc_auc(probability[drawn], bad[drawn])
    return found
