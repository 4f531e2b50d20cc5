"""The trained part of DeepGaze: from a backbone's activations to log densities.

Sizes: (H, W) is the image's; (r, s) is the grid that activations are read on; (h, w) is the grid
that densities are computed on, H and W divided by 2 (IIE) or 4 (III) and floored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional
from torch.nn.functional import softplus

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.models.deepgaze_backbones import sources

HISTORY = 4
"""Number of earlier fixations that DeepGaze III takes."""

_EPS = 1e-12
_SIGMA = 8.0
_ENCODED = 16  # channels of an encoded history
_WIDE = 128


def standardised(values: torch.Tensor) -> torch.Tensor:
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
        return standardised(values) * self.weight[:, None, None] + self.bias[:, None, None]


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
            offsets: (n, 4, 3, r, s) from `fixation_offsets`.
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


def fixation_offsets(
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
        sources(side, wanted).to(x.device, x.dtype) for side, wanted in zip(size, grid, strict=True)
    )
    away_x = (columns - torch.where(known, x, 0)[..., None])[:, :, None].expand(-1, -1, *grid)
    away_y = (rows - torch.where(known, y, 0)[..., None])[..., None].expand(-1, -1, *grid)
    offsets = torch.stack([away_x, away_y, torch.sqrt(away_x**2 + away_y**2)], dim=2)
    return offsets * known[:, :, None, None, None], known


def log_densities(
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
    down = _copied_and_blurred(priorities.shape[-2], h, sigma)
    across = _copied_and_blurred(priorities.shape[-1], w, sigma)
    logits = down @ priorities @ across.transpose(-1, -2) + weight * shared
    copies = _log_copies(h, height, logits)[:, None] + _log_copies(w, width, logits)
    return logits - torch.logsumexp(logits + copies, dim=(-2, -1), keepdim=True)


def _copied_and_blurred(size_in: int, size_out: int, sigma: torch.Tensor) -> torch.Tensor:
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
    copied = sources(size_in, size_out).to(sigma.device)[places]  # (size_out, steps)
    weights = kernel[:, None].expand(-1, size_out, -1)
    empty = kernel.new_zeros((len(sigma), size_out, size_in))
    return empty.scatter_add(2, copied.expand(len(sigma), -1, -1), weights)


def _log_copies(size_in: int, size_out: int, like: torch.Tensor) -> torch.Tensor:
    """Return (size_in) logarithms of how often each position of an axis is copied."""
    times = torch.bincount(sources(size_in, size_out), minlength=size_in)
    return times.to(like.device, like.dtype).log()


def mixture(log_density: torch.Tensor, dim: int) -> torch.Tensor:
    """Return the log of the mean density along an axis."""
    return torch.logsumexp(log_density, dim=dim) - math.log(log_density.shape[dim])
