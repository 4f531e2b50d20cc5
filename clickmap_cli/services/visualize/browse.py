"""Browses the maps in a folder: those of an experiment, or the predictions of a benchmark."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.config.benchmark import BenchmarkConfig, Spec, model_specs
from clickmap_cli.config.loading import BENCHMARK, experiment_from_values, load_config
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.models.building import BuiltModel, build_model
from clickmap_cli.runtime.errors import ClickmapError, DataError
from clickmap_cli.runtime.progress import Progress, Silent
from clickmap_cli.runtime.registry import load_plugin
from clickmap_cli.scoring.data import read_set
from clickmap_cli.scoring.predictions import Predictor, shown_map
from clickmap_cli.scoring.tables import SUMMARY, load_result
from clickmap_cli.services.visualize.agreement import Agreement, ceilings_beside
from clickmap_cli.services.visualize.experiment import (
    SHOWN,
    PreparedExperiment,
    open_experiment,
    read_pixels,
)
from clickmap_cli.storage.manifest import load_manifest
from clickmap_cli.storage.prediction_cache import PredictionCache

ALL = "all images"
EVERYONE = "everyone"
TRUTH = "people (ground truth)"

Pixels = NDArray[np.uint8]
Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""A header and its rows."""


@dataclass(frozen=True)
class Seen:
    """One map of one image.

    Attributes:
        pixels: (h, w, 3) uint8 image on the map's pixels; None if it is missing.
        heat: (h, w) map; None if it is missing.
        pixel_aspect: height of a pixel on the image divided by its width.
        notes: sentences for a person: why something is missing, what was converted.
    """

    pixels: Pixels | None
    heat: NDArray[Any] | None
    pixel_aspect: float = 1.0
    notes: tuple[str, ...] = ()


class Source(ABC):
    """Images in groups, and the maps of each image.

    Attributes:
        title: title of the source.
        group_word: label of the choice of a group.
        notices: sentences for a person about the whole source.
    """

    title: str
    group_word: str
    notices: tuple[str, ...] = ()

    @abstractmethod
    def groups(self) -> list[str]:
        """Return the groups of images, each once."""

    @abstractmethod
    def images(self, group: str) -> list[str]:
        """Return the names of a group's images."""

    @abstractmethod
    def layers(self, group: str, image: str) -> list[str]:
        """Return the names of an image's maps."""

    @abstractmethod
    def see(self, group: str, image: str, layer: str) -> Seen:
        """Return one map of one image."""

    @abstractmethod
    def table(self, group: str, image: str) -> Table:
        """Return a table of an image's numbers."""


class ExperimentSource(Source):
    """The clickmaps of an experiment: the mean map, and the map of each participant.

    Args:
        experiment: a finished run of `prepare`.
        agreements: agreement according to each ceiling in the experiment's folder.
        notices: sentences for a person.
    """

    group_word = "Category"

    def __init__(
        self,
        experiment: PreparedExperiment,
        agreements: Sequence[Agreement] = (),
        notices: Sequence[str] = (),
    ) -> None:
        self.title = f"Clickmaps of {experiment.config.experiment_name}"
        self.notices = tuple(notices)
        self._experiment = experiment
        self._agreements = agreements
        self._code = {key: code for code, key in enumerate(experiment.keys)}

    def groups(self) -> list[str]:
        """Return a group of all images, and then the categories if there are several."""
        names = self._experiment.trials.categories.tolist()
        return [ALL, *names] if len(names) > 1 else [ALL]

    def images(self, group: str) -> list[str]:
        """Return the image keys of a group."""
        keys = self._experiment.keys
        if group == ALL:
            return list(keys)
        return [key for code, key in enumerate(keys) if self._experiment.category(code) == group]

    def layers(self, group: str, image: str) -> list[str]:
        """Return the name of the mean map, then each participant."""
        users = self._experiment.participants(self._code[image])
        return [EVERYONE, *self._experiment.trials.users[users].tolist()]

    def see(self, group: str, image: str, layer: str) -> Seen:
        """Return the mean map as it was written, or make a participant's map from their clicks.

        Raises:
            DataError: the map is missing or damaged.
        """
        experiment, code = self._experiment, self._code[image]
        found = read_pixels(experiment, code)
        if layer == EVERYONE:
            heat = experiment.mean_map(code)
        else:
            user = int(np.flatnonzero(experiment.trials.users == layer)[0])
            heat = experiment.participant_map(code, user)
        notes = () if found.state == SHOWN else (f"Image {found.state}: {found.note}.",)
        return Seen(found.pixels, heat, found.pixel_aspect, notes)

    def table(self, group: str, image: str) -> Table:
        """Return category, participants, clicks and agreement."""
        code = self._code[image]
        head = ["category", "participants", "clicks"]
        row = [
            self._experiment.category(code),
            f"{int(self._experiment.people[code]):,}",
            f"{len(self._experiment.clicks(code).x):,}",
        ]
        for agreement in self._agreements:
            head.append(f"{agreement.metric}, {agreement.method}")
            row.append(_number(float(agreement.values[code])))
        return head, [row]


