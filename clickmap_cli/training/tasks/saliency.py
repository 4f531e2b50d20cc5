"""The task of a saliency model: predict the pixels that people click or look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.metrics.saliency import Prediction, Target, places_of, score_prediction
from clickmap_cli.metrics.views import MapView
from clickmap_cli.models.torch_model import TorchSaliencyModel
from clickmap_cli.training.losses import Pixels, kl, log_densities, nll_fixations
from clickmap_cli.training.targets import Targets
from clickmap_cli.training.tasks.base import Task, autocast

_KEPT_BYTES = 1 << 30
"""Bytes of images and targets kept in memory between epochs."""


@dataclass(frozen=True)
class Example:
    """An image in the network's format, and its target.

    Attributes:
        stimulus: the image.
        planes: (3, h, w) normalised, on the CPU.
        target: (H, W) density of the image's size; None for `nll_fixations`.
        points: fixated pixels; None for `kl`.
    """

    stimulus: Stimulus
    planes: torch.Tensor
    target: torch.Tensor | None
    points: Pixels | None


class SaliencyTask(Task):
    """Images, their ground truth and a loss.

    Args:
        model: the model to train; its network is built here if necessary.
        train: training images.
        validation: images that choose the best weights.
        targets: ground truth of the images.
        loss: `kl` or `nll_fixations`.
    """

    watched = ("NSS", "CC")

    def __init__(
        self,
        model: TorchSaliencyModel,
        train: Sequence[Stimulus],
        validation: Sequence[Stimulus],
        targets: Targets,
        loss: str = "kl",
    ) -> None:
        self.model = model
        self.network = model.network()
        self.train = train
        self.validation = validation
        self._targets = targets
        self._loss = loss
        self._kept: dict[tuple[str, bool], Example] = {}
        self._bytes = 0

    def name(self, item: Stimulus) -> str:
        """Return the image's id."""
        return item.image_id

    def read(self, item: Stimulus, epoch: int | None) -> Example:
        """Read one image with the target of an epoch; constant examples are cached while they fit.

        Raises:
            DataError: the image is missing or damaged, or has no ground truth.
        """
        changes = epoch is not None and self._targets.changes(item)
        place = (item.image_id, epoch is None)
        if not changes and place in self._kept:
            return self._kept[place]
        planes = self.model.batch([item])[0].cpu()
        target, points = None, None
        if self._loss == "kl":
            target = torch.from_numpy(self._targets.density(item, epoch))
        else:
            pixels = torch.from_numpy(self._targets.points(item, epoch))
            points = (pixels[:, 0], pixels[:, 1])
        example = Example(item, planes, target, points)
        size = 4 * (planes.numel() + (0 if target is None else target.numel()))
        if not changes and self._bytes + size <= _KEPT_BYTES:
            self._kept[place] = example
            self._bytes += size
        return example

    def alike(self, example: Example) -> tuple[tuple[int, ...], Size]:
        """Return the shapes of the network's image and of the image itself."""
        return tuple(example.planes.shape), example.stimulus.size

    def losses(
        self, batch: Sequence[Example], precision: str
    ) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        """Compute the loss of every image, and the (H, W) log densities it comes from.

        The loss itself is always computed in float32.
        """
        device = next(self.network.parameters()).device
        images = torch.stack([example.planes for example in batch]).to(device)
        size = batch[0].stimulus.size
        with autocast(self.network, precision):
            values = self.model.training_maps(self.network, images, size)
        predicted = log_densities(values, self.model.output, size)
        targets = [example.target for example in batch if example.target is not None]
        if targets:
            return kl(predicted, torch.stack(targets).to(device)), list(predicted)
        points = [
            (example.points[0].to(device), example.points[1].to(device))
            for example in batch
            if example.points is not None
        ]
        return nll_fixations(predicted, points), list(predicted)

    def scores(self, example: Example, output: torch.Tensor) -> dict[str, float]:
        """Compute NSS with the image's fixations and CC with its target; NaN if one is missing."""
        stimulus = example.stimulus
        points = (
            None if stimulus.points is None else places_of(stimulus.points.counts(stimulus.size))
        )
        truth = None if example.target is None else MapView(example.target.numpy())
        values = output.detach().float().cpu().numpy().astype(np.float32)
        scored = Prediction(values, "log_density")
        return score_prediction(list(self.watched), scored, Target(points, truth))

    def about(self) -> dict[str, Any]:
        """Return the loss used in training."""
        return {"kind": self._loss}
