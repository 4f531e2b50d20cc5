"""Saliency maps of the networks of a cross-validation, on maps of held-out participants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clickmap_cli.clickmaps.keys import picture_names
from clickmap_cli.config.classifier import ClassifierConfig
from clickmap_cli.models.gradient import METHODS, Noise, compute_class_saliency
from clickmap_cli.runtime.errors import ConfigError
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.services.classifier.data import ClassifierStudy
from clickmap_cli.services.classifier.results import NETWORK, FoldOutcome
from clickmap_cli.storage.safe_arrays import write_npy
from clickmap_cli.training.tasks.classifier import PlaneCache, planes_of

FOLDER = "interpretation"
AVERAGES = "mean_maps.png"

Maps = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class AverageRow:
    """Mean maps of a class.

    Attributes:
        label: the class.
        n_maps: number of maps in the mean.
        pixels: (h, w) or (h, w, 3) mean attention map, 0..1.
        maps: method -> (h, w) mean saliency.
    """

    label: str
    n_maps: int
    pixels: Maps
    maps: Mapping[str, Maps]


class ClassifierFigures(Protocol):
    """Functions that draw pictures into their paths; `reports.classifier` has them."""

    def draw_picture(self, path: Path, title: str, pixels: Maps, maps: Mapping[str, Maps]) -> None:
        """Draw an attention map and the network's saliency maps of it.

        Args:
            path: path of the PNG.
            title: title above the panels.
            pixels: (h, w) or (h, w, 3) attention map, 0..1.
            maps: method -> (h, w) saliency, 0 or more.
        """

    def draw_averages(self, path: Path, rows: Sequence[AverageRow]) -> None:
        """Draw the mean maps of all classes side by side, with a row per class."""


def usable_methods(network: nn.Module, study: ClassifierStudy) -> tuple[tuple[str, ...], str]:
    """Return the saliency methods that a network allows, and a sentence about one it does not.

    Grad-CAM needs a convolution that has more than one position. The sentence is empty if the
    network allows every method.
    """
    blank = torch.zeros(1, study.images.channels, *study.size)
    blank = blank.to(next(network.parameters()).device)
    found, why = [], ""
    for method in METHODS:
        try:
            compute_class_saliency(network, blank, [""], 0, method, Noise(1))
        except ConfigError as error:
            why = f"{str(error).partition(';')[0]}; it is left out."
        else:
            found.append(method)
    return tuple(found), why


class Interpretation:
    """Writes gradients, SmoothGrad and Grad-CAM of the score of each map's true class.

    The score is that before softmax. A saliency map is divided by its mean before averaging,
    because the scores of different folds' networks have different ranges; a map without a value
    above 0 does not change.

    Args:
        config: the run's configuration.
        study: the maps and their folds.
        folder: the run's folder.
        methods: methods to use, from `class_saliency.METHODS`.
        figures: draw pictures.
        cache: cache of decoded maps.
    """

    def __init__(
        self,
        config: ClassifierConfig,
        study: ClassifierStudy,
        folder: Path,
        methods: Sequence[str],
        figures: ClassifierFigures,
        cache: PlaneCache,
    ) -> None:
        self._config = config
        self._study = study
        self._folder = folder / FOLDER
        self._methods = tuple(methods)
        self._figures = figures
        self._cache = cache
        self._names = picture_names(item.image_id for item in study.images.items)
        self._files: list[Path] = []
        n, size = len(study.images.classes), study.size
        self._counts = np.zeros(n, dtype=np.int64)
        self._pixels = np.zeros((n, study.images.channels, *size))
        self._sums = np.zeros((len(self._methods), n, *size))

    def add(self, network: nn.Module, outcome: FoldOutcome, progress: Progress) -> None:
        """Compute the saliency maps of a fold's test maps with its network."""
        progress.stage(f"What fold {outcome.fold.number} looks at", len(outcome.items))
        chosen = self._draw_items(outcome)
        step = self._config.training.batch_size
        device = next(network.parameters()).device
        for first in range(0, len(outcome.items), step):
            places = range(first, min(first + step, len(outcome.items)))
            planes = [planes_of(outcome.items[at], self._cache) for at in places]
            found = self._maps(network, torch.stack(planes).to(device), outcome, places)
            for row, at in enumerate(places):
                self._add_to_means(outcome, at, planes[row].numpy(), found[:, row])
                if at in chosen:
                    self._write(outcome, at, planes[row].numpy(), found[:, row])
                progress.advance()

    def finish(self) -> list[Path]:
        """Write the averages, and return every file."""
        classes = self._study.images.classes
        counts = np.maximum(self._counts, 1)
        pixels = (self._pixels / counts[:, None, None, None]).astype(np.float32)
        means = (self._sums / counts[:, None, None]).astype(np.float32)
        rows = []
        for at, label in enumerate(classes):
            if not self._counts[at]:
                continue
            shown = _channels_last(pixels[at])
            maps = {method: means[k, at] for k, method in enumerate(self._methods)}
            for name, array in (("map", shown), *maps.items()):
                self._files.append(self._folder / f"mean_{name}_{label}.npy")
                write_npy(self._files[-1], array)
            rows.append(AverageRow(label, int(self._counts[at]), shown, maps))
        self._files.append(self._folder / AVERAGES)
        self._figures.draw_averages(self._files[-1], rows)
        return self._files

    def _maps(
        self, network: nn.Module, images: torch.Tensor, outcome: FoldOutcome, places: range
    ) -> NDArray[np.float32]:
        """Return (methods, n, h, w) saliency of some maps."""
        settings = self._config.interpretation
        noise = Noise(settings.n_samples, settings.sigma, self._config.seed)
        keys = [outcome.items[at].image_id for at in places]
        truth = torch.from_numpy(outcome.truth[places.start : places.stop]).to(images.device)
        found = [
            compute_class_saliency(network, images, keys, truth, method, noise)
            for method in self._methods
        ]
        return np.stack(found)

    def _add_to_means(self, outcome: FoldOutcome, at: int, planes: Maps, maps: Maps) -> None:
        """Add one map to the averages of its class."""
        label = int(outcome.truth[at])
        self._counts[label] += 1
        self._pixels[label] += planes
        means = maps.mean(axis=(1, 2), dtype=np.float64, keepdims=True)
        self._sums[:, label] += maps / np.where(means > 0, means, 1)

    def _draw_items(self, outcome: FoldOutcome) -> set[int]:
        """Draw `n_images` maps of each class at random, which get arrays and a picture."""
        found: set[int] = set()
        for label, name in enumerate(self._study.images.classes):
            places = np.flatnonzero(outcome.truth == label)
            rng = generator(self._config.seed, "interpretation", outcome.fold.name, name)
            drawn = rng.permutation(places)[: self._config.interpretation.n_images]
            found |= set(drawn.tolist())
        return found

    def _write(self, outcome: FoldOutcome, at: int, planes: Maps, maps: Maps) -> None:
        """Write one map's arrays and its picture."""
        item, classes = outcome.items[at], self._study.images.classes
        base = self._folder / outcome.fold.name / self._names[item.image_id]
        array, picture = (base.with_name(f"{base.name}.{end}") for end in ("npy", "png"))
        write_npy(array, maps)
        predicted = classes[outcome.predicted(NETWORK)[at]]
        share = float(outcome.said[NETWORK][at, outcome.truth[at]])
        title = f"{item.image_id}: {item.label}, taken for {predicted}; p({item.label}) {share:.2f}"
        named = dict(zip(self._methods, maps, strict=True))
        self._figures.draw_picture(picture, title, _channels_last(planes), named)
        self._files += [array, picture]


def _channels_last(planes: Maps) -> Maps:
    """Return (channels, h, w) as (h, w) for one channel, else as (h, w, channels)."""
    return planes[0] if len(planes) == 1 else np.moveaxis(planes, 0, -1)