class BenchmarkSource(Source):
    """The predictions that a benchmark kept, and the ground truth they were scored against.

    Args:
        folder: the benchmark's folder.
        config: its configuration.
        progress: receives the current stage.
    """

    group_word = "Data set"

    def __init__(self, folder: Path, config: BenchmarkConfig, progress: Progress) -> None:
        self.title = f"Benchmark {config.experiment}"
        self._folder = folder
        self._config = config
        notices: list[str] = []
        for path in config.plugins or ():
            load_plugin(Path(path))
        specs = config.datasets
        self._sets = {spec.label: self._read(spec, notices, progress) for spec in specs}
        self._models: dict[str, BuiltModel | None] = {}
        for spec in model_specs(config):
            progress.stage(f"Making {spec.label}")
            self._models[spec.label] = self._build(spec, notices)
        self.notices = tuple(notices)

    def _read(self, spec: Spec, notices: list[str], progress: Progress) -> dict[str, Stimulus]:
        progress.stage(f"Reading {spec.label}")
        data = read_set(spec.name, spec.settings, f"data set {spec.label}")
        notices += [
            f"{spec.label}: {loss} {loss.cause}".rstrip() for loss in data.losses if loss.lost
        ]
        said = (*data.notices, *data.scoring_notices)
        notices += [f"{spec.label}: {text}" for text in said]
        stimuli = list(data.stimuli)[: self._config.limit_images]
        return {stimulus.image_id: stimulus for stimulus in stimuli}

    def _build(self, spec: Spec, notices: list[str]) -> BuiltModel | None:
        """Build a model to find its kept predictions by their key; nothing is predicted."""
        try:
            built = build_model(spec.label, spec.name, spec.settings, "cpu")
        except ClickmapError as error:
            notices.append(f"{spec.label}: its predictions cannot be told from others: {error}")
            return None
        for stimuli in self._sets.values():
            built.model.see(list(stimuli.values()))
        return built

    def groups(self) -> list[str]:
        """Return the labels of the data sets."""
        return list(self._sets)

    def images(self, group: str) -> list[str]:
        """Return the image ids of a data set."""
        return list(self._sets[group])

    def layers(self, group: str, image: str) -> list[str]:
        """Return the name of the ground truth, then every model."""
        return [TRUTH, *self._models]

    def see(self, group: str, image: str, layer: str) -> Seen:
        """Return the ground truth, or a prediction that was kept and is still valid."""
        stimulus = self._sets[group][image]
        notes = []
        pixels = None
        try:
            pixels = np.rint(stimulus.image() * 255).astype(np.uint8)
        except DataError as error:
            notes.append(str(error))
        heat: NDArray[Any] | None = None
        try:
            heat = stimulus.truth() if layer == TRUTH else self._prediction(group, stimulus, layer)
        except DataError as error:
            notes.append(str(error))
        if heat is None:
            kept = "" if layer == TRUTH else " that was kept and still holds"
            notes.append(f"{image}: there is no map of {layer}{kept}.")
        return Seen(pixels, heat, 1.0, tuple(notes))

    def _prediction(self, group: str, stimulus: Stimulus, model: str) -> NDArray[Any] | None:
        built = self._models[model]
        if built is None:
            return None
        where = self._config.prediction_cache_dir
        root = Path(where) if where else self._folder / "predictions"
        predictor = Predictor(
            built, PredictionCache(root / group / model), self._config.postprocess
        )
        maps = predictor.stored(stimulus)
        return shown_map(maps, built.model.output) if maps else None

    def table(self, group: str, image: str) -> Table:
        """Return the score of each model for the image in each metric."""
        metrics = list(self._config.metrics)
        rows = []
        for model in self._models:
            scores = self._scores.get((group, model), {}).get(image)
            if scores is not None:
                rows.append([model, *(_number(scores.get(name, math.nan)) for name in metrics)])
        return ["model", *metrics], rows

    @cached_property
    def _scores(self) -> dict[tuple[str, str], dict[str, Mapping[str, float]]]:
        """Data set and model -> image id -> metric -> score; empty if nothing was scored."""
        if not (self._folder / SUMMARY).is_file():
            return {}
        return {
            (found.dataset, found.model): {row.image_id: row.scores for row in found.images}
            for found in load_result(self._folder).models
        }


def open_source(folder: Path) -> Source:
    """Open a folder to browse its maps.

    Args:
        folder: a folder that `prepare` or `benchmark` wrote.

    Raises:
        DataError: neither command wrote the folder, or it is damaged.
        ConfigError: its configuration names something that no longer exists.
    """
    manifest = load_manifest(folder)
    if manifest is None or manifest.command not in ("prepare", "benchmark"):
        found = "no manifest.json" if manifest is None else f"a run of {manifest.command}"
        raise DataError(
            f"{folder.absolute()} holds {found}; name a folder written by prepare or benchmark."
        )
    progress = Silent()
    if manifest.command == "benchmark":
        config = load_config(BENCHMARK, None, options=manifest.config).config
        return BenchmarkSource(folder, config, progress)
    values = experiment_from_values(manifest.config)
    made = dataclasses.replace(values, output_dir=str(folder.resolve()))
    experiment = open_experiment(made, progress)
    return ExperimentSource(experiment, ceilings_beside(experiment, progress), progress.notices)


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else ""
