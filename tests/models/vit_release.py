"""The original release of vision transformers: its names and shapes, and one block in NumPy.

Facts of github.com/google-research/vision_transformer (vit_jax: models_vit.py, models_resnet.py,
configs/models.py, checkpoint.py) and of the files it publishes, written before Flax had Linen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Vit:
    patch: int
    width: int
    depth: int
    mlp: int
    heads: int
    units: tuple[int, ...] = ()


ORIGINAL = {
    "ViT-B_16": Vit(16, 768, 12, 3072, 12),
    "ViT-B_32": Vit(32, 768, 12, 3072, 12),
    "ViT-L_16": Vit(16, 1024, 24, 4096, 16),
    "ViT-L_32": Vit(32, 1024, 24, 4096, 16),
    "ViT-H_14": Vit(14, 1280, 32, 5120, 16),
    "R50-ViT-B_16": Vit(1, 768, 12, 3072, 12, (3, 4, 9)),
}
TINY = Vit(16, 24, 2, 96, 3)
CLASSES = 7


def shallow(name: str, depth: int = 1) -> Vit:
    return replace(ORIGINAL[name], depth=depth)


def shapes_of(vit: Vit, side: int, early: bool = True) -> dict[str, tuple[int, ...]]:
    """Every array of a file whose positions are those of side x side patches."""
    d, m, h = vit.width, vit.mlp, vit.heads
    found: dict[str, tuple[int, ...]] = {"cls": (1, 1, d)}
    channels = 3
    if vit.units:
        found |= resnet_shapes(vit.units, early)
        channels = 64 * 2 ** (len(vit.units) - 1) * 4
    found["embedding/kernel"] = (vit.patch, vit.patch, channels, d)
    found["embedding/bias"] = (d,)
    found["Transformer/posembed_input/pos_embedding"] = (1, 1 + side * side, d)
    for layer in range(vit.depth):
        block = f"Transformer/encoderblock_{layer}"
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            found[f"{block}/{norm}/scale"] = found[f"{block}/{norm}/bias"] = (d,)
        for part in ("query", "key", "value"):
            found[f"{block}/MultiHeadDotProductAttention_1/{part}/kernel"] = (d, h, d // h)
            found[f"{block}/MultiHeadDotProductAttention_1/{part}/bias"] = (h, d // h)
        found[f"{block}/MultiHeadDotProductAttention_1/out/kernel"] = (h, d // h, d)
        found[f"{block}/MultiHeadDotProductAttention_1/out/bias"] = (d,)
        found[f"{block}/MlpBlock_3/Dense_0/kernel"] = (d, m)
        found[f"{block}/MlpBlock_3/Dense_0/bias"] = (m,)
        found[f"{block}/MlpBlock_3/Dense_1/kernel"] = (m, d)
        found[f"{block}/MlpBlock_3/Dense_1/bias"] = (d,)
    found["Transformer/encoder_norm/scale"] = found["Transformer/encoder_norm/bias"] = (d,)
    found["pre_logits/kernel"], found["pre_logits/bias"] = (d, d), (d,)
    found["head/kernel"], found["head/bias"] = (d, CLASSES), (CLASSES,)
    return found


def resnet_shapes(units: tuple[int, ...], early: bool) -> dict[str, tuple[int, ...]]:
    """A ResNet's; before Flax 0.3.6 the parameters of GroupNorm had four axes."""
    found: dict[str, tuple[int, ...]] = {}

    def pair(folder: str, conv: str, norm: str, kernel: tuple[int, ...]) -> None:
        found[f"{folder}{conv}/kernel"] = kernel
        channels = (1, 1, 1, kernel[-1]) if early else kernel[-1:]
        found[f"{folder}{norm}/scale"] = found[f"{folder}{norm}/bias"] = channels

    pair("", "conv_root", "gn_root", (7, 7, 3, 64))
    before = 64
    for block, count in enumerate(units, start=1):
        width = 64 * 2 ** (block - 1)
        for unit in range(1, count + 1):
            folder = f"block{block}/unit{unit}/"
            pair(folder, "conv1", "gn1", (1, 1, before, width))
            pair(folder, "conv2", "gn2", (3, 3, width, width))
            pair(folder, "conv3", "gn3", (1, 1, width, 4 * width))
            if unit == 1:
                pair(folder, "conv_proj", "gn_proj", (1, 1, before, 4 * width))
            before = 4 * width
    return found


