"""The base class of every model that is a PyTorch network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from clickmap_cli.clickmaps.geometry import Size, resize
from clickmap_cli.config.fields import Channels, Count, Key, OptionalSize
from clickmap_cli.datasets.base import Stimulus
from clickmap_cli.models.base import SaliencyModel
from clickmap_cli.models.baselines import read_size
from clickmap_cli.models.weights import random_weights_notice, read_weights_setting
from clickmap_cli.runtime.devices import choose_device
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.storage.atomic import sha256_of

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

INTERPOLATIONS = ("bilinear", "bicubic")
"""Methods of resizing an image for a network, both with antialiasing."""

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class TorchSaliencyModel(SaliencyModel):
    """Base class that brings images to a network and its maps back.

    A subclass builds its network in `build`; `forward` returns the network's output. At the first
    prediction the network is moved to the device; it runs in evaluation mode, without gradients.

    Attributes:
        needs_gradients: True if `forward` differentiates with respect to images or activations; the
            network's parameters are frozen all the same.

    Args:
        device: auto, cpu, cuda or mps.
        requires_size: (height, width) that the network requires; None = each image's own.
        batch_size: number of images of one size that are predicted together.
        dtype: float32, float16 or bfloat16 (the latter two run under autocast).
        mean: values subtracted from RGB in 0..1; None = ImageNet's.
        std: values the result is divided by; None = ImageNet's.
    """

    needs_gradients: bool = False
    interpolation: str = "bilinear"

    def __init__(
        self,
        device: str = "auto",
        requires_size: OptionalSize = None,
        batch_size: Count = 1,
        dtype: Annotated[str, Key(choices=tuple(_DTYPES))] = "float32",
        mean: Channels = None,
        std: Channels = None,
    ) -> None:
        name = type(self).__name__
        self.device = device
        self.batch_size = batch_size
        self.size = read_size(requires_size, f"{name}: requires_size")
        self._dtype = _DTYPES[dtype]
        mean = IMAGENET_MEAN if mean is None else mean
        std = IMAGENET_STD if std is None else std
        self._mean = np.array(mean, dtype=np.float32)[:, None, None]
        self._std = np.array(std, dtype=np.float32)[:, None, None]
        self._network: torch.nn.Module | None = None
        self._on = ""

    def stretched_to(self, size: Size) -> Size | None:
        """Return the setting `requires_size`."""
        return self.size

    @abstractmethod
    def build(self) -> torch.nn.Module:
        """Build the network with its weights, on the CPU.

        Raises:
            DataError: its weights are missing or do not fit.
        """

    def forward(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Return the maps of a batch.

        Args:
            network: the network that `build` made, on the device.
            images: (n, 3, h, w) float32, normalised.

        Returns:
            (n, h', w') maps, densities or log densities, as `output` says; by default what the
            network returns.
        """
        maps: torch.Tensor = network(images)
        return maps

    def training_maps(
        self,
        network: torch.nn.Module,
        images: torch.Tensor,
        size: tuple[int, int],
    ) -> torch.Tensor:
        """Return the maps that fine-tuning compares to the ground truth, with gradients.

        By default these are the maps of `forward`. A model whose `predict_batch` does more (removes
        padding, say) must do the same here.

        Args:
            network: the network that `build` made, on the device.
            images: (n, 3, h, w) as `batch` makes them.
            size: height and width of the images they come from.

        Raises:
            ConfigError: the model overrides `predict_batch` but not this method, so it cannot be
                fine-tuned.
        """
        if type(self).predict_batch is not TorchSaliencyModel.predict_batch:
            raise ConfigError(f"{type(self).__name__} cannot be fine-tuned; choose another model.")
        return self.forward(network, images)

    def prepare(self) -> None:
        """Build the network and move it to its device."""
        self.network()

    def release(self) -> None:
        """Free the network."""
        self._network = None

    def predict(self, stimulus: Stimulus) -> NDArray[Any]:
        """Predict one image."""
        return self.predict_batch([stimulus])[0]

    def predict_batch(self, stimuli: Sequence[Stimulus]) -> list[NDArray[Any]]:
        """Predict several images; without `requires_size` they must have the same size."""
        network = self.network()
        images = self.batch(stimuli)
        half = self._dtype is not torch.float32
        context = torch.enable_grad() if self.needs_gradients else torch.inference_mode()
        with context, torch.autocast(
            self._on, dtype=self._dtype if half else None, enabled=half
        ):  # fmt: skip
            maps = self.forward(network, images)
        if maps.ndim != 3 or len(maps) != len(stimuli):
            raise DataError(
                f"{type(self).__name__}: the network returns the shape {tuple(maps.shape)} for "
                f"{len(stimuli)} images; it must be one map an image."
            )
        return list(maps.detach().float().cpu().numpy())

    def batch(self, stimuli: Sequence[Stimulus]) -> torch.Tensor:
        """Return (n, 3, h, w) normalised images, on the network's device."""
        stacked = np.stack([self._input(stimulus) for stimulus in stimuli])
        return torch.from_numpy(stacked).to(self._on)

    def planes(self, stimulus: Stimulus) -> NDArray[Any]:
        """Return (3, h, w) RGB in 0..1 at the network's size, not yet normalised."""
        planes = np.moveaxis(stimulus.image(), -1, 0)
        return planes if self.size is None else _resize_image(planes, self.size, self.interpolation)

    def network(self) -> torch.nn.Module:
        """Return the network on its device, in evaluation mode; it is built on the first call."""
        if self._network is None:
            self._on = choose_device(self.device)
            network = self.build().to(self._on)
            with suppress(NotImplementedError):  # an exported network has a fixed mode
                network.eval()
            if self.needs_gradients:
                network.requires_grad_(False)
            self._network = network
        return self._network

    def _input(self, stimulus: Stimulus) -> NDArray[np.float32]:
        """Return the (3, h, w) normalised image."""
        normalised = (self.planes(stimulus) - self._mean) / self._std
        return np.ascontiguousarray(normalised, dtype=np.float32)


class CheckpointModel(TorchSaliencyModel):
    """Base class of networks whose weights come from a file or are random.

    Args:
        what: name of the model, for messages.
        weights_path: the file.
        weights: `none` for random weights.
        seed: seed of random weights.
        kwargs: as for `TorchSaliencyModel`.
    """

    def __init__(
        self, what: str, weights_path: str | None, weights: str | None, seed: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._path = read_weights_setting(weights_path, weights, what)
        self._seed = seed
        if self._path is None:
            self.notices = (random_weights_notice(what),)

    def weights_digest(self) -> str:
        """Return the file's SHA-256, or the seed of random weights."""
        return f"random {self._seed}" if self._path is None else sha256_of(self._path)


def _resize_image(
    planes: NDArray[np.float32], size: Size, interpolation: str
) -> NDArray[np.float32]:
    """Resize (3, h, w) RGB in 0..1; values that bicubic weights push out of 0..1 are clipped."""
    if interpolation == "bilinear" or planes.shape[-2:] == size:
        return resize(planes, size)
    exact = torch.from_numpy(planes.astype(np.float64))[None]
    fitted = functional.interpolate(exact, size, mode=interpolation, antialias=True)
    return np.asarray(fitted[0].clamp(0, 1).numpy(), dtype=np.float32)
