"""The state that all steps of a benchmark share."""

from __future__ import annotations

from pathlib import Path

from clickmap_cli.config.benchmark import BenchmarkConfig
from clickmap_cli.models.building import BuiltModel
from clickmap_cli.runtime.parallel import Pool
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.services.benchmark.data import LoadedSet
from clickmap_cli.services.benchmark.pictures import BenchmarkFigures, HeatmapFiles
from clickmap_cli.services.benchmark.predictions import Predictor
from clickmap_cli.services.benchmark.result import Failure, LeftOut
from clickmap_cli.storage.folder import RunFolder
from clickmap_cli.storage.prediction_cache import PredictionCache

_SECONDS = 1e-7  # time in which one core scores a pixel against one person


class Job:
    """One run: its settings, output folder, worker pool, and the images it could not use.

    Args:
        config: the checked configuration.
        folder: the output folder.
        progress: receives progress and notices.
        figures: functions that draw pictures and the report.
        pool: the workers that compute scores.

    Attributes:
        left_out: images that could not be used so far.
        heatmaps: pictures of predictions.
    """

    def __init__(
        self,
        config: BenchmarkConfig,
        folder: RunFolder,
        progress: Progress,
        figures: BenchmarkFigures,
        pool: Pool,
    ) -> None:
        self.config = config
        self.folder = folder
        self.progress = progress
        self.figures = figures
        self.pool = pool
        self.left_out = LeftOut()
        self.heatmaps = HeatmapFiles(
            config.heatmaps_png, folder.path, figures.heatmap, progress, self.left_out
        )

    def predictor(self, built: BuiltModel, dataset: str) -> Predictor:
        """Return the predictor of a model for one data set, with its cache."""
        config = self.config
        where = config.prediction_cache_dir
        root = Path(where) if where else self.folder.path / "predictions"
        keep = config.cache_predictions and built.cached
        cache = PredictionCache(root / dataset / built.label) if keep else None
        return Predictor(built, cache, config.postprocess)

    def fail(self, dataset: str, model: str, image_id: str, reason: str) -> None:
        """Record that an image is left out of a model, or of all models if `model` is empty."""
        self.left_out.failures.append(Failure(dataset, model, image_id, reason))

    def seconds(self, loaded: LoadedSet, n_images: int) -> float:
        """Estimate the time in which one core scores `n_images` against their people."""
        if not n_images:
            return 0
        height, width = loaded.stimuli[0].size
        people = loaded.stimuli[0].people() if self.config.ceiling else None
        return _SECONDS * n_images * height * width * (1 if people is None else len(people.names))
