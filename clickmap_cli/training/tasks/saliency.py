"""The task of a saliency model: its training targets, its losses, and the network that learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from clickmap_cli.clickmaps.geometry import Geometry, Size
from clickmap_cli.datasets.base import People, Stimulus
from clickmap_cli.metrics.saliency import (
    IG_UNIFORM_SHARE,
    Prediction,
    Target,
    places_of,
    score_prediction,
)
from clickmap_cli.metrics.views import MapView
from clickmap_cli.models.base import Output
from clickmap_cli.models.torch_model import TorchSaliencyModel
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.storage.safe_arrays import read_npy
from clickmap_cli.training.tasks.base import Cache, Task, autocast

Density = NDArray[np.float32]

Pixels = tuple[torch.Tensor, torch.Tensor]
"""(n) rows and (n) columns of fixated pixels; a pixel fixated twice occurs twice."""

_TINY = 1e-30


@dataclass(frozen=True)
class Targets:
    """Ground truth of images, at their sizes.

    Attributes:
        aggregate: `mean` or `median` over people's maps, each scaled to sum 1, or `random`: one
            participant per image and epoch, drawn by (seed, image, epoch).
        interpolation: `bilinear` or `bicubic`, for maps of another size.
        cache_dir: folder of `<image_id>.npy` read in place of people's maps, or None.
        seed: seed of the draw.
    """

    aggregate: str = "mean"
    interpolation: str = "bilinear"
    cache_dir: Path | None = None
    seed: int = 0

    def changes(self, stimulus: Stimulus) -> bool:
        """Return True if the target of an image differs between epochs."""
        return self.aggregate == "random" and stimulus.people() is not None

    def check(self, stimulus: Stimulus, loss: str) -> None:
        """Raise DataError unless an image has a target; maps of people are not computed.

        Raises:
            DataError: the image has no target; the message names it.
        """
        if loss != "kl":
            self.points(stimulus)
        elif self.cache_dir is not None:
            self._require_cached(stimulus, self.cache_dir)
        elif stimulus.people() is None:
            self.density(stimulus)

    def density(self, stimulus: Stimulus, epoch: int | None = None) -> Density:
        """Return the ground-truth density of an image.

        Args:
            stimulus: the image.
            epoch: epoch of the draw for `random`; None = the mean over people, for validation.

        Returns:
            (h, w) float32 of the image's size that sums to 1. Without named people it is the
            image's ground-truth map.

        Raises:
            DataError: the ground truth is missing, empty, negative or damaged.
        """
        if self.cache_dir is not None:
            return self._read_cached(stimulus, self.cache_dir)
        people = stimulus.people()
        if people is None:
            truth = stimulus.truth()
            # a constant map counts as missing
            if truth is None or np.ptp(truth) == 0:
                raise DataError(
                    f"{stimulus.image_id}: no ground truth to learn from; leave the image out "
                    "with `ids`, or give it a map or fixations."
                )
            return self._finish(truth, stimulus)
        if self.aggregate == "random" and epoch is not None:
            view = people.target(self._draw_person(stimulus, people, epoch))
            return self._finish(view.density.reshape(view.shape), stimulus)
        return self._finish(self._pool_people(stimulus, people), stimulus)

    def points(self, stimulus: Stimulus, epoch: int | None = None) -> NDArray[np.int64]:
        """Return (n, 2) rows and columns of fixated pixels, of one drawn person for `random`.

        Raises:
            DataError: no fixations are known.
        """
        people = stimulus.people() if self.aggregate == "random" and epoch is not None else None
        if people is not None and epoch is not None:
            person = self._draw_person(stimulus, people, epoch, with_points=True)
            places, times = people.target(person).clicked
            flat = np.repeat(places, times.astype(np.int64))
            width = stimulus.size[1]
            return np.stack([flat // width, flat % width], axis=1)
        points = stimulus.points
        if points is None or not len(points):
            raise DataError(
                f"{stimulus.image_id}: no fixations to learn from; leave the image out with "
                "`ids`, or use loss: kl."
            )
        return np.stack([points.rows, points.columns], axis=1)

    def _draw_person(
        self, stimulus: Stimulus, people: People, epoch: int, with_points: bool = False
    ) -> int:
        """Draw one person whose map is non-negative and not constant.

        With `with_points`, the person's points must be known too.
        """
        rng = generator(self.seed, stimulus.key, f"participant of epoch {epoch}")
        for person in rng.permutation(len(people.names)):
            view = people.target(int(person))
            if _is_usable(view) and (view.has_clicks or not with_points):
                return int(person)
        raise DataError(f"{stimulus.image_id}: the maps of all participants are empty.")

    def _pool_people(self, stimulus: Stimulus, people: People) -> NDArray[Any]:
        views = (people.target(person) for person in range(len(people.names)))
        densities = [view.density.reshape(view.shape) for view in views if _is_usable(view)]
        if not densities:
            raise DataError(f"{stimulus.image_id}: the maps of all participants are empty.")
        pool = np.median if self.aggregate == "median" else np.mean
        return np.asarray(pool(densities, axis=0))

    def _require_cached(self, stimulus: Stimulus, folder: Path) -> Path:
        path = folder / f"{stimulus.image_id}.npy"
        if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
            raise DataError(
                f"{stimulus.image_id}: no {path.name} in gt_cache_dir {folder}; make it with "
                "`clickmap data gt-mean`."
            )
        return path

    def _read_cached(self, stimulus: Stimulus, folder: Path) -> Density:
        path = self._require_cached(stimulus, folder)
        values = read_npy(path)
        if not isinstance(values, np.ndarray) or values.ndim != 2 or not values.size:
            raise DataError(f"{path}: not a map of (height, width).")
        height, width = values.shape
        try:
            geometry = stimulus.placement((height, width), of_file=True)
        except DataError as error:
            raise DataError(f"{path}: {error}.") from error
        return self._finish(values, stimulus, geometry)

    def _finish(
        self, values: NDArray[Any], stimulus: Stimulus, geometry: Geometry | None = None
    ) -> Density:
        """Turn a map into a density on the image's pixels, through a geometry if one is given."""
        exact = np.asarray(values, dtype=np.float64)
        if not np.all(np.isfinite(exact)) or exact.min() < 0:
            raise DataError(
                f"{stimulus.image_id}: its ground truth holds negative, NaN or infinite values."
            )
        if geometry is not None:
            exact = geometry.crop_maps(_resize_map(exact, geometry.resized, self.interpolation))
        total = exact.sum()
        if not total > 0:
            raise DataError(f"{stimulus.image_id}: its ground truth is empty; leave the image out.")
        return np.asarray(exact / total, dtype=np.float32)


