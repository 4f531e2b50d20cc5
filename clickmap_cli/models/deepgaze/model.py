"""DeepGaze IIE and III as models of a benchmark."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.config.fields import Count, OptionalSize
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.datasets.fixations import OtherFixations
from clickmap_cli.models.base import Output
from clickmap_cli.models.deepgaze.network import HISTORY, DeepGazeIIE, DeepGazeIII
from clickmap_cli.models.torch_model import CheckpointModel
from clickmap_cli.models.weights import load_state, read_state, seeded
from clickmap_cli.runtime.devices import choose_device
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.storage.atomic import sha256_of
from clickmap_cli.storage.safe_arrays import read_npy

_WHOLE = 1e-3
_WIDEST_BLUR = 1000.0


class _DeepGaze(CheckpointModel):
    """Base class of both models.

    Args:
        weights_path: the official checkpoint.
        weights: `none` for random weights.
        centerbias: `uniform`; `fitted` to the fixations of the data set's other images; or a `.npy`
            file of a log density, which is resized to each image.
        requires_size: (height, width) of the input; None = each image's own.
        device: auto, cpu, cuda or mps.
        batch_size: number of images of one size that are predicted together.
        low_memory: keep the weights in main memory and send one backbone at a time to the device.
        seed: seed of random weights.
        repo_id: must be empty; accepted because the field's configs have this key.
    """

    name: ClassVar[str]
    network_class: ClassVar[Callable[[], torch.nn.Module]]
    least_side: ClassVar[int]
    output: Output = "log_density"
    # the digests of weights and centre bias cover these settings
    run_only = CheckpointModel.run_only | {
        "weights_path", "weights", "seed", "centerbias", "low_memory", "repo_id",
    }  # fmt: skip

    def __init__(
        self,
        weights_path: str | None = None,
        weights: str | None = None,
        centerbias: str = "uniform",
        requires_size: OptionalSize = None,
        device: str = "auto",
        batch_size: Count = 1,
        low_memory: bool = False,
        seed: int = 0,
        repo_id: str | None = None,
    ) -> None:
        super().__init__(
            self.name,
            weights_path,
            weights,
            seed,
            device=device,
            requires_size=requires_size,
            batch_size=batch_size,
        )
        if repo_id:
            raise ConfigError(
                f"{self.name}: repo_id is {repo_id!r}; weights come from weights_path."
            )
        if self.size is not None and min(self.size) < self.least_side:
            raise ConfigError(
                f"{self.name}: requires_size is {requires_size!r}; both sides must be at least "
                f"{self.least_side}."
            )
        self._bias = read_center_bias(centerbias, self.name)
        self._low_memory = low_memory

    def see(self, stimuli: Sequence[Stimulus]) -> None:
        """Pass a data set's images to a fitted centre bias."""
        self._bias.see(stimuli)

    def depends_on(self, stimulus: Stimulus) -> str:
        """Return the digests of the image and the centre bias.

        Raises:
            DataError: either is missing.
        """
        return f"{stimulus.image_digest()} {self._bias.digest(stimulus)}"

    def build(self) -> torch.nn.Module:
        """Build the network with its weights.

        Raises:
            DataError: the checkpoint is damaged or belongs to another network.
        """
        with seeded(self._seed):
            network = type(self).network_class()
        if self._path is None:
            return network
        load_state(network, read_state(self._path), self._path)
        for name, values in network.state_dict().items():
            if name.endswith(".sigma") and not 0 < float(values) <= _WIDEST_BLUR:
                raise DataError(
                    f"{self._path}: {name} is {float(values):g}; the width of a blur must be above "
                    f"0 and at most {_WIDEST_BLUR:g}."
                )
        return network

    def network(self) -> torch.nn.Module:
        """Return the network on its device, or in main memory with `low_memory`."""
        if self._network is None and self._low_memory:
            self._on = choose_device(self.device)
            self._network = self.build().eval()
        return super().network()

    def _input(self, stimulus: Stimulus) -> NDArray[np.float32]:
        """Return (4, h, w): RGB in 0..255 and the centre bias's log density.

        Raises:
            DataError: the image is missing or too small, or has no centre bias.
        """
        size = self.size or stimulus.size
        if min(size) < self.least_side:
            raise DataError(
                f"{stimulus.image_id}: {self.name} needs images of {self.least_side} x "
                f"{self.least_side} pixels or more, this one has {size[0]} x {size[1]}; "
                "requires_size resizes it."
            )
        pixels = self.planes(stimulus).astype(np.float64) * 255
        whole = np.rint(pixels)  # the image file's values before division by 255
        pixels = np.where(np.abs(pixels - whole) < _WHOLE, whole, pixels)
        bias = self._bias.log_density(stimulus, size)
        return np.concatenate([pixels, bias[None]]).astype(np.float32)


