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
"""Of a fitted centre bias's kernel, in image widths; as of the one that IG is measured against."""

_SIZES_KEPT = 4


class LogCenterBias(ABC):
    """Where people look whatever the image shows, as a log density."""

    def see(self, stimuli: Sequence[Stimulus]) -> None:  # noqa: ARG002
        """Be told of a data set's images."""
        return

    @abstractmethod
    def of(self, stimulus: Stimulus, size: Size) -> LogDensity:
        """(h, w) of that size; exp sums to 1.

        Raises:
            DataError: there is none for this image.
        """

    @abstractmethod
    def digest(self, stimulus: Stimulus) -> str:
        """A hash of what it depends on.

        Raises:
            DataError: there is none for this image.
        """


def center_bias_setting(value: str, what: str) -> LogCenterBias:
    """The centre bias a config asks for.

    Args:
        value: `uniform`, `fitted`, or a `.npy` file.
        what: whose it is, for messages.

    Raises:
        ConfigError: it is nothing of these.
        DataError: there is no such file, or it holds no log density.
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
    """The same everywhere."""

    def of(self, stimulus: Stimulus, size: Size) -> LogDensity:  # noqa: ARG002
        """-log of the number of pixels."""
        return np.full(size, -np.log(size[0] * size[1]), dtype=np.float32)

    def digest(self, stimulus: Stimulus) -> str:  # noqa: ARG002
        """A word."""
        return "uniform"


class FileBias(LogCenterBias):
    """A log density from a file, brought to each image by its nearest pixels and scaled again.

    The corners stay corners, as `scipy.ndimage.zoom(order=0)` has it.

    Raises:
        DataError: the file is damaged, or holds no (h, w) finite numbers.
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

    def of(self, stimulus: Stimulus, size: Size) -> LogDensity:  # noqa: ARG002
        """The file's, resized."""
        return self._fitted(size)

    def digest(self, stimulus: Stimulus) -> str:  # noqa: ARG002
        """SHA-256 of the file."""
        return self._sha256

    def _resized(self, size: Size) -> LogDensity:
        rows, columns = (
            np.floor(np.linspace(0, side - 1, wanted) + 0.5).astype(np.int64)
            for side, wanted in zip(self._values.shape, size, strict=True)
        )
        return _as_log_density(self._values[np.ix_(rows, columns)])


class FittedBias(LogCenterBias):
    """The kernel density of the fixations of all other images of the data set, in each image.

    They are moved in relative coordinates; the kernel is `BANDWIDTH` of the width, and 1% of the
    uniform density is mixed in: the centre bias that IG is measured against, at every pixel.

    Args:
        what: whose it is, for messages.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._sets: dict[int, OtherFixations] = {}
        self._seen: list[Stimulus] = []  # so that nothing else ever gets the id of one of them

    def see(self, stimuli: Sequence[Stimulus]) -> None:
        """Be told of a data set's images."""
        fixations = OtherFixations(stimuli, BANDWIDTH)
        self._seen += stimuli
        self._sets.update((id(stimulus), fixations) for stimulus in stimuli)

    def of(self, stimulus: Stimulus, size: Size) -> LogDensity:
        """The others' density."""
        return _as_log_density(np.log(self._others(stimulus).density(stimulus, size)))

    def digest(self, stimulus: Stimulus) -> str:
        """A hash of everybody's fixations, and of the image's own, which are left out."""
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
    """Shifted so that exp sums to 1."""
    top = values.max()
    shifted = values - (top + np.log(np.exp(values - top).sum()))
    return np.asarray(shifted, dtype=np.float32)
