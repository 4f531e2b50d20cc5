"""Pictures of a benchmark: what its report may show, and heatmaps that are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.config.benchmark import HeatmapPictures
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.models.building import BuiltModel
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.services.benchmark.predictions import Predicted, Predictor
from clickmap_cli.services.benchmark.result import BenchmarkResult, Failure, LeftOut
from clickmap_cli.storage.manifest import damaged_outputs, describe_files


class Pictures(Protocol):
    """What there is to look at; None where there is no such picture."""

    def image(self, dataset: str, image_id: str) -> NDArray[np.float32] | None:
        """(h, w, 3) RGB in 0..1."""

    def truth(self, dataset: str, image_id: str) -> NDArray[Any] | None:
        """(h, w) the ground-truth map, any scale."""

    def prediction(self, dataset: str, model: str, image_id: str) -> NDArray[Any] | None:
        """(h, w) what the model predicts, any scale (densities, never their logarithm)."""


@dataclass(frozen=True)
class Heatmap:
    """A prediction to draw.

    Attributes:
        heat: (h, w), not negative.
        image: (h, w, 3) in 0..1 for the overlay, or None.
        settings: scale, colours, alpha.
        path: of the heat alone (PNG).
        overlay_path: of the heat over the image, or None.
    """

    heat: NDArray[np.float64]
    image: NDArray[np.float32] | None
    settings: HeatmapPictures
    path: Path
    overlay_path: Path | None


@dataclass(frozen=True)
class DivePicture:
    """One of a model's worst images with the maps of all its settings, to draw side by side.

    Attributes:
        dataset: label of the data set.
        model: label of the model.
        image_id: the image.
        metric: what the scores are of.
        score: the model's own.
        best: the setting that scores best.
        scores: setting -> its score, NaN where undefined.
        maps: setting -> (h, w) its map, not negative, in the order of `scores`.
        image: (h, w, 3) in 0..1, or None where it cannot be read.
        truth: (h, w) the ground-truth map, any scale, or None where there is none.
        path: where the picture goes (PNG).
    """

    dataset: str
    model: str
    image_id: str
    metric: str
    score: float
    best: str
    scores: Mapping[str, float]
    maps: Mapping[str, NDArray[np.float64]]
    image: NDArray[np.float32] | None
    truth: NDArray[Any] | None
    path: Path


class KeptPictures:
    """Images, maps and kept predictions of a benchmark, read when they are looked at.

    Args:
        stimuli: data set -> its images.
        predictors: (data set, model) -> where its predictions are kept.
        outputs: model -> what its predictions are.
        left_out: told of images and maps that cannot be read.
    """

    def __init__(
        self,
        stimuli: Mapping[str, Sequence[Stimulus]],
        predictors: Mapping[tuple[str, str], Predictor],
        outputs: Mapping[str, str],
        left_out: LeftOut,
    ) -> None:
        self._stimuli = {
            (label, stimulus.image_id): stimulus
            for label, some in stimuli.items()
            for stimulus in some
        }
        self._predictors = predictors
        self._outputs = outputs
        self._left_out = left_out

    def image(self, dataset: str, image_id: str) -> NDArray[np.float32] | None:
        """(h, w, 3) RGB in 0..1; None where the image is missing."""
        try:
            return self._stimuli[dataset, image_id].image()
        except DataError as error:
            self._note(dataset, image_id, error)
            return None

    def truth(self, dataset: str, image_id: str) -> NDArray[Any] | None:
        """(h, w) the ground-truth map; None where there is none."""
        try:
            return self._stimuli[dataset, image_id].truth()
        except DataError as error:
            self._note(dataset, image_id, error)
            return None

    def _note(self, dataset: str, image_id: str, error: DataError) -> None:
        """Note what is missing; the page says so in its place."""
        self._left_out.unread.append(Failure(dataset, "", image_id, str(error)))

    def prediction(self, dataset: str, model: str, image_id: str) -> NDArray[Any] | None:
        """(h, w) the prediction (the mean of those of people); None where it was not kept."""
        stimulus = self._stimuli[dataset, image_id]
        maps = self._predictors[dataset, model].stored(stimulus)
        return shown_map(maps, self._outputs[model]) if maps else None


def shown_map(maps: Sequence[NDArray[np.float32]], output: str) -> NDArray[np.float64]:
    """What is drawn of a prediction: the mean over people, never a logarithm."""
    mean = np.mean(np.stack(maps).astype(np.float64), axis=0)
    return np.asarray(np.exp(mean - mean.max()) if output == "log_density" else mean)


@dataclass(frozen=True)
class BenchmarkFigures:
    """How pictures are drawn; the service says what and where, `reports/` draws.

    Attributes:
        heatmap: one prediction, alone and over its image.
        report: the page (result, pictures, path, images at either end).
        dive: one image of a deep dive; None where there are to be tables alone.
    """

    heatmap: Callable[[Heatmap], None]
    report: Callable[[BenchmarkResult, Pictures, Path, int], None]
    dive: Callable[[DivePicture], None] | None = None


class HeatmapFiles:
    """The pictures of predictions that are written: where they go, and which are there.

    Args:
        settings: whether there are any, and how they look.
        folder: where they go.
        draw: draws one.
        progress: told of images that cannot be drawn over.
        left_out: told of them too.
    """

    def __init__(
        self,
        settings: HeatmapPictures,
        folder: Path,
        draw: Callable[[Heatmap], None],
        progress: Progress,
        left_out: LeftOut,
    ) -> None:
        self.folder = Path(settings.out_dir) if settings.out_dir else folder / "heatmaps"
        self._settings = settings
        self._draw = draw
        self._progress = progress
        self._left_out = left_out

    def draw(self, dataset: str, built: BuiltModel, predicted: Predicted) -> bool:
        """Pictures of a prediction, where they are asked for; whether all of them are drawn."""
        settings = self._settings
        if not settings.enabled:
            return True
        image_id = predicted.stimulus.image_id
        image = None
        if settings.overlay:
            try:
                image = predicted.stimulus.image()
            except DataError as error:
                self._progress.notice(f"{error} Its picture shows the heat alone.")
                self._left_out.unread.append(Failure(dataset, "", image_id, str(error)))
        heat = shown_map(predicted.maps, built.model.output)
        plain, over = self._places(dataset, built.label, image_id)
        self._draw(Heatmap(heat, image, settings, plain, None if image is None else over))
        return image is not None or not settings.overlay

    def of(self, dataset: str, model: str, image_id: str) -> list[Path]:
        """The pictures of a prediction that are there, also those of a run that was killed."""
        if not self._settings.enabled:
            return []
        return [path for path in self._places(dataset, model, image_id) if path.is_file()]

    def recorded(self, dataset: str, model: str, image_id: str) -> dict[str, Any]:
        """The pictures of a prediction with size and SHA-256."""
        return describe_files(self.folder, self.of(dataset, model, image_id))

    def whole(self, recorded: dict[str, Any]) -> bool:
        """Whether pictures are still what they were when they were recorded."""
        return not damaged_outputs(self.folder, recorded)

    def _places(self, dataset: str, model: str, image_id: str) -> tuple[Path, Path]:
        """Where the pictures of a prediction go: the heat alone, and over its image."""
        folder = self.folder / dataset / model
        return folder / f"{image_id}.png", folder / f"{image_id}_overlay.png"
