"""Which parts of an image place each key point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size, resize
from clickmap_cli.models.vit_attention import (
    attention_modules,
    patch_grid,
    recorded,
    rollout,
    shares_fault,
)
from clickmap_cli.models.vit_keypoints import KeypointNet, evaluating
from clickmap_cli.runtime.errors import ConfigError

Maps = NDArray[np.float32]


def keypoint_maps(network: KeypointNet, image: torch.Tensor) -> tuple[Maps, str | None]:
    """A map of an image for each key point.

    A vision transformer gets gradient rollout. For each coordinate of a point, a layer's attention
    A (heads, tokens, tokens) is multiplied by the derivative of the coordinate by A; magnitudes
    count, as moving a point left or right are of one worth; the mean over the heads is taken and
    scaled so that its largest row sums to 1, so that neither the units of coordinates nor the
    size of derivatives matter. Half of that and half of the identity (the residual connection),
    rows scaled to sum 1, are multiplied over the layers. The last layer's tokens are weighed by
    the length of the coordinate's derivative by them: with a class token that is the class
    token's row, with global average pooling a weighted mean of the patches' rows. A point's map is
    the mean of those of x and y.

    Any other network gets derivatives by pixels: the largest magnitude over the channels, and the
    mean of those of x and y.

    Reference: Abnar and Zuidema (2020), Quantifying attention flow in transformers; Chefer, Gur
    and Wolf (2021), Transformer interpretability beyond attention visualization; Simonyan, Vedaldi
    and Zisserman (2014), Deep inside convolutional networks.

    Args:
        network: on any device, in any mode; it is as it was afterwards, its gradients too.
        image: (3, height, width) normalised, of the size the network was built for.

    Returns:
        (points, rows, columns) of the patches, or of the pixels where the network has no such
        attention, 0 or more; and a notice that says so there, else None.
    """
    device = next(network.parameters()).device
    shown = image.detach().to(device)[None].clone().requires_grad_()
    with evaluating(network), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        maps, fault = _rolled_out(network, shown)
        if maps is None:
            maps = _by_pixel(network, shown)
            fault = (
                f"{network.name}: {fault}; the maps of its key points are magnitudes of "
                "derivatives by pixels."
            )
    found = maps.cpu().numpy().reshape(network.n_points, 2, *maps.shape[1:])
    return found.mean(axis=1, dtype=np.float64).astype(np.float32), fault


def over_image(maps: Maps, size: Size) -> Maps:
    """Maps at an image's size: bilinear, a patch's value in the middle of the patch.

    Args:
        maps: (points, rows, columns) what `keypoint_maps` gives.
        size: height and width of the image.

    Returns:
        (points, height, width).
    """
    return resize(maps, size)


def _rolled_out(
    network: KeypointNet, shown: torch.Tensor
) -> tuple[torch.Tensor | None, str | None]:
    """(2 points, rows, columns) gradient rollout of x, y, x, y...; or why there is none."""
    backbone: Any = network.backbone
    try:
        n_blocks = len(attention_modules(backbone))
    except ConfigError:
        return None, "it has no blocks with one attention each"
    last: list[Any] = []
    hook = backbone.blocks[-1].register_forward_hook(lambda _block, _given, out: last.append(out))
    try:
        with recorded(backbone) as layers:
            places = network(shown)
    finally:
        hook.remove()
    if fault := shares_fault(layers, n_blocks, 1):
        return None, fault
    n_tokens = layers[0].shape[-1]
    tokens = last[0] if len(last) == 1 else None
    if not isinstance(tokens, torch.Tensor) or tokens.shape[:-1] != (1, n_tokens):
        return None, "its last block does not give a row of numbers a token"
    prefix = int(getattr(backbone, "num_prefix_tokens", 0))
    grid = patch_grid(backbone, (shown.shape[2], shown.shape[3]), n_tokens - prefix)
    if grid is None:
        return None, f"its {n_tokens - prefix} patches form no grid"
    rows = []
    for *slopes, slope in _derivatives(places, [*layers, tokens]):
        weighted = [
            _scaled((a.detach() * g).abs().mean(dim=1)) for a, g in zip(layers, slopes, strict=True)
        ]
        start = slope[0].norm(dim=-1)
        rows.append(rollout(weighted, start / start.sum().clamp(min=_TINY))[0, prefix:])
    return torch.stack(rows).unflatten(1, grid), None


def _by_pixel(network: KeypointNet, shown: torch.Tensor) -> torch.Tensor:
    """(2 points, height, width) magnitudes of derivatives of x, y, x, y..."""
    found = [slope[0].abs().amax(dim=0) for (slope,) in _derivatives(network(shown), [shown])]
    return torch.stack(found)


def _derivatives(
    places: torch.Tensor, by: Sequence[torch.Tensor]
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Derivatives of each coordinate, x, y, x, y..., by tensors that it came from."""
    for coordinate in places.flatten():
        yield torch.autograd.grad(coordinate, by, retain_graph=True)


_TINY = 1e-30


def _scaled(layer: torch.Tensor) -> torch.Tensor:
    """(1, tokens, tokens) with a largest row that sums to 1; zeros stay zeros."""
    largest = layer.sum(dim=-1).amax()
    return layer / largest.clamp(min=_TINY)
