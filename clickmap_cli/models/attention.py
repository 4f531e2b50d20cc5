"""Attention of a vision transformer, followed through its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray

from clickmap_cli.clickmaps.geometry import Size
from clickmap_cli.config.fields import Count, Key, OptionalSize
from clickmap_cli.models.keypoint_net import KeypointNet
from clickmap_cli.models.timm_models import (
    TimmNetwork,
    read_class,
    select_scores,
)
from clickmap_cli.models.torch_model import TorchSaliencyModel
from clickmap_cli.models.weights import evaluating
from clickmap_cli.runtime.errors import ConfigError, DataError

_METHODS = ("rollout", "gradient")
_FUSIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mean": lambda heads: heads.mean(dim=1),
    "max": lambda heads: heads.amax(dim=1),
    "min": lambda heads: heads.amin(dim=1),
}


class VitAttention(TorchSaliencyModel):
    """Attention rollout of a timm vision transformer, plain or weighted by gradients.

    Each layer's attention (n, heads, tokens, tokens) becomes one matrix A: the heads are fused and
    the lowest attentions dropped. With `gradient`, the attention is first multiplied by the
    derivative of the class's score, and negative values are set to 0. Half of A and half of the
    identity (the residual connection), with rows scaled to sum 1, are multiplied over the layers.
    The map is the share of each patch in the class token; without a class token, the mean over the
    patches.

    Reference: Abnar and Zuidema (2020), Quantifying attention flow in transformers; with gradients
    Chefer, Gur and Wolf (2021), Transformer interpretability beyond attention visualization.

    Args:
        model: the transformer's name in timm.
        weights: `timm` downloads timm's weights, `none` draws random ones; null uses
            `weights_path`.
        weights_path: a checkpoint of the transformer.
        requires_size: (height, width) of its input, multiples of its patches; None = its own.
        method: rollout or gradient.
        head_fusion: mean, max or min over the heads.
        discard_ratio: share of a layer's lowest attentions that is dropped, 0 to below 1;
            attentions to the class token are kept.
        class_index: the class `gradient` differentiates; None = the predicted one.
        device: auto, cpu, cuda or mps.
        batch_size: number of images that are predicted together.
        seed: seed of random weights.
    """

    version = 2
    run_only = TorchSaliencyModel.run_only | {"weights_path", "seed"}  # the digest covers both

    def __init__(
        self,
        model: str = "vit_base_patch16_224",
        weights: str | None = None,
        weights_path: str | None = None,
        requires_size: OptionalSize = None,
        method: Annotated[str, Key(choices=_METHODS)] = "rollout",
        head_fusion: Annotated[str, Key(choices=tuple(_FUSIONS))] = "mean",
        discard_ratio: Annotated[float, Key(minimum=0, below=1)] = 0.0,
        class_index: int | None = None,
        device: str = "auto",
        batch_size: Count = 1,
        seed: int = 0,
    ) -> None:
        self._timm = TimmNetwork(
            model,
            "vit_attention",
            weights=weights,
            weights_path=weights_path,
            requires_size=requires_size,
            seed=seed,
        )
        super().__init__(
            device, list(self._timm.size), batch_size, mean=self._timm.mean, std=self._timm.std
        )
        self.interpolation = self._timm.interpolation
        self.needs_gradients = method == "gradient"
        self._fuse = _FUSIONS[head_fusion]
        self._discard = discard_ratio
        self._class = None
        if self.needs_gradients:
            self._class = read_class(class_index, self._timm.n_classes, "vit_attention")
        self.notices = self._timm.notices

    def weights_digest(self) -> str:
        """Return the file's SHA-256, timm's tag and a hash of the weights, or the seed."""
        return self._timm.digest()

    def build(self) -> torch.nn.Module:
        """Build the transformer.

        Raises:
            ConfigError: the network is not a transformer with one attention per block.
        """
        network = self._timm.build()
        find_attention_modules(network)
        return network

    def forward(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Return (n, rows, columns) shares of the patches."""
        images.requires_grad_(self.needs_gradients)
        with record_attention(network) as layers:
            scores = network(images)
        if fault := find_attention_fault(layers, len(find_attention_modules(network)), len(images)):
            raise DataError(f"{self._timm.name}: {fault}.")
        if self.needs_gradients:
            total = select_scores(scores, self._class).sum()
            slopes = torch.autograd.grad(total, layers)
            layers = [(a * g).clamp(min=0) for a, g in zip(layers, slopes, strict=True)]
        with_class = getattr(network, "cls_token", None) is not None
        kept = [drop_lowest(self._fuse(a.detach()), self._discard, with_class) for a in layers]
        prefix = int(getattr(network, "num_prefix_tokens", 0))
        start = kept[0].new_zeros(kept[0].shape[-1])
        if with_class:
            start[0] = 1
        else:
            start[prefix:] = 1 / (len(start) - prefix)
        shares = roll_out(kept, start)[:, prefix:]
        grid = find_patch_grid(network, (images.shape[2], images.shape[3]), shares.shape[1])
        if grid is None:
            raise DataError(f"{self._timm.name}: its {shares.shape[1]} patches do not form a grid.")
        return shares.unflatten(1, grid)


