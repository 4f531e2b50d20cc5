"""Pictures of a benchmark: those its report can show, and the heatmap files it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.config.benchmark import HeatmapPictures
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.models.building import BuiltModel
from clickmap_cli.runtime.errors import DataError
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.scoring.predictions import Predicted, Predictor, shown_map
from clickmap_cli.scoring.results import BenchmarkResult, Failure, Pictures
from clickmap_cli.storage.manifest import damaged_outputs, describe_files


@dataclass(frozen=True)
class Heatmap:
    """A prediction to draw.

    Attributes:
        heat: (h, w), not negative.
        image: (h, w, 3) in 0..1 for the overlay, or None.
        settings: scale, colours, alpha.
        path: file for the heat alone (PNG).
        overlay_path: file for the heat over the image, or None.
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
        metric: name of the metric that the scores are of.
        score: the model's score with its configured settings.
        best: the setting that scores best.
        scores: setting -> its score, NaN where undefined.
        maps: setting -> (h, w) its map, not negative, in the order of `scores`.
        image: (h, w, 3) in 0..1, or None if it cannot be read.
        truth: (h, w) the ground-truth map, any scale, or None if the image has none.
        path: file for the picture (PNG).
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
    """Images, maps and cached predictions of a benchmark, read on demand.

    Args:
        stimuli: data set -> its images.
        predictors: (data set, model) -> the predictor whose cache holds the predictions.
        unread: receives images and maps that cannot be read.
    """

    def __init__(
        self,
        stimuli: Mapping[str, Sequence[Stimulus]],
        predictors: Mapping[tuple[str, str], Predictor],
        unread: list[Failure],
    ) -> None:
        self._stimuli = {
            (label, stimulus.image_id): stimulus
            for label, some in stimuli.items()
            for stimulus in some
        }
        self._predictors = predictors
        self._unread = unread

    def image(self, dataset: str, image_id: str) -> NDArray[np.float32] | None:
        """Return the image, (h, w, 3) RGB in 0..1, or None if it is missing or cannot be read."""
        try:
            return self._stimuli[dataset, image_id].image()
        except DataError as error:
            self._note(dataset, image_id, error)
            return None

    def truth(self, dataset: str, image_id: str) -> NDArray[Any] | None:
        """Return the ground-truth map, (h, w), or None if it is missing or cannot be read."""
        try:
            return self._stimuli[dataset, image_id].truth()
        except DataError as error:
            self._note(dataset, image_id, error)
            return None

    def _note(self, dataset: str, image_id: str, error: DataError) -> None:
        """Record what is missing; the report shows a note in its place."""
        self._unread.append(Failure(dataset, "", image_id, str(error)))

    def prediction(self, dataset: str, model: str, image_id: str) -> NDArray[Any] | None:
        """Return the cached prediction, (h, w), a mean if there is one per person, or None."""
        stimulus = self._stimuli[dataset, image_id]
        predictor = self._predictors[dataset, model]
        maps = predictor.stored(stimulus)
        return shown_map(maps, predictor.kind) if maps else None


@dataclass(frozen=True)
class BenchmarkFigures:
    """Functions that draw; the service decides what is drawn and where, `reports/` draws it.

    Attributes:
        heatmap: draws one prediction, alone and over its image.
        report: writes the page from (result, pictures, path, number of images at either end).
        dive: draws one image of a deep dive; None to write only tables.
    """

    heatmap: Callable[[Heatmap], None]
    report: Callable[[BenchmarkResult, Pictures, Path, int], None]
    dive: Callable[[DivePicture], None] | None = None


class HeatmapFiles:
    """The heatmap files of predictions: writes them and knows which ones exist.

    Args:
        settings: whether heatmaps are written, and how they look.
        folder: the run's folder; heatmaps go to its `heatmaps/` unless the settings name another.
        draw: draws one heatmap.
        progress: receives a notice for each image that cannot be read for its overlay.
        unread: receives these images too.
    """

    def __init__(
        self,
        settings: HeatmapPictures,
        folder: Path,
        draw: Callable[[Heatmap], None],
        progress: Progress,
        unread: list[Failure],
    ) -> None:
        self.folder = Path(settings.out_dir) if settings.out_dir else folder / "heatmaps"
        self._settings = settings
        self._draw = draw
        self._progress = progress
        self._unread = unread

    def draw(self, dataset: str, built: BuiltModel, predicted: Predicted) -> bool:
        """Draw the pictures of a prediction, if enabled; return True unless one is missing."""
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
                self._unread.append(Failure(dataset, "", image_id, str(error)))
        heat = shown_map(predicted.maps, built.model.output)
        plain, over = self._places(dataset, built.label, image_id)
        self._draw(Heatmap(heat, image, settings, plain, None if image is None else over))
        return image is not None or not settings.overlay

    def of(self, dataset: str, model: str, image_id: str) -> list[Path]:
        """Return the existing pictures of a prediction, also those of an interrupted run."""
        if not self._settings.enabled:
            return []
        return [path for path in self._places(dataset, model, image_id) if path.is_file()]

    def recorded(self, dataset: str, model: str, image_id: str) -> dict[str, Any]:
        """Return the existing pictures of a prediction with size and SHA-256."""
        return describe_files(self.folder, self.of(dataset, model, image_id))

    def whole(self, recorded: dict[str, Any]) -> bool:
        """Return True if pictures are unchanged since they were recorded."""
        return not damaged_outputs(self.folder, recorded)

    def _places(self, dataset: str, model: str, image_id: str) -> tuple[Path, Path]:
        """Return the paths of a prediction's two pictures: the heat alone, and over its image."""
        folder = self.folder / dataset / model
        return folder / f"{image_id}.png", folder / f"{image_id}_overlay.png"
