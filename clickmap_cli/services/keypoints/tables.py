"""Tables of the key points that a network predicted, and of their scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.datasets.keypoint_labels import KeypointLabels, write_dlc_csv, write_flat_csv
from clickmap_cli.metrics.keypoints import KeypointScores, scaled, score_keypoints
from clickmap_cli.metrics.uncertainty import RESAMPLES, bootstrap_means, percentile_interval
from clickmap_cli.runtime.seeding import generator
from clickmap_cli.services.keypoints.data import KeypointData
from clickmap_cli.storage.atomic import json_ready, write_csv, write_json

SUMMARY = "summary.json"


@dataclass(frozen=True, eq=False)
class KeypointResult:
    """Results of a training on the test images.

    Attributes:
        name: the run's name.
        model: name of the network.
        data: images of the training and the test.
        shown: height and width of the network's images.
        predicted: (n, k, 2) predicted points in each image's own pixels.
        scores: scores in the images' own pixels.
        network_scores: scores in the network's pixels.
        best: epoch of the checkpoint that was scored.
        seed: seed of the intervals.
        best_step: step of that checkpoint, if evaluations are counted in steps.
    """

    name: str
    model: str
    data: KeypointData
    shown: Size
    predicted: NDArray[np.float64]
    scores: KeypointScores
    network_scores: KeypointScores
    best: int
    seed: int
    best_step: int | None = None


def scored(
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
        [scaled(p, shown, image.size) for p, image in zip(network_points, data.test, strict=True)]
    )
    true = np.stack([image.points for image in data.test])
    seen = np.stack([scaled(image.points, image.size, shown) for image in data.test])
    return (
        own,
        score_keypoints(own, true, data.reference, alpha),
        score_keypoints(network_points, seen, data.reference, alpha),
    )


def write_tables(folder: Path, result: KeypointResult) -> list[Path]:
    """Write every table, and return their paths."""
    data = result.data
    names = tuple(image.name for image in data.test)
    found = KeypointLabels(data.names, names, result.predicted)
    true = KeypointLabels(data.names, names, np.stack([image.points for image in data.test]))
    paths = [
        folder / name
        for name in (
            "predictions.csv", "labels.csv", "predictions_dlc.csv", "per_image.csv",
            "per_keypoint.csv", SUMMARY,
        )
    ]  # fmt: skip
    write_flat_csv(paths[0], found)
    write_flat_csv(paths[1], true)
    write_dlc_csv(paths[2], found)
    write_csv(paths[3], _IMAGE, _image_rows(result))
    write_csv(paths[4], _POINT, _point_rows(result))
    write_json(paths[5], as_summary(result))
    return paths


_IMAGE = (
    "image", "n_labelled", "pck", "rmse", "mean_error", "rmse_network", "mean_error_network",
    "wrong",
)  # fmt: skip
_POINT = ("keypoint", "n_labelled", "pck", "rmse", "mean_error", "rmse_network")


def _image_rows(result: KeypointResult) -> list[list[Any]]:
    own, network = result.scores, result.network_scores
    rows = []
    for at, image in enumerate(result.data.test):
        wrong = ";".join(result.data.names[k] for k in own.wrong[at])
        rows.append(
            [
                image.name, int(own.labelled[at].sum()), own.image_pck[at], own.image_rmse[at],
                own.image_error[at], network.image_rmse[at], network.image_error[at], wrong,
            ]
        )  # fmt: skip
    return rows


def _point_rows(result: KeypointResult) -> list[list[Any]]:
    own, network = result.scores, result.network_scores
    return [
        [
            name, int(own.labelled[:, k].sum()), own.point_pck[k], own.point_rmse[k],
            own.point_error[k], network.point_rmse[k],
        ]
        for k, name in enumerate(result.data.names)
    ]  # fmt: skip


def as_summary(result: KeypointResult) -> dict[str, Any]:
    """Return the result as plain values; an undefined number is None."""
    own, network, data = result.scores, result.network_scores, result.data
    interval = {
        name: _interval(values, result.seed, name)
        for name, values in (("pck", own.image_pck), ("rmse", own.image_rmse))
    }
    summary = {
        "name": result.name,
        "model": result.model,
        "network_size": list(result.shown),
        "keypoints": list(data.names),
        "n_train": len(data.train),
        "n_validation": 0 if data.validation is data.test else len(data.validation),
        "n_test": len(data.test),
        "best_epoch": result.best,
        **({} if result.best_step is None else {"best_step": result.best_step}),
        "alpha": own.alpha,
        "reference_points": [data.names[k] for k in data.reference],
        "pck": own.pck,
        "pck_ci": interval["pck"],
        "rmse": own.rmse,
        "rmse_ci": interval["rmse"],
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
    return dict(json_ready(summary))


def _interval(values: NDArray[np.float64], seed: int, what: str) -> list[float] | None:
    """Return the 95% percentile bootstrap interval of a mean over images; None without values."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, high = percentile_interval(bootstrap_means(known, generator(seed, "bootstrap", what)))
    return [float(low), float(high)]
