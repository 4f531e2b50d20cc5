"""Predictions of a test fold's finished network, and of the baseline, for its test maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from clickmap_cli.config.classifier import ClassifierConfig
from clickmap_cli.datasets.classifier_images import LabelledImage
from clickmap_cli.metrics.classification import class_weights
from clickmap_cli.metrics.map_statistics import statistics_vector
from clickmap_cli.models.classifier import fit_logistic
from clickmap_cli.runtime.devices import choose_device
from clickmap_cli.services.classifier.data import ClassifierStudy, new_network
from clickmap_cli.services.classifier.folds import best_of
from clickmap_cli.services.classifier.scores import BASELINE, NETWORK, FoldOutcome
from clickmap_cli.training.folds import OuterFold
from clickmap_cli.training.tasks.classifier import ClassifierTask, PlaneCache, planes_of


def tested(
    config: ClassifierConfig,
    study: ClassifierStudy,
    fold: OuterFold,
    path: Path,
    cache: PlaneCache,
) -> tuple[FoldOutcome, nn.Module]:
    """Predict probabilities for a fold's test maps; return them with the network.

    Args:
        config: the run's configuration.
        study: the maps and their folds.
        fold: the fold, whose training is finished.
        path: the fold's folder.
        cache: cache of decoded maps.

    Raises:
        DataError: a map is missing or damaged.
        RunError: the fold's model is missing or damaged.
    """
    best, weights = best_of(path)
    network = new_network(config, study.images, study.size, config.seed, pretrained=False)
    network.load_state_dict(weights)
    network.to(choose_device(config.device))
    items = study.of(fold.test)
    task = ClassifierTask(network, (), (), study.images.classes, False, cache)
    said = {NETWORK: task.probabilities(items, config.training.batch_size)}
    if config.baseline:
        said[BASELINE] = _baseline(config, study, fold, cache)
    return FoldOutcome(fold, best, tuple(items), study.images.codes(items), said), network


def _baseline(
    config: ClassifierConfig, study: ClassifierStudy, fold: OuterFold, cache: PlaneCache
) -> NDArray[np.float64]:
    """Predict (n, classes) probabilities by logistic regression on five statistics of each map.

    It trains on all participants outside the test fold: it needs no validation participants, as it
    has nothing to choose.
    """

    def features(items: list[LabelledImage]) -> NDArray[np.float64]:
        planes = [np.moveaxis(planes_of(item, cache).numpy(), 0, -1) for item in items]
        return np.stack([statistics_vector(values) for values in planes])

    train, n_classes = study.of(fold.train), len(study.images.classes)
    codes = study.images.codes(train)
    weights = None
    if config.training.class_weights:
        weights = class_weights(codes.tolist(), n_classes)[codes]
    fitted = fit_logistic(features(train), codes, weights)
    return np.asarray(fitted.predict_proba(features(study.of(fold.test))))
