"""The task of the participant-quality model, and its performance on held-out people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from clickmap_cli.clickmaps.participants import BAD, GOOD
from clickmap_cli.clickmaps.trials import Bools, Trials
from clickmap_cli.metrics.classification import Reliability, fit_platt, reliability, roc_auc
from clickmap_cli.metrics.uncertainty import RESAMPLES, percentile_interval
from clickmap_cli.models.click_gru import (
    ClickGRU,
    FeatureSettings,
    compute_features,
    pad_trials,
)
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.training.folds import NO_FOLD
from clickmap_cli.training.tasks.base import Task, autocast


@dataclass(frozen=True)
class QualityExample:
    """A trial in the network's format.

    Attributes:
        clicks: (clicks, features) float32, on the CPU.
        bad: 1 if its participant is careless or cheating, else 0.
    """

    clicks: torch.Tensor
    bad: float


class QualityTask(Task):
    """Trials of known participants; items are row numbers of the table.

    No click of a held-out listed participant influences training: such people are not used as
    context either. Trials are mirrored left to right and upside down at random, so that a few
    careless trials represent many.

    Args:
        network: the network to train, on its device; its features are standardised here.
        trials: the table.
        labels: (users) `GOOD`, `BAD` or unknown.
        train: (users) True for people whose trials train.
        settings: choice of click features.
        seed: seed of the mirroring.

    Raises:
        DataError: the training people have no good or no bad participant with a click in an image.
        ValueError: a training participant has no label.
    """

    watched = ("accuracy",)
    noun = "trials"
    validation = ()

    def __init__(
        self,
        network: ClickGRU,
        trials: Trials,
        labels: NDArray[np.int8],
        train: Bools,
        settings: FeatureSettings,
        seed: int = 0,
    ) -> None:
        listed = (labels == GOOD) | (labels == BAD)
        if (~listed & train).any():
            raise ValueError("a participant without a label")
        self.network = network
        self._trials = trials
        self._labels = labels
        self._seed = seed
        self._columns = {name: at for at, name in enumerate(settings.names)}
        index: NDArray[np.int64] = np.flatnonzero(train[trials.user])
        self._features = compute_features(trials, index, settings, train | ~listed)
        # a trial without a click in its image teaches nothing
        self._place = {int(index[at]): int(at) for at in np.flatnonzero(self._features.lengths)}
        self.train = list(self._place)
        for kind, word in ((GOOD, "good"), (BAD, "bad")):
            if not any(self._label(item) == kind for item in self.train):
                raise DataError(
                    f"No trial of a {word} participant is left to learn from; list more of them."
                )
        network.standardise(self._features.values)

    def name(self, item: int) -> str:
        """Return the participant and the image of a trial."""
        trials = self._trials
        return f"{trials.users[trials.user[item]]} on {trials.images[trials.image[item]]}"

    def read(self, item: int, epoch: int | None) -> QualityExample:
        """Return one trial's features, mirrored at random if `epoch` is given."""
        clicks = self._features.trial(self._place[item])
        if epoch is not None:
            clicks = self._mirror(clicks, item, epoch)
        return QualityExample(torch.from_numpy(clicks), float(self._label(item) == BAD))

    def losses(
        self, batch: Sequence[QualityExample], precision: str
    ) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        """Compute binary cross-entropy of every trial in nats, and its logit."""
        device = next(self.network.parameters()).device
        clicks, lengths = pad_trials([example.clicks.numpy() for example in batch])
        with autocast(self.network, precision):
            logits = self.network(clicks.to(device), lengths)
        logits = logits.float()
        bad = torch.tensor([example.bad for example in batch], device=device)
        losses = functional.binary_cross_entropy_with_logits(logits, bad, reduction="none")
        return losses, list(logits.detach())

    def scores(self, example: QualityExample, output: torch.Tensor) -> dict[str, float]:
        """Return accuracy 1 if the trial's logit has the sign of its label, else 0."""
        return {"accuracy": float((float(output) > 0) == (example.bad > 0))}

    def items(self, epoch: int, seed: int) -> list[int]:
        """Draw equally many trials of good and bad participants, and equally many per participant.

        The total is about the number of training trials. A participant's trial is repeated only
        after all their trials were drawn equally often.
        """
        half = math.ceil(len(self.train) / 2)
        rng = generator(seed, "order", str(epoch))
        user = self._trials.user[self.train]
        found: list[NDArray[np.int64]] = []
        for kind in (GOOD, BAD):
            people = rng.permutation(np.unique(user[self._labels[user] == kind]))
            shares = np.full(len(people), half // len(people))
            shares[: half % len(people)] += 1
            for person, share in zip(people, shares.tolist(), strict=True):
                own = np.flatnonzero(user == person)
                rounds = [rng.permutation(own) for _ in range(math.ceil(share / len(own)))]
                found += [np.concatenate(rounds)[:share]] if rounds else []
        return [self.train[at] for at in rng.permutation(np.concatenate(found)).tolist()]

    def _label(self, item: int) -> int:
        return int(self._labels[self._trials.user[item]])

    def _mirror(self, clicks: NDArray[np.float32], item: int, epoch: int) -> NDArray[np.float32]:
        flips = generator(self._seed, "mirror", str(epoch), str(item)).integers(0, 2, 2)
        turned = clicks.copy()
        for axis, flip in zip(("x", "y"), flips.tolist(), strict=True):
            if flip:
                turned[:, self._columns[axis]] = 1 - turned[:, self._columns[axis]]
                turned[:, self._columns[f"d{axis}"]] *= -1
        return turned


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


def score_held_out(
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
    """Compute AUCs of resamples with the same numbers of good and bad participants.

    An AUC is the share of pairs in the right order, ties half, and resampling changes only how
    often each probability occurs, so one sort serves all resamples.
    """
    good_at, bad_at = np.flatnonzero(~bad), np.flatnonzero(bad)
    values, place = np.unique(probability, return_inverse=True)
    found = np.empty(RESAMPLES)
    for at in range(RESAMPLES):
        good, wrong = (
            np.bincount(place[rng.choice(index, len(index))], minlength=len(values))
            for index in (good_at, bad_at)
        )
        found[at] = wrong @ (np.cumsum(good) - good / 2)
    return found / (len(good_at) * len(bad_at))
