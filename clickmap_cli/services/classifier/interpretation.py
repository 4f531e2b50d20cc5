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
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.services.classifier.data import ClassifierStudy
from clickmap_cli.services.classifier.results import NETWORK, FoldOutcome
from clickmap_cli.services.job import Run
from clickmap_cli.storage.safe_arrays import write_npy
from clickmap_cli.training.tasks.classifier import PlaneCache, read_planes

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
    """Functions that draw pictures into their paths; `reports.classifier` has them.

    Pixels are (h, w) or (h, w, 3), 0..1; `maps` are method -> (h, w) saliency, 0 or more.
    """

    def draw_picture(self, path: Path, title: str, pixels: Maps, maps: Mapping[str, Maps]) -> None:
        """Draw an attention map and the network's saliency maps of it."""

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
        run: the run that the files belong to.
        methods: methods to use, from `models.gradient.METHODS`.
        figures: draw pictures.
        cache: cache of decoded maps.
    """

    def __init__(
        self,
        config: ClassifierConfig,
        study: ClassifierStudy,
        run: Run,
        methods: Sequence[str],
        figures: ClassifierFigures,
        cache: PlaneCache,
    ) -> None:
        self._config = config
        self._study = study
        self._run = run
        self._folder = run.path / FOLDER
        self._methods = tuple(methods)
        self._figures = figures
        self._cache = cache
        self._names = picture_names(item.image_id for item in study.images.items)
        n, size = len(study.images.classes), study.size
        self._counts = np.zeros(n, dtype=np.int64)
        self._pixels = np.zeros((n, study.images.channels, *size))
        self._sums = np.zeros((len(self._methods), n, *size))

    def add(self, network: nn.Module, outcome: FoldOutcome) -> None:
        """Compute the saliency maps of a fold's test maps with its network."""
        progress, settings = self._run.progress, self._config.interpretation
        progress.stage(f"What fold {outcome.fold.number} looks at", len(outcome.items))
        noise = Noise(settings.n_samples, settings.sigma, self._config.seed)
        chosen = self._choose_items(outcome)
        device = next(network.parameters()).device
        n, size = len(outcome.items), self._config.training.batch_size
        for places in np.split(np.arange(n), range(size, n, size)):
            items = [outcome.items[at] for at in places]
            planes = torch.stack([read_planes(item, self._cache) for item in items])
            images, truth = planes.to(device), torch.from_numpy(outcome.truth[places]).to(device)
            keys = [item.image_id for item in items]
            found = np.stack(
                [
                    compute_class_saliency(network, images, keys, truth, method, noise)
                    for method in self._methods
                ]
            )  # (methods, n, h, w)
            means = found.mean(axis=(2, 3), dtype=np.float64, keepdims=True)
            scaled = found / np.where(means > 0, means, 1)
            for row, at in enumerate(places.tolist()):
                label = int(outcome.truth[at])
                self._counts[label] += 1
                self._pixels[label] += planes[row].numpy()
                self._sums[:, label] += scaled[:, row]
                if at in chosen:
                    self._write(outcome, at, planes[row].numpy(), found[:, row])
                progress.advance()

    def finish(self) -> None:
        """Write the averages."""
        counts = np.maximum(self._counts, 1)
        pixels = (self._pixels / counts[:, None, None, None]).astype(np.float32)
        means = (self._sums / counts[:, None, None]).astype(np.float32)
        rows = []
        for at, label in enumerate(self._study.images.classes):
            if not self._counts[at]:
                continue
            shown = _channels_last(pixels[at])
            maps = {method: means[k, at] for k, method in enumerate(self._methods)}
            for name, array in (("map", shown), *maps.items()):
                path = self._folder / f"mean_{name}_{label}.npy"
                write_npy(path, array)
                self._run.add([path])
            rows.append(AverageRow(label, int(self._counts[at]), shown, maps))
        self._figures.draw_averages(self._folder / AVERAGES, rows)
        self._run.add([self._folder / AVERAGES])

    def _choose_items(self, outcome: FoldOutcome) -> set[int]:
        """Choose `n_images` maps of each class at random, which get arrays and a picture."""
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
        share = float(outcome.probabilities[NETWORK][at, outcome.truth[at]])
        title = f"{item.image_id}: {item.label}, taken for {predicted}; p({item.label}) {share:.2f}"
        named = dict(zip(self._methods, maps, strict=True))
        self._figures.draw_picture(picture, title, _channels_last(planes), named)
        self._run.add([array, picture])


def _channels_last(planes: Maps) -> Maps:
    """Return (channels, h, w) as (h, w) for one channel, else as (h, w, channels)."""
    return planes[0] if len(planes) == 1 else np.moveaxis(planes, 0, -1)
