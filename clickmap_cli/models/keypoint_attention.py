"""Maps of the image parts that determine each predicted key point."""

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
    """Compute a map of an image for each key point.

    A vision transformer gets gradient rollout. For each coordinate of a point, a layer's attention
    A (heads, tokens, tokens) is multiplied by the derivative of the coordinate with respect to A.
    Magnitudes are used, because moving a point left matters as much as moving it right. The mean
    over the heads is scaled so that its largest row sums to 1, so that neither the units of
    coordinates nor the size of derivatives matters. Half of that and half of the identity (the
    residual connection), with rows scaled to sum 1, are multiplied over the layers. The last
    layer's tokens are weighted by the norm of the coordinate's derivative with respect to them:
    with a class token this is the class token's row, with global average pooling a weighted mean of
    the patches' rows. A point's map is the mean of the maps of x and y.

    Any other network gets derivatives with respect to pixels: the largest magnitude over the
    channels, and the mean of the maps of x and y.

    Reference: Abnar and Zuidema (2020), Quantifying attention flow in transformers; Chefer, Gur and
    Wolf (2021), Transformer interpretability beyond attention visualization; Simonyan, Vedaldi and
    Zisserman (2014), Deep inside convolutional networks.

    Args:
        network: network on any device, in any mode; its mode and gradients are left unchanged.
        image: (3, height, width) normalised, of the size the network was built for.

    Returns:
        (points, rows, columns) of the patches, or of the pixels if the network has no such
        attention, 0 or more; and a notice about that case, else None.
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
    """Resize maps to an image's size: bilinear, a patch's value in the middle of the patch.

    Args:
        maps: (points, rows, columns) from `keypoint_maps`.
        size: height and width of the image.

    Returns:
        (points, height, width).
    """
    return resize(maps, size)


def _rolled_out(
    network: KeypointNet, shown: torch.Tensor
) -> tuple[torch.Tensor | None, str | None]:
    """Return (2 points, rows, columns) gradient rollout of x, y, x, y..., or a reason for None."""
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
    """Return (2 points, height, width) magnitudes of derivatives of x, y, x, y..."""
    found = [slope[0].abs().amax(dim=0) for (slope,) in _derivatives(network(shown), [shown])]
    return torch.stack(found)


def _derivatives(
    places: torch.Tensor, by: Sequence[torch.Tensor]
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield each coordinate's derivatives, x, y, x, y..., with respect to tensors it depends on."""
    for coordinate in places.flatten():
        yield torch.autograd.grad(coordinate, by, retain_graph=True)


_TINY = 1e-30


def _scaled(layer: torch.Tensor) -> torch.Tensor:
    """Scale (1, tokens, tokens) so that the largest row sums to 1; zeros stay zeros."""
    largest = layer.sum(dim=-1).amax()
    return layer / largest.clamp(min=_TINY)