class DeepGazeIIEModel(_DeepGaze):
    """DeepGaze IIE, with its official checkpoint or random weights."""

    name = "deepgaze_iie"
    network_class = DeepGazeIIE
    least_side = DeepGazeIIE.least_side

    def forward(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Return (n, h, w) log densities."""
        found: torch.Tensor = network(images[:, :3], images[:, 3])
        return found


class DeepGazeIIIModel(_DeepGaze):
    """DeepGaze III, given one earlier fixation at the image's centre."""

    name = "deepgaze_iii"
    network_class = DeepGazeIII
    least_side = DeepGazeIII.least_side

    def forward(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Return (n, h, w) log densities of the second fixation."""
        x, y = (
            torch.full((len(images), HISTORY), torch.nan, device=images.device) for _ in range(2)
        )
        x[:, 0] = images.shape[-1] // 2
        y[:, 0] = images.shape[-2] // 2
        found: torch.Tensor = network(images[:, :3], images[:, 3], x, y)
        return found


LogDensity = NDArray[np.float32]

BANDWIDTH = 0.04
"""Kernel bandwidth of a fitted centre bias in image widths; IG's centre bias has the same."""


def read_center_bias(value: str, what: str) -> UniformBias:
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


class UniformBias:
    """A log density of gaze that does not depend on the image's content: a constant one."""

    def see(self, stimuli: Sequence[Stimulus]) -> None:
        """Receive the images of a data set."""

    def log_density(self, stimulus: Stimulus, size: Size) -> LogDensity:
        """Return the (h, w) log density of a size; exp sums to 1.

        Raises:
            DataError: this image has no centre bias.
        """
        return np.full(size, -np.log(size[0] * size[1]), dtype=np.float32)

    def digest(self, stimulus: Stimulus) -> str:
        """Return a hash of the centre bias's inputs.

        Raises:
            DataError: this image has no centre bias.
        """
        return "uniform"


class FileBias(UniformBias):
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
                f"{path}: not a log density; it holds NaN, infinite values or no numbers."
            )
        self._values = values.astype(np.float64)
        self._sha256 = sha256_of(path)
        self._fitted = lru_cache(maxsize=4)(self._resized)

    def log_density(self, stimulus: Stimulus, size: Size) -> LogDensity:
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
        return _normalise_log(self._values[np.ix_(rows, columns)])


class FittedBias(UniformBias):
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

    def log_density(self, stimulus: Stimulus, size: Size) -> LogDensity:
        """Return the log density of the other images' fixations."""
        return _normalise_log(np.log(self._others(stimulus).density(stimulus, size)))

    def digest(self, stimulus: Stimulus) -> str:
        """Return a hash of all fixations and of the image's own, which are left out."""
        own = OtherFixations([stimulus], BANDWIDTH).digest
        return hashlib.sha256(f"{self._others(stimulus).digest} {own}".encode()).hexdigest()

    def _others(self, stimulus: Stimulus) -> OtherFixations:
        fixations = self._sets.get(id(stimulus))
        if fixations is None:
            raise DataError(
                f"{stimulus.image_id}: {self._what} has centerbias: fitted, and no data "
                "set that was passed to the model has this image."
            )
        own = 0 if stimulus.points is None else len(stimulus.points)
        if fixations.n == own:
            raise DataError(
                f"{stimulus.image_id}: no other image has fixations, so {self._what} cannot fit "
                "its centre bias; set centerbias: uniform."
            )
        return fixations


def _normalise_log(values: NDArray[Any]) -> LogDensity:
    """Shift values so that exp sums to 1."""
    top = values.max()
    shifted = values - (top + np.log(np.exp(values - top).sum()))
    return np.asarray(shifted, dtype=np.float32)
