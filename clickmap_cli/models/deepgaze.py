"""DeepGaze IIE and DeepGaze III as modules that load the official checkpoints.

References: Linardos, Kuemmerer, Press and Bethge (2021), DeepGaze IIE: calibrated prediction in and
out-of-domain for state-of-the-art saliency modeling, ICCV; Kuemmerer, Bethge and Wallis (2022),
DeepGaze III: modeling free-viewing human scanpaths with deep learning, Journal of Vision 22.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.models.deepgaze_backbones import (
    Extractor,
    densenet201,
    efficientnet_b5,
    near,
    resnet50,
    resnext50,
)
from clickmap_cli.models.deepgaze_readout import (
    HISTORY,
    Finalizer,
    FixationSelectionNetwork,
    SaliencyNetwork,
    ScanpathNetwork,
    fixation_offsets,
    log_densities,
    mixture,
    standardised,
)

Blocks = dict[str, list[torch.nn.Parameter]]
History = tuple[torch.Tensor, torch.Tensor]

_COMPONENTS_IIE = 30  # per backbone: three trainings of ten folds
_COMPONENTS_III = 10


class Readouts(torch.nn.Module):
    """A backbone and the components that read it; their densities are averaged.

    Args:
        features: the backbone.
        channels: number of channels read from it.
        components: number of components.
        stride: image pixels between neighbouring positions that are read.
        factor: ratio of the image's sides to those of the grid that densities are computed on.
        scanpath: True if components receive earlier fixations.
    """

    def __init__(
        self,
        features: Extractor,
        channels: int,
        components: int,
        stride: int,
        factor: int,
        scanpath: bool,
    ) -> None:
        super().__init__()
        self._stride = stride
        self._factor = factor
        each = range(components)
        self.features = features
        self.scanpath_networks = torch.nn.ModuleList(
            ScanpathNetwork() for _ in range(components if scanpath else 0)
        )
        self.saliency_networks = torch.nn.ModuleList(SaliencyNetwork(channels) for _ in each)
        self.fixation_selection_networks = torch.nn.ModuleList(
            FixationSelectionNetwork(scanpath) for _ in each
        )
        self.finalizers = torch.nn.ModuleList(Finalizer() for _ in each)

    def blocks(self) -> Blocks:
        """Return the parameters by the part they belong to; `scanpath` only if there is one."""
        parts = {
            "backbone": self.features,
            "scanpath": self.scanpath_networks,
            "saliency": self.saliency_networks,
            "fixation_selection": self.fixation_selection_networks,
            "finalizer": self.finalizers,
        }
        found = {name: list(part.parameters()) for name, part in parts.items()}
        return {name: parameters for name, parameters in found.items() if parameters}

    def log_mixture(
        self, image: torch.Tensor, centerbias: torch.Tensor, history: History | None = None
    ) -> torch.Tensor:
        """Return the log density on the smaller grid, before it is copied to the image's pixels.

        Args:
            image: (n, 3, H, W) RGB in 0..255.
            centerbias: (n, H, W) log density.
            history: (n, 4) columns and rows of earlier fixations, for components that receive them.

        Returns:
            (n, H // factor, W // factor).
        """
        size: Size = (image.shape[-2], image.shape[-1])
        grid = (math.ceil(size[0] / self._stride), math.ceil(size[1] / self._stride))
        features = standardised(self.features(image, grid))
        encoded: list[torch.Tensor | None] = [None] * len(self.saliency_networks)
        if history is not None:
            x, y = (places.to(features.device, features.dtype) for places in history)
            offsets, known = fixation_offsets(x, y, size, grid)
            encoded = [network(offsets, known) for network in self.scanpath_networks]
        priorities = torch.cat(
            [
                select(saliency(features), scanpath)
                for saliency, select, scanpath in zip(
                    self.saliency_networks, self.fixation_selection_networks, encoded, strict=True
                )
            ],
            dim=1,
        )
        return mixture(log_densities(self.finalizers, priorities, centerbias, self._factor), dim=1)


class DeepGazeIIE(torch.nn.Module):
    """DeepGaze IIE: the mean of 120 densities, 30 on each of four backbones.

    The module is built with random weights; its `state_dict` has the names and shapes of the
    official checkpoint. Backbones are frozen; `blocks` lists the parameters that can be unfrozen.
    If the network is on the CPU and the image on a GPU, the backbones are moved there one by one
    (only without gradients).
    """

    least_side: ClassVar[int] = 64
    """Smallest allowed side of an image, in pixels."""

    def __init__(self) -> None:
        super().__init__()
        made = (resnet50(), efficientnet_b5(), densenet201(), resnext50())
        self.models = torch.nn.ModuleList(
            Readouts(features, channels, _COMPONENTS_IIE, stride=32, factor=2, scanpath=False)
            for features, channels in made
        )

    def blocks(self) -> Blocks:
        """Return the parameters of backbone, saliency, fixation_selection and finalizer."""
        found: Blocks = {}
        for member in self.models:
            for name, parameters in member.blocks().items():
                found.setdefault(name, []).extend(parameters)
        return found

    def forward(self, image: torch.Tensor, centerbias: torch.Tensor) -> torch.Tensor:
        """Return the log density of fixations; exp sums to 1 over the pixels.

        Args:
            image: (n, 3, H, W) RGB in 0..255, both sides at least `least_side`.
            centerbias: (n, H, W) log density; if it is float64, so is the result.

        Returns:
            (n, H, W).

        Raises:
            ValueError: a shape is wrong.
        """
        _check(image, centerbias, self.least_side)
        found = []
        for member in self.models:
            with _visiting(member, image.device):
                found.append(member.log_mixture(image, centerbias))
        return near(mixture(torch.stack(found), dim=0), tuple(image.shape[-2:]))


class DeepGazeIII(Readouts):
    """DeepGaze III: the mean of ten densities on DenseNet-201, given up to four fixations.

    The module is built with random weights; its `state_dict` has the names and shapes of the
    official checkpoint. The backbone is frozen; `blocks` lists the parameters that can be unfrozen.
    """

    least_side: ClassVar[int] = 58
    """Smallest allowed side of an image, in pixels."""

    def __init__(self) -> None:
        features, channels = densenet201()
        super().__init__(features, channels, _COMPONENTS_III, stride=8, factor=4, scanpath=True)

    def forward(
        self,
        image: torch.Tensor,
        centerbias: torch.Tensor,
        x_hist: torch.Tensor,
        y_hist: torch.Tensor,
    ) -> torch.Tensor:
        """Return the log density of the next fixation; exp sums to 1 over the pixels.

        Args:
            image: (n, 3, H, W) RGB in 0..255, both sides at least `least_side`.
            centerbias: (n, H, W) log density; if it is float64, so is the result.
            x_hist: (n, 4) columns of earlier fixations in pixels, the latest first; NaN where one
                is missing. All four of an image may be missing.
            y_hist: (n, 4) their rows.

        Returns:
            (n, H, W).

        Raises:
            ValueError: a shape is wrong.
        """
        _check(image, centerbias, self.least_side)
        for name, places in (("x_hist", x_hist), ("y_hist", y_hist)):
            if tuple(places.shape) != (len(image), HISTORY):
                raise ValueError(
                    f"{name} has the shape {tuple(places.shape)}; it must be "
                    f"{(len(image), HISTORY)}: {HISTORY} fixations an image, NaN where missing."
                )
        with _visiting(self, image.device):
            found = self.log_mixture(image, centerbias, (x_hist, y_hist))
        return near(found, tuple(image.shape[-2:]))


def _check(image: torch.Tensor, centerbias: torch.Tensor, least: int) -> None:
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"image has the shape {tuple(image.shape)}; it must be (n, 3, H, W).")
    if min(image.shape[-2:]) < least:
        height, width = image.shape[-2:]
        raise ValueError(f"the image is {height} x {width} pixels; {least} x {least} is the least.")
    wanted = (image.shape[0], *image.shape[-2:])
    if tuple(centerbias.shape) != wanted:
        raise ValueError(
            f"centerbias has the shape {tuple(centerbias.shape)}; it must be {wanted}."
        )


@contextmanager
def _visiting(member: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Move a part of the network to the image's device while it is used, unless grad is on."""
    home = next(member.parameters()).device
    if home == device or torch.is_grad_enabled():
        yield
        return
    try:
        with torch.inference_mode(False):  # weights must not become inference tensors
            member.to(device)
        yield
    finally:
        with torch.inference_mode(False):
            member.to(home)
