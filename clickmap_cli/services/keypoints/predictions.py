"""Predicts key points in new images or the frames of a video with a trained network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.config.keypoints import KeypointConfig
from clickmap_cli.config.loading import as_dict
from clickmap_cli.datasets.base import Problem
from clickmap_cli.datasets.frames import Frame, Frames, frames
from clickmap_cli.datasets.keypoint_labels import KeypointLabels, write_dlc_csv, write_flat_csv
from clickmap_cli.models.keypoint_net import KeypointInput, KeypointNet, build_keypoint_net
from clickmap_cli.runtime.devices import choose_device
from clickmap_cli.runtime.errors import ConfigError, DataError, RunError
from clickmap_cli.runtime.progress import Progress, Stopwatch
from clickmap_cli.services.keypoints.pictures import KeypointFigures, KeypointOverlay, picture_file
from clickmap_cli.storage.atomic import sha256_of, write_csv
from clickmap_cli.storage.folder import RunFolder, WhenPresent
from clickmap_cli.storage.manifest import Manifest, describe_files
from clickmap_cli.training.checkpoints import BEST, load
from clickmap_cli.training.tasks.keypoints import predict

_TABLES = ("predictions.csv", "predictions_dlc.csv", "failures.csv")
_OVERLAYS = "overlays"


@dataclass(frozen=True)
class PredictionRun:
    """Results of a prediction.

    Attributes:
        folder: folder of the tables.
        n_images: number of images or frames.
        names: names of the key points.
        failures: pictures that could not be read.
        seconds: duration in seconds.
    """

    folder: Path
    n_images: int
    names: tuple[str, ...]
    failures: tuple[Problem, ...]
    seconds: float


def run(
    config: KeypointConfig,
    source: Path,
    progress: Progress,
    figures: KeypointFigures,
    when: WhenPresent = WhenPresent.STOP,
) -> PredictionRun:
    """Find key points in new pictures with `best.pth` of a finished training.

    Writes `predictions/<source>/` into the training's folder: `predictions.csv`,
    `predictions_dlc.csv`, `failures.csv`, pictures of the first `overlay_images` and a manifest.
    The training and its results do not change.

    Args:
        config: configuration of the training.
        source: a folder of images, an image, or a video.
        progress: counts the pictures, and receives a notice about keys that the trained network
            overrides.
        figures: draw pictures.
        when: what to do with existing predictions for a source of this name.

    Raises:
        ConfigError: predictions exist, and the call does not say what to do with them.
        DataError: `output_dir` has no trained network, or the source or all its pictures cannot be
            read.
        MissingExtraError: the source is a video, and PyAV is not installed.
        RunError: the checkpoint is damaged, or the folder is busy.
    """
    started = Stopwatch()
    best = Path(config.output_dir) / BEST
    if not best.is_file():
        raise DataError(
            f"There is no trained network at {best}; train one first, or name its folder with "
            "--output."
        )
    network, names = trained(best)
    _say_overruled(config, best, network, progress)
    found = frames(source)
    folder = _folder_of(config, source)
    when = folder.require_startable(when)
    inputs = describe_files(None, [best]) | {str(source): _described(found)}
    words = [config.overlay_images, *(entry["sha256"] for entry in inputs.values())]
    identity = hashlib.sha256(json.dumps(words).encode()).hexdigest()
    with folder.held():
        done = folder.reuse_or_begin(identity, when)
        if done is None:
            predictor = _Predictor(config, network, folder.path, progress, figures)
            try:
                files = predictor.go(found, names)
            except DataError:
                folder.abandon()
                raise
            counts = {
                "images": len(predictor.images),
                "failures": [asdict(row) for row in predictor.failures],
            }
            done = Manifest.made(
                command=folder.command, config=as_dict(config), config_hash=identity, inputs=inputs,
                outputs=describe_files(folder.path, files), counts=counts, started=started,
                seed=config.seed, notices=progress.kept,
            )  # fmt: skip
            folder.finish(done)
    failures = tuple(Problem(**row) for row in done.counts["failures"])
    seconds = started.seconds
    return PredictionRun(folder.path, done.counts["images"], names, failures, seconds)


class _Predictor:
    """Predicts the key points of pictures in batches."""

    def __init__(
        self,
        config: KeypointConfig,
        network: KeypointNet,
        folder: Path,
        progress: Progress,
        figures: KeypointFigures,
    ) -> None:
        self._config = config
        self._network = network
        self._folder = folder
        self._progress = progress
        self._figures = figures
        self.images: list[str] = []
        self.points: list[NDArray[np.float64]] = []
        self.failures: list[Problem] = []
        self.pictures: list[Path] = []

    def go(self, found: Frames, names: tuple[str, ...]) -> list[Path]:
        """Find the key points, write the tables, and return every file.

        Raises:
            DataError: no picture can be read.
        """
        self._progress.stage(f"Key points in {found.source.name}", found.n or 0)
        self._network.to(choose_device(self._config.device))
        going = self._readable(found)
        while some := list(islice(going, self._config.eval_batch_size)):
            self._predict(some, names)
        if not self.images:
            first = f"; {self.failures[0].reason}" if self.failures else "."
            raise DataError(f"{found.source}: it holds no picture that can be read{first}")
        labels = KeypointLabels(names, tuple(self.images), np.stack(self.points))
        tables = [self._folder / name for name in _TABLES]
        write_flat_csv(tables[0], labels)
        write_dlc_csv(tables[1], labels)
        rows = ((row.image_id, row.reason) for row in self.failures)
        write_csv(tables[2], ("image_id", "reason"), rows)
        return [*tables, *self.pictures]

    def _readable(self, found: Frames) -> Iterator[Frame]:
        """Yield the readable pictures, and record the others as failures."""
        try:
            for item in found:
                if isinstance(item, Problem):
                    self.failures.append(item)
                    self._progress.advance()
                else:
                    yield item
        except DataError as error:  # the rest of a video is damaged
            self.failures.append(Problem(found.source.name, str(error)))

    def _predict(self, some: list[Frame], names: tuple[str, ...]) -> None:
        network = self._network
        predicted = predict(network, [frame.pixels for frame in some])
        for frame, where in zip(some, predicted, strict=True):
            self.images.append(frame.name)
            self.points.append(where)
            if len(self.images) <= self._config.overlay_images:
                path = self._folder / _OVERLAYS / picture_file(len(self.images), frame.name)
                overlay = KeypointOverlay(path, frame.name, frame.pixels, names, predicted=where)
                self._figures.overlay(overlay)
                self.pictures.append(path)
            self._progress.advance()


def trained(path: Path) -> tuple[KeypointNet, tuple[str, ...]]:
    """Return the network of a checkpoint and the names of its key points.

    Raises:
        RunError: the file is not a checkpoint of a key-point training.
    """
    stored = load(path)
    about: Any = stored.get("about")
    try:
        names = tuple(str(name) for name in about["names"])
        network = build_keypoint_net(str(about["model_type"]), int(about["img_size"]), len(names))
        network.load_state_dict(stored["state_dict"])
        network.shown = KeypointInput(
            network.shown.size,
            tuple(float(v) for v in about["mean"]),
            tuple(float(v) for v in about["std"]),
        )
    except (KeyError, TypeError, ValueError, RuntimeError, ConfigError) as error:
        raise RunError(f"{path}: not a checkpoint of a key-point training.") from error
    return network, names


def _say_overruled(
    config: KeypointConfig, path: Path, network: KeypointNet, progress: Progress
) -> None:
    """Give a notice about keys of the configuration that differ from the trained network."""
    is_so = {
        "model_type": network.name, "img_size": network.shown.size[0], "n_KPs": network.n_points,
    }  # fmt: skip
    other = {
        name: getattr(config, name)
        for name, value in is_so.items()
        if getattr(config, name) not in (None, value)
    }
    if other:
        trained_with = ", ".join(f"{name} {is_so[name]}" for name in other)
        said = ", ".join(f"{name} {value}" for name, value in other.items())
        progress.notice(f"{path} was trained with {trained_with}; {said} is not used.")


def _folder_of(config: KeypointConfig, source: Path) -> RunFolder:
    """Return the folder for the predictions of a source."""
    place = source.resolve()
    name = place.stem if place.is_file() else place.name or "root"
    path = Path(config.output_dir) / "predictions" / name
    return RunFolder(path, "finetune --predict-only", (*_TABLES, _OVERLAYS))


def _described(found: Frames) -> dict[str, Any]:
    """Return the number of files of a source, and a hash of their names and content."""
    digest = hashlib.sha256()
    for path in found.files:
        try:
            content = sha256_of(path)
        except OSError:
            content = ""  # reading the file later reports the failure
        digest.update(json.dumps([path.name, content]).encode())
    return {"files": len(found.files), "sha256": digest.hexdigest()}
