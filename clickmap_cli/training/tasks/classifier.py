"""The task of a classifier of attention images: predict an image's class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from clickmap_cli.datasets.classifier_images import LabelledImage
from clickmap_cli.metrics.classification import class_weights
from clickmap_cli.training.tasks.base import Cache, Task, autocast

PlaneCache = Cache[torch.Tensor]
"""Images by their ids, each (channels, h, w); all folds of an evaluation share one cache."""


@dataclass(frozen=True)
class ClassExample:
    """An image in the network's format, and its class.

    Attributes:
        planes: (channels, h, w) float32 in 0..1, on the CPU.
        label: code of its class.
    """

    planes: torch.Tensor
    label: int


def read_planes(item: LabelledImage, cache: PlaneCache) -> torch.Tensor:
    """Return an image as (channels, h, w) float32 in 0..1, from the cache if it is there.

    Raises:
        DataError: the image is missing or damaged.
    """

    def read() -> torch.Tensor:
        pixels = item.read()
        ordered = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
        return torch.from_numpy(np.ascontiguousarray(ordered, dtype=np.float32))

    return cache.get(item.image_id, read)


class ClassifierTask(Task):
    """Images, their classes, and cross-entropy.

    Args:
        network: network that returns (n, classes) scores of (n, channels, h, w) images; on its
            device.
        train: training images.
        validation: images that choose the best weights.
        classes: names of the classes, in the order of the scores.
        weighted: True to give classes equal weight whatever their numbers of images: a loss is
            multiplied by n / (classes x images of its class), whose mean over the training images
            is 1.
        cache: cache of decoded images.
        about: plain values to store in checkpoints, such as the network's settings.
    """

    watched = ("accuracy",)

    def __init__(
        self,
        network: nn.Module,
        train: Sequence[LabelledImage],
        validation: Sequence[LabelledImage],
        classes: Sequence[str],
        weighted: bool = True,
        cache: PlaneCache | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.network = network
        self.train = train
        self.validation = validation
        self.classes = tuple(classes)
        self._codes = {label: at for at, label in enumerate(self.classes)}
        self._cache = PlaneCache() if cache is None else cache
        self._about = dict(about or {})
        weights = np.ones(len(self.classes))
        if weighted:
            weights = class_weights([self._codes[i.label] for i in train], len(self.classes))
        self.weights = torch.from_numpy(weights).float()

    def name(self, item: LabelledImage) -> str:
        """Return the image's id."""
        return item.image_id

    def read(self, item: LabelledImage, epoch: int | None) -> ClassExample:
        """Read one image, the same in every epoch.

        Raises:
            DataError: the image is missing or damaged.
        """
        return ClassExample(read_planes(item, self._cache), self._codes[item.label])

    def alike(self, example: ClassExample) -> tuple[int, ...]:
        """Return the shape of the image."""
        return tuple(example.planes.shape)

    def losses(
        self, batch: Sequence[ClassExample], precision: str
    ) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        """Compute the weighted cross-entropy of every image, and its (classes) scores.

        The loss itself is always computed in float32.
        """
        scores = self._scores(batch, precision)
        labels = torch.tensor([example.label for example in batch], device=scores.device)
        losses = functional.cross_entropy(scores, labels, reduction="none")
        return losses * self.weights.to(scores.device)[labels], list(scores)

    def scores(self, example: ClassExample, output: torch.Tensor) -> dict[str, float]:
        """Return accuracy 1 if the highest score is that of the image's class, else 0."""
        return {"accuracy": float(int(output.argmax()) == example.label)}

    def about(self) -> dict[str, Any]:
        """Return the classes and the values given as `about`."""
        return {"classes": list(self.classes), **self._about}

    def probabilities(
        self, items: Sequence[LabelledImage], batch_size: int = 32, precision: str = "fp32"
    ) -> NDArray[np.float64]:
        """Predict (n, classes) probabilities of images, in evaluation mode, in their order.

        Raises:
            DataError: an image is missing or damaged.
        """
        self.network.eval()
        found = [np.empty((0, len(self.classes)))]
        for first in range(0, len(items), batch_size):
            some = [self.read(item, None) for item in items[first : first + batch_size]]
            with torch.inference_mode():
                predicted = self._scores(some, precision).double().softmax(dim=1)
            found.append(predicted.cpu().numpy())
        return np.concatenate(found)

    def _scores(self, batch: Sequence[ClassExample], precision: str) -> torch.Tensor:
        device = next(self.network.parameters()).device
        images = torch.stack([example.planes for example in batch]).to(device)
        with autocast(self.network, precision):
            scores: torch.Tensor = self.network(images)
        return scores.float()
