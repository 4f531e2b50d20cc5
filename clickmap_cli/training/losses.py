"""Losses of predicted densities, for each image."""

from __future__ import annotations

import torch
from torch.nn import functional

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.metrics.saliency import IG_UNIFORM_SHARE
from clickmap_cli.models.base import Output

Pixels = tuple[torch.Tensor, torch.Tensor]
"""(n) rows and (n) columns of fixated pixels; a pixel fixated twice occurs twice."""

_TINY = 1e-30


def log_densities(values: torch.Tensor, output: Output, size: Size) -> torch.Tensor:
    """Convert a network's output to log densities on the image's pixels.

    Scores treat predictions in the same way: maps are clipped at 0 and scaled to sum 1, and a
    prediction of another size is resized as a density and scaled again. A map or a density is mixed
    with 1e-6 of uniform, as in IG, so that no logarithm is infinite.

    Args:
        values: (n, h, w) of any size.
        output: kind of the values.
        size: height and width of the images.

    Returns:
        (n, height, width) float32 natural logarithms; each image's densities sum to 1.
    """
    values = values.float()
    if output == "log_density":
        values = values.flatten(1).log_softmax(1).view_as(values)
        if values.shape[1:] == size:
            return values
        density = _resized(values.exp(), size)
        density = density / density.sum((1, 2), keepdim=True)
        return density.clamp_min(_TINY).log()
    density = _resized(values.clamp_min(0), size)
    total = density.sum((1, 2), keepdim=True)
    # an empty map becomes uniform
    density = density / total.clamp_min(_TINY) + (total <= _TINY) / density[0].numel()
    mixed = (1 - IG_UNIFORM_SHARE) * density + IG_UNIFORM_SHARE / density[0].numel()
    return (mixed / mixed.sum((1, 2), keepdim=True)).log()


def _resized(density: torch.Tensor, size: Size) -> torch.Tensor:
    if density.shape[1:] == size:
        return density
    return functional.interpolate(
        density[:, None], size=size, mode="bilinear", align_corners=False, antialias=True
    )[:, 0]


def kl(log_density: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Compute the Kullback-Leibler divergence of each prediction from its target, in nats.

    Args:
        log_density: (n, h, w) natural logarithms.
        target: (n, h, w) densities; 0 log 0 is 0.

    Returns:
        (n) sums over pixels of t (log t - log p).

    Reference: Kullback and Leibler (1951).
    """
    return (torch.xlogy(target, target) - target * log_density).sum((1, 2))


def nll_fixations(log_density: torch.Tensor, points: list[Pixels]) -> torch.Tensor:
    """Compute the mean negative log likelihood of each image's fixations, in nats per fixation.

    Args:
        log_density: (n, h, w) natural logarithms.
        points: (n) fixated pixels.

    Returns:
        (n) means over fixations of -log p.

    Reference: Kümmerer et al. (2016), the loss that DeepGaze II is trained with.
    """
    pairs = zip(log_density, points, strict=True)
    return torch.stack([-image[rows, columns].mean() for image, (rows, columns) in pairs])
