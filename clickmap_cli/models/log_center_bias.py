"""Centre biases that a model starts from: uniform, from a file, or fitted to a data set."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.datasets.others import OtherFixations
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.storage.atomic import sha256_of
from clickmap_cli.storage.safe_arrays import read_npy

LogDensity = NDArray[np.float32]

BANDWIDTH = 0.04
"""Kernel bandwidth of a fitted centre bias in image widths; IG's centre bias has the same."""

_SIZES_KEPT = 4


class LogCenterBias(ABC):
    """A log density of gaze that does not depend on the image's content."""

    def see(self, stimuli: Sequence[Stimulus]) -> None:
        """Receive the images of a data set."""
        return

    @abstractmethod
    def of(self, stimulus: Stimulus, size: Size) -> LogDensity:
        """Return the (h, w) log density of a size; exp sums to 1.

        Raises:
            DataError: this image has no centre bias.
        """

    @abstractmethod
    def digest(self, stimulus: Stimulus) -> str:
        """Return a hash of the centre bias's inputs.

        Raises:
            DataError: this image has no centre bias.
        """


def center_bias_setting(value: str, what: str) -> LogCenterBias:
    """Build the centre bias that a config requests.

    Args:
        value: `uniform`, `fitted`, or a `.npy` file.
        what: owner of the setting, for messages.

    Raises:
        ConfigError: the value is none of these.
        DataError: the file is missing, or does not hold a log density.
    """
    if value == "uniform":
        return UniformBias()
    if value == "fitted":
        return FittedBias(what)
    if not isinstance(value, str) or not value.endswith(".npy"):
        raise ConfigError(
            f"{what}: centerbias is {value!r}; it must be uniform, fitted, or a .npy file of a log "
            "density."
        )
    path = Path(value)
    if not path.is_file():
        raise DataError(f"{what}: no centerbias at {path} (looked from {Path.cwd()}).")
    return FileBias(path)


class UniformBias(LogCenterBias):
    """A constant density."""

    def of(self, stimulus: Stimulus, size: Size) -> LogDensity:
        """Return -log of the number of pixels, everywhere."""
        return np.full(size, -np.log(size[0] * size[1]), dtype=np.float32)

    def digest(self, stimulus: Stimulus) -> str:
        """Return the word `uniform`."""
        return "uniform"


class FileBias(LogCenterBias):
    """A log density from a file, resized to each image by nearest pixels and normalised again.

    Corners map to corners, as in `scipy.ndimage.zoom(order=0)`.

    Raises:
        DataError: the file is damaged, or does not hold an (h, w) array of finite numbers.
    """

    def __init__(self, path: Path) -> None:
        values = read_npy(path)
        if not isinstance(values, np.ndarray) or values.ndim != 2 or not values.size:
            raise DataError(f"{path}: not a (height, width) array of a log density.")
        if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise DataError(
                f"{path}: not a log density; it holds something that is no finite number."
            )
        self._values = values.astype(np.float64)
        self._sha256 = sha256_of(path)
        self._fitted = lru_cache(maxsize=_SIZES_KEPT)(self._resized)

    def of(self, stimulus: Stimulus, size: Size) -> LogDensity:
        """Return the file's log density, resized."""
        return self._fitted(size)

    def digest(self, stimulus: Stimulus) -> str:
        """Return the file's SHA-256."""
        return self._sha256

    def _resized(self, size: Size) -> LogDensity:
        rows, columns = (
            np.floor(np.linspace(0, side - 1, wanted) + 0.5).astype(np.int64)
            for side, wanted in zip(self._values.shape, size, strict=True)
        )
        return _as_log_density(self._values[np.ix_(rows, columns)])


class FittedBias(LogCenterBias):
    """The kernel density of the fixations of all other images of the data set.

    Fixations are transferred in relative coordinates. The kernel's bandwidth is `BANDWIDTH` of the
    width, and 1% of the uniform density is mixed in. This is the centre bias that IG is measured
    against, evaluated at every pixel.

    Args:
        what: owner of the setting, for messages.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._sets: dict[int, OtherFixations] = {}
        self._seen: list[Stimulus] = []  # kept alive, so that their ids are never reused

    def see(self, stimuli: Sequence[Stimulus]) -> None:
        """Receive the images of a data set, whose fixations form the density."""
        fixations = OtherFixations(stimuli, BANDWIDTH)
        self._seen += stimuli
        self._sets.update((id(stimulus), fixations) for stimulus in stimuli)

    def of(self, stimulus: Stimulus, size: Size) -> LogDensity:
        """Return the log density of the other images' fixations."""
        return _as_log_density(np.log(self._others(stimulus).density(stimulus, size)))

    def digest(self, stimulus: Stimulus) -> str:
        """Return a hash of all fixations and of the image's own, which are left out."""
        own = OtherFixations([stimulus], BANDWIDTH).digest
        return hashlib.sha256(f"{self._others(stimulus).digest} {own}".encode()).hexdigest()

    def _others(self, stimulus: Stimulus) -> OtherFixations:
        fixations = self._sets.get(id(stimulus))
        if fixations is None:
            raise DataError(
                f"{stimulus.image_id}: {self._what} has centerbias: fitted, and was told of no "
                "data set with this image."
            )
        own = 0 if stimulus.points is None else len(stimulus.points)
        if fixations.n == own:
            raise DataError(
                f"{stimulus.image_id}: no other image has fixations, so {self._what} cannot fit "
                "its centre bias; set centerbias: uniform."
            )
        return fixations


def _as_log_density(values: NDArray[Any]) -> LogDensity:
    """Shift values so that exp sums to 1."""
    top = values.max()
    shifted = values - (top + np.log(np.exp(values - top).sum()))
    return np.asarray(shifted, dtype=np.float32)
