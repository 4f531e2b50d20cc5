"""A trained key-point network on new images or a video's frames."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.config.keypoints import KeypointConfig
from clickmap_cli.datasets.frames import Frame, frames
from clickmap_cli.datasets.keypoint_labels import KeypointLabels, write_dlc_csv, write_flat_csv
from clickmap_cli.models.vit_keypoints import KeypointInput, KeypointNet, build_keypoint_net
from clickmap_cli.runtime.devices import choose_device
from clickmap_cli.runtime.errors import ConfigError, DataError, RunError
from clickmap_cli.runtime.progress import Progress
from clickmap_cli.services.keypoint_pictures import KeypointFigures, KeypointOverlay
from clickmap_cli.storage.folder import RunFolder, WhenPresent
from clickmap_cli.training.checkpoints import BEST, load
from clickmap_cli.training.keypoint_task import predict


@dataclass(frozen=True)
class PredictionRun:
    """What was predicted.

    Attributes:
        folder: where the tables are.
        n_images: images or frames.
        names: of the key points.
        seconds: how long it took.
    """

    folder: Path
    n_images: int
    names: tuple[str, ...]
    seconds: float


def run(
    config: KeypointConfig,
    source: Path,
    progress: Progress,
    figures: KeypointFigures,
    when: WhenPresent = WhenPresent.STOP,
) -> PredictionRun:
    """Find key points in new pictures with `best.pth` of a finished training.

    Writes `predictions/<source>/predictions.csv`, `predictions_dlc.csv` and pictures of the first
    `overlay_images` into the training's folder; training and its results are not touched.

    Args:
        config: of the training.
        source: a folder of images, an image, or a video.
        progress: told of every picture.
        figures: draw pictures.
        when: what to do with predictions of such a source that are there; they are made anew
            unless this says stop.

    Raises:
        ConfigError: there is no trained network in `output_dir`, or predictions are there.
        DataError: the source cannot be read, or holds no picture.
        MissingExtraError: a video, and PyAV is not installed.
        RunError: the checkpoint is damaged, or the folder is busy.
    """
    started = time.time()
    root = Path(config.output_dir)
    if not (root / BEST).is_file():
        raise ConfigError(
            f"There is no trained network at {root / BEST}; train one first, or name its folder "
            "with --output."
        )
    network, names = trained(root / BEST)
    network.to(choose_device(config.device))
    found = frames(source)
    place = source.resolve()
    folder = root / "predictions" / (place.stem if place.is_file() else place.name or "root")
    if folder.exists() and when is WhenPresent.STOP:
        raise ConfigError(
            f"{folder} already holds predictions; add --overwrite to make them anew, or rename the "
            "source."
        )
    progress.stage(f"Key points in {source.name}", found.n or 0)
    images: list[str] = []
    points: list[NDArray[np.float64]] = []
    with RunFolder(root, "finetune").held():
        shutil.rmtree(folder, ignore_errors=True)
        for some in _batches(iter(found), config.eval_batch_size):
            predicted = predict(network, network.shown, [frame.pixels for frame in some])
            for frame, where in zip(some, predicted, strict=True):
                if len(images) < config.overlay_images:
                    name = f"{Path(frame.name.replace('/', '_')).stem}.png"
                    path = folder / "overlays" / name
                    figures.overlay(
                        KeypointOverlay(path, frame.name, frame.pixels, names, predicted=where)
                    )
                images.append(frame.name)
                points.append(where)
                progress.advance()
        if not images:
            raise DataError(f"{source}: it holds no picture.")
        labels = KeypointLabels(names, tuple(images), np.stack(points))
        write_flat_csv(folder / "predictions.csv", labels)
        write_dlc_csv(folder / "predictions_dlc.csv", labels)
    return PredictionRun(folder, len(images), names, round(time.time() - started, 3))


def trained(path: Path) -> tuple[KeypointNet, tuple[str, ...]]:
    """The network of a checkpoint and the names of its key points.

    Raises:
        RunError: it is no checkpoint of a key-point training.
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


def _batches(items: Iterator[Frame], n: int) -> Iterator[list[Frame]]:
    while some := list(islice(items, n)):
        yield some
