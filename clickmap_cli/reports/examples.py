"""Example pictures of `prepare`: an image beside its heat, and the heat laid over it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clickmap_cli.reports.heatmaps import coloured, laid_over
from clickmap_cli.reports.style import HEAT, OVERLAY_ALPHA, save, styled
from clickmap_cli.services.examples import Example


def draw_example(example: Example) -> None:
    """Write one picture: image, heat, overlay; the heat alone where the image is missing."""
    with styled() as plt:
        heat = scaled(example.heat)
        height, width = heat.shape
        panels = ["heat"] if example.image is None else ["image", "heat", "overlay"]
        panel = 2.4
        figure, axes = plt.subplots(
            1,
            len(panels),
            figsize=(panel * len(panels) * max(width / height, 0.5), panel + 0.35),
            squeeze=False,
            layout="constrained",
        )
        for axis, name in zip(axes[0], panels, strict=True):
            if name == "heat":
                axis.imshow(heat, cmap=HEAT, vmin=0, vmax=1)
            elif example.image is not None:
                picture = np.clip(example.image, 0, 1)
                axis.imshow(picture if name == "image" else overlay(picture, heat))
            axis.set_title(name)
            axis.set_axis_off()
        label = example.key if len(example.key) <= 60 else f"...{example.key[-57:]}"
        # parse_math is off because a key may hold dollar signs
        figure.suptitle(
            f"{label}, n = {example.n_participants}",
            x=0.01,
            ha="left",
            fontsize=9,
            parse_math=False,
        )
        save(figure, example.path)


def scaled(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Heat divided by its maximum, so that it lies in 0..1; a map of zeros stays so."""
    top = float(heat.max())
    return heat / np.float32(top) if top > 0 else heat


def overlay(image: NDArray[np.float32], heat: NDArray[np.float32]) -> NDArray[np.float64]:
    """Heat over an image: the hotter a pixel, the more of the heat's colour.

    Args:
        image: (h, w, 3) in 0..1.
        heat: (h, w) in 0..1.

    Returns:
        (h, w, 3) in 0..1.
    """
    return laid_over(image, coloured(heat, HEAT), heat, OVERLAY_ALPHA)
