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
from clickmap_cli.datasets.kernel_density import blurred
from clickmap_cli.datasets.others import UNIFORM_SHARE
from clickmap_cli.datasets.people import scaled_to
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
        ConfigError: it is nothing of these, or there is no such file.
        DataError: the file holds no log density.
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
        raise ConfigError(f"{what}: no centerbias at {path} (looked from {Path.cwd()}).")
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
        self._sets: dict[int, _Fixations] = {}
        self._seen: list[Stimulus] = []  # so that nothing else ever gets the id of one of them

    def see(self, stimuli: Sequence[Stimulus]) -> None:
        """Be told of a data set's images."""
        fixations = _Fixations(stimuli)
        self._seen += stimuli
        self._sets.update((id(stimulus), fixations) for stimulus in stimuli)

    def of(self, stimulus: Stimulus, size: Size) -> LogDensity:
        """The others' density."""
        counts = self._others(stimulus).without(stimulus, size)
        density = blurred(counts, BANDWIDTH * size[1])
        mixed = (1 - UNIFORM_SHARE) * density / density.sum() + UNIFORM_SHARE / density.size
        return _as_log_density(np.log(mixed))

    def digest(self, stimulus: Stimulus) -> str:
        """A hash of everybody's fixations, and of the image's own, which are left out."""
        words = f"{BANDWIDTH} {self._others(stimulus).digest} {_points_digest(stimulus)}"
        return hashlib.sha256(words.encode()).hexdigest()

    def _others(self, stimulus: Stimulus) -> _Fixations:
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


class _Fixations:
    """All fixations of a data set."""

    def __init__(self, stimuli: Sequence[Stimulus]) -> None:
        self._stimuli = [stimulus for stimulus in stimuli if stimulus.points is not None]
        self.n = sum(len(stimulus.points or ()) for stimulus in self._stimuli)
        words = "".join(_points_digest(stimulus) for stimulus in self._stimuli)
        self.digest = hashlib.sha256(words.encode()).hexdigest()
        self._all = lru_cache(maxsize=_SIZES_KEPT)(lambda size: _counts(self._stimuli, size))

    def without(self, stimulus: Stimulus, size: Size) -> NDArray[np.int64]:
        """(h, w) fixations a pixel of all images but one."""
        return self._all(size) - _counts([stimulus], size)


def _counts(stimuli: Sequence[Stimulus], size: Size) -> NDArray[np.int64]:
    """(h, w) fixations a pixel, brought to an image of this size in relative coordinates."""
    height, width = size
    flat = [np.zeros(0, dtype=np.int64)]
    for stimulus in stimuli:
        if stimulus.points is not None:
            rows = scaled_to(stimulus.points.y, stimulus.size[0], height)
            flat.append(rows * width + scaled_to(stimulus.points.x, stimulus.size[1], width))
    return np.bincount(np.concatenate(flat), minlength=height * width).reshape(size)


def _points_digest(stimulus: Stimulus) -> str:
    found = hashlib.sha256(str(stimulus.size).encode())
    if stimulus.points is not None:
        found.update(stimulus.points.x.tobytes() + stimulus.points.y.tobytes())
    return found.hexdigest()


def _as_log_density(values: NDArray[Any]) -> LogDensity:
    """Shifted so that exp sums to 1."""
    top = values.max()
    shifted = values - (top + np.log(np.exp(values - top).sum()))
    return np.asarray(shifted, dtype=np.float32)
