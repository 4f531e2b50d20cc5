"""Figure of a network's attention for each key point, over the image."""

from __future__ import annotations

import math

from clickmap_cli.reports.overlays import overlaid, shown
from clickmap_cli.reports.style import COLOURS, HEAT, OVERLAY_ALPHA, headline, save, styled
from clickmap_cli.services.keypoints.pictures import AttentionSheet
from clickmap_cli.storage.atomic import replacing

_COLUMNS = 4
_PANEL = 2.2


def draw_attention(sheet: AttentionSheet) -> None:
    """Write a panel per key point: its map over the image, true place (ring), prediction (cross).

    Every map is scaled from its least to its largest value, because rollout is nowhere 0.
    """
    k = len(sheet.names)
    columns = min(k, _COLUMNS)
    rows = math.ceil(k / columns)
    height, width = sheet.pixels.shape[:2]
    with styled() as plt:
        figure, grid = plt.subplots(
            rows, columns, squeeze=False, layout="constrained",
            figsize=(columns * _PANEL, rows * (_PANEL * min(height / width, 2) + 0.25) + 0.3),
        )  # fmt: skip
        for axes in grid.flat:
            axes.set_axis_off()
        for at, name in enumerate(sheet.names):
            axes = grid.flat[at]
            heat = shown(sheet.maps[at] - sheet.maps[at].min(), "max")
            axes.imshow(overlaid(sheet.pixels, heat, HEAT, OVERLAY_ALPHA))
            axes.set_title(name, fontsize="small", parse_math=False)
            ring = {"marker": "o", "ms": 8, "markerfacecolor": "none", "color": COLOURS["second"]}
            axes.plot(*sheet.true[at], **ring)
            axes.plot(*sheet.predicted[at], marker="x", ms=7, color="white")
        headline(figure, sheet.title)
        with replacing(sheet.path) as partial:
            save(figure, partial)