def arrays_of(vit: Vit, side: int, seed: int = 0, early: bool = True) -> dict[str, np.ndarray]:
    """Random arrays; scales are near 1."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, shape in shapes_of(vit, side, early).items():
        drawn = rng.standard_normal(shape, np.float32) * np.float32(0.1)
        found[name] = drawn + 1 if name.endswith("scale") else drawn
    return found


# --- the same in NumPy, double precision ---------------------------------------------------------


def norm(tokens: np.ndarray, arrays: dict, folder: str) -> np.ndarray:
    centred = tokens - tokens.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)
    return centred / spread * double(arrays, f"{folder}/scale") + double(arrays, f"{folder}/bias")


def double(arrays: dict, name: str) -> np.ndarray:
    return arrays[name].astype(np.float64)


def gelu(values: np.ndarray) -> np.ndarray:
    return values * (1 + np.vectorize(math.erf)(values / math.sqrt(2))) / 2


def block(tokens: np.ndarray, arrays: dict, layer: int) -> np.ndarray:
    """(n, tokens, width) through one encoder block."""
    at = f"Transformer/encoderblock_{layer}"
    seen = norm(tokens, arrays, f"{at}/LayerNorm_0")
    heads = f"{at}/MultiHeadDotProductAttention_1"
    query, key, value = (
        np.einsum("ntd,dhe->nhte", seen, double(arrays, f"{heads}/{part}/kernel"))
        + double(arrays, f"{heads}/{part}/bias")[:, None]
        for part in ("query", "key", "value")
    )
    logits = np.einsum("nhqe,nhke->nhqk", query, key) / math.sqrt(query.shape[-1])
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares = powers / powers.sum(axis=-1, keepdims=True)
    mixed = np.einsum("nhqk,nhke->nqhe", shares, value)
    out = np.einsum("nqhe,hed->nqd", mixed, double(arrays, f"{heads}/out/kernel"))
    tokens = tokens + out + double(arrays, f"{heads}/out/bias")
    seen = norm(tokens, arrays, f"{at}/LayerNorm_2")
    mlp = f"{at}/MlpBlock_3"
    seen = gelu(
        seen @ double(arrays, f"{mlp}/Dense_0/kernel") + double(arrays, f"{mlp}/Dense_0/bias")
    )
    return (
        tokens
        + seen @ double(arrays, f"{mlp}/Dense_1/kernel")
        + double(arrays, f"{mlp}/Dense_1/bias")
    )


def features(images: np.ndarray, arrays: dict, vit: Vit) -> np.ndarray:
    """(n, width) the class token after all, of (n, 3, h, w) images whose grid is the file's."""
    n, _, height, width = images.shape
    rows, columns = height // vit.patch, width // vit.patch
    patches = images.reshape(n, 3, rows, vit.patch, columns, vit.patch)
    kernel = double(arrays, "embedding/kernel")  # rows, columns, channels, width
    # n image, a channel, i and j patch, y and x inside it
    tokens = np.einsum("naiyjx,yxad->nijd", patches, kernel)
    tokens = tokens.reshape(n, rows * columns, -1) + double(arrays, "embedding/bias")
    first = np.broadcast_to(double(arrays, "cls"), (n, 1, tokens.shape[-1]))
    tokens = np.concatenate([first, tokens], axis=1)
    tokens = tokens + double(arrays, "Transformer/posembed_input/pos_embedding")
    for layer in range(vit.depth):
        tokens = block(tokens, arrays, layer)
    return norm(tokens, arrays, "Transformer/encoder_norm")[:, 0]
