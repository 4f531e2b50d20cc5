"""The loss of images, and quick scores of the validation images after every epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from clickmap_cli.metrics.saliency import Prediction, Target, places_of, score_prediction
from clickmap_cli.metrics.views import MapView
from clickmap_cli.models.torch_model import TorchSaliencyModel
from clickmap_cli.training.batches import Example
from clickmap_cli.training.losses import kl, log_densities, nll_fixations

WATCHED = ("NSS", "CC")
"""Scores of the validation images that are watched."""


def losses_of(
    model: TorchSaliencyModel, network: torch.nn.Module, batch: Sequence[Example], precision: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of every image of a batch, and the log densities it comes from.

    Args:
        model: knows how images go through the network.
        network: on its device.
        batch: examples of equal sizes.
        precision: `fp32`, `bf16` or `fp16`; the loss itself is always computed in float32.

    Returns:
        (n) losses, and (n, H, W) log densities of the images' size.
    """
    device = next(network.parameters()).device
    images = torch.stack([example.planes for example in batch]).to(device)
    size = batch[0].stimulus.size
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    with torch.autocast(device.type, dtype=half, enabled=half is not None):
        values = model.training_maps(network, images, size)
    predicted = log_densities(values, model.output, size)
    targets = [example.target for example in batch if example.target is not None]
    if targets:
        return kl(predicted, torch.stack(targets).to(device)), predicted
    points = [
        (example.points[0].to(device), example.points[1].to(device))
        for example in batch
        if example.points is not None
    ]
    return nll_fixations(predicted, points), predicted


def watched_scores(example: Example, log_density: torch.Tensor) -> dict[str, float]:
    """NSS against the image's fixations and CC to its target; NaN where it has none."""
    stimulus = example.stimulus
    points = None if stimulus.points is None else places_of(stimulus.points.counts(stimulus.size))
    truth = None if example.target is None else MapView(example.target.numpy())
    values = log_density.detach().float().cpu().numpy().astype(np.float32)
    return score_prediction(list(WATCHED), Prediction(values, "log_density"), Target(points, truth))


class Means:
    """Sums of scores that are defined, and how many there are, to be added over processes."""

    def __init__(self) -> None:
        self._sums = dict.fromkeys(WATCHED, 0.0)
        self._counts = dict.fromkeys(WATCHED, 0.0)

    def add(self, scores: dict[str, float]) -> None:
        """One image's."""
        for name, value in scores.items():
            if not math.isnan(value):
                self._sums[name] += value
                self._counts[name] += 1

    def numbers(self) -> list[float]:
        """What is added over processes."""
        return [*self._sums.values(), *self._counts.values()]

    @staticmethod
    def of(numbers: Sequence[float]) -> dict[str, float]:
        """The means of such sums; NaN where nothing was defined."""
        n = len(WATCHED)
        return {
            name: numbers[at] / numbers[n + at] if numbers[n + at] else math.nan
            for at, name in enumerate(WATCHED)
        }
