"""Example figures of `prepare`: an image beside its heat, and the heat over the image."""

from __future__ import annotations

from clickmap_cli.reports.overlays import as_bytes, coloured, overlaid, shown
from clickmap_cli.reports.style import HEAT, OVERLAY_ALPHA, headline, save, styled
from clickmap_cli.services.prepare.examples import Example


def draw_example(example: Example) -> None:
    """Write one figure: image, heat, overlay; only the heat if the image is missing."""
    with styled() as plt:
        heat = shown(example.heat, "max")
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
                axis.imshow(coloured(heat, HEAT))
            elif example.image is not None:
                picture = as_bytes(example.image)
                over = overlaid(picture, heat, HEAT, OVERLAY_ALPHA)
                axis.imshow(picture if name == "image" else over)
            axis.set_title(name)
            axis.set_axis_off()
        label = example.key if len(example.key) <= 60 else f"...{example.key[-57:]}"
        headline(figure, f"{label}, n = {example.n_participants}")
        save(figure, example.path)
