"""Classifiers of attention images: a small convolutional network, or any network of timm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from torch import nn

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.models.gradient import Normalised
from clickmap_cli.models.timm_models import RELEASE, TimmNetwork, TimmSettings
from clickmap_cli.models.weights import RANDOM, seeded
from clickmap_cli.runtime.errors import ConfigError, DataError, RunError, short_reason

BASE = "base"
"""The name of the small network."""

KERNELS = (3, 5)
STRIDES = (1, 2)
"""Kernels and strides of the convolutions of the two blocks of `base`."""

_POOL = 2
_MISFITS = (AssertionError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class ClassifierSettings:
    """Settings of a classifier.

    Attributes:
        network: `base`, or the name of a network in timm.
        in_size: channels of the first block of `base`; the second one has twice as many.
        dropout: share of activations of `base` that are dropped in training.
        weights: for a timm network: `none` draws random weights, `timm` downloads timm's.
        weights_path: a checkpoint of the timm network to start from, in place of `weights`.
        seed: seed of random weights.
    """

    network: str = BASE
    in_size: int = 16
    dropout: float = 0.4
    weights: str = RANDOM
    weights_path: str | None = None
    seed: int = 0


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
        ConfigError: the images are too small, or a setting is wrong.
    """

    def __init__(
        self, size: Size, channels: int, n_classes: int, in_size: int = 16, dropout: float = 0.4
    ) -> None:
        super().__init__()
        if in_size < 1:
            raise ConfigError(f"network base: in_size is {in_size}; it must be 1 or more.")
        if not 0 <= dropout < 1:
            raise ConfigError(f"network base: dropout is {dropout}; it must be from 0 to below 1.")
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
    settings: ClassifierSettings, size: Size, channels: int, n_classes: int
) -> nn.Module:
    """Build a network on the CPU that scores classes of images with values in 0..1.

    Args:
        settings: the network's settings.
        size: height and width of the images.
        channels: 1 for grey, 3 for colour.
        n_classes: number of classes.

    Raises:
        ConfigError: a setting is wrong, or the network cannot take such images.
        DataError: its weights are missing, cannot be downloaded or do not fit.
    """
    if settings.network != BASE:
        return _timm_classifier(settings, size, channels, n_classes)
    if settings.weights_path or settings.weights != RANDOM:
        raise ConfigError("network base: it has no weights to begin with; leave weights out.")
    with seeded(settings.seed):
        return ClassifierNetwork(size, channels, n_classes, settings.in_size, settings.dropout)


