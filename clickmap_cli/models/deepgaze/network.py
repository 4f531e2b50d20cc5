"""DeepGaze IIE and DeepGaze III as modules that load the official checkpoints.

References: Linardos, Kuemmerer, Press and Bethge (2021), DeepGaze IIE: calibrated prediction in and
out-of-domain for state-of-the-art saliency modeling, ICCV; Kuemmerer, Bethge and Wallis (2022),
DeepGaze III: modeling free-viewing human scanpaths with deep learning, Journal of Vision 22.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch.nn import functional
from torch.nn.functional import softplus

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.models.deepgaze.backbones import (
    Extractor,
    densenet201,
    efficientnet_b5,
    find_sources,
    resize_nearest,
    resnet50,
    resnext50,
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
        features = standardise(self.features(image, grid))
        encoded: list[torch.Tensor | None] = [None] * len(self.saliency_networks)
        if history is not None:
            x, y = (places.to(features.device, features.dtype) for places in history)
            offsets, known = compute_offsets(x, y, size, grid)
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
        return average_densities(
            compute_log_densities(self.finalizers, priorities, centerbias, self._factor), dim=1
        )


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
        _require_shapes(image, centerbias, self.least_side)
        found = []
        for member in self.models:
            with _moved_to(member, image.device):
                found.append(member.log_mixture(image, centerbias))
        return resize_nearest(average_densities(torch.stack(found), dim=0), tuple(image.shape[-2:]))


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
        _require_shapes(image, centerbias, self.least_side)
        for name, places in (("x_hist", x_hist), ("y_hist", y_hist)):
            if tuple(places.shape) != (len(image), HISTORY):
                raise ValueError(
                    f"{name} has the shape {tuple(places.shape)}; it must be "
                    f"{(len(image), HISTORY)}: {HISTORY} fixations an image, NaN where missing."
                )
        with _moved_to(self, image.device):
            found = self.log_mixture(image, centerbias, (x_hist, y_hist))
        return resize_nearest(found, tuple(image.shape[-2:]))


def _require_shapes(image: torch.Tensor, centerbias: torch.Tensor, least: int) -> None:
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
def _moved_to(member: torch.nn.Module, device: torch.device) -> Iterator[None]:
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


HISTORY = 4
"""Number of earlier fixations that DeepGaze III takes."""

_EPS = 1e-12
_SIGMA = 8.0
_ENCODED = 16  # channels of an encoded history
_WIDE = 128


def standardise(values: torch.Tensor) -> torch.Tensor:
    """Scale to mean 0 and variance 1 over channels and positions together.

    `group_norm` with one group is not used: on a constant map it is 0.03 off in float32.
    """
    return functional.layer_norm(values, values.shape[1:], eps=_EPS)


class LayerNorm(torch.nn.Module):
    """Standardisation with a scale and a shift for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(channels))
        self.bias = torch.nn.Parameter(torch.zeros(channels))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return (n, channels, r, s)."""
        return standardise(values) * self.weight[:, None, None] + self.bias[:, None, None]


class Bias(torch.nn.Module):
    """A learnt constant added to each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(channels))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return (n, channels, r, s)."""
        return values + self.bias[:, None, None]


def _pointwise(channels: int, wanted: int) -> torch.nn.Conv2d:
    return torch.nn.Conv2d(channels, wanted, 1, bias=False)


class SaliencyNetwork(torch.nn.Module):
    """A network from activations to one saliency map.

    Args:
        channels: number of channels read from the backbone.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        sides = (channels, 8, 16, 1)
        for at in range(3):
            self.add_module(f"layernorm{at}", LayerNorm(sides[at]))
            self.add_module(f"conv{at}", _pointwise(sides[at], sides[at + 1]))
            self.add_module(f"bias{at}", Bias(sides[at + 1]))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the saliency map.

        The scale and shift of the first norm are folded into the first convolution, so that the
        components of a backbone share its standardised activations, which are large.

        Args:
            features: (n, channels, r, s), standardised.

        Returns:
            (n, 1, r, s).
        """
        weight = self.conv0.weight * self.layernorm0.weight[:, None, None]
        shift = self.bias0.bias + self.conv0.weight[:, :, 0, 0] @ self.layernorm0.bias
        values = softplus(functional.conv2d(features, weight, shift))
        values = softplus(self.bias1(self.conv1(self.layernorm1(values))))
        return softplus(self.bias2(self.conv2(self.layernorm2(values))))


class FixationEncoding(torch.nn.Module):
    """Encoding of earlier fixations, each with its own weights; a missing one adds nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = torch.nn.ModuleList(
            torch.nn.Conv2d(3, _WIDE, 1) for _ in range(HISTORY)
        )

    def forward(self, offsets: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """Return (n, 128, r, s), zeros without any fixation; arguments as for `ScanpathNetwork`."""
        n, _, _, rows, columns = offsets.shape
        encoded = offsets.new_zeros((n, _WIDE, rows, columns))
        for at, convolution in enumerate(self.convolutions):
            encoded = encoded + convolution(offsets[:, at]) * known[:, at, None, None, None]
        return encoded


class ScanpathNetwork(torch.nn.Module):
    """A network from earlier fixations to channels that are combined with the saliency map."""

    def __init__(self) -> None:
        super().__init__()
        self.encoding0 = FixationEncoding()
        self.layernorm1 = LayerNorm(_WIDE)
        self.conv1 = _pointwise(_WIDE, _ENCODED)
        self.bias1 = Bias(_ENCODED)

    def forward(self, offsets: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """Return the encoded history.

        Args:
            offsets: (n, 4, 3, r, s) from `compute_offsets`.
            known: (n, 4) True for fixations that exist.

        Returns:
            (n, 16, r, s).
        """
        encoded = self.layernorm1(softplus(self.encoding0(offsets, known)))
        return softplus(self.bias1(self.conv1(encoded)))


class FixationSelectionNetwork(torch.nn.Module):
    """A network from the saliency map and earlier fixations to priorities of the next fixation.

    Args:
        scanpath: True if it receives earlier fixations.
    """

    def __init__(self, scanpath: bool) -> None:
        super().__init__()
        parts = (1, _ENCODED) if scanpath else (1,)
        self.layernorm0 = torch.nn.ModuleDict(
            {f"layernorm_part{at}": LayerNorm(side) for at, side in enumerate(parts)}
        )
        self.conv0 = torch.nn.ModuleDict(
            {f"conv_part{at}": _pointwise(side, _WIDE) for at, side in enumerate(parts)}
        )
        self.bias0 = Bias(_WIDE)
        self.layernorm1 = LayerNorm(_WIDE)
        self.conv1 = _pointwise(_WIDE, 16)
        self.bias1 = Bias(16)
        self.conv2 = _pointwise(16, 1)

    def forward(self, saliency: torch.Tensor, scanpath: torch.Tensor | None) -> torch.Tensor:
        """Return the priorities, which are unbounded.

        Args:
            saliency: (n, 1, r, s).
            scanpath: (n, 16, r, s), or None for a network without earlier fixations.

        Returns:
            (n, 1, r, s).
        """
        parts = [saliency] if scanpath is None else [saliency, scanpath]
        values = self.bias0(
            sum(
                conv(norm(part))
                for part, norm, conv in zip(
                    parts, self.layernorm0.values(), self.conv0.values(), strict=True
                )
            )
        )
        values = self.layernorm1(softplus(values))
        priorities: torch.Tensor = self.conv2(softplus(self.bias1(self.conv1(values))))
        return priorities


class _Gaussian(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sigma = torch.nn.Parameter(torch.tensor(_SIGMA))


class Finalizer(torch.nn.Module):
    """The parameters that turn priorities into a density: blur and centre bias weight."""

    def __init__(self) -> None:
        super().__init__()
        self.gauss = _Gaussian()
        self.center_bias_weight = torch.nn.Parameter(torch.ones(1))


def compute_offsets(
    x: torch.Tensor, y: torch.Tensor, size: Size, grid: Size
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the offset of each position of the grid from earlier fixations.

    Args:
        x: (n, 4) columns in pixels, the latest fixation first; NaN where one is missing.
        y: (n, 4) rows.
        size: height and width of the image.
        grid: height and width of the grid.

    Returns:
        (n, 4, 3, r, s) column offsets, row offsets and distances to each fixation in pixels, zeros
        where it is missing; and (n, 4) True for fixations that exist.
    """
    known = ~(torch.isnan(x) | torch.isnan(y))
    rows, columns = (
        find_sources(side, wanted).to(x.device, x.dtype)
        for side, wanted in zip(size, grid, strict=True)
    )
    away_x = (columns - torch.where(known, x, 0)[..., None])[:, :, None].expand(-1, -1, *grid)
    away_y = (rows - torch.where(known, y, 0)[..., None])[..., None].expand(-1, -1, *grid)
    offsets = torch.stack([away_x, away_y, torch.sqrt(away_x**2 + away_y**2)], dim=2)
    return offsets * known[:, :, None, None, None], known


def compute_log_densities(
    finalizers: Sequence[Finalizer], priorities: torch.Tensor, centerbias: torch.Tensor, factor: int
) -> torch.Tensor:
    """Compute log densities over the image's pixels, on the smaller grid they are copied from.

    Upsampling copies values, so the sum over the image is a sum over the grid in which each value
    counts as often as it is copied. Blurring an upsampled map is likewise one matrix product on
    each side of the smaller map.

    Args:
        finalizers: k components.
        priorities: (n, k, r, s).
        centerbias: (n, H, W) log density.
        factor: ratio of the image's sides to those of the smaller grid.

    Returns:
        (n, k, h, w); copied to (H, W), exp sums to 1.
    """
    height, width = centerbias.shape[-2:]
    h, w = height // factor, width // factor
    shared = centerbias[:, None, ::factor, ::factor][..., :h, :w]
    sigma = torch.stack([finalizer.gauss.sigma for finalizer in finalizers])
    weight = torch.stack([finalizer.center_bias_weight for finalizer in finalizers])[..., None]
    down = _build_blur_matrix(priorities.shape[-2], h, sigma)
    across = _build_blur_matrix(priorities.shape[-1], w, sigma)
    logits = down @ priorities @ across.transpose(-1, -2) + weight * shared
    copies = _count_log_copies(h, height, logits)[:, None] + _count_log_copies(w, width, logits)
    return logits - torch.logsumexp(logits + copies, dim=(-2, -1), keepdim=True)


def _build_blur_matrix(size_in: int, size_out: int, sigma: torch.Tensor) -> torch.Tensor:
    """Return the matrix that resizes an axis by nearest neighbour, then blurs it.

    The Gaussian kernel is cut at ceil(3 sigma) and sums to 1; beyond its ends the axis is continued
    by its edge values.

    Args:
        size_in: length of the axis.
        size_out: length after resizing.
        sigma: (k) in positions of the resized axis.

    Returns:
        (k, size_out, size_in).
    """
    reach = torch.ceil(3 * sigma.detach())
    longest = int(reach.max())
    steps = torch.arange(-longest, longest + 1, device=sigma.device)
    kernel = torch.exp(-(steps**2) / (2 * sigma[:, None] ** 2)) * (steps.abs() <= reach[:, None])
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    places = (torch.arange(size_out, device=sigma.device)[:, None] + steps).clamp(0, size_out - 1)
    copied = find_sources(size_in, size_out).to(sigma.device)[places]  # (size_out, steps)
    weights = kernel[:, None].expand(-1, size_out, -1)
    empty = kernel.new_zeros((len(sigma), size_out, size_in))
    return empty.scatter_add(2, copied.expand(len(sigma), -1, -1), weights)


def _count_log_copies(size_in: int, size_out: int, like: torch.Tensor) -> torch.Tensor:
    """Return (size_in) logarithms of how often each position of an axis is copied."""
    times = torch.bincount(find_sources(size_in, size_out), minlength=size_in)
    return times.to(like.device, like.dtype).log()


def average_densities(log_density: torch.Tensor, dim: int) -> torch.Tensor:
    """Return the log of the mean density along an axis."""
    return torch.logsumexp(log_density, dim=dim) - math.log(log_density.shape[dim])
