"""Classifiers of attention images: a small network, any of timm, and a logistic regression."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.models.gradient import Normalised
from clickmap_cli.models.timm_models import (
    RELEASE,
    TimmNetwork,
    create_network,
    set_input_size,
    try_image,
)
from clickmap_cli.models.weights import RANDOM, seeded
from clickmap_cli.runtime.errors import ConfigError, RunError

BASE = "base"
"""The name of the small network."""

KERNELS = (3, 5)
STRIDES = (1, 2)
"""Kernels and strides of the convolutions of the two blocks of `base`."""

_POOL = 2
_FLAT = 1e-6
"""Largest slope per image of the logistic regression's objective at its optimum."""


class ClassifierNetwork(nn.Module):
    """The network `base` of the reading study.

    A BatchNorm without learnable parameters on the image; two blocks Conv -> ReLU -> MaxPool (2) ->
    Dropout -> BatchNorm (learnable), with kernels 3 and 5, strides 1 and 2, and `in_size` and 2 x
    `in_size` channels, without padding; one linear layer.

    Args:
        size: height and width of the images.
        channels: number of channels of the images.
        n_classes: number of classes.
        in_size: number of channels of the first block.
        dropout: share of activations that are dropped in training.

    Raises:
        ConfigError: the images are too small.
    """

    def __init__(
        self, size: Size, channels: int, n_classes: int, in_size: int = 16, dropout: float = 0.4
    ) -> None:
        super().__init__()
        height, width = feature_size(size)
        widths = (channels, in_size, 2 * in_size)
        self.input_norm = nn.BatchNorm2d(channels, affine=False)
        self.first, self.second = (
            nn.Sequential(
                nn.Conv2d(widths[at], widths[at + 1], KERNELS[at], STRIDES[at]),
                nn.ReLU(),
                nn.MaxPool2d(_POOL),
                nn.Dropout(dropout),
                nn.BatchNorm2d(widths[at + 1]),
            )
            for at in range(2)
        )
        self.linear = nn.Linear(widths[2] * height * width, n_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (n, classes) scores, before any softmax, of (n, channels, h, w) images in 0..1."""
        features = self.second(self.first(self.input_norm(images)))
        scores: torch.Tensor = self.linear(features.flatten(1))
        return scores


def feature_size(size: Size) -> Size:
    """Return height and width of an image's features after the two blocks of `base`.

    Raises:
        ConfigError: the features would be empty.

    >>> feature_size((128, 200))
    (15, 24)
    """
    height, width = size
    for kernel, stride in zip(KERNELS, STRIDES, strict=True):
        height, width = (
            max(0, (side - kernel) // stride + 1) // _POOL for side in (height, width)
        )  # fmt: skip
    if height < 1 or width < 1:
        raise ConfigError(
            f"network base: images of {list(size)} are too small; they must have 16 x 16 pixels or "
            "more. Set size to resize them."
        )
    return height, width


def build_classifier(
    size: Size,
    channels: int,
    n_classes: int,
    *,
    network: str = BASE,
    in_size: int = 16,
    dropout: float = 0.4,
    weights: str = RANDOM,
    weights_path: str | None = None,
    seed: int = 0,
) -> nn.Module:
    """Build a network on the CPU that scores classes of images with values in 0..1.

    A timm network gets a new last layer, and normalises images as for its weights. For grey images,
    the means and deviations are averaged over RGB, and weights of the first layer are summed over
    RGB, as timm does.

    Args:
        size: height and width of the images.
        channels: 1 for grey, 3 for colour.
        n_classes: number of classes.
        network: `base`, or the name of a network in timm.
        in_size: channels of the first block of `base`; the second one has twice as many.
        dropout: share of activations of `base` that are dropped in training.
        weights: for a timm network: `none` draws random weights, `timm` downloads timm's.
        weights_path: a checkpoint of the timm network to start from, in place of `weights`.
        seed: seed of random weights.

    Raises:
        ConfigError: a setting is wrong, or the network cannot take such images.
        DataError: its weights are missing, cannot be downloaded or do not fit.
    """
    if network == BASE:
        if weights_path or weights != RANDOM:
            raise ConfigError("network base: it has no weights to begin with; leave weights out.")
        with seeded(seed):
            return ClassifierNetwork(size, channels, n_classes, in_size, dropout)
    what = f"network {network}"
    timm_network = TimmNetwork(
        network,
        what,
        weights=None if weights_path else weights,
        weights_path=weights_path,
        seed=seed,
    )
    state = None
    if weights_path or str(weights).lower() == RELEASE:
        # load them unchanged first, because every key must fit
        state = timm_network.build().state_dict()
    made = create_network(
        network, what, seed=seed, state=state, in_chans=channels, num_classes=n_classes
    )
    set_input_size(made, size, timm_network.config, f"{what}: size")
    try_image(made, size, f"{what}: size", channels)
    mean, std = timm_network.mean, timm_network.std
    if channels == 1:
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    return Normalised(made, mean, std)


def fit_logistic(
    features: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any] | None = None, l2: float = 1
) -> Any:
    """Fit scikit-learn's logistic regression, the baseline that networks are compared with.

    Features are standardised by the training data's own mean and deviation. The objective is the
    sum over images of weight x negative log likelihood, plus l2 / 2 times the sum of squared
    weights of features; constants are not penalised. For two classes the penalty applies to the
    difference of their weights, for more classes to each class's own weights (multinomial).

    Args:
        features: (n, features) finite.
        labels: (n) codes of classes, each with an image.
        weights: (n) weights of images, above 0; None = 1.
        l2: strength of the penalty, above 0.

    Returns:
        A scikit-learn pipeline; `predict_proba` gives (n, classes) for (n, features).

    Raises:
        RunError: the fit does not converge.

    Reference: Cox (1958); Hastie, Tibshirani and Friedman (2009), section 4.4.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # lbfgs, the default solver, leaves errors of 1e-6
    regression = LogisticRegression(C=1 / l2, solver="newton-cg", tol=1e-8, max_iter=1000)
    fitted = make_pipeline(StandardScaler(), regression)
    with warnings.catch_warnings():
        # given too where the start is the optimum; the slopes of the objective tell the two apart
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted.fit(features, labels, logisticregression__sample_weight=weights)
    weight = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=np.float64)
    missed = fitted.predict_proba(features) - np.eye(len(regression.classes_))[labels]
    slopes = (missed * weight[:, None]).T @ fitted[0].transform(features)
    slopes = slopes[-len(regression.coef_) :] + l2 * regression.coef_  # two classes: one row
    if np.abs(slopes).max() > _FLAT * weight.sum():
        raise RunError("Logistic regression did not converge.")
    return fitted
