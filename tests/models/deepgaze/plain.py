"""DeepGaze's readouts once more: float64, component by component, at the image's own size.

Written from the description of the official models alone; nothing here is fast or shared with the
modules.
"""

from __future__ import annotations

import math

import numpy as np


def near(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest-neighbour resizing of the last two axes, as torch has it."""
    at = []
    for side, wanted in zip(values.shape[-2:], size, strict=True):
        scaled = np.arange(wanted, dtype=np.float32) * np.float32(side / wanted)
        at.append(np.minimum(np.floor(scaled).astype(int), side - 1))
    return values[..., at[0][:, None], at[1]]


def softplus(x: np.ndarray) -> np.ndarray:
    return np.where(x > 20, x, np.log1p(np.exp(np.minimum(x, 20))))


def logsumexp(x: np.ndarray, axis=None, keepdims: bool = False) -> np.ndarray:
    top = x.max(axis=axis, keepdims=True)
    found = top + np.log(np.exp(x - top).sum(axis=axis, keepdims=True))
    return found if keepdims else np.squeeze(found, axis=axis)


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """One image (C, h, w); moments over everything."""
    scaled = (x - x.mean()) / np.sqrt(x.var() + 1e-12)
    return scaled * weight[:, None, None] + bias[:, None, None]


def conv(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """1 x 1."""
    return np.einsum("oc,chw->ohw", weight[:, :, 0, 0], x)


def saliency(features: np.ndarray, part: dict) -> np.ndarray:
    for i in range(3):
        x = layer_norm(features, part[f"layernorm{i}.weight"], part[f"layernorm{i}.bias"])
        x = conv(x, part[f"conv{i}.weight"]) + part[f"bias{i}.bias"][:, None, None]
        features = softplus(x)
    return features


def scanpath(size, grid, x_hist, y_hist, part: dict) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]].astype(float)
    total = np.zeros((128, *grid))
    for i, (x, y) in enumerate(zip(x_hist, y_hist, strict=True)):
        if not (np.isnan(x) or np.isnan(y)):
            maps = np.stack([columns - x, rows - y, np.hypot(columns - x, rows - y)])
            name = f"encoding0.convolutions.{i}"
            total += conv(near(maps, grid), part[f"{name}.weight"])
            total += part[f"{name}.bias"][:, None, None]
    total = layer_norm(softplus(total), part["layernorm1.weight"], part["layernorm1.bias"])
    return softplus(conv(total, part["conv1.weight"]) + part["bias1.bias"][:, None, None])


def selection(parts: list[np.ndarray], part: dict) -> np.ndarray:
    x = part["bias0.bias"][:, None, None]
    for i, values in enumerate(parts):
        name = f"layernorm0.layernorm_part{i}"
        normed = layer_norm(values, part[f"{name}.weight"], part[f"{name}.bias"])
        x = x + conv(normed, part[f"conv0.conv_part{i}.weight"])
    x = layer_norm(softplus(x), part["layernorm1.weight"], part["layernorm1.bias"])
    x = softplus(conv(x, part["conv1.weight"]) + part["bias1.bias"][:, None, None])
    return conv(x, part["conv2.weight"])[0]


def blurred(x: np.ndarray, sigma: float) -> np.ndarray:
    reach = math.ceil(3 * sigma)
    steps = np.arange(-reach, reach + 1)
    kernel = np.exp(-(steps**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        ends = [(reach, reach) if at == axis else (0, 0) for at in (0, 1)]
        padded = np.pad(x, ends, mode="edge")
        x = np.apply_along_axis(np.convolve, axis, padded, kernel, mode="valid")
    return x


def finalised(priority: np.ndarray, centerbias: np.ndarray, factor: int, part: dict) -> np.ndarray:
    size = centerbias.shape
    h, w = size[0] // factor, size[1] // factor
    q = blurred(near(priority, (h, w)), float(part["gauss.sigma"]))
    q = q + part["center_bias_weight"] * centerbias[::factor, ::factor][:h, :w]
    q = near(q, size)
    return q - logsumexp(q)


def parts_of(state: dict, prefix: str) -> dict:
    """Return the parameters below a name, in float64."""
    return {
        key.removeprefix(prefix): np.asarray(value, dtype=np.float64)
        for key, value in state.items()
        if key.startswith(prefix)
    }


def log_mixture(features, centerbias, state, components, stride_and_factor, history=None):
    """One image and one backbone: (C, r, s) activations to (H, W)."""
    _stride, factor = stride_and_factor
    found = []
    for k in range(components):
        inputs = [saliency(features, parts_of(state, f"saliency_networks.{k}."))]
        if history is not None:
            part = parts_of(state, f"scanpath_networks.{k}.")
            inputs.append(scanpath(centerbias.shape, features.shape[1:], *history, part))
        priority = selection(inputs, parts_of(state, f"fixation_selection_networks.{k}."))
        part = parts_of(state, f"finalizers.{k}.")
        found.append(finalised(priority, centerbias, factor, part) - math.log(components))
    return logsumexp(np.stack(found), axis=0)


def normalised(image: np.ndarray) -> np.ndarray:
    """(3, H, W) whole numbers to what backbones get; float64 constants, each step rounded."""
    height, width = image.shape[-2:]
    x = image[:, ::2, ::2][:, : height // 2, : width // 2].astype(np.float64)
    x = (x / 255).astype(np.float32).astype(np.float64)
    x = (x - np.array([0.485, 0.456, 0.406])[:, None, None]).astype(np.float32).astype(np.float64)
    return (x / np.array([0.229, 0.224, 0.225])[:, None, None]).astype(np.float32)
