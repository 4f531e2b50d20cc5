"""DeepGaze IIE and III as models of a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.models.base import Output
from clickmap_cli.models.deepgaze import DeepGazeIIE, DeepGazeIII
from clickmap_cli.models.deepgaze_readout import HISTORY
from clickmap_cli.models.log_center_bias import center_bias_setting
from clickmap_cli.models.torch_model import TorchSaliencyModel
from clickmap_cli.models.weights import load_state, read_state, seeded, weights_setting
from clickmap_cli.runtime.devices import choose_device
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.storage.atomic import sha256_of

_WHOLE = 1e-3
_WIDEST_BLUR = 1000.0


class _DeepGaze(TorchSaliencyModel):
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
    run_only = TorchSaliencyModel.run_only | {
        "weights_path", "weights", "seed", "centerbias", "low_memory", "repo_id",
    }  # fmt: skip

    def __init__(
        self,
        weights_path: str | None = None,
        weights: str | None = None,
        centerbias: str = "uniform",
        requires_size: list[int] | None = None,
        device: str = "auto",
        batch_size: int = 1,
        low_memory: bool = False,
        seed: int = 0,
        repo_id: str | None = None,
    ) -> None:
        super().__init__(device, requires_size, batch_size)
        if repo_id:
            raise ConfigError(
                f"{self.name}: repo_id is {repo_id!r}; weights come from weights_path."
            )
        if self.size is not None and min(self.size) < self.least_side:
            raise ConfigError(
                f"{self.name}: requires_size is {requires_size!r}; both sides must be at least "
                f"{self.least_side}."
            )
        self._path = weights_setting(weights_path, weights, self.name)
        self._bias = center_bias_setting(centerbias, self.name)
        self._low_memory = low_memory
        self._seed = seed
        if self._path is None:
            self.notices = (
                f"{self.name}: random weights (weights: none); its scores mean nothing.",
            )

    def see(self, stimuli: Sequence[Stimulus]) -> None:
        """Pass a data set's images to a fitted centre bias."""
        self._bias.see(stimuli)

    def depends_on(self, stimulus: Stimulus) -> str:
        """Return the digests of the image and the centre bias.

        Raises:
            DataError: either is missing.
        """
        return f"{stimulus.image_digest()} {self._bias.digest(stimulus)}"

    def weights_digest(self) -> str:
        """Return the checkpoint's SHA-256, or the seed of random weights."""
        return f"random {self._seed}" if self._path is None else sha256_of(self._path)

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
        bias = self._bias.of(stimulus, size)
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
