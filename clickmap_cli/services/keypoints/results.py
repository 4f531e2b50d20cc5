"""Scores of the key points that a network predicted, and their tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.config.keypoints import KeypointConfig
from clickmap_cli.datasets.keypoint_labels import KeypointLabels
from clickmap_cli.datasets.keypoint_tables import write_dlc_csv, write_flat_csv
from clickmap_cli.metrics.keypoints import KeypointScores, scale_points, score_keypoints
from clickmap_cli.metrics.uncertainty import RESAMPLES, bootstrap_means, percentile_interval
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.services.keypoints.data import KeypointData
from clickmap_cli.storage.atomic import json_ready, write_csv, write_json

SUMMARY = "summary.json"


@dataclass(frozen=True)
class KeypointSummary:
    """The content of `summary.json`: the scores on the test images; None = undefined.

    Attributes:
        network_size: height and width of the network's images.
        best_step: step of the best checkpoint, if evaluations are counted in steps.
        alpha: largest error of a correct point, as a share of the distance of `reference_points`.
        pck: share of correct key points; `pck_ci` is its 95% bootstrap interval over images.
        rmse: root mean squared error, as a mean over images, in pixels of the images; `rmse_ci` is
            its interval.
        rmse_network, mean_error_network, pck_network: scores in pixels of the network's images.
        images_without_pck: test images in which a reference point has no label.
        per_keypoint: key point -> `pck` and `rmse`.
    """

    name: str
    model: str
    network_size: list[int]
    keypoints: list[str]
    n_train: int
    n_validation: int
    n_test: int
    best_epoch: int
    best_step: int | None
    alpha: float
    reference_points: list[str]
    pck: float | None
    pck_ci: list[float] | None
    rmse: float | None
    rmse_ci: list[float] | None
    resamples: int
    mean_error: float | None
    rmse_network: float | None
    mean_error_network: float | None
    pck_network: float | None
    images_without_pck: int
    per_keypoint: dict[str, dict[str, float | None]]

    @classmethod
    def load(cls, folder: Path) -> KeypointSummary:
        """Read `summary.json`."""
        values = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        return cls(**{"best_step": None} | values)

    def as_json(self) -> dict[str, Any]:
        """Return the content of the file; `best_step` is left out if it is None."""
        return {
            name: value
            for name, value in asdict(self).items()
            if name != "best_step" or value is not None
        }


def score_predictions(
    data: KeypointData, network_points: NDArray[np.float64], shown: Size, alpha: float
) -> tuple[NDArray[np.float64], KeypointScores, KeypointScores]:
    """Return predictions in the images' own pixels, and scores in those and the network's pixels.

    Args:
        data: the run's images; the test images are scored.
        network_points: (n, k, 2) predicted points in the network's pixels.
        shown: height and width of the network's images.
        alpha: share of the reference distance within which PCK counts a point as correct.
    """
    own = np.stack(
        [
            scale_points(p, shown, image.size)
            for p, image in zip(network_points, data.test, strict=True)
        ]
    )
    true = np.stack([image.points for image in data.test])
    seen = np.stack([scale_points(image.points, image.size, shown) for image in data.test])
    return (
        own,
        score_keypoints(own, true, data.reference, alpha),
        score_keypoints(network_points, seen, data.reference, alpha),
    )


def summarise(
    config: KeypointConfig,
    data: KeypointData,
    shown: Size,
    own: KeypointScores,
    network: KeypointScores,
    best: Mapping[str, Any],
) -> KeypointSummary:
    """Summarise a training.

    Args:
        config: the run's configuration.
        data: images of the training and the test.
        shown: height and width of the network's images.
        own: scores in the images' own pixels.
        network: scores in the network's pixels.
        best: facts that the best checkpoint stores: its `epoch`, and its `step` if there is one.
    """
    values = {
        "name": config.name,
        "model": config.model_type,
        "network_size": shown,
        "keypoints": data.names,
        "n_train": len(data.train),
        "n_validation": 0 if data.validation is data.test else len(data.validation),
        "n_test": len(data.test),
        "best_epoch": int(best["epoch"]),
        "best_step": best.get("step"),
        "alpha": own.alpha,
        "reference_points": [data.names[k] for k in data.reference],
        "pck": own.pck,
        "pck_ci": _interval(own.image_pck, config.seed, "pck"),
        "rmse": own.rmse,
        "rmse_ci": _interval(own.image_rmse, config.seed, "rmse"),
        "resamples": RESAMPLES,
        "mean_error": own.error,
        "rmse_network": network.rmse,
        "mean_error_network": network.error,
        "pck_network": network.pck,
        "images_without_pck": own.without_pck,
        "per_keypoint": {
            name: {"pck": own.point_pck[k], "rmse": own.point_rmse[k]}
            for k, name in enumerate(data.names)
        },
    }
    return KeypointSummary(**json_ready(values))


def _interval(values: NDArray[np.float64], seed: int, what: str) -> list[float] | None:
    """Return the 95% percentile bootstrap interval of a mean over images; None without values."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, high = percentile_interval(bootstrap_means(known, generator(seed, "bootstrap", what)))
    return [float(low), float(high)]


def write_tables(
    folder: Path,
    data: KeypointData,
    predicted: NDArray[np.float64],
    own: KeypointScores,
    network: KeypointScores,
    summary: KeypointSummary,
) -> list[Path]:
    """Write every table of the test images, and return their paths.

    Args:
        folder: the run's folder.
        data: images of the training and the test.
        predicted: (n, k, 2) predicted points in each image's own pixels.
        own: scores in the images' own pixels.
        network: scores in the network's pixels.
        summary: the summary.
    """
    names = tuple(image.name for image in data.test)
    found = KeypointLabels(data.names, names, predicted)
    true = KeypointLabels(data.names, names, np.stack([image.points for image in data.test]))
    write_flat_csv(folder / "predictions.csv", found)
    write_flat_csv(folder / "labels.csv", true)
    write_dlc_csv(folder / "predictions_dlc.csv", found)
    images = [
        [
            name, int(own.labelled[at].sum()), own.image_pck[at], own.image_rmse[at],
            own.image_error[at], network.image_rmse[at], network.image_error[at],
            ";".join(data.names[k] for k in own.wrong[at]),
        ]
        for at, name in enumerate(names)
    ]  # fmt: skip
    header = ["n_labelled", "pck", "rmse", "mean_error", "rmse_network"]
    columns = ["image", *header, "mean_error_network", "wrong"]
    write_csv(folder / "per_image.csv", columns, images)
    points = [
        [
            name, int(own.labelled[:, k].sum()), own.point_pck[k], own.point_rmse[k],
            own.point_error[k], network.point_rmse[k],
        ]
        for k, name in enumerate(data.names)
    ]  # fmt: skip
    write_csv(folder / "per_keypoint.csv", ["keypoint", *header], points)
    write_json(folder / SUMMARY, summary.as_json())
    tables = ("predictions", "labels", "predictions_dlc", "per_image", "per_keypoint")
    return [*(folder / f"{name}.csv" for name in tables), folder / SUMMARY]
