"""The same maps by dense convolution in torch, for users with a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.clickmaps.blur import Kernel, disk, gauss
from clickmap_cli.clickmaps.maps import ImageClicks, Maps
from clickmap_cli.clickmaps.settings import MapSettings
from clickmap_cli.runtime.errors import RunError


def blur_trial_maps(clicks: ImageClicks, settings: MapSettings, device: str, batch: int) -> Maps:
    """Compute every trial's finished map on the device, `batch` trials at once.

    Returns:
        (n, h, w) float32; equal to `maps.trial_maps` to 1e-5.

    Raises:
        RunError: the device's memory is too small for the batch.
    """
    native = np.empty((len(clicks), *clicks.native), dtype=np.float32)
    for first in range(0, len(clicks), batch):
        last = min(first + batch, len(clicks))
        native[first:last] = _convolve(
            _counts(clicks, settings, first, last), clicks, settings, device
        )
    return settings.geometry(clicks.native).finish(native)


def blur_mean_map(clicks: ImageClicks, settings: MapSettings, device: str, batch: int) -> Maps:
    """Compute the mean of the trials' finished maps by convolution on the device.

    Returns:
        (h, w) float32; equal to `maps.mean_map` to 1e-5.

    Raises:
        RunError: the device's memory is too small.
    """
    total = np.zeros((1, *clicks.native), dtype=np.float64)
    for first in range(0, len(clicks), batch):
        last = min(first + batch, len(clicks))
        total += _counts(clicks, settings, first, last).sum(axis=0)
    mean = (total / len(clicks)).astype(np.float32)
    return settings.geometry(clicks.native).finish(_convolve(mean, clicks, settings, device)[0])


def _counts(
    clicks: ImageClicks, settings: MapSettings, first: int, last: int
) -> NDArray[np.float32]:
    """Return (trials, H, W) clicks per pixel, or sums of their weights."""
    weights = clicks.weights(settings.decay_tau)
    counts = [clicks.count_pixels(weights, clicks.span(trial)) for trial in range(first, last)]
    return np.array(counts, dtype=np.float32)


def _convolve(
    counts: NDArray[np.float32], clicks: ImageClicks, settings: MapSettings, device: str
) -> Maps:
    import torch
    from torch.nn.functional import conv2d

    kernel = settings.kernel(clicks.native)
    if kernel.kind == "none":
        return counts
    weight = torch.from_numpy(_dense(kernel))[None, None].to(device)
    try:
        maps: Any = torch.from_numpy(counts)[:, None].to(device)
        with torch.inference_mode():
            for _ in range(2 if kernel.kind == "circle" else 1):
                maps = conv2d(maps, weight, padding=kernel.radius)
        return np.asarray(maps[:, 0].cpu().numpy(), dtype=np.float32)
    except torch.OutOfMemoryError as error:
        raise RunError(
            f"{device}: out of memory with gpu_batch_size {len(counts)}; try half of it."
        ) from error


def _dense(kernel: Kernel) -> NDArray[np.float32]:
    """Return the kernel as a square array of sum 1."""
    if kernel.kind == "circle":
        flat = disk(kernel.radius)
        return np.asarray(flat / flat.sum(), dtype=np.float32)
    line = gauss(kernel.size, kernel.sigma)
    return np.asarray(np.outer(line, line), dtype=np.float32)
