"""Heat against a foreground mask, counted by hand."""

from __future__ import annotations

import math

import numpy as np

from clickmap_cli.clickmaps.geometry import Geometry
from clickmap_cli.clickmaps.image_files import heat_on_mask

GEOMETRY = Geometry.from_sizes((1, 4), (1, 4), None)


def iou(heat: list[float], mask: list[float]) -> float:
    planes = (np.array([values], dtype=np.float32) for values in (heat, mask))
    return heat_on_mask(*planes, GEOMETRY, None)


def test_heat_on_a_mask_hand_counted() -> None:
    assert iou([2, 2, 1, 0], [0, 1, 1, 1]) == 1 / 4
    assert iou([2, 2, 1, 0], [1, 1, 0, -1]) == 1
    assert iou([2, 2, 1, 0], [0, 0, 1, 1]) == 0
    assert math.isnan(iou([0, 0, 0, 0], [0, 0, 0, 0]))
