"""Predicts key points in new images or the frames of a video with a trained network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.config.keypoints import KeypointConfig
from clickmap_cli.datasets.base import Problem
from clickmap_cli.datasets.frames import Frame, Frames, frames
from clickmap_cli.datasets.keypoint_labels import KeypointLabels
from clickmap_cli.datasets.keypoint_tables import write_dlc_csv, write_flat_csv
from clickmap_cli.models.keypoint_net import KeypointInput, KeypointNet, build_keypoint_net
from clickmap_cli.runtime.devices import choose_device
from clickmap_cli.runtime.errors import ConfigError, DataError, RunError
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.services.job import Identity, Job, Outcome, Run, run_job
from clickmap_cli.services.keypoints.run import KeypointFigures, picture_file
from clickmap_cli.storage.atomic import sha256_of, write_csv
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import Manifest, describe_files
from clickmap_cli.training.checkpoints import BEST, load
from clickmap_cli.training.tasks.keypoints import predict

_TABLES = ("predictions.csv", "predictions_dlc.csv", "failures.csv")
_OVERLAYS = "overlays"


@dataclass(frozen=True)
class PredictionSummary:
    """Results of a prediction.

    Attributes:
        n_images: number of images or frames.
        keypoints: names of the key points.
        failures: pictures that could not be read.
    """

    n_images: int
    keypoints: tuple[str, ...]
    failures: tuple[Problem, ...]


def run(
    config: KeypointConfig,
    source: Path,
    progress: Progress,
    figures: KeypointFigures,
    when: WhenPresent = WhenPresent.STOP,
) -> Outcome[PredictionSummary]:
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
    return run_job(_PredictionJob(config, source, figures), when, progress=progress)


@dataclass(frozen=True)
class _Inputs:
    """The trained network, the names of its key points, and the pictures."""

    network: KeypointNet
    names: tuple[str, ...]
    pictures: Frames


class _PredictionJob(Job[_Inputs, PredictionSummary]):
    command = "finetune --predict-only"
    owns = (*_TABLES, _OVERLAYS)

    def __init__(self, config: KeypointConfig, source: Path, figures: KeypointFigures) -> None:
        place = source.resolve()
        name = place.stem if place.is_file() else place.name or "root"
        self.config: KeypointConfig = config
        self.best = Path(config.output_dir) / BEST
        self.folder = Path(config.output_dir) / "predictions" / name
        self.source = source
        self.figures = figures

    def load(self, progress: Progress, *, dry_run: bool) -> _Inputs:
        """Load the network and find the pictures."""
        if not self.best.is_file():
            raise DataError(
                f"There is no trained network at {self.best}; train one first, or name its folder "
                "with --output."
            )
        network, names = load_network(self.best)
        _notify_overridden(self.config, self.best, network, progress)
        return _Inputs(network, names, frames(self.source))

    def identity(self, inputs: _Inputs) -> Identity:
        """Return what the predictions depend on."""
        described = _describe(inputs.pictures)
        files = describe_files(None, [self.best]) | {str(self.source): described}
        words = [self.config.overlay_images, *(entry["sha256"] for entry in files.values())]
        return Identity(hashlib.sha256(json.dumps(words).encode()).hexdigest(), files)

    def preview(self, inputs: _Inputs) -> PredictionSummary:
        """Return a summary without pictures; the command has no dry run."""
        return PredictionSummary(0, inputs.names, ())

    def stored(self, inputs: _Inputs, manifest: Manifest) -> PredictionSummary:
        """Return the summary of an earlier run."""
        counts = manifest.counts
        failures = tuple(Problem(**row) for row in counts["failures"])
        return PredictionSummary(counts["images"], inputs.names, failures)

    def failures(self, summary: PredictionSummary) -> Sequence[str]:
        """Return why each picture that was left out could not be read."""
        return [problem.reason for problem in summary.failures]

    def work(self, inputs: _Inputs, run: Run) -> PredictionSummary:
        """Predict the key points of the pictures in batches, and write the tables."""
        config, source, network = self.config, inputs.pictures.source, inputs.network
        run.progress.stage(f"Key points in {source.name}", inputs.pictures.n or 0)
        network.to(choose_device(config.device))
        images: list[str] = []
        points: list[NDArray[np.float64]] = []
        failures: list[Problem] = []
        readable = _read_frames(inputs.pictures, failures, run.progress)
        while some := list(islice(readable, config.eval_batch_size)):
            predicted = predict(network, [frame.pixels for frame in some])
            for frame, where in zip(some, predicted, strict=True):
                images.append(frame.name)
                points.append(where)
                if len(images) <= config.overlay_images:
                    path = run.path / _OVERLAYS / picture_file(len(images), frame.name)
                    self.figures.draw_overlay(
                        path, frame.name, frame.pixels, inputs.names, predicted=where
                    )
                    run.add([path])
                run.progress.advance()
        if not images:
            first = f"; {failures[0].reason}" if failures else "."
            raise DataError(f"{source}: it holds no picture that can be read{first}")
        labels = KeypointLabels(inputs.names, tuple(images), np.stack(points))
        tables = [run.path / name for name in _TABLES]
        write_flat_csv(tables[0], labels)
        write_dlc_csv(tables[1], labels)
        rows = ((row.image_id, row.reason) for row in failures)
        write_csv(tables[2], ("image_id", "reason"), rows)
        run.add(tables)
        run.counts |= {"images": len(images), "failures": [asdict(row) for row in failures]}
        return PredictionSummary(len(images), inputs.names, tuple(failures))


def _read_frames(pictures: Frames, failures: list[Problem], progress: Progress) -> Iterator[Frame]:
    """Yield the readable pictures, and append the others to `failures`."""
    try:
        for item in pictures:
            if isinstance(item, Problem):
                failures.append(item)
                progress.advance()
            else:
                yield item
    except DataError as error:  # the rest of a video is damaged
        failures.append(Problem(pictures.source.name, str(error)))


def load_network(path: Path) -> tuple[KeypointNet, tuple[str, ...]]:
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


def _notify_overridden(
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
        ignored = ", ".join(f"{name} {value}" for name, value in other.items())
        progress.notice(f"{path} was trained with {trained_with}; {ignored} is not used.")


def _describe(found: Frames) -> dict[str, Any]:
    """Return the number of files of a source, and a hash of their names and content."""
    digest = hashlib.sha256()
    for path in found.files:
        try:
            content = sha256_of(path)
        except OSError:
            content = ""  # reading the file later reports the failure
        digest.update(json.dumps([path.name, content]).encode())
    return {"files": len(found.files), "sha256": digest.hexdigest()}
