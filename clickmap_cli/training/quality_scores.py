"""Performance of the participant-quality model on held-out people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.participants import BAD
from clickmap_cli.metrics.classification import Reliability, fit_platt, reliability, roc_auc
from clickmap_cli.metrics.uncertainty import RESAMPLES, percentile_interval
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.training.folds import NO_FOLD


@dataclass(frozen=True)
class HeldOutQuality:
    """Held-out participants, each judged by a network and a calibration trained without them.

    Attributes:
        user: (n) codes of the judged participants.
        bad: (n) True for those who are careless or cheating.
        probability: (n) predicted probability of being bad.
        auc: area under the ROC curve of the probabilities.
        auc_ci: 95% percentile interval over participants, good and bad ones resampled separately;
            its width is 0 if no good participant comes near a bad one.
        accuracy: share of participants on the correct side of the threshold.
        brier: mean squared difference between probability and label.
        reliability: predicted and observed frequencies, in ten bins.
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
    """Score the predictions for held-out participants.

    A fold's probabilities come from a calibration on the other folds' scores, so that no label
    influences the prediction for its own participant. (The calibration in a checkpoint uses all
    folds.)

    Args:
        scores: (users) mean logits of held-out participants, NaN where missing.
        labels: (users) `GOOD`, `BAD` or unlisted.
        folds: (users) fold in which each was held out, or `NO_FOLD`.
        threshold: lowest probability at which a participant is flagged.
        seed: seed of the bootstrap.

    Raises:
        ValueError: without one fold, the others lack good or bad participants.
    """
    from sklearn.metrics import brier_score_loss

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
        brier=float(brier_score_loss(bad, probability)),
        reliability=reliability(probability, bad),
    )


def _bootstrap_auc(
    probability: NDArray[np.float64], bad: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Compute AUCs of resamples with the same numbers of good and bad participants."""
    good_at, bad_at = np.flatnonzero(~bad), np.flatnonzero(bad)
    found = np.empty(RESAMPLES)
    for at in range(RESAMPLES):
        drawn = np.concatenate((rng.choice(good_at, len(good_at)), rng.choice(bad_at, len(bad_at))))
        found[at] = roc_auc(probability[drawn], bad[drawn])
    return found
