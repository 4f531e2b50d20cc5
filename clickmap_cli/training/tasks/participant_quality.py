"""The task of the participant-quality model: separate careless trials from careful ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from clickmap_cli.clickmaps.participants import BAD, GOOD
from clickmap_cli.clickmaps.trials import Bools, Trials
from clickmap_cli.models.click_gru import (
    ClickFeatures,
    ClickGRU,
    FeatureSettings,
    compute_features,
    pad_trials,
)
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.seeding import generator
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
    context either. Validation trials are judged with context from everybody except listed people
    who neither train nor validate. Training trials are mirrored left to right and upside down at
    random, so that a few careless trials represent many.

    Attributes:
        cut: number of trials with more clicks than are used.

    Args:
        network: the network to train, on its device; its features are standardised here.
        trials: the table.
        labels: (users) `GOOD`, `BAD` or unknown.
        train: (users) True for people whose trials train.
        validation: (users) True for people whose trials choose the best weights; None = nobody.
        settings: choice of click features.
        seed: seed of the mirroring.
        times: (clicks) seconds at which each click was made, or None.

    Raises:
        DataError: the training people have no good or no bad participant with a click in an image.
        ValueError: a participant both trains and validates, or has no label.
    """

    watched = ("accuracy",)
    noun = "trials"

    def __init__(
        self,
        network: ClickGRU,
        trials: Trials,
        labels: NDArray[np.int8],
        train: Bools,
        validation: Bools | None = None,
        settings: FeatureSettings | None = None,
        seed: int = 0,
        times: NDArray[np.float64] | None = None,
    ) -> None:
        chosen = FeatureSettings() if settings is None else settings
        held = np.zeros_like(train) if validation is None else validation
        listed = (labels == GOOD) | (labels == BAD)
        if (train & held).any() or (~listed & (train | held)).any():
            raise ValueError("a participant on both sides, or without a label")
        self.network = network
        self._trials = trials
        self._labels = labels
        self._seed = seed
        self._columns = {name: at for at, name in enumerate(chosen.names)}
        self.train, self._train = _part(trials, train, train | ~listed, chosen, times)
        self.validation, self._validation = _part(
            trials, held, train | held | ~listed, chosen, times
        )
        self.cut = self._train.cut + self._validation.cut
        self._place = {item: at for at, item in enumerate(self.train)}
        self._held = {item: at for at, item in enumerate(self.validation)}
        for kind, word in ((GOOD, "good"), (BAD, "bad")):
            if not any(self._label(item) == kind for item in self.train):
                raise DataError(
                    f"No trial of a {word} participant is left to learn from; list more of them."
                )
        network.standardise(self._train.values)

    def name(self, item: int) -> str:
        """Return the participant and the image of a trial."""
        trials = self._trials
        return f"{trials.users[trials.user[item]]} on {trials.images[trials.image[item]]}"

    def read(self, item: int, epoch: int | None) -> QualityExample:
        """Return one trial's features, mirrored at random if `epoch` is given."""
        held = item in self._held
        clicks = (
            self._validation.trial(self._held[item])
            if held
            else self._train.trial(self._place[item])
        )
        if epoch is not None:
            clicks = self._mirrored(clicks, item, epoch)
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

    def _mirrored(self, clicks: NDArray[np.float32], item: int, epoch: int) -> NDArray[np.float32]:
        flips = generator(self._seed, "mirror", str(epoch), str(item)).integers(0, 2, 2)
        turned = clicks.copy()
        for axis, flip in zip(("x", "y"), flips.tolist(), strict=True):
            if flip:
                turned[:, self._columns[axis]] = 1 - turned[:, self._columns[axis]]
                turned[:, self._columns[f"d{axis}"]] *= -1
        return turned


def _part(
    trials: Trials,
    people: Bools,
    among: Bools,
    settings: FeatureSettings,
    times: NDArray[np.float64] | None,
) -> tuple[list[int], ClickFeatures]:
    """Return the trials of some people that have clicks in their image, and their features."""
    index: NDArray[Any] = np.flatnonzero(people[trials.user])
    features = compute_features(trials, index, settings, among, times)
    some = np.flatnonzero(features.lengths)
    starts, lengths = features.starts[some], features.lengths[some]
    kept = ClickFeatures(features.values, starts, lengths, features.cut)
    return index[some].tolist(), kept