def _timm_classifier(
    settings: ClassifierSettings, size: Size, channels: int, n_classes: int
) -> nn.Module:
    """Build a timm network with a new last layer, which normalises images as for its weights.

    For grey images, the means and deviations are averaged over RGB, and weights of the first layer
    are summed over RGB, as timm does.
    """
    import timm

    name, what = settings.network, f"network {settings.network}"
    told = None if settings.weights_path else settings.weights
    known = TimmNetwork(TimmSettings(name, told, settings.weights_path, None, settings.seed), what)
    options: dict[str, Any] = {"in_chans": channels, "num_classes": n_classes}
    if settings.weights_path or str(settings.weights).lower() == RELEASE:
        # load them unchanged first, because every key must fit; timm then changes the first and
        # last layer
        state = known.build().state_dict()
        options |= {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": state}}
    with seeded(settings.seed):
        try:
            made: nn.Module = timm.create_model(name, **options)
        except _MISFITS as error:
            raise ConfigError(f"{what}: it cannot be built ({short_reason(error)}).") from error
    _fit_to(made, size, channels, what)
    mean, std = known.mean, known.std
    if channels == 1:
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    return Normalised(made, mean, std)


def _fit_to(network: nn.Module, size: Size, channels: int, what: str) -> None:
    """Resize position embeddings to the images' size, and try one image; raise if it fails."""
    change = getattr(network, "set_input_size", None)
    try:
        if change is not None:
            change(img_size=size)
        network.eval()
        with torch.no_grad():
            network(torch.zeros(1, channels, *size))
    except _MISFITS as error:
        raise ConfigError(
            f"{what}: it cannot take images of {list(size)} ({short_reason(error)}); set size."
        ) from error


Array = NDArray[np.float64]

_MAX_STEPS = 200
_LEAST_STEP = 1e-10
_FLAT = 1e-9
"""Largest gradient accepted at the optimum, as a share of the images' total weight."""


@dataclass(frozen=True)
class Logistic:
    """A fitted logistic regression.

    Attributes:
        mean: (features) means of the training data.
        scale: (features) standard deviations of the training data; 1 for a constant feature.
        weights: (features + 1, classes) of standardised features, the constant last.
    """

    mean: Array
    scale: Array
    weights: Array

    def probabilities(self, features: NDArray[Any]) -> Array:
        """Return (n, classes) probabilities for (n, features), each row summing to 1."""
        return np.asarray(softmax(_with_one((features - self.mean) / self.scale) @ self.weights, 1))

    def predict(self, features: NDArray[Any]) -> NDArray[np.int64]:
        """Return (n) codes of the most probable classes."""
        codes: NDArray[np.int64] = self.probabilities(features).argmax(axis=1)
        return codes


def fit_logistic(
    features: NDArray[Any],
    labels: NDArray[Any],
    n_classes: int,
    l2: float = 1.0,
    weights: NDArray[Any] | None = None,
) -> Logistic:
    """Fit by Newton's method, in float64, on features standardised by their own mean and deviation.

    The objective is the sum over images of weight x negative log likelihood, plus l2 / 2 times the
    sum of squared weights of features; constants are not penalised. For two classes the penalty
    applies to the difference of their weights, for more classes to each class's own weights
    (multinomial), as in scikit-learn, whose C is 1 / l2.

    Args:
        features: (n, features) finite.
        labels: (n) codes of classes, from 0.
        n_classes: number of classes.
        l2: strength of the penalty, above 0.
        weights: (n) weights of images, above 0; None = 1.

    Raises:
        DataError: a class has no image, or a feature is not finite.
        RunError: the fit does not converge.

    Reference: Cox (1958); Hastie, Tibshirani and Friedman (2009), section 4.4.
    """
    raw, weight = _checked(features, labels, n_classes, weights)
    mean, scale = raw.mean(axis=0), raw.std(axis=0)
    # a constant may differ from its mean in the last bits
    scale[scale <= 1e-12 * np.abs(mean)] = 1.0
    problem = _Problem(_with_one((raw - mean) / scale), np.eye(n_classes)[labels], weight, l2)
    free = problem.solved()
    return Logistic(mean, scale, free @ problem.share)


def _checked(
    features: NDArray[Any], labels: NDArray[Any], n_classes: int, weights: NDArray[Any] | None
) -> tuple[Array, Array]:
    raw = np.asarray(features, dtype=np.float64)
    counts = np.bincount(labels, minlength=n_classes)
    absent = np.flatnonzero(counts == 0)
    if len(absent):
        raise DataError(f"Logistic regression: class {absent[0]} has no image to learn from.")
    if not np.all(np.isfinite(raw)):
        raise DataError("Logistic regression: a feature is not finite.")
    weight = np.ones(len(raw)) if weights is None else np.asarray(weights, dtype=np.float64)
    return raw, weight


def _with_one(features: Array) -> Array:
    return np.column_stack((features, np.ones(len(features))))


class _Problem:
    """The objective as a function of (features + 1, free) weights.

    Two classes have one free column, the difference; more classes have one column each.
    """

    def __init__(self, inputs: Array, targets: Array, weight: Array, l2: float) -> None:
        n_classes = targets.shape[1]
        self.share = np.array([[0.0, 1.0]]) if n_classes == 2 else np.eye(n_classes)
        self._inputs = inputs
        self._targets = targets
        self._weight = weight
        self._penalty = np.full((inputs.shape[1], 1), l2)
        self._penalty[-1] = 0

    def value(self, free: Array) -> float:
        """Return the objective."""
        logs = log_softmax(self._inputs @ free @ self.share, axis=1)
        likelihood = self._weight @ (self._targets * logs).sum(axis=1)
        return float(np.sum(self._penalty * free**2) / 2 - likelihood)

    def slope(self, free: Array) -> Array:
        """Return the gradient of the objective, in the shape of the weights."""
        away = softmax(self._inputs @ free @ self.share, axis=1) - self._targets
        pull = self._inputs.T @ (self._weight[:, None] * away) @ self.share.T
        return np.asarray(pull + self._penalty * free)

    def curvature(self, free: Array) -> Array:
        """Return the (all, all) second derivative, with weights in `ravel` order."""
        p = softmax(self._inputs @ free @ self.share, axis=1)
        # (n, classes, classes) of each image's scores, then of the free columns
        inner = p[:, :, None] * (np.eye(p.shape[1]) - p[:, None, :])
        inner = self.share @ inner @ self.share.T
        full = np.einsum(
            "n,ni,nab,nj->iajb", self._weight, self._inputs, inner, self._inputs, optimize=True
        )
        size = free.size
        penalty = np.repeat(self._penalty[:, 0], free.shape[1])
        return np.asarray(full.reshape(size, size) + np.diag(penalty))

    def solved(self) -> Array:
        """Return the weights at the optimum.

        Raises:
            RunError: the iteration does not converge.
        """
        free = np.zeros((self._inputs.shape[1], len(self.share)))
        limit = _FLAT * max(1.0, float(self._weight.sum()))
        for _ in range(_MAX_STEPS):
            slope = self.slope(free)
            if np.abs(slope).max() <= limit:
                # adding a number to the constants of all classes changes no probability
                free[-1] -= free[-1].mean() if len(self.share) > 1 else 0.0
                return free
            # take the shortest solution: the curvature is 0 where all constants move together
            found, *_ = np.linalg.lstsq(self.curvature(free), slope.ravel(), rcond=1e-12)
            way = np.asarray(found.reshape(free.shape), dtype=np.float64)
            free = self._stepped(free, way, slope)
        raise RunError("Logistic regression did not converge; use a larger l2.")

    def _stepped(self, free: Array, way: Array, slope: Array) -> Array:
        """Take a step that decreases the objective enough (Armijo), halving it until it does."""
        here, gain = self.value(free), 1e-4 * float(np.sum(way * slope))
        rounding = 1e-12 * (1 + abs(here))  # near the optimum, gains vanish in rounding
        length = 1.0
        while self.value(free - length * way) > here - length * gain + rounding:
            length /= 2
            if length < _LEAST_STEP:
                raise RunError("Logistic regression did not converge; use a larger l2.")
        return free - length * way