def find_attention_modules(network: torch.nn.Module) -> list[Any]:
    """Return the attention module of each block, from the first to the last.

    Raises:
        ConfigError: the network has no blocks with one attention each.
    """
    found: list[Any] = []
    for block in getattr(network, "blocks", ()):
        inside = [part for part in block.modules() if hasattr(part, "fused_attn")]
        drop = getattr(inside[0], "attn_drop", None) if len(inside) == 1 else None
        if not isinstance(drop, torch.nn.Module):
            found = []
            break
        found += inside
    if not found:
        raise ConfigError(
            f"vit_attention: {type(network).__name__} is not a transformer with one attention a "
            "block; take a vit_*, deit_*, beit_* or eva02_* network of timm."
        )
    return found


@contextmanager
def record_attention(network: torch.nn.Module) -> Iterator[list[torch.Tensor]]:
    """Record the attention of every layer while the network runs.

    Inside the context no attention is fused, because a fused attention is never stored. Afterwards
    the network is restored, even if it raised.

    Yields:
        (n, heads, tokens, tokens) attention of each layer that ran, in order; rows sum to 1.
    """
    modules = find_attention_modules(network)
    fused = [module.fused_attn for module in modules]
    layers: list[torch.Tensor] = []

    def keep(_module: torch.nn.Module, _given: Any, attention: torch.Tensor) -> None:
        layers.append(attention)

    hooks = []
    try:
        for module in modules:
            module.fused_attn = False
            # the dropout's output is the attention that multiplies the values
            hooks.append(module.attn_drop.register_forward_hook(keep))
        yield layers
    finally:
        for hook in hooks:
            hook.remove()
        for module, was in zip(modules, fused, strict=True):
            module.fused_attn = was


def find_attention_fault(
    layers: Sequence[torch.Tensor], n_blocks: int, n_images: int
) -> str | None:
    """Return the reason why recorded attention cannot be followed through the layers, or None.

    Args:
        layers: attention from `record_attention`.
        n_blocks: number of layers.
        n_images: number of images the network was run on.

    Returns:
        A clause; None if every layer is a matrix of shares from all tokens to all.
    """
    n_tokens = layers[0].shape[-1] if layers else 0
    shapes = {(layer.shape[0], *layer.shape[2:]) for layer in layers}
    if len(layers) != n_blocks or shapes != {(n_images, n_tokens, n_tokens)}:
        return "its blocks do not attend from all tokens to all"
    if any(float((layer.detach().sum(dim=-1) - 1).abs().max()) > 1e-3 for layer in layers):
        return "its attentions are not shares that sum to 1"
    return None


def find_patch_grid(network: torch.nn.Module, size: Size, n_patches: int) -> Size | None:
    """Return the numbers of rows and columns of a transformer's patches; None if not a grid.

    Args:
        network: a network of timm.
        size: height and width of its images.
        n_patches: number of patches.
    """
    embedding: Any = getattr(network, "patch_embed", None)
    grids = [getattr(embedding, "grid_size", None)]
    if hasattr(embedding, "dynamic_feat_size"):
        grids.insert(0, embedding.dynamic_feat_size(size))
    for grid in grids:
        if grid is not None and grid[0] * grid[1] == n_patches:
            return int(grid[0]), int(grid[1])
    return None