def _is_usable(view: MapView) -> bool:
    return bool(view.least >= 0 and not view.constant)


def _resize_map(values: NDArray[np.float64], size: Size, how: str) -> NDArray[np.float64]:
    """Resize (h, w) values; negative results of bicubic interpolation become 0."""
    if values.shape == size:
        return values
    tensor = torch.from_numpy(np.ascontiguousarray(values))[None, None]
    resized = functional.interpolate(
        tensor, size=size, mode=how, align_corners=False, antialias=True
    )
    return np.asarray(np.maximum(resized[0, 0].numpy(), 0))


def log_densities(values: torch.Tensor, output: Output, size: Size) -> torch.Tensor:
    """Convert a network's output to log densities on the image's pixels.

    Scores treat predictions in the same way: maps are clipped at 0 and scaled to sum 1, and a
    prediction of another size is resized as a density and scaled again. A map or a density is mixed
    with 1e-6 of uniform, as in IG, so that no logarithm is infinite.

    Args:
        values: (n, h, w) of any size.
        output: kind of the values.
        size: height and width of the images.

    Returns:
        (n, height, width) float32 natural logarithms; each image's densities sum to 1.
    """
    values = values.float()
    if output == "log_density":
        values = values.flatten(1).log_softmax(1).view_as(values)
        if values.shape[1:] == size:
            return values
        density = _resize_density(values.exp(), size)
        density = density / density.sum((1, 2), keepdim=True)
        return density.clamp_min(_TINY).log()
    density = _resize_density(values.clamp_min(0), size)
    total = density.sum((1, 2), keepdim=True)
    # an empty map becomes uniform
    density = density / total.clamp_min(_TINY) + (total <= _TINY) / density[0].numel()
    mixed = (1 - IG_UNIFORM_SHARE) * density + IG_UNIFORM_SHARE / density[0].numel()
    return (mixed / mixed.sum((1, 2), keepdim=True)).log()


def _resize_density(density: torch.Tensor, size: Size) -> torch.Tensor:
    if density.shape[1:] == size:
        return density
    return functional.interpolate(
        density[:, None], size=size, mode="bilinear", align_corners=False, antialias=True
    )[:, 0]


def kl(log_density: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Compute the Kullback-Leibler divergence of each prediction from its target, in nats.

    Args:
        log_density: (n, h, w) natural logarithms.
        target: (n, h, w) densities; 0 log 0 is 0.

    Returns:
        (n) sums over pixels of t (log t - log p).

    Reference: Kullback and Leibler (1951).
    """
    return (torch.xlogy(target, target) - target * log_density).sum((1, 2))


def nll_fixations(log_density: torch.Tensor, points: list[Pixels]) -> torch.Tensor:
    """Compute the mean negative log likelihood of each image's fixations, in nats per fixation.

    Args:
        log_density: (n, h, w) natural logarithms.
        points: (n) fixated pixels.

    Returns:
        (n) means over fixations of -log p.

    Reference: Kümmerer et al. (2016), the loss that DeepGaze II is trained with.
    """
    pairs = zip(log_density, points, strict=True)
    return torch.stack([-image[rows, columns].mean() for image, (rows, columns) in pairs])


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

    @property
    def nbytes(self) -> int:
        """Bytes of the image and the density."""
        return int(self.planes.nbytes + (0 if self.target is None else self.target.nbytes))


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
        self._cache: Cache[Example] = Cache()

    def name(self, item: Stimulus) -> str:
        """Return the image's id."""
        return item.image_id

    def read(self, item: Stimulus, epoch: int | None) -> Example:
        """Read one image with the target of an epoch; constant examples are cached while they fit.

        Raises:
            DataError: the image is missing or damaged, or has no ground truth.
        """
        if epoch is not None and self._targets.changes(item):
            return self._read(item, epoch)
        return self._cache.get((item.image_id, epoch is None), lambda: self._read(item, epoch))

    def _read(self, item: Stimulus, epoch: int | None) -> Example:
        planes = self.model.batch([item])[0].cpu()
        if self._loss == "kl":
            target = torch.from_numpy(self._targets.density(item, epoch))
            return Example(item, planes, target, None)
        pixels = torch.from_numpy(self._targets.points(item, epoch))
        return Example(item, planes, None, (pixels[:, 0], pixels[:, 1]))

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
        points = None
        if stimulus.points is not None:
            points = places_of(stimulus.points.counts(stimulus.size))
        truth = None if example.target is None else MapView(example.target.numpy())
        values = output.detach().float().cpu().numpy().astype(np.float32)
        scored = Prediction(values, "log_density")
        return score_prediction(list(self.watched), scored, Target(points, truth))

    def about(self) -> dict[str, Any]:
        """Return the loss used in training."""
        return {"kind": self._loss}