def drop_lowest(fused: torch.Tensor, ratio: float, with_class: bool) -> torch.Tensor:
    """Set the lowest attentions to 0.

    Args:
        fused: (n, tokens, tokens), not negative.
        ratio: share of the values that are set to 0, rounded down, for each image separately.
        with_class: True if the first column, the attention to the class token, is kept.

    Returns:
        (n, tokens, tokens).
    """
    first = 1 if with_class else 0
    free = fused[:, :, first:].flatten(1)
    n_dropped = int(ratio * free.shape[1])
    if not n_dropped:
        return fused
    lowest = free.argsort(dim=1, stable=True)[:, :n_dropped]
    rest = free.scatter(1, lowest, 0.0).unflatten(1, (fused.shape[1], -1))
    return torch.cat([fused[:, :, :first], rest], dim=2)


def roll_out(layers: Sequence[torch.Tensor], start: torch.Tensor) -> torch.Tensor:
    """Compute the share of each token of the first layer in tokens of the last layer.

    Args:
        layers: (n, tokens, tokens) attention from the first layer to the last, not negative.
        start: (tokens) weights of the last layer's tokens, sum 1.

    Returns:
        (n, tokens) shares, sum 1.
    """
    identity = torch.eye(len(start), dtype=start.dtype, device=start.device)
    shares = start.expand(len(layers[0]), 1, -1)
    for layer in reversed(layers):  # vector products from the end, cheaper than matrix products
        mixed = (layer + identity) / 2
        shares = shares @ (mixed / mixed.sum(dim=-1, keepdim=True))
    return shares[:, 0]


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
        attention, 0 or more; and a notice about that case, else None. `geometry.resize` brings a
        map to the image's size, with a patch's value in the middle of the patch.
    """
    device = next(network.parameters()).device
    shown = image.detach().to(device)[None].clone().requires_grad_()
    with evaluating(network), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        maps, fault = _roll_out_gradients(network, shown)
        if maps is None:
            slopes = _derivatives(network(shown), [shown])
            maps = torch.stack([slope[0].abs().amax(dim=0) for (slope,) in slopes])
            fault = (
                f"{network.name}: {fault}; the maps of its key points are magnitudes of "
                "derivatives by pixels."
            )
    found = maps.cpu().numpy().reshape(network.n_points, 2, *maps.shape[1:])
    return found.mean(axis=1, dtype=np.float64).astype(np.float32), fault


def _roll_out_gradients(
    network: KeypointNet, shown: torch.Tensor
) -> tuple[torch.Tensor | None, str | None]:
    """Return (2 points, rows, columns) gradient rollout of x, y, x, y..., or a reason for None."""
    backbone: Any = network.backbone
    try:
        n_blocks = len(find_attention_modules(backbone))
    except ConfigError:
        return None, "it has no blocks with one attention each"
    last: list[Any] = []
    hook = backbone.blocks[-1].register_forward_hook(lambda _block, _given, out: last.append(out))
    try:
        with record_attention(backbone) as layers:
            places = network(shown)
    finally:
        hook.remove()
    if fault := find_attention_fault(layers, n_blocks, 1):
        return None, fault
    n_tokens = layers[0].shape[-1]
    tokens = last[0] if len(last) == 1 else None
    if not isinstance(tokens, torch.Tensor) or tokens.shape[:-1] != (1, n_tokens):
        return None, "its last block does not give a row of numbers a token"
    prefix = int(getattr(backbone, "num_prefix_tokens", 0))
    grid = find_patch_grid(backbone, (shown.shape[2], shown.shape[3]), n_tokens - prefix)
    if grid is None:
        return None, f"its {n_tokens - prefix} patches do not form a grid"
    rows = []
    for *slopes, slope in _derivatives(places, [*layers, tokens]):
        weighted = [
            _scale_rows((a.detach() * g).abs().mean(dim=1))
            for a, g in zip(layers, slopes, strict=True)
        ]
        start = slope[0].norm(dim=-1)
        rows.append(roll_out(weighted, start / start.sum().clamp(min=1e-30))[0, prefix:])
    return torch.stack(rows).unflatten(1, grid), None


def _derivatives(
    places: torch.Tensor, by: Sequence[torch.Tensor]
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield each coordinate's derivatives, x, y, x, y..., with respect to tensors it depends on."""
    for coordinate in places.flatten():
        yield torch.autograd.grad(coordinate, by, retain_graph=True)


def _scale_rows(layer: torch.Tensor) -> torch.Tensor:
    """Scale (1, tokens, tokens) so that the largest row sums to 1; zeros stay zeros."""
    largest = layer.sum(dim=-1).amax()
    return layer / largest.clamp(min=1e-30)
